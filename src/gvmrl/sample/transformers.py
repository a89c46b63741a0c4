"""Batched sampling with a key-value cache, from the very module that is trained.

Axes: B rows generated side by side, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from gvmrl.config import SamplerConfig
from gvmrl.data import Completion, IntArray, Prompt
from gvmrl.model import Policy
from gvmrl.sample import Address, uniforms


@dataclass(slots=True)
class _Draft:
    """A completion while it grows."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TransformersSampler:
    """Draws from a policy on its own device; it always has the current weights."""

    policy: Policy
    config: SamplerConfig

    def sample(
        self, prompts: Sequence[Prompt], count_P: IntArray, address: Address
    ) -> list[Completion]:
        """Draw `count_P[i]` completions of each prompt (see `Sampler`)."""
        rows = [
            (prompt, number)
            for prompt, count in zip(prompts, count_P, strict=True)
            for number in range(count)
        ]
        by_length = sorted(range(len(rows)), key=lambda row: len(rows[row][0].token_ids))
        done: dict[int, Completion] = {}
        size = self.config.rows_per_batch
        for start in range(0, len(rows), size):
            batch = by_length[start : start + size]
            drafts = self._generate([rows[row] for row in batch], address)
            done |= {row: self._finish(draft) for row, draft in zip(batch, drafts, strict=True)}
        return [done[row] for row in range(len(rows))]

    @torch.no_grad()
    def _generate(self, rows: Sequence[tuple[Prompt, int]], address: Address) -> list[_Draft]:
        policy, length = self.policy, self.config.max_new_tokens
        device = policy.device
        uniform_BT = torch.from_numpy(
            np.stack([uniforms(prompt, number, length, address) for prompt, number in rows])
        ).to(device, torch.float32)
        stop = torch.tensor(sorted(policy.stop_ids), device=device)
        token_BT, attend_BT = _pad_left([prompt for prompt, _ in rows], policy.pad_id, device)
        drafts = [_Draft() for _ in rows]
        alive = list(range(len(rows)))
        cache = DynamicCache(config=policy.module.config)
        position_BT = (attend_BT.cumsum(-1) - 1).clamp(min=0)
        for step in range(length):
            with policy.autocast():
                logit_BV = policy.module(
                    input_ids=token_BT,
                    attention_mask=attend_BT,
                    position_ids=position_BT,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                ).logits[:, -1]
            next_B, logprob_B = draw_tokens(
                logit_BV.float() / self.config.temperature, uniform_BT[alive, step]
            )
            for row, token, logprob in zip(alive, next_B.tolist(), logprob_B.tolist(), strict=True):
                drafts[row].token_ids.append(token)
                drafts[row].logprobs.append(logprob)
            keep = (~torch.isin(next_B, stop)).nonzero()[:, 0]
            if not len(keep):
                break
            if len(keep) < len(alive):
                # Finished rows leave the batch, so that long completions do not hold it up.
                cache.batch_select_indices(keep)
                alive = [alive[row] for row in keep.tolist()]
            token_BT = next_B[keep, None]
            attend_BT = torch.cat([attend_BT[keep], attend_BT.new_ones(len(keep), 1)], -1)
            position_BT = position_BT[keep, -1:] + 1
        return drafts

    def _finish(self, draft: _Draft) -> Completion:
        return Completion(
            text=str(self.policy.tokenizer.decode(draft.token_ids, skip_special_tokens=True)),
            token_ids=tuple(draft.token_ids),
            logprobs=tuple(draft.logprobs),
            truncated=draft.token_ids[-1] not in self.policy.stop_ids,
        )


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
