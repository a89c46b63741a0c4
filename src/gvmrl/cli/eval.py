"""`gvmrl eval`."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from gvmrl.evals.config import EvalConfig

if TYPE_CHECKING:
    from gvmrl.evals.run import Result
    from gvmrl.evals.scores import Score


def evaluate(config: Annotated[EvalConfig, tyro.conf.arg(name="")]) -> None:
    """Judge a model on benchmarks; goes on where it stopped, and samples nothing twice.

    Writes results.json and all completions into `out`, and prints a table. Example:
    gvmrl eval --model.path DIR --benchmarks math500,gsm8k=test.jsonl --k 8 --out runs/eval
    """
    from gvmrl.evals.run import RESULTS, evaluate  # torch is loaded here: --help stays fast

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int) -> None:
        if name not in tasks:
            bar.start()  # not before there is something to show: an error is one line
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=done)

    try:
        results = evaluate(config, show)
    finally:
        bar.stop()
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(results, config.k))
    console.print(f"All figures: {config.out / RESULTS}", soft_wrap=True)


def table(results: "Mapping[str, Result]", k: int) -> Table:
    """Return the figures with their 95% intervals, one row a benchmark."""
    sheet = Table(caption="95% bootstrap intervals over problems")
    figures = [f"avg@{k}", *([f"pass@{k}", f"maj@{k}"] if k > 1 else [])]
    for column in ("benchmark", "problems", *figures, "truncated", "tokens"):
        sheet.add_column(column, justify="left" if column == "benchmark" else "right")
    for name, result in results.items():
        scores = result.scores
        sheet.add_row(
            name,
            str(result.problems),
            *(_cell(scores.get(figure)) for figure in figures),
            f"{scores['truncated_rate'].value:.1%}",
            f"{scores['mean_tokens'].value:.0f}",
        )
    return sheet


def _cell(score: "Score | None") -> str:
    return "-" if score is None else f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
