"""What one more rollout is worth to each prompt: all that a rule has to say.

Axes: P prompts.

Counts are whole, so a rule is best told as a list of gains: what the first rollout of a prompt is
worth, the second, the third, each no more than the one before. The best counts for a budget are
then the rollouts with the largest gains, `counts.py` finds them, and there is a price that
separates the gains that are bought from those that are not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


class Demand(Protocol):
    """A rule's answer: how many rollouts each prompt is worth at any price."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user of the plan should know about the answer."""
        ...

    def gain(self, count_P: FloatArray) -> FloatArray:
        """Return [P] what rollout number count + 1 is worth: >= 0, falling with the count."""
        ...

    def count_at(self, price: float, low_P: FloatArray, high_P: FloatArray) -> FloatArray:
        """Return [P] how many rollouts gain more than `price`, kept within [low, high]."""
        ...

    def per_cost(self, cost_P: FloatArray) -> "Demand":
        """Return the demand per token, where a rollout takes `cost_P` tokens."""
        ...


Rule = Callable[[PromptStats], Demand]
"""What one more rollout of each prompt is worth, given the statistics of P seen prompts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proportional:
    """Counts in proportion to a weight, as near as whole numbers come.

    Made by `minimise_variance` and `in_proportion`. The gain of rollout n + 1 is
    weight / sqrt(n (n + 1) + shift).
    """

    weight_P: FloatArray
    """[P] finite, >= 0, any scale."""
    shift: float
    """0: minimise sum weight^2 / n; 1/4: round shares to nearest."""
    notes: tuple[str, ...] = ()
    """What the user of the plan should know."""

    def __post_init__(self) -> None:
        bad_P = ~(np.isfinite(self.weight_P) & (self.weight_P >= 0))
        if bad_P.any():
            row = int(bad_P.argmax())
            raise ValueError(
                f"the rule's weights must be finite and >= 0; row {row} of {self.weight_P.size} "
                f"is {self.weight_P[row]} ({int(bad_P.sum())} bad rows)"
            )

    def gain(self, count_P: FloatArray) -> FloatArray:
        """Return [P] weight / sqrt(n (n + 1) + shift); infinite at n = 0 without a shift."""
        return _quotient(self.weight_P, count_P, self.shift)

    def count_at(self, price: float, low_P: FloatArray, high_P: FloatArray) -> FloatArray:
        """Solve gain(n) > price for n in closed form."""
        if price == 0:
            return np.where(self.weight_P > 0, high_P, low_P)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            root_P = np.sqrt((self.weight_P / price) ** 2 + (0.25 - self.shift)) - 0.5
            near_P = np.abs(root_P - np.rint(root_P)) <= 1e-9 * (root_P + 1)
        count_P = np.clip(np.ceil(root_P), low_P, high_P)
        # next to a whole number rounding might decide otherwise than the gain does
        row_K = np.flatnonzero(near_P)
        count_K, weight_K = count_P[row_K], self.weight_P[row_K]
        count_K += (count_K < high_P[row_K]) & (_quotient(weight_K, count_K, self.shift) > price)
        before_K = np.maximum(count_K - 1, 0)
        count_K -= (count_K > low_P[row_K]) & (_quotient(weight_K, before_K, self.shift) <= price)
        count_P[row_K] = count_K
        return count_P

    def per_cost(self, cost_P: FloatArray) -> Demand:
        """Weigh a variance by 1 / sqrt(cost); a share is a number of rollouts whatever the cost."""
        if self.shift > 0:
            return self
        return replace(self, weight_P=self.weight_P / np.sqrt(cost_P))


def _quotient(weight_K: FloatArray, count_K: FloatArray, shift: float) -> FloatArray:
    """Return [K] weight / sqrt(n (n + 1) + shift)."""
    signpost_K = np.sqrt(count_K * (count_K + 1) + shift)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        gain_K = weight_K / signpost_K
    if shift == 0:
        gain_K[weight_K == 0] = 0.0
    return gain_K


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Greedy:
    """The counts with the largest total gain; made by `maximise_gain`."""

    worth: Callable[[FloatArray], FloatArray]
    """From [P] whole counts n to [P] the gain of rollout n + 1: >= 0 and falling with n."""
    cost_matters: bool = True
    """Whether a gain is worth less where a rollout takes more tokens."""
    notes: tuple[str, ...] = ()
    """What the user of the plan should know."""

    def gain(self, count_P: FloatArray) -> FloatArray:
        """Return [P] the gain of the next rollout, refusing what is no number >= 0."""
        with np.errstate(under="ignore"):
            gain_P = self.worth(count_P)
        if not (gain_P >= 0).all():
            row = int((~(gain_P >= 0)).argmax())
            raise ValueError(
                f"the rule's gains must be >= 0; row {row} of {gain_P.size} gains {gain_P[row]} "
                f"from rollout {count_P[row] + 1:.0f}"
            )
        return gain_P

    def count_at(self, price: float, low_P: FloatArray, high_P: FloatArray) -> FloatArray:
        """Bisect on the counts of all prompts at once."""
        low_P, high_P = low_P.copy(), high_P.copy()
        while (open_P := low_P < high_P).any():
            middle_P = np.floor((low_P + high_P) / 2)
            enough_P = self.gain(middle_P) <= price
            np.copyto(high_P, middle_P, where=open_P & enough_P)
            np.copyto(low_P, middle_P + 1, where=open_P & ~enough_P)
        return low_P

    def per_cost(self, cost_P: FloatArray) -> Demand:
        """Divide every gain by the prompt's cost, if it matters."""
        if not self.cost_matters:
            return self

        def worth(count_P: FloatArray) -> FloatArray:
            return self.worth(count_P) / cost_P

        return replace(self, worth=worth)


