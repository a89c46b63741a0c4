"""Tables as text, for the terminal, for Markdown and for the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gvmrl.report.runs import RunRecord, by_label

COST_COLUMNS = (
    *("arm", "seeds", "updates", "trained on", "pilots", "all rollouts", "tokens", "seconds"),
    *("start", "end", "mean"),
)
NOTE = (
    "Means over seeds. Seconds are those of all phases but evaluation. Start, end and mean are "
    "held-out accuracies; mean is the average along the curve, over updates."
)
TITLE = "What each arm cost and reached"
GROUP_PREFIX = "eval/accuracy_"
"""Before the name of a group of held-out prompts whose accuracy was logged apart."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, rows of as many cells, and remarks."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def markdown(self) -> str:
        """The table in Markdown, with its title as a heading."""
        lines = [self.columns, ("---",) + ("---:",) * (len(self.columns) - 1), *self.rows]
        body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"### {self.title}\n\n{body}\n\n{notes}"


def cost_table(runs: Sequence[RunRecord], *, title: str = TITLE) -> Table:
    """Say what each arm of a group cost and reached, as means over its seeds."""
    names = sorted({name for run in runs for name in run.rows[0] if name.startswith(GROUP_PREFIX)})
    return Table(
        title,
        (*COST_COLUMNS, *(f"end, {name.removeprefix(GROUP_PREFIX)}" for name in names)),
        tuple(_cost_row(label, same, names) for label, same in by_label(runs).items()),
        (NOTE,),
    )


def _cost_row(label: str, runs: Sequence[RunRecord], names: Sequence[str]) -> tuple[str, ...]:
    def total(name: str) -> str:
        return f"{np.mean([run.rows[-1][name] for run in runs]):,.0f}"

    def accuracy(values: Iterable[float]) -> str:
        return f"{np.mean(list(values)):.3f}"

    return (
        label,
        str(len(runs)),
        total("updates"),
        total("cost/train_rollouts"),
        total("cost/pilot_rollouts"),
        total("cost/all_rollouts"),
        total("cost/all_tokens"),
        total("seconds"),
        accuracy(run.accuracy_E[0] for run in runs),
        accuracy(run.accuracy_E[-1] for run in runs),
        accuracy(run.mean_accuracy("updates", run.rows[-1]["updates"]) for run in runs),
        *(accuracy(run.column(name)[-1] for run in runs) for name in names),
    )
