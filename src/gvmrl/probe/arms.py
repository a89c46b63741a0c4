"""The updates that are compared, and what their plans come to under measured moments.

Axes: P prompts, S = 2P sides (see `half`), N plans, each with counts and weights of its own.

An update is sum_i w_i u_i, with u_i of `gvmrl.allocate.update.estimators` and w_i decided by the
weighting. A plan gives it the mean sum_S x_S mu_S, where mu are the mean gradients of the sides,
and a variance that is a sum over prompts. Divisors that all prompts share are taken to be fixed:
those of the trainer vary a little with the number of successes, which changes no direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from gvmrl.allocate import Limits, Objective, RuleName, allocate
from gvmrl.allocate.rules.catalog import fitted, rule_named
from gvmrl.allocate.rules.matched import least_variance, neyman
from gvmrl.allocate.update.estimators import Estimator, form_of, moments
from gvmrl.allocate.update.objective import RATE_FLOOR
from gvmrl.allocate.update.scores import ScoreModel
from gvmrl.allocate.update.variance import update_variance
from gvmrl.data import FloatArray, IntArray
from gvmrl.losses import POSITIVE_ONLY, Loss, LossConfig, Weighting
from gvmrl.probe.half import Half
from gvmrl.stats import PromptStats


@dataclass(frozen=True, slots=True)
class Arm:
    """A loss with its weighting, as `gvmrl train` computes them."""

    loss: Loss
    weighting: Weighting
    """Never auto."""

    @property
    def name(self) -> str:
        """The loss, and the weighting where it has several."""
        if self.weighting == "prompt_mean":
            return self.loss
        return f"{self.loss} {self.weighting}"

    @property
    def estimator(self) -> Estimator:
        """The form of each prompt's part of the update."""
        if self.loss == "raft" or self.loss == "raft++":
            return "raft" if self.weighting == "accepted_mean" else "reinforce"
        return self.loss

    def weight(self, count_P: IntArray, accept_rate_P: FloatArray) -> FloatArray:
        """Return [P] the weight of each prompt's part, as the trainer weighs it.

        Args:
            count_P: [P] rollouts.
            accept_rate_P: [P] rates that `inverse_probability` divides by; 0 leaves a prompt out.
        """
        match self.weighting:
            case "flat":
                return count_P / count_P.sum()
            case "inverse_probability":
                known_P = accept_rate_P > 0
                return known_P / np.where(known_P, accept_rate_P, 1.0) / count_P.size
            case _:
                return np.full(count_P.size, 1 / count_P.size)

    def objective(self, reference: int) -> Objective:
        """Return what uniform counts of `reference` follow."""
        if self.weighting == "inverse_probability":
            return Objective(name="log_likelihood", reference=reference)
        return Objective(reference=reference)


ARMS: tuple[Arm, ...] = (
    Arm("raft", "accepted_mean"),
    Arm("raft", "inverse_probability"),
    Arm("raft", "flat"),
    Arm("rloo", "prompt_mean"),
    Arm("dr_grpo", "prompt_mean"),
    Arm("grpo", "prompt_mean"),
)


def arm_of(config: LossConfig) -> Arm:
    """Return a run's own arm; at fixed parameters raft++ is raft, as every ratio is 1."""
    loss = "raft" if config.name in POSITIVE_ONLY else config.name
    return Arm(loss, config.resolved_weighting)


class Weighted(NamedTuple):
    """A plan: counts, and the weights of the prompts' parts."""

    count_P: IntArray
    weight_P: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """An update under N equally likely plans, by prompt: sums over prompts give every figure."""

    variance_P: FloatArray
    """[P] mean variance of each prompt's part, given the plan."""
    slope_P: FloatArray
    """[P] what it gains by a rise of the logarithm of its count; mostly negative."""
    square_PP: FloatArray
    """[P, P] adds up to the mean of |E[update | plan]|^2."""
    mean_PP: FloatArray
    """[P, P] adds up to |E update|^2."""
    cross_PP: FloatArray
    """[P, P] adds up to E update . target."""
    target_PP: FloatArray
    """[P, P] adds up to |target|^2."""
    count_P: FloatArray
    """[P] mean number of rollouts."""

    def mean_with(self, other: "Terms") -> "Terms":
        """Return the average of two measurements of the same."""
        names = self.__dataclass_fields__
        return Terms(**{name: (getattr(self, name) + getattr(other, name)) / 2 for name in names})


