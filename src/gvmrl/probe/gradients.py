"""Gradients of weighted log-probabilities, and sketches of gradients too large to keep.

Axes: R rollouts, N completion tokens of all rows, D parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gvmrl.data import FloatArray, TokenSequence
from gvmrl.model import Policy, microbatches

SKETCH_CHUNK = 2**22
"""Entries whose places are drawn at once: bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How the gradient of a rollout's log-probability is taken."""

    policy: Policy
    temperature: float
    tokens_per_microbatch: int

    def gradient(self, sequences: Sequence[TokenSequence], coefficient_R: FloatArray) -> Tensor:
        """Return the [D] gradient of sum_R coefficient * log pi(completion | prompt).

        Equal rows are passed through the model once, and rows with a coefficient of 0 not at all.
        No parameter's `grad` is touched.
        """
        coefficients: dict[TokenSequence, float] = {}
        for sequence, coefficient in zip(sequences, coefficient_R.tolist(), strict=True):
            coefficients[sequence] = coefficients.get(sequence, 0.0) + coefficient
        alive = [sequence for sequence, coefficient in coefficients.items() if coefficient != 0]
        parameters = self.policy.parameters
        size = sum(weight.numel() for weight in parameters)
        total_D = torch.zeros(size, device=self.policy.device)
        for rows in microbatches(alive, self.tokens_per_microbatch):
            part = [alive[row] for row in rows]
            coefficient_N = torch.tensor(
                [coefficients[each] for each in part for _ in each.completion_ids],
                device=self.policy.device,
            )
            scores = self.policy.token_scores(part, temperature=self.temperature)
            loss = (coefficient_N * scores.logprob_N).sum()
            grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
            total_D += torch.cat([grad.float().flatten() for grad in grads])
        return total_D

    @torch.no_grad()
    def free_norms(self, sequences: Sequence[TokenSequence]) -> FloatArray:
        """Return [R] roots of the free signals, summed over each completion's tokens."""
        norm_R = np.zeros(len(sequences))
        for rows in microbatches(sequences, self.tokens_per_microbatch):
            part = [sequences[row] for row in rows]
            signal_N = self.policy.token_scores(part, temperature=self.temperature).signal_N
            lengths = [len(sequence.completion_ids) for sequence in part]
            norm_R[rows] = [float(signal.sum()) ** 0.5 for signal in signal_N.split(lengths)]
        return norm_R


def sketch(vector_D: Tensor, size: int, seed: int) -> Tensor:
    """Return a [size] random projection that keeps inner products on average.

    A count sketch: every entry is added, with a random sign, to a random place. The projection
    is linear, and over seeds <Sx, Sy> has the mean <x, y> and a variance of at most
    (|x|^2 |y|^2 + <x, y>^2) / size. So a squared length is off by about sqrt(2 / size) of itself.

    Source: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", 2002.

    Args:
        vector_D: [D] float32.
        size: Entries of the projection, >= 1.
        seed: The same for all vectors that are to be compared.
    """
    generator = torch.Generator(vector_D.device).manual_seed(seed)
    total = torch.zeros(size, device=vector_D.device)
    for part in vector_D.split(SKETCH_CHUNK):
        draw = torch.randint(2 * size, part.shape, generator=generator, device=vector_D.device)
        total.index_add_(0, draw // 2, torch.where(draw % 2 == 0, part, -part))
    return total
