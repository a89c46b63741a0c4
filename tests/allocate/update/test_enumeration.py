"""The formulas against a softmax policy small enough to enumerate every possible step.

Axes: P prompts, K outcomes of a prompt, D parameters, shared by all prompts.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from gvmrl.allocate.update.estimators import Estimator, moments
from gvmrl.allocate.update.objective import (
    NATIVE,
    TARGETS,
    Objective,
    ObjectiveName,
    debias_weight,
    loss_weights,
    target_factor,
)
from gvmrl.allocate.update.scores import score_model
from gvmrl.allocate.update.variance import predict_update, update_variance
from gvmrl.data import FloatArray, IntArray

every_estimator = pytest.mark.parametrize("estimator", get_args(Estimator))


@dataclass(frozen=True)
class Policy:
    """softmax(base + feature @ theta) at theta = 0 over the outcomes of one prompt."""

    probability_K: FloatArray
    feature_KD: FloatArray
    accepted_K: FloatArray

    @property
    def score_KD(self) -> FloatArray:
        """[K, D] gradient of the log-probability of each outcome."""
        return self.feature_KD - self.probability_K @ self.feature_KD

    @property
    def accept_rate(self) -> float:
        """Probability of an accepted outcome."""
        return float(self.probability_K @ self.accepted_K)

    def mean_score(self, accepted: float) -> FloatArray:
        """Return [D] the mean score of the accepted (1) or the rejected (0) outcomes."""
        chosen_K = self.probability_K * (self.accepted_K == accepted)
        return chosen_K @ self.score_KD / chosen_K.sum()

    def mean_square(self, accepted: float) -> float:
        """Return their mean squared norm."""
        chosen_K = self.probability_K * (self.accepted_K == accepted)
        return float(chosen_K @ (self.score_KD**2).sum(axis=1) / chosen_K.sum())

    @property
    def delta_D(self) -> FloatArray:
        """[D] accepted minus rejected mean score."""
        return self.mean_score(1) - self.mean_score(0)


def make_policy(seed: int, accepted: Sequence[float]) -> Policy:
    rng = np.random.default_rng(seed)
    weight_K = rng.gamma(1.0, size=len(accepted))
    return Policy(
        probability_K=weight_K / weight_K.sum(),
        feature_KD=rng.normal(size=(len(accepted), 3)),
        accepted_K=np.array(accepted),
    )


POLICIES = (
    make_policy(1, [1.0, 0.0, 0.0, 0.0, 1.0]),
    make_policy(2, [1.0, 1.0, 1.0, 0.0]),
    make_policy(3, [0.0, 1.0, 0.0, 0.0]),
)


def advantages(estimator: Estimator, rewards: Sequence[float]) -> list[float]:
    """What each rollout's score is multiplied by, straight from the usual definitions."""
    num, total = len(rewards), sum(rewards)
    mean = total / num
    match estimator:
        case "reinforce":
            return list(rewards)
        case "raft":
            return [reward * num / total if total else 0.0 for reward in rewards]
        case "rloo":
            if num == 1:
                return [0.0]
            return [reward - (total - reward) / (num - 1) for reward in rewards]
        case "dr_grpo":
            return [reward - mean for reward in rewards]
        case "grpo":
            std = float(np.std(rewards, ddof=1)) if num > 1 else 0.0
            return [(reward - mean) / std if std else 0.0 for reward in rewards]
        case "maxrl":
            return [(reward - mean) / mean if mean else 0.0 for reward in rewards]


def every_update(
    estimator: Estimator, policy: Policy, num: int
) -> Iterator[tuple[float, FloatArray]]:
    """Yield the probability of each multiset of `num` outcomes, and its update u."""
    outcomes = range(policy.probability_K.size)
    for drawn in itertools.combinations_with_replacement(outcomes, num):
        ways = math.factorial(num)
        for outcome in set(drawn):
            ways //= math.factorial(drawn.count(outcome))
        rows = list(drawn)
        rewards = policy.accepted_K[rows].tolist()
        coefficient_R = np.array(advantages(estimator, rewards))
        probability = ways * float(np.prod(policy.probability_K[rows]))
        yield probability, coefficient_R @ policy.score_KD[rows] / max(num, 1)


