"""Theorems 1 and 2 of GVM (arXiv 2505.02391) on quadratics, with every expectation exact.

The latent model is y ~ N(theta, 1/h), z ~ N(y, s^2), with the answer z = 0. Its E-step at theta_t
has the posterior mean (1 - u) theta_t, u = 1 / (1 + h s^2), so that up to constants

    what an E-step minimises   L_t(theta) = h (theta - (1 - u) theta_t)^2 / 2
    what is wanted             L(theta) = h u theta^2 / 2

Every E-step is followed by k M-steps theta <- theta - eta g, where g is the gradient of L_t plus
independent noise of variance V. With h <= 1 the objective is 1/gamma-smooth for gamma = 1.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What the theorems speak of, after T E-steps of k M-steps each."""

    change: float
    """E L(theta_kT) - L(theta_0)."""
    delta1: float
    """Sum over all M-steps of E |grad L_t|^2."""
    delta2: float
    """Sum over the E-steps of E |sum of their k gradients|^2."""
    omega: float
    """Sum over all M-steps of the variance of g."""


def run(
    eta: float,
    k: int,
    num_e_steps: int = 1,
    *,
    start: float,
    variance: float,
    h: float = 1.0,
    u: float = 1.0,
) -> Sums:
    """Compute the sums exactly.

    Each theta is linear in theta_0 and the noises, and is kept as its coefficients; the second
    moments of those give the expectation of any square.
    """
    size = 1 + k * num_e_steps
    unit = np.eye(size)
    moment = np.array([start**2] + [variance] * (size - 1))
    theta, delta1, delta2 = unit[0], 0.0, 0.0
    for t in range(num_e_steps):
        posterior_mean, total = (1 - u) * theta, np.zeros(size)
        for r in range(k):
            gradient = h * (theta - posterior_mean)
            delta1 += moment @ gradient**2
            total = total + gradient
            theta = theta - eta * (gradient + unit[1 + t * k + r])
        delta2 += moment @ total**2
    return Sums(
        change=h * u / 2 * float(moment @ theta**2 - start**2),
        delta1=float(delta1),
        delta2=float(delta2),
        omega=variance * k * num_e_steps,
    )


def theorem_1(eta: float, sums: Sums) -> float:
    """Return its bound on the change, at gamma = 1; claimed for 0 < eta <= 1."""
    return -eta / 2 * sums.delta1 + eta**2 / 2 * sums.omega


def theorem_2(eta: float, k: int, sums: Sums) -> float:
    """Return its bound on the change as printed, at gamma = 1; claimed for 0 < eta <= 1/2."""
    return -eta / (2 * k) * sums.delta2 - eta / (4 * k) * (sums.delta1 - sums.omega)


problems = {
    "start": st.floats(-3, 3),
    "h": st.floats(0.01, 1),
    "u": st.floats(0.01, 1),
    "num_e_steps": st.integers(1, 5),
}


@settings(max_examples=40)
@given(**problems, eta=st.floats(0.01, 1), k=st.integers(1, 6), variance=st.floats(0, 4))
def test_theorem_1_holds(
    start: float, h: float, u: float, num_e_steps: int, eta: float, k: int, variance: float
) -> None:
    sums = run(eta, k, num_e_steps, start=start, variance=variance, h=h, u=u)
    assert sums.change <= theorem_1(eta, sums) + 1e-9


@pytest.mark.parametrize("k", [1, 2, 5])
def test_theorem_1_is_an_equality_at_the_largest_step_and_curvature(k: int) -> None:
    sums = run(1.0, k, 3, start=2.0, variance=0.7)
    assert sums.change == pytest.approx(theorem_1(1.0, sums), rel=1e-12)


@settings(max_examples=40)
@given(**problems, eta=st.floats(0.01, 0.5), k=st.integers(1, 6))
def test_theorem_2_holds_without_noise(
    start: float, h: float, u: float, num_e_steps: int, eta: float, k: int
) -> None:
    sums = run(eta, k, num_e_steps, start=start, variance=0, h=h, u=u)
    assert sums.change <= theorem_2(eta, k, sums) + 1e-9


