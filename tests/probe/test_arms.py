"""The figures of an update against enumeration of every group that could be drawn.

Axes: P prompts, K outcomes of a prompt, S = 2P sides, D parameters, shared by all prompts.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from gvmrl.allocate.update.objective import debias_weight
from gvmrl.allocate.update.variance import predict_update
from gvmrl.data import Completion, FloatArray, IntArray, Prompt, Rollouts
from gvmrl.losses import LossConfig
from gvmrl.probe.arms import ARMS, Arm, Weighted, arm_of, mean_update, rule_plan, terms
from gvmrl.probe.ceiling import STAGES, stage_plan, uniform_and_best_variance
from gvmrl.probe.compare import target_update
from gvmrl.probe.figures import figures
from gvmrl.probe.half import Half
from gvmrl.train.weigh import weigh

KINDS = ("input_embedding", "output_head", "all_parameters", "free")
SIZE = 60
"""Rollouts of a pool in which every outcome comes exactly as often as its probability says."""


@dataclass(frozen=True)
class Policy:
    """A prompt's outcomes: how often each comes, its score, whether it is accepted."""

    times_K: list[int]
    """Adds up to `SIZE`."""
    score_KD: FloatArray
    accepted_K: list[bool]

    @property
    def probability_K(self) -> FloatArray:
        """[K] chance of each outcome."""
        return np.array(self.times_K) / SIZE

    @property
    def accept_rate(self) -> float:
        """Chance that an outcome is accepted."""
        return float(self.probability_K @ np.array(self.accepted_K))


def make_policy(seed: int, times_K: list[int], accepted_K: list[bool]) -> Policy:
    """Scores average to 0, as those of a softmax do."""
    feature_KD = np.random.default_rng(seed).normal(size=(len(times_K), 3))
    return Policy(times_K, feature_KD - np.array(times_K) @ feature_KD / SIZE, accepted_K)


POLICIES = (
    make_policy(1, [20, 10, 15, 10, 5], [True, False, False, False, True]),
    make_policy(2, [30, 6, 12, 12], [True, True, True, False]),
    make_policy(3, [24, 6, 18, 12], [False, True, False, False]),
    make_policy(4, [50, 10], [False, False]),
)
"""The last one is never right."""


def exact_half(policies: Sequence[Policy] = POLICIES) -> Half:
    """Return the population's moments: nothing is left to chance, and nothing is estimated."""
    means: list[list[FloatArray]] = [[], []]
    variances: list[list[float]] = [[], []]
    for policy in policies:
        for side, wanted in enumerate((True, False)):
            chosen_K = policy.probability_K * (np.array(policy.accepted_K) == wanted)
            total = float(chosen_K.sum())
            mean_D = chosen_K @ policy.score_KD / total if total else np.zeros(3)
            gap_KD = policy.score_KD - mean_D
            means[side].append(mean_D)
            variances[side].append(
                float(chosen_K @ (gap_KD**2).sum(axis=1)) / total if total else 0.0
            )
    mean_SD = np.array([*means[0], *means[1]])
    norm_PK = np.stack([np.repeat(np.linalg.norm(p.score_KD, axis=1), p.times_K) for p in policies])
    return Half(
        ids=tuple(map(str, range(len(policies)))),
        accepted_PK=np.stack([np.repeat(p.accepted_K, p.times_K) for p in policies]),
        norm_PK=dict.fromkeys(KINDS, norm_PK),
        gram_SS=mean_SD @ mean_SD.T,
        variance_S=np.array([*variances[0], *variances[1]]),
    )


def every_group(policy: Policy, num: int) -> Iterator[tuple[float, list[int]]]:
    """Yield the probability of each multiset of `num` outcomes, and the outcomes."""
    for drawn in itertools.combinations_with_replacement(range(len(policy.times_K)), num):
        ways = math.factorial(num)
        for outcome in set(drawn):
            ways //= math.factorial(drawn.count(outcome))
        yield ways * float(np.prod(policy.probability_K[list(drawn)])), list(drawn)


RATE_P = np.array([policy.accept_rate for policy in POLICIES])
UNIFORM_P, PLAN_P = np.full(4, 3), np.array([2, 5, 4, 1])

every_arm = pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)


