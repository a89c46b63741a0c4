"""Rules that state what each further rollout is worth; the counts maximise the sum.

Axes: P prompts, all of them seen.

p is the acceptance rate, q = 1 - p, n the rollouts that a prompt has already in this plan.
"""

from typing import Literal

import numpy as np

from gvmrl.allocate.demand import Demand, maximise_gain
from gvmrl.allocate.rules.rates import Rate, raw_rate
from gvmrl.allocate.rules.weights import mean
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def vip(
    stats: PromptStats,
    *,
    estimator: Literal["rloo", "dr_grpo"] = "rloo",
    rate: Rate = raw_rate,
) -> Demand:
    """Gain p q / ((n - 1) n) for rloo, or p q ((n - 1) / n^2 - n / (n + 1)^2) for dr_grpo.

    Source: VIP, arXiv 2602.01601: the fall of the update's variance p q / (n - 1), or
    p q (n - 1) / n^2. The authors bound the counts by 3 and 32 (pass `lo=3, hi=32`) and predict p
    with a Gaussian process.

    Changed: an exact greedy answer on whole counts, where the authors relax and round. Below 2
    rollouts (3 for dr_grpo, whose variance still rises there) the gain is infinite: such a group is
    of no use, so complete it before any other is enlarged.

    Right for RLOO and Dr.GRPO without gradient norms.

    Args:
        stats: Successes and trials.
        estimator: Which of the two variances.
        rate: Estimate of p.

    Raises:
        ValueError: If there is no such form.
    """
    if estimator not in ("rloo", "dr_grpo"):
        raise ValueError(f"vip has the forms rloo and dr_grpo, got {estimator!r}")
    rate_P = rate(stats)
    value_P = weighted(stats, rate_P * (1 - rate_P), power=2)
    least = 2 if estimator == "rloo" else 3
    first_P = np.where(value_P > 0, np.inf, 0.0)

    def gain(count_P: FloatArray) -> FloatArray:
        n_P = np.maximum(count_P, least)
        if estimator == "rloo":
            saved_P = 1 / ((n_P - 1) * n_P)
        else:
            # (n - 1) / n^2 - n / (n + 1)^2 without its cancellation
            saved_P = (n_P**2 - n_P - 1) / (n_P * (n_P + 1)) ** 2
        return np.where(count_P < least, first_P, value_P * saved_P)

    return maximise_gain(gain)


def knapsack(stats: PromptStats, *, rate: Rate = raw_rate) -> Demand:
    """Gain p q^2 (p^n q + q^n p): the rise of the chance of a mixed group, times p q^2.

    Source: Knapsack RL, arXiv 2509.25849. A group of n is mixed with probability 1 - p^n - q^n, and
    p q^2 estimates what its gradient teaches. The authors bound the counts by 2 and 128, and what
    is left over goes to prompts with p = 0.

    Changed: greedy is exact here, since the gains fall with n, so their dynamic program is not
    needed. A first rollout alone makes no mixed group; the first two share their gain, so give
    `lo=2` or groups of at least 2. Prompts with p = 0 have a gain too small for others to lose.

    Right for GRPO with standard deviation: it counts groups that have a gradient at all.

    Args:
        stats: Successes and trials.
        rate: Estimate of p.
    """
    rate_P = rate(stats)
    miss_P = 1 - rate_P
    value_P = weighted(stats, rate_P * miss_P**2)
    dead_P = rate_P == 0

    def gain(count_P: FloatArray) -> FloatArray:
        n_P = np.maximum(count_P, 2)
        mixed_P = rate_P**n_P * miss_P + miss_P**n_P * rate_P
        return np.where(dead_P, LAST / (count_P + 1), value_P * mixed_P)

    return maximise_gain(gain)


LAST = 1e-290
"""A gain that comes after all real ones."""


