"""The gradient norms that rules weigh with, where some or all were not measured.

Axes: P prompts.
"""

import math
from dataclasses import dataclass

import numpy as np

from gvmrl.data import BoolArray, FloatArray
from gvmrl.stats import PromptStats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norms:
    """Norms of one rollout's gradient, times the prompt's weight in the objective."""

    accepted_P: FloatArray
    """[P] for an accepted rollout."""
    rejected_P: FloatArray
    """[P] for a rejected one."""
    notes: tuple[str, ...]
    """What was not measured, and what stands in for it."""


def gradient_norms(stats: PromptStats) -> Norms:
    """Return the norms to weigh with.

    Where neither norm was measured all prompts count as equally noisy; where one was, it stands in
    for the other. A prompt without a success has no accepted norm yet (the file says 0): it gets
    the mean of the others'; likewise a prompt without a failure and the rejected norm.
    """
    accepted_P = _filled(stats.grad_norm_P, stats.accepted_P > 0)
    rejected_P = _filled(stats.rejected_norm_P, stats.accepted_P < stats.tried_P)
    notes: tuple[str, ...] = ()
    if accepted_P is None and rejected_P is None:
        accepted_P = rejected_P = np.ones(len(stats))
        notes = ("no gradient norms: all prompts count as equally noisy",)
    elif rejected_P is None:
        rejected_P = accepted_P
    elif accepted_P is None:
        accepted_P = rejected_P
        notes = ("no norms of accepted rollouts: those of rejected ones stand in",)
    assert accepted_P is not None
    assert rejected_P is not None
    weight_P = stats.objective_weight_P
    if weight_P is None:
        return Norms(accepted_P=accepted_P, rejected_P=rejected_P, notes=notes)
    return Norms(accepted_P=accepted_P * weight_P, rejected_P=rejected_P * weight_P, notes=notes)


def _filled(norm_P: FloatArray | None, measured_P: BoolArray) -> FloatArray | None:
    """Return the norms with the mean of the measured ones where there was nothing to measure."""
    if norm_P is None or not measured_P.any():
        return norm_P
    scale = float(norm_P.max()) or 1.0
    mean = scale * (math.fsum(norm_P[measured_P] / scale) / int(measured_P.sum()))
    return np.where(measured_P | (norm_P > 0), norm_P, mean)
