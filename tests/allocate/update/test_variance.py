"""Counts of least variance: convexity, limits, exact optima, and the trap of not sampling."""

import itertools
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvmrl.allocate.counts import apportion
from gvmrl.allocate.update.estimators import Estimator, form_of, moments
from gvmrl.allocate.update.objective import Objective, debias_weight
from gvmrl.allocate.update.scores import ScoreModel, score_model, signal_limit
from gvmrl.allocate.update.variance import (
    debiased_variance,
    least_variance,
    neyman_weight,
    optimal_counts,
    predict_update,
    update_variance,
)
from gvmrl.data import FloatArray, IntArray

every_estimator = pytest.mark.parametrize("estimator", get_args(Estimator))
BASELINE: tuple[Estimator, ...] = ("rloo", "dr_grpo", "grpo", "maxrl")
GRID = np.concatenate([[1e-9, 1e-6, 1e-3], np.linspace(0.02, 0.98, 25), [0.999, 1 - 1e-6]])

rates = st.sampled_from([0.0, 1e-12, 0.5, 1.0]) | st.floats(0, 1)
norms = st.floats(0.01, 100)


def model_of(rate_P: FloatArray, accepted: float, rejected: float, part: float) -> ScoreModel:
    """Return a model whose signal is a part of its limit."""
    full_P = np.full(rate_P.size, 1.0)
    limit_P = signal_limit(rate_P, accepted * full_P, rejected * full_P)
    return score_model(rate_P, accepted, rejected, part * limit_P)


@every_estimator
@pytest.mark.parametrize("objective", [Objective(), Objective(reference=8)])
@pytest.mark.parametrize(("accepted", "rejected", "part"), [(1, 0, 0), (0, 1, 0), (1, 1, 1)])
def test_debiased_variance_falls_ever_more_slowly(
    estimator: Estimator, objective: Objective, accepted: float, rejected: float, part: float
) -> None:
    model = model_of(GRID, accepted, rejected, part)
    counts = range(form_of(estimator).min_count, 130)
    variance_NP = np.stack(
        [debiased_variance(estimator, objective, model, np.full(GRID.size, n)) for n in counts]
    )
    # 1/n is the scale of a variance whose parts may nearly cancel
    round_NP = 1e-12 * variance_NP + 1e-14 / np.array(counts)[:, None]
    assert (np.diff(variance_NP, axis=0) <= round_NP[:-1]).all()
    assert (np.diff(variance_NP, n=2, axis=0) >= -round_NP[:-2]).all()


def test_variance_without_weights_may_rise_with_the_count() -> None:
    # A rare success: one rollout seldom moves the policy at all, so its variance is small.
    one, four = (update_variance("raft", score_model(0.01), np.array([n]))[0] for n in (1, 4))
    assert four > 3 * one


@pytest.mark.parametrize("estimator", ["reinforce", "raft", "rloo", "dr_grpo", "grpo"])
def test_no_signal_gives_an_upper_bound_for_all_but_maxrl(estimator: Estimator) -> None:
    for num in (1, 2, 3, 8, 100):
        count_P = np.full(GRID.size, num)
        bound_P = update_variance(estimator, model_of(GRID, 1, 1, 0), count_P)
        for part in (0.3, 1.0):
            variance_P = update_variance(estimator, model_of(GRID, 1, 1, part), count_P)
            assert (variance_P <= bound_P * (1 + 1e-12)).all()


def test_maxrl_varies_more_with_a_signal_above_a_rate_of_one_half() -> None:
    eight = np.array([8])
    quiet, loud = (model_of(np.array([0.7]), 1, 1, part) for part in (0.0, 1.0))
    assert update_variance("maxrl", loud, eight)[0] > update_variance("maxrl", quiet, eight)[0]


@every_estimator
@pytest.mark.parametrize("objective", [Objective(), Objective(name="arcsin", reference=8)])
def test_neyman_weight_is_the_limit_of_the_variance(
    estimator: Estimator, objective: Objective
) -> None:
    rate_P = np.array([0.1, 0.5, 0.8])
    model, num = model_of(rate_P, 2.0, 1.0, 0.7), 20_000
    variance_P = debiased_variance(estimator, objective, model, np.full(3, num))
    weight_P = neyman_weight(estimator, objective, model)
    np.testing.assert_allclose(weight_P, np.sqrt(num * variance_P), rtol=2e-3)


