"""The paper's Algorithm 1, on one screen: estimate, allocate, sample, update.

Every random choice is addressed by (seed, part, step), so a resumed run needs no iterator state
and ends with the same bits as an unbroken one.
"""

from dataclasses import replace
from enum import IntEnum
from functools import partial

import numpy as np

from gvmrl.allocate import Rule, allocate, gvm, uniform
from gvmrl.config import AllocationConfig, RunConfig
from gvmrl.data import IntArray, Prompt, Rollouts, merge
from gvmrl.errors import InputError
from gvmrl.estimate.pilot import pilot_stats
from gvmrl.gradnorm import sequence_norms
from gvmrl.sample import Address, collect
from gvmrl.stats import PromptStats
from gvmrl.train.checkpoint import State
from gvmrl.train.metrics import (
    Clock,
    MetricRow,
    Sink,
    allocation_metrics,
    progress_metrics,
    rollout_metrics,
    update_metrics,
)
from gvmrl.train.run import Run
from gvmrl.train.update import learning_rate
from gvmrl.train.weigh import weigh


class Part(IntEnum):
    """The parts of the program that draw random numbers."""

    ORDER = 0
    PILOT = 1
    TRAIN = 2
    SPLIT = 3
    EVAL = 4


def train(run: Run, show: Sink) -> None:
    """Take the steps that are left; log the figures of each, and show them.

    Raises:
        InputError: If the policy or the loss stops being finite; the checkpoints are as they were.
    """
    config, state = run.config, run.state

    def log(row: MetricRow, clock: Clock) -> None:
        for sink in (*run.sinks, show):
            sink(progress_metrics(state) | row | clock.seconds)

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
    config, step = run.config, state.step
    prompts = prompts_of_step(run, step)
    pilots = None
    if config.uses_pilots and step % config.allocation.every == 0:
        state, pilots = draw_pilots(run, state, clock)
    stats = stats_of(state, prompts)
    plan = allocate(
        stats,
        config.rollouts_per_step,
        rule=rule_of(config.allocation),
        lo=config.lo,
        hi=config.allocation.hi,
        seed=config.seed + step,
    )
    with clock.phase("sample"):
        already = pilots if config.pilot.reuse else None
        fresh_P = plan.count_P - (already.count_P if already is not None else 0)
        rollouts = draw(run, prompts, fresh_P, state.updates, address(run, Part.TRAIN, step))
        state = spend(state, rollouts)
        rollouts = merge([already, rollouts]) if already is not None else rollouts
    weights = weigh(rollouts, config.loss, stats.accept_rate_P if config.uses_pilots else None)
    with clock.phase("update"):
        rollouts = run.learner.with_old_logprobs(rollouts)
        updates = [
            run.learner.update(rollouts, weights, rows, state.updates + number)
            for number, rows in enumerate(split(config, step))
        ]
    run.log_step(step + 1, plan, stats, rollouts)
    row = rollout_metrics(rollouts, weights)
    row |= allocation_metrics(plan, stats if config.uses_pilots else None)
    metrics = [update.metrics for update in updates]
    row |= update_metrics(metrics, learning_rate(config.optim, state.updates + len(updates) - 1))
    state = replace(
        state,
        step=step + 1,
        updates=state.updates + len(updates),
        costs=replace(
            state.costs, train_rollouts=state.costs.train_rollouts + config.rollouts_per_step
        ),
        plan=plan,
    )
    return state, row


def rule_of(config: AllocationConfig) -> Rule:
    """Return the configured rule with its parameters."""
    if config.rule == "uniform":
        return uniform
    return partial(gvm, alpha=config.alpha, beta=config.beta)


