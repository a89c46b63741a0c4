"""Norms against one-sample autograd on the weights themselves, on tiny models from configs."""

from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

import gvmrl.gradnorm
from gvmrl.data import FloatArray, TokenSequence
from gvmrl.gradnorm import Norm, sequence_norms

VOCABULARY = 37
TEMPERATURE = 0.7
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    # Large weights: far from uniform distributions, and gradients of unlike sizes.
    "initializer_range": 0.5,
    # Small ids of the families' own vocabularies: the default ones lie outside this one.
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # GPT-2's dropout.
    "attn_pdrop": 0.5,
    "embd_pdrop": 0.5,
    "resid_pdrop": 0.5,
}
SEQUENCES = [
    TokenSequence((1, 4, 5), (6, 7, 2)),
    TokenSequence((1,), (9,)),
    # Tokens that repeat within and across prompt and completion, and the padding token itself.
    TokenSequence((3, 3, 3, 8, 0, 0), (3, 8, 0, 3, 3, 0, 2)),
    TokenSequence((1, 30, 31, 32, 33, 34, 35, 36), (36, 2)),
    TokenSequence((5, 6), (7,) * 11),
]
# peft asks transformers for an attribute that the latter has renamed.
peft_warns = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is:FutureWarning")
EMBEDDING_AND_HEAD: tuple[Norm, Norm] = ("input_embedding", "output_head")


FAMILIES = ["llama", "llama tied", "qwen2", "qwen2 tied", "gpt2 tied", "gpt_neox", "phi"]
CAPPED = "logits are not the head's output but scaled or capped"
UNSUPPORTED = {
    "cohere tied": CAPPED,
    "nanochat": CAPPED,
    "gemma tied": "input embedding is a .*GemmaTextScaledWordEmbedding",
}


def build(family: str, vocab_size: int = VOCABULARY) -> PreTrainedModel:
    """Make a small model with random weights and biases; phi has a bias in its output head."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family.removesuffix(" tied"), **SIZES, vocab_size=vocab_size)
    config.tie_word_embeddings = "tied" in family
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model.eval()


def weight_of(model: PreTrainedModel, kind: Norm) -> Tensor:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert head is not None
    return (embedding if kind == "input_embedding" else head).get_parameter("weight")


def autograd_norms(
    model: PreTrainedModel, weights: list[Tensor], temperature: float = TEMPERATURE
) -> FloatArray:
    """Return each sequence's norm of the gradient with respect to the weights themselves."""
    norm_R = np.zeros(len(SEQUENCES))
    for row, (prompt, completion) in enumerate(SEQUENCES):
        logit_TV = model(input_ids=torch.tensor([prompt + completion])).logits[0]
        logprob_TV = (logit_TV[len(prompt) - 1 : -1] / temperature).log_softmax(1)
        total = logprob_TV[torch.arange(len(completion)), torch.tensor(completion)].sum()
        grads = torch.autograd.grad(total, weights)
        norm_R[row] = sum(float(grad.double().square().sum()) for grad in grads) ** 0.5
    return norm_R


@pytest.mark.parametrize("kind", EMBEDDING_AND_HEAD)
@pytest.mark.parametrize("family", FAMILIES)
def test_norm_is_that_of_autograd_on_the_weight(family: str, kind: Norm) -> None:
    model = build(family)
    tied = weight_of(model, "input_embedding") is weight_of(model, "output_head")
    assert tied == ("tied" in family)
    for temperature in (1.0, TEMPERATURE):
        found_R = sequence_norms(model, SEQUENCES, kind=kind, temperature=temperature)
        wanted_R = autograd_norms(model, [weight_of(model, kind)], temperature)
        np.testing.assert_allclose(found_R, wanted_R, rtol=1e-4)


