"""The log-probability pass against a plain forward pass, and loading."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM

from gvmrl import model
from gvmrl.config import ModelConfig
from gvmrl.data import Prompt, TokenSequence
from gvmrl.errors import InputError
from gvmrl.load import load_policy
from gvmrl.model import Policy, entropy_and_signal, microbatches, pad_right

SEQUENCES = (
    TokenSequence((3, 4, 5), (6, 7)),
    TokenSequence((8,), (9, 3, 4, 2)),
    TokenSequence((5, 5, 5, 5), (1,)),
)


def plain_logprobs(policy: Policy, sequence: TokenSequence, temperature: float) -> list[float]:
    """Log-probabilities of one sequence from the model's own logits, without padding."""
    tokens = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
    with torch.no_grad():
        logprob_TV = (policy.module(tokens).logits[0].double() / temperature).log_softmax(-1)
    start = len(sequence.prompt_ids)
    return [float(logprob_TV[start + t - 1, y]) for t, y in enumerate(sequence.completion_ids)]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 2**25])
def test_token_scores_equal_a_plain_forward_pass_of_each_sequence(
    shipped_policy: Policy, temperature: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "LOGITS_PER_CHUNK", chunk)
    with torch.no_grad():
        found = shipped_policy.token_scores(SEQUENCES, temperature=temperature).logprob_N
    wanted = [y for s in SEQUENCES for y in plain_logprobs(shipped_policy, s, temperature)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)


def test_chunks_of_the_vocabulary_pass_change_no_gradient(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients() -> list[torch.Tensor]:
        total = policy.token_scores(SEQUENCES).logprob_N.sum()
        return list(torch.autograd.grad(total, policy.parameters))

    whole = gradients()
    monkeypatch.setattr(model, "LOGITS_PER_CHUNK", 1)
    for one, other in zip(whole, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_entropy_is_that_of_the_next_token_distribution(shipped_policy: Policy) -> None:
    sequence = SEQUENCES[1]
    tokens = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
    with torch.no_grad():
        found = shipped_policy.token_scores([sequence]).entropy_N
        logits = shipped_policy.module(tokens).logits[0, len(sequence.prompt_ids) - 1 : -1]
    wanted = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 30.0))
