"""`gvmrl plan`."""

import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from gvmrl.allocate import (
    RULES,
    Limits,
    Objective,
    Plan,
    RuleMismatchWarning,
    RuleName,
    Update,
    allocate,
    gvm,
)
from gvmrl.allocate.bins import spending
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.allocate.update.objective import ObjectiveName
from gvmrl.errors import InputError
from gvmrl.files import json_line
from gvmrl.stats import PromptStats
from gvmrl.tables import check_writable, plan_rows, read_stats, write_plan

Flag = tyro.conf.UseCounterAction[int]
"""A flag without a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """What `gvmrl plan` is asked."""

    stats: tyro.conf.Positional[Path]
    """Statistics, .jsonl, .csv or .parquet: rows with id, trials and successes, and with grad_norm,
    rejected_norm, cost, objective_weight, round_trials and round_successes where known."""
    budget: int
    """What to hand out: rollouts, or tokens with --tokens."""
    rule: RuleName = "gvm"
    """How to weigh the prompts."""
    estimator: Estimator | None = None
    """How the update is computed: decides the loss weights and the forecast, and what the rules
    neyman, least_variance and vip minimise."""
    objective: ObjectiveName = "native"
    """What the update should follow; native is the estimator's own, as uniform counts would."""
    k: int = 1
    """Attempts of the objective pass_at_k."""
    alpha: float = 1e-3
    """gvm: weight of the penalty on rarely accepted prompts; 0 turns it off."""
    beta: float = 2.0
    """gvm: power of that penalty in the acceptance rate; >= 1."""
    tokens: Flag = 0
    """Count the budget in tokens, by the statistics' cost."""
    lo: int = 0
    """Fewest rollouts of a prompt."""
    hi: int | None = None
    """Most rollouts of a prompt."""
    group_min: int = 1
    """A prompt gets 0 rollouts or at least this many; 2 for RLOO and GRPO."""
    multiple_of: int = 1
    """What the number of all rollouts must be divisible by; up to this many fewer are spent."""
    seed: int = 0
    """Settles who is served first among equals."""
    out: Path | None = None
    """Where to write rows id, count, loss_weight: .jsonl, .csv or .parquet; stdout if not given."""
    compare: Flag = 0
    """Also show what every rule would do with these statistics."""
    plot: Path | None = None
    """Where to draw the counts against the acceptance rate, as .png, .svg or .pdf."""


def plan(config: Annotated[PlanConfig, tyro.conf.arg(name="")]) -> None:
    """Hand out rollouts from a file of statistics; loads no model.

    Writes the plan's rows to stdout or --out, and a table for a person to stderr. Example:
    gvmrl plan stats.jsonl --budget 4096 --rule least_variance --estimator rloo --group-min 2
    """
    _check(config)
    stats = read_stats(config.stats)
    chosen = _allocate(config, stats, config.rule, config.estimator)
    plans: dict[RuleName, Plan] = {config.rule: chosen}
    if config.compare:
        estimator = config.estimator or "raft"
        plans = {name: _allocate(config, stats, name, estimator) for name in RULES}
    if config.plot is not None:
        from gvmrl.cli.plan_plot import draw

        draw(config.plot, stats, plans, config.rule)
    if config.out is None:
        sys.stdout.writelines(json_line(row) for row in plan_rows(chosen))
    else:
        write_plan(config.out, chosen)
    console = Console(stderr=True)
    console.print(_summary(stats, chosen))
    console.print(chosen.explain(), highlight=False, markup=False)
    if config.compare:
        console.print(_comparison(stats, plans))


def _check(config: PlanConfig) -> None:
    """Refuse settings that would be ignored, and files that could not be written."""
    if config.rule != "gvm" and (config.alpha, config.beta) != (1e-3, 2.0):
        raise InputError(f"--alpha and --beta belong to the rule gvm, not to {config.rule}")
    if config.estimator is None and config.objective != "native":
        raise InputError(f"--objective {config.objective} needs an estimator; set --estimator")
    if config.k != 1 and config.objective != "pass_at_k":
        raise InputError(f"--k belongs to the objective pass_at_k, not to {config.objective}")
    if config.out is not None:
        check_writable(config.out)


def _allocate(
    config: PlanConfig, stats: PromptStats, name: RuleName, estimator: Estimator | None
) -> Plan:
    """Make one plan.

    Raises:
        InputError: Where `allocate` raises ValueError.
    """
    rule = partial(gvm, alpha=config.alpha, beta=config.beta) if name == "gvm" else name
    try:
        update = None
        if estimator is not None:
            update = Update(estimator=estimator, objective=_objective(config, stats))
        limits = Limits(
            unit="tokens" if config.tokens else "rollouts",
            group_min=config.group_min,
            multiple_of=config.multiple_of,
        )
        with warnings.catch_warnings():
            # the plan's notes say it too
            warnings.simplefilter("ignore", RuleMismatchWarning)
            return allocate(
                stats,
                config.budget,
                rule=rule,
                lo=config.lo,
                hi=config.hi,
                seed=config.seed,
                limits=limits,
                update=update,
            )
    except ValueError as error:
        raise InputError(str(error)) from error


def _objective(config: PlanConfig, stats: PromptStats) -> Objective | None:
    """Return the objective, at the bias that uniform counts have."""
    if config.objective == "native":
        return None
    cost = len(stats) if not config.tokens or stats.cost_P is None else float(stats.cost_P.sum())
    return Objective(
        name=config.objective, k=config.k, reference=max(2, round(config.budget / cost))
    )


def _summary(stats: PromptStats, chosen: Plan) -> Table:
    """Return a table of where the rollouts go, by acceptance rate."""
    table = Table()
    for column in ("accepted", "prompts", "rollouts", "each", "left out"):
        table.add_column(column, justify="right")
    for part in spending(stats, chosen):
        cells = (part.prompts, part.rollouts, f"{part.mean:.1f}", part.left_out)
        table.add_row(part.name, *map(str, cells))
    return table


def _comparison(stats: PromptStats, plans: dict[RuleName, Plan]) -> Table:
    """Return a table with a row for each rule."""
    first = next(iter(plans.values()))
    table = Table(title=f"rollouts per prompt by acceptance rate; {first.estimator} update")
    table.add_column("rule", no_wrap=True)
    for part in spending(stats, first):
        table.add_column(f"{part.name}\n({part.prompts})", justify="right")
    for column in ("left out", "signal\nlost", "variance", "signal\nto noise"):
        table.add_column(column, justify="right")
    for name, each in plans.items():
        parts = spending(stats, each)
        ratios = (each.variance_ratio, each.snr_ratio)
        table.add_row(
            name,
            *(f"{part.mean:.1f}" for part in parts),
            str(sum(part.left_out for part in parts)),
            "-" if each.lost_signal is None else f"{each.lost_signal:.1%}",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        )
    table.caption = "predicted; variance and signal-to-noise over those of uniform counts"
    return table
