"""`gvmrl verl compile`, `stats`, `check` and `run`."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gvmrl.errors import InputError
from gvmrl.files import write_json_lines
from gvmrl.plugins.verl.checks import check_run
from gvmrl.plugins.verl.data import read_data, write_planned
from gvmrl.plugins.verl.dumps import problems_of, stats_of_tally, stats_rows, tally_dumps
from gvmrl.plugins.verl.loop import VerlRunConfig, load_tokenizer, run_iterations
from gvmrl.plugins.verl.plans import BatchShape, lay_out, read_plan

logger = logging.getLogger(__name__)

Flag = tyro.conf.UseCounterAction[int]
"""A flag without a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileConfig:
    """What `gvmrl verl compile` is asked."""

    plan: tyro.conf.Positional[Path]
    """Rows id, count, loss_weight, as `gvmrl plan` writes them: .jsonl, .csv or .parquet."""
    data: Path
    """verl's training parquet; the id of each row is in the column id or in extra_info.id."""
    train_batch_size: int
    """Rows of a batch, as data.train_batch_size will be."""
    rollout_n: int
    """Mean rollouts of a row, as actor_rollout_ref.rollout.n will be."""
    out: Path
    """The parquet to write."""
    group_min: int = 1
    """A prompt gets 0 rollouts or at least this many; 2 for RLOO and GRPO."""
    batch_by_batch: Flag = 0
    """Hand each batch's rollouts out again, in proportion to the plan's counts, so that any plan
    fits; what is moved is counted."""
    seed: int = 0
    """Mixes the prompts over the batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsConfig:
    """What `gvmrl verl stats` is asked."""

    dumps: tyro.conf.Positional[Path]
    """Folder that trainer.rollout_data_dir named, with 1.jsonl, 2.jsonl, ..."""
    data: Path
    """The parquet that the prompts came from, with their ids."""
    model: str
    """Folder or hub name of the run's model: its tokenizer renders the prompts as verl did."""
    out: Path
    """The .jsonl of id, trials and successes to write, one row for each prompt of the data."""
    decay: float = 1.0
    """What a rollout counts for each step that it is older than the newest, in (0, 1]."""
    template: str = "{}"
    """data.apply_chat_template_kwargs of the run, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """What `gvmrl verl check` is asked."""

    overrides: tyro.conf.Positional[tuple[str, ...]]
    """Settings as `python -m verl.trainer.main_ppo` gets them."""
    config_name: str = "ppo_trainer"
    """verl's own settings that they override, as its --config-name."""


def compile_plan(config: Annotated[CompileConfig, tyro.conf.arg(name="")]) -> None:
    """Write verl's training file with a column of counts, packed into verl's batches.

    Train on it with data.shuffle=False. Example: gvmrl verl compile plan.jsonl --data train.parquet
    --train-batch-size 1024 --rollout-n 8 --out planned.parquet
    """
    shape = _shape(config)
    data = read_data(config.data)
    layout = lay_out(
        read_plan(config.plan),
        shape,
        batch_by_batch=bool(config.batch_by_batch),
        seed=config.seed,
    )
    absent = write_planned(config.out, data, layout)
    logger.info("%s", layout.explain())
    logger.info("prompts of the data that are in no row: %s", absent)
    logger.info(
        "wrote %s: train with data.train_files=%s data.shuffle=False data.train_batch_size=%s "
        "actor_rollout_ref.rollout.n=%s",
        *(config.out, config.out, config.train_batch_size, config.rollout_n),
    )


def stats(config: Annotated[StatsConfig, tyro.conf.arg(name="")]) -> None:
    """Read verl's rollout dumps back into statistics; history costs no rollout.

    Example: gvmrl verl stats dumps --data train.parquet --model DIR --out stats.jsonl
    """
    if config.out.suffix != ".jsonl":
        raise InputError(f"statistics {config.out} must end in .jsonl")
    tally = tally_dumps(config.dumps, decay=config.decay)
    data = read_data(config.data)
    problems = problems_of(data, load_tokenizer(config.model), _template(config.template))
    found = stats_of_tally(tally, data.ids, problems)
    write_json_lines(config.out, stats_rows(found))
    logger.info(
        "%s steps, %s of %s prompts seen, %s rows of padding left out; wrote %s",
        *(len(tally.steps), int(found.seen_P.sum()), len(found), tally.padding, config.out),
    )


def check(config: Annotated[CheckConfig, tyro.conf.arg(name="")]) -> None:
    """Check verl's settings in seconds, before Ray starts and models are loaded.

    Example: gvmrl verl check data.train_files=planned.parquet data.shuffle=False ...
    """
    planned = check_run(config.overrides, config.config_name)
    if planned is None:
        logger.info("right: counts are decided online")
        return
    shape = planned.shape
    logger.info(
        "right: %s batches of %s rows and %s rollouts",
        *(planned.count_R.size // shape.train_batch_size, shape.train_batch_size, shape.rollouts),
    )


def run(config: Annotated[VerlRunConfig, tyro.conf.arg(name="")]) -> None:
    """Drive verl through iterations of planning and training; resumes by itself.

    Example: gvmrl verl run @configs/verl/loop.toml --data train.parquet --model DIR
    """
    run_iterations(config)


COMMANDS: dict[str, Callable[..., None]] = {
    "compile": compile_plan,
    "stats": stats,
    "check": check,
    "run": run,
}
"""Sub-command to what it calls; the first line of its docstring is its line of help."""


def _shape(config: CompileConfig) -> BatchShape:
    try:
        return BatchShape(
            train_batch_size=config.train_batch_size,
            rollout_n=config.rollout_n,
            group_min=config.group_min,
        )
    except ValueError as error:
        raise InputError(f"--{error}") from error


def _template(text: str) -> dict[str, object]:
    """Read the chat template's settings.

    Raises:
        InputError: If they are no JSON object.
    """
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise InputError(f"--template must be a JSON object, got {text}: {error}") from error
    if not isinstance(settings, dict):
        raise InputError(f"--template must be a JSON object, got {text}")
    return settings
