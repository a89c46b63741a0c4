"""A step's rollouts by a rule: the epoch gives the prompts, the rule the counts.

Axes: P prompts of the step, A accepted pilots.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from gvmrl.allocate import Plan, Rule, allocate, gvm
from gvmrl.allocate.rules.catalog import ROUND_RULES, fitted, rule_named
from gvmrl.allocate.rules.rounds import wanted
from gvmrl.allocate.update.estimators import Estimator
from gvmrl.config import RunConfig
from gvmrl.data import IntArray, Prompt, Rollouts, merge
from gvmrl.estimate.pilot import pilot_stats
from gvmrl.gradnorm import sequence_norms
from gvmrl.losses import Loss
from gvmrl.stats import PromptStats
from gvmrl.strategy.waves import spread
from gvmrl.train.checkpoint import State
from gvmrl.train.draw import Batch, Part, address, draw, epoch_rows, spend
from gvmrl.train.metrics import Clock
from gvmrl.train.run import Run

ESTIMATORS: dict[Loss, Estimator] = {
    "raft": "raft",
    "raft++": "raft",
    "grpo": "grpo",
    "dr_grpo": "dr_grpo",
    "rloo": "rloo",
}
"""What a rule that is matched to the estimator is matched to."""


def from_epoch(run: Run, state: State, clock: Clock) -> tuple[State, Batch]:
    """Take the next prompts of the epoch, and let the rule divide the rollouts among them."""
    config, allocation = run.config, run.config.allocation
    rows = rows_of_step(run, state.step)
    prompts = tuple(run.train_prompts[row] for row in rows)
    pilots = list[Rollouts]()
    if config.uses_pilots and state.step % allocation.every == 0:
        state, drawn = draw_pilots(run, state, clock)
        pilots.append(drawn)
    reused = pilots if config.pilot.reuse else []
    stats = known_stats(run, state, rows)
    weight_P = None
    with clock.phase("sample"):
        if allocation.rule in ROUND_RULES:
            fresh, notes = in_rounds(run, state, prompts, stats)
        else:
            plan = plan_of(run, state, stats)
            count_P, notes = plan.count_P, plan.notes
            if allocation.spend_on == "weights":
                weight_P = count_P / count_P.mean()
                count_P = spread(plan.budget, np.arange(rows.size), rows.size)
            for part in reused:
                count_P = count_P - part.count_P
            where = address(run, Part.TRAIN, state.step)
            fresh = [draw(run, prompts, count_P, state.updates, where)]
    for wave in fresh:
        state = spend(state, wave)
    belief = run.belief(state.updates).take(rows)
    return state, Batch(
        rollouts=merge([*reused, *fresh]),
        drawn=[*pilots, *fresh],
        stats=stats,
        belief=belief,
        accept_rate_P=stats.accept_rate_P if config.uses_pilots else belief.rate_P,
        loss_weight_P=weight_P,
        notes=notes,
    )


def plan_of(run: Run, state: State, stats: PromptStats) -> Plan:
    """Divide a step's rollouts at once."""
    config = run.config
    return allocate(
        stats,
        config.rollouts_per_step,
        rule=rule_of(config),
        lo=config.lo,
        hi=config.allocation.hi,
        seed=config.seed + state.step,
    )


def in_rounds(
    run: Run, state: State, prompts: tuple[Prompt, ...], stats: PromptStats
) -> tuple[list[Rollouts], tuple[str, ...]]:
    """Draw round after round what the rule wants; once it has enough, spread what is left.

    A rule that never has enough is asked again after every rollout a prompt.
    """
    config, size = run.config, len(prompts)
    rule, lo, hi = rule_of(config), config.lo, config.allocation.hi
    trial_P, success_P = np.zeros(size, np.int64), np.zeros(size, np.int64)
    rounds, notes = list[Rollouts](), list[str]()
    while left := config.rollouts_per_step - int(trial_P.sum()):
        seen = replace(stats, round_trials_P=trial_P, round_successes_P=success_P)
        want = wanted(rule(seen), size)
        plan = allocate(
            seen,
            min(left, size if want > config.rollouts_per_step * size else want or left),
            rule=rule if want else "uniform",
            lo=0 if rounds else lo,
            hi=None if hi is None else hi - trial_P,
            seed=config.seed + state.step,
        )
        where = address(run, Part.TRAIN, state.step, len(rounds))
        drawn = draw(run, prompts, plan.count_P, state.updates, where)
        rounds.append(drawn)
        notes += plan.notes
        trial_P, success_P = trial_P + drawn.count_P, success_P + drawn.success_P
    return rounds, tuple(dict.fromkeys(notes))


def rule_of(config: RunConfig) -> Rule:
    """Return the configured rule with its parameters, and matched to the loss where it can be."""
    allocation = config.allocation
    if allocation.rule == "gvm":
        return partial(gvm, alpha=allocation.alpha, beta=allocation.beta)
    return fitted(rule_named(allocation.rule), ESTIMATORS[config.loss.name])


def draw_pilots(run: Run, state: State, clock: Clock) -> tuple[State, Rollouts]:
    """Sample the iteration's pilots and put their statistics into the state (Algorithm 2)."""
    config = run.config
    rows = rows_of_iteration(run, state.step // config.allocation.every)
    prompts = tuple(run.train_prompts[row] for row in rows)
    count_P = np.full(rows.size, config.pilot.rollouts)
    with clock.phase("pilot"):
        where = address(run, Part.PILOT, state.step)
        pilots = draw(run, prompts, count_P, state.updates, where)
        state = spend(state, pilots)
    norm_A, num_tokens = None, 0
    if config.allocation.needs_statistics:
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


def known_stats(run: Run, state: State, row_P: IntArray) -> PromptStats:
    """Return what is known of these prompts: by the iteration's pilots, else by the history."""
    if not run.config.uses_pilots:
        return run.history.stats(row_P, state.updates)
    assert state.stats is not None, "an iteration begins with its pilots"
    row_of = {prompt_id: row for row, prompt_id in enumerate(state.stats.ids)}
    return state.stats.take([row_of[run.train_prompts[row].id] for row in row_P])


def rows_of_iteration(run: Run, iteration: int) -> IntArray:
    """Return the prompts whose steps share a round of pilots."""
    size = run.config.prompts_per_step * run.config.allocation.every
    return epoch_rows(run, iteration * size, size, block=size)


def rows_of_step(run: Run, step: int) -> IntArray:
    """Return the step's part of its iteration's prompts."""
    iteration, number = divmod(step, run.config.allocation.every)
    size = run.config.prompts_per_step
    return rows_of_iteration(run, iteration)[number * size : (number + 1) * size]
