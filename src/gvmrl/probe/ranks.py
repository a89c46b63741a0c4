"""Whether cheap gradient norms put prompts in the order of the full ones.

Axes: P prompts, K rollouts of each, C = 1000 resampled sets of prompts.
"""

import numpy as np

from gvmrl.data import FloatArray, IntArray
from gvmrl.probe.figures import Estimate
from gvmrl.probe.half import Half

RESAMPLED = 1000


def prompt_norms(halves: tuple[Half, Half], kind: str, *, accepted: bool) -> FloatArray:
    """Return [P] root mean square norms over the accepted or the rejected rollouts of a prompt.

    NaN for a prompt that has none.
    """
    chosen_PK = np.concatenate([half.accepted_PK == accepted for half in halves], axis=1)
    square_PK = np.concatenate([half.norm_PK[kind] for half in halves], axis=1) ** 2
    num_P = chosen_PK.sum(axis=1)
    total_P = (square_PK * chosen_PK).sum(axis=1)
    return np.sqrt(np.divide(total_P, num_P, out=np.full(num_P.size, np.nan), where=num_P > 0))


def spearman(one_P: FloatArray, other_P: FloatArray, rng: np.random.Generator) -> Estimate:
    """Return Spearman's rank correlation with its 95% bootstrap interval over prompts.

    Args:
        one_P: [P] numbers; prompts with a NaN on either side are left out.
        other_P: [P] numbers.
        rng: Draws the resampled sets.
    """
    known_P = np.isfinite(one_P) & np.isfinite(other_P)
    pair_2P = np.stack([one_P[known_P], other_P[known_P]])
    size = pair_2P.shape[1]
    if size < 3:
        return Estimate(np.nan, np.nan, np.nan)
    row_CP = rng.integers(size, size=(RESAMPLED, size))
    value_C = np.array([_correlation(pair_2P[:, row_P]) for row_P in row_CP])
    value_C = value_C[np.isfinite(value_C)]
    low, high = np.quantile(value_C, [0.025, 0.975]) if value_C.size else (np.nan, np.nan)
    return Estimate(_correlation(pair_2P), float(low), float(high))


def _correlation(pair_2P: FloatArray) -> float:
    """Return the correlation of the ranks; NaN where one side has a single value."""
    rank_2P = np.stack([_ranks(value_P) for value_P in pair_2P])
    rank_2P -= rank_2P.mean(axis=1, keepdims=True)
    length = np.sqrt((rank_2P**2).sum(axis=1).prod())
    return float(rank_2P[0] @ rank_2P[1] / length) if length > 0 else float("nan")


def _ranks(value_P: FloatArray) -> FloatArray:
    """Return [P] ranks from 0; equal values share the mean of theirs."""
    counted: tuple[FloatArray, IntArray, IntArray] = np.unique(
        value_P, return_inverse=True, return_counts=True
    )
    _, level_P, size_L = counted
    return (np.cumsum(size_L) - (size_L + 1) / 2)[level_P]
