"""The figures of an evaluation against enumeration, values worked out by hand, and simulation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gvmrl.data import BoolArray
from gvmrl.evals.scores import Outcomes, bootstrap, majority, pass_at, score

accepted = hnp.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 7)))


@given(accepted, st.data())
def test_pass_at_k_is_the_share_of_sets_of_k_that_hold_an_accepted_completion(
    accepted_PK: BoolArray, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, accepted_PK.shape[1]))
    sets = list(combinations(range(accepted_PK.shape[1]), k))
    wanted = [np.mean([row[list(chosen)].any() for chosen in sets]) for row in accepted_PK]
    assert pass_at(k, accepted_PK) == pytest.approx(wanted, abs=1e-12)


def test_pass_at_k_is_unbiased() -> None:
    # p = 0.3: over all outcomes of 5 completions the estimate of pass@3 averages to 1 - 0.7^3
    accepted_PK = np.array([[bool(number >> bit & 1) for bit in range(5)] for number in range(32)])
    chance_P = np.where(accepted_PK, 0.3, 0.7).prod(1)
    assert pass_at(3, accepted_PK) @ chance_P == pytest.approx(1 - 0.7**3, abs=1e-12)


def test_pass_at_k_holds_for_many_completions() -> None:
    accepted_PK = np.zeros((1, 4096), np.bool_)
    accepted_PK[0, :4] = True
    # four draws in the accepted half: 1 - (1/2)^4, less a little since no draw comes back
    assert pass_at(2048, accepted_PK)[0] == pytest.approx(1 - 0.5**4, abs=1e-3)


@pytest.mark.parametrize("k", [0, 3])
def test_pass_at_k_needs_that_many_completions(k: int) -> None:
    with pytest.raises(ValueError, match=rf"1 <= k <= 2 completions of a problem, got k = {k}"):
        pass_at(k, np.ones((1, 2), np.bool_))


@pytest.mark.parametrize(
    ("vote", "right", "chance"),
    [
        ([0, 0, 2, -1], {0}, 1.0),
        ([0, 0, 2, -1], {2}, 0.0),
        ([0, 1, 1, 0], {0}, 0.5),  # a tie of two, one of them right
        ([0, 1, 2, 3], {3}, 0.25),
        ([0, 1, 2, 3], {1, 3}, 0.5),
        ([-1, -1, -1, 3], {3}, 1.0),  # who has no answer has no vote
        ([-1, -1, -1, -1], set[int](), 0.0),
    ],
)
def test_majority_settles_ties_by_lot(vote: list[int], right: set[int], chance: float) -> None:
    accepted_PK = np.array([[first in right for first in vote]])
    assert majority(accepted_PK, np.array([vote])).tolist() == [chance]


def test_the_interval_is_that_of_the_normal_approximation_for_many_problems() -> None:
    # the mean of 400 values with deviation 1/2 deviates by 0.025; 1.96 times that on each side
    figure = bootstrap({"avg": np.tile([0.0, 1.0], 200)}, seed=0)["avg"]
    assert figure.value == 0.5
    assert figure.low == pytest.approx(0.5 - 0.049, abs=0.004)
    assert figure.high == pytest.approx(0.5 + 0.049, abs=0.004)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # 200 sets of 60 problems whose pass rates average 0.4
    rng = np.random.default_rng(1)
    figures = {str(number): rng.beta(2, 3, 60) for number in range(200)}
    covered = [s.low <= 0.4 <= s.high for s in bootstrap(figures, seed=0).values()]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_the_seed_decides_the_interval_and_equal_figures_move_together() -> None:
    value_P = np.random.default_rng(0).random(9)
    once = bootstrap({"a": value_P, "b": value_P}, seed=1)
    assert once["a"] == once["b"]
    assert once == bootstrap({"a": value_P, "b": value_P}, seed=1)
    assert once != bootstrap({"a": value_P, "b": value_P}, seed=2)


def outcomes(reward: list[list[float]], vote: list[list[int]] | None) -> Outcomes:
    shape = np.shape(reward)
    return Outcomes(
        reward_PK=np.array(reward, np.float64),
        vote_PK=None if vote is None else np.array(vote),
        truncated_PK=np.eye(*shape, dtype=np.bool_),
        num_tokens_PK=np.arange(np.prod(shape)).reshape(shape),
    )


def test_figures_have_the_values_worked_out_by_hand() -> None:
    # accepted: 1 of 3, and 2 of 3 where the two differ; lengths 0..5, two of six truncated
    found = score(outcomes([[1, 0, 0], [1, 1, 0]], [[0, 1, 1], [0, 0, 2]]), seed=0)
    assert {name: pytest.approx(each.value) for name, each in found.items()} == {
        "avg@3": 1 / 2,
        "pass@1": 1 / 2,
        "pass@2": (2 / 3 + 1) / 2,
        "pass@3": 1.0,
        "maj@3": 1 / 2,
        "truncated_rate": 1 / 3,
        "mean_tokens": 2.5,
    }


def test_real_rewards_are_averaged_and_counted_as_accepted_from_one() -> None:
    found = score(outcomes([[0.5, 1.5], [0.0, 0.9]], None), seed=0)
    assert found["avg@2"].value == pytest.approx(2.9 / 4)
    assert found["pass@2"].value == 0.5
    assert "maj@2" not in found


def test_no_completions_are_no_figures() -> None:
    with pytest.raises(ValueError, match=r"a problem with a completion, got shape \(0, 3\)"):
        Outcomes(
            reward_PK=np.zeros((0, 3)),
            vote_PK=None,
            truncated_PK=np.zeros((0, 3), np.bool_),
            num_tokens_PK=np.zeros((0, 3), np.int64),
        )
