"""Runs side by side in processes that share one load of torch; nothing finished runs again."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from gvmrl.bench.cells import Cell
from gvmrl.config import RunConfig
from gvmrl.errors import InputError
from gvmrl.train.folder import check_folder, steps_done

WORKER = "gvmrl.bench.worker"


@dataclass(frozen=True, slots=True)
class _Running:
    """A cell with its process and the end of the pipe that its steps come from."""

    cell: Cell
    process: ForkServerProcess
    steps: Connection


def run_cells(
    cells: Sequence[Cell],
    *,
    logs: Path,
    jobs: int,
    threads: int,
    show: Callable[[Cell, int], None],
) -> None:
    """Train the cells that are not finished; one that was interrupted goes on.

    A cell that fails does not stop the others, unless more have failed than ended well.

    Args:
        cells: The runs, in the order in which they start.
        logs: Folder for what the runs say.
        jobs: Runs at once.
        threads: Threads of each.
        show: Called with a cell and its finished steps after each of them.

    Raises:
        InputError: If a folder holds a run with other settings, before anything starts; if cells
            failed, with the last words of the first.
    """
    waiting: list[Cell] = []
    for cell in cells:
        check_folder(cell.config)
        if steps_done(cell.config.out) < cell.config.steps:
            waiting.append(cell)
    waiting.reverse()
    active: dict[Connection, _Running] = {}
    failed: list[Cell] = []
    num_ended = 0
    with ExitStack() as children:
        while active or (waiting and len(failed) <= num_ended):
            while waiting and len(active) < jobs and len(failed) <= num_ended:
                running = _start(waiting.pop(), logs, threads)
                children.callback(_end, running.process)
                active[running.steps] = running
            ready = set(wait([running.steps for running in active.values()]))
            for running in [one for one in active.values() if one.steps in ready]:
                try:
                    show(running.cell, running.steps.recv())
                except EOFError:
                    del active[running.steps]
                    running.process.join()
                    if running.process.exitcode:
                        failed.append(running.cell)
                    else:
                        num_ended += 1
    if failed:
        raise InputError(_last_words(failed, logs))


def _start(cell: Cell, logs: Path, threads: int) -> _Running:
    context = get_context("forkserver")
    context.set_forkserver_preload([WORKER])
    receiver, sender = context.Pipe(duplex=False)
    log = _log_of(cell, logs)
    log.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_work, args=(cell.config, log, threads, sender))
    process.start()
    sender.close()  # the child's end is then the only one, and its death ends the pipe
    return _Running(cell, process, receiver)


def _work(config: RunConfig, log: Path, threads: int, steps: Connection) -> None:
    """Run a cell; the import costs nothing in a process that was forked after it."""
    from gvmrl.bench.worker import run_cell

    run_cell(config, log, threads, steps)


def _end(process: ForkServerProcess) -> None:
    if process.is_alive():
        process.terminate()
    process.join()


def _last_words(failed: Sequence[Cell], logs: Path) -> str:
    first = _log_of(failed[0], logs)
    words = first.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    others = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    return f"{failed[0].name} failed: {words[-1] if words else 'no output'} (see {first}){others}"


def _log_of(cell: Cell, logs: Path) -> Path:
    return logs / f"{cell.name}.log"
