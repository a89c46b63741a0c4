"""A run's folder and parts: opened once, resumed where the newest checkpoint ends."""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from gvmrl.allocate import Plan
from gvmrl.config import RunConfig, to_json
from gvmrl.data import Prompt, Rollouts
from gvmrl.errors import InputError
from gvmrl.files import write_text
from gvmrl.model import load_policy
from gvmrl.reward.config import Scorer
from gvmrl.reward.scorer import make_reward
from gvmrl.sample import Sampler
from gvmrl.sample.make import make_sampler
from gvmrl.stats import PromptStats
from gvmrl.train import checkpoint
from gvmrl.train.checkpoint import State
from gvmrl.train.metrics import JsonLines, Sink, open_sinks
from gvmrl.train.prompts import load_prompts
from gvmrl.train.update import Learner, make_optimizer

logger = logging.getLogger(__name__)

CONFIG = "config.json"
METRICS = "metrics.jsonl"
ALLOCATION = "allocation.jsonl"
SAMPLES = "samples.jsonl"
SAMPLES_PER_STEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The parts of a run, and where it stood when it was opened."""

    config: RunConfig
    learner: Learner
    sampler: Sampler
    scorer: Scorer
    train_prompts: tuple[Prompt, ...]
    eval_prompts: tuple[Prompt, ...]
    state: State
    sinks: tuple[Sink, ...]
    """Where the figures of each step go."""
    allocation: JsonLines
    """Where each step's counts go, prompt by prompt."""
    samples: JsonLines
    """Where some completions of each step go, to read."""

    def save(self, state: State) -> None:
        """Write a checkpoint of the state and the weights."""
        checkpoint.save(
            self.config.out / "checkpoints", state, self.learner.policy, self.learner.optimizer
        )

    def log_step(self, step: int, plan: Plan, stats: PromptStats, rollouts: Rollouts) -> None:
        """Append a step's statistics, counts and outcomes by prompt, and some completions."""
        norms = stats.grad_norm_P
        self.allocation(
            {
                "step": step,
                "ids": plan.ids,
                "trials": stats.trials_P.tolist(),
                "successes": stats.successes_P.tolist(),
                "grad_norms": norms.tolist() if norms is not None else None,
                "counts": plan.count_P.tolist(),
                "accepted": rollouts.success_P.tolist(),
                "notes": plan.notes,
            }
        )
        first_rows = np.unique(rollouts.prompt_R, return_index=True)[1][:SAMPLES_PER_STEP]
        for row in first_rows:
            prompt = rollouts.prompts[rollouts.prompt_R[row]]
            self.samples(
                {
                    "step": step,
                    "id": prompt.id,
                    "completion": rollouts.completions[row].text,
                    "answer": prompt.answer,
                    "reward": float(rollouts.reward_R[row]),
                    "status": rollouts.statuses[row],
                }
            )


@contextmanager
def open_run(config: RunConfig) -> Generator[Run]:
    """Load the parts of a run, resume it if its folder holds a checkpoint, close it at the end.

    Nothing is written before the model and the data have been loaded.

    Raises:
        InputError: If the model or the data cannot be used, or the folder is another run's.
    """
    check_folder(config)
    newest = checkpoint.newest(config.out / "checkpoints")
    state = checkpoint.load_state(newest) if newest is not None else State()
    torch.manual_seed(config.seed)  # a new LoRA adapter is random
    policy = load_policy(config.model, newest / checkpoint.POLICY if newest is not None else None)
    scorer = make_reward(config.reward, binary_for=config.binary_for)
    try:
        train_prompts, eval_prompts = load_prompts(config, policy.tokenizer, scorer)
        learner = Learner(
            policy=policy,
            reference=load_policy(config.model) if config.loss.kl_coef > 0 else None,
            optimizer=make_optimizer(policy, config.optim),
            loss=config.loss,
            optim=config.optim,
            sampler=config.sampler,
        )
        if newest is not None:
            checkpoint.load_optimizer(newest, learner.optimizer)
            logger.info("resuming %s after step %d", config.out, state.step)
        write_text(config.out / CONFIG, to_json(config))
        if config.loss.weighting == "flat":
            logger.warning(
                "loss.weighting is flat: prompts with more rollouts weigh more, so the allocation "
                "changes the objective and not only the variance"
            )
        kept = state.step if newest is not None else None
        yield Run(
            config=config,
            learner=learner,
            sampler=make_sampler(policy, config.sampler),
            scorer=scorer,
            train_prompts=train_prompts,
            eval_prompts=eval_prompts,
            state=state,
            sinks=(JsonLines(config.out / METRICS, kept), *open_sinks(config.log, config.out)),
            allocation=JsonLines(config.out / ALLOCATION, kept),
            samples=JsonLines(config.out / SAMPLES, kept),
        )
    finally:
        scorer.close()


def check_folder(config: RunConfig) -> None:
    """Refuse a folder that is not empty and not this run's.

    Raises:
        InputError: Naming the settings that differ from those the folder was made with.
    """
    saved = config.out / CONFIG
    if not saved.exists():
        if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
            raise InputError(f"out {config.out} is not empty and not a run; choose another folder")
        return
    before = _flat(json.loads(saved.read_text(encoding="utf-8")))
    now = _flat(json.loads(to_json(config)))
    changed = sorted(name for name in before | now if before.get(name) != now.get(name))
    if changed := [name for name in changed if name != "out"]:
        changes = "; ".join(
            f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed
        )
        raise InputError(
            f"out {config.out} holds a run with other settings ({changes}); "
            "restore them to resume it, or choose another folder"
        )


def _flat(settings: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Name nested settings with dots, as the flags do."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
