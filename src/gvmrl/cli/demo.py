"""`gvmrl demo`."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from gvmrl.errors import InputError
from gvmrl.files import write_text


def demo(out: Path = Path("runs/demo"), steps: int = 80, seeds: int = 3, jobs: int = 0) -> None:
    """Train the built-in model four ways at equal updates and write a page of curves.

    The arms are uniform and GVM allocation, each with RAFT++ and GRPO. A finished arm is not run
    again, and an interrupted one goes on where it stopped.

    Args:
        out: Folder of the runs, of report.html and of curves.svg.
        steps: Steps of each run.
        seeds: Seeds of each arm.
        jobs: Runs at once, one thread each; 0 takes as many as there are cores.
    """
    try:
        from gvmrl.demo import Arm, make_arms, run_demo
        from gvmrl.report.page import COLUMNS, table, write_page
        from gvmrl.report.plots import curves
    except ImportError as error:
        raise InputError(f"the demo needs {error.name}: pip install gvmrl[hf,report]") from error
    console = Console(width=None if sys.stdout.isatty() else 120)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    arms = make_arms(out, seeds)
    done = dict.fromkeys((arm.name for arm in arms), 0)
    with bar:
        task = bar.add_task(f"{len(arms)} runs, steps", total=steps * len(arms))

        def show(arm: Arm, steps_done: int) -> None:
            done[arm.name] = steps_done
            bar.update(task, completed=sum(done.values()))

        runs, verdict = run_demo(arms, ("--steps", str(steps)), jobs or os.cpu_count() or 1, show)
    write_page(out / "report.html", runs, title="gvmrl demo", verdict=verdict)
    write_text(out / "curves.svg", curves(runs))
    sheet = Table(Column(COLUMNS[0], no_wrap=True), *COLUMNS[1:])
    for row in table(runs):
        sheet.add_row(*row)
    console.print(sheet)
    console.print(verdict)
    console.print(f"The page: {out / 'report.html'}")
