"""Moments of the coefficients, against hand work, exact arithmetic and direct sums."""

import math
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.update import estimators
from gvmrl.allocate.update.estimators import FORMS, Estimator, binomial, form_of, moments, summed

every_estimator = pytest.mark.parametrize("estimator", get_args(Estimator))


@every_estimator
def test_closed_forms_equal_the_sums(estimator: Estimator) -> None:
    count_P = np.repeat([0, 1, 2, 3, 7, 64, 300], 5)
    rate_P = np.tile([0.0, 1e-6, 0.3, 0.5, 1.0], 7)
    form = form_of(estimator)
    part = moments(estimator, count_P, rate_P)
    mean_P, accepted_P, rejected_P, variance_P = summed(form, count_P, rate_P)
    length_P = 1.0 if form.baseline else 1 - rate_P
    np.testing.assert_allclose(part.factor_P, length_P * mean_P, rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(part.accepted_P, accepted_P, rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(part.rejected_P, rejected_P * form.baseline, rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(part.spread_P, length_P**2 * variance_P, rtol=1e-9, atol=1e-25)


def test_moments_of_four_rollouts_worked_out_by_hand() -> None:
    # p = 1/2, n = 2, rloo: a is 1/2 where m = 1 (probability 1/2) and 0 elsewhere, so
    # E a = 1/4, E a^2/m = E a^2/(n - m) = 1/8, Var a = 1/8 - 1/16.
    part = moments("rloo", np.array([2]), np.array([0.5]))
    assert part.factor_P.tolist() == [0.25]
    assert part.accepted_P.tolist() == part.rejected_P.tolist() == [0.125]
    assert part.spread_P.tolist() == [0.0625]
    # raft: a is 1 unless m = 0; E a = 3/4, E 1/m = 1/2 + 1/8, Var a = 3/16, and q = 1/2.
    part = moments("raft", np.array([2]), np.array([0.5]))
    np.testing.assert_allclose(
        [part.factor_P[0], part.accepted_P[0], part.rejected_P[0], part.spread_P[0]],
        [0.375, 0.625, 0, 0.046875],
        rtol=1e-14,
    )


@every_estimator
@given(rate=st.floats(0, 1), num=st.integers(0, 400))
def test_moments_are_finite_and_never_negative(estimator: Estimator, rate: float, num: int) -> None:
    part = moments(estimator, np.array([num]), np.array([rate]))
    values = np.array([part.factor_P, part.accepted_P, part.rejected_P, part.spread_P])
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    if num < form_of(estimator).min_count or rate == 0:
        assert not values.any()


@every_estimator
def test_a_prompt_does_not_depend_on_its_neighbours_nor_on_the_chunks(
    estimator: Estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    count_P, rate_P = rng.integers(0, 9, 50), rng.random(50)
    whole = moments(estimator, count_P, rate_P)
    monkeypatch.setattr(estimators, "CHUNK", 20)
    order_P = rng.permutation(50)
    parts = moments(estimator, count_P[order_P], rate_P[order_P])
    np.testing.assert_allclose(parts.factor_P, whole.factor_P[order_P], rtol=1e-13)
    np.testing.assert_allclose(parts.spread_P, whole.spread_P[order_P], rtol=1e-12, atol=1e-30)


@pytest.mark.parametrize("rate", [1e-9, 0.2, 0.5, 0.99, 1.0])
def test_binomial_equals_exact_integer_arithmetic(rate: float) -> None:
    num, p = 300, Fraction(rate)
    exact_M = [float(math.comb(num, m) * p**m * (1 - p) ** (num - m)) for m in range(num + 1)]
    np.testing.assert_allclose(binomial(num, np.array([rate]))[0], exact_M, rtol=1e-11, atol=1e-290)


@every_estimator
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.8])
def test_limits_are_those_of_a_large_count(estimator: Estimator, rate: float) -> None:
    num, rate_P, form = 20_000, np.array([rate]), FORMS[estimator]
    mean_P, accepted_P, rejected_P, variance_P = summed(form, np.array([num]), rate_P)
    square_P = form.limit(rate_P) ** 2
    np.testing.assert_allclose(mean_P, form.limit(rate_P), rtol=1e-3)
    np.testing.assert_allclose(num * accepted_P, square_P / rate_P, rtol=3e-3)
    np.testing.assert_allclose(num * rejected_P, square_P / (1 - rate_P), rtol=3e-3)
    np.testing.assert_allclose(num * variance_P, form.spread(rate_P), rtol=3e-3, atol=2e-4)


def test_moments_refuse_what_has_no_moments() -> None:
    one_P = np.array([1])
    with pytest.raises(ValueError, match=r"in \[0, 1\]; row 1 is nan; estimate a rate"):
        moments("raft", np.array([1, 1]), np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match=r"row 0 is 1.5"):
        moments("raft", one_P, np.array([1.5]))
    with pytest.raises(ValueError, match=r"count_P must be >= 0; row 0 is -1"):
        moments("raft", -one_P, np.array([0.5]))
    with pytest.raises(ValueError, match=r"count_P has shape \(1,\), the prompts \(2,\)"):
        moments("raft", one_P, np.array([0.5, 0.5]))


def test_an_unknown_estimator_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"one of reinforce, raft, .* got 'ppo'"):
        form_of("ppo")  # pyright: ignore[reportArgumentType]  # what a caller without types does
