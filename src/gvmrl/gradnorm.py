"""Per-sample gradient norms of log pi(y | x), exact and batched.

The gradient is that of sum_t log pi(y_t | x, y_<t) over the completion's tokens, with pi the
softmax of logits / temperature. Write d_t = pi_t - onehot(y_t), h_t for the last hidden state
that predicts y_t, divided by the temperature, and W for the output head. Up to its sign it is

    with respect to the head:              D^T H = sum_t d_t h_t^T
    with respect to the embedding of v:    sum of g_t over the positions t with input token v

where g_t, the gradient at the embedding's output, comes from one backward pass of the whole
batch that starts from D W at H. A tied weight receives both: its gradient is their sum, cross
term included, and both kinds return the norm of that one gradient.

D is formed in vocabulary blocks, so that neither the logits [T, V] nor a gradient [V, d] of a
large vocabulary exists whole. The norm of D^T H costs T V d operations; the equal sum over pairs
of positions, (d_t . d_s)(h_t . h_s), costs T^2 V. The first is used at every length: it is never
dearer than the logits, while the second has no bound and would save at most a third at T < d.

Axes: R sequences, B rows of a batch, T input positions, S completion positions, V vocabulary
(or a block of it), d hidden size.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from gvmrl.data import FloatArray, TokenSequence
from gvmrl.head import head_fault
from gvmrl.model import microbatches, pad_right
from gvmrl.strategy.config import Norm

# Floats of a vocabulary block. A CPU wants them in its cache, and then computing logits twice is
# no dearer than keeping them; a GPU wants few kernels.
_CPU_BLOCK, _GPU_BLOCK = 2**20, 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A causal language model taken apart."""

    embedding: nn.Module
    padding_id: int | None
    """The token whose embedding gets no gradient (torch's `padding_idx`)."""
    backbone: nn.Module
    weight_Vd: Tensor
    bias_V: Tensor
    tied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Right-padded sequences, so that causal attention keeps the padding out of every value."""

    token_BT: Tensor
    mask_BT: Tensor
    target_BS: Tensor
    target_mask_BS: Tensor
    position_BS: Tensor
    """The position whose hidden state predicts each target."""


def sequence_norms(
    model: nn.Module,
    sequences: Sequence[TokenSequence],
    *,
    kind: Norm,
    temperature: float = 1.0,
    tokens_per_batch: int = 2048,
) -> FloatArray:
    """Return the norm of the gradient of log pi(completion | prompt) of each sequence.

    `input_embedding` takes one backward pass a batch. `output_head` takes none, unless the
    weights are tied: then both kinds return the norm of the tied weight's gradient, at the cost
    of one. Neither needs `requires_grad`. `all_parameters` is the slow reference, one backward
    pass a sequence over the parameters that require grad. The model runs without dropout and is
    left as it was.

    Args:
        model: A causal language model of transformers, or a peft wrapper of one; the norms of
            embedding and head are those of the base weights, frozen or not.
        sequences: R prompts and completions, each part one token or more.
        kind: The weights whose gradient is measured.
        temperature: Divides the logits; > 0.
        tokens_per_batch: Bound on rows times padded length of a batch, and so on the memory of
            its activations; a longer sequence makes a batch of its own.

    Returns:
        [R] norms in the order of `sequences`, >= 0, from logits in float32.

    Raises:
        ValueError: If an argument is out of its range, a token id is not in the vocabulary, no
            parameter requires grad (`all_parameters`), or the logits are not a plain linear
            head on the last hidden state or the embedding is not a plain table (the others).
    """
    if kind not in get_args(Norm):
        raise ValueError(f"kind must be one of {', '.join(get_args(Norm))}, got {kind!r}")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be > 0 and finite, got {temperature}")
    if tokens_per_batch < 1:
        raise ValueError(f"tokens_per_batch must be >= 1, got {tokens_per_batch}")
    base = getattr(model, "get_base_model", lambda: model)()  # peft has one
    if not isinstance(base, PreTrainedModel):
        raise ValueError(  # noqa: TRY004 - one kind of error for every bad argument
            "model must be a transformers PreTrainedModel or a peft wrapper of one, "
            f"got {type(base).__name__}"
        )
    weight_Vd = base.get_input_embeddings().get_parameter("weight")
    _check_sequences(sequences, len(weight_Vd))
    norm_R = np.zeros(len(sequences))
    if not sequences:
        return norm_R
    with _evaluating(model):
        if kind == "all_parameters":
            return np.array([_one_norm(model, sequence, temperature) for sequence in sequences])
        parts = _take_apart(model, base, sequences[0])
        for rows in microbatches(sequences, tokens_per_batch):
            batch = _pad([sequences[row] for row in rows], weight_Vd.device)
            square_B = _batch_squares(parts, batch, kind, temperature)
            norm_R[rows] = square_B.clamp(min=0).sqrt().cpu().numpy()
    return norm_R


def _batch_squares(parts: _Parts, batch: _Batch, kind: Norm, temperature: float) -> Tensor:
    """Return [B] squared norms of `input_embedding` or `output_head`, in float32."""
    backward = parts.tied or kind == "input_embedding"
    with torch.set_grad_enabled(backward):
        embedded_BTd = parts.embedding(batch.token_BT).detach().requires_grad_(backward)
        output = parts.backbone(
            inputs_embeds=embedded_BTd, attention_mask=batch.mask_BT, use_cache=False
        )
        hidden_BSd = output.last_hidden_state.take_along_dim(batch.position_BS[..., None], 1)
        hidden_BSd = hidden_BSd.float() / temperature
    fixed_BSd = hidden_BSd.detach()
    square_B = fixed_BSd.new_zeros(len(fixed_BSd))
    pull_BSd = torch.zeros_like(fixed_BSd)
    head_grad_BTd = torch.zeros_like(embedded_BTd, dtype=torch.float32)
    with torch.autocast(fixed_BSd.device.type, enabled=False):
        for start, weight_Vd, delta_BSV in _delta_blocks(parts, batch, fixed_BSd, temperature):
            if backward:
                pull_BSd += delta_BSV @ weight_Vd
            if parts.tied or kind == "output_head":
                grad_BVd = delta_BSV.transpose(1, 2) @ fixed_BSd
                if parts.tied:
                    slot_BT = batch.token_BT - start
                    at = ((slot_BT >= 0) & (slot_BT < len(weight_Vd))).nonzero(as_tuple=True)
                    head_grad_BTd[at] = grad_BVd[at[0], slot_BT[at]]
                square_B += grad_BVd.square_().sum((1, 2))
    if not backward:
        return square_B
    (grad_BTd,) = torch.autograd.grad(hidden_BSd, embedded_BTd, pull_BSd)
    grad_BTd = grad_BTd.float()
    if parts.padding_id is not None:
        grad_BTd = grad_BTd.masked_fill((batch.token_BT == parts.padding_id)[..., None], 0)
    # |head + embedding|^2 of a tied weight; only the rows of input tokens have a cross term.
    cross_B = (head_grad_BTd * grad_BTd).sum((1, 2))
    return square_B + 2 * cross_B + _token_squares(grad_BTd, batch.token_BT)


@torch.no_grad()
def _delta_blocks(
    parts: _Parts, batch: _Batch, hidden_BSd: Tensor, temperature: float
) -> Generator[tuple[int, Tensor, Tensor]]:
    """Yield (first token, W, D) of each vocabulary block, in float32; D is 0 where padded.

    A first pass over the blocks finds the normaliser; the second goes back from the last block,
    which is still at hand, so that a small vocabulary is computed once.
    """
    num_tokens, size = parts.weight_Vd.shape
    block_size = _CPU_BLOCK if hidden_BSd.device.type == "cpu" else _GPU_BLOCK
    width = max(1, block_size // (len(hidden_BSd) * max(hidden_BSd.shape[1], size)))
    starts = range(0, num_tokens, width)

    def block(start: int) -> tuple[Tensor, Tensor]:
        weight_Vd = parts.weight_Vd[start : start + width].float()
        bias_V = parts.bias_V[start : start + width].float() / temperature
        return weight_Vd, F.linear(hidden_BSd, weight_Vd, bias_V)

    weight_Vd, logit_BSV = block(0)
    normaliser_BS = logit_BSV.logsumexp(2)
    for start in starts[1:]:
        weight_Vd, logit_BSV = block(start)
        normaliser_BS = normaliser_BS.logaddexp(logit_BSV.logsumexp(2))
    # exp(logit - infinity) is the 0 that padding needs.
    normaliser_BS1 = normaliser_BS.masked_fill(~batch.target_mask_BS, torch.inf)[..., None]
    for start in reversed(starts):
        if start != starts[-1]:
            weight_Vd, logit_BSV = block(start)
        delta_BSV = logit_BSV.sub_(normaliser_BS1).exp_()
        column_BS = batch.target_BS - start
        inside_BS = batch.target_mask_BS & (column_BS >= 0) & (column_BS < len(weight_Vd))
        column_BS1 = column_BS.clamp(0, len(weight_Vd) - 1)[..., None]
        delta_BSV.scatter_add_(2, column_BS1, -inside_BS[..., None].float())
        yield start, weight_Vd, delta_BSV


def _token_squares(grad_BTd: Tensor, token_BT: Tensor) -> Tensor:
    """Return [B] sums over the distinct tokens of a row of |sum of their gradients|^2."""
    num_rows, num_tokens = len(token_BT), int(token_BT.max()) + 1
    row_B1 = torch.arange(num_rows, device=token_BT.device)[:, None]
    key, group = (row_B1 * num_tokens + token_BT).flatten().unique(return_inverse=True)
    total = grad_BTd.new_zeros(len(key), grad_BTd.shape[2])
    total.index_add_(0, group, grad_BTd.flatten(0, 1))
    return total.new_zeros(num_rows).index_add_(0, key // num_tokens, total.square_().sum(1))


def _one_norm(model: nn.Module, sequence: TokenSequence, temperature: float) -> float:
    """Return the norm of one sequence's gradient over all parameters that require grad."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(
            "kind='all_parameters' needs a parameter that requires grad and the model has none; "
            "call requires_grad_() on those to measure"
        )
    prompt, completion = sequence
    token_1T = torch.tensor([prompt + completion], device=parameters[0].device)
    with torch.enable_grad():
        logit_TV = model(input_ids=token_1T[:, :-1], use_cache=False).logits[0].float()
        logprob_TV = (logit_TV[len(prompt) - 1 :] / temperature).log_softmax(1)
        total = logprob_TV.gather(1, token_1T[0, len(prompt) :, None]).sum()
        grads = torch.autograd.grad(total, parameters, materialize_grads=True)
    # Not Tensor.norm: on a CPU its float32 sum is off by 1e-4 and more for millions of entries.
    return sum(float(grad.float().square().sum()) for grad in grads) ** 0.5


