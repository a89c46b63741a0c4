"""A run's folder and parts: opened once, resumed where the newest checkpoint ends."""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from gvmrl.config import RunConfig, to_json
from gvmrl.data import FloatArray, Prompt, Rollouts, merge
from gvmrl.estimate.history import Belief, History
from gvmrl.estimate.norms import mean_norms
from gvmrl.estimate.predictor import Predictor
from gvmrl.files import write_text
from gvmrl.load import load_policy
from gvmrl.reward.config import Scorer
from gvmrl.reward.scorer import make_reward
from gvmrl.sample import Sampler
from gvmrl.sample.make import make_sampler
from gvmrl.stats import PromptStats
from gvmrl.train import checkpoint
from gvmrl.train.checkpoint import State
from gvmrl.train.folder import (
    ALLOCATION,
    CHECKPOINTS,
    CONFIG,
    METRICS,
    SAMPLES,
    check_folder,
)
from gvmrl.train.metrics import JsonLines, Sink, open_sinks
from gvmrl.train.prompts import load_prompts
from gvmrl.train.update import Learner, UpdateResult, make_optimizer

logger = logging.getLogger(__name__)

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
    history: History
    """Outcomes of all earlier rollouts, prompt by prompt; changes as the run goes on."""
    predictor: Predictor | None
    """Forecasts rates of prompts from their looks; None where the settings ask for none."""
    sinks: tuple[Sink, ...]
    """Where the figures of each step go."""
    allocation: JsonLines
    """Where each step's counts go, prompt by prompt."""
    samples: JsonLines
    """Where some completions of each step go, to read."""

    def look(self, step: int) -> None:
        """Show the predictor, if it wants to see that, how the policy reads the prompts now."""
        config = self.config
        if config.predictor != "prompt" or step % config.allocation.predictor_every:
            return
        assert self.predictor is not None, "open_run made it"
        tokens = config.optim.tokens_per_microbatch
        reading = self.learner.policy.read(self.train_prompts, tokens)
        self.predictor.look(reading.sign_PS, reading.state_PD)

    def belief(self, updates: int) -> Belief:
        """Return what is believed of the training prompts at an update."""
        return self.history.belief(updates, self._prior_P(updates))

    def learn(self, waves: Sequence[Rollouts], updates: int) -> None:
        """Take a step's outcomes into the history and the predictor."""
        drawn = merge(waves)
        count_P, success_P = drawn.count_P, drawn.success_P
        tried = np.flatnonzero(count_P)
        rows = self.history.rows(drawn.prompts)[tried]
        outcome = (rows, count_P[tried], success_P[tried])
        prior_P = self._prior_P(updates)
        if self.predictor is not None:
            self.predictor.learn(self.history, updates, *outcome)
        self.history.record(*outcome, updates, prior_P)

    def learn_norms(self, rollouts: Rollouts, updates: Sequence[UpdateResult]) -> None:
        """Take the gradient norms that the updates of a step came upon into the history."""
        row_A = np.concatenate([update.row_A for update in updates])
        norm_A = np.sqrt(np.concatenate([update.signal_A for update in updates]))
        means = mean_norms(rollouts, row_A, norm_A)
        self.history.record_norms(self.history.rows(rollouts.prompts), *means)

    def _prior_P(self, updates: int) -> FloatArray | None:
        return self.predictor.rate(self.history, updates) if self.predictor is not None else None

    def save(self, state: State) -> None:
        """Write a checkpoint of the state and the weights."""
        checkpoint.save(
            self.config.out / CHECKPOINTS,
            state,
            self.learner.policy,
            self.learner.optimizer,
            self.history,
            self.predictor,
        )

    def log_step(
        self,
        step: int,
        stats: PromptStats,
        forecast_P: FloatArray,
        rollouts: Rollouts,
        notes: tuple[str, ...],
    ) -> None:
        """Append what was known of a step's prompts, counts and outcomes, and some completions."""
        norms = stats.grad_norm_P
        self.allocation(
            {
                "step": step,
                "ids": stats.ids,
                "trials": stats.trials_P.tolist(),
                "successes": stats.successes_P.tolist(),
                "grad_norms": norms.tolist() if norms is not None else None,
                "predicted": forecast_P.tolist(),
                "counts": rollouts.count_P.tolist(),
                "accepted": rollouts.success_P.tolist(),
                "notes": notes,
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
    newest = checkpoint.newest(config.out / CHECKPOINTS)
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
        history = History(tuple(prompt.id for prompt in train_prompts))
        predictor = None
        if config.predictor != "none":
            predictor = Predictor(len(train_prompts))
        if newest is not None:
            checkpoint.load_optimizer(newest, learner.optimizer)
            checkpoint.load_statistics(newest, history, predictor)
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
            history=history,
            predictor=predictor,
            sinks=(JsonLines(config.out / METRICS, kept), *open_sinks(config.log, config.out)),
            allocation=JsonLines(config.out / ALLOCATION, kept),
            samples=JsonLines(config.out / SAMPLES, kept),
        )
    finally:
        scorer.close()
