"""The update that one prompt contributes, and its mean and variance, exactly.

Axes: P prompts, M the values 0..n of m, the number of accepted rollouts among n.

For a binary reward every estimator here adds, for a prompt with m of n rollouts accepted,

    u = a(m, n) * (mean score of the accepted - [baseline] * mean score of the rejected),

where a score is grad log pi(rollout) and a mean over nothing is 0. Given m, accepted scores are
iid and rejected scores are iid. Scores have mean 0 under the policy, p mu_acc + q mu_rej = 0, so
one vector is free: with delta = mu_acc - mu_rej, mu_acc = q delta, mu_rej = -p delta and
grad p = p q delta. The mean and the trace of the covariance of u are then binomial sums of a.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gvmrl.data import FloatArray, IntArray

Estimator = Literal["reinforce", "raft", "rloo", "dr_grpo", "grpo", "maxrl"]

CHUNK = 2**20
"""Probabilities held at once while summing: bounds the memory, changes no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The coefficient a(m, n) that defines an estimator."""

    coefficient: Callable[[FloatArray, int], FloatArray]
    """a for m = 0..n, given m and n; n is at least `min_count`."""
    limit: Callable[[FloatArray], FloatArray]
    """a as n grows without bound and m / n goes to the acceptance rate given."""
    spread: Callable[[FloatArray], FloatArray]
    """Limit of n Var a(m, n), by the delta method: (d limit / dp)^2 p q."""
    baseline: bool
    """Whether rejected rollouts enter, with the same coefficient and the other sign."""

    @property
    def min_count(self) -> int:
        """Fewest rollouts of a prompt with which its update is not always 0."""
        return 2 if self.baseline else 1


FORMS: dict[Estimator, Form] = {
    # mean of reward * score
    "reinforce": Form(
        coefficient=lambda m_M, n: m_M / n,
        limit=lambda p: p,
        spread=lambda p: p * (1 - p),
        baseline=False,
    ),
    # mean of the accepted scores; nothing where none was accepted
    "raft": Form(
        coefficient=lambda m_M, _: np.sign(m_M),
        limit=np.ones_like,
        spread=np.zeros_like,
        baseline=False,
    ),
    # reward minus the mean reward of the other rollouts
    "rloo": Form(
        coefficient=lambda m_M, n: m_M * (n - m_M) / (n * (n - 1)),
        limit=lambda p: p * (1 - p),
        spread=lambda p: p * (1 - p) * (1 - 2 * p) ** 2,
        baseline=True,
    ),
    # reward minus the mean reward
    "dr_grpo": Form(
        coefficient=lambda m_M, n: m_M * (n - m_M) / n**2,
        limit=lambda p: p * (1 - p),
        spread=lambda p: p * (1 - p) * (1 - 2 * p) ** 2,
        baseline=True,
    ),
    # the same over the standard deviation of the n rewards, with n - 1 in its denominator
    "grpo": Form(
        coefficient=lambda m_M, n: np.sqrt(m_M * (n - m_M) * (n - 1) / n) / n,
        limit=lambda p: np.sqrt(p * (1 - p)),
        spread=lambda p: (1 - 2 * p) ** 2 / 4,
        baseline=True,
    ),
    # reward minus the mean reward, over the mean reward
    "maxrl": Form(
        coefficient=lambda m_M, n: (m_M > 0) * (n - m_M) / n,
        limit=lambda p: 1 - p,
        spread=lambda p: p * (1 - p),
        baseline=True,
    ),
}


def form_of(estimator: Estimator) -> Form:
    """Look an estimator up by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if estimator not in FORMS:
        raise ValueError(f"estimator must be one of {', '.join(FORMS)}, got {estimator!r}")
    return FORMS[estimator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and variance of each prompt's u, apart from the lengths of its scores."""

    factor_P: FloatArray
    """[P] e, with E u = e delta."""
    accepted_P: FloatArray
    """[P] E a^2 / m: the weight of the accepted scores' own variance."""
    rejected_P: FloatArray
    """[P] E a^2 / (n - m), or 0 without a baseline: the same for the rejected scores."""
    spread_P: FloatArray
    """[P] variance of the coefficient in front of delta, which comes from m alone."""

    def take(self, row_K: IntArray) -> "Moments":
        """Return the moments of some rows, in the order given; a row may come more than once."""
        return Moments(
            factor_P=self.factor_P[row_K],
            accepted_P=self.accepted_P[row_K],
            rejected_P=self.rejected_P[row_K],
            spread_P=self.spread_P[row_K],
        )


def moments(estimator: Estimator, count_P: IntArray, accept_rate_P: FloatArray) -> Moments:
    """Return the moments of each prompt's update from `count_P` rollouts.

    Closed forms for reinforce, rloo and dr_grpo; for the others a sum over m, at a cost that
    grows as the sum of the counts. The relative error is about 1e-12 for counts up to 1000.

    Args:
        estimator: Which update.
        count_P: [P] rollouts, >= 0. Below the estimator's `min_count` all moments are 0.
        accept_rate_P: [P] acceptance rates in [0, 1].

    Raises:
        ValueError: If a count is negative or a rate lies outside [0, 1], or the sizes differ.
    """
    check_counts(count_P, accept_rate_P)
    check_rates(accept_rate_P)
    form = form_of(estimator)
    closed = CLOSED.get(estimator)
    if closed is None:
        mean_P, accepted_P, rejected_P, variance_P = summed(form, count_P, accept_rate_P)
    else:
        safe_P = np.maximum(count_P, form.min_count).astype(np.float64)
        mean_P, accepted_P, rejected_P, variance_P = (
            np.where(count_P >= form.min_count, value_P, 0.0)
            for value_P in closed(safe_P, accept_rate_P)
        )
    # E[mean accepted - [baseline] mean rejected] is (q + [baseline] p) delta
    length_P = np.ones_like(accept_rate_P) if form.baseline else 1 - accept_rate_P
    return Moments(
        factor_P=length_P * mean_P,
        accepted_P=accepted_P,
        rejected_P=rejected_P if form.baseline else np.zeros_like(rejected_P),
        spread_P=length_P**2 * variance_P,
    )


Sums = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


def _reinforce(n_P: FloatArray, p_P: FloatArray) -> Sums:
    return p_P, p_P / n_P, np.zeros_like(p_P), p_P * (1 - p_P) / n_P


def _rloo(n_P: FloatArray, p_P: FloatArray) -> Sums:
    q_P = 1 - p_P
    pq_P = p_P * q_P
    pairs_P = n_P * (n_P - 1)
    return (
        pq_P,
        pq_P * (q_P / n_P + p_P / pairs_P),
        pq_P * (p_P / n_P + q_P / pairs_P),
        pq_P * ((1 - 2 * p_P) ** 2 / n_P + 2 * pq_P / pairs_P),
    )


def _dr_grpo(n_P: FloatArray, p_P: FloatArray) -> Sums:
    shrink_P = (n_P - 1) / n_P
    mean_P, accepted_P, rejected_P, variance_P = _rloo(n_P, p_P)
    return (
        shrink_P * mean_P,
        shrink_P**2 * accepted_P,
        shrink_P**2 * rejected_P,
        shrink_P**2 * variance_P,
    )


CLOSED: dict[Estimator, Callable[[FloatArray, FloatArray], Sums]] = {
    "reinforce": _reinforce,
    "rloo": _rloo,
    "dr_grpo": _dr_grpo,
}
"""E a, E a^2/m, E a^2/(n - m) and Var a as functions of n >= min_count and p."""


def summed(form: Form, count_P: IntArray, accept_rate_P: FloatArray) -> Sums:
    """Return [P] E a, E a^2/m, E a^2/(n - m) and Var a by summing over m = 0..n.

    A term whose mean would be over no rollouts is 0. Counts below `min_count` give zeros.
    """
    total_4P = np.zeros((4, count_P.size))
    order_P = np.argsort(count_P, kind="stable")
    num_N, start_N = np.unique(count_P[order_P], return_index=True)
    for num, rows in zip(num_N.tolist(), np.split(order_P, start_N[1:]), strict=True):
        if num < form.min_count:
            continue
        m_M = np.arange(num + 1.0)
        coefficient_M = form.coefficient(m_M, num)
        square_M = coefficient_M**2
        table_M3 = np.stack(
            [
                coefficient_M,
                np.divide(square_M, m_M, out=np.zeros_like(m_M), where=m_M > 0),
                np.divide(square_M, num - m_M, out=np.zeros_like(m_M), where=m_M < num),
            ],
            axis=1,
        )
        for start in range(0, rows.size, max(1, CHUNK // (num + 1))):
            part = rows[start : start + max(1, CHUNK // (num + 1))]
            probability_PM = binomial(num, accept_rate_P[part])
            total_4P[:3, part] = (probability_PM @ table_M3).T
            # centred, so that nothing cancels where the coefficient hardly varies
            gap_PM = coefficient_M - total_4P[0, part, None]
            total_4P[3, part] = np.einsum("pm,pm,pm->p", probability_PM, gap_PM, gap_PM)
    return total_4P[0], total_4P[1], total_4P[2], total_4P[3]


def binomial(num: int, accept_rate_P: FloatArray) -> FloatArray:
    """Return [P, num + 1] the probability of each number of accepted rollouts among `num`."""
    log_factorial_M = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, num + 1)))])
    log_ways_M = log_factorial_M[-1] - log_factorial_M - log_factorial_M[::-1]
    # a finite stand-in for log 0: exp of it is exactly 0, and 0 times it is not NaN
    floor_P = np.full_like(accept_rate_P, -1e5)
    log_p_P = np.log(accept_rate_P, out=floor_P.copy(), where=accept_rate_P > 0)
    log_q_P = np.log1p(-accept_rate_P, out=floor_P, where=accept_rate_P < 1)
    m_M = np.arange(num + 1.0)
    return np.exp(log_ways_M + log_p_P[:, None] * m_M + log_q_P[:, None] * (num - m_M))


def check_rates(accept_rate_P: FloatArray) -> None:
    """Refuse acceptance rates outside [0, 1].

    Raises:
        ValueError: If there is one, NaN included.
    """
    bad_P = ~((accept_rate_P >= 0) & (accept_rate_P <= 1))
    if bad_P.any():
        row = int(bad_P.argmax())
        raise ValueError(
            f"accept_rate_P must lie in [0, 1]; row {row} is {accept_rate_P[row]}; "
            "estimate a rate for prompts that were never tried, or leave them out"
        )


def check_counts(count_P: IntArray, accept_rate_P: FloatArray) -> None:
    """Refuse negative counts, and another number of counts than of rates.

    Raises:
        ValueError: If there are any.
    """
    if count_P.shape != accept_rate_P.shape:
        raise ValueError(
            f"count_P has shape {count_P.shape}, the prompts {accept_rate_P.shape}: "
            "give one count for each prompt"
        )
    if (count_P < 0).any():
        row = int((count_P < 0).argmax())
        raise ValueError(f"count_P must be >= 0; row {row} is {count_P[row]}")
