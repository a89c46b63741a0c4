"""A probe from settings to report: draw the pool, measure it, compare the updates.

Axes: P prompts.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from torch import Tensor

from gvmrl.allocate import RuleName
from gvmrl.allocate.bins import rate_bins
from gvmrl.data import IntArray, Prompt, Rollouts, merge
from gvmrl.errors import InputError
from gvmrl.load import load_policy
from gvmrl.losses import LossConfig
from gvmrl.probe.arms import ARMS, Weighted, arm_of, rule_plan, terms
from gvmrl.probe.ceiling import undecided
from gvmrl.probe.check import Draws, add_up, update_of
from gvmrl.probe.compare import (
    Halves,
    compare_ranks,
    compare_rules,
    compare_stages,
    share_of_variance,
    target_update,
)
from gvmrl.probe.config import ProbeConfig
from gvmrl.probe.figures import figures, of_two
from gvmrl.probe.gradients import Scores
from gvmrl.probe.half import stats_of
from gvmrl.probe.pool import Show, measure
from gvmrl.probe.report import CheckRow, Report, Row, ShareRow, StageRow
from gvmrl.probe.verdict import verdict
from gvmrl.reward.config import Scorer
from gvmrl.reward.scorer import make_reward
from gvmrl.sample import Sampler, Wave, collect
from gvmrl.sample.transformers import TransformersSampler
from gvmrl.train.prompts import load_prompts

CHUNK = 8
"""Prompts that are sampled between two signs of progress."""


class Part(IntEnum):
    """The parts of a probe that draw random numbers; other numbers than those of training."""

    PROMPTS = 10
    POOL = 11
    CHECK = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The opened parts of a probe."""

    config: ProbeConfig
    scores: Scores
    sampler: Sampler
    scorer: Scorer
    prompts: tuple[Prompt, ...]

    def draw(self, count_P: IntArray, part: Part, number: int) -> Rollouts:
        """Draw and score rollouts; equal arguments give equal rollouts."""
        wave = Wave(self.prompts, count_P, (self.config.seed, part, number))
        return collect(self.sampler, self.scorer, [wave], policy_step=0)[0]


def run_probe(config: ProbeConfig, show: Show) -> Report:
    """Measure, and return all figures.

    Raises:
        InputError: If the model or the data cannot be used, or no update can be measured.
    """
    start = time.monotonic()
    policy = load_policy(config.model)
    scorer = make_reward(config.reward)
    try:
        prompts, _ = load_prompts(config.run, policy.tokenizer, scorer)
        order = np.random.default_rng((config.seed, Part.PROMPTS)).permutation(len(prompts))
        probe = Probe(
            config=config,
            scores=Scores(
                policy=policy,
                temperature=config.sampler.temperature,
                tokens_per_microbatch=config.tokens_per_microbatch,
            ),
            sampler=TransformersSampler(policy, config.sampler),
            scorer=scorer,
            prompts=tuple(prompts[row] for row in order[: config.prompts]),
        )
        pool = draw_pool(probe, show)
        found = measure(
            probe.scores, pool, config.loss, size=config.sketch, seed=config.seed, show=show
        )
        check_mixed(found.halves, config)
        checks = check(probe, found.halves, show)
    finally:
        scorer.close()
    own = arm_of(config.loss)
    arms = list(dict.fromkeys([*ARMS, own]))
    rows: list[Row] = []
    stages: list[StageRow] = []
    shares: list[ShareRow] = []
    for number, arm in enumerate(arms):
        rows += compare_rules(found.halves, arm, config)
        stages += compare_stages(found.halves, arm, config.rollouts)
        shares.append(share_of_variance(found.halves, arm, config.rollouts))
        show("updates", number + 1, len(arms))
    everything = stats_of(
        found.halves[0].ids,
        np.concatenate([half.accepted_PK for half in found.halves], axis=1),
        np.concatenate([half.norm_PK["all_parameters"] for half in found.halves], axis=1),
    )
    return Report(
        settings=config.settings,
        arm=own.name,
        num_parameters=found.num_parameters,
        pool_rollouts=len(pool.completions),
        different_rollouts=found.num_different,
        bins={name: int(rows_P.sum()) for name, rows_P in rate_bins(everything).items()},
        sketch_error=(2 / config.sketch) ** 0.5 if config.sketch else 0.0,
        rows=tuple(rows),
        stages=tuple(stages),
        shares=tuple(shares),
        ranks=tuple(compare_ranks(found.halves, config.seed)),
        checks=tuple(checks),
        verdict=verdict(
            [row for row in rows if row.arm == own.name],
            [row for row in stages if row.arm == own.name],
            config.pilots,
        ),
        seconds=time.monotonic() - start,
    )


def draw_pool(probe: Probe, show: Show) -> Rollouts:
    """Draw the rollouts that are measured, some prompts at a time."""
    num = len(probe.prompts)
    parts: list[Rollouts] = []
    for start in range(0, num, CHUNK):
        chosen_P = (np.arange(num) >= start) & (np.arange(num) < start + CHUNK)
        parts.append(probe.draw(chosen_P * probe.config.pool, Part.POOL, 0))
        show("sampling", min(start + CHUNK, num), num)
    return merge(parts)


def check_mixed(halves: Halves, config: ProbeConfig) -> None:
    """Refuse a pool in which hardly any prompt has an update to measure.

    Raises:
        InputError: If fewer than two prompts were both solved and missed in a half.
    """
    num = min(int(undecided(half).sum()) for half in halves)
    if num < 2:
        raise InputError(
            f"of {config.prompts} prompts only {num} had both accepted and rejected rollouts among "
            f"{config.pool // 2}: there is no update to measure; raise pool or prompts, or take "
            "data that the model sometimes solves"
        )


def check(probe: Probe, halves: Halves, show: Show) -> list[CheckRow]:
    """Draw whole updates with fresh rollouts, for uniform and the first rule."""
    config, half = probe.config, halves[0]
    if config.check_draws == 0:
        return []
    arm, num = arm_of(config.loss), config.prompts
    stats = half.stats("all_parameters")
    count_P = np.full(num, config.rollouts)
    even = Weighted(count_P, arm.weight(count_P, stats.accept_rate_P))
    plans: dict[RuleName, Weighted] = {
        "uniform": even,
        config.rules[0]: rule_plan(stats, arm, config.rules[0], config.rollouts, config.seed),
    }
    loss: LossConfig = replace(config.loss, weighting=arm.weighting)

    def updates(plan: Weighted, first: int) -> Iterator[Tensor]:
        for number in range(config.check_draws):
            rollouts = probe.draw(plan.count_P, Part.CHECK, first + number)
            yield update_of(probe.scores, rollouts, loss, stats.accept_rate_P)
            show("checks", first + number + 1, len(plans) * config.check_draws)

    drawn: dict[str, Draws] = {}
    rows: list[CheckRow] = []
    for number, (rule, plan) in enumerate(plans.items()):
        drawn[rule] = add_up(updates(plan, number * config.check_draws))
        target = [target_update(half, arm, config.rollouts) for half in halves]
        one, two = (
            terms(half, arm, [plan], target_S)
            for half, target_S in zip(halves, target, strict=True)
        )
        predicted = figures(one.mean_with(two), config.rollouts)
        rows.append(
            CheckRow(
                rule=rule,
                predicted_variance=of_two(one.variance_P, two.variance_P),
                variance=drawn[rule].variance,
                predicted_snr=float(predicted.snr_J[0]),
                snr=drawn[rule].snr(drawn["uniform"]),
            )
        )
    return rows
