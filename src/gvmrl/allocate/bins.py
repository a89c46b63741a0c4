"""Where a plan spends: its counts by the acceptance rate of the prompts.

Axes: P prompts.
"""

from dataclasses import dataclass

import numpy as np

from gvmrl.allocate.plan import Plan
from gvmrl.data import BoolArray
from gvmrl.stats import PromptStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Prompts of like acceptance rate, and what a plan gives them."""

    name: str
    """Unseen, 0, 0 to 20%, ..., 80 to 100%, 100%; a bound belongs to the bin above it."""
    prompts: int
    """Number of prompts, > 0."""
    rollouts: int
    """What they get together."""
    left_out: int
    """Prompts among them that get nothing."""

    @property
    def mean(self) -> float:
        """Rollouts per prompt."""
        return self.rollouts / self.prompts


def spending(stats: PromptStats, plan: Plan) -> tuple[Bin, ...]:
    """Sum a plan up by acceptance rate; empty bins are left out.

    Args:
        stats: What the plan was made from.
        plan: Its counts are in the order of the statistics.

    Raises:
        ValueError: If the plan was made from other prompts.
    """
    if plan.ids != stats.ids:
        raise ValueError("the plan was made from other prompts than these statistics")
    return tuple(
        Bin(
            name=name,
            prompts=int(member_P.sum()),
            rollouts=int(plan.count_P[member_P].sum()),
            left_out=int((plan.count_P[member_P] == 0).sum()),
        )
        for name, member_P in rate_bins(stats).items()
        if member_P.any()
    )


def rate_bins(stats: PromptStats) -> dict[str, BoolArray]:
    """Return which prompts belong to each bin; every prompt is in one of them."""
    tried_P, accepted_P = stats.tried_P, stats.accepted_P
    fifth_P = np.floor(5 * accepted_P / np.maximum(tried_P, 1e-300))
    bins = {"unseen": tried_P == 0, "0": (tried_P > 0) & (accepted_P == 0)}
    for fifth in range(5):
        bins[f"{20 * fifth} to {20 * fifth + 20}%"] = stats.mixed_P & (fifth_P == fifth)
    bins["100%"] = (tried_P > 0) & (accepted_P == tried_P)
    return bins
