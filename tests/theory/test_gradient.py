"""The gradient's mean and variance (GVM, arXiv 2505.02391, section 3.1), by enumeration.

Each prompt has a softmax policy over K outcomes, small enough that every draw of every prompt can
be listed; the weights are those that training uses. Axes: P prompts, K outcomes, R rollouts, D
parameters, shared by all prompts.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from gvmrl import PromptStats, allocate
from gvmrl.allocate import gvm
from gvmrl.data import Completion, FloatArray, Prompt, Rollouts
from gvmrl.losses import LossConfig, Weighting
from gvmrl.train.weigh import weigh

TOKEN = Completion(text="", token_ids=(1,), logprobs=(-1.0,), truncated=False)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """softmax(log probability + feature @ theta) at theta = 0 over each prompt's outcomes."""

    probability_PK: FloatArray
    feature_PKD: FloatArray
    accepted_PK: FloatArray

    @property
    def rate_P(self) -> FloatArray:
        """[P] acceptance rates p."""
        return (self.probability_PK * self.accepted_PK).sum(1)

    @property
    def score_PKD(self) -> FloatArray:
        """[P, K, D] gradient of the log-probability of each outcome."""
        mean_P1D = np.einsum("pk,pkd->pd", self.probability_PK, self.feature_PKD)[:, None]
        return self.feature_PKD - mean_P1D

    @property
    def mu_PD(self) -> FloatArray:
        """[P, D] mean score of the accepted outcomes."""
        weight_PK = self.probability_PK * self.accepted_PK / self.rate_P[:, None]
        return np.einsum("pk,pkd->pd", weight_PK, self.score_PKD)

    @property
    def square_P(self) -> FloatArray:
        """[P] G^2, the mean squared norm of their scores."""
        weight_PK = self.probability_PK * self.accepted_PK / self.rate_P[:, None]
        return (weight_PK * (self.score_PKD**2).sum(2)).sum(1)

    def rate_gradient(self, root: bool = False) -> FloatArray:
        """Return [P, D] the gradient of p (or of its root) by complex steps."""
        columns: list[FloatArray] = []
        for feature_PK in np.moveaxis(self.feature_PKD, 2, 0):
            mass_PK = self.probability_PK * np.exp(1e-30j * feature_PK)
            rate_P = (mass_PK * self.accepted_PK).sum(1) / mass_PK.sum(1)
            columns.append(np.imag(np.sqrt(rate_P) if root else rate_P) / 1e-30)
        return np.stack(columns, axis=1)


def every_gradient(
    policy: Policy, count_P: Sequence[int], weighting: Weighting
) -> Iterator[tuple[float, FloatArray]]:
    """Yield the probability of each draw, and the weighted sum of its scores."""
    row_R = np.repeat(np.arange(len(count_P)), count_P)
    config = LossConfig(name="raft", weighting=weighting)
    for drawn in itertools.product(range(policy.probability_PK.shape[1]), repeat=row_R.size):
        column_R = np.array(drawn)
        rollouts = Rollouts(
            prompts=tuple(Prompt(str(row), (1,), "") for row in range(len(count_P))),
            prompt_R=row_R,
            completions=(TOKEN,) * row_R.size,
            reward_R=policy.accepted_PK[row_R, column_R],
            statuses=("scored",) * row_R.size,
            policy_step=0,
        )
        weight_R = weigh(rollouts, config, accept_rate_P=policy.rate_P).weight_R
        probability = float(policy.probability_PK[row_R, column_R].prod())
        yield probability, weight_R @ policy.score_PKD[row_R, column_R]


def mean_and_variance(
    policy: Policy, count_P: Sequence[int], weighting: Weighting = "inverse_probability"
) -> tuple[FloatArray, float]:
    """Return [D] the mean of the weighted sum of scores; the trace of its covariance."""
    draws = list(every_gradient(policy, count_P, weighting))
    probability_S = np.array([probability for probability, _ in draws])
    gradient_SD = np.array([gradient_D for _, gradient_D in draws])
    mean_D = probability_S @ gradient_SD
    return mean_D, float(probability_S @ ((gradient_SD - mean_D) ** 2).sum(1))


