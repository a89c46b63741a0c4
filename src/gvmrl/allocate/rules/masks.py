"""Masks: who takes part at all, whatever the rule says of the others.

Axes: P prompts, all of them seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gvmrl.allocate.demand import Demand, Rule
from gvmrl.allocate.ties import uniform_draws
from gvmrl.data import BoolArray, FloatArray
from gvmrl.stats import PromptStats

Mask = Callable[[PromptStats], BoolArray]
"""[P] whether each prompt takes part."""


def masked(rule: Rule, mask: Mask) -> Rule:
    """Return the rule that gives no gain to the prompts that the mask leaves out.

    Example:
        >>> from functools import partial
        >>> from gvmrl import PromptStats, allocate
        >>> from gvmrl.allocate.rules.weights import uniform
        >>> stats = PromptStats(ids=("a", "b", "c"), trials_P=[8, 8, 8], successes_P=[0, 4, 8])
        >>> rule = masked(uniform, partial(mopps, keep=1))
        >>> allocate(stats, 6, rule=rule).count_P.tolist()
        [0, 6, 0]
    """

    def masked_rule(stats: PromptStats) -> Demand:
        return Masked(demand=rule(stats), keep_P=mask(stats))

    return masked_rule


def mixed(stats: PromptStats) -> BoolArray:
    """Keep the prompts of which some, but not all, rollouts were accepted."""
    return stats.mixed_P


def greso(
    stats: PromptStats,
    *,
    streak: Mapping[str, int],
    keep_rate: float = 0.5,
    floor: float = 0.01,
    seed: int = 0,
) -> BoolArray:
    """Keep a prompt with probability max(keep_rate^c, floor), c its streak of decided visits.

    Source: GRESO, arXiv 2506.02177.

    Changed: the authors steer `keep_rate`, apart for too easy and too hard prompts, towards a
    wanted share of decided groups; here it is given. The draw hangs on the id and the seed.

    Right where many prompts stay decided for long, and the streaks are at hand.

    Args:
        stats: The prompts.
        streak: Visits in a row, up to the last, that were all right or all wrong, by prompt id; a
            prompt that is not in it has none.
        keep_rate: Chance to be kept after one such visit, 0 to 1.
        floor: Smallest chance, 0 to 1.
        seed: Another seed draws other prompts.

    Raises:
        ValueError: If a chance lies outside [0, 1] or a streak is negative.
    """
    if not (0 <= keep_rate <= 1 and 0 <= floor <= 1):
        raise ValueError(f"keep_rate and floor must lie in [0, 1], got {keep_rate} and {floor}")
    streak_P = np.array([streak.get(prompt_id, 0) for prompt_id in stats.ids], np.float64)
    if (streak_P < 0).any():
        row = int((streak_P < 0).argmax())
        raise ValueError(f"the streak of prompt {stats.ids[row]!r} is {streak_P[row]:g}, below 0")
    return uniform_draws(stats.ids, seed) < np.maximum(keep_rate**streak_P, floor)


def mopps(
    stats: PromptStats,
    *,
    keep: int,
    target: float = 0.5,
    a: float = 1.0,
    b: float = 1.0,
    seed: int = 0,
) -> BoolArray:
    """Keep the `keep` prompts whose rate, drawn from its posterior, is nearest to the target.

    Source: MoPPS, arXiv 2507.04632: Thompson sampling under a Beta(a, b) prior; the authors take
    a = b = 1, a target of 1/2 and statistics that age.

    Changed: nothing; the draws follow the order of the ids, so the order of the rows is immaterial.

    Right where a step uses few of many prompts.

    Args:
        stats: Successes and trials.
        keep: Prompts to keep, >= 0; all if there are no more.
        target: The rate that teaches most, in [0, 1].
        a: Imagined successes, > 0.
        b: Imagined failures, > 0.
        seed: Another seed draws other rates.

    Raises:
        ValueError: If a setting is out of range.
    """
    if not (keep >= 0 and 0 <= target <= 1 and a > 0 and b > 0):
        raise ValueError(
            f"mopps needs keep >= 0, 0 <= target <= 1 and a, b > 0, got {keep}, {target}, {a}, {b}"
        )
    order_P = np.array(sorted(range(len(stats)), key=stats.ids.__getitem__))
    hits_P, tries_P = stats.accepted_P[order_P], stats.tried_P[order_P]
    rate_P = np.random.default_rng(seed % 2**64).beta(hits_P + a, tries_P - hits_P + b)
    keep_P = np.zeros(len(stats), np.bool_)
    keep_P[order_P[np.argsort(np.abs(rate_P - target), kind="stable")[:keep]]] = True
    return keep_P


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masked:
    """A demand in which some prompts gain nothing."""

    demand: Demand
    """What the rule says of all prompts."""
    keep_P: BoolArray
    """[P] whose gains count."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the rule notes, and how many prompts the mask leaves out."""
        return (*self.demand.notes, f"the mask leaves out {int((~self.keep_P).sum())} prompts")

    def gain(self, count_P: FloatArray) -> FloatArray:
        """Return [P] the rule's gains, or 0."""
        return np.where(self.keep_P, self.demand.gain(count_P), 0.0)

    def count_at(self, price: float, low_P: FloatArray, high_P: FloatArray) -> FloatArray:
        """Return [P] the rule's counts, or the least."""
        return self.demand.count_at(price, low_P, np.where(self.keep_P, high_P, low_P))

    def per_cost(self, cost_P: FloatArray) -> Demand:
        """Return the rule's demand per cost, masked."""
        return replace(self, demand=self.demand.per_cost(cost_P))
