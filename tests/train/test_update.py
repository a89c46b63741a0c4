"""One optimizer update: the gradient is that of the stated sum, however it is split."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gvmrl.config import OptimConfig, SamplerConfig
from gvmrl.data import Completion, Prompt, Rollouts
from gvmrl.losses import Aggregation, Loss, LossConfig, Weighting
from gvmrl.model import Policy
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.train.update import Learner, UpdateMetrics, learning_rate, make_optimizer
from gvmrl.train.weigh import weigh

HUGE = 1e9


@pytest.fixture(scope="module")
def rollouts(shipped_policy: Policy, prompts: tuple[Prompt, ...]) -> Rollouts:
    """Ragged groups with alternating rewards."""
    count_P = np.array([0, 5, 2, 4, 3, 1, 6, 3])
    sampler = TransformersSampler(shipped_policy, SamplerConfig())
    completions = sampler.sample(prompts, count_P, [(0, 0, 0)] * len(prompts))
    return Rollouts(
        prompts=prompts,
        prompt_R=np.repeat(np.arange(8), count_P),
        completions=tuple(completions),
        reward_R=np.tile([0.0, 1.0], 12),
        statuses=("scored",) * 24,
        policy_step=0,
    )


def make_learner(
    policy: Policy, loss: LossConfig, *, tokens: int = 4096, reference: Policy | None = None
) -> Learner:
    """Return a learner that clips no gradient."""
    optim = OptimConfig(lr=1e-5, max_grad_norm=HUGE, tokens_per_microbatch=tokens)
    return Learner(
        policy=policy,
        reference=reference,
        optimizer=make_optimizer(policy, optim),
        loss=loss,
        optim=optim,
        sampler=SamplerConfig(),
    )


def take(
    policy: Policy,
    rollouts: Rollouts,
    loss: LossConfig,
    *,
    tokens: int = 4096,
    reference: Policy | None = None,
) -> tuple[list[torch.Tensor], UpdateMetrics]:
    """Return the gradient that the update used (before clipping) and its figures."""
    learner = make_learner(policy, loss, tokens=tokens, reference=reference)
    seen: list[torch.Tensor] = []

    def keep(*_: object) -> None:
        seen.extend(w.grad.clone() for w in policy.parameters if w.grad is not None)

    learner.optimizer.register_step_pre_hook(keep)
    weights = weigh(rollouts, loss, accept_rate_P=np.full(8, 0.5))
    return seen, learner.update(rollouts, weights, np.arange(24), 0).metrics


LOSSES: list[tuple[Loss, Weighting]] = [
    ("raft", "accepted_mean"),
    ("raft", "inverse_probability"),
    ("raft++", "flat"),
    ("grpo", "prompt_mean"),
    ("dr_grpo", "flat"),
    ("rloo", "prompt_mean"),
]


@pytest.mark.parametrize(("name", "weighting"), LOSSES)
@pytest.mark.parametrize("tokens", [1, 40])
def test_no_split_into_microbatches_changes_the_gradient(
    policy: Policy, rollouts: Rollouts, name: Loss, weighting: Weighting, tokens: int
) -> None:
    config = LossConfig(name=name, weighting=weighting)
    before = {k: v.clone() for k, v in policy.module.state_dict().items()}
    whole, _ = take(policy, rollouts, config)
    policy.module.load_state_dict(before)
    parts, _ = take(policy, rollouts, config, tokens=tokens)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_the_gradient_is_that_of_the_formula(
    policy: Policy, rollouts: Rollouts, aggregation: Aggregation
) -> None:
    # RAFT, accepted_mean: (1/m) sum_i 1/|D_i| sum_accepted (1/length) sum_t -log pi, one by one.
    accepted = np.flatnonzero(rollouts.accepted_R)
    lengths = np.array([len(rollouts.completions[row].token_ids) for row in accepted])
    divisor_R = {
        "token_mean": np.full(lengths.size, lengths.mean()),
        "sequence_mean": lengths,
        "constant": np.full(lengths.size, SamplerConfig().max_new_tokens),
    }[aggregation]
    num_prompts = (rollouts.success_P > 0).sum()
    total = torch.zeros(())
    for row, divisor in zip(accepted, divisor_R, strict=True):
        share = 1 / rollouts.success_P[rollouts.prompt_R[row]] / num_prompts
        scores = policy.token_scores([rollouts.sequences[row]])
        total = total - float(share / divisor) * scores.logprob_N.sum()
    wanted = torch.autograd.grad(total, policy.parameters)
    found, metrics = take(policy, rollouts, LossConfig(name="raft", aggregation=aggregation))
    assert metrics.loss == pytest.approx(float(total.detach()), rel=1e-4)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_rejected_rollouts_never_enter_the_forward_pass_of_raft(
    policy: Policy, rollouts: Rollouts
) -> None:
    _, metrics = take(policy, rollouts, LossConfig(name="raft++"))
    assert metrics.num_rollouts == int(rollouts.accepted_R.sum()) == 12


@pytest.mark.parametrize("tokens", [1, 60, 4096])
def test_an_update_returns_the_signal_of_each_rollout_that_it_scored(
    policy: Policy, rollouts: Rollouts, tokens: int
) -> None:
    config = LossConfig(name="raft++")
    rows = np.random.default_rng(0).permutation(24)[:15]
    wanted = {
        int(row): float(policy.token_scores([rollouts.sequences[row]]).signal_N.sum())
        for row in rows
        if rollouts.accepted_R[row]
    }
    weights = weigh(rollouts, config)
    result = make_learner(policy, config, tokens=tokens).update(rollouts, weights, rows, 0)
    found = dict(zip(result.row_A.tolist(), result.signal_A.tolist(), strict=True))
    assert found == pytest.approx(wanted, rel=1e-4)


def test_groups_without_advantage_stay_out_of_the_forward_pass_but_not_of_the_count(
    policy: Policy, rollouts: Rollouts
) -> None:
    config = LossConfig(name="rloo", weighting="flat")
    mixed = (rollouts.success_P > 0) & (rollouts.success_P < rollouts.count_P)
    _, metrics = take(policy, rollouts, config)
    assert metrics.num_rollouts == int(rollouts.count_P[mixed].sum()) < 24


def test_an_update_without_any_gradient_is_still_an_update(
    policy: Policy, rollouts: Rollouts
) -> None:
    before = [weight.detach().clone() for weight in policy.parameters]
    failed = replace(rollouts, reward_R=np.zeros(24))
    _, metrics = take(policy, failed, LossConfig(name="raft++"))
    assert (metrics.num_rollouts, metrics.loss, metrics.grad_norm) == (0, 0.0, 0.0)
    for weight, old in zip(policy.parameters, before, strict=True):
        assert torch.equal(weight, old)


def test_the_penalty_is_zero_at_the_reference_and_pulls_back_from_elsewhere(
    policy: Policy, shipped_policy: Policy, rollouts: Rollouts
) -> None:
    # With all rewards 0 GRPO has no advantage, so the penalty is all there is.
    failed = replace(rollouts, reward_R=np.zeros(24))
    config = LossConfig(name="grpo", kl_coef=1.0)
    _, at_reference = take(policy, failed, config, reference=shipped_policy)
    assert at_reference.loss == pytest.approx(0, abs=1e-8)
    with torch.no_grad():
        for weight in policy.parameters:
            weight.mul_(1.1)
    _, elsewhere = take(policy, failed, config, reference=shipped_policy)
    _, after_a_step = take(policy, failed, config, reference=shipped_policy)
    assert 0 < after_a_step.loss < elsewhere.loss


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    policy: Policy, rollouts: Rollouts
) -> None:
    with torch.no_grad():
        policy.parameters[0].fill_(torch.nan)
    before = [weight.detach().clone() for weight in policy.parameters]
    with pytest.raises(FloatingPointError, match="update 1 has loss nan"):
        take(policy, rollouts, LossConfig(name="grpo"))
    for weight, old in zip(policy.parameters, before, strict=True):
        torch.testing.assert_close(weight, old, rtol=0, atol=0, equal_nan=True)


def test_recomputed_logprobs_replace_those_of_the_sampler(
    policy: Policy, rollouts: Rollouts
) -> None:
    def blank(completion: Completion) -> Completion:
        return replace(completion, logprobs=(-99.0,) * len(completion.token_ids))

    learner = Learner(
        policy=policy,
        reference=None,
        optimizer=make_optimizer(policy, OptimConfig()),
        loss=LossConfig(),
        optim=OptimConfig(recompute_logprobs=True, tokens_per_microbatch=50),
        sampler=SamplerConfig(),
    )
    lost = replace(rollouts, completions=tuple(map(blank, rollouts.completions)))
    found = learner.with_old_logprobs(lost)
    for one, other in zip(found.completions, rollouts.completions, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_learning_rate_warms_up_linearly_and_stays() -> None:
    config = OptimConfig(lr=4.0, warmup_updates=4)
    rates = [learning_rate(config, num_updates) for num_updates in range(6)]
    assert rates == [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    assert learning_rate(OptimConfig(lr=4.0), 0) == 4.0