def bound(policy: Policy, count_P: Sequence[int] | FloatArray) -> float:
    """Return sum G^2 / (p n), what Proposition 1 minimises at alpha = 0."""
    return float((policy.square_P / policy.rate_P / np.array(count_P)).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("counts", [[1, 1], [3, 1], [1, 2, 2]])
def test_the_variance_is_the_bound_less_the_means_that_its_proof_drops(
    seed: int, counts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    size = len(counts)
    probability_PK = rng.gamma(1.0, size=(size, 3)) + 0.01
    policy = Policy(
        probability_PK=probability_PK / probability_PK.sum(1, keepdims=True),
        feature_PKD=rng.normal(size=(size, 3, 2)),
        accepted_PK=np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])[:size],
    )
    mean_D, variance = mean_and_variance(policy, counts)
    np.testing.assert_allclose(mean_D, policy.mu_PD.sum(0), rtol=1e-9, atol=1e-12)  # Lemma 1
    dropped = float(((policy.mu_PD**2).sum(1) / counts).sum())
    assert variance == pytest.approx(bound(policy, counts) - dropped, rel=1e-9, abs=1e-12)
    assert variance <= bound(policy, counts) * (1 + 1e-12)


def test_the_bound_is_reached_where_the_accepted_scores_cancel() -> None:
    policy = Policy(
        probability_PK=np.array([[0.25, 0.25, 0.5]]),
        feature_PKD=np.array([[[2.0], [-2.0], [0.0]]]),
        accepted_PK=np.array([[1.0, 1.0, 0.0]]),
    )
    mean_D, variance = mean_and_variance(policy, [4])
    assert mean_D == pytest.approx([0], abs=1e-12)
    assert variance == pytest.approx(bound(policy, [4])) == pytest.approx(4 / (0.5 * 4))


# p = (0.9, 0.1) and G = (9, 1), each prompt with one accepted outcome and a parameter of its own.
PAIR = Policy(
    probability_PK=np.array([[0.9, 0.1], [0.1, 0.9]]),
    feature_PKD=np.array([[[90.0, 0.0], [0.0, 0.0]], [[0.0, 1 / 0.9], [0.0, 0.0]]]),
    accepted_PK=np.array([[1.0, 0.0], [1.0, 0.0]]),
)
PAIR_STATS = PromptStats(
    ids=("often", "seldom"),
    trials_P=np.array([10.0, 10.0]),
    successes_P=np.array([9.0, 1.0]),
    grad_norm_P=np.array([9.0, 1.0]),
)


def test_the_least_bound_can_be_a_larger_variance_than_uniform() -> None:
    # G / sqrt(p) is 9.49 and 3.16. What a rollout adds, G^2 (1 / p - 1), is 9 for both.
    plan = allocate(PAIR_STATS, 8, rule=partial(gvm, alpha=0))
    assert plan.count_P.tolist() == [6, 2]
    assert bound(PAIR, [4, 4]) == pytest.approx(25)
    assert bound(PAIR, [6, 2]) == pytest.approx(20)
    assert mean_and_variance(PAIR, [4, 4])[1] == pytest.approx(4.5)
    assert mean_and_variance(PAIR, [6, 2])[1] == pytest.approx(6)


def test_flat_follows_another_objective_under_other_counts() -> None:
    # Uniform counts: sum grad p. Counts in proportion to G / sqrt(p): 2 sum G grad sqrt(p).
    uniform_D, _ = mean_and_variance(PAIR, [4, 4], "flat")
    gvm_D, _ = mean_and_variance(PAIR, [6, 2], "flat")
    np.testing.assert_allclose(uniform_D, 4 * PAIR.rate_gradient().sum(0), rtol=1e-9)
    norm_P = np.sqrt(PAIR.square_P)
    scale = 8 / (norm_P / np.sqrt(PAIR.rate_P)).sum()
    wanted_D = 2 * scale * norm_P @ PAIR.rate_gradient(root=True)
    np.testing.assert_allclose(gvm_D, wanted_D, rtol=1e-9)
    # The first prompt's share of the direction triples: 81 to 1, then 243 to 1.
    assert uniform_D[0] / uniform_D[1] == pytest.approx(81)
    assert gvm_D[0] / gvm_D[1] == pytest.approx(243)


def test_inverse_probability_follows_one_objective_under_all_counts() -> None:
    for counts in ([4, 4], [6, 2]):
        mean_D, _ = mean_and_variance(PAIR, counts)
        wanted_D = (PAIR.rate_gradient() / PAIR.rate_P[:, None]).sum(0)  # grad ln p
        np.testing.assert_allclose(mean_D, wanted_D, rtol=1e-9)
