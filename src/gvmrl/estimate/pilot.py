"""Acceptance rates and gradient norms from pilot rollouts (paper, Algorithm 2)."""

from typing import Literal

import numpy as np

from gvmrl.data import FloatArray, Rollouts, segment_sum
from gvmrl.stats import PromptStats


def pilot_stats(
    pilots: Rollouts, accepted_norm_A: FloatArray | None, average: Literal["mean", "rms"]
) -> PromptStats:
    """Summarise each prompt's pilots: trials, successes, and the norm scale of accepted ones.

    Args:
        pilots: P prompts with at least one rollout each.
        accepted_norm_A: [A] gradient norm of each accepted rollout, in their order in `pilots`;
            None where the rule needs none.
        average: `mean` as in the paper's Algorithm 2, or `rms` as in its derivation,
            G_i^2 = E ||grad ln P||^2.

    Returns:
        Statistics whose `grad_norm_P` is 0 for a prompt without an accepted pilot.
    """
    success_P = pilots.success_P
    grad_norm_P = None
    if accepted_norm_A is not None:
        row_A = pilots.prompt_R[pilots.accepted_R]
        power = 2.0 if average == "rms" else 1.0
        total_P = segment_sum(accepted_norm_A**power, row_A, len(pilots.prompts))
        grad_norm_P = (total_P / np.maximum(success_P, 1)) ** (1 / power)
    return PromptStats(
        ids=tuple(prompt.id for prompt in pilots.prompts),
        trials_P=pilots.count_P.astype(np.float64),
        successes_P=success_P.astype(np.float64),
        grad_norm_P=grad_norm_P,
    )
