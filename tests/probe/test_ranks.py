"""Rank correlations against scipy."""

import numpy as np
import pytest
from scipy import stats

from gvmrl.probe.half import Half
from gvmrl.probe.ranks import prompt_norms, spearman


def test_it_is_spearmans_with_ties() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 6, 40).astype(np.float64)
    other = one + rng.integers(0, 6, 40)
    found = spearman(one, other, rng)
    assert found.value == pytest.approx(float(np.asarray(stats.spearmanr(one, other))[0]))
    assert found.low < found.value < found.high


def test_the_interval_is_near_the_one_of_fishers_transform() -> None:
    rng = np.random.default_rng(1)
    one = rng.normal(size=200)
    found = spearman(one, one + rng.normal(size=200), rng)
    middle, half = np.arctanh(found.value), 1.96 * (1.06 / 197) ** 0.5
    assert found.low == pytest.approx(np.tanh(middle - half), abs=0.04)
    assert found.high == pytest.approx(np.tanh(middle + half), abs=0.04)


def test_prompts_without_such_rollouts_are_left_out_and_two_are_too_few() -> None:
    rng = np.random.default_rng(2)
    one = np.array([1.0, np.nan, 2.0, 3.0, 4.0])
    other = np.array([1.0, 9.0, 2.0, 3.0, np.nan])
    assert spearman(one, other, rng).value == pytest.approx(1.0)
    assert np.isnan(spearman(one[:3], other[:3], rng).value)


def test_norms_are_root_mean_squares_over_both_halves() -> None:
    def half(accepted: list[bool], norm: list[float]) -> Half:
        return Half(
            ids=("a",),
            accepted_PK=np.array([accepted]),
            norm_PK={"free": np.array([norm])},
            gram_SS=np.zeros((2, 2)),
            variance_S=np.zeros(2),
        )

    halves = (half([True, False], [3.0, 7.0]), half([True, True], [4.0, 5.0]))
    assert prompt_norms(halves, "free", accepted=True) == pytest.approx((50 / 3) ** 0.5)
    assert prompt_norms(halves, "free", accepted=False) == pytest.approx(7.0)
    assert np.isnan(prompt_norms((halves[1], halves[1]), "free", accepted=False)).all()
