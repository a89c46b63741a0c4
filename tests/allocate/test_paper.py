"""The paper's own claim, against brute force: Proposition 1 solves Eq. 7, also in whole numbers.

Source: GVM, arXiv 2505.02391. Eq. 7 minimises sum_i G_i^2 / ((1 + alpha / p_i^beta) p_i n_i)
subject to sum n_i = N; nothing here uses the library's own kernels.
"""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl import PromptStats, allocate
from gvmrl.allocate import gvm
from gvmrl.data import FloatArray

settings = {
    "successes": st.lists(st.integers(1, 8), min_size=2, max_size=4),
    "norms": st.lists(st.floats(0.1, 10), min_size=4, max_size=4),
    "alpha": st.sampled_from([0.0, 1e-3, 0.05, 1.0]),
    "beta": st.sampled_from([1.0, 2.0, 3.5]),
}


def make(successes: list[int], norms: list[float]) -> PromptStats:
    size = len(successes)
    return PromptStats(
        ids=tuple("abcd"[:size]),
        trials_P=[8] * size,  # pyright: ignore[reportArgumentType] - sequences are converted
        successes_P=successes,  # pyright: ignore[reportArgumentType]
        grad_norm_P=norms[:size],  # pyright: ignore[reportArgumentType]
    )


def objective(stats: PromptStats, alpha: float, beta: float, count_P: FloatArray) -> float:
    """Eq. 7."""
    assert stats.grad_norm_P is not None
    p_P = stats.accept_rate_P
    return float((stats.grad_norm_P**2 / ((1 + alpha / p_P**beta) * p_P * count_P)).sum())


@given(**settings, budget=st.integers(4, 14), hi=st.integers(3, 14), lo=st.integers(1, 2))
def test_the_counts_minimise_equation_7_among_all_whole_numbers_within_bounds(
    successes: list[int],
    norms: list[float],
    alpha: float,
    beta: float,
    budget: int,
    hi: int,
    lo: int,
) -> None:
    stats = make(successes, norms)
    size = len(successes)
    budget = min(max(budget, lo * size), hi * size)
    plan = allocate(stats, budget, rule=partial(gvm, alpha=alpha, beta=beta), lo=lo, hi=hi)
    best = min(
        objective(stats, alpha, beta, np.array(counts, np.float64))
        for counts in itertools.product(range(lo, hi + 1), repeat=size)
        if sum(counts) == budget
    )
    found = objective(stats, alpha, beta, plan.count_P.astype(np.float64))
    assert found == pytest.approx(best, rel=1e-12)
    assert plan.count_P.sum() == budget


@given(**settings, step=st.floats(-0.5, 0.5))
def test_the_shares_minimise_equation_7_among_real_numbers(
    successes: list[int], norms: list[float], alpha: float, beta: float, step: float
) -> None:
    stats = make(successes, norms)
    plan = allocate(stats, 64, rule=partial(gvm, alpha=alpha, beta=beta))
    least = objective(stats, alpha, beta, plan.share_P)
    moved = plan.share_P.copy()
    amount = step * min(moved[0], moved[1])
    moved[0] += amount
    moved[1] -= amount
    assert plan.share_P.sum() == pytest.approx(64)
    assert objective(stats, alpha, beta, moved) >= least * (1 - 1e-12)