def _take_apart(model: nn.Module, base: PreTrainedModel, sequence: TokenSequence) -> _Parts:
    """Split the model, or refuse one whose gradients are not what the module's docstring says.

    The table's type must be exact: a subclass may scale what it looks up (Gemma). LoRA on the
    embedding is let in: it leaves the gradient of the table as it is.
    """
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    table = getattr(embedding, "base_layer", embedding)
    if type(table) is not nn.Embedding:
        raise _unsupported(base, f"its input embedding is a {type(table)}")
    if fault := head_fault(base, model):
        raise _unsupported(base, fault)
    assert isinstance(head, nn.Linear), "head_fault lets nothing else pass"
    parts = _Parts(
        embedding=embedding,
        padding_id=table.padding_idx,
        backbone=base.base_model,
        weight_Vd=head.weight.detach(),
        bias_V=dict(head.named_parameters()).get("bias", head.weight.new_zeros(len(head.weight))),
        tied=head.weight is table.weight,
    )
    token_BT = pad_right([sequence], 0, head.weight.device)[0][:, :4]
    with torch.no_grad():
        from_ids, from_embedded = (
            parts.backbone(use_cache=False, **tokens).last_hidden_state
            for tokens in ({"input_ids": token_BT}, {"inputs_embeds": embedding(token_BT)})
        )
    if not torch.equal(from_ids, from_embedded):
        raise _unsupported(base, "its base model does more to tokens than look them up")
    return parts


