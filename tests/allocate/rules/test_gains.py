"""Rules with gains: values by hand, and the sums they maximise against brute force."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate import allocate
from gvmrl.allocate.demand import Rule
from gvmrl.allocate.rules.gains import coba, hora, knapsack, log_gamma, vip
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def stats_of(rates: list[float], **columns: FloatArray) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(rates))),
        trials_P=np.full(len(rates), 8.0),
        successes_P=8 * np.array(rates),
        **columns,
    )


def in_round(drawn: list[int], hits: list[int]) -> PromptStats:
    return stats_of(
        [0.5] * len(drawn),
        round_trials_P=np.array(drawn, float),
        round_successes_P=np.array(hits, float),
    )


def gains(rule: Rule, stats: PromptStats, count: int) -> list[float]:
    return rule(stats).gain(np.full(len(stats), float(count))).tolist()


def test_vip_by_hand() -> None:
    # p q = 1/4: 1/4 / (1 * 2), 1/4 / (2 * 3); below 2 a group is of no use
    assert gains(vip, stats_of([0.5, 0.0]), 2) == [0.125, 0]
    assert gains(vip, stats_of([0.5]), 3) == [pytest.approx(1 / 24)]
    assert gains(vip, stats_of([0.5, 0.0]), 1) == [math.inf, 0]


def test_vip_for_dr_grpo_by_hand() -> None:
    form = partial(vip, estimator="dr_grpo")
    # 1/4 * (2/9 - 3/16) = 1/4 * 5/144
    assert gains(form, stats_of([0.5]), 3) == [pytest.approx(5 / 576)]
    assert gains(form, stats_of([0.5]), 2) == [math.inf]


def test_knapsack_by_hand() -> None:
    # p = 1/2: 1/8 * (1/4 * 1/2 + 1/4 * 1/2); p = 1/4: 9/64 * (1/64 * 3/4 + 27/64 * 1/4)
    assert gains(knapsack, stats_of([0.5]), 2) == [pytest.approx(1 / 32)]
    assert gains(knapsack, stats_of([0.25]), 3) == [pytest.approx(9 / 64 * 30 / 256)]


def test_knapsack_gives_the_excess_to_prompts_that_were_never_solved() -> None:
    plan = allocate(stats_of([0.5, 0, 1]), 20, rule="knapsack", lo=2, hi=10)
    assert plan.count_P.tolist() == [10, 8, 2]


def test_coba_by_hand() -> None:
    # F = 1/2 stays 1/2, a = b = 1 + 9/2 = 5.5; equal rates: tau = 3, p q / tau = 1/12
    first = 0.5**9 * (1 - math.exp(-1 / 12))
    assert gains(coba, stats_of([0.5, 0.5]), 0) == pytest.approx([first, first])
    # rates 1/4, 3/4: variance 1/16 of 1/6, tau = 3 + 9 * 3/8 = 6.375, p q / tau = 1/34
    value = (0.25 * 0.75) ** 4.5 * math.exp(-3 / 34) * (1 - math.exp(-1 / 34))
    assert gains(coba, stats_of([0.25, 0.75]), 3) == pytest.approx([value, value])


def test_coba_prefers_what_a_weak_model_nearly_can_and_what_is_hard_for_a_strong_one() -> None:
    # the same two prompts, next to many that are failed or solved
    weak = gains(coba, stats_of([0.25, 0.75, *[0.0] * 20]), 0)
    strong = gains(coba, stats_of([0.25, 0.75, *[1.0] * 20]), 0)
    assert weak[1] > weak[0]
    assert strong[0] > strong[1]
    assert weak[2] == 0


def test_hora_by_hand() -> None:
    # E[p q^n] is 1/2, 1/6, 1/12 under Beta(1, 1), and 1/4, 3/20 under Beta(1, 3)
    assert [gains(hora, in_round([0], [0]), n)[0] for n in range(3)] == pytest.approx(
        [1 / 2, 1 / 6, 1 / 12]
    )
    assert [gains(hora, in_round([2], [0]), n)[0] for n in range(2)] == pytest.approx(
        [1 / 4, 3 / 20]
    )
    assert gains(hora, stats_of([0.5]), 0) == pytest.approx([0.5])


@given(st.floats(1e-3, 1e8))
def test_log_gamma_agrees_with_the_standard_library(value: float) -> None:
    # 2e-13 where the logarithm crosses 0, else relative
    assert log_gamma(np.array([value]))[0] == pytest.approx(
        math.lgamma(value), rel=2e-13, abs=2e-13
    )


def vip_value(p: float, n: int) -> float:
    return -p * (1 - p) / (n - 1)


def dr_grpo_value(p: float, n: int) -> float:
    return -p * (1 - p) * (n - 1) / n**2


def knapsack_value(p: float, n: int) -> float:
    return p * (1 - p) ** 2 * (1 - p**n - (1 - p) ** n)


@pytest.mark.parametrize(
    ("rule", "value", "lo"),
    [
        (vip, vip_value, 2),
        (partial(vip, estimator="dr_grpo"), dr_grpo_value, 3),
        (knapsack, knapsack_value, 2),
    ],
)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 12), st.integers(0, 2**30)
)
def test_counts_maximise_the_stated_value(
    rule: Rule,
    value: Callable[[float, int], float],
    lo: int,
    hits: list[int],
    extra: int,
    seed: int,
) -> None:
    stats = stats_of([hit / 8 for hit in hits])
    budget = min(lo * len(hits) + extra, 8 * len(hits))
    plan = allocate(stats, budget, rule=rule, lo=lo, hi=8, seed=seed)

    def total(counts: tuple[int, ...]) -> float:
        return sum(value(hit / 8, n) for hit, n in zip(hits, counts, strict=True))

    every = itertools.product(range(lo, 9), repeat=len(hits))
    best = max(total(counts) for counts in every if sum(counts) == budget)
    assert total(tuple(plan.count_P.tolist())) >= best - 1e-12


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), min_size=1, max_size=4),
    st.integers(0, 12),
)
def test_hora_maximises_the_expected_number_of_prompts_with_a_hit(
    drawn: list[tuple[int, float]], budget: int
) -> None:
    hits = [int(most * part) for most, part in drawn]
    stats = in_round([most for most, _ in drawn], hits)
    plan = allocate(stats, budget, rule="hora")

    def chance(hit: int, most: int, n: int) -> float:
        # 1 - E[q^n] with q ~ Beta(1 + most - hit, 1 + hit)
        factors = ((1 + most - hit + j) / (2 + most + j) for j in range(n))
        return 1 - math.prod(factors)

    def total(counts: tuple[int, ...]) -> float:
        rows = zip(hits, drawn, counts, strict=True)
        return sum(chance(hit, most, n) for hit, (most, _), n in rows)

    every = itertools.product(range(budget + 1), repeat=len(drawn))
    best = max(total(counts) for counts in every if sum(counts) == budget)
    assert total(tuple(plan.count_P.tolist())) >= best - 1e-12


def test_the_weight_in_the_objective_multiplies_values() -> None:
    stats = stats_of([0.5, 0.5], objective_weight_P=np.array([1.0, 2.0]))
    for rule, factor in ((vip, 4), (knapsack, 2), (coba, 2)):
        one, two = gains(rule, stats, 3)
        assert two == pytest.approx(factor * one)


def test_settings_out_of_range_are_refused() -> None:
    stats = stats_of([0.5])
    with pytest.raises(ValueError, match="forms rloo and dr_grpo, got 'raft'"):
        vip(stats, estimator="raft")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="kappa must be >= 2, got 1"):
        coba(stats, kappa=1)
    with pytest.raises(ValueError, match=r"tau must be two numbers, .*got \(3, 2\)"):
        coba(stats, tau=(3, 2))
    with pytest.raises(ValueError, match="Beta prior must be > 0, got 1 and 0"):
        hora(stats, a=1, b=0)
