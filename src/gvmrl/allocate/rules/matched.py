"""Rules derived from the estimator in use.

Axes: P prompts, all of them seen.
"""

from dataclasses import replace

from gvmrl.allocate.demand import Demand, minimise_variance
from gvmrl.allocate.rules.norms import gradient_norms
from gvmrl.allocate.rules.rates import Rate, raw_rate
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.allocate.update.objective import Objective
from gvmrl.allocate.update.scores import score_model
from gvmrl.allocate.update.variance import least_variance as least_variance_demand
from gvmrl.allocate.update.variance import neyman_weight
from gvmrl.stats import PromptStats


def neyman(
    stats: PromptStats,
    *,
    estimator: Estimator = "rloo",
    objective: Objective | None = None,
    rate: Rate = raw_rate,
) -> Demand:
    """Weigh by the deviation of one rollout's term in the update of the estimator.

    Source: Neyman 1934, with the variances of this package. For equal norms G the weights are
    G / sqrt(p) for raft, G sqrt(p) for reinforce, G sqrt(p q) for rloo and dr_grpo, G where
    0 < p < 1 for grpo and G sqrt(q / p) for maxrl.

    Right for any estimator, when the counts are not small. Decided prompts get nothing from the raw
    rate.

    Args:
        stats: `grad_norm_P` and `rejected_norm_P`; a missing one is taken from the other.
        estimator: Which update.
        objective: What it should follow; None is the estimator's own.
        rate: Estimate of p.

    Raises:
        ValueError: If there is no such estimator.
    """
    norms = gradient_norms(stats)
    model = score_model(rate(stats), norms.accepted_P, norms.rejected_P)
    return minimise_variance(neyman_weight(estimator, objective or Objective(), model), norms.notes)


def least_variance(
    stats: PromptStats,
    *,
    estimator: Estimator = "rloo",
    objective: Objective | None = None,
    rate: Rate = raw_rate,
) -> Demand:
    """Gain what a rollout takes off the exact variance of the update with its loss weights.

    Source: this package, exact for binary rewards at every count. `neyman` is its limit for large
    ones.

    Right for any estimator, small counts included. Give groups of at least 2 to rloo, dr_grpo, grpo
    and maxrl.

    Args:
        stats: `grad_norm_P` and `rejected_norm_P`; a missing one is taken from the other.
        estimator: Which update.
        objective: What it should follow; None is the estimator's own.
        rate: Estimate of p.

    Raises:
        ValueError: If there is no such estimator.
    """
    norms = gradient_norms(stats)
    model = score_model(rate(stats), norms.accepted_P, norms.rejected_P)
    demand = least_variance_demand(estimator, objective or Objective(), model)
    return replace(demand, notes=norms.notes)
