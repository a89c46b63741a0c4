"""What is known about P prompts from K measured rollouts each, without bias.

Axes: P prompts, K rollouts of each, S = 2P sides: the accepted rollouts of each prompt, then the
rejected ones of each prompt.
"""

from dataclasses import dataclass

import numpy as np

from gvmrl.allocate.update.estimators import Estimator, form_of
from gvmrl.allocate.update.objective import RATE_FLOOR
from gvmrl.allocate.update.scores import ScoreModel
from gvmrl.data import BoolArray, FloatArray, IntArray
from gvmrl.stats import PromptStats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Half:
    """One half of the measured rollouts, as the distribution that rollouts are drawn from."""

    ids: tuple[str, ...]
    """[P] ids of the prompts."""
    accepted_PK: BoolArray
    """[P, K] whether each rollout was accepted."""
    norm_PK: dict[str, FloatArray]
    """[P, K] gradient norm of each rollout, by kind: the kinds of `Norm`, and `free`."""
    gram_SS: FloatArray
    """[S, S] inner products of the sides' mean gradients; 0 for a side without rollouts. The
    diagonal is unbiased too, and so may be negative."""
    variance_S: FloatArray
    """[S] variance of one rollout's gradient within its side, >= 0."""

    @property
    def accept_rate_P(self) -> FloatArray:
        """[P] accepted share of the K rollouts."""
        return self.accepted_PK.mean(axis=1)

    def stats(self, kind: str) -> PromptStats:
        """Return all K rollouts as statistics, with root mean square norms of that kind."""
        return stats_of(self.ids, self.accepted_PK, self.norm_PK[kind])

    def pilot_stats(self, num: int, kind: str, rng: np.random.Generator) -> PromptStats:
        """Return statistics of `num` pilots of each prompt, drawn from the K with replacement."""
        column_PN = rng.integers(self.accepted_PK.shape[1], size=(len(self.ids), num))
        accepted_PN = np.take_along_axis(self.accepted_PK, column_PN, 1)
        norm_PN = np.take_along_axis(self.norm_PK[kind], column_PN, 1)
        return stats_of(self.ids, accepted_PN, norm_PN)

    def model(self, estimator: Estimator) -> ScoreModel:
        """Return the moments that decide the variance of the estimator's update, and no others.

        With a baseline the signal is |mean accepted - mean rejected|; without one it is
        |mean accepted| / q, which is the same number where scores have mean 0. That they have is
        not assumed: lengths that divide scores (`sequence_mean`) undo it.
        """
        rate_P, num = self.accept_rate_P, len(self.ids)
        square_P = np.diag(self.gram_SS)[:num]
        if form_of(estimator).baseline:
            cross_P = np.diag(self.gram_SS[:num, num:])
            square_P = square_P + np.diag(self.gram_SS)[num:] - 2 * cross_P
            signal_P = np.sqrt(np.maximum(square_P, 0))
        else:
            miss_P = np.maximum(1 - rate_P, RATE_FLOOR)
            signal_P = np.where(rate_P < 1, np.sqrt(np.maximum(square_P, 0)) / miss_P, 0.0)
        return ScoreModel(
            accept_rate_P=rate_P,
            accepted_norm_P=np.hypot(np.sqrt(self.variance_S[:num]), (1 - rate_P) * signal_P),
            rejected_norm_P=np.hypot(np.sqrt(self.variance_S[num:]), rate_P * signal_P),
            signal_P=signal_P,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Sums over the gradients of each side's rollouts: all that has to be kept of them."""

    count_S: IntArray
    """[S] rollouts, >= 0."""
    square_S: FloatArray
    """[S] sum of their squared norms."""
    length_S: FloatArray
    """[S] squared norm of their sum."""
    product_SS: FloatArray
    """[S, S] inner products of the sums; the diagonal is not used, and a sketch will do."""

    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Return the unbiased [S, S] products of means and the unbiased [S] variances.

        For m rollouts with sum s and sum of squares Q, |mean|^2 is (|s|^2 - Q) / (m (m - 1)) and
        the variance (Q - |s|^2 / m) / (m - 1): averages over pairs of different rollouts. A side
        with a single rollout has no variance of its own; it gets the mean of its kind.
        """
        count_S = np.maximum(self.count_S, 1)
        pairs_S = np.maximum(count_S - 1, 1)
        variance_S = (self.square_S - self.length_S / count_S) / pairs_S
        for kind in np.split(np.arange(count_S.size), 2):
            many = kind[self.count_S[kind] > 1]
            freedom = pairs_S[many]
            shared = variance_S[many] @ freedom / freedom.sum() if many.size else 0.0
            variance_S[kind[self.count_S[kind] == 1]] = shared
        # float sums may end just below 0 where all rollouts are the same
        variance_S = np.where(self.count_S > 0, np.maximum(variance_S, 0.0), 0.0)
        gram_SS = self.product_SS / np.outer(count_S, count_S)
        square_S = self.length_S / count_S**2 - variance_S / count_S
        np.fill_diagonal(gram_SS, np.where(self.count_S > 0, square_S, 0.0))
        return gram_SS, variance_S


def stats_of(ids: tuple[str, ...], accepted_PN: BoolArray, norm_PN: FloatArray) -> PromptStats:
    """Return what N rollouts of each prompt say: trials, successes and root mean square norms."""

    def rms(chosen_PN: BoolArray) -> FloatArray:
        total_P = (norm_PN**2 * chosen_PN).sum(axis=1)
        return np.sqrt(total_P / np.maximum(chosen_PN.sum(axis=1), 1))

    return PromptStats(
        ids=ids,
        trials_P=np.full(len(ids), float(accepted_PN.shape[1])),
        successes_P=accepted_PN.sum(axis=1).astype(np.float64),
        grad_norm_P=rms(accepted_PN),
        rejected_norm_P=rms(~accepted_PN),
    )
