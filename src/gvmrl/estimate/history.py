"""What the rollouts of the past say about each prompt, aged as fast as the data say they age.

Training draws rollouts anyway, so these statistics cost none. A pass rate is a discounted count of
successes over one of trials, shrunk towards the pool's rate; how fast counts fade and how strongly
they are shrunk is whatever would have forecast the outcomes seen so far best.

Axes: P prompts of the pool, K of them visited in a step, H half-lives, S strengths of the prior.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gvmrl.data import BoolArray, FloatArray, IntArray, Prompt
from gvmrl.errors import InputError
from gvmrl.stats import PromptStats

HALF_LIFE_H = np.array([4.0, 12.0, 36.0, 108.0, 324.0, np.inf])
"""Optimizer updates after which an outcome counts half; one of them is in use."""
STRENGTH_S = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
"""Rollouts that the prior is worth; one of them is in use."""
FORGET = 0.98
"""Factor by which older log-losses count less with every recorded step, so the choice can move."""
NORM_MEMORY = 0.5
"""Weight of the past in a prompt's gradient norm, at each visit that measures it."""
_LEAST = 1e-6
"""Smallest discount: a prompt that was tried never looks like one that was not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Belief:
    """Beta beliefs about the acceptance rates of P prompts."""

    alpha_P: FloatArray
    """[P] > 0; successes, the prior's included."""
    beta_P: FloatArray
    """[P] > 0; failures, the prior's included."""

    def take(self, row_K: IntArray) -> "Belief":
        """Return the beliefs about some rows."""
        return Belief(alpha_P=self.alpha_P[row_K], beta_P=self.beta_P[row_K])

    @property
    def rate_P(self) -> FloatArray:
        """[P] expected acceptance rate, in (0, 1)."""
        return self.alpha_P / (self.alpha_P + self.beta_P)

    @property
    def disagreement_P(self) -> FloatArray:
        """[P] probability that two rollouts disagree, E[2 p (1 - p)], in (0, 1/2)."""
        total_P = self.alpha_P + self.beta_P
        return 2 * self.alpha_P * self.beta_P / (total_P * (total_P + 1))


