"""Whether a strategy gains anything: what its rollouts yield against a few uniform ones.

The yield of a rollout is the chance that it disagrees with another one of its prompt, 2 p (1 - p):
without disagreement a group teaches an estimator with a baseline nothing. Each wave's outcomes
estimate it without bias, since its counts were decided before.
"""

from dataclasses import asdict, dataclass

import numpy as np

from gvmrl.data import IntArray

MEMORY = 0.99
"""Weight of the evidence so far at each further step."""
LEAST_GROUPS = 24
"""Groups that must have been seen of either before there is a verdict."""
QUANTILE = 1.645
"""Of the normal distribution: the interval's lower end has 95% of the mass above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """Sums over steps, older ones counting less, of a side's rollouts n, successes s, yield y."""

    groups: float = 0.0
    n: float = 0.0
    s: float = 0.0
    y: float = 0.0
    nn: float = 0.0
    ny: float = 0.0
    yy: float = 0.0

    def plus(self, trial_K: IntArray, success_K: IntArray) -> "Yield":
        """Add one step's groups; a group of one says nothing and is left out."""
        kept = {name: value * MEMORY for name, value in asdict(self).items()}
        pair_K = trial_K >= 2
        n_K, s_K = trial_K[pair_K].astype(float), success_K[pair_K]
        n, s = float(n_K.sum()), float(s_K.sum())
        y = float((2 * s_K * (n_K - s_K) / np.maximum(n_K - 1, 1)).sum())
        new = Yield(groups=float(n_K.size), n=n, s=s, y=y, nn=n * n, ny=n * y, yy=y * y)
        return Yield(**{name: kept[name] + value for name, value in asdict(new).items()})

    @property
    def rate(self) -> float:
        """Yield of a rollout, in [0, 1/2]."""
        return self.y / self.n if self.n else 0.0

    @property
    def accept_rate(self) -> float:
        """Accepted share of the rollouts: for uniform sampling, that of the whole pool."""
        return self.s / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Variance of `rate` (of a ratio of sums over independent steps)."""
        spread = self.yy - 2 * self.rate * self.ny + self.rate**2 * self.nn
        return max(spread, 0.0) / self.n**2 if self.n else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """The strategy's yield over that of uniform sampling, with a 90% interval."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The evidence so far, and which side is in use."""

    strategy: Yield = Yield()
    uniform: Yield = Yield()
    in_use: bool = True
    """Whether the strategy has the bulk of the budget; else uniform sampling has."""
    num_uniform: int = 0
    """Groups drawn uniformly so far: where the epochs stand."""

    @property
    def gain(self) -> Gain | None:
        """What the strategy gains; None while too little was seen of either side."""
        if min(self.strategy.groups, self.uniform.groups) < LEAST_GROUPS:
            return None
        if not (self.strategy.y and self.uniform.y):
            return None
        ratio = self.strategy.rate / self.uniform.rate
        error = np.sqrt(sum(side.variance / side.rate**2 for side in (self.strategy, self.uniform)))
        return Gain(
            ratio=ratio,
            low=float(ratio * np.exp(-QUANTILE * error)),
            high=float(ratio * np.exp(QUANTILE * error)),
        )

    @property
    def should_use(self) -> bool:
        """Whether the strategy should be in use from now on.

        It begins in use; once there is a verdict, it is while the interval lies above 1.
        """
        gain = self.gain
        return self.in_use if gain is None else gain.low > 1
