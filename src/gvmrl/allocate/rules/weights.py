"""Rules whose counts follow a weight.

Axes: P prompts, all of them seen.

A rule is a function from statistics to a `Demand`; its settings are keyword arguments, set with
`functools.partial`. The rules of papers say what was changed here and why. In the formulas p is the
acceptance rate, q = 1 - p, and G_acc, G_rej are the norms of an accepted and a rejected rollout's
gradient.
"""

import math
from typing import Literal

import numpy as np

from gvmrl.allocate.demand import Demand, in_proportion, maximise_gain, minimise_variance
from gvmrl.allocate.rules.norms import gradient_norms
from gvmrl.allocate.rules.rates import Rate, raw_rate
from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats


def uniform(stats: PromptStats) -> Demand:
    """Give every prompt the same number of rollouts.

    Right as the baseline of every comparison, and where nothing is known yet.
    """
    return in_proportion(np.ones(len(stats)))


def gvm(
    stats: PromptStats, *, alpha: float = 1e-3, beta: float = 2.0, rate: Rate = raw_rate
) -> Demand:
    """Weigh by G_acc / sqrt(p + alpha p^(1 - beta)), and by 0 without a success.

    Source: GVM, arXiv 2505.02391, Proposition 1. It minimises the sum of
    G_acc^2 / (p n) / (1 + alpha / p^beta): the variance of the RAFT update with a penalty on rarely
    accepted prompts, which turns the weight down again below p = (alpha (beta - 1))^(1 / beta),
    0.03 at the authors' alpha 1e-3 and beta 2. They take the raw rate of 8 pilots and no bounds.

    Changed: the whole counts minimise the objective among whole counts; the paper rounds.

    Right for RAFT: the log-likelihood without a baseline. For RLOO and GRPO it raises the variance.

    Args:
        stats: `grad_norm_P` is G_acc; where not measured all prompts count as equally noisy.
        alpha: Weight of the penalty, >= 0; 0 turns it off.
        beta: Its power in p, >= 1.
        rate: Estimate of p. Who takes part depends on the successes, not on it.

    Raises:
        ValueError: If alpha or beta is out of range.

    Example:
        >>> stats = PromptStats(ids=("a", "b"), trials_P=[8, 8], successes_P=[8, 2])
        >>> gvm(stats, alpha=0.0).gain(np.array([1.0, 2.0])).round(3).tolist()
        [0.707, 0.816]
    """
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0, got {alpha}; 0 turns the penalty off")
    if not beta >= 1:
        raise ValueError(f"beta must be >= 1, got {beta}")
    norms = gradient_norms(stats)
    takes_part_P = stats.accepted_P > 0
    rate_P = np.where(takes_part_P, rate(stats), 1.0)
    with np.errstate(over="ignore"):
        weight_P = norms.accepted_P / np.sqrt(rate_P + alpha * rate_P ** (1 - beta))
    return minimise_variance(np.where(takes_part_P, weight_P, 0.0), norms.notes)


def cures(stats: PromptStats, *, rate: Rate = raw_rate) -> Demand:
    """Weigh by sqrt(p q^2 G_acc^2 + p^2 q G_rej^2 - p^2 q^2 (G_acc - G_rej)^2).

    Source: CURES, arXiv 2510.01037. The authors draw 4 pilots, take the raw rate, and spend 8 a
    prompt on average. The root equals sqrt(p q) (q G_acc + p G_rej), which is how it is computed.

    Changed: nothing in the formula. It is the deviation of one rollout's term with baseline p if
    the mean accepted and rejected gradients are parallel and as long as the norms; `neyman` drops
    that assumption.

    Right for RLOO and Dr.GRPO.

    Args:
        stats: `grad_norm_P` and `rejected_norm_P`; a missing one is taken from the other.
        rate: Estimate of p.
    """
    norms, rate_P = gradient_norms(stats), rate(stats)
    mixed_P = (1 - rate_P) * norms.accepted_P + rate_P * norms.rejected_P
    return minimise_variance(np.sqrt(rate_P * (1 - rate_P)) * mixed_P, norms.notes)


