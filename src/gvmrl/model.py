"""The policy: a Hugging Face causal language model with the passes that training needs.

Axes: B rows, T positions of a padded row, N completion tokens of all rows (flat, in row order).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from gvmrl.data import FloatArray, Prompt, TokenSequence

if TYPE_CHECKING:
    from peft import PeftModel

LOGITS_PER_CHUNK = 2**25
"""Logits that exist at once in the log-probability pass (128 MiB in float32)."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What the policy says about the completion tokens of some sequences, flat in row order."""

    logprob_N: Tensor
    """[N] natural log-probability of each completion token; differentiable."""
    entropy_N: Tensor
    """[N] entropy in nats of the distribution that each token was drawn from; detached."""
    signal_N: Tensor
    """[N] free gradient signal of each token (see `entropy_and_signal`); detached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the policy reads P prompts, before it answers."""

    length_P: FloatArray
    """[P] the prompt's tokens."""
    entropy_P: FloatArray
    """[P] entropy in nats of the first token of its answer."""
    state_PD: FloatArray
    """[P, D] last hidden states at the prompts' last tokens."""

    @property
    def sign_PS(self) -> FloatArray:
        """[P, 2] length and entropy: what tells hard prompts from easy ones soonest."""
        return np.stack([self.length_P, self.entropy_P], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A causal language model on one device, with its tokenizer."""

    module: PreTrainedModel
    """The model; LoRA layers are inside it where they were asked for."""
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    """Arithmetic of the passes; the weights are float32."""
    adapter: "PeftModel | None"
    """The LoRA adapter around the module; None where all parameters are trained."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.device

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained, in a fixed order."""
        return [weight for weight in self.module.parameters() if weight.requires_grad]

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a completion."""
        found = self.module.generation_config.eos_token_id
        ids = [*found] if isinstance(found, list) else [found]
        return frozenset(
            token for token in [*ids, self.tokenizer.eos_token_id] if isinstance(token, int)
        )

    @property
    def pad_id(self) -> int:
        """A token that fills masked positions; never seen by the model."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else 0

    @property
    def head(self) -> nn.Module:
        """The output head, from hidden states to logits."""
        head = self.module.get_output_embeddings()
        assert head is not None, "a causal language model has a head"
        return head

    def autocast(self) -> torch.autocast:
        """Return the context in which passes run."""
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=enabled)

    def token_scores(
        self, sequences: Sequence[TokenSequence], *, temperature: float = 1.0
    ) -> TokenScores:
        """Score the completion tokens of one micro-batch in one forward pass.

        Logits exist for a chunk of tokens at a time, and are computed again in the backward
        pass, so memory does not grow with tokens x vocabulary.

        Args:
            sequences: B prompts with completions, padded together to the longest.
            temperature: Divides the logits; > 0.
        """
        token_BT, attend_BT, scored_BT = pad_right(sequences, self.pad_id, self.device)
        with self.autocast(), _checkpointing(self.module):
            # The state at a position predicts the next token, hence the shift by one.
            hidden_BTD = self.module.base_model(
                input_ids=token_BT, attention_mask=attend_BT, use_cache=False
            ).last_hidden_state
            hidden_ND = hidden_BTD[:, :-1][scored_BT[:, 1:]]
            return self._score_chunks(hidden_ND, token_BT[scored_BT], temperature)

    @torch.no_grad()
    def read(self, prompts: Sequence[Prompt], tokens_per_batch: int) -> Reading:
        """Return how the policy reads P prompts, before anything is sampled.

        Args:
            prompts: P prompts.
            tokens_per_batch: Padded tokens of one forward pass.
        """
        # A prompt without completion: its own last token takes the place of the completion.
        sequences = [
            TokenSequence(prompt.token_ids[:-1], prompt.token_ids[-1:]) for prompt in prompts
        ]
        entropy_P = np.zeros(len(prompts))
        state_PD = np.zeros((len(prompts), self.module.config.get_text_config().hidden_size))
        for rows in microbatches(sequences, tokens_per_batch):
            token_BT, attend_BT, last_BT = pad_right(
                [sequences[row] for row in rows], self.pad_id, self.device
            )
            with self.autocast():
                hidden_BD = self.module.base_model(
                    input_ids=token_BT, attention_mask=attend_BT, use_cache=False
                ).last_hidden_state[last_BT]
                entropy_P[rows] = torch.cat(
                    [self._entropy(part) for part in hidden_BD.split(self._chunk)]
                ).numpy(force=True)
            state_PD[rows] = hidden_BD.float().numpy(force=True)
        return Reading(
            length_P=np.array([len(prompt.token_ids) for prompt in prompts], np.float64),
            entropy_P=entropy_P,
            state_PD=state_PD,
        )

    def _entropy(self, hidden_ND: Tensor) -> Tensor:
        logprob_NV = self.head(hidden_ND).float().log_softmax(-1)
        return -(logprob_NV.exp() * logprob_NV).sum(-1)

    @property
    def _chunk(self) -> int:
        """Tokens whose logits may exist at once."""
        return max(1, LOGITS_PER_CHUNK // self.module.config.get_text_config().vocab_size)

    def _score_chunks(self, hidden_ND: Tensor, target_N: Tensor, temperature: float) -> TokenScores:
        head = self.head

        def score(hidden_CD: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logprob_CV = (head(hidden_CD).float() / temperature).log_softmax(-1)
            # Before the rest: recomputation for the backward pass ends with the last saved tensor.
            logprob_C = logprob_CV.gather(-1, target_C[:, None])[:, 0]
            return logprob_C, *entropy_and_signal(logprob_CV, target_C)

        chunks = list(zip(hidden_ND.split(self._chunk), target_N.split(self._chunk), strict=True))
        if len(chunks) <= 1 or not torch.is_grad_enabled():
            parts = [score(*chunk) for chunk in chunks]
        else:
            parts = [checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks]
        return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def save(self, folder: Path) -> None:
        """Write the policy and its tokenizer in Hugging Face format; with LoRA, the adapter."""
        (self.adapter or self.module).save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))


@torch.no_grad()
def entropy_and_signal(logprob_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy of each token's distribution and its free gradient signal.

    The signal is ||d log pi(y) / d logits||^2 = 1 - 2 pi_y + sum_v pi_v^2, summed as
    (1 - pi_y)^2 + sum_{v != y} pi_v^2, so that no digits cancel where pi_y is near 1. With a
    temperature, the gradient is that by logits / temperature. Both come from one exponential and
    no second array of the vocabulary's size.

    Args:
        logprob_NV: [N, V] normalised natural log-probabilities.
        target_N: [N] int64, the sampled tokens.

    Returns:
        [N] entropies in nats; [N] signals, in [0, 2]; no gradient flows through them.
    """
    target_N1 = target_N[:, None]
    logprob_N1 = logprob_NV.gather(-1, target_N1)
    delta_NV = logprob_NV.exp().scatter_(-1, target_N1, logprob_N1.expm1())  # pi - onehot(y)
    # A norm reads its input once and writes nothing, unlike a sum of squares.
    signal_N = torch.linalg.vector_norm(delta_NV, dim=-1).square()
    # sum_v pi_v log pi_v = sum_v delta_v log pi_v + log pi_y.
    entropy_N = -delta_NV.mul_(logprob_NV).sum(-1) - logprob_N1[:, 0]
    return entropy_N, signal_N


def pad_right(
    sequences: Sequence[TokenSequence], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay sequences out as rows of equal length.

    Returns:
        [B, T] int64 tokens; [B, T] int64 attention mask; [B, T] bool mask of completion tokens.
    """
    length = max(len(prompt) + len(completion) for prompt, completion in sequences)
    token_BT = torch.full((len(sequences), length), pad_id)
    attend_BT = torch.zeros((len(sequences), length), dtype=torch.int64)
    scored_BT = torch.zeros((len(sequences), length), dtype=torch.bool)
    for row, (prompt, completion) in enumerate(sequences):
        end = len(prompt) + len(completion)
        token_BT[row, :end] = torch.tensor(prompt + completion)
        attend_BT[row, :end] = 1
        scored_BT[row, len(prompt) : end] = True
    return token_BT.to(device), attend_BT.to(device), scored_BT.to(device)


def microbatches(sequences: Sequence[TokenSequence], tokens: int) -> list[list[int]]:
    """Group row numbers, longest first, so that no group pads to more than `tokens` positions.

    A sequence longer than the limit gets a group of its own.
    """
    length_R = [len(prompt) + len(completion) for prompt, completion in sequences]
    groups: list[list[int]] = []
    for row in sorted(range(len(sequences)), key=lambda row: -length_R[row]):
        if groups and length_R[groups[-1][0]] * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


@contextmanager
def _checkpointing(module: PreTrainedModel) -> Generator[None]:
    """Let layers drop their activations, where that is enabled and a backward pass follows.

    transformers does so in training mode alone, which would also turn dropout on. So only the
    layers themselves are put into it, not the modules inside them.
    """
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, GradientCheckpointingLayer) and torch.is_grad_enabled()
    ]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
