"""Intervals: the jackknife against its textbook form, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from gvmrl.data import FloatArray
from gvmrl.probe.arms import Arm, Terms, Weighted, rule_plan
from gvmrl.probe.compare import judged
from gvmrl.probe.figures import (
    Estimate,
    Figures,
    estimate,
    figures,
    of_two,
    one_left_out,
    ratio,
    student,
)
from gvmrl.probe.half import Half, Sums

RLOO = Arm("rloo", "prompt_mean")


def test_the_interval_of_a_mean_is_the_usual_one() -> None:
    value_P = np.array([1.0, 2.0, 4.0, 9.0])
    found = estimate(one_left_out(4) @ value_P / 4)
    error = value_P.std(ddof=1) / 2
    assert found.value == pytest.approx(4.0)
    assert found.low == pytest.approx(4 - 1.96 * error)
    assert found.high == pytest.approx(4 + 1.96 * error)


def test_a_ratio_of_a_thing_to_itself_is_one_and_certain() -> None:
    value_J = np.array([2.0, 1.0, 3.0, 2.0])
    assert ratio(value_J, value_J) == Estimate(1.0, 1.0, 1.0)


def test_what_is_saved_is_the_complement_of_a_ratio() -> None:
    saved = Estimate(0.8, 0.7, 1.1).complement
    assert (saved.value, saved.low, saved.high) == pytest.approx((0.2, -0.1, 0.3))


def test_what_cannot_be_told_from_noise_is_unresolved_and_null_in_json() -> None:
    zero_PP = np.zeros((3, 3))
    found = figures(
        Terms(
            variance_P=np.ones(3),
            slope_P=np.zeros(3),
            square_PP=-np.eye(3),
            mean_PP=-np.eye(3),
            cross_PP=zero_PP,
            target_PP=np.eye(3),
            count_P=np.full(3, 2.0),
        ),
        2,
    )
    snr = estimate(found.snr_J)
    assert str(snr) == "unresolved"
    assert snr.json == {"value": None, "low": None, "high": None}


def test_sets_of_prompts_are_compared_at_equal_cost() -> None:
    terms = Terms(
        variance_P=np.array([1.0, 1.0]),
        slope_P=np.array([-1.0, -1.0]),
        square_PP=np.eye(2),
        mean_PP=np.eye(2),
        cross_PP=np.eye(2),
        target_PP=np.eye(2),
        count_P=np.array([1.0, 3.0]),
    )
    # one prompt of 2 stands for both: 3 rollouts instead of 2, and then 1 instead of 2
    wanted = [2.0, 2 + 2 * np.log(1.5), 2 + 2 * np.log(0.5)]
    assert figures(terms, 2).variance_J == pytest.approx(wanted)


def test_two_measurements_of_a_sum_tell_how_far_their_mean_is_off() -> None:
    rng = np.random.default_rng(3)
    truth = np.linspace(1, 5, 30).sum()
    found = [
        of_two(np.linspace(1, 5, 30) + one, np.linspace(1, 5, 30) + two)
        for one, two in rng.normal(size=(1000, 2, 30))
    ]
    held = np.mean([each.low <= truth <= each.high for each in found])
    assert held == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("freedom", [4, 7, 15, 1000])
def test_students_quantile_is_near_scipys(freedom: int) -> None:
    assert student(freedom) == pytest.approx(float(stats.t.ppf(0.975, freedom)), rel=0.02)


def sampled(rng: np.random.Generator, rate_P: FloatArray, mean_SD: FloatArray, num: int) -> Half:
    """Draw a half: gradients are the mean of their side plus normal noise."""
    accepted_PK = rng.random((rate_P.size, num)) < rate_P[:, None]
    sides: list[FloatArray] = []
    for row, chosen_K in enumerate([*accepted_PK, *~accepted_PK]):
        sides.append(mean_SD[row] + rng.normal(size=(int(chosen_K.sum()), mean_SD.shape[1])))
    total_SD = np.stack([side.sum(axis=0) for side in sides])
    gram_SS, variance_S = Sums(
        count_S=np.array([len(side) for side in sides]),
        square_S=np.array([float((side**2).sum()) for side in sides]),
        length_S=(total_SD**2).sum(axis=1),
        product_SS=total_SD @ total_SD.T,
    ).moments()
    return Half(
        ids=tuple(map(str, range(rate_P.size))),
        accepted_PK=accepted_PK,
        norm_PK={"all_parameters": np.ones_like(accepted_PK, np.float64)},
        gram_SS=gram_SS,
        variance_S=variance_S,
    )


def compared(rng: np.random.Generator, num_prompts: int, num: int) -> tuple[Figures, Figures]:
    """Measure the counts of a rule that has the statistics of the other half, and even counts."""
    rate_P = rng.beta(0.7, 0.9, num_prompts)
    # a direction that all prompts share, and one of each
    mean_SD = 0.4 + 0.5 * rng.normal(size=(2 * num_prompts, 20))
    mean_SD[num_prompts:] *= -1
    halves = tuple(sampled(rng, rate_P, mean_SD, num) for _ in range(2))
    even = Weighted(np.full(num_prompts, 8), np.full(num_prompts, 1 / num_prompts))

    def by_rule(half: Half) -> list[Weighted]:
        return [rule_plan(half.stats("all_parameters"), RLOO, "vip", 8, 0)]

    def evenly(_: Half) -> list[Weighted]:
        return [even]

    found = [
        figures(judged((halves[0], halves[1]), RLOO, 8, plans), 8) for plans in (by_rule, evenly)
    ]
    return found[0], found[1]


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    found: list[tuple[Estimate, Estimate]] = []
    for _ in range(200):
        mine, even = compared(rng, 48, 32)
        found.append((ratio(mine.snr_J, even.snr_J), ratio(mine.variance_J, even.variance_J)))
    for part in zip(*found, strict=True):
        truth = float(np.exp(np.mean([np.log(each.value) for each in part])))
        held = np.mean([each.low <= truth <= each.high for each in part])
        # measured: 0.89 to 0.92. The budget is not divided anew for each set of prompts, so that
        # the intervals are a little short.
        assert 0.85 <= held <= 0.98
