"""Progress of a run for a person: a live bar on a terminal, plain lines in a pipe."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gvmrl.config import RunConfig
from gvmrl.train.metrics import MetricRow, Sink

logger = logging.getLogger(__name__)


@contextmanager
def progress(config: RunConfig, steps_done: int) -> Generator[Sink]:
    """Give a sink that shows each step as it ends."""
    if not sys.stderr.isatty():
        yield lambda row: logger.info("%s", describe(row, config.steps))
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = list[logging.Handler]([RichHandler(console=console, show_path=False)])
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(
                config.out.name, total=config.steps, completed=steps_done, figures=""
            )

            def show(row: MetricRow) -> None:
                bar.update(task, completed=row["step"], figures=_figures(row))
                if "eval/accuracy" in row:
                    logger.info("%s", describe(row, config.steps))

            yield show
    finally:
        root.handlers = handlers


def describe(row: MetricRow, steps: int) -> str:
    """Return one plain line about a step."""
    return f"step {int(row['step'])}/{steps}: {_figures(row)}"


def _figures(row: MetricRow) -> str:
    parts = [f"{int(row['updates'])} updates, {int(row['cost/all_rollouts'])} rollouts"]
    if "reward/prompt_mean" in row:
        parts.append(f"reward {row['reward/prompt_mean']:.3f}, loss {row['update/loss']:.4f}")
    if "eval/accuracy" in row:
        parts.append(f"held-out accuracy {row['eval/accuracy']:.3f}")
    seconds = sum(value for name, value in row.items() if name.startswith("time/"))
    return ", ".join([*parts, f"{seconds:.1f} s"])
