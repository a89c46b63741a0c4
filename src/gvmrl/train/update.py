"""One optimizer update from scored rollouts, in micro-batches that change no result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gvmrl.config import OptimConfig, SamplerConfig
from gvmrl.data import FloatArray, IntArray, Rollouts, TokenSequence, segment_sum
from gvmrl.losses import LossConfig
from gvmrl.model import Policy, microbatches
from gvmrl.train.loss import kl_penalty, token_loss
from gvmrl.train.weigh import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMetrics:
    """What happened in one update; token means are over the tokens that entered the loss."""

    loss: float
    grad_norm: float
    """Before clipping."""
    kl: float
    """Mean of k3 between the trained and the sampling policy."""
    clip_rate: float
    """Share of tokens whose ratio lies outside the clip range."""
    entropy: float
    """Mean entropy in nats of the next-token distribution."""
    num_rollouts: int
    """Rollouts that entered the forward pass."""
    num_tokens: int
    """Their completion tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What an update did and what it learned in passing about the A rollouts it was made of."""

    metrics: UpdateMetrics
    row_A: IntArray
    """[A] rows, in the step's rollouts, of those that entered the forward pass."""
    signal_A: FloatArray
    """[A] their free gradient signals before the update: ||d log pi / d logits||^2, summed over
    the completion's tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """The policy with its optimizer."""

    policy: Policy
    reference: Policy | None
    """The starting policy, where a KL penalty needs it."""
    optimizer: torch.optim.AdamW
    loss: LossConfig
    optim: OptimConfig
    sampler: SamplerConfig

    def update(
        self, rollouts: Rollouts, weights: Weights, rows: IntArray, num_updates: int
    ) -> UpdateResult:
        """Take one optimizer step on the given rows of a step's rollouts.

        A row whose gradient is zero anyway (weight 0, or advantage 0 without KL penalty) stays
        out of the forward pass. With no row left the step is still taken, on a zero gradient,
        so that every run of equal settings counts equal updates.

        Args:
            rollouts: R rollouts of the step.
            weights: Their weights, computed over the whole step.
            rows: Rows of this update.
            num_updates: Updates taken before; decides the learning rate.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite; no weight is changed.
        """
        denominator = float(weights.share_R[rows].sum())
        weight_R = weights.weight_R[rows]
        alive = weight_R > 0
        if self.reference is None:
            alive &= weights.advantage_R[rows] != 0
        length_R = self._lengths(rollouts, rows[weight_R > 0], rows[alive])
        sequences = rollouts.sequences
        batch = _Batch(
            sequences=[sequences[row] for row in rows[alive]],
            old_logprobs=[rollouts.completions[row].logprobs for row in rows[alive]],
            advantage_R=weights.advantage_R[rows[alive]],
            coefficient_R=weight_R[alive] / length_R / (denominator or 1.0),
        )
        sums, signal_A = self._accumulate(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters, self.optim.max_grad_norm)
        if not math.isfinite(sums["loss"]) or not math.isfinite(float(norm)):
            self.optimizer.zero_grad(set_to_none=False)
            raise FloatingPointError(
                f"update {num_updates + 1} has loss {sums['loss']} and gradient norm {float(norm)}"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.optim, num_updates)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        tokens = max(batch.num_tokens, 1)
        metrics = UpdateMetrics(
            loss=sums["loss"],
            grad_norm=float(norm),
            kl=sums["kl"] / tokens,
            clip_rate=sums["clipped"] / tokens,
            entropy=sums["entropy"] / tokens,
            num_rollouts=len(batch.sequences),
            num_tokens=batch.num_tokens,
        )
        return UpdateResult(metrics=metrics, row_A=rows[alive], signal_A=signal_A)

    def with_old_logprobs(self, rollouts: Rollouts) -> Rollouts:
        """Return the rollouts with the log-probabilities that the ratios are taken against.

        Those of the sampler, unless `optim.recompute_logprobs` asks for the training code's own.
        """
        if not self.optim.recompute_logprobs:
            return rollouts
        completions = list(rollouts.completions)
        sequences = rollouts.sequences
        for rows in microbatches(sequences, self.optim.tokens_per_microbatch):
            with torch.no_grad():
                scores = self.policy.token_scores(
                    [sequences[row] for row in rows], temperature=self.sampler.temperature
                )
            lengths = [len(sequences[row].completion_ids) for row in rows]
            for row, logprobs in zip(rows, scores.logprob_N.split(lengths), strict=True):
                completions[row] = replace(completions[row], logprobs=tuple(logprobs.tolist()))
        return replace(rollouts, completions=tuple(completions))

    def _lengths(self, rollouts: Rollouts, weighted: IntArray, alive: IntArray) -> FloatArray:
        """[R] token counts that divide the alive rows' losses, by the aggregation in use."""
        length_W = np.array([len(rollouts.completions[row].token_ids) for row in weighted])
        match self.loss.resolved_aggregation:
            case "constant":
                return np.full(alive.size, float(self.sampler.max_new_tokens))
            case "sequence_mean":
                return np.array([float(len(rollouts.completions[row].token_ids)) for row in alive])
            case _:
                return np.full(alive.size, length_W.mean() if length_W.size else 1.0)

    def _accumulate(self, batch: "_Batch") -> tuple[dict[str, float], FloatArray]:
        """Add the gradient of the batch's loss to the parameters.

        Returns:
            Summed figures; [A] free gradient signals of the batch's sequences.
        """
        signal_A = np.zeros(len(batch.sequences))
        sums = {"loss": 0.0, "kl": 0.0, "clipped": 0.0, "entropy": 0.0}
        for rows in microbatches(batch.sequences, self.optim.tokens_per_microbatch):
            sequences = [batch.sequences[row] for row in rows]
            temperature = self.sampler.temperature
            scores = self.policy.token_scores(sequences, temperature=temperature)
            old_N, advantage_N, coefficient_N = batch.per_token(rows, self.policy.device)
            loss_N = token_loss(scores.logprob_N, old_N, advantage_N, self.loss)
            if self.reference is not None:
                with torch.no_grad():
                    reference = self.reference.token_scores(sequences, temperature=temperature)
                penalty_N = kl_penalty(scores.logprob_N, reference.logprob_N)
                loss_N = loss_N + self.loss.kl_coef * penalty_N
            loss = (coefficient_N * loss_N).sum()
            torch.autograd.backward(loss)
            with torch.no_grad():
                ratio_N = (scores.logprob_N - old_N).exp()
                outside_N = (ratio_N < 1 - self.loss.clip_low) | (ratio_N > 1 + self.loss.clip_high)
                sums["loss"] += float(loss.detach())
                sums["kl"] += float(kl_penalty(scores.logprob_N, old_N).sum())
                sums["clipped"] += float(outside_N.sum())
                sums["entropy"] += float(scores.entropy_N.sum())
                row_N = np.repeat(rows, [len(sequence.completion_ids) for sequence in sequences])
                signal_N = scores.signal_N.double().cpu().numpy()
                signal_A += segment_sum(signal_N, row_N, signal_A.size)
        return sums, signal_A


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The rows of an update that have a gradient."""

    sequences: list[TokenSequence]
    old_logprobs: Sequence[tuple[float, ...]]
    advantage_R: FloatArray
    coefficient_R: FloatArray

    @property
    def num_tokens(self) -> int:
        return sum(len(sequence.completion_ids) for sequence in self.sequences)

    def per_token(self, rows: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """[N] old log-probabilities, advantages and coefficients of the rows' tokens."""
        length = [len(self.sequences[row].completion_ids) for row in rows]
        old = [logprob for row in rows for logprob in self.old_logprobs[row]]
        columns = (
            old,
            np.repeat(self.advantage_R[rows], length),
            np.repeat(self.coefficient_R[rows], length),
        )
        old_N, advantage_N, coefficient_N = (
            torch.as_tensor(np.asarray(column), dtype=torch.float32, device=device)
            for column in columns
        )
        return old_N, advantage_N, coefficient_N


def make_optimizer(policy: Policy, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over the trained parameters, with gradients at zero."""
    parameters = policy.parameters
    for weight in parameters:
        # A zero gradient is a gradient: an update without rows must still move the moments.
        weight.grad = torch.zeros_like(weight)
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
    )


def learning_rate(config: OptimConfig, num_updates: int) -> float:
    """Return the rate after `num_updates` updates: linear warm-up, then flat."""
    return config.lr * min(1.0, (num_updates + 1) / max(config.warmup_updates, 1))