def group_update(arm: Arm, policy: Policy, outcomes: list[int]) -> FloatArray:
    """Return [D] one prompt's part of the trainer's update, before any division."""
    completion = Completion(text="", token_ids=(1,), logprobs=(-1.0,), truncated=False)
    rollouts = Rollouts(
        prompts=(Prompt("0", (1,), ""),),
        prompt_R=np.zeros(len(outcomes), np.int64),
        completions=(completion,) * len(outcomes),
        reward_R=np.array([float(policy.accepted_K[outcome]) for outcome in outcomes]),
        statuses=("scored",) * len(outcomes),
        policy_step=0,
    )
    config = LossConfig(name=arm.loss, weighting=arm.weighting)
    weights = weigh(rollouts, config, accept_rate_P=np.array([policy.accept_rate]))
    return (weights.weight_R * weights.advantage_R) @ policy.score_KD[outcomes]


def enumerated(arm: Arm, count_P: IntArray) -> tuple[FloatArray, float]:
    """Return the [D] mean of the trainer's update and its variance, at fixed divisors."""
    mean_D, variance = np.zeros(3), 0.0
    for policy, count in zip(POLICIES, count_P.tolist(), strict=True):
        groups = [
            (chance, group_update(arm, policy, outcomes))
            for chance, outcomes in every_group(policy, count)
        ]
        part_D = sum((chance * update_D for chance, update_D in groups), np.zeros(3))
        mean_D += part_D
        variance += sum(chance * float(((u - part_D) ** 2).sum()) for chance, u in groups)
    divisor = count_P.sum() if arm.weighting == "flat" else len(POLICIES)
    return mean_D / divisor, variance / divisor**2


@every_arm
def test_variance_bias_and_snr_are_the_enumerated_ones(arm: Arm) -> None:
    half = exact_half()
    plan = Weighted(PLAN_P, arm.weight(PLAN_P, RATE_P))
    found = figures(terms(half, arm, [plan], target_update(half, arm, 3)), 3)
    target_D, _ = enumerated(arm, UNIFORM_P)
    mean_D, variance = enumerated(arm, PLAN_P)
    # GRPO's small constant in the denominator moves the sixth digit
    assert found.variance_J[0] == pytest.approx(variance, rel=1e-5)
    cosine = mean_D @ target_D / np.linalg.norm(mean_D) / np.linalg.norm(target_D)
    assert found.bias_J[0] ** 2 == pytest.approx(1 - cosine**2, rel=1e-4, abs=1e-9)
    length = mean_D @ mean_D + variance
    snr = (mean_D @ target_D) ** 2 / (target_D @ target_D * length)
    assert found.snr_J[0] == pytest.approx(snr, rel=1e-5)
    relative = variance / (mean_D @ mean_D)
    assert (1 - found.bias_J[0] ** 2) / (1 + relative) == pytest.approx(snr, rel=1e-4)


@every_arm
def test_uniform_counts_have_no_bias(arm: Arm) -> None:
    half = exact_half()
    plan = Weighted(UNIFORM_P, arm.weight(UNIFORM_P, RATE_P))
    found = figures(terms(half, arm, [plan], target_update(half, arm, 3)), 3)
    assert found.bias_J[0] == pytest.approx(0, abs=1e-6)


@every_arm
def test_the_luck_of_the_plan_is_part_of_the_variance(arm: Arm) -> None:
    half = exact_half()
    plans = [Weighted(count_P, arm.weight(count_P, RATE_P)) for count_P in (UNIFORM_P, PLAN_P)]
    found = figures(terms(half, arm, plans, target_update(half, arm, 3)), 3)
    (one_D, one), (two_D, two) = enumerated(arm, UNIFORM_P), enumerated(arm, PLAN_P)
    # two equally likely plans: their means are half their distance from the mean of both
    between = float(((one_D - two_D) ** 2).sum()) / 4
    cost = np.mean([UNIFORM_P.sum(), PLAN_P.sum()]) / UNIFORM_P.sum()
    within = (one + two) / 2 * cost
    assert found.variance_J[0] == pytest.approx(within + between, rel=1e-5)


