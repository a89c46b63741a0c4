"""Batched sampling with a key-value cache, from the very module that is trained.

A prompt is read once for all its rollouts in a batch, and finished rows leave the batch.

Axes: U prompts of a batch, B rows generated side by side, T positions, V vocabulary.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from gvmrl.config import SamplerConfig
from gvmrl.data import Completion, IntArray, Prompt
from gvmrl.model import Policy
from gvmrl.sample import Address, uniforms

logger = logging.getLogger(__name__)

CPU_OUT_OF_MEMORY = "can't allocate memory"


class _Row(NamedTuple):
    """One completion to be drawn."""

    prompt: Prompt
    number: int
    address: Address


@dataclass(slots=True)
class TransformersSampler:
    """Draws from a policy on its own device; it always has the current weights."""

    policy: Policy
    config: SamplerConfig
    rows_per_batch: int = field(init=False)
    """Completions generated side by side; halved whenever they do not fit into memory."""

    def __post_init__(self) -> None:
        self.rows_per_batch = self.config.rows_per_batch

    def sample(
        self, prompts: Sequence[Prompt], count_P: IntArray, addresses: Sequence[Address]
    ) -> list[Completion]:
        """Draw `count_P[i]` completions of each prompt (see `Sampler`).

        Raises:
            FloatingPointError: If the policy's logits are not finite.
            torch.OutOfMemoryError: If not even one row fits into memory.
        """
        rows = [
            _Row(prompt, number, address)
            for prompt, count, address in zip(prompts, count_P, addresses, strict=True)
            for number in range(count)
        ]
        by_length = sorted(range(len(rows)), key=lambda row: len(rows[row].prompt.token_ids))
        done: dict[int, Completion] = {}
        while len(done) < len(rows):
            batch = by_length[len(done) : len(done) + self.rows_per_batch]
            try:
                # Around all tokens of the batch: at its end autocast forgets the cast weights.
                with self.policy.autocast():
                    found = self._generate([rows[row] for row in batch])
            except RuntimeError as error:
                self._halve(error, len(batch))
                continue
            done |= dict(zip(batch, found, strict=True))
        return [done[row] for row in range(len(rows))]

    def _halve(self, error: RuntimeError, num_rows: int) -> None:
        """Make batches smaller after one that did not fit; raise any other error again."""
        out_of_memory = isinstance(error, torch.OutOfMemoryError) or CPU_OUT_OF_MEMORY in str(error)
        if not out_of_memory or num_rows == 1:
            raise error
        self.rows_per_batch = num_rows // 2
        logger.warning(
            "%d completions side by side do not fit into memory; going on with %d "
            "(sampler.rows_per_batch is %d)",
            *(num_rows, self.rows_per_batch, self.config.rows_per_batch),
        )
        if self.policy.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.no_grad()
    def _generate(self, rows: Sequence["_Row"]) -> list[Completion]:
        policy, length = self.policy, self.config.max_new_tokens
        device = policy.device
        uniform_BT = torch.from_numpy(
            np.stack([uniforms(row.prompt, row.number, length, row.address) for row in rows])
        ).to(device, torch.float32)
        stop = torch.tensor(sorted(policy.stop_ids), device=device)
        prompts = {row.prompt.id: row.prompt for row in rows}
        place = {prompt_id: number for number, prompt_id in enumerate(prompts)}
        owner_B = torch.tensor([place[row.prompt.id] for row in rows], device=device)
        token_UT, attend_UT = _pad_left(list(prompts.values()), policy.pad_id, device)
        position_UT = (attend_UT.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=policy.module.config)
        logit_BV = self._logits(token_UT, attend_UT, position_UT, cache)[owner_B]
        cache.batch_select_indices(owner_B)
        attend_BT, position_B1 = attend_UT[owner_B], position_UT[owner_B, -1:]
        drawn_BT = torch.full((len(rows), length), -1, device=device)
        logprob_BT = torch.zeros((len(rows), length), device=device)
        alive_B = torch.arange(len(rows), device=device)
        for step in range(length):
            next_B, logprob_B = draw_tokens(
                logit_BV.float() / self.config.temperature, uniform_BT[alive_B, step]
            )
            drawn_BT[alive_B, step], logprob_BT[alive_B, step] = next_B, logprob_B
            keep = (~torch.isin(next_B, stop)).nonzero()[:, 0]
            if not len(keep) or step == length - 1:
                break
            if len(keep) < len(alive_B):
                # Finished rows leave the batch, so that long completions do not hold it up.
                cache.batch_select_indices(keep)
                alive_B, next_B = alive_B[keep], next_B[keep]
                attend_BT, position_B1 = attend_BT[keep], position_B1[keep]
            attend_BT = torch.cat([attend_BT, attend_BT.new_ones(len(keep), 1)], -1)
            position_B1 = position_B1 + 1
            logit_BV = self._logits(next_B[:, None], attend_BT, position_B1, cache)
        return self._finish(drawn_BT, logprob_BT)

    def _logits(
        self, token_BT: Tensor, attend_BT: Tensor, position_BT: Tensor, cache: DynamicCache
    ) -> Tensor:
        """[B, V] logits behind the last of the given tokens, which join the cache."""
        return self.policy.module(
            input_ids=token_BT,
            attention_mask=attend_BT,
            position_ids=position_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def _finish(self, drawn_BT: Tensor, logprob_BT: Tensor) -> list[Completion]:
        """Cut the rows where they end, and decode them."""
        length_B = (drawn_BT >= 0).sum(-1).tolist()
        tokens = [row[:length] for row, length in zip(drawn_BT.tolist(), length_B, strict=True)]
        logprobs = [row[:length] for row, length in zip(logprob_BT.tolist(), length_B, strict=True)]
        texts = self.policy.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        stop_ids = self.policy.stop_ids
        return [
            Completion(
                text=text,
                token_ids=tuple(token_ids),
                logprobs=tuple(row),
                truncated=token_ids[-1] not in stop_ids,
            )
            for text, token_ids, row in zip(texts, tokens, logprobs, strict=True)
        ]


def draw_tokens(logit_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """Pick a token of each row by inverting its cumulative distribution; [B] ids and [B] log-probs.

    Much faster than torch.multinomial on a CPU, and one uniform number decides one token.

    Raises:
        FloatingPointError: If a row holds NaN or only infinities.
    """
    logprob_BV = logit_BV.log_softmax(-1)
    cumulative_BV = logprob_BV.exp().cumsum(-1)
    total_B1 = cumulative_BV[:, -1:]
    if not total_B1.isfinite().all():
        raise FloatingPointError("the policy's logits are not finite")
    # Strictly below the total, which float32 rounding could otherwise reach.
    target_B1 = torch.minimum(uniform_B[:, None] * total_B1, total_B1.nextafter(-total_B1))
    token_B1 = torch.searchsorted(cumulative_BV, target_B1, right=True)
    return token_B1[:, 0], logprob_BV.gather(-1, token_B1)[:, 0]


def _pad_left(
    prompts: Sequence[Prompt], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[B, T] tokens and [B, T] attention mask of prompts that end at the same position."""
    length = max(len(prompt.token_ids) for prompt in prompts)
    token_BT = torch.full((len(prompts), length), pad_id)
    attend_BT = torch.zeros((len(prompts), length), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        token_BT[row, length - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
        attend_BT[row, length - len(prompt.token_ids) :] = 1
    return token_BT.to(device), attend_BT.to(device)
