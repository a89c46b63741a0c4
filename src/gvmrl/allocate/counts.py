"""The best whole counts within bounds for a budget, exactly.

Axes: P prompts, K some of them.

Gains fall with the count, so the counts with the largest total gain are those of the dearest
rollouts. A search for the price at which the budget is spent leaves at most one open rollout per
prompt; the largest gains among these come first, and equal gains are settled by a seeded hash of
the prompt's id. All of it works on whole arrays: O(P) a pass, some twenty passes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gvmrl.allocate.bounds import Bounds
from gvmrl.allocate.demand import Demand, in_proportion, maximise_gain, minimise_variance
from gvmrl.allocate.ties import Order, by_row
from gvmrl.data import FloatArray, IntArray


def solve(demand: Demand, bounds: Bounds) -> FloatArray:
    """Return [P] the whole counts within the bounds that buy the largest gains.

    With unit costs they sum to the budget. With other costs they spend at most the budget, and
    what is left pays for no further rollout of a prompt below its upper bound.

    What is left when no gain is left goes evenly to the prompts that have room.

    Args:
        demand: Gains per unit of cost.
        bounds: Feasible: the lower bounds cost at most the budget, the upper ones at least.
    """
    count_P = _buy_must_haves(demand, bounds)
    count_P = _buy_by_price(demand, bounds, count_P)
    even = in_proportion(np.ones_like(count_P))
    return _buy_by_price(even, bounds, count_P)


def apportion(
    weight_P: FloatArray,
    budget: int,
    *,
    lo_P: FloatArray | None = None,
    hi_P: FloatArray | None = None,
    order: Order = by_row,
) -> IntArray:
    """Return [P] the whole counts that sum to the budget and minimise sum weight^2 / n.

    A weight of 0 gets its lower bound, unless the others cannot hold the budget.

    Args:
        weight_P: [P] finite, >= 0, any scale.
        budget: Between the sums of the bounds.
        lo_P: [P] fewest; 0 if None.
        hi_P: [P] most; the budget if None.
        order: Who comes first among equals.

    Raises:
        ValueError: If a weight is negative or not finite, or the bounds exclude the budget.

    Example:
        >>> apportion(np.array([1.0, 3.0, 0.0]), 9).tolist()
        [2, 7, 0]
    """
    return _counts(minimise_variance(weight_P), weight_P.size, budget, lo_P, hi_P, order)


def greedy(
    gain: Callable[[FloatArray], FloatArray],
    budget: int,
    *,
    lo_P: FloatArray,
    hi_P: FloatArray,
    order: Order = by_row,
) -> IntArray:
    """Return [P] the whole counts that sum to the budget and maximise the sum of the gains.

    Args:
        gain: From [P] counts n to [P] the gain of rollout n + 1: >= 0, not growing with n;
            infinite means before anything else.
        budget: Between the sums of the bounds.
        lo_P: [P] fewest.
        hi_P: [P] most.
        order: Who comes first among equals.

    Raises:
        ValueError: If a gain is negative or NaN, or the bounds exclude the budget.

    Example:
        >>> value = np.array([8.0, 4.0])
        >>> greedy(lambda n: value / 2**n, 3, lo_P=np.zeros(2), hi_P=np.full(2, 9.0)).tolist()
        [2, 1]
    """
    return _counts(maximise_gain(gain), lo_P.size, budget, lo_P, hi_P, order)


def _counts(
    demand: Demand,
    num_prompts: int,
    budget: int,
    lo_P: FloatArray | None,
    hi_P: FloatArray | None,
    order: Order,
) -> IntArray:
    """Solve for a budget in rollouts."""
    bounds = Bounds(
        budget=float(budget),
        lo_P=np.zeros(num_prompts) if lo_P is None else np.asarray(lo_P, np.float64),
        hi_P=np.full(num_prompts, float(budget)) if hi_P is None else np.asarray(hi_P, np.float64),
        cost_P=np.ones(num_prompts),
        order=order,
    )
    bounds.check_feasible()
    return solve(demand, bounds).astype(np.int64)


def _buy_must_haves(demand: Demand, bounds: Bounds) -> FloatArray:
    """Buy the rollouts of infinite gain, or those of the prompts that gain most afterwards."""
    count_P = bounds.lo_P.copy()
    while (must_P := np.isinf(demand.gain(count_P)) & (count_P < bounds.hi_P)).any():
        left = bounds.budget - bounds.spent(count_P)
        if bounds.cost_P[must_P].sum() > left:
            row_K, ahead_P = np.flatnonzero(must_P), count_P + 1
            gain_K = demand.gain(ahead_P)[row_K]
            while np.isinf(gain_K).any() and (ahead_P < bounds.hi_P).any():
                ahead_P += 1
                gain_K = demand.gain(ahead_P)[row_K]
            return _buy_best(row_K, gain_K, bounds, count_P)
        count_P += must_P
    return count_P


def _buy_by_price(demand: Demand, bounds: Bounds, count_P: FloatArray) -> FloatArray:
    """Add to the counts, dearest rollout first, until nothing of any gain can be paid."""
    while True:
        left = bounds.budget - bounds.spent(count_P)
        open_P = (count_P < bounds.hi_P) & (bounds.cost_P <= left)
        gain_P = np.where(open_P, demand.gain(count_P), 0.0)
        if not gain_P.any():
            return count_P
        high_P = demand.count_at(0.0, count_P, np.where(open_P, bounds.hi_P, count_P))
        if bounds.spent(high_P) <= bounds.budget:
            return high_P
        low_P, high_P = _search_price(demand, bounds, count_P, high_P, float(gain_P.max()))
        if (high_P - low_P).max() > 1:
            # neighbouring prices: all that is between them gains the same, so share it evenly
            part = replace(bounds, lo_P=low_P, hi_P=high_P)
            count_P = _buy_by_price(in_proportion(np.ones_like(low_P)), part, low_P)
        else:
            row_K = np.flatnonzero(high_P > low_P)
            count_P = _buy_best(row_K, demand.gain(low_P)[row_K], bounds, low_P)


def _search_price(
    demand: Demand, bounds: Bounds, low_P: FloatArray, high_P: FloatArray, dear: float
) -> tuple[FloatArray, FloatArray]:
    """Return counts that can be paid and counts that cannot, one rollout apart where possible.

    Regula falsi on the logarithms of price and spending (Illinois variant), which lie nearly on a
    straight line for the usual rules, with a bisection every fourth step. It ends at the latest
    when the two prices are neighbouring floats.

    Args:
        demand: The gains.
        bounds: The budget and the costs.
        low_P: [P] the counts at the price `dear`, which can be paid.
        high_P: [P] the counts at the price 0, which cannot.
        dear: The largest gain.
    """
    cheap, target = 0.0, np.log1p(bounds.budget)
    under, over = np.log1p(bounds.spent(low_P)) - target, 0.0
    steps, power, last_paid = 0, 2, True
    while (high_P - low_P).max() > 1:
        if cheap == 0:
            # walk down by ever larger factors until the budget is exceeded
            price, power = max(dear * 2.0**-power, np.nextafter(0, 1)), min(2 * power, 1000)
        else:
            share = under / (under - over) if steps % 4 else 0.5
            price = dear * float(np.exp((np.log(cheap) - np.log(dear)) * share))
        if not cheap < price < dear:
            price = cheap + (dear - cheap) / 2
            if not cheap < price < dear:
                break
        count_P = demand.count_at(price, low_P, high_P)
        spent = bounds.spent(count_P)
        if spent == bounds.budget:
            return count_P, count_P
        level, paid = np.log1p(spent) - target, spent < bounds.budget
        if paid:
            dear, low_P, under = price, count_P, level
            over /= 2.0 if last_paid else 1.0
        else:
            cheap, high_P, over = price, count_P, level
            under /= 1.0 if last_paid else 2.0
        steps, last_paid = steps + 1, paid
    return low_P, high_P


def _ranked(row_K: IntArray, gain_K: FloatArray, bounds: Bounds, left: float) -> IntArray:
    """Put rows in the order of their gains; of an exact budget only as many as can be served."""
    if bounds.exact and row_K.size > left:
        last = np.partition(gain_K, row_K.size - int(left))[row_K.size - int(left)]
        equal_K = bounds.order(row_K[gain_K == last])
        above_K = row_K[gain_K > last]
        return np.concatenate([above_K, equal_K])[: int(left)]
    gain_P = np.zeros_like(bounds.lo_P)
    gain_P[row_K] = gain_K
    row_K = bounds.order(row_K)
    return row_K[np.argsort(-gain_P[row_K], kind="stable")]


def _buy_best(
    row_K: IntArray, gain_K: FloatArray, bounds: Bounds, count_P: FloatArray
) -> FloatArray:
    """Give one rollout to each of the rows that gain most, as far as the budget goes.

    A row that cannot be paid is passed over; cheaper ones after it may still be served.
    """
    left = bounds.budget - bounds.spent(count_P)
    if left == 0:
        return count_P
    row_K = _ranked(row_K, gain_K, bounds, left)
    cost_K = bounds.cost_P[row_K]
    count_P = count_P.copy()
    while row_K.size:
        num = int(np.searchsorted(np.cumsum(cost_K), left, side="right"))
        count_P[row_K[:num]] += 1
        left -= float(cost_K[:num].sum())
        keep_K = cost_K[num:] <= left
        row_K, cost_K = row_K[num:][keep_K], cost_K[num:][keep_K]
    return count_P
