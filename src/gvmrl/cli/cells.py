"""Progress of many runs, and their tables, for a person."""

import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from gvmrl.bench.cells import Cell
from gvmrl.report.table import Table
from gvmrl.train.folder import steps_done

logger = logging.getLogger(__name__)

SPEED_PERIOD_S = 600
"""The time left is estimated from the speed of this last while: arms differ in speed."""
PIPE_WIDTH = 160


@contextmanager
def cell_progress(cells: Sequence[Cell]) -> Generator[Callable[[Cell, int], None]]:
    """Give a function that shows a cell's steps: a bar on a terminal, a line a run in a pipe."""
    done = {cell.name: steps_done(cell.config.out) for cell in cells}
    already = sum(done.values())
    total = sum(cell.config.steps for cell in cells)
    ended = {cell.name for cell in cells if done[cell.name] >= cell.config.steps}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    is_terminal = sys.stderr.isatty()
    with Progress(
        *columns,
        console=Console(stderr=True),
        speed_estimate_period=SPEED_PERIOD_S,
        disable=not is_terminal,
    ) as bar:
        task = bar.add_task(f"{len(ended)} of {len(cells)} runs", total=total, completed=already)

        def show(cell: Cell, steps: int) -> None:
            done[cell.name] = steps
            now = sum(done.values())
            if steps >= cell.config.steps:
                ended.add(cell.name)
                if not is_terminal:
                    left_s = (time.monotonic() - start) * (total - now) / max(now - already, 1)
                    logger.info(
                        "%d of %d runs, about %.0f min left: %s",
                        *(len(ended), len(cells), left_s / 60, cell.name),
                    )
            bar.update(task, completed=now, description=f"{len(ended)} of {len(cells)} runs")

        yield show


def print_table(table: Table) -> None:
    """Print a table with its remarks below it."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    sheet = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(table.columns):
        sheet.add_column(
            name, justify="right" if number else "left", no_wrap=number == 0, overflow="fold"
        )
    for row in table.rows:
        sheet.add_row(*(cell.replace(" [", "\n[") for cell in row))
    console.print(sheet)
    for note in table.notes:
        console.print(f"  {note}", markup=False)