@pytest.mark.parametrize("kind", EMBEDDING_AND_HEAD)
@pytest.mark.parametrize("block_size", [1, 80 * 5, 80 * 36, 80 * 37])
def test_blocks_of_the_vocabulary_do_not_change_a_norm(
    kind: Norm, block_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 80 floats a token of the vocabulary: 5 rows times a hidden size of 16.
    model = build("qwen2 tied")
    monkeypatch.setattr(gvmrl.gradnorm, "_CPU_BLOCK", block_size)
    found_R = sequence_norms(model, SEQUENCES, kind=kind, temperature=TEMPERATURE)
    wanted_R = autograd_norms(model, [weight_of(model, kind)])
    np.testing.assert_allclose(found_R, wanted_R, rtol=1e-4)


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(
        self,
        func: OpOverload[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.numel = max(self.numel, leaf.numel())
        return result


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", EMBEDDING_AND_HEAD)
def test_no_tensor_of_tokens_times_vocabulary_exists(kind: Norm, tied: bool) -> None:
    model = build("llama tied" if tied else "llama", vocab_size=20_000)
    sequence = TokenSequence((1,), tuple(range(100, 300)))
    with LargestTensor() as largest:
        sequence_norms(model, [sequence], kind=kind)
    # 200 x 20,000 logits would be 4 million floats; the weight alone is 320,000.
    assert 320_000 <= largest.numel <= 2**20


token = st.integers(0, VOCABULARY - 1)
sequences = st.builds(
    TokenSequence,
    st.lists(token, min_size=1, max_size=9).map(tuple),
    st.lists(token, min_size=1, max_size=9).map(tuple),
)
tied_model = cache(lambda: build("llama tied"))
untied_model = cache(lambda: build("llama"))


@settings(max_examples=25, deadline=None)
@given(st.lists(sequences, min_size=1, max_size=7), st.integers(1, 80), st.booleans())
def test_norm_of_a_sequence_does_not_depend_on_its_batch(
    batch: list[TokenSequence], tokens_per_batch: int, tied: bool
) -> None:
    model = tied_model() if tied else untied_model()
    for kind in EMBEDDING_AND_HEAD:
        together_R = sequence_norms(model, batch, kind=kind, tokens_per_batch=tokens_per_batch)
        alone = [sequence_norms(model, [sequence], kind=kind)[0] for sequence in batch]
        np.testing.assert_allclose(together_R, alone, rtol=1e-4, atol=1e-5)


def test_the_reference_covers_all_parameters_that_require_grad() -> None:
    model = build("phi")
    frozen = weight_of(model, "input_embedding").requires_grad_(False)
    weights: list[Tensor] = [weight for weight in model.parameters() if weight is not frozen]
    found_R = sequence_norms(model, SEQUENCES, kind="all_parameters", temperature=TEMPERATURE)
    np.testing.assert_allclose(found_R, autograd_norms(model, weights), rtol=1e-5)


@pytest.mark.parametrize("kind", EMBEDDING_AND_HEAD)
@pytest.mark.parametrize("wrapped", [True, False])
@peft_warns
def test_a_lora_model_gives_the_norms_of_its_frozen_base_weights(kind: Norm, wrapped: bool) -> None:
    model = build("qwen2")
    plain_R = sequence_norms(model, SEQUENCES, kind=kind, temperature=TEMPERATURE)
    config = LoraConfig(
        target_modules=["q_proj", "down_proj", "embed_tokens"], init_lora_weights=False
    )
    adapter = get_peft_model(model, config).eval()
    weight = weight_of(model, kind)
    assert not weight.requires_grad
    found_R = sequence_norms(
        adapter if wrapped else model, SEQUENCES, kind=kind, temperature=TEMPERATURE
    )
    weight.requires_grad_(True)
    np.testing.assert_allclose(found_R, autograd_norms(model, [weight]), rtol=1e-4)
    assert not np.allclose(found_R, plain_R, rtol=1e-2)


def test_the_model_is_left_as_it_was_and_dropout_is_off() -> None:
    model = build("gpt2 tied")
    kinds = get_args(Norm)
    wanted = [sequence_norms(model, SEQUENCES, kind=kind) for kind in kinds]
    model.train()
    frozen = model.get_input_embeddings().eval()
    found = [sequence_norms(model, SEQUENCES, kind=kind) for kind in kinds]
    np.testing.assert_array_equal(found, wanted)
    assert [module for module in model.modules() if not module.training] == [frozen]
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", EMBEDDING_AND_HEAD)
def test_a_model_without_trainable_parameters_has_the_same_norms(kind: Norm) -> None:
    model = build("llama tied")
    wanted_R = sequence_norms(model, SEQUENCES, kind=kind)
    model.requires_grad_(False)
    with torch.no_grad():
        found_R = sequence_norms(model, SEQUENCES, kind=kind)
    np.testing.assert_array_equal(found_R, wanted_R)
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("autocast", [True, False])
def test_the_head_is_computed_in_float32_whatever_the_model_computes_in(autocast: bool) -> None:
    model = build("llama")
    if not autocast:
        model.bfloat16()
    sequence = SEQUENCES[2]
    states: list[Tensor] = []

    def note(_: nn.Module, __: object, output: BaseModelOutput) -> None:
        states.append(output["last_hidden_state"].detach())

    model.base_model.register_forward_hook(note)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        (found,) = sequence_norms(model, [sequence], kind="output_head")
    prompt, completion = sequence
    # The same sum in float64, from the states that the head was given.
    hidden_Td = states[-1][0, len(prompt) - 1 : -1].double()
    prob_TV = (hidden_Td @ weight_of(model, "output_head").detach().double().T).softmax(1)
    delta_TV = nn.functional.one_hot(torch.tensor(completion), VOCABULARY) - prob_TV
    wanted = (delta_TV.T @ hidden_Td).norm().item()
    assert found == pytest.approx(wanted, rel=1e-4)


def test_no_sequences_have_no_norms() -> None:
    model = build("llama")
    for kind in get_args(Norm):
        assert sequence_norms(model, [], kind=kind).shape == (0,)


@pytest.mark.parametrize("kind", EMBEDDING_AND_HEAD)
@pytest.mark.parametrize("family", UNSUPPORTED)
def test_a_model_with_more_than_a_table_and_a_linear_head_is_refused(
    family: str, kind: Norm
) -> None:
    model = build(family)
    message = rf"{type(model).__name__}: .*{UNSUPPORTED[family]}.*; use kind='all_parameters'"
    with pytest.raises(ValueError, match=message):
        sequence_norms(model, SEQUENCES, kind=kind)
    assert (sequence_norms(model, SEQUENCES, kind="all_parameters") > 0).all()


@peft_warns
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (LoraConfig(target_modules=["lm_head"]), "output head is a .*peft.*Linear"),
        (
            PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
            "head does not read the base model's last hidden state",
        ),
    ],
)
def test_an_adapter_that_changes_prompt_or_head_is_refused(config: PeftConfig, reason: str) -> None:
    model = get_peft_model(build("llama"), config)
    with pytest.raises(ValueError, match=reason):
        sequence_norms(model, SEQUENCES, kind="output_head")


def test_a_model_that_is_not_of_transformers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"PreTrainedModel or a peft wrapper .* got Linear"):
        sequence_norms(nn.Linear(2, 2), SEQUENCES, kind="output_head")


