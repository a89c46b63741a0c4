"""The paper's Algorithm 1 around stock verl: plan, train, read the dumps, plan again.

Each iteration is one run of `python -m verl.trainer.main_ppo` on a planned file. All of them share
one folder of checkpoints, so verl resumes its whole state (weights, moments, learning rate, random
numbers), and the reference policy stays the model that the first one started from.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from gvmrl.allocate import Limits, Objective, Plan, RuleName, Update, allocate, gvm
from gvmrl.allocate.ties import by_hash
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.errors import InputError
from gvmrl.files import write_json_lines, write_text
from gvmrl.plugins.verl.checks import check_run, compose
from gvmrl.plugins.verl.data import TrainingData, read_data, write_planned
from gvmrl.plugins.verl.dumps import Tokenizer, problems_of, stats_of_tally, stats_rows, tally_dumps
from gvmrl.plugins.verl.installed import verl_folder
from gvmrl.plugins.verl.names import PLANNED_MODE, TRAINER_MODULE
from gvmrl.plugins.verl.plans import BatchShape, lay_out, rows_of_plan
from gvmrl.stats import PromptStats
from gvmrl.tables import write_plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerlRunConfig:
    """A run of several iterations, each with a plan of its own."""

    data: Path
    """verl's training parquet; the id of each row is in the column id or in extra_info.id."""
    model: str
    """Folder or hub name of the model: actor_rollout_ref.model.path."""
    out: Path = Path("runs/verl")
    """Folder of the run; an existing one is resumed, and must have the same settings."""
    iterations: int = 10
    """Plans, each followed by training on it."""
    steps: int = 1
    """Training steps of an iteration, that is batches of a plan."""
    train_batch_size: int = 1024
    """Prompts of a step: data.train_batch_size."""
    rollout_n: int = 8
    """Mean rollouts of a prompt: actor_rollout_ref.rollout.n."""
    rule: RuleName = "gvm"
    """How to weigh the prompts; uniform for a baseline with the same updates."""
    estimator: Estimator | None = None
    """How the update is computed: decides loss weights and what the matched rules minimise; None
    makes every prompt weigh the same, and needs no trainer mode of the plug-in."""
    alpha: float = 1e-3
    """gvm: weight of the penalty on rarely accepted prompts; 0 turns it off."""
    beta: float = 2.0
    """gvm: power of that penalty in the acceptance rate; >= 1."""
    lo: int = 0
    """Fewest rollouts of a prompt."""
    hi: int | None = None
    """Most rollouts of a prompt; None is what a batch holds."""
    group_min: int = 1
    """A prompt gets 0 rollouts or at least this many; 2 for RLOO and GRPO."""
    decay: float = 1.0
    """What a rollout counts for each step that it is older than the newest, in (0, 1]."""
    reset_optimizer: bool = False
    """Start every iteration with fresh moments; False carries them over."""
    seed: int = 0
    """Decides the prompts of each iteration and their order."""
    verl: tuple[str, ...] = ()
    """More settings of verl, such as trainer.n_gpus_per_node=8."""

    def __post_init__(self) -> None:
        for name in ("iterations", "steps", "train_batch_size", "rollout_n", "group_min"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    @property
    def shape(self) -> BatchShape:
        """What a batch holds."""
        return BatchShape(
            train_batch_size=self.train_batch_size,
            rollout_n=self.rollout_n,
            group_min=self.group_min,
        )

    @property
    def prompts(self) -> int:
        """Prompts of an iteration."""
        return self.steps * self.train_batch_size


def run_iterations(config: VerlRunConfig) -> None:
    """Take the iterations that are left.

    Raises:
        InputError: If the settings do not fit, those of a run to resume differ, or verl fails.
    """
    template = _chat_template(config)
    if config.estimator is not None:
        _load_trainer_modes()
    data = read_data(config.data)
    if len(data.ids) < config.prompts:
        raise InputError(
            f"an iteration takes {config.steps} x {config.train_batch_size} prompts, and the data "
            f"have {len(data.ids)}; lower steps or train-batch-size"
        )
    _open(config)
    problems = problems_of(data, load_tokenizer(config.model), template)
    while (done := steps_done(config.out)) < config.iterations * config.steps:
        iteration, step = divmod(done, config.steps)
        folder = config.out / f"iteration-{iteration + 1}"
        stats = _known(config, iteration, data.ids, problems)
        plan = _plan(config, iteration, stats)
        _write(config, folder, data, stats, plan)
        overrides = _overrides(config, iteration, folder, fresh=step == 0)
        check_run(overrides)
        logger.info("iteration %s of %s: %s", iteration + 1, config.iterations, plan.explain())
        if config.reset_optimizer and step == 0 and iteration:
            logger.info("the optimizer's moments are reset, as asked; weights are not")
        _train(config, folder, overrides)
        if steps_done(config.out) <= done:
            raise InputError(f"verl took no step and said no more than in {folder / 'verl.log'}")


def load_tokenizer(model: str) -> Tokenizer:
    """Load the tokenizer of a model.

    Raises:
        InputError: If it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return cast("Tokenizer", AutoTokenizer.from_pretrained(model))
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"the tokenizer of {model!r} cannot be loaded: {first}") from error


def steps_done(out: Path) -> int:
    """Return the step of verl's newest checkpoint; 0 without one."""
    latest = out / "checkpoints" / "latest_checkpointed_iteration.txt"
    return int(latest.read_text()) if latest.exists() else 0


def prompts_of_iteration(
    ids: tuple[str, ...], prompts: int, iteration: int, seed: int
) -> list[int]:
    """Return the rows of an iteration's prompts: seeded epochs, without repeats in an epoch."""
    epoch, number = divmod(iteration, len(ids) // prompts)
    order = by_hash(ids, seed + epoch)(np.arange(len(ids)))
    return order[number * prompts : (number + 1) * prompts].tolist()


def _open(config: VerlRunConfig) -> None:
    """Save the settings, or compare them with those of the run to resume."""
    path = config.out / "config.json"
    text = json.dumps(asdict(config), indent=2, default=str) + "\n"
    if not path.exists():
        write_text(path, text)
        return
    old, new = json.loads(path.read_text()), json.loads(text)
    changed = [
        f"{name} was {old.get(name)}, is {new[name]}" for name in new if old.get(name) != new[name]
    ]
    if changed:
        raise InputError(f"{config.out} is a run with other settings: {'; '.join(changed)}")


def _chat_template(config: VerlRunConfig) -> Mapping[str, object]:
    """Return the chat template's settings, after asking verl whether it takes the others."""
    setting = compose(verl_folder(), config.verl, "ppo_trainer")
    settings = setting("data.apply_chat_template_kwargs")
    return cast("Mapping[str, object]", settings) if isinstance(settings, dict) else {}


def _known(
    config: VerlRunConfig, iteration: int, ids: tuple[str, ...], problems: list[tuple[str, str]]
) -> PromptStats:
    """Return what all earlier iterations have shown of this one's prompts."""
    rows = prompts_of_iteration(ids, config.prompts, iteration, config.seed)
    if iteration == 0:
        none_P = np.zeros(len(rows))
        names = tuple(ids[row] for row in rows)
        return PromptStats(ids=names, trials_P=none_P, successes_P=none_P)
    # later steps are those of an iteration that was cut off, and will be taken again
    tally = tally_dumps(
        config.out / "dumps", decay=config.decay, last_step=iteration * config.steps
    )
    return stats_of_tally(tally, ids, problems).take(rows)


def _plan(config: VerlRunConfig, iteration: int, stats: PromptStats) -> Plan:
    """Make the plan of an iteration.

    Raises:
        InputError: Where `allocate` raises ValueError.
    """
    update = None
    if config.estimator is not None:
        objective = Objective(reference=max(2, config.rollout_n))
        update = Update(estimator=config.estimator, objective=objective)
    rule = partial(gvm, alpha=config.alpha, beta=config.beta) if config.rule == "gvm" else None
    try:
        return allocate(
            stats,
            config.steps * config.shape.rollouts,
            rule=rule or config.rule,
            lo=config.lo,
            hi=config.hi or config.shape.rollouts,
            seed=config.seed + iteration,
            limits=Limits(group_min=config.group_min),
            update=update,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _write(
    config: VerlRunConfig, folder: Path, data: TrainingData, stats: PromptStats, plan: Plan
) -> None:
    """Write an iteration's statistics, plan and training file."""
    write_json_lines(folder / "stats.jsonl", stats_rows(stats))
    write_plan(folder / "plan.jsonl", plan)
    try:
        layout = lay_out(rows_of_plan(plan), config.shape, seed=config.seed)
    except InputError as error:
        logger.info("%s: so it is handed out batch by batch", error)
        layout = lay_out(rows_of_plan(plan), config.shape, batch_by_batch=True, seed=config.seed)
    write_planned(folder / "planned.parquet", data, layout)
    logger.info("%s", layout.explain())


def _overrides(config: VerlRunConfig, iteration: int, folder: Path, *, fresh: bool) -> list[str]:
    """Return verl's settings for an iteration; the user's own come first, so these win."""
    planned, out = (folder / "planned.parquet").resolve(), config.out.resolve()
    contents = ["model", "optimizer", "extra"]
    load = ["model", "extra"] if config.reset_optimizer and fresh else contents
    save = [*contents, "hf_model"]
    settings = {
        "hydra.run.dir": folder.resolve() / "hydra",
        "data.train_files": planned,
        "data.train_batch_size": config.train_batch_size,
        "data.shuffle": False,
        "actor_rollout_ref.model.path": json.dumps(config.model),
        "actor_rollout_ref.rollout.n": config.rollout_n,
        "actor_rollout_ref.actor.checkpoint.save_contents": json.dumps(save),
        "actor_rollout_ref.actor.checkpoint.load_contents": json.dumps(load),
        # the schedule of the learning rate spans all iterations; the epoch ends this one
        "trainer.total_training_steps": config.iterations * config.steps,
        "trainer.total_epochs": iteration + 1,
        "trainer.save_freq": config.steps,
        "trainer.default_local_dir": out / "checkpoints",
        "trainer.rollout_data_dir": out / "dumps",
        "trainer.resume_mode": "auto",
    }
    if config.estimator is not None:
        settings["trainer.v1.trainer_mode"] = PLANNED_MODE
    return [*config.verl, *(f"{name}={_quoted(value)}" for name, value in settings.items())]


def _quoted(value: object) -> str:
    """Return a value as verl's command line takes it: a path may hold any character."""
    return json.dumps(str(value)) if isinstance(value, Path) else str(value)


def _train(config: VerlRunConfig, folder: Path, overrides: list[str]) -> None:
    """Run verl to the end of the iteration.

    Raises:
        InputError: If it fails.
    """
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *overrides]
    log = folder / "verl.log"
    logger.info("verl runs; what it says is in %s", log)
    with log.open("ab") as file:
        code = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    if code:
        raise InputError(
            f"verl stopped with exit code {code}; what it said is in {log}, and the same command "
            f"goes on from step {steps_done(config.out)}"
        )


def _load_trainer_modes() -> None:
    """Have verl load the trainer modes of the plug-in, here and in the processes that follow."""
    modules = os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(",")
    wanted = dict.fromkeys(name for name in [*modules, TRAINER_MODULE] if name)
    os.environ["VERL_USE_EXTERNAL_MODULES"] = ",".join(wanted)
