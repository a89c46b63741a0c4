"""The flat, ragged record of rollouts."""

from dataclasses import replace

import numpy as np
import pytest

from gvmrl.data import Completion, Prompt, Rollouts, merge, segment_sum, select

PROMPTS = tuple(Prompt(name, (1, 2), "7") for name in "abc")


def make(prompt_R: list[int], reward_R: list[float], tag: int = 0) -> Rollouts:
    return Rollouts(
        prompts=PROMPTS,
        prompt_R=np.array(prompt_R, np.int64),
        completions=tuple(
            Completion(text="", token_ids=(tag, row), logprobs=(-1.0, -1.0), truncated=False)
            for row in range(len(prompt_R))
        ),
        reward_R=np.array(reward_R, np.float64),
        statuses=("scored",) * len(prompt_R),
        policy_step=3,
    )


def test_counts_and_successes_include_prompts_without_rollouts() -> None:
    rollouts = make([0, 0, 2], [1, 0, 1])
    assert rollouts.count_P.tolist() == [2, 0, 1]
    assert rollouts.success_P.tolist() == [1, 0, 1]
    assert rollouts.num_tokens == 6
    assert rollouts.sequences[2] == ((1, 2), (0, 2))


def test_merged_rollouts_are_regrouped_by_prompt_and_keep_their_order_within_one() -> None:
    merged = merge([make([0, 1, 1], [1, 0, 0], tag=5), make([0, 2], [0, 1], tag=6)])
    assert merged.prompt_R.tolist() == [0, 0, 1, 1, 2]
    assert merged.reward_R.tolist() == [1, 0, 0, 0, 1]
    assert [c.token_ids for c in merged.completions] == [(5, 0), (6, 0), (5, 1), (5, 2), (6, 1)]


def test_rollouts_of_different_policies_are_not_merged() -> None:
    one = make([0], [1])
    with pytest.raises(ValueError, match="only rollouts of the same policy"):
        merge([one, replace(one, policy_step=4)])


def test_rollouts_of_other_prompts_are_merged_by_id() -> None:
    one = make([0, 1], [1, 0], tag=5)
    other = replace(
        make([0, 2], [0, 1], tag=6), prompts=(PROMPTS[1], Prompt("d", (1,), "7"), PROMPTS[0])
    )
    merged = merge([one, other])
    assert [prompt.id for prompt in merged.prompts] == ["a", "b", "c", "d"]
    assert merged.prompt_R.tolist() == [0, 0, 1, 1]
    assert [c.token_ids for c in merged.completions] == [(5, 0), (6, 1), (5, 1), (6, 0)]
    double = replace(other, prompts=(Prompt("a", (9,), "7"), *other.prompts[1:]))
    with pytest.raises(ValueError, match="same id"):
        merge([one, double])


def test_selected_rollouts_are_those_of_the_kept_prompts() -> None:
    kept = select(make([0, 1, 1, 2], [1, 0, 1, 0]), np.array([False, True, True]))
    assert [prompt.id for prompt in kept.prompts] == ["b", "c"]
    assert kept.prompt_R.tolist() == [0, 0, 1]
    assert [c.token_ids[1] for c in kept.completions] == [1, 2, 3]
    assert kept.reward_R.tolist() == [0, 1, 0]


def test_ungrouped_or_unequal_rollouts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be ascending"):
        make([1, 0], [1, 1])
    with pytest.raises(ValueError, match="2 completions need as many"):
        make([0, 1], [1])


def test_segment_sums_match_a_loop() -> None:
    value_R, prompt_R = np.array([1.0, 2.0, 4.0]), np.array([0, 2, 2])
    assert segment_sum(value_R, prompt_R, 4).tolist() == [1, 0, 6, 0]
