"""What the update of a plan will be like, before a rollout is drawn.

Axes: P prompts.
"""

from dataclasses import dataclass, replace

import numpy as np

from gvmrl.allocate.bounds import Bounds
from gvmrl.allocate.counts import solve
from gvmrl.allocate.demand import in_proportion
from gvmrl.allocate.rules.norms import gradient_norms
from gvmrl.allocate.rules.rates import Rate, fitted_rate
from gvmrl.allocate.update.estimators import Estimator, form_of
from gvmrl.allocate.update.objective import Objective, debias_weight, loss_weights
from gvmrl.allocate.update.scores import score_model, signal_limit
from gvmrl.allocate.update.variance import UpdatePrediction, predict_update
from gvmrl.data import FloatArray, IntArray
from gvmrl.stats import PromptStats

SIGNAL = 0.1
"""Assumed length of the mean score's difference, over the largest that the norms allow; ratios
between plans hardly depend on it."""


SMALLEST_SIGNAL = 1e-70
"""Largest signal, over the largest norm, below which fourth powers would vanish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The update that the rollouts are for: it decides what each of them must weigh."""

    estimator: Estimator
    """How the update is computed from the rollouts."""
    objective: Objective | None = None
    """What it should follow; None is the expected update of uniform counts at the same cost."""
    rate: Rate = fitted_rate
    """Estimate of the acceptance rates for weights and forecast; must know unseen prompts."""

    def __post_init__(self) -> None:
        form_of(self.estimator)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Weights that fit an update, and how it compares with that of uniform counts."""

    loss_weight_P: FloatArray
    """[P] weight of each rollout; 0 without rollouts, or where no weight undoes the bias."""
    variance_ratio: float | None
    """Variance of the update over that of uniform counts; None if uniform counts learn nothing,
    or the norms differ by more than can be squared."""
    snr_ratio: float | None
    """The same for the signal-to-noise of the update, which counts prompts left out as lost."""
    lost_signal: float | None
    """Share in [0, 1] of the expected signal that belongs to prompts which add nothing."""
    notes: tuple[str, ...]
    """What the user of the plan should know."""


def forecast(stats: PromptStats, count_P: IntArray, bounds: Bounds, update: Update) -> Forecast:
    """Weigh the rollouts of a plan for an update, and compare it with uniform at equal cost.

    Args:
        stats: One row for each prompt.
        count_P: [P] the plan's counts.
        bounds: What they were made for; only its costs are used.
        update: The estimator and what it should follow.
    """
    rate_P = update.rate(stats)
    spent = bounds.spent(count_P.astype(np.float64))
    even_P = _uniform(replace(bounds, budget=spent))
    least = form_of(update.estimator).min_count
    reference = max(round(float(even_P.mean())), least)
    objective = update.objective or Objective(reference=reference)
    weights = loss_weights(update.estimator, objective, count_P, rate_P)
    plan, even = (
        _predict(stats, rate_P, counts_P, update.estimator, objective)
        for counts_P in (count_P, even_P)
    )
    notes: list[str] = []
    if (single := int(((count_P > 0) & (count_P < least)).sum())) > 0:
        notes.append(
            f"prompts with fewer than {least} rollouts, too few for {update.estimator}: {single}; "
            f"set group_min to {least}"
        )
    return Forecast(
        loss_weight_P=weights.weight_P * weight_of(stats),
        variance_ratio=plan.variance / even.variance if plan and even and even.variance else None,
        snr_ratio=plan.snr / even.snr if plan and even and even.snr else None,
        lost_signal=plan.lost_signal if plan else None,
        notes=tuple(notes),
    )


def weight_of(stats: PromptStats) -> FloatArray:
    """Return [P] the prompts' weights in the objective."""
    if stats.objective_weight_P is None:
        return np.ones(len(stats))
    return stats.objective_weight_P


def _predict(
    stats: PromptStats,
    rate_P: FloatArray,
    count_P: IntArray,
    estimator: Estimator,
    objective: Objective,
) -> UpdatePrediction | None:
    """Predict the update with the weights that undo the counts' bias.

    None where no prompt has a gradient, or where norms differ by more than can be squared.
    """
    norms = gradient_norms(stats)
    # squares of norms must not overflow; their scale cancels in the ratios
    scale = float(max(norms.accepted_P.max(), norms.rejected_P.max())) or 1.0
    accepted_P, rejected_P = norms.accepted_P / scale, norms.rejected_P / scale
    signal_P = SIGNAL * signal_limit(rate_P, accepted_P, rejected_P)
    if signal_P.max() < SMALLEST_SIGNAL:
        return None
    model = score_model(rate_P, accepted_P, rejected_P, signal_P)
    weight_P = debias_weight(estimator, objective, count_P, rate_P)
    return predict_update(estimator, objective, model, count_P, weight_P)


def _uniform(bounds: Bounds) -> IntArray:
    """Return [P] even counts at this cost, whatever the bounds are."""
    free = replace(
        bounds,
        lo_P=np.zeros_like(bounds.lo_P),
        hi_P=np.floor(bounds.budget / bounds.cost_P),
    )
    return solve(in_proportion(np.ones_like(bounds.lo_P)), free).astype(np.int64)