def test_neyman_weights_with_equal_norms_are_those_of_the_table() -> None:
    p, norm = np.array([0.04, 0.3, 0.9]), np.array([1.0, 2.0, 5.0])
    table: dict[Estimator, FloatArray] = {
        "raft": norm / np.sqrt(p),
        "reinforce": norm * np.sqrt(p),
        "rloo": norm * np.sqrt(p * (1 - p)),
        "dr_grpo": norm * np.sqrt(p * (1 - p)),
        "grpo": norm,
        "maxrl": norm * np.sqrt((1 - p) / p),
    }
    for estimator, weight_P in table.items():
        model = score_model(p, norm, norm)
        np.testing.assert_allclose(neyman_weight(estimator, Objective(), model), weight_P)
        by_tokens_P = neyman_weight(estimator, Objective(), model, np.array([1.0, 4.0, 25.0]))
        np.testing.assert_allclose(by_tokens_P, weight_P / [1, 2, 5])


def test_neyman_weight_of_a_baseline_uses_both_norms_and_the_signal() -> None:
    # V = p q^2 A^2 + p^2 q R^2 - p^2 q^2 D^2 at p = 1/4: 9/64 * 4 + 3/64 * 9 - 9/256 * 1
    weight_P = neyman_weight("rloo", Objective(), score_model(0.25, 2.0, 3.0, 1.0))
    np.testing.assert_allclose(weight_P, math.sqrt(9 / 16 + 27 / 64 - 9 / 256), rtol=1e-14)


def test_a_reference_turns_the_weight_of_rare_successes_down() -> None:
    rate_P = np.geomspace(1e-4, 0.9, 2000)
    for reference in (8, 32):
        weight_P = neyman_weight("raft", Objective(reference=reference), score_model(rate_P))
        # (1 - exp(-x)) / sqrt x, with x = N p, is largest where 2 x exp(-x) = 1 - exp(-x)
        assert rate_P[weight_P.argmax()] * reference == pytest.approx(1.26, rel=0.04)


@every_estimator
@pytest.mark.parametrize("shape", [0.4, 4.0])
def test_neyman_counts_are_near_the_optimum_at_four_rollouts_a_prompt(
    estimator: Estimator, shape: float
) -> None:
    rate_P = np.clip(np.random.default_rng(1).beta(shape, shape, 200), 0.02, 0.98)
    model, least_P = score_model(rate_P), np.full(200, float(form_of(estimator).min_count))
    for objective in (Objective(), Objective(reference=4)):
        near_P = apportion(neyman_weight(estimator, objective, model), 800, lo_P=least_P)
        demand = least_variance(estimator, objective, model)
        best_P = optimal_counts(demand, 800, lo_P=np.zeros(200, int), hi_P=np.full(200, 800))
        totals = [
            debiased_variance(estimator, objective, model, count_P).sum()
            for count_P in (best_P, near_P)
        ]
        assert totals[0] <= totals[1] * (1 + 1e-12)
        assert totals[1] <= 1.03 * totals[0]


@every_estimator
def test_neyman_weight_is_zero_where_a_rollout_brings_nothing(estimator: Estimator) -> None:
    model = score_model([0.0, 1.0, 0.5], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0])
    for objective in (Objective(), Objective(reference=4), Objective(name="log_likelihood")):
        weight_P = neyman_weight(estimator, objective, model)
        assert weight_P[[0, 2]].tolist() == [0.0, 0.0]
        assert (weight_P[1] == 0) == (estimator in BASELINE)


@every_estimator
@settings(max_examples=25)
@given(scale=st.sampled_from([1e-290, 1e-3, 7.0, 1e290]), rate=rates, part=st.floats(0, 0.9))
def test_scaling_the_scores_scales_the_weights(
    estimator: Estimator, scale: float, rate: float, part: float
) -> None:
    rate_P = np.array([rate, 0.3])
    one, scaled = model_of(rate_P, 1, 2, part), model_of(rate_P, scale, 2 * scale, part)
    np.testing.assert_allclose(
        neyman_weight(estimator, Objective(), scaled) / scale,
        neyman_weight(estimator, Objective(), one),
        rtol=1e-6,
    )
    counts = [
        optimal_counts(demand, 20, lo_P=np.zeros(2, np.int64), hi_P=np.full(2, 20)).tolist()
        for demand in (least_variance(estimator, Objective(), model) for model in (one, scaled))
    ]
    assert counts[0] == counts[1]


@every_estimator
@given(rate=rates, part=st.floats(0, 1), num=st.integers(0, 300), norm=norms)
def test_variances_are_numbers_and_never_negative(
    estimator: Estimator, rate: float, part: float, num: int, norm: float
) -> None:
    model, count_P = model_of(np.array([rate]), norm, 1.0, part), np.array([num])
    variance = update_variance(estimator, model, count_P)[0]
    assert variance >= 0
    assert np.isfinite(variance)
    assert debiased_variance(estimator, Objective(), model, count_P)[0] >= 0
    doubled = model_of(np.array([rate]), 2 * norm, 2.0, part)
    # Below 1e-300 numbers are denormal and lose digits.
    doubled_variance = update_variance(estimator, doubled, count_P)
    np.testing.assert_allclose(doubled_variance, 4 * variance, atol=1e-300)


