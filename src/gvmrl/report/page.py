"""The page and the table: runs side by side, as HTML and for the terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from gvmrl.files import write_text
from gvmrl.report import plots
from gvmrl.report.runs import RunRecord

COLUMNS = (
    "arm",
    "seeds",
    "updates",
    "trained on",
    "pilots",
    "all rollouts",
    "tokens",
    "seconds",
    "start",
    "end",
    "mean",
)
"""Figures of an arm, means over its seeds; start, end and mean are held-out accuracies."""


def table(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return one row of `COLUMNS` for each arm, as text."""
    labels = dict.fromkeys(run.label for run in runs)
    return [_row(label, [run for run in runs if run.label == label]) for label in labels]


def write_page(path: Path, runs: Sequence[RunRecord], *, title: str, verdict: str = "") -> None:
    """Write the page, whole or not at all; it needs no other file."""
    environment = Environment(
        loader=PackageLoader("gvmrl", "report"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("page.html.jinja").render(
        title=title,
        verdict=verdict,
        columns=COLUMNS,
        table=table(runs),
        curves=plots.curves(runs),
        counts=plots.counts(runs),
        spending=plots.spending(runs),
    )
    write_text(path, page)


def _row(label: str, runs: Sequence[RunRecord]) -> tuple[str, ...]:
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
        f"{np.mean([run.seconds for run in runs]):.0f}",
        accuracy(run.accuracy_E[0] for run in runs),
        accuracy(run.accuracy_E[-1] for run in runs),
        accuracy(run.mean_accuracy("updates", run.rows[-1]["updates"]) for run in runs),
    )
