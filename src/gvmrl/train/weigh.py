"""What each rollout weighs: advantages, per-prompt weights and the count that divides the loss.

An update is  sum_R weight_R / length_R * sum_T token_loss(advantage_R)  /  sum_R share_R.
Everything here is numpy over whole groups, before rollouts are split into updates, so no split
changes a coefficient. Axes: P prompts, R rollouts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gvmrl.data import FloatArray, IntArray, Rollouts, segment_sum
from gvmrl.estimate.history import Belief
from gvmrl.losses import POSITIVE_ONLY, Loss, LossConfig

STD_EPSILON = 1e-6
"""Added to the standard deviation of a group, as verl does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How R rollouts enter the loss."""

    advantage_R: FloatArray
    """[R] what the token loss multiplies the log-probability ratio by."""
    weight_R: FloatArray
    """[R] >= 0; 0 keeps a rollout out of the forward pass."""
    share_R: FloatArray
    """[R] >= 0; its sum over the rollouts of an update divides that update's loss."""
    num_undefined: int
    """Prompts with rollouts that got no weight because their weight is undefined."""


def weigh(
    rollouts: Rollouts,
    config: LossConfig,
    *,
    accept_rate_P: FloatArray | None = None,
    loss_weight_P: FloatArray | None = None,
    belief: Belief | None = None,
) -> Weights:
    """Compute the advantages and weights of a step's rollouts.

    Args:
        rollouts: Whole groups; prompts without rollouts are fine.
        config: The loss and its weighting.
        accept_rate_P: [P] acceptance rates from other rollouts than these; for
            `inverse_probability` alone.
        loss_weight_P: [P] >= 0, what each prompt weighs on top of that; None for 1.
        belief: Of P prompts, from other rollouts than these, to compare rewards with; None
            compares them within their group.
    """
    num_prompts = len(rollouts.prompts)
    row_R, count_P = rollouts.prompt_R, rollouts.count_P
    advantage_R = ADVANTAGES[config.name](rollouts.reward_R, row_R, count_P)
    if belief is not None:
        advantage_R = _over_belief(rollouts, belief, standardised=config.name == "grpo")
    used_R = rollouts.accepted_R if config.name in POSITIVE_ONLY else np.ones(row_R.size, bool)
    used_P = segment_sum(used_R, row_R, num_prompts)
    # Guarded divisors: a prompt without used rollouts has no row that reads the result.
    per_used_R = used_R / np.maximum(used_P, 1)[row_R]
    num_undefined = int(((count_P > 0) & (used_P == 0)).sum())
    match config.resolved_weighting:
        case "flat":
            weight_R = share_R = used_R.astype(np.float64)
        case "inverse_probability":
            if accept_rate_P is None:
                raise ValueError("inverse_probability needs accept_rate_P, got None")
            known_R = used_R & (accept_rate_P[row_R] > 0)
            share_R = 1 / count_P[row_R]
            weight_R = np.where(known_R, share_R / np.where(known_R, accept_rate_P[row_R], 1), 0)
            num_undefined = int(((count_P > 0) & (accept_rate_P == 0)).sum())
        case _:  # accepted_mean, prompt_mean: the mean over the rollouts that the loss uses
            weight_R = share_R = per_used_R
    if loss_weight_P is not None:
        weight_R = weight_R * loss_weight_P[row_R]
    return Weights(
        advantage_R=advantage_R, weight_R=weight_R, share_R=share_R, num_undefined=num_undefined
    )


Advantages = Callable[[FloatArray, IntArray, IntArray], FloatArray]
"""From [R] rewards, [R] rows of their prompts and [P] counts to [R] advantages."""


def _one(reward_R: FloatArray, _row_R: IntArray, _count_P: IntArray) -> FloatArray:
    """RAFT: every accepted rollout counts alike; rejected ones get weight 0 elsewhere."""
    return np.ones(reward_R.size)


def _centred(reward_R: FloatArray, row_R: IntArray, count_P: IntArray) -> FloatArray:
    """Dr.GRPO: reward minus the group's mean."""
    mean_P = segment_sum(reward_R, row_R, count_P.size) / np.maximum(count_P, 1)
    return reward_R - mean_P[row_R]


def _leave_one_out(reward_R: FloatArray, row_R: IntArray, count_P: IntArray) -> FloatArray:
    """RLOO: reward minus the mean of the group's others; 0 in a group of one."""
    count_R = count_P[row_R]
    return _centred(reward_R, row_R, count_P) * count_R / np.maximum(count_R - 1, 1)


def _standardised(reward_R: FloatArray, row_R: IntArray, count_P: IntArray) -> FloatArray:
    """GRPO: centred reward over the group's standard deviation (n - 1); 0 in a group of one."""
    centred_R = _centred(reward_R, row_R, count_P)
    squares_P = segment_sum(centred_R**2, row_R, count_P.size)
    std_P = np.sqrt(squares_P / np.maximum(count_P - 1, 1))
    return centred_R / (std_P + STD_EPSILON)[row_R]


def _over_belief(rollouts: Rollouts, belief: Belief, *, standardised: bool) -> FloatArray:
    """Reward minus what is expected of it from the belief and the group's others.

    The expectation b = (alpha + successes of the others) / (alpha + beta + number of the others)
    does not depend on the rollout's own reward, so subtracting it changes no expectation. GRPO's
    division is by sqrt(b (1 - b)).

    A step whose rollouts all earn the same has no advantages, as with groups alone. What is left of
    it is the noise of b, which the optimizer would scale up to a full update: a policy that is
    never right would only be pushed away from all that it says. Where successes are rare, leaving
    such steps out scales what the expected update owes to a prompt by 1 - b at least.
    """
    row_R = rollouts.prompt_R
    if np.ptp(rollouts.reward_R) == 0:
        return np.zeros(row_R.size)
    total_P = segment_sum(rollouts.reward_R, row_R, len(rollouts.prompts))
    hits_R = belief.alpha_P[row_R] + total_P[row_R] - rollouts.reward_R
    expected_R = hits_R / (
        belief.alpha_P[row_R] + belief.beta_P[row_R] + rollouts.count_P[row_R] - 1
    )
    centred_R = rollouts.reward_R - expected_R
    return centred_R / np.sqrt(expected_R * (1 - expected_R)) if standardised else centred_R


ADVANTAGES: dict[Loss, Advantages] = {
    "raft": _one,
    "raft++": _one,
    "grpo": _standardised,
    "dr_grpo": _centred,
    "rloo": _leave_one_out,
}
