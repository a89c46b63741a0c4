"""Unbiased moments from sums, against brute force over pairs of rollouts."""

from collections.abc import Sequence

import numpy as np
import pytest

from gvmrl.allocate.update.scores import signal_limit
from gvmrl.data import BoolArray, FloatArray
from gvmrl.probe.half import Half, Sums, stats_of

RNG = np.random.default_rng(5)
SIDES: list[FloatArray] = [RNG.normal(size=(num, 7)) + 1 for num in (3, 1, 0, 4, 2, 5)]
"""Gradients of the accepted rollouts of three prompts, then of the rejected ones."""


def sums_of(sides: Sequence[FloatArray]) -> Sums:
    total_SD = np.stack([side.sum(axis=0) for side in sides])
    return Sums(
        count_S=np.array([len(side) for side in sides]),
        square_S=np.array([float((side**2).sum()) for side in sides]),
        length_S=(total_SD**2).sum(axis=1),
        product_SS=total_SD @ total_SD.T,
    )


def test_squared_means_are_averages_over_pairs_of_different_rollouts() -> None:
    gram_SS, variance_S = sums_of(SIDES).moments()
    for row, side in enumerate(SIDES):
        if len(side) > 1:
            product = side @ side.T
            pairs = product[~np.eye(len(side), dtype=bool)]
            assert gram_SS[row, row] == pytest.approx(pairs.mean(), rel=1e-12)
            assert variance_S[row] == pytest.approx(side.var(axis=0, ddof=1).sum(), rel=1e-12)
        for other, rest in enumerate(SIDES):
            if row != other and len(side) and len(rest):
                mean = side.mean(axis=0) @ rest.mean(axis=0)
                assert gram_SS[row, other] == pytest.approx(mean, rel=1e-12)


def test_a_side_with_one_rollout_gets_the_mean_variance_of_its_kind() -> None:
    gram_SS, variance_S = sums_of(SIDES).moments()
    # the only other accepted side that has a variance has three rollouts
    assert variance_S[1] == pytest.approx(variance_S[0])
    assert gram_SS[1, 1] == pytest.approx(float((SIDES[1] ** 2).sum()) - variance_S[0])


def test_a_side_without_rollouts_is_zero() -> None:
    gram_SS, variance_S = sums_of(SIDES).moments()
    assert variance_S[2] == 0
    assert (gram_SS[2] == 0).all()
    assert (gram_SS[:, 2] == 0).all()


def test_rollouts_that_are_all_the_same_have_no_variance_and_no_rounding_below_it() -> None:
    same = [np.full((6, 7), 1 / 3)] * 4
    assert (sums_of(same).moments()[1] >= 0).all()
    assert sums_of(same).moments()[1] == pytest.approx(0, abs=1e-12)


def make_half(accepted_PK: BoolArray, seed: int = 0) -> Half:
    rng = np.random.default_rng(seed)
    num = len(accepted_PK)
    mean_SD = rng.normal(size=(2 * num, 5))
    norm_PK = rng.gamma(2, size=accepted_PK.shape)
    return Half(
        ids=tuple(map(str, range(num))),
        accepted_PK=accepted_PK,
        norm_PK={"all_parameters": norm_PK},
        gram_SS=mean_SD @ mean_SD.T,
        variance_S=rng.gamma(2, size=2 * num),
    )


@pytest.mark.parametrize("estimator", ["raft", "reinforce", "rloo", "grpo"])
def test_the_models_own_variances_are_the_measured_ones(estimator: str) -> None:
    accepted_PK = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    half = make_half(accepted_PK)
    model = half.model(estimator)  # pyright: ignore[reportArgumentType] - the four names above
    own_P, other_P, _ = model.squares()
    assert own_P == pytest.approx(half.variance_S[:4])
    assert other_P == pytest.approx(half.variance_S[4:])
    limit_P = signal_limit(half.accept_rate_P, model.accepted_norm_P, model.rejected_norm_P)
    assert (model.signal_P <= limit_P * (1 + 1e-9)).all()


def test_statistics_are_root_mean_squares_of_each_outcome() -> None:
    stats = stats_of(("a",), np.array([[True, True, False]]), np.array([[3.0, 4.0, 2.0]]))
    assert stats.successes_P.tolist() == [2]
    assert stats.trials_P.tolist() == [3]
    assert stats.grad_norm_P == pytest.approx(12.5**0.5)
    assert stats.rejected_norm_P == pytest.approx(2.0)


def test_pilots_are_drawn_from_the_half() -> None:
    half = make_half(np.repeat([[True, False, False, False]], 3, axis=0))
    rng = np.random.default_rng(0)
    draws = [half.pilot_stats(8, "all_parameters", rng) for _ in range(300)]
    assert {float(stats.trials_P[0]) for stats in draws} == {8.0}
    # 7,200 trials at 1/4: the standard error of the rate is 0.005
    rate = np.mean([stats.accept_rate_P for stats in draws])
    assert rate == pytest.approx(0.25, abs=0.02)
    hit = next(stats for stats in draws if stats.successes_P[0] > 0)
    assert hit.grad_norm_P is not None
    assert hit.grad_norm_P[0] == pytest.approx(half.norm_PK["all_parameters"][0, 0])
