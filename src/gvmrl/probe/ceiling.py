"""What allocation could win at most, and by what: counts that use more and more knowledge.

Axes: P prompts.

Each stage keeps the update that uniform counts follow, by loss weights, so that nothing but its
noise is at stake. A prompt is decided if all of its known rollouts were accepted, or none.
"""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from gvmrl.allocate.update.objective import debias_weight
from gvmrl.allocate.update.scores import ScoreModel, score_model
from gvmrl.allocate.update.variance import debiased_variance, least_variance, optimal_counts
from gvmrl.data import BoolArray, FloatArray, IntArray
from gvmrl.probe.arms import Arm, Weighted
from gvmrl.probe.half import Half

Stage = Literal["undecided", "pass_rates", "gradient_norms"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""Even counts for the prompts that are not decided; the best counts for their pass rates alone;
the best counts for all that was measured."""

TINY = 1e-12
"""A weight that is 0 but for its sign."""


def stage_plan(half: Half, arm: Arm, stage: Stage, count: int) -> Weighted:
    """Return a stage's counts and loss weights, from a half of the rollouts.

    Args:
        half: Where the knowledge comes from; at least one prompt is undecided.
        arm: The update.
        stage: How much of the knowledge is used.
        count: Rollouts of a prompt on average.
    """
    rate_P = half.accept_rate_P
    model = {
        "undecided": score_model(np.full_like(rate_P, 0.5)),
        "pass_rates": score_model(rate_P),
        "gradient_norms": half.model(arm.estimator),
    }[stage]
    count_P = _best_counts(model, arm, undecided(half), count)
    weight_P = debias_weight(arm.estimator, arm.objective(count), count_P, rate_P)
    return Weighted(count_P, weight_P / count_P.size)


def uniform_and_best_variance(half: Half, arm: Arm, count: int) -> tuple[FloatArray, FloatArray]:
    """Return [P] the variances of each prompt's part with uniform counts and with the best ones.

    The best are those for this very half, so the difference is the most that allocation can
    touch, and a little more than anyone can win who has to find the counts out.
    """
    model, objective = half.model(arm.estimator), arm.objective(count)
    live_P = undecided(half)
    even_P = np.full(live_P.size, count)
    best_P = _best_counts(model, arm, live_P, count)
    best = debiased_variance(arm.estimator, objective, model, np.where(live_P, best_P, count))
    return (
        debiased_variance(arm.estimator, objective, model, even_P),
        np.where(live_P, best, 0.0),
    )


def undecided(half: Half) -> BoolArray:
    """Return [P] whether some, but not all, of a prompt's rollouts were accepted."""
    rate_P = half.accept_rate_P
    return (rate_P > 0) & (rate_P < 1)


def _best_counts(model: ScoreModel, arm: Arm, live_P: BoolArray, count: int) -> IntArray:
    """Return [P] the counts of least variance among the live prompts; 0 for the others."""
    budget = count * live_P.size
    demand = least_variance(arm.estimator, arm.objective(count), model)
    # A prompt whose accepted rollouts are all the same has no limiting weight, and yet a variance:
    # a small weight lets it take part, and no count depends on its size.
    weight_P = np.where(live_P, np.maximum(demand.weight_P, TINY), 0.0)
    return optimal_counts(
        replace(demand, weight_P=weight_P),
        budget,
        lo_P=np.zeros(live_P.size, np.int64),
        hi_P=np.where(live_P, budget, 0),
    )
