"""How much sooner one arm reaches the accuracies of another, with an interval over seeds.

A noisy curve is made to rise by isotonic regression before it is inverted, so that one lucky
evaluation does not count as having arrived. The seeds of two arms are paired: a seed decides the
prompts, and their difficulty moves both curves alike.

Axes: S seeds, E evaluations, C costs, T targets, B bootstrap resamples, N curves.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import isotonic_regression

from gvmrl.data import BoolArray, FloatArray, IntArray

FRACTIONS = (0.4, 0.6, 0.8, 0.95)
"""The targets, as shares of the way from the start to the end of the baseline's mean curve."""
MIN_RISE = 0.02
"""A baseline that rises less than this, or than two standard errors, has no targets."""
NUM_RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The curves of one arm."""

    accuracy_SE: FloatArray
    """[S, E] held-out accuracy."""
    cost_CSE: FloatArray
    """[C, S, E] what had been spent by then, from 0 at the start; rising along E."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A speed-up with its interval; above 1 the arm needs less than the baseline."""

    value: float
    low: float
    """Lower end of the 95% interval; 0 with one seed."""
    high: float
    """Upper end; inf with one seed."""
    bound: str
    """`<=` where the arm, `>=` where the baseline mostly misses targets: the truth lies beyond."""
    log_B: FloatArray
    """[B] bootstrap draws of the logarithm; draw b uses the same seeds for every arm."""

    def __str__(self) -> str:
        value = f"{self.bound}{self.value:.2f}"
        return value if self.low == 0 else f"{value} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """An arm against the baseline, for each of C costs."""

    paired: tuple[Estimate, ...]
    """Median over seeds of the pair's speed-up, itself the geometric mean over the targets."""
    of_means: tuple[Estimate, ...]
    """The same for the two curves that are means over the seeds: less noisy."""
    arm_missed: int
    """Targets that the arm's runs did not reach, out of `num_targets`."""
    baseline_missed: int
    """Targets that the baseline's runs did not reach, out of `num_targets`."""
    num_targets: int
    """Targets times seeds."""


@dataclass(frozen=True, slots=True)
class Share:
    """Part of the way from the baseline to the ceiling, in log speed-up."""

    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float

    def __str__(self) -> str:
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"


def targets_of(accuracy_SE: FloatArray) -> FloatArray:
    """Return the [T] accuracies at `FRACTIONS` of the baseline's way; none if it does not rise.

    The way goes from the mean first accuracy to the end of the mean curve made monotone. It counts
    as a rise from `MIN_RISE` on, and from two standard errors over the seeds where there are two.
    """
    mean_E = accuracy_SE.mean(axis=0)
    rise = _rising(mean_E[None])[0, -1] - mean_E[0]
    enough = MIN_RISE
    if len(accuracy_SE) > 1:
        enough = max(enough, 2 * float(stats.sem(accuracy_SE[:, -1] - accuracy_SE[:, 0])))
    return mean_E[0] + rise * np.array(FRACTIONS) if rise >= enough else np.zeros(0)


def speedup(arm: Curves, baseline: Curves, target_T: FloatArray, *, seed: int = 0) -> Speedup:
    """Compare an arm with the baseline, seed by seed and mean by mean.

    A target that a run misses is entered at the run's last cost, and counted. That pulls a
    speed-up towards the ratio of the last costs: it then is an upper bound if the arm missed, a
    lower bound if the baseline did, and `Estimate.bound` says so.

    Args:
        arm: Curves with S seeds.
        baseline: Curves with the same seeds in the same order; E may differ.
        target_T: Accuracies to reach, at least one.
        seed: Of the bootstrap.
    """
    both = (arm, baseline)
    reached = [cost_to_reach(one.accuracy_SE, one.cost_CSE, target_T) for one in both]
    (arm_CST, arm_missed_ST), (base_CST, base_missed_ST) = reached
    log_CS = (np.log(base_CST) - np.log(arm_CST)).mean(axis=-1)
    row_BS = _resamples(log_CS.shape[1], seed)
    missed_S = [missed_ST.any(axis=1) for missed_ST in (arm_missed_ST, base_missed_ST)]
    bound = _bound(*(bool(2 * one.sum() >= one.size) for one in missed_S))
    return Speedup(
        paired=tuple(
            _estimate(float(np.median(log_S)), np.median(log_S[row_BS], axis=1), bound, log_S.size)
            for log_S in log_CS
        ),
        of_means=_of_means(arm, baseline, target_T, row_BS),
        arm_missed=int(arm_missed_ST.sum()),
        baseline_missed=int(base_missed_ST.sum()),
        num_targets=arm_missed_ST.size,
    )


