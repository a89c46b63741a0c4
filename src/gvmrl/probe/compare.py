"""Compare rules, stages and signals from the two halves of a pool. numpy only.

Whatever is decided from one half is judged by the other, both ways round, and the two are
averaged: counts that follow the luck of some rollouts are not judged by the same rollouts.

Axes: P prompts.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gvmrl.allocate import RuleName
from gvmrl.data import FloatArray, IntArray
from gvmrl.probe.arms import Arm, Terms, Weighted, mean_update, rule_plan, terms
from gvmrl.probe.ceiling import STAGES, stage_plan, uniform_and_best_variance
from gvmrl.probe.config import ProbeConfig
from gvmrl.probe.figures import Figures, estimate, figures, one_left_out, ratio
from gvmrl.probe.half import Half
from gvmrl.probe.ranks import prompt_norms, spearman
from gvmrl.probe.report import RankRow, Row, ShareRow, StageRow, Statistics
from gvmrl.stats import PromptStats

Halves = tuple[Half, Half]
Planner = Callable[[PromptStats], Weighted]


def judged(
    halves: Halves, arm: Arm, count: int, plans_from: Callable[[Half], Sequence[Weighted]]
) -> Terms:
    """Judge plans made from one half by the other, both ways round.

    Args:
        halves: The pool.
        arm: The update.
        count: Rollouts of a prompt with which uniform counts set the target.
        plans_from: Makes plans, equally likely, from what a half shows.
    """
    first, second = (
        terms(judge, arm, plans_from(known), target_update(judge, arm, count))
        for known, judge in (halves, halves[::-1])
    )
    return first.mean_with(second)


def target_update(half: Half, arm: Arm, count: int) -> FloatArray:
    """Return [S] the expected update of uniform counts, in the sides' mean gradients."""
    count_1P = np.full((1, len(half.ids)), count)
    weight_1P = arm.weight(count_1P[0], half.accept_rate_P)[None]
    return mean_update(half, arm, count_1P, weight_1P)[0]


def compare_rules(halves: Halves, arm: Arm, config: ProbeConfig) -> list[Row]:
    """Return the rows of one update: uniform and every rule, with known statistics and pilots."""
    count = config.rollouts
    pilots = {id(half): _pilots(half, config, number) for number, half in enumerate(halves)}

    def statistics_of(half: Half, statistics: Statistics) -> list[PromptStats]:
        return [half.stats("all_parameters")] if statistics == "known" else pilots[id(half)]

    def run(planner: Planner, statistics: Statistics) -> Terms:
        return judged(
            halves,
            arm,
            count,
            lambda half: [planner(stats) for stats in statistics_of(half, statistics)],
        )

    rows: list[Row] = []
    for statistics in ("known", "pilots"):
        even = figures(run(_uniform(arm, count), statistics), count)
        same_cost = even
        # inverse_probability pays for pilots whatever the counts are
        if statistics == "pilots" and arm.weighting != "inverse_probability":
            more = count + config.pilots
            same_cost = figures(run(_uniform(arm, more), statistics), more)
        rows.append(_row(arm, "uniform", statistics, (even, even, same_cost)))
        for rule in config.rules:
            found = figures(run(_by_rule(arm, rule, config), statistics), count)
            rows.append(_row(arm, rule, statistics, (found, even, same_cost)))
    return rows


def compare_stages(halves: Halves, arm: Arm, count: int) -> list[StageRow]:
    """Return what known statistics save, stage by stage."""

    def even(half: Half) -> list[Weighted]:
        count_P = np.full(len(half.ids), count)
        return [Weighted(count_P, arm.weight(count_P, half.accept_rate_P))]

    uniform = figures(judged(halves, arm, count, even), count)
    rows: list[StageRow] = []
    for stage in STAGES:
        found = judged(
            halves, arm, count, lambda half, stage=stage: [stage_plan(half, arm, stage, count)]
        )
        cost = ratio(figures(found, count).noise_J, uniform.noise_J)
        rows.append(StageRow(arm=arm.name, stage=stage, saved=cost.complement))
    return rows


def share_of_variance(halves: Halves, arm: Arm, count: int) -> ShareRow:
    """Return the part of uniform's variance that the best counts take away."""
    even_P, best_P = (
        np.sum(part, axis=0)
        for part in zip(
            *(uniform_and_best_variance(half, arm, count) for half in halves), strict=True
        )
    )
    inside_JP = one_left_out(even_P.size)
    return ShareRow(arm=arm.name, share=ratio(inside_JP @ best_P, inside_JP @ even_P).complement)


def compare_ranks(halves: Halves, seed: int) -> list[RankRow]:
    """Return how well the cheap norms order prompts, for accepted and for rejected rollouts."""
    rng = np.random.default_rng((seed, len(halves[0].ids)))
    return [
        RankRow(
            signal=signal,
            rollouts="accepted" if accepted else "rejected",
            spearman=spearman(
                prompt_norms(halves, signal, accepted=accepted),
                prompt_norms(halves, "all_parameters", accepted=accepted),
                rng,
            ),
        )
        for signal in ("input_embedding", "output_head", "free")
        for accepted in (True, False)
    ]


def _pilots(half: Half, config: ProbeConfig, number: int) -> list[PromptStats]:
    """Draw pilots many times; every update and rule gets the same."""
    rng = np.random.default_rng((config.seed, number))
    return [half.pilot_stats(config.pilots, config.norm, rng) for _ in range(config.pilot_draws)]


def _uniform(arm: Arm, count: int) -> Planner:
    def plan(stats: PromptStats) -> Weighted:
        count_P: IntArray = np.full(len(stats), count)
        return Weighted(count_P, arm.weight(count_P, stats.accept_rate_P))

    return plan


def _by_rule(arm: Arm, rule: RuleName, config: ProbeConfig) -> Planner:
    def plan(stats: PromptStats) -> Weighted:
        return rule_plan(stats, arm, rule, config.rollouts, config.seed)

    return plan


def _row(
    arm: Arm, rule: RuleName, statistics: Statistics, found: tuple[Figures, Figures, Figures]
) -> Row:
    """Make a row from the rule's figures, uniform's, and uniform's at equal cost."""
    mine, even, same_cost = found
    return Row(
        arm=arm.name,
        rule=rule,
        statistics=statistics,
        variance=estimate(mine.variance_J),
        bias=estimate(mine.bias_J),
        snr=estimate(mine.snr_J),
        variance_ratio=ratio(mine.variance_J, even.variance_J),
        snr_ratio=ratio(mine.snr_J, even.snr_J),
        snr_ratio_equal_cost=ratio(mine.snr_J, same_cost.snr_J),
        saved_equal_cost=ratio(mine.noise_J, same_cost.noise_J).complement,
    )