def test_the_reference_refuses_a_frozen_model() -> None:
    model = build("llama").requires_grad_(False)
    with pytest.raises(ValueError, match=r"all_parameters.* has none; call requires_grad_"):
        sequence_norms(model, SEQUENCES, kind="all_parameters")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0.0}, "temperature must be > 0 and finite, got 0.0"),
        ({"temperature": np.nan}, "temperature must be > 0 and finite, got nan"),
        ({"temperature": np.inf}, "temperature must be > 0 and finite, got inf"),
        ({"tokens_per_batch": 0}, "tokens_per_batch must be >= 1, got 0"),
        ({"kind": "lm_head"}, "input_embedding, output_head, all_parameters, got 'lm_head'"),
    ],
)
def test_a_bad_setting_is_named(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"kind": "output_head"} | changed
    with pytest.raises(ValueError, match=message):
        sequence_norms(untied_model(), SEQUENCES, **arguments)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (TokenSequence((), (1,)), "one token or more; row 1 of 2 has 0 and 1"),
        (TokenSequence((1, 2), ()), "one token or more; row 1 of 2 has 2 and 0"),
        (TokenSequence((1,), (37,)), r"in \[0, 37\); row 1 of 2 has 37"),
        (TokenSequence((-1,), (3,)), r"in \[0, 37\); row 1 of 2 has -1"),
    ],
)
def test_a_bad_sequence_is_named_by_its_row(bad: TokenSequence, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sequence_norms(untied_model(), [SEQUENCES[0], bad], kind="output_head")
