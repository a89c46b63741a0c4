"""What a run's folder says about it: curves and costs.

Axes: E evaluations of a run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gvmrl.config import flatten
from gvmrl.data import FloatArray
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines

Axis = Literal["updates", "cost/train_rollouts", "cost/all_rollouts", "cost/all_tokens", "seconds"]
AXES: dict[Axis, str] = {
    "updates": "optimizer updates",
    "cost/train_rollouts": "training rollouts",
    "cost/all_rollouts": "all rollouts, pilots included",
    "cost/all_tokens": "generated tokens, pilots included",
}
"""The four costs that a curve is drawn against; seconds depend on the machine and its load."""

ACCURACY = "eval/accuracy"
PER_RUN = ("out", "seed")
"""Settings in which the runs of one arm differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run as its folder holds it."""

    folder: Path
    group: str
    """What it may be compared within: set and loss, such as `D, grpo`."""
    label: str
    """Its arm; runs of one group and label are seeds of the same."""
    seed: int
    settings: dict[str, object]
    """The resolved settings, named as the flags are."""
    rows: tuple[dict[str, float], ...]
    """The lines of metrics.jsonl, and `seconds`: those of all phases but evaluation so far."""

    @property
    def accuracy_E(self) -> FloatArray:
        """[E] held-out accuracy of each evaluation."""
        return self.column(ACCURACY)

    def cost_E(self, axis: Axis) -> FloatArray:
        """[E] what had been spent when each evaluation was made."""
        return self.column(axis)

    def column(self, name: str) -> FloatArray:
        """[E] a figure at each evaluation."""
        return np.array([row[name] for row in self.evaluations])

    @property
    def evaluations(self) -> tuple[dict[str, float], ...]:
        """The rows of the steps that ended with an evaluation."""
        return tuple(row for row in self.rows if ACCURACY in row)

    def mean_accuracy(self, axis: Axis, cost: float) -> float:
        """Average the accuracy over the curve from its start to a cost, linear in between.

        The area under a learning curve: high for a run that is good early, and much less noisy
        than its end. A run with a single evaluation has that accuracy.
        """
        cost_E, accuracy_E = self.cost_E(axis), self.accuracy_E
        inside_E = cost_E < cost
        if not inside_E.any():
            return float(accuracy_E[0])
        x = np.append(cost_E[inside_E], cost)
        return float(np.trapezoid(np.interp(x, cost_E, accuracy_E), x) / (x[-1] - x[0]))


def load_run(folder: Path) -> RunRecord:
    """Read a run's folder, finished or not.

    Raises:
        InputError: If it is no run, or no evaluation has been made yet.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} is not a run: it holds no config.json; name a run's out folder")
    settings = flatten(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    rows = [
        {name: float(str(value)) for name, value in row.items()}
        for row in read_json_lines(folder / "metrics.jsonl")
    ]
    if not any(ACCURACY in row for row in rows):
        raise InputError(f"{folder} has no evaluation yet; set data.eval, or wait for the first")
    seconds_E = np.cumsum([_seconds(row) for row in rows])
    data = str(settings["data.train"]).rpartition("/")[2]
    return RunRecord(
        folder=folder,
        group=f"{data}, {settings['loss.name']}",
        label=str(settings["allocation.rule"]),
        seed=int(str(settings["seed"])),
        settings=settings,
        rows=tuple(
            row | {"seconds": float(seconds)} for row, seconds in zip(rows, seconds_E, strict=True)
        ),
    )


def tell_apart(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Add to each label the settings in which runs of its group and label differ."""
    result: list[RunRecord] = []
    for run in runs:
        same = [one for one in runs if (one.group, one.label) == (run.group, run.label)]
        differ = [
            f"{name} {value}"
            for name, value in run.settings.items()
            if name not in PER_RUN and any(one.settings.get(name) != value for one in same)
        ]
        result.append(replace(run, label=", ".join([run.label, *differ])))
    return result


def by_label(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs of each label, in the order in which labels first appear."""
    labels = dict.fromkeys(run.label for run in runs)
    return {label: [run for run in runs if run.label == label] for label in labels}


def _seconds(row: dict[str, float]) -> float:
    return sum(
        value for name, value in row.items() if name.startswith("time/") and name != "time/eval_s"
    )
