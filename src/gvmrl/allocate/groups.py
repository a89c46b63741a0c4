"""Counts that are 0 or at least k: a baseline within the group needs company.

Axes: P prompts.

Such counts have no price any more (the set is not convex), but they do once it is settled which
prompts take part. The first k rollouts of a prompt are bought together or not at all, at their
mean gain, which exceeds the gain of any later one. So the prompts are ranked by that mean, and as
many are let in as the budget pays for at the price at which the last of them enters. That is
optimal but for the last prompt, like every greedy answer to a knapsack.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gvmrl.allocate.bounds import Bounds
from gvmrl.allocate.demand import Demand
from gvmrl.data import FloatArray, IntArray


def let_in(demand: Demand, bounds: Bounds, group_min: int) -> Bounds:
    """Return the bounds with `lo` raised to the group size, and `hi` 0 for those left out.

    Args:
        demand: Gains per unit of cost.
        bounds: A prompt with `lo` > 0 takes part in any case.
        group_min: Smallest group, >= 1.

    Raises:
        ValueError: If no counts of 0 or at least `group_min` can spend the budget.
    """
    if group_min == 1:
        return bounds
    lo_P = np.where(bounds.lo_P > 0, np.maximum(bounds.lo_P, group_min), 0.0)
    stuck_P = lo_P > bounds.hi_P
    if stuck_P.any():
        row = int(stuck_P.argmax())
        raise ValueError(
            f"row {row} must have {lo_P[row]:.0f} rollouts (lo and group_min) but at most "
            f"{bounds.hi_P[row]:.0f} (hi); raise hi or lower group_min"
        )
    bounds = replace(bounds, lo_P=lo_P, hi_P=np.where(bounds.hi_P >= group_min, bounds.hi_P, 0.0))
    if bounds.spent(lo_P) > bounds.budget:
        raise ValueError(
            f"budget {bounds.budget:.15g} is {bounds.spent(lo_P) - bounds.budget:.15g} short of "
            f"the {bounds.spent(lo_P):.15g} that lo and groups of {group_min} ask for; raise it"
        )
    row_K, price_K = _ranked(demand, bounds, group_min)
    num = _num_worth(demand, bounds, group_min, row_K, price_K)
    row_K = _with_room(bounds, group_min, row_K, num)
    in_P = bounds.lo_P > 0
    in_P[row_K] = True
    return replace(
        bounds,
        lo_P=np.where(in_P, np.maximum(bounds.lo_P, group_min), 0.0),
        hi_P=np.where(in_P, bounds.hi_P, 0.0),
    )


def totals(lo_P: FloatArray, hi_P: FloatArray, group_min: int) -> Callable[[float], bool]:
    """Return a test of whether counts of 0 or at least `group_min` can add up to a total.

    Args:
        lo_P: [P] fewest rollouts.
        hi_P: [P] most rollouts; the prompts with the most are let in first.
        group_min: Smallest group.
    """
    free_P = (lo_P == 0) & (hi_P >= group_min)
    least = float(np.maximum(lo_P[lo_P > 0], group_min).sum())
    least_K = least + group_min * np.arange(int(free_P.sum()) + 1.0)
    most_K = np.cumsum(np.append(hi_P[lo_P > 0].sum(), np.sort(hi_P[free_P])[::-1]))

    def can_be(total: float) -> bool:
        num = int(np.searchsorted(most_K, total))
        return num < most_K.size and bool(least_K[num] <= total)

    return can_be


def _ranked(demand: Demand, bounds: Bounds, group_min: int) -> tuple[IntArray, FloatArray]:
    """Return [K] the rows that may enter, best first, and the mean gain of their first group."""
    row_K = bounds.order(np.flatnonzero((bounds.lo_P == 0) & (bounds.hi_P >= group_min)))
    count_P = np.zeros_like(bounds.lo_P)
    price_K = np.zeros(row_K.size)
    for _ in range(group_min):
        price_K += demand.gain(count_P)[row_K] / group_min
        count_P += 1
    # among groups of infinite gain, those first that gain most afterwards
    after_K = demand.gain(count_P)[row_K]
    while np.isinf(after_K).any() and (count_P < bounds.hi_P).any():
        count_P += 1
        after_K = np.where(np.isinf(after_K), demand.gain(count_P)[row_K], after_K)
    after_K = np.where(np.isinf(price_K), after_K, 0.0)
    best_K = np.lexsort((-after_K, -price_K))
    return row_K[best_K], price_K[best_K]


def _num_worth(
    demand: Demand, bounds: Bounds, group_min: int, row_K: IntArray, price_K: FloatArray
) -> int:
    """Return how many of the ranked rows can be paid at the price at which the last one enters."""
    enough, most = 0, row_K.size
    low_P, high_P = bounds.lo_P, bounds.hi_P
    while enough < most:
        num = (enough + most + 1) // 2
        count_P = demand.count_at(float(price_K[num - 1]), low_P, high_P)
        spent_P = np.where(bounds.lo_P > 0, count_P, 0.0)
        spent_P[row_K[:num]] = np.maximum(count_P[row_K[:num]], group_min)
        if bounds.spent(spent_P) <= bounds.budget:
            enough, low_P = num, count_P
        else:
            most, high_P = num - 1, count_P
    return enough


def _with_room(bounds: Bounds, group_min: int, row_K: IntArray, num: int) -> IntArray:
    """Return the rows that enter: the first `num`, or others if these cannot hold the budget.

    Raises:
        ValueError: If no groups can.
    """
    forced_P = bounds.lo_P > 0
    for order_K in (row_K, row_K[np.argsort(-bounds.hi_P[row_K], kind="stable")]):
        least_K = np.cumsum(
            np.append(bounds.spent(bounds.lo_P), bounds.cost_P[order_K] * group_min)
        )
        most_K = np.append(
            bounds.spent(bounds.hi_P * forced_P), bounds.cost_P[order_K] * bounds.hi_P[order_K]
        )
        fits = int(np.searchsorted(least_K, bounds.budget, side="right")) - 1
        num = min(max(num, int(np.searchsorted(np.cumsum(most_K), bounds.budget))), fits)
        if np.cumsum(most_K)[num] >= bounds.budget or not bounds.exact:
            return order_K[:num]
    raise ValueError(
        f"budget {bounds.budget:.0f} cannot be split into groups of 0 or at least {group_min} "
        "within hi; raise hi or change the budget"
    )