def draw_pilots(run: Run, state: State, clock: Clock) -> tuple[State, Rollouts]:
    """Sample the iteration's pilots and put their statistics into the state (Algorithm 2)."""
    config = run.config
    prompts = prompts_of_iteration(run, state.step // config.allocation.every)
    count_P = np.full(len(prompts), config.pilot.rollouts)
    with clock.phase("pilot"):
        pilots = draw(run, prompts, count_P, state.updates, address(run, Part.PILOT, state.step))
        state = spend(state, pilots)
    norm_A, num_tokens = None, 0
    if config.allocation.rule != "uniform":
        accepted = [pilots.sequences[row] for row in np.flatnonzero(pilots.accepted_R)]
        num_tokens = sum(len(sequence.completion_ids) for sequence in accepted)
        with clock.phase("norm"):
            norm_A = sequence_norms(
                run.learner.policy.module,
                accepted,
                kind=config.pilot.norm,
                temperature=config.sampler.temperature,
                tokens_per_batch=config.optim.tokens_per_microbatch,
            )
    costs = replace(
        state.costs,
        pilot_rollouts=state.costs.pilot_rollouts + int(count_P.sum()),
        norm_tokens=state.costs.norm_tokens + num_tokens,
    )
    stats = pilot_stats(pilots, norm_A, config.pilot.norm_average)
    return replace(state, stats=stats, costs=costs), pilots


def evaluate(run: Run, state: State, clock: Clock) -> MetricRow:
    """Score the held-out prompts; the same random numbers every time, so curves differ less."""
    prompts, num = run.eval_prompts, run.config.log.eval_rollouts
    if not prompts:
        return {}
    with clock.phase("eval"):
        count_P = np.full(len(prompts), num)
        rollouts = draw(run, prompts, count_P, state.updates, address(run, Part.EVAL, 0))
    return {
        "eval/accuracy": float(rollouts.reward_R.mean()),
        "eval/completions": len(rollouts.completions),
        "eval/truncated_rate": float(np.mean([c.truncated for c in rollouts.completions])),
    }


def draw(
    run: Run, prompts: tuple[Prompt, ...], count_P: IntArray, updates: int, where: Address
) -> Rollouts:
    """Sample and score with the current weights."""
    return collect(run.sampler, run.scorer, prompts, count_P, address=where, policy_step=updates)


def spend(state: State, rollouts: Rollouts) -> State:
    """Add generated rollouts to the costs."""
    costs = replace(
        state.costs,
        all_rollouts=state.costs.all_rollouts + len(rollouts.completions),
        all_tokens=state.costs.all_tokens + rollouts.num_tokens,
    )
    return replace(state, costs=costs)


def stats_of(state: State, prompts: tuple[Prompt, ...]) -> PromptStats:
    """Return the iteration's statistics of these prompts, or say that none has been tried."""
    ids = tuple(prompt.id for prompt in prompts)
    if state.stats is None:
        return PromptStats(ids=ids, trials_P=np.zeros(len(ids)), successes_P=np.zeros(len(ids)))
    row = {prompt_id: row for row, prompt_id in enumerate(state.stats.ids)}
    return state.stats.take([row[prompt_id] for prompt_id in ids])


def prompts_of_iteration(run: Run, iteration: int) -> tuple[Prompt, ...]:
    """Return the prompts whose steps share a round of pilots, in seeded epochs without repeats."""
    size = run.config.prompts_per_step * run.config.allocation.every
    epoch, number = divmod(iteration, len(run.train_prompts) // size)
    order = np.random.default_rng(address(run, Part.ORDER, epoch))
    rows = order.permutation(len(run.train_prompts))[number * size : (number + 1) * size]
    return tuple(run.train_prompts[row] for row in rows)


def prompts_of_step(run: Run, step: int) -> tuple[Prompt, ...]:
    """Return the step's part of its iteration's prompts."""
    iteration, number = divmod(step, run.config.allocation.every)
    size = run.config.prompts_per_step
    return prompts_of_iteration(run, iteration)[number * size : (number + 1) * size]


def split(config: RunConfig, step: int) -> list[IntArray]:
    """Deal a step's rollouts at random to updates of equal size, whatever the counts are."""
    order = np.random.default_rng((config.seed, Part.SPLIT, step))
    rows = order.permutation(config.rollouts_per_step)
    return np.split(rows, config.rollouts_per_step // config.rollouts_per_update)


def address(run: Run, part: Part, step: int) -> Address:
    """Return where the randomness of a part of a step comes from."""
    return (run.config.seed, part, step)
