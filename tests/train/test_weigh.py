"""Advantages and weights, against values worked out by hand and against expectations."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.data import Completion, FloatArray, Prompt, Rollouts
from gvmrl.estimate.history import Belief
from gvmrl.losses import Loss, LossConfig, Weighting
from gvmrl.train.weigh import weigh


def scored(groups: Sequence[Sequence[float]]) -> Rollouts:
    """Rollouts with these rewards, one inner sequence a prompt."""
    reward_R = np.array([reward for group in groups for reward in group], np.float64)
    completion = Completion(text="", token_ids=(1,), logprobs=(-1.0,), truncated=False)
    return Rollouts(
        prompts=tuple(Prompt(str(row), (1,), "") for row in range(len(groups))),
        prompt_R=np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
        completions=(completion,) * reward_R.size,
        reward_R=reward_R,
        statuses=("scored",) * reward_R.size,
        policy_step=0,
    )


def test_grpo_divides_the_centred_reward_by_the_sample_deviation() -> None:
    # Mean 1/4; squares 9/16 + 3/16 = 3/4 over n - 1 = 3 gives a deviation of 1/2.
    weights = weigh(scored([[1, 0, 0, 0]]), LossConfig(name="grpo"))
    assert weights.advantage_R == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)


def test_dr_grpo_only_centres_and_rloo_leaves_one_out() -> None:
    groups = [[1, 0, 0], [1, 1]]
    centred = weigh(scored(groups), LossConfig(name="dr_grpo")).advantage_R
    leave_one_out = weigh(scored(groups), LossConfig(name="rloo")).advantage_R
    assert centred == pytest.approx([2 / 3, -1 / 3, -1 / 3, 0, 0])
    assert leave_one_out == pytest.approx([1, -0.5, -0.5, 0, 0])


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=6), min_size=1))
def test_rloo_is_the_reward_minus_the_mean_of_the_others(groups: list[list[float]]) -> None:
    found = iter(weigh(scored(groups), LossConfig(name="rloo")).advantage_R)
    for group in groups:
        for row, reward in enumerate(group):
            others = group[:row] + group[row + 1 :]
            assert next(found) == pytest.approx(reward - sum(others) / len(others), abs=1e-12)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_a_group_of_one_or_of_equal_rewards_has_no_advantage(name: Loss) -> None:
    weights = weigh(scored([[1], [0], [1, 1], [0, 0], []]), LossConfig(name=name))
    assert (weights.advantage_R == 0).all()


def test_accepted_mean_gives_each_prompt_one_vote() -> None:
    weights = weigh(scored([[1, 1, 0, 1], [0, 1], [0, 0]]), LossConfig(name="raft"))
    assert weights.weight_R == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3, 0, 1, 0, 0])
    assert weights.share_R.sum() == pytest.approx(2)  # m in 1/m: the prompts with an accepted one
    assert weights.num_undefined == 1


def test_flat_weighs_every_accepted_rollout_alike() -> None:
    config = LossConfig(name="raft++", weighting="flat")
    weights = weigh(scored([[1, 1, 0], [1]]), config)
    assert weights.weight_R.tolist() == weights.share_R.tolist() == [1, 1, 0, 1]


def test_inverse_probability_divides_by_count_and_rate() -> None:
    config = LossConfig(name="raft", weighting="inverse_probability")
    weights = weigh(scored([[1, 0], [1, 1, 0, 0]]), config, accept_rate_P=np.array([0.5, 0.25]))
    assert weights.weight_R == pytest.approx([1, 0, 1, 1, 0, 0])  # 1/(2 * .5), 1/(4 * .25)
    assert weights.share_R.sum() == pytest.approx(2)  # both prompts, accepted or not


def test_a_prompt_whose_pilots_all_failed_has_no_inverse_probability_and_is_counted() -> None:
    config = LossConfig(name="raft", weighting="inverse_probability")
    weights = weigh(scored([[1, 0], [1]]), config, accept_rate_P=np.array([0.0, 1.0]))
    assert weights.weight_R.tolist() == [0, 0, 1]
    assert weights.num_undefined == 1


def test_inverse_probability_needs_rates() -> None:
    config = LossConfig(name="raft", weighting="inverse_probability")
    with pytest.raises(ValueError, match="needs accept_rate_P, got None"):
        weigh(scored([[1]]), config)


def expected_update(count_P: Sequence[int], rate_P: FloatArray, config: LossConfig) -> FloatArray:
    """[P] expected total coefficient of each prompt's accepted rollouts, by enumeration."""
    expected_P = np.zeros(len(count_P))
    for outcome in itertools.product((0.0, 1.0), repeat=sum(count_P)):
        rewards = iter(outcome)
        groups = [[next(rewards) for _ in range(count)] for count in count_P]
        rollouts = scored(groups)
        weights = weigh(rollouts, config, accept_rate_P=rate_P)
        rate_R = np.repeat(rate_P, count_P)
        reward_R = np.array(outcome)
        chance = float(np.where(reward_R > 0, rate_R, 1 - rate_R).prod())
        # Unlike weight_R it is not yet divided, so that each prompt can be looked at alone.
        np.add.at(expected_P, rollouts.prompt_R, chance * weights.weight_R * reward_R)
    return expected_P


