"""Statistics that build up while verl trains, from the rewards that it computes anyway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gvmrl.data import FloatArray
from gvmrl.files import read_json_lines, write_json_lines
from gvmrl.stats import PromptStats


@dataclass(slots=True)
class Record:
    """What is known of one prompt."""

    trials: float = 0.0
    """Rollouts, older ones counting less."""
    successes: float = 0.0
    """Accepted ones among them."""
    norm_trials: float = 0.0
    """Accepted rollouts whose gradient norm was measured."""
    norm_sum: float = 0.0
    """Sum of their norms."""


@dataclass(slots=True)
class History:
    """All rollouts so far, summed up by prompt; it grows with the prompts seen, not with steps."""

    decay: float = 1.0
    """What earlier rollouts of a prompt still count when new ones arrive, in (0, 1]."""
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    """Prompt id to what is known of it."""

    def add(
        self, ids: Sequence[str], accepted_R: FloatArray, norm_R: FloatArray | None = None
    ) -> None:
        """Add the rollouts of one step.

        Args:
            ids: [R] prompt of each rollout.
            accepted_R: [R] 1 for accepted ones, 0 for others.
            norm_R: [R] gradient norms; None if not measured.
        """
        for prompt_id in set(ids):
            old = self.records.get(prompt_id, Record())
            self.records[prompt_id] = Record(
                trials=old.trials * self.decay,
                successes=old.successes * self.decay,
                norm_trials=old.norm_trials * self.decay,
                norm_sum=old.norm_sum * self.decay,
            )
        for place, prompt_id in enumerate(ids):
            record = self.records[prompt_id]
            record.trials += 1
            record.successes += float(accepted_R[place])
            if norm_R is not None and accepted_R[place]:
                record.norm_trials += 1
                record.norm_sum += float(norm_R[place])

    def stats(self, ids: Sequence[str]) -> PromptStats:
        """Return the statistics of some prompts, in the order given.

        A prompt whose accepted rollouts were never measured gets the mean norm of those that were.
        """
        known = [self.records.get(prompt_id, Record()) for prompt_id in ids]
        measured_P = np.array([record.norm_trials for record in known])
        sum_P = np.array([record.norm_sum for record in known])
        norm_P = None
        if measured_P.any():
            mean = sum_P.sum() / measured_P.sum()
            norm_P = np.full(len(known), mean)
            np.divide(sum_P, measured_P, out=norm_P, where=measured_P > 0)
        return PromptStats(
            ids=tuple(ids),
            trials_P=np.array([record.trials for record in known]),
            successes_P=np.array([min(record.successes, record.trials) for record in known]),
            grad_norm_P=norm_P,
        )

    def save(self, path: Path) -> None:
        """Write the records as JSON lines, whole or not at all."""
        rows = ({"id": name, **_as_row(record)} for name, record in self.records.items())
        write_json_lines(path, rows)

    def load(self, path: Path) -> None:
        """Take the records of a file that `save` wrote in place of what there is."""
        self.records = {
            str(row.pop("id")): Record(**{name: float(str(value)) for name, value in row.items()})
            for row in read_json_lines(path)
        }


def _as_row(record: Record) -> Mapping[str, object]:
    return {name: getattr(record, name) for name in Record.__slots__}
