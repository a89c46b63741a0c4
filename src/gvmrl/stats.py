"""What is known about each prompt before rollouts are handed out.

Axes: P prompts, K some of them.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gvmrl.data import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptStats:
    """Statistics of P prompts, one row each; sequences of numbers become read-only arrays.

    A prompt with no trial at all, old or new, is *unseen*: it has no acceptance rate, which is not
    the same as an acceptance rate of 0.

    Example:
        >>> stats = PromptStats(ids=("a", "b"), trials_P=[8, 0], successes_P=[2, 0])
        >>> stats.seen_P.tolist()
        [True, False]
        >>> stats.take([0]).accept_rate_P.tolist()
        [0.25]
    """

    ids: tuple[str, ...]
    """The prompts' ids, each once."""
    trials_P: FloatArray
    """[P] rollouts scored before this round, >= 0; not whole where old ones count less."""
    successes_P: FloatArray
    """[P] accepted rollouts among them; 0 to `trials_P`."""
    grad_norm_P: FloatArray | None = None
    """[P] gradient norm of one accepted rollout (mean or RMS), >= 0; None where not measured."""
    rejected_norm_P: FloatArray | None = None
    """[P] gradient norm of one rejected rollout, >= 0; None where not measured."""
    cost_P: FloatArray | None = None
    """[P] expected tokens of one rollout, > 0; None where not measured."""
    objective_weight_P: FloatArray | None = None
    """[P] weight of the prompt in the objective, >= 0; None where all prompts weigh the same. It
    multiplies the loss weights, and the norms or values of the rules that have any."""
    round_trials_P: FloatArray | None = None
    """[P] rollouts drawn already in this round, >= 0, not in `trials_P`; None outside a round."""
    round_successes_P: FloatArray | None = None
    """[P] accepted rollouts among them; None outside a round."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        _check_ids(self.ids)
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checked(name, value, self.ids))
        if (self.round_trials_P is None) != (self.round_successes_P is None):
            raise ValueError("round_trials_P and round_successes_P go together: give both or none")
        _check_at_most(self, "successes_P", "trials_P")
        _check_at_most(self, "round_successes_P", "round_trials_P")
        if self.cost_P is not None and not self.cost_P.all():
            row = int(np.argmin(self.cost_P))
            raise ValueError(
                f"cost_P must be > 0, got 0 for prompt {self.ids[row]!r} (row {row}); give the "
                "tokens that one rollout is expected to take"
            )

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.ids)

    @property
    def tried_P(self) -> FloatArray:
        """[P] all scored rollouts: the history and this round."""
        return self.trials_P if self.round_trials_P is None else self.trials_P + self.round_trials_P

    @property
    def accepted_P(self) -> FloatArray:
        """[P] the accepted ones among them."""
        if self.round_successes_P is None:
            return self.successes_P
        return self.successes_P + self.round_successes_P

    @property
    def seen_P(self) -> BoolArray:
        """[P] whether the prompt has been tried at all."""
        return self.tried_P > 0

    @property
    def mixed_P(self) -> BoolArray:
        """[P] whether some, but not all, of the prompt's rollouts were accepted."""
        return (self.accepted_P > 0) & (self.accepted_P < self.tried_P)

    @property
    def accept_rate_P(self) -> FloatArray:
        """[P] accepted share of all scored rollouts, in [0, 1].

        Raises:
            ValueError: If a prompt is unseen: it has no rate, and 0 would be a wrong one.
        """
        if not self.seen_P.all():
            row = int((~self.seen_P).argmax())
            raise ValueError(
                f"prompt {self.ids[row]!r} (row {row}) has no trials and so no acceptance rate "
                f"({int((~self.seen_P).sum())} of {len(self)} prompts); take the seen ones only, "
                "stats.take(np.flatnonzero(stats.seen_P)), or use a prior"
            )
        return self.accepted_P / self.tried_P

    def take(self, row_K: IntArray | Sequence[int]) -> "PromptStats":
        """Return the statistics of some rows, in the order given.

        Args:
            row_K: [K] rows, each at most once.
        """
        rows = np.asarray(row_K, np.int64)
        if np.array_equal(rows, np.arange(len(self))):
            return self
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            **{name: array[rows] for name, array in arrays.items() if array is not None},
        )


_ARRAYS = tuple(field.name for field in dataclasses.fields(PromptStats) if field.name != "ids")


def _check_ids(ids: tuple[str, ...]) -> None:
    """Refuse an empty set and an id that occurs twice."""
    if not ids:
        raise ValueError("ids is empty: there must be at least one prompt")
    if len(set(ids)) == len(ids):
        return
    first_row: dict[str, int] = {}
    for row, prompt_id in enumerate(ids):
        if prompt_id in first_row:
            raise ValueError(
                f"prompt id {prompt_id!r} occurs twice, in rows {first_row[prompt_id]} and {row}; "
                "merge the rows or rename one"
            )
        first_row[prompt_id] = row


def _checked(name: str, value: FloatArray, ids: tuple[str, ...]) -> FloatArray:
    """Return a read-only float64 copy of one column, or say which row is unusable."""
    array = np.array(value, np.float64)
    if array.shape != (len(ids),):
        raise ValueError(
            f"{name} must hold one number for each of {len(ids)} ids, got {array.shape}"
        )
    bad_P = ~(np.isfinite(array) & (array >= 0))
    if bad_P.any():
        row = int(bad_P.argmax())
        raise ValueError(
            f"{name} must be finite and >= 0, got {array[row]} for prompt {ids[row]!r} (row {row}; "
            f"{int(bad_P.sum())} bad rows of {len(ids)})"
        )
    array.setflags(write=False)
    return array


def _check_at_most(stats: PromptStats, name: str, bound: str) -> None:
    """Refuse a row whose successes outnumber its trials."""
    value, limit = getattr(stats, name), getattr(stats, bound)
    if value is None or (value <= limit).all():
        return
    row = int((value > limit).argmax())
    raise ValueError(
        f"{name} must be at most {bound}, got {value[row]:g} of {limit[row]:g} for prompt "
        f"{stats.ids[row]!r} (row {row})"
    )
