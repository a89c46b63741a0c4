"""Estimates of the acceptance rate p from successes and trials: a choice apart from the rule.

Axes: P prompts.

Where a round has begun, its rollouts count as well: all estimates pool them with the history.
"""

import math
from collections.abc import Callable

import numpy as np

from gvmrl.data import FloatArray
from gvmrl.stats import PromptStats

Rate = Callable[[PromptStats], FloatArray]
"""[P] acceptance rates in [0, 1], estimated from the statistics."""


def raw_rate(stats: PromptStats) -> FloatArray:
    """Return [P] successes / trials; no prompt may be unseen.

    Unbiased and what most papers use, but 0 of 4 and 0 of 400 look the same.

    Raises:
        ValueError: If a prompt is unseen.
    """
    return stats.accept_rate_P


def beta_rate(stats: PromptStats, *, a: float = 1.0, b: float = 1.0) -> FloatArray:
    """Return [P] (successes + a) / (trials + a + b), the mean under a Beta(a, b) prior.

    Never 0 or 1. So a rule will pay for dead prompts again: where that is not wanted, keep who
    takes part and how much apart, `masked(partial(neyman, rate=beta_rate), mixed)`.

    Args:
        stats: May hold unseen prompts, which get a / (a + b).
        a: Imagined successes, > 0.
        b: Imagined failures, > 0.

    Raises:
        ValueError: If a or b is not > 0.

    Example:
        >>> beta_rate(PromptStats(ids=("x",), trials_P=[2], successes_P=[0])).tolist()
        [0.25]
    """
    if not (a > 0 and b > 0):
        raise ValueError(f"a and b of the Beta prior must be > 0, got {a} and {b}")
    return (stats.accepted_P + a) / (stats.tried_P + a + b)


def discounted_rate(stats: PromptStats, *, keep: float = 0.5) -> FloatArray:
    """Return [P] the accepted share, where a rollout before this round counts `keep`.

    Args:
        stats: No prompt may be unseen.
        keep: What an old rollout counts, > 0 and at most 1 (a new one counts 1).

    Raises:
        ValueError: If `keep` is out of range or a prompt is unseen.

    Example:
        >>> stats = PromptStats(ids=("x",), trials_P=[8], successes_P=[8],
        ...                     round_trials_P=[4], round_successes_P=[0])
        >>> discounted_rate(stats, keep=0.5).tolist()
        [0.5]
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be > 0 and at most 1, got {keep}")
    aged = PromptStats(
        ids=stats.ids,
        trials_P=stats.trials_P * keep,
        successes_P=stats.successes_P * keep,
        round_trials_P=stats.round_trials_P,
        round_successes_P=stats.round_successes_P,
    )
    return aged.accept_rate_P


def fitted_rate(stats: PromptStats) -> FloatArray:
    """Return [P] the mean under the Beta prior that fits the spread of all prompts' rates.

    Where most prompts are decided the prior is weak and 0 of 8 stays near 0; where all prompts are
    alike it is strong. The prior's mean is the pooled rate, kept within half a success of 0 and 1,
    and its strength a + b = 1 / rho - 1 comes from the method of moments: rho is the part of the
    rates' variance that binomial noise does not explain, from 0.01 to 0.99.

    Args:
        stats: May hold unseen prompts, which get the prior's mean; 1/2 if all are unseen.
    """
    total = math.fsum(stats.tried_P)
    if total == 0:
        return np.full(len(stats), 0.5)
    mean = (math.fsum(stats.accepted_P) + 0.5) / (total + 1)
    seen = stats.take(np.flatnonzero(stats.seen_P))
    square_K = (seen.accept_rate_P - mean) ** 2
    noise = mean * (1 - mean)
    excess = math.fsum(square_K - noise / np.maximum(seen.tried_P, 1))
    room = math.fsum(noise * (1 - 1 / np.maximum(seen.tried_P, 1)))
    rho = min(max(excess / room, 0.01), 0.99) if room > 0 else 0.5
    strength = 1 / rho - 1
    return beta_rate(stats, a=mean * strength, b=(1 - mean) * strength)