@pytest.mark.parametrize("arm", [ARMS[0], ARMS[3], ARMS[5]], ids=lambda arm: arm.name)
def test_the_forecast_of_the_library_agrees_where_prompts_are_orthogonal(arm: Arm) -> None:
    half = exact_half()
    num = len(POLICIES)
    own = np.eye(num, dtype=bool)
    apart = Half(
        ids=half.ids,
        accepted_PK=half.accepted_PK,
        norm_PK=half.norm_PK,
        gram_SS=half.gram_SS * np.tile(own, (2, 2)),
        variance_S=half.variance_S,
    )
    objective = arm.objective(3)
    weight_P = debias_weight(arm.estimator, objective, PLAN_P, RATE_P)
    plan = Weighted(PLAN_P, weight_P / num)
    found = figures(terms(apart, arm, [plan], target_update(apart, arm, 3)), 3)
    wanted = predict_update(arm.estimator, objective, apart.model(arm.estimator), PLAN_P, weight_P)
    assert found.variance_J[0] * num**2 == pytest.approx(wanted.variance, rel=1e-9)
    assert found.snr_J[0] == pytest.approx(wanted.snr, rel=1e-9)


@every_arm
def test_stages_keep_the_expected_update_and_the_last_has_the_least_variance(arm: Arm) -> None:
    half = exact_half()
    target_S = target_update(half, arm, 4)
    # at equal costs for every set of prompts the first of them is all that is looked at
    stages = [
        figures(terms(half, arm, [stage_plan(half, arm, stage, 4)], target_S), 4)
        for stage in STAGES
    ]
    for found in stages:
        assert found.bias_J[0] == pytest.approx(0, abs=1e-6)
        assert found.variance_J[0] >= stages[-1].variance_J[0] * (1 - 1e-9)
    even_P, best_P = uniform_and_best_variance(half, arm, 4)
    assert best_P.sum() / 16 == pytest.approx(stages[-1].variance_J[0], rel=1e-9)
    uniform = Weighted(np.full(4, 4), arm.weight(np.full(4, 4), RATE_P))
    plain = figures(terms(half, arm, [uniform], target_S), 4)
    assert even_P.sum() / 16 == pytest.approx(plain.variance_J[0], rel=1e-9)
    assert best_P.sum() < even_P.sum()


def test_a_prompt_that_is_decided_gets_nothing_in_any_stage() -> None:
    for stage in STAGES:
        count_P = stage_plan(exact_half(), ARMS[3], stage, 4).count_P
        assert count_P.sum() == 16
        assert count_P[3] == 0


def test_a_prompt_whose_successes_are_all_the_same_still_takes_part() -> None:
    # No spread within the accepted rollouts: RAFT varies only by having no success at all.
    alike = make_policy(9, [20, 40], [True, False])
    half = exact_half([*POLICIES[:2], alike])
    for stage in STAGES:
        assert (stage_plan(half, ARMS[0], stage, 4).count_P > 0).all()
    assert np.isfinite(uniform_and_best_variance(half, ARMS[0], 4)).all()


def test_flat_weighs_prompts_by_their_counts_and_divides_by_all_rollouts() -> None:
    weight_P = Arm("raft", "flat").weight(np.array([1, 3]), np.array([0.5, 0.5]))
    assert weight_P.tolist() == [0.25, 0.75]


def test_inverse_probability_leaves_out_a_prompt_of_rate_0() -> None:
    weight_P = Arm("raft", "inverse_probability").weight(np.array([4, 4]), np.array([0.25, 0.0]))
    assert weight_P.tolist() == [2.0, 0.0]


def test_raft_plus_plus_is_raft_where_no_ratio_has_moved() -> None:
    assert arm_of(LossConfig(name="raft++")) == Arm("raft", "accepted_mean")
    assert arm_of(LossConfig(name="raft++", weighting="flat")) == Arm("raft", "flat")
    assert arm_of(LossConfig(name="grpo")).name == "grpo"


def test_rules_leave_no_group_of_one_to_an_estimator_with_a_baseline() -> None:
    stats = exact_half().stats("all_parameters")
    for rule in ("gvm", "cures", "informative", "least_variance"):
        plan = rule_plan(stats, Arm("rloo", "prompt_mean"), rule, 3, 0)
        assert plan.count_P.sum() == 12
        assert 1 not in plan.count_P


def test_without_a_baseline_the_rejected_rollouts_are_no_part_of_the_mean() -> None:
    mean_1S = mean_update(exact_half(), ARMS[0], PLAN_P[None], np.ones((1, 4)))
    assert (mean_1S[0, 4:] == 0).all()
    # RAFT's part is its mean success unless there was none: 1 - q^n
    assert mean_1S[0, :4] == pytest.approx(1 - (1 - RATE_P) ** PLAN_P)
