"""What a run's folder says about it: curves, costs, and where the rollouts went.

Axes: E evaluations of a run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gvmrl.data import FloatArray
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines

Axis = Literal["updates", "cost/train_rollouts", "cost/all_rollouts", "cost/all_tokens"]
AXES: dict[Axis, str] = {
    "updates": "optimizer updates",
    "cost/train_rollouts": "training rollouts",
    "cost/all_rollouts": "all rollouts, pilots included",
    "cost/all_tokens": "generated tokens, pilots included",
}
"""The four costs that a curve is drawn against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run as its folder holds it."""

    name: str
    rule: str
    loss: str
    seed: int
    rows: tuple[dict[str, float], ...]
    """The lines of metrics.jsonl."""
    allocations: tuple[dict[str, object], ...]
    """The lines of allocation.jsonl."""
    num_heldout: int
    """Completions behind each accuracy."""

    @property
    def label(self) -> str:
        """Rule and loss, such as `gvm raft++`."""
        return f"{self.rule} {self.loss}"

    @property
    def accuracy_E(self) -> FloatArray:
        """[E] held-out accuracy of each evaluation."""
        return self._column("eval/accuracy")

    def cost_E(self, axis: Axis) -> FloatArray:
        """[E] what had been spent when each evaluation was made."""
        return self._column(axis)

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

    @property
    def seconds(self) -> float:
        """Seconds of all phases but evaluation."""
        return sum(
            value
            for row in self.rows
            for name, value in row.items()
            if name.startswith("time/") and name != "time/eval_s"
        )

    def _column(self, name: str) -> FloatArray:
        return np.array([row[name] for row in self.rows if "eval/accuracy" in row])


def load_run(folder: Path) -> RunRecord:
    """Read a run's folder, finished or not.

    Raises:
        InputError: If it is no run, or no evaluation has been made yet.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} is not a run: it holds no config.json; name a run's out folder")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rows = tuple(read_json_lines(folder / "metrics.jsonl"))
    if not any("eval/accuracy" in row for row in rows):
        raise InputError(f"{folder} has no evaluation yet; set data.eval, or wait for the first")
    return RunRecord(
        name=folder.name,
        rule=config["allocation"]["rule"],
        loss=config["loss"]["name"],
        seed=config["seed"],
        rows=tuple({name: float(str(value)) for name, value in row.items()} for row in rows),
        allocations=tuple(read_json_lines(folder / "allocation.jsonl")),
        num_heldout=max(int(str(row.get("eval/completions", 0))) for row in rows),
    )
