"""Gradient norms of prompts from those of their rollouts."""

import numpy as np

from gvmrl.data import FloatArray, IntArray, Rollouts, segment_sum


def mean_norms(
    rollouts: Rollouts, row_A: IntArray, norm_A: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return [P] mean norms of the accepted, and of the rejected, rollouts of each prompt.

    Args:
        rollouts: R rollouts of P prompts.
        row_A: [A] rows of those whose norms are known.
        norm_A: [A] their norms.

    Returns:
        Two arrays with NaN where no such rollout's norm is known.
    """
    num, prompt_A, accepted_A = len(rollouts.prompts), rollouts.prompt_R[row_A], rollouts.accepted_R
    means: list[FloatArray] = []
    for chosen_A in (accepted_A[row_A], ~accepted_A[row_A]):
        count_P = segment_sum(chosen_A, prompt_A, num)
        total_P = segment_sum(norm_A * chosen_A, prompt_A, num)
        means.append(np.divide(total_P, count_P, out=np.full(num, np.nan), where=count_P > 0))
    return means[0], means[1]
