"""Advantages of ragged groups: the project's own figures, up to what the loss is divided by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.update.objective import Objective, loss_weights
from gvmrl.data import Completion, FloatArray, IntArray, Prompt, Rollouts
from gvmrl.losses import POSITIVE_ONLY, Loss, LossConfig
from gvmrl.plugins.verl.advantages import even_advantages, planned_over_even
from gvmrl.train.weigh import weigh

LOSSES: list[Loss] = ["raft", "raft++", "grpo", "dr_grpo", "rloo"]


def rollouts_of(reward_R: FloatArray, prompt_R: IntArray) -> Rollouts:
    completion = Completion(text="", token_ids=(1,), logprobs=(0.0,), truncated=False)
    names = map(str, range(int(prompt_R.max()) + 1))
    return Rollouts(
        prompts=tuple(Prompt(id=name, token_ids=(1,), answer="") for name in names),
        prompt_R=prompt_R,
        completions=(completion,) * reward_R.size,
        reward_R=reward_R,
        statuses=("",) * reward_R.size,
        policy_step=0,
    )


@pytest.mark.parametrize("loss", LOSSES)
@given(groups=st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1), min_size=1, max_size=6))
def test_they_are_those_of_the_trainer(loss: Loss, groups: list[list[float]]) -> None:
    reward_R = np.concatenate(groups)
    prompt_R = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    weights = weigh(rollouts_of(reward_R, prompt_R), LossConfig(name=loss), accept_rate_P=None)
    # the trainer divides by the prompts that have a weight, verl by all rollouts: R / P times
    expected_R = weights.advantage_R * weights.weight_R * reward_R.size / len(groups)
    assert np.allclose(even_advantages(loss, reward_R, prompt_R), expected_R)


def test_raft_by_hand() -> None:
    # 6 rollouts, 2 prompts: the mean count is 3. Of 4, two are accepted: 3 / 2 each; of 2, one: 3.
    reward_R = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    prompt_R = np.array([0, 0, 0, 0, 1, 1])
    assert even_advantages("raft", reward_R, prompt_R).tolist() == [1.5, 0, 1.5, 0, 3, 0]


@pytest.mark.parametrize("loss", LOSSES)
def test_uniform_counts_leave_the_estimators_own_advantages(loss: Loss) -> None:
    reward_R = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    prompt_R = np.array([0, 1, 0, 1, 0, 1])
    own = weigh(
        rollouts_of(np.sort(reward_R), np.sort(prompt_R)), LossConfig(name=loss), accept_rate_P=None
    )
    even_R = even_advantages(loss, reward_R, prompt_R)
    if loss not in POSITIVE_ONLY:
        assert np.ptp(np.abs(own.weight_R)) == 0
    # the order of the rollouts does not matter, as verl shuffles them
    order_R = np.array([5, 2, 0, 4, 1, 3])
    assert np.allclose(even_advantages(loss, reward_R[order_R], prompt_R[order_R]), even_R[order_R])


def test_a_plan_with_weights_of_its_own_multiplies_the_estimators_coefficient() -> None:
    count_P = np.array([2, 3, 7])
    rate_P = np.array([0.5, 0.2, 0.1])
    weight_P = loss_weights("dr_grpo", Objective(), count_P, rate_P).weight_P
    prompt_R = np.repeat(np.arange(3), count_P)
    reward_R = np.array([1.0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    planned_R = even_advantages("dr_grpo", reward_R, prompt_R) * planned_over_even(
        weight_P[prompt_R], prompt_R
    )
    centred_R = reward_R - np.array([1 / 2, 1 / 3, 1 / 7])[prompt_R]
    assert np.allclose(planned_R, centred_R * weight_P[prompt_R])
