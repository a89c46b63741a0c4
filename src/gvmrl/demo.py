"""The demonstration: the built-in model trained four ways at equal updates, side by side."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gvmrl.errors import InputError
from gvmrl.files import read_json_lines
from gvmrl.report.compare import paired_difference
from gvmrl.report.runs import RunRecord, load_run

RULES = ("uniform", "gvm")
LOSSES = ("raft++", "grpo")
SETTINGS = ("--optim.lr", "2e-4", "--log.eval-every", "10")
"""What all arms share and `gvmrl train` does not have as its default; see configs/demo.toml."""
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One training run of the demonstration."""

    rule: str
    loss: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Rule, loss and seed."""
        return f"{self.rule}-{self.loss}-seed{self.seed}"

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return self.folder / self.name

    @property
    def flags(self) -> tuple[str, ...]:
        """What differs from the defaults of `gvmrl train`."""
        settings = {
            "--allocation.rule": self.rule,
            "--loss.name": self.loss,
            "--seed": str(self.seed),
            "--out": str(self.out),
        }
        return tuple(word for setting in settings.items() for word in setting)


def make_arms(folder: Path, num_seeds: int) -> list[Arm]:
    """Return uniform and GVM allocation with RAFT++ and GRPO, each with seeds 0, 1, ..."""
    return [
        Arm(rule=rule, loss=loss, seed=seed, folder=folder)
        for seed in range(num_seeds)
        for loss in LOSSES
        for rule in RULES
    ]


def run_demo(
    arms: Sequence[Arm], flags: Sequence[str], jobs: int, show: Callable[[Arm, int], None]
) -> tuple[list[RunRecord], str]:
    """Train the arms that are not finished, and say what they show.

    Args:
        arms: The runs.
        flags: Settings of `gvmrl train` for all arms.
        jobs: Arms that run at once, each in a process with one thread.
        show: Called with an arm and its finished steps whenever they change.

    Returns:
        The finished runs and one sentence about them.

    Raises:
        InputError: If an arm fails, with its last words.
    """
    with ExitStack() as running:
        waiting, active = list(arms), dict[subprocess.Popen[bytes], Arm]()
        while waiting or active:
            while waiting and len(active) < jobs:
                arm = waiting.pop(0)
                active[running.enter_context(_start(arm, flags))] = arm
            time.sleep(POLL_S)
            for process, arm in list(active.items()):
                show(arm, _steps_done(arm))
                if process.poll() is not None:
                    del active[process]
                    _check(process, arm)
    runs = [load_run(arm.out) for arm in arms]
    return runs, describe(runs)


def describe(runs: Sequence[RunRecord]) -> str:
    """Say what the runs show: GVM minus uniform, at equal updates and at equal cost."""
    parts: list[str] = []
    for loss in LOSSES:
        uniform, gvm = ([run for run in runs if run.label == f"{rule} {loss}"] for rule in RULES)
        updates = paired_difference(gvm, uniform, "updates")
        rollouts = paired_difference(gvm, uniform, "cost/all_rollouts")
        parts.append(
            f"{loss}: {updates} at equal updates ({updates.verdict}), "
            f"{rollouts} at equal rollouts with pilots counted ({rollouts.verdict})"
        )
    return (
        "Held-out accuracy averaged along the curve, GVM minus uniform, mean over "
        f"{len({run.seed for run in runs})} seeds with 95% interval. {'; '.join(parts)}."
    )


def _start(arm: Arm, flags: Sequence[str]) -> subprocess.Popen[bytes]:
    """Begin or resume one arm; its output goes to a file beside its folder."""
    arm.folder.mkdir(parents=True, exist_ok=True)
    with _log_of(arm).open("wb") as log:
        return _Child(
            [sys.executable, "-m", "gvmrl", "train", *SETTINGS, *arm.flags, *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


class _Child(subprocess.Popen[bytes]):
    """A process that does not outlive the block it is used in."""

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.terminate()
        self.wait()


def _steps_done(arm: Arm) -> int:
    rows = read_json_lines(arm.out / "metrics.jsonl")
    return int(str(rows[-1]["step"])) if rows else 0


def _check(process: subprocess.Popen[bytes], arm: Arm) -> None:
    if process.returncode:
        log = _log_of(arm)
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise InputError(f"{arm.name} failed: {words[-1] if words else 'no output'} (see {log})")


def _log_of(arm: Arm) -> Path:
    return arm.folder / f"{arm.name}.log"
