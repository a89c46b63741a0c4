"""The program of a worker process: judge one completion after another, within limits.

It is started by pool.py as a fresh interpreter that imports nothing of the parent's main module.
The talk goes over a socket of its own, so what a reward prints cannot disturb it.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from gvmrl.reward.config import Verdict

if sys.platform == "linux":
    import resource


@dataclass(frozen=True, slots=True)
class Ready:
    """The function is imported; calls can come."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The function cannot serve at all."""

    problem: str
    """It cannot be imported, or it does not return verdicts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one call."""

    verdict: Verdict
    retiring: bool
    """True if the worker ends now, because it has grown to half its memory limit."""


def main() -> None:
    """Serve until the parent closes the socket.

    The arguments are the socket's number, the function as module:function, the limit of a call
    in seconds, that of the address space in bytes, and whether to throw away what it prints.
    """
    number, name, timeout_s, memory_bytes, quiet = sys.argv[1:6]
    os.set_inheritable(int(number), False)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with Connection(int(number)) as pipe:
        try:
            function = _load(name)
        except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
            pipe.send(Refusal(_describe(error)))
            return
        _limit_memory(int(memory_bytes))
        if quiet == "True":
            _throw_away_output()
        try:
            pipe.send(Ready())
            while _serve(pipe, function, float(timeout_s), int(memory_bytes)):
                pass
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent is gone


def _load(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    if not callable(function):
        raise TypeError(f"{attribute} is a {type(function).__name__}, not a function")
    return function


def _serve(
    pipe: Connection, function: Callable[..., object], timeout_s: float, memory_bytes: int
) -> bool:
    arguments = pipe.recv()
    # counts processor time and kills without Python's help: a worker whose parent died in the
    # middle of an endless call does not stay behind
    signal.setitimer(signal.ITIMER_PROF, timeout_s + 1)
    try:
        result = function(*arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever it raises is a verdict
        result = Verdict.of("crashed", _describe(error))
    signal.setitimer(signal.ITIMER_PROF, 0)
    if not isinstance(result, Verdict):
        pipe.send(Refusal(f"it returned a {type(result).__name__}, not a gvmrl Verdict"))
        return False
    retiring = _address_space_bytes() > memory_bytes // 2
    # a plain copy: a subclass or a library's number may not be readable in the parent
    plain = Verdict(float(result.reward), result.status, str(result.detail))
    pipe.send(Answer(plain, retiring))
    return not retiring


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _throw_away_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    os.close(nowhere)


def _limit_memory(memory_bytes: int) -> None:
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _address_space_bytes() -> int:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