def exact_mean(estimator: Estimator, policy: Policy, num: int) -> FloatArray:
    """Return [D] E u by enumeration; zeros without rollouts."""
    total_D = np.zeros(policy.feature_KD.shape[1])
    if num > 0:
        for probability, update_D in every_update(estimator, policy, num):
            total_D += probability * update_D
    return total_D


def exact_variance(estimator: Estimator, policy: Policy, num: int) -> float:
    """Return tr Cov u by enumeration."""
    mean_D = exact_mean(estimator, policy, num)
    return sum(
        probability * float(((update_D - mean_D) ** 2).sum())
        for probability, update_D in every_update(estimator, policy, num)
    )


RATE_P = np.array([policy.accept_rate for policy in POLICIES])
MODEL = score_model(
    RATE_P,
    [math.sqrt(policy.mean_square(1)) for policy in POLICIES],
    [math.sqrt(policy.mean_square(0)) for policy in POLICIES],
    [float(np.linalg.norm(policy.delta_D)) for policy in POLICIES],
)


def step_mean(estimator: Estimator, count_P: IntArray, weight_P: FloatArray) -> FloatArray:
    """Return [D] the mean of (1/R) sum over rollouts of weight * coefficient * score."""
    total_D = np.zeros(3)
    for policy, count, weight in zip(POLICIES, count_P.tolist(), weight_P, strict=True):
        total_D += weight * count * exact_mean(estimator, policy, count)
    return total_D / count_P.sum()


def exact_gradient(policy: Policy, objective: ObjectiveName, k: int) -> FloatArray:
    """Return [D] the gradient of f(p) by complex steps, which round nothing away."""

    def value(rate: NDArray[np.complex128]) -> NDArray[np.complex128]:
        match objective:
            case "log_likelihood":
                return np.log(rate)
            case "arcsin":
                return 2 * np.arcsin(np.sqrt(rate))
            case "pass_at_k":
                return 1 - (1 - rate) ** k
            case _:
                return rate

    gradient_D = np.zeros(policy.feature_KD.shape[1])
    for row in range(gradient_D.size):
        mass_K = policy.probability_K * np.exp(1e-30j * policy.feature_KD[:, row])
        rate = np.array(mass_K @ policy.accepted_K / mass_K.sum())
        gradient_D[row] = float(np.imag(value(rate))) / 1e-30
    return gradient_D


def test_the_oracle_enumerates_everything_and_its_scores_average_to_zero() -> None:
    for policy in POLICIES:
        updates = list(every_update("rloo", policy, 4))
        assert sum(probability for probability, _ in updates) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(policy.probability_K @ policy.score_KD, 0, atol=1e-14)
        rate = policy.accept_rate
        np.testing.assert_allclose(policy.mean_score(1), (1 - rate) * policy.delta_D, atol=1e-13)
        np.testing.assert_allclose(policy.mean_score(0), -rate * policy.delta_D, atol=1e-13)


@every_estimator
@pytest.mark.parametrize("num", [1, 2, 3, 6])
def test_factor_is_the_enumerated_mean_update(estimator: Estimator, num: int) -> None:
    for policy in POLICIES:
        part = moments(estimator, np.array([num]), np.array([policy.accept_rate]))
        np.testing.assert_allclose(
            part.factor_P[0] * policy.delta_D, exact_mean(estimator, policy, num), atol=1e-12
        )


@every_estimator
@pytest.mark.parametrize("num", [1, 2, 3, 6])
def test_variance_is_the_enumerated_one(estimator: Estimator, num: int) -> None:
    variance_P = update_variance(estimator, MODEL, np.full(3, num))
    exact_P = [exact_variance(estimator, policy, num) for policy in POLICIES]
    np.testing.assert_allclose(variance_P, exact_P, rtol=1e-10, atol=1e-14)


