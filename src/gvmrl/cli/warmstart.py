"""`gvmrl warmstart`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table

from gvmrl.data import FloatArray, Problem
from gvmrl.errors import InputError
from gvmrl.tasks.arithmetic import TYPES, make_problems, type_of

NUM_PROBLEMS = 400
NUM_SAMPLES = 16
NUM_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmstartConfig:
    """How to make the built-in model."""

    out: Path
    """Folder of the model; must not exist yet."""
    seed: int = 0
    """Decides the initial weights and the demonstrations; 0 made the shipped model."""
    mastery_steps: int = 7000
    """Supervised steps on right demonstrations."""
    forget_steps: int = 800
    """Supervised steps on demonstrations that forget carries."""

    def __post_init__(self) -> None:
        for name in ("seed", "mastery_steps", "forget_steps"):
            bound = 0 if name == "seed" else 1
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be >= {bound}, got {getattr(self, name)}")


def warmstart(config: Annotated[WarmstartConfig, tyro.conf.arg(name="")]) -> None:
    """Make the built-in model again from scratch, and show its pass rates.

    Takes 5 to 12 minutes. Example: gvmrl warmstart --out runs/warmstart
    """
    if config.out.exists():
        raise InputError(f"out {config.out} exists already; give a new folder")
    # torch is loaded here, so that --help stays fast
    from gvmrl.tasks.warmstart import (
        build_tokenizer,
        measure_pass_rates,
        save_model,
        train_model,
    )

    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=config.mastery_steps + config.forget_steps, loss=0)
        model = train_model(
            config.seed,
            mastery_steps=config.mastery_steps,
            forget_steps=config.forget_steps,
            progress=lambda step, loss: bar.update(task, completed=step, loss=loss),
        )
    save_model(model, config.out)
    problems = make_problems(NUM_PROBLEMS)
    pass_rate_P = measure_pass_rates(
        model, build_tokenizer(), problems, num_samples=NUM_SAMPLES, seed=0
    )
    Console().print(type_table(problems, pass_rate_P), histogram(pass_rate_P))


def type_table(problems: Sequence[Problem], pass_rate_P: FloatArray) -> Table:
    """Return the mean pass rate of each prompt type and of all, for the terminal."""
    table = Table("prompts", "number", "pass rate", title=f"{NUM_SAMPLES} samples a prompt")
    kind_P = np.array([type_of(problem) for problem in problems])
    for kind in (*TYPES, "all"):
        in_kind_P = np.full(len(problems), True) if kind == "all" else kind_P == kind
        if in_kind_P.any():
            table.add_row(kind, str(in_kind_P.sum()), f"{pass_rate_P[in_kind_P].mean():.3f}")
    return table


def histogram(pass_rate_P: FloatArray) -> Table:
    """Return how many prompts have which pass rate, with all wrong and all right apart."""
    table = Table("pass rate", "prompts", "")
    decided_P = (pass_rate_P == 0) | (pass_rate_P == 1)
    number, edge = np.histogram(pass_rate_P[~decided_P], NUM_BINS, (0.0, 1.0))
    rows = [("never", int((pass_rate_P == 0).sum()))]
    rows += [
        (f"{low:.1f} to {high:.1f}", int(count))
        for low, high, count in zip(edge[:-1], edge[1:], number, strict=True)
    ]
    rows += [("always", int((pass_rate_P == 1).sum()))]
    for name, count in rows:
        table.add_row(name, str(count), "#" * round(60 * count / pass_rate_P.size))
    return table