def coba(
    stats: PromptStats,
    *,
    kappa: float = 11.0,
    tau: tuple[float, float] = (3.0, 12.0),
    rate: Rate = raw_rate,
) -> Demand:
    """Gain BetaPDF(p; a, b) (exp(-n p q / tau) - exp(-(n + 1) p q / tau)).

    Source: CoBA-RL, arXiv 2602.03048 and its code: a = 1 + (kappa - 2) F and b = kappa - a, with F
    the mean failure rate, squeezed by 1 / (1 + exp(-10 (F - 1/2))) once it is below 1/2, so that a
    weak model practises what it nearly can and a strong one turns to what is hard. tau goes from 3
    to 12 as the variance of the rates goes from 0 to 1/6. The authors take kappa 11 and bounds of 2
    and 128.

    Changed: p is not moved into [0.01, 0.99], so decided prompts gain nothing; the part of the
    budget that the code keeps for very hard prompts is left to `lo`.

    Right for curricula: it follows the model's strength rather than any estimator's variance.

    Args:
        stats: Successes and trials.
        kappa: a + b, >= 2; larger means narrower.
        tau: Smallest and largest number of informative rollouts that saturate a prompt; > 0.
        rate: Estimate of p.

    Raises:
        ValueError: If kappa or tau is out of range.
    """
    if not kappa >= 2:
        raise ValueError(f"kappa must be >= 2, got {kappa}")
    if not 0 < tau[0] <= tau[1]:
        raise ValueError(f"tau must be two numbers, 0 < first <= second, got {tau}")
    rate_P = rate(stats)
    average = mean(rate_P)
    failure = 1 - average
    if failure <= 0.5:
        failure = float(1 / (1 + np.exp(-10 * (failure - 0.5))))
    a = 1 + (kappa - 2) * failure
    b = kappa - a
    # the density up to its constant, which no comparison needs
    value_P = weighted(stats, rate_P ** (a - 1) * (1 - rate_P) ** (b - 1))
    spread = min(6 * mean((rate_P - average) ** 2), 1.0)
    pace_P = rate_P * (1 - rate_P) / (tau[0] + (tau[1] - tau[0]) * spread)

    def gain(count_P: FloatArray) -> FloatArray:
        return value_P * np.exp(-count_P * pace_P) * -np.expm1(-pace_P)

    return maximise_gain(gain)


def hora(stats: PromptStats, *, a: float = 1.0, b: float = 1.0) -> Demand:
    """Gain the chance that rollout n + 1 is the first hit of the coming ones.

    Source: HORA, arXiv 2605.07114. With p ~ Beta(a + s, b + m - s) after s hits among the m
    rollouts of this round, that is E[p q^n]. The authors take a = b = 1.

    Changed: nothing; outside a round all prompts gain the same.

    Right within a round of several waves: it looks for prompts that can still get a first success.

    Args:
        stats: `round_trials_P` and `round_successes_P`; none drawn yet if absent.
        a: Imagined successes, > 0.
        b: Imagined failures, > 0.

    Raises:
        ValueError: If a or b is not > 0.
    """
    if not (a > 0 and b > 0):
        raise ValueError(f"a and b of the Beta prior must be > 0, got {a} and {b}")
    hit_P, miss_P = np.full(len(stats), a), np.full(len(stats), b)
    if stats.round_trials_P is not None and stats.round_successes_P is not None:
        hit_P = hit_P + stats.round_successes_P
        miss_P = miss_P + (stats.round_trials_P - stats.round_successes_P)
    start_P = np.log(hit_P) + log_gamma(hit_P + miss_P) - log_gamma(miss_P)

    def gain(count_P: FloatArray) -> FloatArray:
        log_P = log_gamma(miss_P + count_P) - log_gamma(hit_P + miss_P + count_P + 1)
        return np.exp(start_P + log_P)

    return maximise_gain(gain)


def weighted(stats: PromptStats, value_P: FloatArray, power: int = 1) -> FloatArray:
    """Return the values times a power of the prompts' weights in the objective."""
    if stats.objective_weight_P is None:
        return value_P
    return value_P * stats.objective_weight_P**power


def log_gamma(value_P: FloatArray) -> FloatArray:
    """Return the logarithm of the gamma function, elementwise for values > 0.

    Stirling's series beyond 10, reached by steps of gamma(x + 1) = x gamma(x); error 1e-13.
    """
    small_K = np.flatnonzero(value_P < 10)
    product_K = np.ones(small_K.size)
    for step in range(10):
        product_K *= value_P[small_K] + step
    x_P = value_P.copy()
    x_P[small_K] += 10
    series_P = np.zeros_like(x_P)
    for divisor in (1188, -1680, 1260, -360, 12):
        series_P = series_P / x_P**2 + 1 / divisor
    log_P = (x_P - 0.5) * np.log(x_P) - x_P + 0.5 * np.log(2 * np.pi) + series_P / x_P
    log_P[small_K] -= np.log(product_K)
    return log_P
