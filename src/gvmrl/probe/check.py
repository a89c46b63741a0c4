"""Independent draws of whole updates, to hold the figures of the pool against.

Axes: P prompts, N updates, J = N / 2 pairs of them, D parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gvmrl.data import FloatArray, Rollouts
from gvmrl.losses import LossConfig
from gvmrl.probe.figures import Estimate, student
from gvmrl.probe.gradients import Scores
from gvmrl.probe.pool import check_rewards, score_scale
from gvmrl.train.weigh import weigh


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What is kept of N independent updates of one plan."""

    total_D: Tensor
    """[D] their sum."""
    square_N: FloatArray
    """[N] squared length of each."""
    gap_J: FloatArray
    """[J] half the squared distance of the two updates of each pair: its mean is the variance."""

    @property
    def variance(self) -> Estimate:
        """The trace of the covariance of an update, without bias."""
        middle, num = float(self.gap_J.mean()), self.gap_J.size
        half = student(num - 1) * float(self.gap_J.std(ddof=1)) / num**0.5
        return Estimate(middle, middle - half, middle + half)

    @property
    def mean_square(self) -> float:
        """|E update|^2 without bias: the mean inner product of two different draws."""
        num = self.square_N.size
        length = float(self.total_D.square().sum())
        return (length - float(self.square_N.sum())) / (num * (num - 1))

    def snr(self, uniform: "Draws") -> float | None:
        """Return the signal-to-noise against the mean of independent uniform draws.

        None where the mean is not told from noise.
        """
        nums = self.square_N.size * uniform.square_N.size
        cross = self.mean_square
        if self is not uniform:
            cross = float(self.total_D @ uniform.total_D) / nums
        if not (cross > 0 and uniform.mean_square > 0):
            return None
        return cross**2 / (uniform.mean_square * float(self.square_N.mean()))


def add_up(updates: Iterator[Tensor]) -> Draws:
    """Add up an even number of independent updates; three vectors exist at a time."""
    total_D = torch.zeros(())
    squares: list[float] = []
    gaps: list[float] = []
    for first_D in updates:
        second_D = next(updates)
        squares += [float(first_D.square().sum()), float(second_D.square().sum())]
        gaps.append(float((first_D - second_D).square().sum()) / 2)
        total_D = total_D + first_D + second_D
    return Draws(total_D=total_D, square_N=np.array(squares), gap_J=np.array(gaps))


def update_of(
    scores: Scores, rollouts: Rollouts, loss: LossConfig, accept_rate_P: FloatArray
) -> Tensor:
    """Return the [D] update that `gvmrl train` computes from these rollouts, at fixed divisors.

    The weights and advantages are the trainer's own. It is divided by the number of prompts, or
    by the number of rollouts for `flat`, instead of by the number of those that turned out usable.

    Args:
        scores: How a gradient is taken.
        rollouts: One step's.
        loss: The loss and its weighting.
        accept_rate_P: [P] rates for `inverse_probability`.

    Raises:
        InputError: If a reward is not 0 or 1.
    """
    check_rewards(rollouts)
    weights = weigh(rollouts, loss, accept_rate_P=accept_rate_P)
    flat = loss.resolved_weighting == "flat"
    divisor = len(rollouts.completions) if flat else len(rollouts.prompts)
    scale_R = score_scale(rollouts.sequences, loss) / divisor
    return scores.gradient(rollouts.sequences, weights.weight_R * weights.advantage_R * scale_R)
