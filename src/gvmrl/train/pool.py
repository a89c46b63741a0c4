"""A step's rollouts by a strategy: prompts and counts from the whole pool, audited as it goes.

Axes: P prompts of the pool, K prompts of a wave.
"""

import logging
from dataclasses import replace

import numpy as np

from gvmrl.data import BoolArray, IntArray, Rollouts, merge, select
from gvmrl.estimate.audit import Audit, Yield
from gvmrl.estimate.history import Belief
from gvmrl.estimate.pilot import pilot_stats
from gvmrl.sample import Address
from gvmrl.strategy.catalog import STRATEGIES
from gvmrl.strategy.waves import Drawn, Pool, spread
from gvmrl.train.checkpoint import State
from gvmrl.train.draw import Batch, Part, address, draw_some, epoch_rows, spend
from gvmrl.train.metrics import Clock
from gvmrl.train.run import Run

logger = logging.getLogger(__name__)


def from_pool(run: Run, state: State, clock: Clock) -> tuple[State, Batch]:
    """Let the strategy spend its part of the step's rollouts, and uniform sampling the other.

    While the strategy is in use, its part is all but the audit's share; else it is that share.
    """
    config, audit, size = run.config, state.audit, len(run.train_prompts)
    budget, group = config.rollouts_per_step, config.group
    luck = np.random.default_rng(address(run, Part.AUDIT, state.step)).random()
    share = group * int(config.allocation.audit_rate * budget / group + luck)
    evenly = share if audit.in_use else budget - share
    state, chosen_by, compared_with = believed(run, state, clock)
    num_even = -(-evenly // group)
    even_P = np.zeros(size, np.int64)
    if evenly:
        even_P = spread(evenly, epoch_rows(run, audit.num_uniform, num_even), size)
    with clock.phase("sample"):
        even, chosen, keep_P = follow(run, state, chosen_by, even_P, budget - evenly)
    for wave in (even, *chosen):
        state = spend(state, wave)
    kept = chosen
    if keep_P is not None:
        kept = [select(wave, keep_P[run.history.rows(wave.prompts)]) for wave in chosen]
    rollouts = merge([even, *kept])
    rows = run.history.rows(rollouts.prompts)
    audit = judged(run, audit, [even], chosen)
    audit = replace(audit, num_uniform=audit.num_uniform + num_even)
    return replace(state, audit=audit), Batch(
        rollouts=rollouts,
        drawn=[even, *chosen],
        stats=run.history.stats(rows, state.updates),
        belief=compared_with.take(rows),
        accept_rate_P=compared_with.rate_P[rows],
    )


def follow(
    run: Run, state: State, belief: Belief, even_P: IntArray, budget: int
) -> tuple[Rollouts, list[Rollouts], BoolArray | None]:
    """Draw the [P] even rollouts beside the waves that the strategy asks for.

    Returns:
        The even rollouts; the strategy's waves, none without a budget; [P] which prompts are kept.
    """
    config, size = run.config, len(run.train_prompts)

    def where(wave: int) -> Address:
        return address(run, Part.TRAIN, state.step, wave)

    if not budget:
        (even,) = draw_some(run, state.updates, (even_P, where(0)))
        return even, [], None
    pool = Pool(
        history=run.history,
        belief=belief,
        step=state.updates,
        budget=budget,
        group=config.group,
        pace=size * config.group / config.rollouts_per_update,
        rng=np.random.default_rng(address(run, Part.STRATEGY, state.step)),
    )
    waves = STRATEGIES[config.allocation.strategy](pool)
    trial_P, success_P = np.zeros(size, np.int64), np.zeros(size, np.int64)
    # one pass through the tokens for both: a GPU is idle while a small batch decodes
    even, *drawn = draw_some(run, state.updates, (even_P, where(0)), (next(waves), where(1)))
    while True:
        rows = run.history.rows(drawn[-1].prompts)
        trial_P[rows] += drawn[-1].count_P
        success_P[rows] += drawn[-1].success_P
        try:
            count_P = waves.send(Drawn(trial_P=trial_P.copy(), success_P=success_P.copy()))
        except StopIteration as end:
            return even, drawn, end.value
        drawn += draw_some(run, state.updates, (count_P, where(len(drawn) + 1)))


def believed(run: Run, state: State, clock: Clock) -> tuple[State, Belief, Belief]:
    """Return the beliefs that prompts are chosen by, and those that rewards are compared with."""
    own, allocation = run.belief(state.updates), run.config.allocation
    if allocation.rule != "oracle":
        return state, own, own
    state, measured = measured_rates(run, state, clock)
    return (
        state,
        own if allocation.oracle_for == "baseline" else measured,
        own if allocation.oracle_for == "choice" else measured,
    )


def measured_rates(run: Run, state: State, clock: Clock) -> tuple[State, Belief]:
    """Return the oracle's rates as beliefs.

    They come from rollouts that no method could afford; they are counted apart.
    """
    config = run.config
    if state.step % config.allocation.every == 0:
        with clock.phase("pilot"):
            count_P = np.full(len(run.train_prompts), config.pilot.rollouts)
            where = address(run, Part.ORACLE, state.step)
            (measured,) = draw_some(run, state.updates, (count_P, where))
        costs = replace(
            state.costs, oracle_rollouts=state.costs.oracle_rollouts + int(count_P.sum())
        )
        state = replace(state, stats=pilot_stats(measured, None, "mean"), costs=costs)
    assert state.stats is not None, "the rates are measured at the first step"
    failures_P = state.stats.trials_P - state.stats.successes_P
    tiny = 1e-3
    return state, Belief(alpha_P=state.stats.successes_P + tiny, beta_P=failures_P + tiny)


def judged(run: Run, audit: Audit, even: list[Rollouts], chosen: list[Rollouts]) -> Audit:
    """Add a step's evidence to the audit; say so in the log when the other side takes over.

    Of the strategy's groups those count whose prompts it knew: the others it had to take.
    """
    known = [select(wave, run.history.seen_P[run.history.rows(wave.prompts)]) for wave in chosen]
    after = replace(
        audit,
        strategy=_plus(audit.strategy, known),
        uniform=_plus(audit.uniform, even),
    )
    if after.should_use != audit.in_use:
        logger.info(
            "audit: the strategy yields %s times what uniform sampling does; %s now",
            after.gain,
            "it is used" if after.should_use else "uniform sampling is used",
        )
    return replace(after, in_use=after.should_use)


def _plus(side: Yield, waves: list[Rollouts]) -> Yield:
    trial_K = np.concatenate([np.zeros(0, np.int64), *(wave.count_P for wave in waves)])
    success_K = np.concatenate([np.zeros(0, np.int64), *(wave.success_P for wave in waves)])
    return side.plus(trial_K, success_K)
