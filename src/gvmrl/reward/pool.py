"""Verdicts from worker processes, each within limits of time and memory.

A worker that hangs, dies or outgrows its memory is killed and replaced, and its call gets a
failed verdict; no call takes longer than the limit, and none raises in the caller. Workers start
when there is work for them, and stay for the next batch.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

from gvmrl.errors import InputError
from gvmrl.reward.config import RewardConfig, Verdict
from gvmrl.reward.worker import Answer, Ready, Refusal

START_S = 120.0
"""Longest start of a worker: importing a user's libraries on a busy machine takes long."""

# a fresh interpreter with the parent's sys.path (and the current folder, ""), unlike
# multiprocessing, which would run the parent's main module again
_PROGRAM = "import sys; sys.path[:] = sys.argv[6:]; from gvmrl.reward.worker import main; main()"

Call = tuple[object, ...]
"""The arguments of one call."""


class _Worker:
    """One worker process and the row of the call that it has in hand."""

    def __init__(self, function: str, config: RewardConfig, *, quiet: bool) -> None:
        self.pipe, theirs = Pipe()
        number = theirs.fileno()
        settings = map(str, (number, function, config.timeout_s, config.memory_bytes, quiet))
        with theirs:
            # a session of its own: Ctrl-C reaches the parent alone, and what a reward has
            # started is killed with it
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *settings, *sys.path, ""],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self.ready = False
        self.row: int | None = None
        self.deadline = time.monotonic() + START_S

    def receive(self) -> Ready | Refusal | Answer | None:
        """Return the message that has come; None if the process is dead or silent."""
        try:
            message = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None
        assert message is None or isinstance(message, Ready | Refusal | Answer)
        return message

    def kill(self) -> int:
        """End the process and what it started, and return its exit status (signals negative)."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.pipe.close()
        return self.process.wait()


class Pool:
    """Worker processes that call one function; not for several threads at once."""

    def __init__(self, function: str, config: RewardConfig, *, quiet: bool) -> None:
        """Prepare a pool; no process is started.

        Args:
            function: What the workers call, as module:function, importable from `sys.path` or
                the current folder. It returns a Verdict.
            config: Limits and number of the workers.
            quiet: Throw away what the function prints.
        """
        self._function = function
        self._config = config
        self._quiet = quiet
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers; a later `run` starts new ones."""
        while self._workers:
            self._workers.pop().kill()

    def start(self) -> None:
        """Start one worker and wait until it is ready.

        Raises:
            InputError: If the function cannot be imported.
        """
        if not self._workers:
            self._add_worker()
        first = self._workers[0]
        if not first.ready:
            wait([first.pipe], START_S)
            self._hear(first, {})

    def run(self, calls: Sequence[Call]) -> list[Verdict]:
        """Call the function with each tuple of arguments, and return the verdicts in order.

        Raises:
            InputError: If the function cannot be imported or returns anything but a Verdict.
        """
        pending = deque(range(len(calls)))
        verdicts: dict[int, Verdict] = {}
        try:
            while len(verdicts) < len(calls):
                self._feed(calls, pending, verdicts)
                self._listen(verdicts)
        finally:
            # after an exception, Ctrl-C included, no answer to an old call may be left
            for worker in [worker for worker in self._workers if worker.row is not None]:
                self._remove(worker)
        return [verdicts[row] for row in range(len(calls))]

    def _feed(
        self, calls: Sequence[Call], pending: deque[int], verdicts: dict[int, Verdict]
    ) -> None:
        for worker in [worker for worker in self._workers if worker.ready and worker.row is None]:
            if not pending:
                return
            if worker.pipe.poll():  # an idle worker has nothing to say: it has died
                self._remove(worker)
                continue
            worker.row = pending.popleft()
            worker.deadline = time.monotonic() + self._config.timeout_s
            try:
                worker.pipe.send(calls[worker.row])
            except OSError:
                self._lose(worker, verdicts)
        starting = sum(not worker.ready for worker in self._workers)
        missing = min(self._config.workers - len(self._workers), len(pending) - starting)
        for _ in range(missing):
            self._add_worker()

    def _listen(self, verdicts: dict[int, Verdict]) -> None:
        active = [worker for worker in self._workers if worker.row is not None or not worker.ready]
        if not active:
            return
        left_s = min(worker.deadline for worker in active) - time.monotonic()
        heard = wait([worker.pipe for worker in active], max(left_s, 0))
        for worker in active:
            late = time.monotonic() >= worker.deadline
            if worker.pipe in heard or (late and not worker.ready):
                self._hear(worker, verdicts)
            elif late and worker.row is not None:
                detail = f"no answer within {self._config.timeout_s:g} s"
                verdicts[worker.row] = Verdict.of("timeout", detail)
                self._remove(worker)

    def _hear(self, worker: _Worker, verdicts: dict[int, Verdict]) -> None:
        message = worker.receive()
        if isinstance(message, Answer) and worker.row is not None:
            verdicts[worker.row] = message.verdict
            worker.row = None
            if message.retiring:
                self._remove(worker)
        elif isinstance(message, Ready):
            worker.ready = True
        elif isinstance(message, Refusal):
            self._remove(worker)
            raise InputError(f"reward function {self._function} cannot be used: {message.problem}")
        elif worker.ready:
            self._lose(worker, verdicts)
        else:
            raise InputError(
                f"the worker process for {self._function} ended with status "
                f"{self._remove(worker)} before it was ready; see that the module can be imported"
            )

    def _lose(self, worker: _Worker, verdicts: dict[int, Verdict]) -> None:
        row = worker.row
        status = self._remove(worker)
        if row is not None:
            verdicts[row] = Verdict.of("crashed", f"the worker ended with status {status}")

    def _add_worker(self) -> None:
        self._workers.append(_Worker(self._function, self._config, quiet=self._quiet))

    def _remove(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        return worker.kill()