def informative(stats: PromptStats) -> Demand:
    """Weigh by 1 where some but not all rollouts were accepted, and by 0 elsewhere.

    Source: DAPO, arXiv 2503.14476. The authors draw groups until enough of them are mixed and throw
    the others away.

    Changed: membership comes from rollouts that are there already, so nothing is thrown away. A
    prompt that was once unlucky stays out until somebody probes it: give `lo`, or let the
    statistics age.

    Right for estimators with a baseline, on sets with many decided prompts.
    """
    return in_proportion(stats.mixed_P.astype(np.float64))


def dars(
    stats: PromptStats,
    *,
    schedule: Literal["equal", "hardness"] = "equal",
    base: int = 8,
    cap: int = 32,
    rate: Rate = raw_rate,
) -> Demand:
    """Weigh a prompt with p < 1/2 by base / (4 p q), or base / (2 p); any other by base.

    Source: DARS, arXiv 2508.13755. `equal` gives hard prompts the cumulative advantage of one at
    p = 1/2, `hardness` more than that. The authors take base 8 and cap 32 (equal) or 64 (hardness),
    and p = 1 / (2 base) where nothing was accepted.

    Changed: the budget is fixed, so the counts are shares in this proportion; the authors let the
    total grow.

    Right where pass@k counts and hard prompts can be solved; dead prompts get the most of all.

    Args:
        stats: Successes and trials.
        schedule: Which of the two formulas.
        base: Rollouts of an ordinary prompt, >= 1.
        cap: Largest weight, >= base.
        rate: Estimate of p.

    Raises:
        ValueError: If base or cap is out of range, or there is no such schedule.
    """
    if not 1 <= base <= cap:
        raise ValueError(f"dars needs 1 <= base <= cap, got base {base} and cap {cap}")
    if schedule not in ("equal", "hardness"):
        raise ValueError(f"schedule must be equal or hardness, got {schedule!r}")
    rate_P = np.where(stats.accepted_P > 0, rate(stats), 0.5 / base)
    hard_P = np.clip(rate_P, 1e-300, 0.5)
    extra_P = 4 * hard_P * (1 - hard_P) if schedule == "equal" else 2 * hard_P
    return in_proportion(np.minimum(base / extra_P, cap))


def e3(stats: PromptStats, *, lo: int = 4, rate: Rate = raw_rate) -> Demand:
    """Give `lo` to every prompt and divide the rest in proportion to the rank of its difficulty.

    Source: E3-RL, arXiv 2505.18573: lo + (B - P lo) rank / sum(rank), rank 1 for the easiest. The
    authors take from 4 to 12 rollouts a prompt: pass `hi=12` to `allocate`.

    Changed: prompts of equal rate share their mean rank, so rows of a file do not matter; and the
    upper bound holds for the whole budget.

    Right for mildly harder-first sampling without trusting the size of the rates.

    Args:
        stats: Successes and trials.
        lo: Rollouts that every prompt gets first, >= 0.
        rate: Estimate of p.

    Raises:
        ValueError: If lo is negative.
    """
    if not lo >= 0:
        raise ValueError(f"lo of e3 must be >= 0, got {lo}")
    _, level_P, size_L = np.unique(-rate(stats), return_inverse=True, return_counts=True)
    rank_P = (np.cumsum(size_L) - (size_L - 1) / 2)[level_P]

    def gain(count_P: FloatArray) -> FloatArray:
        return np.where(count_P < lo, np.inf, rank_P / (np.maximum(count_P - lo, 0) + 0.5))

    return maximise_gain(gain, cost_matters=False)


def mean(value_P: FloatArray) -> float:
    """Return the mean, the same in any order of the prompts."""
    return math.fsum(value_P) / value_P.size