def test_the_signal_is_the_squared_norm_of_the_gradient_by_the_logits(
    seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logit_TV = scale * torch.randn(6, 11, generator=generator, dtype=torch.float64)
    logit_TV.requires_grad_(True)
    target_T = torch.randint(11, (6,), generator=generator)
    logprob_TV = logit_TV.log_softmax(1)
    entropy_T, signal_T = entropy_and_signal(logprob_TV, target_T)
    (grad_TV,) = torch.autograd.grad(logprob_TV[torch.arange(6), target_T].sum(), logit_TV)
    prob_TV = logprob_TV.detach().exp()
    closed_T = 1 - 2 * prob_TV[torch.arange(6), target_T] + prob_TV.square().sum(1)
    wanted_T = -(prob_TV * logprob_TV.detach()).sum(1)
    assert not signal_T.requires_grad
    assert not entropy_T.requires_grad
    torch.testing.assert_close(signal_T, grad_TV.square().sum(1), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(signal_T, closed_T, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(entropy_T, wanted_T, rtol=1e-9, atol=1e-13)


def test_entropy_and_signal_keep_their_digits_where_the_model_is_sure() -> None:
    # pi = (1 - e, e): the signal is 2 e^2, where 1 - 2 pi + sum pi^2 in float32 would give 0;
    # the entropy is e (1 - ln e) up to e^2.
    rest = 1e-5
    logprob_TV = torch.tensor([[-rest - rest**2 / 2, math.log(rest)]], dtype=torch.float32)
    entropy_T, signal_T = entropy_and_signal(logprob_TV, torch.tensor([0]))
    assert signal_T.item() == pytest.approx(2 * rest**2, rel=1e-4, abs=0)
    assert entropy_T.item() == pytest.approx(rest * (1 - math.log(rest)), rel=1e-4, abs=0)


@pytest.mark.parametrize("chunk", [1, 2**25])
def test_token_scores_carry_the_signal_of_autograd_on_the_logits(
    shipped_policy: Policy, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "LOGITS_PER_CHUNK", chunk)
    wanted: list[float] = []
    for prompt, completion in SEQUENCES:
        logit_TV = shipped_policy.module(torch.tensor([prompt + completion])).logits[0]
        logit_TV = logit_TV[len(prompt) - 1 : -1].detach() / 0.7
        logprob_TV = logit_TV.requires_grad_(True).log_softmax(-1)
        total = logprob_TV.gather(1, torch.tensor(completion)[:, None]).sum()
        (grad_TV,) = torch.autograd.grad(total, logit_TV)
        wanted += grad_TV.square().sum(1).tolist()
    found = shipped_policy.token_scores(SEQUENCES, temperature=0.7).signal_N
    assert found.tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-8)


def test_padding_lays_completions_out_after_their_prompts() -> None:
    token_BT, attend_BT, scored_BT = pad_right(SEQUENCES[:2], 0, torch.device("cpu"))
    assert token_BT.tolist() == [[3, 4, 5, 6, 7], [8, 9, 3, 4, 2]]
    assert attend_BT.sum(1).tolist() == [5, 5]
    assert scored_BT.long().tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]


def test_microbatches_hold_every_row_once_within_the_token_limit() -> None:
    groups = microbatches(SEQUENCES * 3, 11)
    assert sorted(row for group in groups for row in group) == list(range(9))
    assert all(len(group) <= 2 for group in groups)  # rows of 5 tokens: two fit in 11
    assert microbatches(SEQUENCES[:1], 1) == [[0]]


@pytest.mark.parametrize("rank", [0, 4])
def test_a_saved_policy_loads_back_with_the_same_scores(tmp_path: Path, rank: int) -> None:
    config = ModelConfig(lora_rank=rank)
    before = load_policy(config)
    with torch.no_grad():
        for weight in before.parameters:
            weight.add_(0.01)
    before.save(tmp_path)
    after = load_policy(config, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            after.token_scores(SEQUENCES).logprob_N,
            before.token_scores(SEQUENCES).logprob_N,
            rtol=0,
            atol=0,
        )
    assert [p.shape for p in after.parameters] == [p.shape for p in before.parameters]


def test_lora_trains_the_adapter_alone() -> None:
    policy = load_policy(ModelConfig(lora_rank=2))
    trained = sum(weight.numel() for weight in policy.parameters)
    assert 0 < trained < 0.2 * sum(weight.numel() for weight in policy.module.parameters())


def test_gradient_checkpointing_runs_layers_twice_and_changes_no_gradient(
    policy: Policy,
) -> None:
    def gradients_and_calls(name: Policy) -> tuple[tuple[torch.Tensor, ...], int]:
        calls: list[int] = []
        mlp = next(m for n, m in name.module.named_modules() if n.endswith("layers.0.mlp"))

        def count(*_: object) -> None:
            calls.append(1)

        handle = mlp.register_forward_pre_hook(count)
        total = name.token_scores(SEQUENCES).logprob_N.sum()
        grads = torch.autograd.grad(total, name.parameters)
        handle.remove()
        return grads, len(calls)

    plain, once = gradients_and_calls(policy)
    saving, twice = gradients_and_calls(load_policy(ModelConfig(gradient_checkpointing=True)))
    assert (once, twice) == (1, 2)
    for one, other in zip(plain, saving, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("path", ["no/such/folder", "builtin:poetry"])
def test_a_missing_model_is_named(path: str) -> None:
    with pytest.raises(InputError, match=f"model.path '{path}'"):
        load_policy(ModelConfig(path=path))


def test_a_model_that_caps_its_logits_is_refused(tmp_path: Path, shipped_policy: Policy) -> None:
    torch.manual_seed(0)
    capped = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=32,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            intermediate_size=16,
            final_logit_softcapping=30.0,
        )
    )
    capped.save_pretrained(tmp_path)
    shipped_policy.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"Gemma2ForCausalLM.* scaled or capped"):
        load_policy(ModelConfig(path=str(tmp_path), attention="eager"))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, policy: Policy) -> None:
    with torch.no_grad():
        policy.parameters[0][0, 0] = torch.nan
    policy.save(tmp_path)
    with pytest.raises(InputError, match=r"holds weights that are not finite; .* diverged"):
        load_policy(ModelConfig(path=str(tmp_path)))


def test_a_reading_is_that_of_each_prompt_alone(
    policy: Policy, prompts: tuple[Prompt, ...]
) -> None:
    reading = policy.read(prompts, tokens_per_batch=30)
    for row, prompt in enumerate(prompts):
        token_BT = torch.tensor([prompt.token_ids])
        with torch.no_grad():
            state_D = policy.module.base_model(token_BT).last_hidden_state[0, -1]
            first = torch.distributions.Categorical(logits=policy.module(token_BT).logits[0, -1])
        assert reading.state_PD[row] == pytest.approx(state_D.numpy(), abs=1e-5)
        assert reading.entropy_P[row] == pytest.approx(first.entropy().item(), abs=1e-5)
        assert reading.sign_PS[row].tolist() == [len(prompt.token_ids), reading.entropy_P[row]]