def brute_force(
    estimator: Estimator, objective: Objective, model: ScoreModel, budget: int, hi: int
) -> float:
    """Return the least total variance over all counts that sum to the budget."""
    size, least = model.accept_rate_P.size, form_of(estimator).min_count
    return min(
        debiased_variance(estimator, objective, model, np.array(count)).sum()
        for count in itertools.product(range(least, hi + 1), repeat=size)
        if sum(count) == budget
    )


@every_estimator
@pytest.mark.parametrize("objective", [Objective(), Objective(name="pass_at_k", k=4, reference=5)])
def test_optimal_counts_equal_brute_force(estimator: Estimator, objective: Objective) -> None:
    rng = np.random.default_rng(4)
    for budget in (6, 9, 14):
        norm_P = rng.lognormal(0, 1, 3)
        limit_P = signal_limit(np.full(3, 0.5), norm_P, norm_P)
        model = score_model(rng.uniform(0.02, 0.98, 3), norm_P, norm_P, 0.4 * limit_P)
        demand = least_variance(estimator, objective, model)
        count_P = optimal_counts(demand, budget, lo_P=np.zeros(3, int), hi_P=np.full(3, 8))
        assert count_P.sum() == budget
        found = debiased_variance(estimator, objective, model, count_P).sum()
        best = brute_force(estimator, objective, model, budget, 8)
        assert found == pytest.approx(best, rel=1e-12)


@every_estimator
def test_optimal_counts_of_many_prompts_cannot_be_improved_by_moving_one(
    estimator: Estimator,
) -> None:
    rng = np.random.default_rng(5)
    model = score_model(rng.uniform(0.01, 0.99, 300), rng.lognormal(0, 1, 300))
    demand = least_variance(estimator, Objective(), model)
    count_P = optimal_counts(demand, 2400, lo_P=np.full(300, 2), hi_P=np.full(300, 40))
    assert count_P.sum() == 2400
    variance_P = [
        debiased_variance(estimator, Objective(), model, count_P + step) for step in (-1, 0, 1)
    ]
    saved_P, lost_P = variance_P[1] - variance_P[2], variance_P[0] - variance_P[1]
    assert saved_P[count_P < 40].max() <= lost_P[count_P > 2].min() * (1 + 1e-9)


@every_estimator
@settings(max_examples=30)
@given(price=st.floats(1e-12, 10), seed=st.integers(0, 99), low=st.integers(0, 5))
def test_count_at_a_price_buys_exactly_the_gains_above_it(
    estimator: Estimator, price: float, seed: int, low: int
) -> None:
    rng = np.random.default_rng(seed)
    model = score_model(rng.choice([0.0, 1e-4, 0.3, 0.97, 1.0], 8), rng.lognormal(0, 2, 8))
    demand = least_variance(estimator, Objective(), model).per_cost(rng.choice([1.0, 32.0], 8))
    low_P, high_P = np.full(8, float(low)), np.full(8, 30.0)
    count_P = demand.count_at(price, low_P, high_P)
    assert ((low_P <= count_P) & (count_P <= high_P)).all()
    assert (demand.gain(count_P)[count_P < 30] <= price).all()
    bought_P = count_P > low
    assert (demand.gain(np.maximum(count_P - 1, 0))[bought_P] > price).all()


def test_at_no_price_all_prompts_that_gain_anything_take_all() -> None:
    demand = least_variance("rloo", Objective(), score_model([0.0, 0.5, 1.0]))
    assert demand.count_at(0.0, np.zeros(3), np.full(3, 9.0)).tolist() == [0, 9, 0]


def test_prompts_left_out_or_without_a_gain_keep_their_lower_bound() -> None:
    demand = least_variance("rloo", Objective(), score_model([0.5, 0.5, 0.0, 0.5]))
    count_P = optimal_counts(
        demand, 13, lo_P=np.array([0, 0, 3, 1]), hi_P=np.array([20, 20, 20, 1])
    )
    # Nine are left for two equal prompts; the last has no room for the two that rloo needs.
    assert count_P.tolist() == [5, 4, 3, 1]


