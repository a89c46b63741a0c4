"""What verl multiplies each token by: advantages of ragged groups with per-prompt weights.

verl divides its loss by a count that does not depend on the groups (all rollouts or all tokens of a
mini-batch), so the weights must carry the rest.

Axes: R rollouts of a batch, P prompts that have any.
"""

import numpy as np

from gvmrl.data import FloatArray, IntArray, segment_sum
from gvmrl.losses import POSITIVE_ONLY, Loss
from gvmrl.train.weigh import ADVANTAGES


def even_advantages(loss: Loss, reward_R: FloatArray, prompt_R: IntArray) -> FloatArray:
    """Return [R] advantages by which every prompt weighs the same, however many rollouts it has.

    The estimator's own advantage times the mean count over the prompt's count; for the RAFT losses
    the count is that of the accepted rollouts, and rejected ones get 0. They are those of
    `gvmrl.train.weigh` for accepted_mean and prompt_mean, up to what the loss is divided by:
    here that is fixed, R / P, also where prompts have no accepted rollout.

    Args:
        loss: Whose advantages.
        reward_R: [R] rewards; a rollout with 1 or more is accepted.
        prompt_R: [R] row of each rollout's prompt, in 0..P-1, in any order.
    """
    count_P = np.bincount(prompt_R).astype(np.int64)
    used_R = reward_R >= 1.0 if loss in POSITIVE_ONLY else np.ones(reward_R.size, bool)
    used_P = segment_sum(used_R, prompt_R, count_P.size)
    share_P = count_P[count_P > 0].mean() / np.maximum(used_P, 1)
    advantage_R = ADVANTAGES[loss](reward_R, prompt_R, count_P)
    return advantage_R * used_R * share_P[prompt_R]


def planned_over_even(loss_weight_R: FloatArray, prompt_R: IntArray) -> FloatArray:
    """Return [R] what turns `even_advantages` into those of a plan with its own loss weights.

    The even weight of a rollout is the mean count over its prompt's count, and the plan's is
    `Plan.loss_weight_P`: this is their quotient.

    Args:
        loss_weight_R: [R] the plan's weight of each rollout.
        prompt_R: [R] row of each rollout's prompt.
    """
    count_P = np.bincount(prompt_R)
    return loss_weight_R * count_P[prompt_R] / count_P[count_P > 0].mean()
