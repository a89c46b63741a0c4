"""Loss weights: the table, their bounds, and what they say where none works."""

import doctest
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.update.estimators import Estimator, form_of
from gvmrl.allocate.update.objective import (
    TARGETS,
    LossWeights,
    Objective,
    ObjectiveName,
    debias_weight,
    loss_weights,
    relative_bias,
    target_factor,
)

every_estimator = pytest.mark.parametrize("estimator", get_args(Estimator))


@every_estimator
def test_uniform_counts_weigh_one_with_themselves_as_reference(estimator: Estimator) -> None:
    rate_P = np.array([0.0, 1e-9, 0.3, 0.9, 1.0])
    weights = loss_weights(estimator, Objective(reference=6), np.full(5, 6), rate_P)
    np.testing.assert_allclose(weights.weight_P, 1, rtol=1e-13)
    if estimator in ("reinforce", "rloo"):
        exact = loss_weights(estimator, Objective(), np.full(5, 6), rate_P)
        np.testing.assert_allclose(exact.weight_P, 1, rtol=1e-13)


def test_debias_weights_are_those_of_the_table() -> None:
    n, p, q = 5, 0.3, 0.7
    table: dict[Estimator, float] = {
        "reinforce": 1.0,
        "rloo": 1.0,
        "dr_grpo": n / (n - 1),
        "raft": 1 / (1 - q**n),
        "maxrl": 1 / (1 - q ** (n - 1)),
    }
    for estimator, weight in table.items():
        found_P = debias_weight(estimator, Objective(), np.array([n]), np.array([p]))
        np.testing.assert_allclose(found_P, weight, rtol=1e-13)


def test_grpo_of_two_rollouts_worked_out_by_hand() -> None:
    # Rewards 1, 0 have mean 1/2 and standard deviation 1/sqrt 2: advantages +-1/sqrt 2, so
    # a = 1/(2 sqrt 2) with probability 2pq = 1/2 and E a = 1/(4 sqrt 2); sqrt(pq) is 1/2.
    weight_P = debias_weight("grpo", Objective(), np.array([2]), np.array([0.5]))
    np.testing.assert_allclose(weight_P, 2 * math.sqrt(2), rtol=1e-14)


@every_estimator
@given(
    rate=st.sampled_from([0.0, 1e-14, 1e-6, 1 - 1e-6, 1.0]) | st.floats(0, 1),
    num=st.integers(0, 200),
    reference=st.integers(2, 200),
)
def test_with_a_reference_weights_are_bounded_by_it_at_any_rate(
    estimator: Estimator, rate: float, num: int, reference: int
) -> None:
    count_P, rate_P = np.array([num]), np.array([rate])
    weight_P = debias_weight(estimator, Objective(reference=reference), count_P, rate_P)
    assert 0 <= weight_P[0] <= reference * (1 + 1e-9)
    assert (weight_P[0] > 0) == (num >= form_of(estimator).min_count)


@every_estimator
@pytest.mark.parametrize("name", ["native", *TARGETS])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_where_no_weight_works_it_is_zero_and_the_bias_says_so(
    estimator: Estimator, name: ObjectiveName, rate: float
) -> None:
    count_P, rate_P = np.array([0, 1, 8]), np.full(3, rate)
    weights = loss_weights(estimator, Objective(name=name), count_P, rate_P)
    assert np.isfinite(weights.weight_P).all()
    too_few_P = count_P < form_of(estimator).min_count
    assert (weights.weight_P[too_few_P] == 0).all()
    np.testing.assert_allclose(
        weights.bias_P, np.where(weights.weight_P == 0, -1.0, 0.0), atol=1e-9
    )


def test_the_weight_of_an_infinite_limit_is_zero() -> None:
    # The log-likelihood wants 1/p times the reward gradient; raft's 1/(1 - q^n) has that limit too.
    eight_P, zero_P = np.array([8]), np.array([0.0])
    cases: list[tuple[Estimator, Objective, bool]] = [
        ("rloo", Objective(name="log_likelihood"), False),
        ("raft", Objective(), False),
        ("grpo", Objective(), False),
        ("rloo", Objective(), True),
        ("raft", Objective(name="expected_reward"), True),
        ("raft", Objective(reference=8), True),
    ]
    for estimator, objective, finite in cases:
        weights = loss_weights(estimator, objective, eight_P, zero_P)
        assert (weights.weight_P[0] > 0) == finite
        assert weights.bias_P[0] == pytest.approx(0.0 if finite else -1.0, abs=1e-9)


def test_bias_of_plain_raft_worked_out_by_hand() -> None:
    # One rollout at p = 1/2 has an accepted one half the time: half the wanted update.
    bias_P = relative_bias("raft", Objective(), np.array([1]), np.array([0.5]), np.ones(1))
    np.testing.assert_allclose(bias_P, -0.5, rtol=1e-14)


@pytest.mark.parametrize("estimator", ["reinforce", "rloo", "dr_grpo"])
def test_weights_of_these_estimators_need_no_rate(estimator: Estimator) -> None:
    count_P = np.array([2, 5, 9])
    one = loss_weights(estimator, Objective(), count_P, np.full(3, 0.1))
    other = loss_weights(estimator, Objective(), count_P, np.full(3, 0.9))
    np.testing.assert_allclose(one.weight_P, other.weight_P, rtol=1e-12)


def test_no_rollouts_at_all_weigh_nothing() -> None:
    weights = loss_weights("rloo", Objective(), np.zeros(2, np.int64), np.array([0.2, 0.4]))
    assert isinstance(weights, LossWeights)
    assert weights.weight_P.tolist() == [0.0, 0.0]
    assert weights.bias_P.tolist() == [-1.0, -1.0]


def test_inputs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of native, expected_reward, .* got 'entropy'"):
        Objective(name="entropy")  # pyright: ignore[reportArgumentType]  # an untyped caller's
    with pytest.raises(ValueError, match=r"objective.k must be >= 1, got 0"):
        Objective(name="pass_at_k", k=0)
    with pytest.raises(ValueError, match=r"objective.k is 4 but arcsin has no k"):
        Objective(name="arcsin", k=4)
    with pytest.raises(ValueError, match=r"objective.reference must be >= 0, got -1"):
        Objective(reference=-1)
    with pytest.raises(ValueError, match=r"must be 0 or >= 2 for rloo, got 1"):
        target_factor("rloo", Objective(reference=1), np.array([0.5]))
    with pytest.raises(ValueError, match=r"row 0 is 2"):
        debias_weight("rloo", Objective(), np.array([2]), np.array([2.0]))


def test_the_examples_of_the_page_run() -> None:
    page = Path(__file__).parents[3] / "docs" / "objective.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 10
    assert result.failed == 0