def test_optimal_counts_refuse_budgets_and_bounds_that_do_not_fit() -> None:
    demand = least_variance("rloo", Objective(), score_model([0.5, 0.5, 0.0]))
    zero_P, many_P = np.zeros(3, np.int64), np.full(3, 9)
    with pytest.raises(ValueError, match=r"budget 3 is 1 rollouts short: each of 2 prompts needs"):
        optimal_counts(demand, 3, lo_P=zero_P, hi_P=many_P)
    with pytest.raises(ValueError, match=r"budget 28 is 1 .*more than"):
        optimal_counts(demand, 28, lo_P=zero_P, hi_P=many_P)
    with pytest.raises(ValueError, match=r"budget 3 is 24 .*short"):
        optimal_counts(demand, 3, lo_P=many_P, hi_P=many_P)
    with pytest.raises(ValueError, match=r"0 <= lo_P <= hi_P; row 1 has 5 and 4"):
        optimal_counts(demand, 9, lo_P=np.array([0, 5, 0]), hi_P=np.array([4, 4, 4]))


def predicted(estimator: Estimator, model: ScoreModel, count_P: IntArray) -> tuple[float, float]:
    """Return variance and signal-to-noise with debiasing weights."""
    weight_P = debias_weight(estimator, Objective(), count_P, model.accept_rate_P)
    found = predict_update(estimator, Objective(), model, count_P, weight_P)
    return found.variance, found.snr


def test_scores_that_no_policy_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"accepted_norm_P must be finite and >= 0; row 1 is -1"):
        score_model([0.5, 0.5], [1.0, -1.0])
    with pytest.raises(ValueError, match=r"row 0 is 2.5, its limit 2.0; take the smaller"):
        score_model(0.5, 1.0, 1.0, 2.5)
    with pytest.raises(ValueError, match=r"signal_P has shape \(2,\), accept_rate_P \(1,\)"):
        replace(score_model(0.5), signal_P=np.zeros(2))
    with pytest.raises(ValueError, match=r"row 0 is nan; estimate a rate"):
        score_model(math.nan)
    with pytest.raises(ValueError, match=r"cost_P must be > 0, got 0"):
        neyman_weight("rloo", Objective(), score_model(0.5), 0.0)
    with pytest.raises(ValueError, match=r"signal_P is 0 for every prompt; give a guess"):
        predicted("rloo", score_model(0.5), np.array([2]))


def test_signal_limit_leaves_the_side_without_rollouts_free() -> None:
    limit_P = signal_limit(np.array([0.0, 0.25, 1.0]), np.full(3, 3.0), np.full(3, 2.0))
    assert limit_P.tolist() == [3.0, 4.0, 2.0]
    assert moments("rloo", np.array([4]), np.array([0.0])).factor_P[0] == 0


@every_estimator
def test_leaving_a_prompt_out_lowers_the_variance_but_is_counted_as_lost(
    estimator: Estimator,
) -> None:
    model = score_model(np.full(3, 0.5), 1.0, 1.0, [0.6, 0.6, 0.2])
    full = predicted(estimator, model, np.array([20, 20, 20]))
    part = predicted(estimator, model, np.array([30, 0, 30]))
    assert part[0] < full[0]
    assert part[1] < full[1]


def test_what_is_lost_is_measured_by_its_share_of_the_squared_gradient() -> None:
    model = score_model(np.full(3, 0.5), 1.0, 1.0, [0.6, 0.6, 0.2])
    found = predict_update("rloo", Objective(), model, np.array([9, 1, 9]), np.ones(3))
    # |g|^2 is proportional to 0.36 + 0.36 + 0.04, and one rollout teaches rloo nothing
    assert found.lost_signal == pytest.approx(0.36 / 0.76)
    assert found.num_lost == 1


def test_a_step_without_rollouts_has_no_signal_at_all() -> None:
    model = score_model([0.1, 0.5, 0.9], 1.0, 1.0, 0.1)
    found = predict_update("rloo", Objective(), model, np.zeros(3, np.int64), np.zeros(3))
    assert (found.snr, found.variance, found.lost_signal, found.num_lost) == (0, 0, 1, 3)


def test_plans_compare_alike_whatever_small_part_of_the_limit_the_signal_is() -> None:
    rate_P = np.array([0.1, 0.5, 0.8])
    ratios: list[float] = []
    for part in (0.1, 0.01):
        model = score_model(rate_P, 1.0, 1.0, part / np.maximum(rate_P, 1 - rate_P))
        snrs = [
            predict_update("rloo", Objective(), model, count_P, np.ones(3)).snr
            for count_P in (np.array([4, 10, 10]), np.array([8, 8, 8]))
        ]
        ratios.append(snrs[0] / snrs[1])
    assert ratios[0] == pytest.approx(ratios[1], rel=0.02)


@pytest.mark.parametrize("estimator", BASELINE)
def test_debiased_variance_is_infinite_below_two_rollouts(estimator: Estimator) -> None:
    model = score_model([0.1, 0.5, 0.9])
    assert np.isinf(debiased_variance(estimator, Objective(), model, np.array([0, 1, 1]))).all()
    enough_P = debiased_variance(estimator, Objective(), model, np.array([2, 2, 2]))
    assert np.isfinite(enough_P).all()