def _unsupported(base: PreTrainedModel, reason: str) -> ValueError:
    return ValueError(
        f"no batched gradient norms for {type(base).__name__}: {reason}; use kind='all_parameters'"
    )


def _check_sequences(sequences: Sequence[TokenSequence], num_tokens: int) -> None:
    for row, (prompt, completion) in enumerate(sequences):
        if not prompt or not completion:
            raise ValueError(
                "a prompt and a completion need one token or more; row "
                f"{row} of {len(sequences)} has {len(prompt)} and {len(completion)}"
            )
        low, high = min(*prompt, *completion), max(*prompt, *completion)
        if low < 0 or high >= num_tokens:
            raise ValueError(
                f"token ids must be in [0, {num_tokens}); row {row} of {len(sequences)} has "
                f"{low if low < 0 else high}: use the model's own tokenizer"
            )


def _pad(sequences: Sequence[TokenSequence], device: torch.device) -> _Batch:
    token_BT, mask_BT, scored_BT = pad_right(sequences, 0, device)
    # Logits of a position are for the next token. Short completions repeat their last position.
    num_scored_B1 = scored_BT.sum(1, keepdim=True)
    slot_S = torch.arange(int(num_scored_B1.max()), device=device)
    last_B1 = mask_BT.sum(1, keepdim=True) - 2
    position_BS = (last_B1 - num_scored_B1 + 1 + slot_S).minimum(last_B1)
    return _Batch(
        token_BT=token_BT,
        mask_BT=mask_BT,
        target_BS=token_BT.gather(1, position_BS + 1),
        target_mask_BS=slot_S < num_scored_B1,
        position_BS=position_BS,
    )


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    """Switch dropout off, then give every module its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
