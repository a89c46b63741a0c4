"""Remark 1 of GVM (arXiv 2505.02391): how many accepted rollouts Proposition 1 is sure to give.

With w(p) = sqrt(p + alpha / p^(beta - 1)), the remark bounds sum_i n_i p_i from below by

    c (alpha (beta - 1))^(1 / (2 beta)) N sum_i [G_i / sum_l G_l] p_i / w(p_i),    c = sqrt(2).

w is least at p* = (alpha (beta - 1))^(1 / beta), where it is sqrt(beta / (beta - 1)) times that
power: so c has to be sqrt(beta / (beta - 1)), which is sqrt(2) for beta = 2 alone.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvmrl import PromptStats, allocate
from gvmrl.allocate import gvm

BUDGET = 64


def accepted_and_bound(
    successes: Sequence[int], norms: Sequence[float], alpha: float, beta: float
) -> tuple[float, float]:
    """Return the expected accepted rollouts under Proposition 1; the bound at c = 1."""
    stats = PromptStats(
        ids=tuple(map(str, range(len(successes)))),
        trials_P=np.full(len(successes), 8.0),
        successes_P=np.array(successes, np.float64),
        grad_norm_P=np.array(norms),
    )
    share_P = allocate(stats, BUDGET, rule=partial(gvm, alpha=alpha, beta=beta)).share_P
    rate_P, norm_P = stats.accept_rate_P, np.array(norms)
    root_P = np.sqrt(rate_P + alpha / rate_P ** (beta - 1))
    factor = (alpha * (beta - 1)) ** (1 / (2 * beta))
    bound = factor * BUDGET * (norm_P / norm_P.sum() * rate_P / root_P).sum()
    return float(share_P @ rate_P), float(bound)


prompts = st.lists(st.tuples(st.integers(1, 8), st.floats(0.1, 10)), min_size=1, max_size=5)


@settings(max_examples=40)
@given(prompts, st.floats(1e-6, 1), st.floats(1.01, 8))
def test_remark_1_holds_with_the_constant_of_its_beta(
    rows: list[tuple[int, float]], alpha: float, beta: float
) -> None:
    successes, norms = zip(*rows, strict=True)
    accepted, bound = accepted_and_bound(successes, norms, alpha, beta)
    assert accepted >= (beta / (beta - 1)) ** 0.5 * bound * (1 - 1e-12)


@pytest.mark.parametrize("beta", [2.0, 3.0, 4.0, 8.0])
def test_the_printed_constant_promises_too_much_beyond_beta_2(beta: float) -> None:
    # Prompts at p* = 1/2 reach the right bound exactly: 32 accepted of 64.
    alpha = 0.5**beta / (beta - 1)
    accepted, bound = accepted_and_bound([4, 4, 4], [1.0, 2.0, 5.0], alpha, beta)
    assert accepted == pytest.approx(32)
    assert (beta / (beta - 1)) ** 0.5 * bound == pytest.approx(32)
    excess = 2**0.5 * bound / accepted
    assert excess == pytest.approx((2 * (beta - 1) / beta) ** 0.5)
    assert (excess > 1 + 1e-9) is (beta > 2)
