"""Functions that worker processes call in the tests of the pool; they say who they are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gvmrl.data import Completion, Prompt
from gvmrl.reward.config import Verdict

_kept: list[bytearray] = []


def echo(number: float, wait_s: float = 0.0) -> Verdict:
    time.sleep(wait_s)
    return Verdict(number, "scored", str(os.getpid()))


def hang_at_zero(number: float) -> Verdict:
    while not number:
        pass
    return echo(number)


def misbehave(deed: str) -> Verdict:
    if deed == "raise":
        raise KeyError("no such thing")
    if deed == "exit":
        os._exit(7)
    if deed == "quit":
        sys.exit("enough")
    if deed == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if deed == "memory":
        _kept.append(bytearray(1 << 40))
    if deed == "recursion":
        return misbehave(deed)
    if deed == "print":
        print("x" * 1_000_000)  # noqa: T201
    return echo(1.0)


def grow(num_bytes: int) -> Verdict:
    _kept.append(bytearray(num_bytes))
    return echo(1.0)


def whereabouts() -> Verdict:
    heavy = sorted({"torch", "transformers", "datasets", "pytest"} & set(sys.modules))
    return Verdict(float(os.getsid(0) == os.getpid()), "scored", " ".join(heavy))


def start_program(pid_file: str) -> Verdict:
    with subprocess.Popen(["sleep", "60"]) as program:
        Path(pid_file).write_text(str(program.pid))
    return echo(1.0)


def hang_and_tell(pid_file: str) -> Verdict:
    Path(pid_file).write_text(str(os.getpid()))
    return hang_at_zero(0.0)


def length_reward(prompt: Prompt, completion: Completion) -> Verdict:
    if completion.text == "break":
        raise ValueError("cannot read this one")
    return Verdict(len(completion.text) / len(prompt.answer))


def bare_number(prompt: Prompt, completion: Completion) -> float:
    return float(len(prompt.answer) + len(completion.text))


NOT_A_FUNCTION = 3
