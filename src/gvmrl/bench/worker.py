"""One run of a bench, in a process of its own.

The module is loaded once, before processes fork from it: loading torch and transformers takes
as long as some runs.
"""

import logging
import os
import shutil
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from gvmrl.config import RunConfig
from gvmrl.errors import InputError
from gvmrl.train.folder import CHECKPOINTS
from gvmrl.train.loop import train
from gvmrl.train.metrics import MetricRow
from gvmrl.train.run import open_run


def run_cell(config: RunConfig, log: Path, threads: int, steps: Connection) -> None:
    """Train as `gvmrl train` does; what is said goes to `log`, finished steps to the parent.

    The checkpoints of a finished run are removed: a bench of a thousand runs keeps its figures.
    """
    with log.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)

    def show(row: MetricRow) -> None:
        steps.send(int(row["step"]))

    try:
        with open_run(config) as run:
            train(run, show)
    except InputError as error:
        sys.exit(f"gvmrl: {error}")
    shutil.rmtree(config.out / CHECKPOINTS)


def _end_with_parent() -> None:
    """Leave no process behind when the parent is killed."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
