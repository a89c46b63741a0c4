"""From terms to figures with intervals.

Axes: P prompts, J = P + 1 sets of prompts: all of them, then all but one.

The intervals are for other prompts of the same kind and other rollouts of them: leaving prompts
out one by one shows both, as a prompt takes its rollouts with it (Quenouille's and Tukey's
jackknife, with normal quantiles).
"""

from dataclasses import dataclass

import numpy as np

from gvmrl.data import FloatArray
from gvmrl.probe.arms import Terms

QUANTILE = 1.96
"""Of the normal distribution, for 95% intervals."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval; NaN where the measurements cannot resolve it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "unresolved"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def json(self) -> dict[str, float | None]:
        """The three numbers; None where they are not finite."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: x if np.isfinite(x) else None for name, x in numbers.items()}

    @property
    def complement(self) -> "Estimate":
        """1 minus it: what is saved, for a ratio of costs."""
        return Estimate(1 - self.value, 1 - self.high, 1 - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """An update on each set of prompts."""

    variance_J: FloatArray
    """[J] trace of its covariance, the luck of the statistics included."""
    bias_J: FloatArray
    """[J] in [0, 1]: sine of the angle between its mean and the target. A common factor, which
    the learning rate absorbs, is no bias."""
    snr_J: FloatArray
    """[J] (E update . target)^2 / (|target|^2 E|update|^2)."""

    @property
    def noise_J(self) -> FloatArray:
        """[J] 1 / snr - 1: variance over signal, with bias counted as noise.

        For an unbiased update it is inversely proportional to the number of rollouts, so that a
        ratio of two is one of costs.
        """
        return 1 / self.snr_J - 1


def figures(terms: Terms, count: int) -> Figures:
    """Add the terms up over each set of prompts.

    Args:
        terms: Of one update.
        count: Rollouts of a prompt on average. A set that spends more than that per prompt would
            be flattered: its counts are lowered, all in proportion, until it does not.
    """
    inside_JP = one_left_out(terms.count_P.size)
    cost_J = inside_JP @ terms.count_P / (count * terms.count_P.size)

    def total(product_PP: FloatArray) -> FloatArray:
        return np.einsum("jp,pq,jq->j", inside_JP, product_PP, inside_JP)

    within_J = inside_JP @ terms.variance_P - np.log(cost_J) * (inside_JP @ terms.slope_P)
    mean_J, cross_J, target_J = (
        total(each) for each in (terms.mean_PP, terms.cross_PP, terms.target_PP)
    )
    length_J = total(terms.square_PP) + within_J
    # squared lengths are estimated without bias, and so may come out negative
    resolved_J = (target_J > 0) & (mean_J > 0) & (length_J > 0) & (cross_J > 0)
    square_J = np.where(resolved_J, cross_J, np.nan) ** 2 / target_J
    return Figures(
        variance_J=length_J - mean_J,
        bias_J=np.sqrt(np.clip(1 - square_J / mean_J, 0, 1)),
        snr_J=np.minimum(square_J / length_J, 1),
    )


def one_left_out(num: int) -> FloatArray:
    """Return [J, P] the weights of the prompts: 1 for all, then one 0 and P / (P - 1) elsewhere."""
    return np.concatenate([np.ones((1, num)), (1 - np.eye(num)) * num / (num - 1)])


def estimate(value_J: FloatArray) -> Estimate:
    """Return a figure with its interval from its values on each set of prompts."""
    half = QUANTILE * _deviation(value_J)
    return Estimate(float(value_J[0]), float(value_J[0] - half), float(value_J[0] + half))


def ratio(above_J: FloatArray, below_J: FloatArray) -> Estimate:
    """Return the ratio of two positive figures, with an interval that is even in its logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_J = np.log(above_J / below_J)
    low, middle, high = np.exp(log_J[0] + np.array([-1, 0, 1]) * QUANTILE * _deviation(log_J))
    return Estimate(float(middle), float(low), float(high))


def of_two(one_P: FloatArray, two_P: FloatArray) -> Estimate:
    """Return the mean of two independent measurements of a sum over prompts.

    Its interval is for other rollouts of the same prompts.
    """
    value = float((one_P.sum() + two_P.sum()) / 2)
    half = QUANTILE * float(np.sqrt(((one_P - two_P) ** 2).sum())) / 2
    return Estimate(value, value - half, value + half)


def student(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t, to 2% from 4 degrees of freedom on.

    Two terms of Fisher and Cornish's expansion about the normal quantile.
    """
    z = QUANTILE
    first = (z**3 + z) / (4 * freedom)
    return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _deviation(value_J: FloatArray) -> float:
    """Return the jackknife's standard error."""
    each = value_J[1:]
    return float(np.sqrt((each.size - 1) * np.mean((each - each.mean()) ** 2)))