@dataclass(slots=True, eq=False)
class History:
    """Counts of all prompts of a pool; the one value here that changes in place.

    A step costs O(rollouts), a prompt takes about 140 bytes beside its id.
    """

    ids: tuple[str, ...]
    """[P] the prompts' ids."""
    visit_P: IntArray = field(init=False)
    """[P] steps in which the prompt had rollouts."""
    rollout_P: IntArray = field(init=False)
    """[P] rollouts, undiscounted."""
    success_P: IntArray = field(init=False)
    """[P] accepted rollouts, undiscounted."""
    last_P: IntArray = field(init=False)
    """[P] update of the last visit; -1 before the first."""
    streak_P: IntArray = field(init=False)
    """[P] rollouts of the last visits in a row whose outcomes were all the same: as many above 0
    where they were right, below 0 where they were wrong; 0 after a mixed visit."""
    norm_P: FloatArray = field(init=False)
    """[P] running mean of the gradient norm of accepted rollouts; NaN where not measured."""
    rejected_norm_P: FloatArray = field(init=False)
    """[P] the same of rejected rollouts."""
    trial_HP: NDArray[np.float32] = field(init=False)
    """[H, P] trials, discounted up to the last visit."""
    hit_HP: NDArray[np.float32] = field(init=False)
    """[H, P] accepted ones."""
    pool_H: FloatArray = field(init=False)
    """[H] trials of the whole pool, discounted up to `pool_step`."""
    pool_hit_H: FloatArray = field(init=False)
    """[H] accepted ones."""
    pool_step: int = field(init=False, default=0)
    """Update that the pool's counts are discounted to."""
    loss_HS: FloatArray = field(init=False)
    """[H, S] log-loss in nats of the forecasts made before each visit, older ones counting less."""
    _row_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._row_of = {prompt_id: row for row, prompt_id in enumerate(self.ids)}
        size, grid = len(self.ids), (HALF_LIFE_H.size, len(self.ids))
        self.visit_P, self.rollout_P, self.success_P, self.streak_P = (
            np.zeros(size, np.int64) for _ in range(4)
        )
        self.last_P = np.full(size, -1, np.int64)
        self.norm_P, self.rejected_norm_P = np.full(size, np.nan), np.full(size, np.nan)
        self.trial_HP, self.hit_HP = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        self.pool_H, self.pool_hit_H = np.zeros(HALF_LIFE_H.size), np.zeros(HALF_LIFE_H.size)
        self.loss_HS = np.zeros((HALF_LIFE_H.size, STRENGTH_S.size))

    @property
    def seen_P(self) -> BoolArray:
        """[P] whether the prompt has had a rollout."""
        return self.visit_P > 0

    @property
    def half_life(self) -> float:
        """Updates after which an outcome counts half: the choice that forecast best so far."""
        return float(HALF_LIFE_H[self._best[0]])

    @property
    def strength(self) -> float:
        """Rollouts that the prior is worth: the choice that forecast best so far."""
        return float(STRENGTH_S[self._best[1]])

    @property
    def pool_rate(self) -> float:
        """Acceptance rate over the pool's discounted rollouts; 1/2 before the first."""
        row = self._best[0]
        return float((self.pool_hit_H[row] + 0.5) / (self.pool_H[row] + 1))

    def belief(self, step: int, prior_P: FloatArray | None = None) -> Belief:
        """Return what is believed about every prompt at an update.

        Args:
            step: Updates taken; >= every recorded one.
            prior_P: [P] rates expected without looking at a prompt's own rollouts, in (0, 1);
                None takes the pool's rate for all.
        """
        half_life, strength = self._best
        keep_P = _discount(step - self.last_P, HALF_LIFE_H[half_life])
        mean_P = np.full(len(self.ids), self.pool_rate) if prior_P is None else prior_P
        hit_P = self.hit_HP[half_life] * keep_P
        missed_P = (self.trial_HP[half_life] - self.hit_HP[half_life]) * keep_P
        weight = STRENGTH_S[strength]
        return Belief(alpha_P=weight * mean_P + hit_P, beta_P=weight * (1 - mean_P) + missed_P)

    def stats(self, row_K: IntArray, step: int) -> PromptStats:
        """Return the discounted counts and the norms of some prompts, for an allocation rule.

        A prompt that was never visited has no trial. Norms are those of `record`; a prompt whose
        own was not measured has the mean of the measured ones, and there are none if nothing was.
        """
        half_life = self._best[0]
        keep_K = _discount(step - self.last_P[row_K], HALF_LIFE_H[half_life])
        return PromptStats(
            ids=tuple(self.ids[row] for row in row_K),
            trials_P=self.trial_HP[half_life, row_K] * keep_K,
            successes_P=self.hit_HP[half_life, row_K] * keep_K,
            grad_norm_P=_filled(self.norm_P, row_K),
            rejected_norm_P=_filled(self.rejected_norm_P, row_K),
        )

    def record(
        self,
        row_K: IntArray,
        trial_K: IntArray,
        success_K: IntArray,
        step: int,
        prior_P: FloatArray | None = None,
    ) -> None:
        """Take in the outcomes of one step's prompts, each named once.

        Args:
            row_K: [K] the prompts' rows in `ids`.
            trial_K: [K] rollouts, > 0.
            success_K: [K] accepted ones.
            step: Updates that the sampling policy had taken.
            prior_P: [P] what `belief` was given; the forecasts that are scored use it too.
        """
        keep_H1 = _discount(np.array(step - self.pool_step), HALF_LIFE_H)
        self.pool_H, self.pool_hit_H = self.pool_H * keep_H1, self.pool_hit_H * keep_H1
        self.pool_step = step
        mean_HK = (
            np.broadcast_to(
                ((self.pool_hit_H + 0.5) / (self.pool_H + 1))[:, None],
                (HALF_LIFE_H.size, row_K.size),
            )
            if prior_P is None
            else np.broadcast_to(prior_P[row_K], (HALF_LIFE_H.size, row_K.size))
        )
        keep_HK = _discount((step - self.last_P[row_K])[None, :], HALF_LIFE_H[:, None])
        trial_HK, hit_HK = self.trial_HP[:, row_K] * keep_HK, self.hit_HP[:, row_K] * keep_HK
        self._score(trial_HK, hit_HK, mean_HK, trial_K, success_K, self.seen_P[row_K])
        self.trial_HP[:, row_K], self.hit_HP[:, row_K] = trial_HK + trial_K, hit_HK + success_K
        self.pool_H += trial_K.sum()
        self.pool_hit_H += success_K.sum()
        before_K = self.streak_P[row_K]
        self.streak_P[row_K] = np.where(
            success_K == trial_K,
            np.maximum(before_K, 0) + trial_K,
            np.where(success_K == 0, np.minimum(before_K, 0) - trial_K, 0),
        )
        self.visit_P[row_K] += 1
        self.rollout_P[row_K] += trial_K
        self.success_P[row_K] += success_K
        self.last_P[row_K] = step

    def rows(self, prompts: Sequence[Prompt]) -> IntArray:
        """Return the rows of some prompts of the pool."""
        return np.array([self._row_of[prompt.id] for prompt in prompts], np.int64)

    def record_norms(
        self, row_K: IntArray, accepted_norm_K: FloatArray, rejected_norm_K: FloatArray
    ) -> None:
        """Take in gradient norms of one step's prompts; NaN where a prompt had no such rollout."""
        for kept_P, norm_K in (
            (self.norm_P, accepted_norm_K),
            (self.rejected_norm_P, rejected_norm_K),
        ):
            before_K = kept_P[row_K]
            mixed_K = NORM_MEMORY * before_K + (1 - NORM_MEMORY) * norm_K
            first_K = np.where(np.isnan(before_K), norm_K, mixed_K)
            kept_P[row_K] = np.where(np.isnan(norm_K), before_K, first_K)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that `restore` needs, as arrays by name."""
        names = np.frombuffer(json.dumps(self.ids).encode(), np.uint8)
        return {
            "ids": names,
            "pool_step": np.array([self.pool_step]),
            **{name: getattr(self, name) for name in _ARRAYS},
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `arrays` gave, joined by id; prompts that it lacks stay unseen.

        Raises:
            InputError: If another version kept it, with other half-lives or strengths to choose.
        """
        mine, its = self.loss_HS.shape, arrays["loss_HS"].shape
        if its != mine:
            raise InputError(
                f"the saved history chooses among {its} half-lives and strengths, this version of "
                f"gvmrl among {mine}: go on with the version that saved it, or start anew"
            )
        theirs: list[str] = json.loads(arrays["ids"].tobytes())
        both = [
            (self._row_of[name], row) for row, name in enumerate(theirs) if name in self._row_of
        ]
        mine_K = np.array([pair[0] for pair in both], np.int64)
        their_K = np.array([pair[1] for pair in both], np.int64)
        self.pool_step = int(arrays["pool_step"][0])
        for name in _ARRAYS:
            if name.endswith("P"):
                getattr(self, name)[..., mine_K] = arrays[name][..., their_K]
            else:
                setattr(self, name, np.array(arrays[name]))

    @property
    def _best(self) -> tuple[int, int]:
        """Rows of the half-life and the strength with the least loss.

        Before anything was forecast: no ageing, and a prior that is worth one rollout.
        """
        if not self.loss_HS.any():
            return HALF_LIFE_H.size - 1, 1
        row, column = np.unravel_index(int(self.loss_HS.argmin()), self.loss_HS.shape)
        return int(row), int(column)

    def _score(
        self,
        trial_HK: FloatArray,
        hit_HK: FloatArray,
        mean_HK: FloatArray,
        trial_K: IntArray,
        success_K: IntArray,
        seen_K: BoolArray,
    ) -> None:
        """Add the log-loss of each choice's forecast of outcomes that are not in its counts yet.

        Prompts that were never seen are left out: all choices say the same about them.
        """
        self.loss_HS *= FORGET
        for column, strength in enumerate(STRENGTH_S):
            rate_HK = (hit_HK + strength * mean_HK) / (trial_HK + strength)
            loss_HK = -(success_K * np.log(rate_HK) + (trial_K - success_K) * np.log1p(-rate_HK))
            self.loss_HS[:, column] += loss_HK[:, seen_K].sum(axis=1)


_ARRAYS = (
    "visit_P",
    "rollout_P",
    "success_P",
    "last_P",
    "streak_P",
    "norm_P",
    "rejected_norm_P",
    "trial_HP",
    "hit_HP",
    "pool_H",
    "pool_hit_H",
    "loss_HS",
)


def _discount(age: IntArray, half_life: FloatArray | float) -> FloatArray:
    """Return 2^(-age / half_life), kept above 0."""
    return np.maximum(np.exp2(-age / half_life), _LEAST)


def _filled(norm_P: FloatArray, row_K: IntArray) -> FloatArray | None:
    """Return [K] norms with the measured prompts' mean where one is missing; None without any."""
    if np.isnan(norm_P).all():
        return None
    return np.where(np.isnan(norm_P[row_K]), np.nanmean(norm_P), norm_P[row_K])
