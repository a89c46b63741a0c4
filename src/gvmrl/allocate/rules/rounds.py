"""Rules for drawing in rounds: after each, ask again with what the round has brought.

Axes: P prompts.

The counts are further rollouts, on top of `round_trials_P`. Nothing is thrown away: what was drawn
to look at a prompt is trained on. These rules want a certain number of rollouts, whatever the
budget is: `wanted` says how many, and a smaller budget is shared in proportion.
"""

import numpy as np

from gvmrl.allocate.demand import Demand, maximise_gain
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def speed(stats: PromptStats, *, first: int = 4, more: int = 20) -> Demand:
    """Draw `first` rollouts; where some but not all of them succeed, draw `more`.

    Source: SPEED-RL, arXiv 2506.09016, with 4 + 20.

    Changed: the first rollouts are kept for training.

    Right for estimators with a baseline when no history is at hand.

    Args:
        stats: `round_trials_P` and `round_successes_P`; none drawn yet if absent.
        first: Rollouts to look at a prompt, >= 1.
        more: Rollouts for a mixed one, >= 0.

    Raises:
        ValueError: If first or more is out of range.
    """
    return _up_to(_screened(stats, first, more))


def pilot_commit(stats: PromptStats, *, first: int = 16, more: int = 48) -> Demand:
    """Draw `first` rollouts; where some but not all of them succeed, draw `more`.

    Source: Pilot-Commit, arXiv 2605.26606, with 16 + 48.

    Changed: nothing; the pilots were kept for training already.

    Right as `speed`, for large groups: fewer hard prompts are taken for dead.

    Args:
        stats: `round_trials_P` and `round_successes_P`; none drawn yet if absent.
        first: Rollouts to look at a prompt, >= 1.
        more: Rollouts for a mixed one, >= 0.

    Raises:
        ValueError: If first or more is out of range.
    """
    return _up_to(_screened(stats, first, more))


def reinforce_ada(
    stats: PromptStats, *, right: int = 2, wrong: int = 2, each: int = 8, rounds: int = 4
) -> Demand:
    """Draw `each` more rollouts a round until a prompt has enough right and enough wrong ones.

    Source: Reinforce-Ada, arXiv 2510.04996, balanced form: 8 a round, at most 4 rounds, and 4 kept
    for training (2 right and 2 wrong).

    Changed: nothing is thrown away here; which rollouts are kept is the trainer's choice.

    Right for GRPO with small groups: almost every group it ends with is mixed.

    Args:
        stats: `round_trials_P` and `round_successes_P`; none drawn yet if absent.
        right: Successes that are enough, >= 0.
        wrong: Failures that are enough, >= 0.
        each: Rollouts a round, >= 1.
        rounds: Most rounds, >= 1.

    Raises:
        ValueError: If a setting is out of range.
    """
    if not (right >= 0 and wrong >= 0 and each >= 1 and rounds >= 1):
        raise ValueError(
            f"reinforce_ada needs right, wrong >= 0 and each, rounds >= 1, got {right}, {wrong}, "
            f"{each}, {rounds}"
        )
    drawn_P, hits_P = _drawn(stats)
    unmet_P = (hits_P < right) | (drawn_P - hits_P < wrong)
    return _up_to(np.where(unmet_P & (drawn_P < each * rounds), float(each), 0.0))


def wanted(demand: Demand, num_prompts: int) -> int:
    """Return how many rollouts of a prompt or other have any gain, all in all.

    The budget to give a round rule; without end for the other rules, which never have enough.

    Example:
        >>> stats = PromptStats(ids=("a", "b"), trials_P=[0, 0], successes_P=[0, 0],
        ...                     round_trials_P=[4, 4], round_successes_P=[1, 4])
        >>> wanted(speed(stats), 2)
        20
    """
    return int(demand.count_at(0.0, np.zeros(num_prompts), np.full(num_prompts, 2.0**30)).sum())


def _screened(stats: PromptStats, first: int, more: int) -> FloatArray:
    """Return [P] the rollouts still wanted."""
    if not (first >= 1 and more >= 0):
        raise ValueError(f"first must be >= 1 and more >= 0, got {first} and {more}")
    drawn_P, hits_P = _drawn(stats)
    mixed_P = (hits_P > 0) & (hits_P < drawn_P)
    goal_P = np.where(mixed_P & (drawn_P >= first), first + more, first)
    return np.maximum(goal_P - drawn_P, 0.0)


def _drawn(stats: PromptStats) -> tuple[FloatArray, FloatArray]:
    """Return [P] the rollouts of this round, and the successes among them."""
    if stats.round_trials_P is None or stats.round_successes_P is None:
        return np.zeros(len(stats)), np.zeros(len(stats))
    return stats.round_trials_P, stats.round_successes_P


def _up_to(want_P: FloatArray) -> Demand:
    """Ask for these counts, or for shares in this proportion if they cannot be paid."""

    def gain(count_P: FloatArray) -> FloatArray:
        return np.where(count_P < want_P, want_P / (count_P + 0.5), 0.0)

    return maximise_gain(gain, cost_matters=False)
