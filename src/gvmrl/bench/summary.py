"""What a finished bench shows: each arm against the baseline, group by group, with its warnings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gvmrl.bench.config import BenchConfig
from gvmrl.bench.speedup import (
    FRACTIONS,
    Curves,
    Estimate,
    Share,
    Speedup,
    share_of_ceiling,
    speedup,
    targets_of,
)
from gvmrl.data import FloatArray
from gvmrl.report.compare import Difference, paired_difference
from gvmrl.report.runs import Axis, RunRecord, by_label

COSTS: dict[Axis, str] = {
    "updates": "updates",
    "cost/train_rollouts": "training rollouts",
    "cost/all_rollouts": "all rollouts",
    "cost/all_tokens": "tokens",
    "seconds": "seconds",
}
"""The costs that speed-ups are given in, with their column names."""
UPDATES = list(COSTS).index("updates")
ALL_ROLLOUTS = list(COSTS).index("cost/all_rollouts")
FEW_SEEDS = 5
EQUAL = (
    *("rollouts_per_update", "model.", "data.", "reward.", "sampler.", "optim."),
    *("loss.name", "loss.aggregation", "loss.clip_low", "loss.clip_high", "loss.kl_coef"),
)
"""Settings, or beginnings of settings, that a fair comparison keeps equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """An arm against the baseline of its group."""

    arm: str
    num_seeds: int
    area: Difference
    """Accuracy averaged along the curve, minus the baseline's, at equal numbers of all rollouts."""
    speedup: Speedup | None
    """None where the baseline does not rise, so that there is nothing to reach."""
    share: Share | None
    """Of the way from the baseline to the ceiling; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The arms of one group."""

    group: str
    target_T: FloatArray
    """Accuracies that speed-ups are measured at; none if the baseline does not rise."""
    results: tuple[ArmResult, ...]
    """One for each arm but the baseline."""
    verdict: str
    """What the headroom arm says, if there is one."""
    notes: tuple[str, ...]
    """What has to be known to read the figures."""


def compare(runs: Sequence[RunRecord], config: BenchConfig) -> list[Comparison]:
    """Compare the arms of each group with the baseline.

    Args:
        runs: Finished runs, labelled by arm and grouped by set and loss.
        config: Names the baseline, the headroom arm and the ceiling.
    """
    groups = dict.fromkeys(run.group for run in runs)
    return [_compare([run for run in runs if run.group == group], config) for group in groups]


def _compare(runs: Sequence[RunRecord], config: BenchConfig) -> Comparison:
    arms = by_label(runs)
    baseline = arms.pop(config.baseline)
    target_T = targets_of(np.stack([run.accuracy_E for run in baseline]))
    found: dict[str, Speedup] = {}
    if target_T.size:
        found = {
            arm: speedup(curves_of(same), curves_of(_paired(baseline, same)), target_T)
            for arm, same in arms.items()
        }
    results = [
        ArmResult(
            arm=arm,
            num_seeds=len(same),
            area=paired_difference(same, _paired(baseline, same), "cost/all_rollouts"),
            speedup=found.get(arm),
            share=_share(same, arms.get(config.ceiling or ""), baseline, target_T),
        )
        for arm, same in arms.items()
    ]
    return Comparison(
        group=runs[0].group,
        target_T=target_T,
        results=tuple(results),
        verdict=_headroom(found, config),
        notes=tuple(_notes(baseline, arms, target_T)),
    )


def curves_of(runs: Sequence[RunRecord]) -> Curves:
    """Stack the curves of an arm's finished runs."""
    return Curves(
        accuracy_SE=np.stack([run.accuracy_E for run in runs]),
        cost_CSE=np.stack([[run.cost_E(axis) for run in runs] for axis in COSTS]),
    )


def _paired(baseline: Sequence[RunRecord], arm: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the baseline's runs with the seeds of an arm, in the arm's order."""
    by_seed = {run.seed: run for run in baseline}
    return [by_seed[run.seed] for run in arm]


def _share(
    arm: Sequence[RunRecord],
    ceiling: Sequence[RunRecord] | None,
    baseline: Sequence[RunRecord],
    target_T: FloatArray,
) -> Share | None:
    """Compare an arm with the ceiling on the seeds that both have; None without any."""
    if ceiling is None or not target_T.size:
        return None
    common = {run.seed for run in arm} & {run.seed for run in ceiling}
    if not common:
        return None
    runs = [[run for run in one if run.seed in common] for one in (arm, ceiling)]
    mine, best = (
        speedup(curves_of(one), curves_of(_paired(baseline, one)), target_T) for one in runs
    )
    return share_of_ceiling(mine.of_means[ALL_ROLLOUTS], best.of_means[ALL_ROLLOUTS], len(common))


def _headroom(found: Mapping[str, Speedup], config: BenchConfig) -> str:
    """Say whether more rollouts an update help: else no other use of them can."""
    if config.headroom is None or config.headroom not in found:
        return ""
    gain: Estimate = found[config.headroom].of_means[UPDATES]
    figure = f"{config.headroom} against {config.baseline}, per update: {gain}"
    if gain.low > 1:
        return f"More rollouts an update help ({figure}): variance is a bottleneck here."
    return (
        f"More rollouts an update do not clearly help ({figure}): variance is not shown to be the "
        "bottleneck here, and no allocation rule can be expected to show anything."
    )


def _notes(
    baseline: Sequence[RunRecord], arms: Mapping[str, Sequence[RunRecord]], target_T: FloatArray
) -> Iterator[str]:
    name = baseline[0].label
    start, end = (float(np.mean([run.accuracy_E[at] for run in baseline])) for at in (0, -1))
    if target_T.size:
        shares = ", ".join(f"{fraction:.0%}" for fraction in FRACTIONS)
        accuracies = ", ".join(f"{target:.3f}" for target in target_T)
        yield (
            f"Targets: accuracy {accuracies}, which are {shares} of the way of {name}'s mean curve "
            f"({start:.3f} at the start, {end:.3f} at the end)."
        )
    else:
        yield (
            f"{name} goes from {start:.3f} to {end:.3f}, no rise beyond its noise: there is "
            "nothing to reach sooner, and only areas are compared."
        )
    if len(baseline) < FEW_SEEDS:
        yield (
            f"{len(baseline)} seeds: too few for a claim, and for intervals that cover 95%; use "
            f"at least {FEW_SEEDS}."
        )
    for arm, same in arms.items():
        if differences := list(_differences(same[0], baseline[0])):
            yield f"{arm} is not on equal terms with {name}: {'; '.join(differences)}."


def _differences(run: RunRecord, baseline: RunRecord) -> Iterator[str]:
    """Name what a fair comparison keeps equal and these runs do not."""
    mine, theirs = (int(one.rows[-1]["updates"]) for one in (run, baseline))
    if mine != theirs:
        yield f"{mine} updates, not {theirs}"
    for name, value in run.settings.items():
        other = baseline.settings[name]
        if value != other and name.startswith(EQUAL):
            yield f"{name} {value}, not {other}"
