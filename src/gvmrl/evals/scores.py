"""The figures of an evaluation, each with its interval: avg@k, pass@k, majority@k.

Axes: P problems, K completions of each problem (the same number for all), M figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb

import numpy as np

from gvmrl.data import BoolArray, FloatArray, IntArray

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over problems, and how far other problems of the same kind might move it."""

    value: float
    low: float
    """Lower end of the 95% bootstrap interval."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What K completions of each of P problems came to."""

    reward_PK: FloatArray
    """[P, K] reward; an accepted completion has at least 1."""
    vote_PK: IntArray | None
    """[P, K] number of the first completion with an equivalent answer, -1 where there is no
    answer; None where answers cannot be compared."""
    truncated_PK: BoolArray
    """[P, K] whether the length limit ended the completion."""
    num_tokens_PK: IntArray
    """[P, K] tokens of the completion."""

    def __post_init__(self) -> None:
        if not self.reward_PK.size:
            raise ValueError(
                f"figures need a problem with a completion, got shape {self.reward_PK.shape}"
            )


def score(outcomes: Outcomes, seed: int) -> dict[str, Score]:
    """Return the figures by name, with bootstrap intervals over problems.

    avg@K is the mean reward; pass@k, for 1, 2, 4, ... up to K, the unbiased estimate of the chance
    that one of k completions is accepted; maj@K the accuracy of the most frequent answer, left out
    where answers cannot be compared.

    Args:
        outcomes: What came of each completion.
        seed: Decides the resamples; the same seed gives the same interval.
    """
    accepted_PK = outcomes.reward_PK >= 1
    size = accepted_PK.shape[1]
    figures = {f"avg@{size}": outcomes.reward_PK.mean(1)}
    attempts = sorted({*(2**power for power in range(size.bit_length())), size})
    figures |= {f"pass@{k}": pass_at(k, accepted_PK) for k in attempts}
    if outcomes.vote_PK is not None:
        figures[f"maj@{size}"] = majority(accepted_PK, outcomes.vote_PK)
    figures["truncated_rate"] = outcomes.truncated_PK.mean(1)
    figures["mean_tokens"] = outcomes.num_tokens_PK.mean(1)
    return bootstrap(figures, seed)


def pass_at(k: int, accepted_PK: BoolArray) -> FloatArray:
    """Estimate the chance that at least one of k completions is accepted, without bias.

    Of K completions with c accepted, it is the share of the sets of k that hold an accepted one:
    1 - C(K - c, k) / C(K, k) (Chen et al., arXiv 2107.03374, Eq. 1).

    Args:
        k: Attempts; 1 to K.
        accepted_PK: [P, K] whether each completion was accepted.

    Returns:
        [P] chances.

    Raises:
        ValueError: If k is not in 1..K.
    """
    size = accepted_PK.shape[1]
    if not 1 <= k <= size:
        raise ValueError(f"pass@k needs 1 <= k <= {size} completions of a problem, got k = {k}")
    chance_C = np.array([1 - comb(size - c, k) / comb(size, k) for c in range(size + 1)])
    return chance_C[accepted_PK.sum(1)]


def majority(accepted_PK: BoolArray, vote_PK: IntArray) -> FloatArray:
    """Return the chance that the most frequent answer is right, ties being settled by lot.

    Args:
        accepted_PK: [P, K] whether each completion was accepted.
        vote_PK: [P, K] number of the first completion with an equivalent answer; -1 for no answer.

    Returns:
        [P] 0 or 1, or the share of right answers among those that tie; 0 where nobody answered.
    """
    size = accepted_PK.shape[1]
    # [P, K, C]: whether a completion votes for the answer of completion C
    ballot_PKC = vote_PK[:, :, None] == np.arange(size)
    votes_PC = ballot_PKC.sum(1)
    wins_PC = (votes_PC > 0) & (votes_PC == votes_PC.max(1, keepdims=True))
    return (wins_PC & accepted_PK).sum(1) / np.maximum(wins_PC.sum(1), 1)


def bootstrap(figures: Mapping[str, FloatArray], seed: int) -> dict[str, Score]:
    """Average each figure over problems, with 95% percentile intervals.

    All figures see the same resampled problems, so they move together as the problems would.

    Args:
        figures: [P] values of each problem, by name.
        seed: Decides the resamples.
    """
    value_PM = np.stack([np.asarray(value, np.float64) for value in figures.values()], axis=1)
    num = len(value_PM)
    rng = np.random.default_rng(seed)
    # one resample at a time: all of them at once would be RESAMPLES x P counts
    mean_BM = np.stack(
        [rng.multinomial(num, np.full(num, 1 / num)) @ value_PM / num for _ in range(RESAMPLES)]
    )
    low_M, high_M = np.quantile(mean_BM, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    rows = zip(value_PM.mean(0), low_M, high_M, strict=True)
    return {
        name: Score(float(value), float(low), float(high))
        for name, (value, low, high) in zip(figures, rows, strict=True)
    }
