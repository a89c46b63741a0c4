"""The paper's Algorithm 1, on one screen: estimate, allocate, sample, update.

Every random choice is addressed by (seed, part, step), so a resumed run needs no iterator state
and ends with the same bits as an unbroken one.
"""

from dataclasses import replace

import numpy as np

from gvmrl.config import RunConfig
from gvmrl.data import IntArray, segment_sum
from gvmrl.errors import InputError
from gvmrl.train.checkpoint import State
from gvmrl.train.draw import Part, address, draw
from gvmrl.train.epoch import from_epoch
from gvmrl.train.metrics import (
    Clock,
    MetricRow,
    Sink,
    allocation_metrics,
    memory_metrics,
    progress_metrics,
    rollout_metrics,
    strategy_metrics,
    update_metrics,
)
from gvmrl.train.pool import from_pool
from gvmrl.train.run import Run
from gvmrl.train.update import learning_rate
from gvmrl.train.weigh import weigh


def train(run: Run, show: Sink) -> None:
    """Take the steps that are left; log the figures of each, and show them.

    Raises:
        InputError: If the policy or the loss stops being finite; the checkpoints are as they were.
    """
    config, state, device = run.config, run.state, run.learner.policy.device

    def log(row: MetricRow, clock: Clock) -> None:
        for sink in (*run.sinks, show):
            sink(progress_metrics(state) | row | memory_metrics(device) | clock.seconds)

    try:
        if state.step == 0:
            clock = Clock()
            log(evaluate(run, state, clock), clock)
        while state.step < config.steps:
            clock = Clock()
            state, row = take_step(run, state, clock)
            last = state.step == config.steps
            if last or state.step % config.log.eval_every == 0:
                row |= evaluate(run, state, clock)
            log(row, clock)
            if last or state.step % config.log.checkpoint_every == 0:
                run.save(state)
    except FloatingPointError as error:
        raise InputError(
            f"step {state.step + 1}: {error}; the last good checkpoint, if there is one, is in "
            f"{config.out / 'checkpoints'}; start again with a lower optim.lr (it is "
            f"{config.optim.lr}) or optim.max_grad_norm ({config.optim.max_grad_norm})"
        ) from error


def take_step(run: Run, state: State, clock: Clock) -> tuple[State, MetricRow]:
    """Spend one step's rollouts and take its updates; return the new state and the figures."""
    config = run.config
    with clock.phase("predict"):
        run.look(state.step)
    draw_batch = from_pool if config.allocation.chooses_prompts else from_epoch
    after, batch = draw_batch(run, state, clock)
    weights = weigh(
        batch.rollouts,
        replace(config.loss, weighting=config.weighting),
        accept_rate_P=batch.accept_rate_P,
        loss_weight_P=batch.loss_weight_P,
        belief=batch.belief if config.uses_history_baseline else None,
    )
    with clock.phase("update"):
        rollouts = run.learner.with_old_logprobs(batch.rollouts)
        updates = [
            run.learner.update(rollouts, weights, rows, state.updates + number)
            for number, rows in enumerate(split(config, state.step))
        ]
    run.learn(batch.drawn, state.updates)
    run.learn_norms(rollouts, updates)
    run.log_step(state.step + 1, batch.stats, batch.belief.rate_P, rollouts, batch.notes)
    row = rollout_metrics(rollouts, weights)
    row |= allocation_metrics(rollouts, batch.stats, batch.notes)
    row |= strategy_metrics(run.history, after.audit)
    metrics = [update.metrics for update in updates]
    row |= update_metrics(metrics, learning_rate(config.optim, state.updates + len(updates) - 1))
    costs = replace(
        after.costs, train_rollouts=after.costs.train_rollouts + config.rollouts_per_step
    )
    after = replace(after, step=state.step + 1, updates=state.updates + len(updates), costs=costs)
    return after, row


def evaluate(run: Run, state: State, clock: Clock) -> MetricRow:
    """Score the held-out prompts; the same random numbers every time, so curves differ less.

    Where every id begins with a group, as in `hard/...`, each group's accuracy is given too.
    """
    prompts, num = run.eval_prompts, run.config.log.eval_rollouts
    if not prompts:
        return {}
    with clock.phase("eval"):
        count_P = np.full(len(prompts), num)
        rollouts = draw(run, prompts, count_P, state.updates, address(run, Part.EVAL, 0))
    accuracy_P = segment_sum(rollouts.reward_R, rollouts.prompt_R, len(prompts)) / num
    groups = np.array([prompt.id.partition("/")[0] for prompt in prompts])
    named = np.unique(groups) if all("/" in prompt.id for prompt in prompts) else []
    return {
        "eval/accuracy": float(rollouts.reward_R.mean()),
        **{f"eval/accuracy_{name}": float(accuracy_P[groups == name].mean()) for name in named},
        "eval/completions": len(rollouts.completions),
        "eval/truncated_rate": float(np.mean([c.truncated for c in rollouts.completions])),
    }


def split(config: RunConfig, step: int) -> list[IntArray]:
    """Deal a step's rollouts at random to updates of equal size, whatever the counts are."""
    order = np.random.default_rng((config.seed, Part.SPLIT, step))
    rows = order.permutation(config.rollouts_per_step)
    return np.split(rows, config.rollouts_per_step // config.rollouts_per_update)
