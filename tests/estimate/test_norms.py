"""Norms of prompts from norms of rollouts."""

import numpy as np
import pytest

from gvmrl.data import Completion, Prompt, Rollouts
from gvmrl.estimate.norms import mean_norms


def test_norms_are_averaged_apart_for_accepted_and_rejected_rollouts() -> None:
    completion = Completion(text="", token_ids=(1,), logprobs=(-1.0,), truncated=False)
    rollouts = Rollouts(
        prompts=tuple(Prompt(name, (1,), "") for name in "abc"),
        prompt_R=np.array([0, 0, 0, 1, 1]),
        completions=(completion,) * 5,
        reward_R=np.array([1.0, 1.0, 0.0, 0.0, 0.0]),
        statuses=("scored",) * 5,
        policy_step=0,
    )
    accepted_P, rejected_P = mean_norms(
        rollouts, np.array([4, 0, 1, 2]), np.array([9.0, 2.0, 4.0, 5.0])
    )
    assert accepted_P == pytest.approx([3.0, np.nan, np.nan], nan_ok=True)
    assert rejected_P == pytest.approx([5.0, 9.0, np.nan], nan_ok=True)
