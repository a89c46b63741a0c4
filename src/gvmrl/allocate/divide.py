"""Divide a budget between unseen and seen prompts, and each part by its rule.

Axes: P prompts, K some of them.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from gvmrl.allocate.bounds import Bounds, Limits
from gvmrl.allocate.counts import solve
from gvmrl.allocate.demand import Demand, Proportional, Rule
from gvmrl.allocate.groups import let_in, totals
from gvmrl.allocate.rules.catalog import ROUND_RULES, name_of
from gvmrl.allocate.rules.masks import Masked
from gvmrl.allocate.rules.weights import uniform
from gvmrl.allocate.ties import by_hash
from gvmrl.data import BoolArray, FloatArray, IntArray
from gvmrl.stats import PromptStats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Division:
    """Who gets what, and why."""

    count_P: IntArray
    """[P] rollouts."""
    share_P: FloatArray
    """[P] what the rule asked for."""
    notes: tuple[str, ...]
    """What the user should know."""
    left_out: dict[str, int]
    """Reason to number of prompts without rollouts."""


def divide(stats: PromptStats, bounds: Bounds, rule: Rule, limits: Limits, seed: int) -> Division:
    """Spend the budget: the even share on unseen prompts, the rest by the rule.

    Args:
        stats: One row for each prompt.
        bounds: The budget and the bounds of all rows.
        rule: For the seen prompts; for all of them if it is a rule for rounds.
        limits: Group size and divisor.
        seed: Settles who is served first among equals.

    Raises:
        ValueError: If groups cannot hold the budget, or no multiple of the divisor fits.
    """
    known_P = stats.seen_P | (name_of(rule) in ROUND_RULES)
    count_P: FloatArray = np.zeros(len(stats))
    share_P: FloatArray = np.zeros(len(stats))
    notes: list[str] = []
    left_out: dict[str, int] = {}
    budget = _even_share(bounds, ~known_P, limits.group_min if limits.unit == "rollouts" else 1)
    for member_P, part_rule in ((~known_P, uniform), (known_P, rule)):
        row_K = np.flatnonzero(member_P)
        if row_K.size:
            part_stats = stats.take(row_K)
            part = bounds.part(row_K, budget, by_hash(part_stats.ids, seed))
            demand = part_rule(part_stats).per_cost(part.cost_P)
            count_K = _counts(demand, part, limits)
            count_P[row_K], share_P[row_K] = count_K, _shares(demand, part, count_K)
            notes += [*demand.notes, *_leftover_notes(demand, part, count_K)]
            for reason, number in _reasons(part_stats, demand, part, limits, count_K):
                left_out[reason] = left_out.get(reason, 0) + number
        # what groups or whole rollouts kept the unseen prompts from spending goes to the others
        budget = bounds.budget - bounds.spent(count_P)
    return Division(
        count_P=count_P.astype(np.int64), share_P=share_P, notes=tuple(notes), left_out=left_out
    )


def _even_share(bounds: Bounds, unseen_P: BoolArray, group_min: int) -> float:
    """Return the part of the budget for the unseen prompts: even, as far as the bounds allow."""
    least, most = bounds.spent(bounds.lo_P * unseen_P), bounds.spent(bounds.hi_P * unseen_P)
    rest_least, rest_most = bounds.spent(bounds.lo_P) - least, bounds.spent(bounds.hi_P) - most
    whole = bounds.spent(np.ones_like(bounds.lo_P))
    even = math.floor(bounds.budget * bounds.spent(unseen_P.astype(np.float64)) / whole + 0.5)
    even = min(max(even, least, bounds.budget - rest_most), most, bounds.budget - rest_least)
    if group_min == 1 or not 0 < even < bounds.budget:
        return even
    # the nearest share that both parts can split into groups
    rows = (np.flatnonzero(unseen_P), np.flatnonzero(~unseen_P))
    unseen, seen = (totals(bounds.lo_P[row_K], bounds.hi_P[row_K], group_min) for row_K in rows)
    for step in range(2 * group_min):
        for share in (even + step, even - step):
            if unseen(share) and seen(bounds.budget - share):
                return share
    return even


def _counts(demand: Demand, bounds: Bounds, limits: Limits) -> FloatArray:
    """Return [P] the best counts within bounds, groups and divisor."""
    count_P = solve(demand, let_in(demand, bounds, limits.group_min))
    excess = count_P.sum() % limits.multiple_of
    if bounds.exact or excess == 0:
        return count_P
    # take away the rollouts that gain least, so many that the rest is divisible and in groups
    can_be = totals(bounds.lo_P, count_P, limits.group_min)
    total = count_P.sum() - excess
    while total > 0 and not can_be(total):
        total -= limits.multiple_of
    fewer = replace(bounds, budget=total, hi_P=count_P, cost_P=np.ones_like(count_P), exact=True)
    fewer.check_feasible()
    return solve(demand, let_in(demand, fewer, limits.group_min))


def _shares(demand: Demand, bounds: Bounds, count_P: FloatArray) -> FloatArray:
    """Return [P] what the rule asked for; the counts themselves for a rule without shares."""
    if not isinstance(demand, Proportional):
        return count_P
    weight_P = demand.weight_P if demand.weight_P.any() else np.ones_like(demand.weight_P)
    # first by the maximum: the sum may overflow; fsum: the same in any order
    weight_P = weight_P / weight_P.max()
    return weight_P * (bounds.budget / math.fsum(weight_P * bounds.cost_P))


def _leftover_notes(demand: Demand, bounds: Bounds, count_P: FloatArray) -> list[str]:
    """Say what was spread evenly because no prompt with a gain could take it."""
    worth_P = demand.count_at(0.0, bounds.lo_P, bounds.hi_P)
    spread = float(np.maximum(count_P - worth_P, 0).sum())
    if spread == 0:
        return []
    if (worth_P == bounds.lo_P).all():
        return ["no prompt has a positive weight: the budget is spread evenly"]
    note = "the prompts with a positive weight are at their upper bound: the others get the rest"
    return [f"{note}, {spread:.0f} rollouts"]


def _reasons(
    stats: PromptStats, demand: Demand, bounds: Bounds, limits: Limits, count_P: FloatArray
) -> list[tuple[str, int]]:
    """Return why prompts have no rollout, and how many for each reason."""
    masked_P = np.zeros(len(stats), np.bool_)
    if isinstance(demand, Masked):
        masked_P = ~demand.keep_P
    tried_P, accepted_P = stats.tried_P, stats.accepted_P
    worthless_P = demand.gain(np.zeros(len(stats))) == 0
    reasons = {
        "hi is below the smallest group": bounds.hi_P < limits.group_min,
        "masked": masked_P,
        "unseen, and the budget is too small": tried_P == 0,
        "nothing accepted yet": worthless_P & (accepted_P == 0),
        "everything accepted so far": worthless_P & (accepted_P == tried_P),
        "the rule gives no weight": worthless_P,
        "others gain more": np.ones(len(stats), np.bool_),
    }
    open_P = count_P == 0
    numbers: list[tuple[str, int]] = []
    for reason, holds_P in reasons.items():
        if (number := int((open_P & holds_P).sum())) > 0:
            numbers.append((reason, number))
        open_P = open_P & ~holds_P
    return numbers
