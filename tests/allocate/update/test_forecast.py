"""Loss weights and forecasts of a plan, against enumeration of all outcomes."""

import itertools
import math

import numpy as np
import pytest

from gvmrl.allocate import Limits, Objective, Update, allocate
from gvmrl.allocate.bounds import bounds_of
from gvmrl.allocate.rules.rates import raw_rate
from gvmrl.allocate.update.forecast import forecast
from gvmrl.data import FloatArray, IntArray
from gvmrl.stats import PromptStats


def stats_of(rates: list[float], **columns: FloatArray) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(rates))),
        trials_P=np.full(len(rates), 8.0),
        successes_P=8 * np.array(rates),
        **columns,
    )


def expected_raft(rate: float, count: int, weight: float) -> float:
    """Return the mean coefficient of a prompt's mean accepted score, summed over all outcomes."""
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=count):
        hits = sum(outcome)
        chance = rate**hits * (1 - rate) ** (count - hits)
        # n / m on each accepted rollout, as the estimator does, times the plan's weight
        total += chance * weight * (count / hits * hits if hits else 0)
    return total


def weights_of(stats: PromptStats, count_P: IntArray, update: Update) -> FloatArray:
    bounds = bounds_of(stats, int(count_P.sum()), 0, None, Limits())
    return forecast(stats, count_P, bounds, update).loss_weight_P


def test_raft_weights_keep_the_expected_update_of_uniform_counts() -> None:
    rates = [0.25, 0.5, 0.75]
    update = Update(estimator="raft", rate=raw_rate)
    count_P = np.array([7, 3, 2])
    weight_P = weights_of(stats_of(rates), count_P, update)
    for rate, count, weight in zip(rates, count_P.tolist(), weight_P, strict=True):
        got = expected_raft(rate, count, weight) / count_P.sum()
        uniform = expected_raft(rate, 4, 1.0) / 12
        assert got == pytest.approx(uniform, rel=1e-12)


def test_uniform_counts_weigh_1_for_every_estimator() -> None:
    for estimator in ("reinforce", "raft", "rloo", "dr_grpo", "grpo", "maxrl"):
        update = Update(estimator=estimator)
        weight_P = weights_of(stats_of([0, 0.25, 1]), np.array([4, 4, 4]), update)
        assert weight_P.tolist() == pytest.approx([1, 1, 1])


def test_a_prompt_s_weight_in_the_objective_multiplies_its_loss_weight() -> None:
    stats = stats_of([0.25, 0.5], objective_weight_P=np.array([1.0, 5.0]))
    weight_P = weights_of(stats, np.array([4, 4]), Update(estimator="rloo"))
    assert weight_P.tolist() == pytest.approx([1, 5])


def test_a_named_objective_is_followed() -> None:
    # log p instead of p: 1 / p more weight on a prompt with rate p
    update = Update(estimator="rloo", objective=Objective(name="log_likelihood"), rate=raw_rate)
    weight_P = weights_of(stats_of([0.25, 0.5]), np.array([4, 4]), update)
    assert weight_P.tolist() == pytest.approx([4, 2])


def test_the_variance_ratio_is_that_of_the_formula() -> None:
    # counts 6 and 2 against 4 and 4
    stats = stats_of([0.5, 0.5])
    counts = np.array([6, 2])
    bounds = bounds_of(stats, 8, 0, None, Limits())
    got = forecast(stats, counts, bounds, Update(estimator="rloo", rate=raw_rate))

    def variance(count: int) -> float:
        # E a^2 / m and E a^2 / (n - m) with a = m (n - m) / (n (n - 1)), summed over outcomes; the
        # norms' part of the variance with A = R = 1, |delta| = 0.1 * 2, mu = delta / 2
        total = 0.0
        for hits in range(1, count):
            chance = math.comb(count, hits) / 2**count
            a = hits * (count - hits) / (count * (count - 1))
            total += chance * a**2 * (1 / hits + 1 / (count - hits)) * (1 - 0.01)
        mean = sum(
            math.comb(count, m) / 2**count * m * (count - m) / (count * (count - 1))
            for m in range(count + 1)
        )
        square = sum(
            math.comb(count, m) / 2**count * (m * (count - m) / (count * (count - 1)) - mean) ** 2
            for m in range(count + 1)
        )
        return total + square * 0.04

    assert got.variance_ratio == pytest.approx((variance(6) + variance(2)) / (2 * variance(4)))


def test_prompts_that_add_nothing_are_counted() -> None:
    stats = stats_of([0.5, 0.5, 0.5])
    bounds = bounds_of(stats, 9, 0, None, Limits())
    outlook = forecast(stats, np.array([8, 1, 0]), bounds, Update(estimator="rloo"))
    assert "too few for rloo: 1; set group_min to 2" in outlook.notes[0]
    # of three equal prompts
    assert outlook.lost_signal == pytest.approx(2 / 3)
    assert outlook.loss_weight_P[1:].tolist() == [0, 0]


def test_leaving_signal_out_costs_signal_to_noise() -> None:
    stats = stats_of([0.5, 0.5])
    # with thousands of rollouts there is hardly noise left, and half of the signal is missing
    alone = allocate(stats, 8000, rule="uniform", hi=[8000, 0], update=Update(estimator="rloo"))
    assert alone.variance_ratio is not None
    assert alone.snr_ratio is not None
    assert alone.variance_ratio < 0.3
    assert alone.snr_ratio == pytest.approx(0.5, abs=0.03)


def test_ratios_are_missing_where_nothing_can_be_compared() -> None:
    zero = stats_of([0.5, 0.5], grad_norm_P=np.zeros(2))
    plan = allocate(zero, 8, rule="uniform", update=Update(estimator="rloo"))
    assert plan.variance_ratio is None
    assert plan.snr_ratio is None
    single = allocate(stats_of([0.5, 0.5]), 2, rule="uniform", update=Update(estimator="rloo"))
    assert single.variance_ratio is None


def test_the_scale_of_the_norms_does_not_change_the_forecast() -> None:
    plans = [
        allocate(
            stats_of([0.25, 0.5], grad_norm_P=scale * np.array([1.0, 3.0])),
            16,
            rule="least_variance",
            update=Update(estimator="raft"),
        )
        for scale in (1e-200, 1.0, 1e200)
    ]
    ratios = [plan.variance_ratio for plan in plans]
    assert ratios[0] == pytest.approx(ratios[1])
    assert ratios[2] == pytest.approx(ratios[1])
