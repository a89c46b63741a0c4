"""The limits that a plan must keep to, from what the user wrote.

Axes: P prompts, K some of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gvmrl.allocate.ties import Order, by_row
from gvmrl.data import FloatArray, IntArray
from gvmrl.stats import PromptStats

LARGEST_BUDGET = 2**50
"""Whole numbers up to here are exact in floats, with room for sums."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """What the counts of P prompts must keep to; whole numbers, held as floats."""

    budget: float
    """What may be spent, in units of `cost_P`."""
    lo_P: FloatArray
    """[P] fewest rollouts."""
    hi_P: FloatArray
    """[P] most rollouts, >= `lo_P`."""
    cost_P: FloatArray
    """[P] what one rollout takes, > 0; all 1 where the budget is in rollouts. Multiples of one
    power of two, so that sums up to the budget are exact in any order."""
    order: Order
    """Puts rows of equal gain in the order in which they are served."""
    exact: bool = True
    """Whether the budget is spent to the last one: only with costs of 1."""

    def spent(self, count_P: FloatArray) -> float:
        """Return what the counts take."""
        return float(count_P @ self.cost_P)

    def check_feasible(self, unit: str = "rollouts") -> None:
        """Refuse a budget that the bounds exclude.

        Args:
            unit: What the budget counts, for the message.

        Raises:
            ValueError: With the amount that is missing or too much.
        """
        least, most = self.spent(self.lo_P), self.spent(self.hi_P)
        if self.budget < least:
            raise ValueError(
                f"budget {self.budget:.15g} is {least - self.budget:.15g} {unit} short of the "
                f"{least:.15g} that lo asks for; raise the budget or lower lo"
            )
        if self.budget > most:
            raise ValueError(
                f"budget {self.budget:.15g} is {self.budget - most:.15g} {unit} more than the "
                f"{most:.15g} that hi allows; lower the budget or raise hi"
            )

    def part(self, row_K: IntArray, budget: float, order: Order) -> "Bounds":
        """Return the bounds of some rows, with a budget and an order of their own."""
        return replace(
            self,
            budget=budget,
            lo_P=self.lo_P[row_K],
            hi_P=self.hi_P[row_K],
            cost_P=self.cost_P[row_K],
            order=order,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan must keep to, besides the bounds of each prompt."""

    unit: Literal["rollouts", "tokens"] = "rollouts"
    """What the budget counts; tokens need the prompts' `cost_P`."""
    group_min: int = 1
    """Smallest group: a prompt gets 0 rollouts or at least this many. RLOO and GRPO learn nothing
    from groups of 1."""
    multiple_of: int = 1
    """What the number of all rollouts must be divisible by; up to this many fewer are spent."""

    def __post_init__(self) -> None:
        if self.unit not in ("rollouts", "tokens"):
            raise ValueError(f"limits.unit must be rollouts or tokens, got {self.unit!r}")
        for name in ("group_min", "multiple_of"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"limits.{name} must be >= 1, got {getattr(self, name)}")


def bounds_of(
    stats: PromptStats, budget: int, lo: ArrayLike, hi: ArrayLike | None, limits: Limits
) -> Bounds:
    """Return the bounds for a budget, served in the order of the rows.

    Args:
        stats: One row for each prompt.
        budget: Whole, >= 0.
        lo: Fewest rollouts, whole and >= 0; one number, or one for each row.
        hi: Most, likewise and >= lo; None is no bound.
        limits: The unit of the budget, and its divisor.

    Raises:
        ValueError: If one of them is not as described, or the bounds exclude the budget.
    """
    if not (0 <= budget <= LARGEST_BUDGET and budget == int(budget)):
        raise ValueError(f"budget must be a whole number from 0 to 2**50, got {budget}")
    spendable = float(budget)
    if limits.unit == "rollouts":
        spendable -= budget % limits.multiple_of
        cost_P = np.ones(len(stats))
    else:
        cost_P = _token_costs(stats, budget)
    lo_P = _column("lo", lo, stats.ids)
    if hi is None:
        hi_P = np.maximum(np.floor(spendable / cost_P), lo_P)
    else:
        hi_P = _column("hi", hi, stats.ids)
    if (lo_P > hi_P).any():
        row = int((lo_P > hi_P).argmax())
        raise ValueError(
            f"lo must be at most hi, got lo {lo_P[row]:.15g} and hi {hi_P[row]:.15g} for prompt "
            f"{stats.ids[row]!r} (row {row})"
        )
    bounds = Bounds(
        budget=spendable,
        lo_P=lo_P,
        hi_P=hi_P,
        cost_P=cost_P,
        order=by_row,
        exact=limits.unit == "rollouts",
    )
    if hi is not None or spendable < bounds.spent(lo_P):
        cut = f" (after rounding {budget} down to a multiple of {limits.multiple_of})"
        bounds.check_feasible(limits.unit + (cut if spendable < budget else ""))
    return bounds


def _token_costs(stats: PromptStats, budget: int) -> FloatArray:
    """Return [P] the costs, rounded up to a multiple of a power of two below budget / 2^50."""
    if stats.cost_P is None:
        raise ValueError(
            "a budget in tokens needs the expected tokens of a rollout (cost) for every prompt"
        )
    step = 2.0 ** (max(budget, 1).bit_length() - 51)
    return np.maximum(np.ceil(stats.cost_P / step), 1) * step


def _column(name: str, value: ArrayLike, ids: Sequence[str]) -> FloatArray:
    """Return [P] one bound, spread over the prompts, or say what is wrong with it."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (len(ids),)):
        raise ValueError(
            f"{name} must be one number or one for each of {len(ids)} prompts, got shape "
            f"{array.shape}"
        )
    array_P = np.broadcast_to(array, (len(ids),)).copy()
    bad_P = ~((array_P >= 0) & (array_P <= LARGEST_BUDGET) & (array_P == np.floor(array_P)))
    if bad_P.any():
        row = int(bad_P.argmax())
        raise ValueError(
            f"{name} must be a whole number from 0 to 2**50, got {array_P[row]} for prompt "
            f"{ids[row]!r} (row {row})"
        )
    return array_P