@pytest.mark.parametrize(
    ("weighting", "unbiased"), [("inverse_probability", True), ("flat", False)]
)
def test_only_inverse_probability_keeps_the_expected_update_free_of_the_counts(
    weighting: Weighting, unbiased: bool
) -> None:
    # Lemma 1: sum_i 1/(n_i p_i) over accepted has expectation 1 for every prompt, at any counts.
    config = LossConfig(name="raft", weighting=weighting)
    rate_P = np.array([0.3, 0.8])
    uniform_P = expected_update([4, 4], rate_P, config)
    uneven_P = expected_update([7, 1], rate_P, config)
    assert (uniform_P == pytest.approx(uneven_P, abs=1e-12)) is unbiased
    if unbiased:
        assert uniform_P == pytest.approx([1, 1], abs=1e-12)


def over_belief(
    group: Sequence[float],
    alpha: float,
    beta: float,
    name: Loss = "rloo",
    others: Sequence[Sequence[float]] = ((0, 1),),
) -> FloatArray:
    """Advantages of a group in a step with other groups; as given, those tell nothing apart."""
    ones_P = np.ones(1 + len(others))
    belief = Belief(alpha_P=alpha * ones_P, beta_P=beta * ones_P)
    step = scored([group, *others])
    return weigh(step, LossConfig(name=name), belief=belief).advantage_R[: len(group)]


def test_the_history_baseline_is_what_belief_and_the_others_expect() -> None:
    # the right one is expected at (1 + 0) / (4 + 1), the wrong one at (1 + 1) / (4 + 1)
    assert over_belief([1, 0], alpha=1, beta=3) == pytest.approx([0.8, -0.4])
    # a group of one is compared with the belief alone; grpo divides by sqrt(b (1 - b))
    assert over_belief([0], alpha=1, beta=3) == pytest.approx([-0.25])
    assert over_belief([1], alpha=1, beta=3, name="grpo") == pytest.approx([0.75 / 0.1875**0.5])
    # with no belief at all it is RLOO
    tiny = over_belief([1, 0, 0], alpha=1e-9, beta=1e-9)
    assert tiny == pytest.approx([1, -0.5, -0.5], abs=1e-6)


def moments(
    size: int, rate: float, alpha: float, beta: float, others: Sequence[Sequence[float]] = ((0, 1),)
) -> tuple[float, float]:
    """Mean and variance of the group's gradient by the logit of its rate, by enumeration."""
    total = square = 0.0
    for group in itertools.product((0.0, 1.0), repeat=size):
        chance = math.prod(rate if reward else 1 - rate for reward in group)
        score_R = np.array(group) - rate
        advantage_R = over_belief(group, alpha, beta, others=others)
        gradient = float((advantage_R * score_R).mean())
        total, square = total + chance * gradient, square + chance * gradient**2
    return total, square - total**2


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("belief", [(1.0, 1.0), (6.0, 2.0), (0.3, 9.0)])
def test_the_history_baseline_keeps_the_expectation_whatever_is_believed(
    size: int, belief: tuple[float, float]
) -> None:
    assert moments(size, 0.3, *belief)[0] == pytest.approx(0.3 * 0.7)


@pytest.mark.parametrize("reward", [0, 1])
def test_a_step_whose_rollouts_all_earn_the_same_pushes_nothing(reward: int) -> None:
    same = [reward] * 2
    assert not over_belief(same, alpha=1, beta=1, others=[same, same]).any()
    assert over_belief(same, alpha=1, beta=1, others=[same, [1 - reward, reward]]).all()


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_leaving_such_steps_out_scales_the_expectation_as_the_docstring_says(
    size: int, rate: float
) -> None:
    alpha, beta = 1.0, 3.0
    # what is expected of a rollout whose others all failed, or all succeeded
    low, high = alpha / (alpha + beta + size - 1), (alpha + size - 1) / (alpha + beta + size - 1)
    kept = 1 - low * (1 - rate) ** (size - 1) - (1 - high) * rate ** (size - 1)
    assert moments(size, rate, alpha, beta, others=())[0] == pytest.approx(kept * rate * (1 - rate))


def test_a_good_belief_lowers_the_variance_most_in_small_groups() -> None:
    gain = [
        moments(size, 0.3, 1e-9, 1e-9)[1] / moments(size, 0.3, 4.8, 11.2)[1] for size in (2, 4, 8)
    ]
    assert gain[0] > gain[1] > gain[2] > 1