def minimise_variance(weight_P: FloatArray, notes: tuple[str, ...] = ()) -> Demand:
    """Ask for the whole counts that minimise sum weight^2 / n.

    Among real numbers they are proportional to the weights. Among whole ones, rollout n + 1 saves
    weight^2 (1/n - 1/(n+1)) = weight^2 / (n (n+1)), which is the divisor method of Huntington and
    Hill. The first rollout saves without bound: while the budget allows, every prompt with a
    positive weight gets one, and the largest weights come first.

    Args:
        weight_P: [P] standard deviation of one rollout's share of the update, any scale; 0 where
            a rollout is worth nothing.
        notes: What the user of the plan should know.

    Raises:
        ValueError: If a weight is negative or not finite.
    """
    return Proportional(weight_P=weight_P, shift=0.0, notes=notes)


def in_proportion(weight_P: FloatArray, notes: tuple[str, ...] = ()) -> Demand:
    """Ask for counts in proportion to the weights, each share rounded to nearest.

    The divisor method of Webster: the gain of rollout n + 1 is weight / (n + 1/2), so a share
    below about a half gets nothing.

    Args:
        weight_P: [P] wanted share, any scale.
        notes: What the user of the plan should know.

    Raises:
        ValueError: If a weight is negative or not finite.
    """
    return Proportional(weight_P=weight_P, shift=0.25, notes=notes)


def maximise_gain(
    gain: Callable[[FloatArray], FloatArray],
    notes: tuple[str, ...] = (),
    *,
    cost_matters: bool = True,
) -> Demand:
    """Ask for the counts whose gains add up to the most.

    Args:
        gain: From [P] whole counts n to [P] the gain of rollout n + 1, which must be >= 0 and must
            not grow with n. Infinite means: before anything else. It is called with counts from
            the lower to the upper bound.
        notes: What the user of the plan should know.
        cost_matters: Whether a budget in tokens is spent by gain per token; False where the gains
            only say in which order numbers of rollouts fill up.
    """
    return Greedy(worth=gain, notes=notes, cost_matters=cost_matters)