@every_estimator
@pytest.mark.parametrize("name", TARGETS)
def test_target_is_the_gradient_of_the_objective(estimator: Estimator, name: ObjectiveName) -> None:
    k = 3 if name == "pass_at_k" else 1
    target_P = target_factor(estimator, Objective(name=name, k=k), RATE_P)
    for policy, target in zip(POLICIES, target_P, strict=True):
        np.testing.assert_allclose(
            target * policy.delta_D, exact_gradient(policy, name, k), rtol=1e-10, atol=1e-14
        )
        if name == NATIVE[estimator]:
            np.testing.assert_allclose(target_factor(estimator, Objective(), RATE_P), target_P)


@every_estimator
@pytest.mark.parametrize("name", ["native", *TARGETS])
@pytest.mark.parametrize("reference", [0, 4])
def test_weights_keep_the_expected_update_whatever_the_counts(
    estimator: Estimator, name: ObjectiveName, reference: int
) -> None:
    objective = Objective(name=name, k=3 if name == "pass_at_k" else 1, reference=reference)
    uniform_P, plan_P = np.array([4, 4, 4]), np.array([2, 3, 7])
    weights = [loss_weights(estimator, objective, count, RATE_P) for count in (uniform_P, plan_P)]
    expected = [
        step_mean(estimator, count_P, weight.weight_P)
        for count_P, weight in zip((uniform_P, plan_P), weights, strict=True)
    ]
    np.testing.assert_allclose(expected[1], expected[0], rtol=1e-8, atol=1e-12)
    plain_D = step_mean(estimator, plan_P, np.ones(3))
    assert np.abs(plain_D - step_mean(estimator, uniform_P, np.ones(3))).max() > 1e-2
    for weight in weights:
        np.testing.assert_allclose(weight.bias_P, 0, atol=1e-12)
    if reference == 0 and name != "native":
        gradients = [exact_gradient(policy, name, objective.k) for policy in POLICIES]
        np.testing.assert_allclose(expected[1], np.mean(gradients, axis=0), rtol=1e-8, atol=1e-12)


@every_estimator
def test_signal_to_noise_is_the_enumerated_one_for_orthogonal_prompts(
    estimator: Estimator,
) -> None:
    objective, count_P = Objective(), np.array([2, 4, 3])
    weight_P = debias_weight(estimator, objective, count_P, RATE_P) * [1.0, 0.5, 1.5]
    targets = target_factor(estimator, objective, RATE_P)
    # each prompt's update in parameters of its own: stacked, not added
    pairs = list(zip(POLICIES, count_P.tolist(), weight_P, strict=True))
    mean_PD = np.stack([weight * exact_mean(estimator, policy, n) for policy, n, weight in pairs])
    wanted_PD = np.stack([t * p.delta_D for t, p in zip(targets, POLICIES, strict=True)])
    variance = sum(w**2 * exact_variance(estimator, policy, n) for policy, n, w in pairs)
    length = (mean_PD**2).sum() + variance
    found = predict_update(estimator, objective, MODEL, count_P, weight_P)
    assert found.variance == pytest.approx(variance, rel=1e-10)
    snr = (mean_PD * wanted_PD).sum() ** 2 / ((wanted_PD**2).sum() * length)
    assert found.snr == pytest.approx(snr, rel=1e-10)
    assert (found.lost_signal, found.num_lost) == (0.0, 0)


@every_estimator
def test_a_prompt_left_out_changes_nothing_for_the_others(estimator: Estimator) -> None:
    objective, count_P = Objective(reference=4), np.array([0, 4, 8])
    weights = loss_weights(estimator, objective, count_P, RATE_P)
    target_P = target_factor(estimator, objective, RATE_P)
    others = [t * policy.delta_D for t, policy in zip(target_P[1:], POLICIES[1:], strict=True)]
    np.testing.assert_allclose(
        step_mean(estimator, count_P, weights.weight_P), np.sum(others, axis=0) / 3, rtol=1e-8
    )
    np.testing.assert_allclose(weights.bias_P, [-1, 0, 0], atol=1e-12)
