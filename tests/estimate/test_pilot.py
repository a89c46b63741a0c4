"""Algorithm 2's statistics, by hand."""

from typing import Literal

import numpy as np
import pytest

from gvmrl.data import Completion, Prompt, Rollouts
from gvmrl.estimate.pilot import pilot_stats

PILOTS = Rollouts(
    prompts=tuple(Prompt(name, (1,), "") for name in "abc"),
    prompt_R=np.repeat([0, 1, 2], 3),
    completions=(Completion(text="", token_ids=(1,), logprobs=(-1.0,), truncated=False),) * 9,
    reward_R=np.array([1, 0, 1, 0, 0, 0, 1, 1, 1.0]),
    statuses=("scored",) * 9,
    policy_step=0,
)


@pytest.mark.parametrize(("average", "wanted"), [("mean", [3.5, 0, 2]), ("rms", [12.5**0.5, 0, 2])])
def test_norms_are_averaged_over_accepted_pilots_alone(
    average: Literal["mean", "rms"], wanted: list[float]
) -> None:
    stats = pilot_stats(PILOTS, np.array([3.0, 4.0, 2.0, 2.0, 2.0]), average)
    assert stats.ids == ("a", "b", "c")
    assert stats.accept_rate_P == pytest.approx([2 / 3, 0, 1])
    assert stats.grad_norm_P == pytest.approx(wanted)


def test_norms_are_unknown_where_the_rule_needs_none() -> None:
    assert pilot_stats(PILOTS, None, "mean").grad_norm_P is None
