"""Measured gradients against plain autograd, whole and sketched; fresh updates; refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gvmrl.config import OptimConfig, SamplerConfig
from gvmrl.data import FloatArray, Prompt, Rollouts, TokenSequence
from gvmrl.errors import InputError
from gvmrl.losses import Loss, LossConfig, Weighting
from gvmrl.model import Policy, entropy_and_signal
from gvmrl.probe.check import add_up, update_of
from gvmrl.probe.gradients import Scores, sketch
from gvmrl.probe.half import Half
from gvmrl.probe.pool import MAX_BYTES, measure
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.train.update import Learner, make_optimizer
from gvmrl.train.weigh import weigh

POOL = 8
"""Rollouts of a prompt, half of them in each half."""
SCORED = LossConfig(name="rloo", aggregation="constant")


@pytest.fixture(scope="module")
def scores(shipped_policy: Policy) -> Scores:
    return Scores(policy=shipped_policy, temperature=0.8, tokens_per_microbatch=400)


@pytest.fixture(scope="module")
def rollouts(shipped_policy: Policy, prompts: tuple[Prompt, ...]) -> Rollouts:
    """Eight rollouts of four prompts with rewards that have nothing to do with them."""
    few = prompts[:4]
    sampler = TransformersSampler(shipped_policy, SamplerConfig())
    completions = sampler.sample(few, np.full(4, POOL), [(0, 0, 0)] * 4)
    reward_R = np.array([1, 1, 0, 0, 1, 0, 0, 0] * 3 + [1] * 8, np.float64)
    return Rollouts(
        prompts=few,
        prompt_R=np.repeat(np.arange(4), POOL),
        completions=tuple(completions),
        reward_R=reward_R,
        statuses=("scored",) * reward_R.size,
        policy_step=0,
    )


def plain_gradient(policy: Policy, sequence: TokenSequence, temperature: float) -> Tensor:
    """[D] gradient of one completion's log-probability, from the model's own logits."""
    prompt, completion = sequence
    token_1T = torch.tensor([prompt + completion])
    logit_TV = policy.module(input_ids=token_1T, use_cache=False).logits[0, len(prompt) - 1 : -1]
    logprob_TV = (logit_TV / temperature).log_softmax(-1)
    total = logprob_TV.gather(1, torch.tensor(completion)[:, None]).sum()
    grads = torch.autograd.grad(total, policy.parameters)
    return torch.cat([grad.flatten() for grad in grads]).double()


@pytest.fixture(scope="module")
def wanted(scores: Scores, rollouts: Rollouts) -> FloatArray:
    """[R, D] gradients, one by one."""
    return np.stack(
        [plain_gradient(scores.policy, each, 0.8).numpy() for each in rollouts.sequences]
    )


@pytest.fixture(scope="module")
def whole(scores: Scores, rollouts: Rollouts) -> list[Half]:
    """Both halves, from whole gradients."""
    return halves_of(scores, rollouts, SCORED)


def nothing(*_: object) -> None:
    """Show no progress."""


def halves_of(scores: Scores, rollouts: Rollouts, loss: LossConfig, size: int = 0) -> list[Half]:
    found = measure(scores, rollouts, loss, size=size, seed=3, show=nothing)
    assert found.num_parameters == 150_848
    assert found.num_different == len(set(rollouts.sequences))
    return list(found.halves)


def test_a_half_is_what_plain_autograd_says(
    whole: list[Half], rollouts: Rollouts, wanted: FloatArray
) -> None:
    grad_PKD = wanted.reshape(4, POOL, -1)
    for number, half in enumerate(whole):
        part = slice(number * POOL // 2, (number + 1) * POOL // 2)
        norm_PK = np.linalg.norm(grad_PKD[:, part], axis=2)
        assert half.norm_PK["all_parameters"] == pytest.approx(norm_PK, rel=1e-4)
        assert half.accepted_PK.tolist() == rollouts.accepted_R.reshape(4, POOL)[:, part].tolist()
        sides = [
            grad_PKD[row, part][half.accepted_PK[row] == wants]
            for wants in (True, False)
            for row in range(4)
        ]
        for row, side in enumerate(sides):
            if len(side) > 1:
                variance = side.var(axis=0, ddof=1).sum()
                # one rollout drawn twice has no spread but what float32 rounds
                assert half.variance_S[row] == pytest.approx(variance, rel=1e-3, abs=1e-3)
            for other, rest in enumerate(sides):
                if row != other and len(side) and len(rest):
                    product = side.mean(axis=0) @ rest.mean(axis=0)
                    norms = [np.linalg.norm(one.mean(axis=0)) for one in (side, rest)]
                    scale = float(np.prod(norms))
                    assert half.gram_SS[row, other] == pytest.approx(product, abs=1e-4 * scale)


def test_the_free_norm_is_the_sum_of_the_free_signal(scores: Scores, rollouts: Rollouts) -> None:
    prompt, completion = rollouts.sequences[0]
    with torch.no_grad():
        logit_TV = scores.policy.module(input_ids=torch.tensor([prompt + completion])).logits[0]
    logprob_TV = (logit_TV[len(prompt) - 1 : -1] / 0.8).log_softmax(-1)
    signal = float(entropy_and_signal(logprob_TV, torch.tensor(completion))[1].sum())
    found_R = scores.free_norms(rollouts.sequences)
    assert found_R[0] == pytest.approx(signal**0.5, rel=1e-4)


def test_a_sketch_keeps_lengths_and_products_within_its_stated_error(
    scores: Scores, rollouts: Rollouts, whole: list[Half]
) -> None:
    size = 4096
    for one, other in zip(whole, halves_of(scores, rollouts, SCORED, size), strict=True):
        assert other.variance_S == pytest.approx(one.variance_S)
        assert np.diag(other.gram_SS) == pytest.approx(np.diag(one.gram_SS))
        # sides' means are as long as the root of their raw square: mean^2 + variance / count
        count_S = np.concatenate([one.accepted_PK.sum(1), (~one.accepted_PK).sum(1)])
        raw_S = np.sqrt(np.diag(one.gram_SS) + one.variance_S / np.maximum(count_S, 1))
        error_SS = np.abs(other.gram_SS - one.gram_SS)
        bound_SS = np.outer(raw_S, raw_S) * (2 / size) ** 0.5
        assert (error_SS <= 5 * bound_SS + 1e-9).all()
        off = ~np.eye(len(raw_S), dtype=bool) & (bound_SS > 0)
        # the stated error is that of equal vectors, the largest there is
        assert np.sqrt(np.mean((error_SS[off] / bound_SS[off]) ** 2)) < 1.2


def test_sketches_are_linear_and_unbiased_with_the_stated_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 3000, generator=generator)
    size = 256
    torch.testing.assert_close(
        sketch(one + 2 * other, size, 5), sketch(one, size, 5) + 2 * sketch(other, size, 5)
    )
    pairs = [(sketch(one, size, seed), sketch(other, size, seed)) for seed in range(400)]
    length = np.array([float(a @ a) for a, _ in pairs])
    exact = float(one @ one)
    error = exact * (2 / size) ** 0.5
    assert length.mean() == pytest.approx(exact, abs=4 * error / 20)
    assert length.std() == pytest.approx(error, rel=0.15)
    product = np.array([float(a @ b) for a, b in pairs])
    spread = ((exact * float(other @ other) + float(one @ other) ** 2) / size) ** 0.5
    assert product.mean() == pytest.approx(float(one @ other), abs=4 * spread / 20)
    assert product.std() == pytest.approx(spread, rel=0.15)


def test_sequence_mean_divides_each_score_by_its_length(
    scores: Scores, rollouts: Rollouts, whole: list[Half]
) -> None:
    loss = LossConfig(name="rloo", aggregation="sequence_mean")
    divided = halves_of(scores, rollouts, loss)
    lengths = np.array([len(each.completion_ids) for each in rollouts.sequences])
    length_PK = lengths.reshape(4, 2, -1)[:, 0]
    for kind, norm_PK in divided[0].norm_PK.items():
        assert norm_PK == pytest.approx(whole[0].norm_PK[kind] / length_PK, rel=1e-4), kind


@pytest.mark.parametrize(
    ("name", "weighting"),
    [
        ("raft++", "accepted_mean"),
        ("raft", "inverse_probability"),
        ("raft", "flat"),
        ("rloo", "prompt_mean"),
        ("grpo", "prompt_mean"),
    ],
)
def test_a_fresh_update_is_the_trainers_own_up_to_its_divisor(
    policy: Policy, rollouts: Rollouts, name: Loss, weighting: Weighting
) -> None:
    loss = LossConfig(name=name, weighting=weighting, aggregation="constant")
    optim = OptimConfig(max_grad_norm=1e9)
    optimizer = make_optimizer(policy, optim)
    seen: list[Tensor] = []

    def keep(*_: object) -> None:
        seen.extend(w.grad.flatten().clone() for w in policy.parameters if w.grad is not None)

    optimizer.register_step_pre_hook(keep)
    learner = Learner(
        policy=policy,
        reference=None,
        optimizer=optimizer,
        loss=loss,
        optim=optim,
        sampler=SamplerConfig(),
    )
    scores = Scores(policy=policy, temperature=1.0, tokens_per_microbatch=400)
    rate_P = np.full(4, 0.5)
    found_D = update_of(scores, rollouts, loss, rate_P)
    weights = weigh(rollouts, loss, accept_rate_P=rate_P)
    learner.update(rollouts, weights, np.arange(len(rollouts.completions)), 0)
    divisor = len(rollouts.completions) if weighting == "flat" else len(rollouts.prompts)
    factor = weights.share_R.sum() * SamplerConfig().max_new_tokens / divisor
    torch.testing.assert_close(-torch.cat(seen) * factor, found_D, rtol=1e-3, atol=1e-5)


def test_draws_give_unbiased_variance_and_signal_to_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    mean_D = torch.linspace(0, 1, 50)

    def updates(num: int) -> list[Tensor]:
        return [mean_D + 0.5 * torch.randn(50, generator=generator) for _ in range(num)]

    drawn = add_up(iter(updates(400)))
    square = float(mean_D @ mean_D)
    assert drawn.variance.low < 50 * 0.25 < drawn.variance.high
    assert drawn.mean_square == pytest.approx(square, rel=0.05)
    wanted = square / (square + 12.5)
    assert drawn.snr(drawn) == pytest.approx(wanted, rel=0.05)
    assert drawn.snr(add_up(iter(updates(400)))) == pytest.approx(wanted, rel=0.05)


def test_a_mean_that_is_all_noise_has_no_signal_to_noise() -> None:
    opposite = [torch.ones(4), -torch.ones(4), torch.ones(4), -torch.ones(4)]
    drawn = add_up(iter(opposite))
    assert drawn.snr(drawn) is None


def test_rewards_between_0_and_1_are_refused(scores: Scores, rollouts: Rollouts) -> None:
    half = replace(rollouts, reward_R=np.full(rollouts.reward_R.size, 0.5))
    with pytest.raises(InputError, match=r"rewards of 0 and 1, got 0\.5 for prompt '"):
        halves_of(scores, half, SCORED)


def test_gradients_that_do_not_fit_are_refused_with_a_size_that_does(
    scores: Scores, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_BYTES > 16 * 4 * 150_848
    monkeypatch.setattr("gvmrl.probe.pool.MAX_BYTES", 2**20)
    with pytest.raises(InputError, match=r"the gradients of 4 prompts take .* set sketch to 16384"):
        halves_of(scores, rollouts, SCORED)
