"""`gvmrl probe`."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gvmrl.errors import InputError
from gvmrl.files import write_text
from gvmrl.probe.config import ProbeConfig

if TYPE_CHECKING:
    from gvmrl.probe.pool import Show


def probe(config: Annotated[ProbeConfig, tyro.conf.arg(name="")]) -> None:
    """Say whether allocation would help on a model and prompts, before anyone trains.

    Draws a pool of rollouts at fixed parameters, measures their full gradients, and compares the
    rules with uniform counts by variance, bias and signal-to-noise of the update, pilots counted.
    Nothing is trained. Unfinished work is not kept: run it again after an interruption. Example:
    gvmrl probe @configs/probe.toml --data.train builtin:arithmetic/D --loss.name rloo
    """
    if config.out.is_dir():
        raise InputError(f"out {config.out} is a folder; give the name of a .json file")
    from gvmrl.cli.probe_tables import tables
    from gvmrl.probe.run import run_probe  # torch is loaded here, so that --help stays fast

    with _progress() as show:
        report = run_probe(config, show)
    write_text(config.out, json.dumps(report.json, indent=1, allow_nan=False) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 140)
    prompts = ", ".join(f"{number} at {name}" for name, number in report.bins.items() if number)
    console.print(
        f"{config.prompts} prompts by accepted share of {config.pool} rollouts: {prompts}. "
        f"{report.different_rollouts} of {report.pool_rollouts} rollouts are different; "
        f"{report.num_parameters:,} parameters.",
        highlight=False,
    )
    if config.sketch:
        console.print(
            f"Mean gradients are sketched: squared lengths have a standard error of "
            f"{report.sketch_error:.1%} of the length with its noise.",
            highlight=False,
        )
    for table in tables(report):
        console.print(table)
    console.print(report.verdict, highlight=False)
    console.print(f"All figures: {config.out} ({report.seconds:.0f} s)", highlight=False)


@contextmanager
def _progress() -> Generator["Show"]:
    """Show one bar for each part of the work."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield show
