"""What a training step should raise, and the loss weights that keep it so for any counts.

Axes: P prompts.

An objective is a sum over prompts of f(p), p the acceptance rate. Its gradient is
f'(p) grad p = target * delta, with target = f'(p) p q and delta as in `estimators`. An estimator's
update from n rollouts has the mean e(n, p) delta, and e depends on n: without weights, counts
change the objective. The weight target / e(n, p) on the prompt's update undoes that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gvmrl.allocate.update.estimators import Estimator, check_rates, form_of, moments
from gvmrl.data import FloatArray, IntArray

ObjectiveName = Literal["native", "expected_reward", "log_likelihood", "arcsin", "pass_at_k"]

RATE_FLOOR = 1e-12
"""Rates are kept this far from 0 and 1, so that a weight there is its limit."""

WEIGHT_LIMIT = 1e5
"""A larger weight is taken for infinite: 0 is used instead, and the prompt counts as lost."""

TARGETS: dict[ObjectiveName, Callable[[FloatArray, int], FloatArray]] = {
    "expected_reward": lambda p, _: p * (1 - p),
    "log_likelihood": lambda p, _: 1 - p,
    "arcsin": lambda p, _: np.sqrt(p * (1 - p)),
    "pass_at_k": lambda p, k: k * p * (1 - p) ** k,
}
"""f'(p) p q for f = p, log p, 2 arcsin sqrt p and 1 - (1 - p)^k."""

NATIVE: dict[Estimator, ObjectiveName] = {
    "reinforce": "expected_reward",
    "raft": "log_likelihood",
    "rloo": "expected_reward",
    "dr_grpo": "expected_reward",
    "grpo": "arcsin",
    "maxrl": "log_likelihood",
}
"""The objective whose gradient the estimator follows as n grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Which expected update is wanted.

    Example:
        >>> Objective(name="pass_at_k", k=8).name
        'pass_at_k'
    """

    name: ObjectiveName = "native"
    """What to raise; native is the estimator's own objective."""
    k: int = 1
    """Attempts of pass_at_k, >= 1; must be left at 1 for any other objective."""
    reference: int = 0
    """Keep the expected update of a uniform run with this many rollouts per prompt; 0 asks for
    the exact gradient, which raft, grpo and maxrl follow only as the count grows."""

    def __post_init__(self) -> None:
        if self.name != "native" and self.name not in TARGETS:
            raise ValueError(
                f"objective.name must be one of native, {', '.join(TARGETS)}, got {self.name!r}"
            )
        if not self.k >= 1:
            raise ValueError(f"objective.k must be >= 1, got {self.k}")
        if self.k > 1 and self.name != "pass_at_k":
            raise ValueError(
                f"objective.k is {self.k} but {self.name} has no k; set objective.name='pass_at_k'"
            )
        if not self.reference >= 0:
            raise ValueError(f"objective.reference must be >= 0, got {self.reference}")