@settings(max_examples=40)
@given(**problems, eta=st.floats(0.01, 0.5), variance=st.floats(0, 4))
def test_theorem_2_holds_for_one_m_step_an_e_step(
    start: float, h: float, u: float, num_e_steps: int, eta: float, variance: float
) -> None:
    sums = run(eta, 1, num_e_steps, start=start, variance=variance, h=h, u=u)
    assert sums.change <= theorem_2(eta, 1, sums) + 1e-9


@pytest.mark.parametrize(
    ("k", "change", "bound"),
    [(2, 5 / 32, 5 / 64), (3, 21 / 128, 13 / 384), (4, 85 / 512, -3 / 2048)],
)
def test_theorem_2_fails_from_the_optimum_for_two_m_steps_and_more(
    k: int, change: float, bound: float
) -> None:
    # eta = gamma / 2 and V = 1: the table of docs/theory.md.
    sums = run(0.5, k, start=0, variance=1)
    assert sums.change == pytest.approx(change, rel=1e-12)
    assert theorem_2(0.5, k, sums) == pytest.approx(bound, rel=1e-12)
    assert sums.change <= theorem_1(0.5, sums)


def test_theorem_2_fails_within_5_7_of_the_variance_around_the_optimum() -> None:
    # k = 2, eta = 1/2: change = -15/32 x^2 + 5/32 V, bound = -23/64 x^2 + 5/64 V.
    for factor, holds in ((0.999, False), (1.001, True)):
        sums = run(0.5, 2, start=(5 / 7 * factor) ** 0.5, variance=1)
        assert (sums.change <= theorem_2(0.5, 2, sums)) is holds


@pytest.mark.parametrize(("eta", "k"), [(0.5, 4), (0.25, 12), (0.1, 32), (0.05, 64)])
@pytest.mark.parametrize("u", [0.1, 1.0])
def test_theorem_2_promises_less_than_the_least_loss(eta: float, k: int, u: float) -> None:
    # No step size is small enough: with k large the bound is negative where the loss is least.
    sums = run(eta, k, start=0, variance=1, u=u)
    assert theorem_2(eta, k, sums) < 0 < sums.change


def test_theorem_2_fails_from_any_start_after_enough_e_steps() -> None:
    # With u = 1 the iterates settle at a noise floor, where the bound keeps falling.
    sums = run(0.5, 2, 200, start=3.0, variance=1)
    assert theorem_2(0.5, 2, sums) < -(3.0**2) / 2 < sums.change


def test_theorem_2_falls_by_a_24th_of_the_variance_at_the_noise_floor() -> None:
    sums = [run(0.5, 2, num, start=0, variance=1) for num in (30, 31)]
    assert sums[1].change == pytest.approx(1 / 6, rel=1e-9)
    bounds = [theorem_2(0.5, 2, each) for each in sums]
    assert bounds[1] - bounds[0] == pytest.approx(-1 / 24, rel=1e-9)


def test_the_two_steps_of_the_proof_that_do_not_hold() -> None:
    # At the optimum with eta = 1/2, k = 2, V = 1. First: the last loss is at most the mean of both.
    losses = [run(0.5, k, start=0, variance=1).change for k in (1, 2)]
    assert losses == pytest.approx([1 / 8, 5 / 32])
    assert losses[1] > sum(losses) / 2
    # Second: E |g_1 + g_2|^2 = delta2 + omega. By theta_2 = -eta (g_1 + g_2) it is 2 L / eta^2.
    sums = run(0.5, 2, start=0, variance=1)
    assert 2 * sums.change / 0.5**2 == pytest.approx(5 / 4)
    assert sums.delta2 + sums.omega == pytest.approx(9 / 4)