def cost_to_reach(
    accuracy_NE: FloatArray, cost_CNE: FloatArray, target_T: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return the [C, N, T] costs at which rising curves reach the targets, and [N, T] who missed.

    Linear between evaluations. A curve that starts above a target is charged half of the way to
    its second evaluation, one that misses it all of its cost.
    """
    rising_NE = _rising(accuracy_NE)
    missed_NT = rising_NE[:, -1:] < target_T
    after_NT = (rising_NE[:, None, :] >= target_T[:, None]).argmax(axis=-1)
    after_NT[missed_NT] = rising_NE.shape[1] - 1
    before_NT = np.maximum(after_NT - 1, 0)
    low_NT, high_NT = (np.take_along_axis(rising_NE, at, 1) for at in (before_NT, after_NT))
    step_NT = np.where(high_NT > low_NT, high_NT - low_NT, 1.0)
    share_NT = np.clip((target_T - low_NT) / step_NT, 0, 1)
    share_NT[missed_NT] = 1
    cost_C = []
    for cost_NE in cost_CNE:
        before, after = (np.take_along_axis(cost_NE, at, 1) for at in (before_NT, after_NT))
        cost_C.append(np.maximum(before + share_NT * (after - before), cost_NE[:, 1:2] / 2))
    return np.stack(cost_C), missed_NT


def share_of_ceiling(arm: Estimate, ceiling: Estimate, num_seeds: int) -> Share | None:
    """Return how far an arm gets; None where the ceiling is not clearly above the baseline."""
    if ceiling.low <= 1 or not np.isfinite(ceiling.high):
        return None
    low, high = _interval(arm.log_B / ceiling.log_B, num_seeds)
    return Share(float(np.log(arm.value) / np.log(ceiling.value)), low, high)


def _of_means(
    arm: Curves, baseline: Curves, target_T: FloatArray, row_BS: IntArray
) -> tuple[Estimate, ...]:
    """Compare mean curves: of all seeds first, then of each resample."""
    num_seeds = row_BS.shape[1]
    weight_NS = np.stack([np.bincount(row_S, minlength=num_seeds) for row_S in row_BS])
    weight_NS = np.concatenate([np.ones((1, num_seeds)), weight_NS]) / num_seeds
    (arm_CNT, arm_missed), (base_CNT, base_missed) = (
        cost_to_reach(weight_NS @ one.accuracy_SE, weight_NS @ one.cost_CSE, target_T)
        for one in (arm, baseline)
    )
    log_CN = (np.log(base_CNT) - np.log(arm_CNT)).mean(axis=-1)
    bound = _bound(bool(arm_missed[0].any()), bool(base_missed[0].any()))
    return tuple(_estimate(float(log_N[0]), log_N[1:], bound, num_seeds) for log_N in log_CN)


def _rising(accuracy_NE: FloatArray) -> FloatArray:
    """[N, E] least-squares fits that never fall."""
    return np.stack([isotonic_regression(accuracy_E).x for accuracy_E in accuracy_NE])


def _resamples(num_seeds: int, seed: int) -> IntArray:
    """[B, S] rows of seeds drawn with repeats; the same for all arms with as many seeds."""
    rng = np.random.default_rng((seed, num_seeds))
    return rng.integers(num_seeds, size=(NUM_RESAMPLES, num_seeds))


def _estimate(log_value: float, log_B: FloatArray, bound: str, num_seeds: int) -> Estimate:
    low, high = _interval(log_B, num_seeds) if num_seeds > 1 else (-np.inf, np.inf)
    return Estimate(
        value=float(np.exp(log_value)),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        bound=bound,
        log_B=log_B,
    )


def _interval(value_B: FloatArray, num_seeds: int) -> tuple[float, float]:
    """Percentiles of bootstrap draws, expanded for few seeds.

    Plain percentiles are too narrow by sqrt(1 - 1/S) and by Student's t over the normal; both are
    made up for by going further into the tails (Hesterberg, "What Teachers Should Know about the
    Bootstrap", 2015, section 3.3).
    """
    t = stats.t.ppf((1 - LEVEL) / 2, num_seeds - 1)
    tail = stats.norm.cdf(np.sqrt(num_seeds / (num_seeds - 1)) * t)
    low, high = np.quantile(value_B, (tail, 1 - tail))
    return float(low), float(high)


def _bound(arm_missed: bool, baseline_missed: bool) -> str:
    """Say on which side the truth lies; misses of both offset each other."""
    if arm_missed == baseline_missed:
        return ""
    return "<=" if arm_missed else ">="