def objective_ratio(
    estimator: Estimator, objective: Objective, accept_rate_P: FloatArray
) -> FloatArray:
    """Return [P] f'_wanted / f'_native, by which the estimator's own update is off.

    Rates are kept `RATE_FLOOR` away from 0 and 1: where the ratio has no finite limit (the
    log-likelihood by a reward estimator at p = 0, say) it is far above `WEIGHT_LIMIT`.

    Raises:
        ValueError: If a rate lies outside [0, 1].
    """
    check_rates(accept_rate_P)
    form_of(estimator)
    if objective.name == "native":
        return np.ones_like(accept_rate_P)
    rate_P = np.clip(accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    return TARGETS[objective.name](rate_P, objective.k) / TARGETS[NATIVE[estimator]](rate_P, 1)


def target_factor(
    estimator: Estimator, objective: Objective, accept_rate_P: FloatArray
) -> FloatArray:
    """Return [P] the factor of delta in the expected update that is wanted.

    It is f'(p) p q; with a reference N, f'_wanted / f'_native times the estimator's e(N, p).
    Rates are kept `RATE_FLOOR` away from 0 and 1.

    Raises:
        ValueError: If a rate lies outside [0, 1], or the reference is too small for the
            estimator to learn anything.
    """
    ratio_P = objective_ratio(estimator, objective, accept_rate_P)
    rate_P = np.clip(accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    if objective.reference == 0:
        return ratio_P * TARGETS[NATIVE[estimator]](rate_P, 1)
    least = form_of(estimator).min_count
    if objective.reference < least:
        raise ValueError(
            f"objective.reference must be 0 or >= {least} for {estimator}, got "
            f"{objective.reference}: with fewer rollouts its update is always 0"
        )
    reference_P = np.full(rate_P.shape, objective.reference, np.int64)
    return ratio_P * moments(estimator, reference_P, rate_P).factor_P


def debias_weight(
    estimator: Estimator, objective: Objective, count_P: IntArray, accept_rate_P: FloatArray
) -> FloatArray:
    """Return [P] the weight w on each prompt's update such that E[w u] = target delta.

    With the native objective and no reference: 1 for reinforce and rloo, n / (n - 1) for dr_grpo,
    1 / (1 - q^n) for raft, 1 / (1 - q^(n-1)) for maxrl, sqrt(p q) / E a for grpo. Only the first
    three are free of p; the others are as good as the rate given. With a reference N no weight of
    the native objective exceeds N at any rate, so prefer that for estimated rates.

    The weight is 0 where none does it: fewer rollouts than the estimator's `min_count`, or beyond
    `WEIGHT_LIMIT`, as at a rate of 0 or 1 where the limit is infinite. `relative_bias` is -1 there.

    Args:
        estimator: Which update.
        objective: What it should follow.
        count_P: [P] rollouts, >= 0.
        accept_rate_P: [P] acceptance rates in [0, 1], estimated without these rollouts.

    Raises:
        ValueError: As `moments` and `target_factor`.

    Example:
        >>> weight_P = debias_weight("raft", Objective(), np.array([1, 2]), np.array([0.5, 0.5]))
        >>> [round(float(weight), 3) for weight in weight_P]
        [2.0, 1.333]
    """
    target_P = target_factor(estimator, objective, accept_rate_P)
    rate_P = np.clip(accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    factor_P = moments(estimator, count_P, rate_P).factor_P
    weight_P = np.divide(target_P, factor_P, out=np.zeros_like(rate_P), where=factor_P > 0)
    return np.where(weight_P <= WEIGHT_LIMIT, weight_P, 0.0)


def relative_bias(
    estimator: Estimator,
    objective: Objective,
    count_P: IntArray,
    accept_rate_P: FloatArray,
    weight_P: FloatArray,
) -> FloatArray:
    """Return [P] by how much the expected update of w u differs from the one wanted, relatively.

    0 is unbiased, -1 means that the prompt adds nothing in expectation, 0.5 that it pulls half as
    hard again as it should. Without loss weights (`weight_P` all 1 where each prompt's mean enters
    the loss, `count_P` over the mean count where all rollouts weigh the same) it says how far the
    counts change the objective; with weights from an estimate, given the true rates, what the
    error of the estimate costs.

    Args:
        estimator: Which update.
        objective: What it should follow.
        count_P: [P] rollouts, >= 0.
        accept_rate_P: [P] true acceptance rates in [0, 1]; at 0 and 1, the limit.
        weight_P: [P] weight on each prompt's update.

    Raises:
        ValueError: As `moments` and `target_factor`.
    """
    target_P = target_factor(estimator, objective, accept_rate_P)
    rate_P = np.clip(accept_rate_P, RATE_FLOOR, 1 - RATE_FLOOR)
    mean_P = weight_P * moments(estimator, count_P, rate_P).factor_P
    return np.divide(mean_P, target_P, out=np.ones_like(rate_P), where=target_P > 0) - 1


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What each rollout weighs under a plan."""

    weight_P: FloatArray
    """[P] weight of each rollout of the prompt, on top of the estimator's own coefficient."""
    bias_P: FloatArray
    """[P] `relative_bias` at the rates used: 0 where the weight does its work, -1 where no weight
    can, so that the prompt is lost."""


def loss_weights(
    estimator: Estimator, objective: Objective, count_P: IntArray, accept_rate_P: FloatArray
) -> LossWeights:
    """Weigh the rollouts of a plan so that the expected update does not depend on its counts.

    Write each prompt's update as u = (1/n) sum_j c_j s_j with the estimator's own coefficients c
    (the advantages; n / m on each accepted rollout for raft). Then

        (1/R) sum over all R rollouts of weight * c * s

    has the mean (1/P) sum_i target_i delta_i for any counts. So the weight is `debias_weight`
    times the mean count over the count. Uniform counts get 1 if the estimator is unbiased, or if
    the reference is that count. R and P count everything planned: dividing by the number accepted
    or by the prompts that happened to have a success brings the dependence back.

    Args:
        estimator: Which update.
        objective: What it should follow.
        count_P: [P] rollouts, >= 0.
        accept_rate_P: [P] acceptance rates in [0, 1], estimated without these rollouts.

    Raises:
        ValueError: As `moments` and `target_factor`.

    Example:
        >>> rate_P = np.array([0.5, 0.5, 0.5])
        >>> weights = loss_weights("rloo", Objective(), np.array([0, 2, 4]), rate_P)
        >>> weights.weight_P.tolist(), weights.bias_P.tolist()
        ([0.0, 1.0, 0.5], [-1.0, 0.0, 0.0])
    """
    prompt_weight_P = debias_weight(estimator, objective, count_P, accept_rate_P)
    share_P = count_P.sum() / max(count_P.size, 1) / np.maximum(count_P, 1)
    return LossWeights(
        weight_P=prompt_weight_P * share_P,
        bias_P=relative_bias(estimator, objective, count_P, accept_rate_P, prompt_weight_P),
    )