def terms(half: Half, arm: Arm, plans: Sequence[Weighted], target_S: FloatArray) -> Terms:
    """Work out what plans come to if rollouts are drawn from a half.

    Args:
        half: The truth. The plans must come from other rollouts.
        arm: The update.
        plans: N plans, equally likely.
        target_S: [S] the update that is wanted, as `mean_update` gives it.
    """
    count_NP = np.stack([plan.count_P for plan in plans])
    weight_NP = np.stack([plan.weight_P for plan in plans])
    model = _repeated(half.model(arm.estimator), len(plans))
    variance_NP, more_NP = (
        update_variance(arm.estimator, model, counts_NP.ravel()).reshape(count_NP.shape)
        for counts_NP in (count_NP, count_NP + (count_NP > 0))
    )
    slope_NP = (more_NP - variance_NP) / np.log1p(1 / np.maximum(count_NP, 1))
    mean_NS = mean_update(half, arm, count_NP, weight_NP)
    mean_S = mean_NS.mean(axis=0)
    return Terms(
        variance_P=(weight_NP**2 * variance_NP).mean(axis=0),
        slope_P=(weight_NP**2 * slope_NP).mean(axis=0),
        square_PP=_by_prompt(mean_NS.T @ mean_NS / len(plans) * half.gram_SS),
        mean_PP=_by_prompt(np.outer(mean_S, mean_S) * half.gram_SS),
        cross_PP=_by_prompt(np.outer(mean_S, target_S) * half.gram_SS),
        target_PP=_by_prompt(np.outer(target_S, target_S) * half.gram_SS),
        count_P=count_NP.mean(axis=0),
    )


def mean_update(half: Half, arm: Arm, count_NP: IntArray, weight_NP: FloatArray) -> FloatArray:
    """Return [N, S] the factor of each side's mean gradient in the expected update."""
    form = form_of(arm.estimator)
    # E u = E[a] mean accepted, or E[a] (mean accepted - mean rejected); `factor` is by delta
    rate_NP = np.minimum(np.broadcast_to(half.accept_rate_P, count_NP.shape), 1 - RATE_FLOOR)
    part = moments(arm.estimator, count_NP.ravel(), rate_NP.ravel())
    factor_NP = weight_NP * part.factor_P.reshape(count_NP.shape)
    if form.baseline:
        return np.concatenate([factor_NP, -factor_NP], axis=1)
    return np.concatenate([factor_NP / (1 - rate_NP), np.zeros_like(factor_NP)], axis=1)


def rule_plan(stats: PromptStats, arm: Arm, rule: RuleName, count: int, seed: int) -> Weighted:
    """Divide a budget of `count` rollouts a prompt by a rule, weighed as the trainer does.

    The rules of this package minimise the variance of the very update in use, with what uniform
    counts follow as its objective. Groups are 0 or large enough for the estimator to learn.
    """
    function = fitted(rule_named(rule), arm.estimator)
    for derived in (neyman, least_variance):
        if rule_named(rule) is derived:
            objective = arm.objective(count)
            function = partial(derived, estimator=arm.estimator, objective=objective)
    plan = allocate(
        stats,
        count * len(stats),
        rule=function,
        seed=seed,
        limits=Limits(group_min=form_of(arm.estimator).min_count),
    )
    return Weighted(plan.count_P, arm.weight(plan.count_P, stats.accept_rate_P))


def _repeated(model: ScoreModel, num: int) -> ScoreModel:
    """Return the model of `num` copies of the prompts, one after the other."""
    return ScoreModel(
        accept_rate_P=np.tile(model.accept_rate_P, num),
        accepted_norm_P=np.tile(model.accepted_norm_P, num),
        rejected_norm_P=np.tile(model.rejected_norm_P, num),
        signal_P=np.tile(model.signal_P, num),
    )


def _by_prompt(product_SS: FloatArray) -> FloatArray:
    """Add up the sides of each pair of prompts: [S, S] to [P, P]."""
    num = len(product_SS) // 2
    return product_SS.reshape(2, num, 2, num).sum(axis=(0, 2))
