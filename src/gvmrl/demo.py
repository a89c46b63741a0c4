"""The demonstration: the built-in model trained four ways at equal updates, side by side."""

from collections.abc import Sequence
from pathlib import Path

from gvmrl.bench.cells import Cell
from gvmrl.config import DataConfig, LogConfig, OptimConfig, RunConfig
from gvmrl.losses import Loss, LossConfig
from gvmrl.report.compare import paired_difference
from gvmrl.report.runs import RunRecord
from gvmrl.strategy.config import AllocationConfig, Rule

RULES: tuple[Rule, ...] = ("uniform", "gvm")
LOSSES: tuple[Loss, ...] = ("raft++", "grpo")
MIX = "demo"


def make_cells(folder: Path, *, steps: int, num_seeds: int) -> list[Cell]:
    """Return uniform and GVM allocation with RAFT++ and GRPO, each with seeds 0, 1, ..."""
    return [
        Cell(
            arm=rule,
            loss=loss,
            set=MIX,
            config=RunConfig(
                out=folder / f"{rule}-{loss}-seed{seed}",
                seed=seed,
                steps=steps,
                data=DataConfig(
                    train=f"builtin:arithmetic/{MIX}", eval=f"builtin:arithmetic/{MIX}"
                ),
                allocation=AllocationConfig(rule=rule),
                loss=LossConfig(name=loss),
                optim=OptimConfig(lr=2e-4),
                log=LogConfig(eval_every=10),
            ),
        )
        for seed in range(num_seeds)
        for loss in LOSSES
        for rule in RULES
    ]


def describe(runs: Sequence[RunRecord]) -> str:
    """Say what the runs show: GVM minus uniform, at equal updates and at equal cost."""
    parts: list[str] = []
    for group in dict.fromkeys(run.group for run in runs):
        uniform, gvm = (
            [run for run in runs if (run.group, run.label) == (group, rule)] for rule in RULES
        )
        updates = paired_difference(gvm, uniform, "updates")
        rollouts = paired_difference(gvm, uniform, "cost/all_rollouts")
        parts.append(
            f"{group}: {updates} at equal updates ({updates.verdict}), "
            f"{rollouts} at equal rollouts with pilots counted ({rollouts.verdict})"
        )
    return (
        "Held-out accuracy averaged along the curve, GVM minus uniform, mean over "
        f"{len({run.seed for run in runs})} seeds with 95% interval. {'; '.join(parts)}."
    )
