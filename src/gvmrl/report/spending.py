"""The figures of where rollouts went, as SVG text.

Axes: V visits of a run, K bins of the pass rate, W windows of steps, G kinds of spending.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from gvmrl.data import FloatArray
from gvmrl.report.runs import RunRecord
from gvmrl.report.style import PASS_RATE_COLOURS, finish, looks, svg
from gvmrl.report.visits import BINS, Visits

NUM_WINDOWS = 24
KINDS = ("pilots, discarded", "groups all wrong", "groups mixed", "groups all right")
KIND_COLOURS = ("#bbbbbb", "#ee6677", "#228833", "#4477aa")
COLUMNS = 3
NUM_RELIABILITY_BINS = 10

ArmVisits = Mapping[str, Sequence[Visits]]
"""The visits of each arm's runs."""


def over_time(arms: ArmVisits) -> str:
    """Share of a step's training rollouts by the pass rate known before it, one panel an arm."""
    columns = min(len(arms), COLUMNS)
    lines = -(-len(arms) // columns)
    figure = Figure(figsize=(3.7 * columns, 0.6 + 2.3 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(arms) :]:
        axes.set_axis_off()
    for axes, (label, runs) in zip(panels.flat, arms.items(), strict=False):
        step_W, share_KW = _shares_over_time(runs)
        axes.stackplot(step_W, share_KW, colors=PASS_RATE_COLOURS, labels=BINS, lw=0)
        axes.set_title(label, fontsize=10)
        axes.set_ylim(0, 1)
        axes.margins(x=0)
        finish(axes, "", "")
    figure.supxlabel("step", fontsize=10)
    figure.supylabel("share of rollouts", fontsize=10)
    figure.legend(
        *panels.flat[0].get_legend_handles_labels(),
        loc="outside upper center",
        frameon=False,
        ncols=len(BINS),
        handlelength=1,
    )
    return svg(figure)


def outcomes(arms: ArmVisits, runs: Mapping[str, Sequence[RunRecord]]) -> str:
    """Share of all rollouts: pilots thrown away, and training groups by what came out."""
    share_AG = np.array([_outcome_shares(arms[label], runs[label]) for label in arms])
    figure = Figure(figsize=(4.0, 1.1 + 0.32 * len(arms)), layout="constrained")
    axes = figure.subplots()
    left_A = np.zeros(len(arms))
    for share_A, kind, colour in zip(share_AG.T, KINDS, KIND_COLOURS, strict=True):
        axes.barh(list(arms), share_A, left=left_A, label=kind, color=colour)
        left_A += share_A
    finish(axes, "share of all rollouts", "")
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return svg(figure)


def counts(arms: ArmVisits) -> str:
    """Mean rollouts of a prompt in a step, against the pass rate known before it."""
    figure = Figure(figsize=(4.0, 3.0), layout="constrained")
    axes = figure.subplots()
    for label, look in looks(arms).items():
        bin_V = np.concatenate([run.bin_V for run in arms[label]])
        count_V = np.concatenate([run.count_V for run in arms[label]])
        num_K = np.bincount(bin_V, minlength=len(BINS))
        total_K = np.bincount(bin_V, count_V, minlength=len(BINS))
        mean_K = np.where(num_K > 0, total_K / np.maximum(num_K, 1), np.nan)
        axes.plot(
            BINS,
            mean_K,
            marker="o",
            markersize=3.5,
            color=look.color,
            linestyle=look.linestyle,
            label=label,
        )
    finish(axes, "pass rate known before the step", "mean rollouts of a prompt")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def visits(arms: ArmVisits) -> str:
    """Share of the visited prompts by how often they were visited."""
    figure = Figure(figsize=(4.0, 3.0), layout="constrained")
    axes = figure.subplots()
    for label, look in looks(arms).items():
        num_P = np.concatenate([run.visits_of_prompts for run in arms[label]])
        if num_P.size:
            prompts_N = np.bincount(num_P)
            axes.step(
                np.arange(prompts_N.size),
                prompts_N / num_P.size,
                where="mid",
                color=look.color,
                linestyle=look.linestyle,
                label=label,
            )
    finish(axes, "visits of a prompt", "share of the visited prompts")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def reliability(arms: ArmVisits) -> str:
    """Accepted share against the predicted pass rate, in bins; empty if nothing was predicted."""
    figure = Figure(figsize=(4.0, 3.0), layout="constrained")
    axes = figure.subplots()
    for label, look in looks(arms).items():
        predicted_V = np.concatenate([run.predicted_V for run in arms[label]])
        count_V = np.concatenate([run.count_V for run in arms[label]])
        accepted_V = np.concatenate([run.accepted_V for run in arms[label]])
        known_V = np.isfinite(predicted_V) & (count_V > 0)
        if not known_V.any():
            continue
        bin_V = (predicted_V[known_V] * NUM_RELIABILITY_BINS).astype(int)
        bin_V = bin_V.clip(0, NUM_RELIABILITY_BINS - 1)
        sums = (count_V[known_V], accepted_V[known_V], (predicted_V * count_V)[known_V])
        total_K, right_K, mean_K = (
            np.bincount(bin_V, one, minlength=NUM_RELIABILITY_BINS) for one in sums
        )
        used_K = total_K > 0
        axes.plot(
            *(one[used_K] / total_K[used_K] for one in (mean_K, right_K)),
            color=look.color,
            linestyle=look.linestyle,
            marker="o",
            markersize=3.5,
            label=label,
        )
    if not axes.lines:
        return ""
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, zorder=0)
    finish(axes, "predicted pass rate", "accepted share of the rollouts")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)


def _shares_over_time(runs: Sequence[Visits]) -> tuple[FloatArray, FloatArray]:
    """[W] last steps of windows of equal length, and [K, W] shares of their rollouts."""
    num_steps = max((int(run.step_V.max(initial=1)) for run in runs), default=1)
    edge_W = np.unique(np.linspace(0, num_steps, min(NUM_WINDOWS, num_steps) + 1).round())[1:]
    spent_KW = np.zeros((len(BINS), edge_W.size))
    for run in runs:
        window_V = np.searchsorted(edge_W, run.step_V)
        np.add.at(spent_KW, (run.bin_V, window_V), run.count_V)
    return edge_W, spent_KW / np.maximum(spent_KW.sum(axis=0), 1)


def _outcome_shares(visits: Sequence[Visits], runs: Sequence[RunRecord]) -> FloatArray:
    """[G] shares of `KINDS`."""
    spent_G = np.zeros(len(KINDS))
    for record in runs:
        last = record.rows[-1]
        spent_G[0] += last["cost/all_rollouts"] - last["cost/train_rollouts"]
    for run in visits:
        wrong_V, right_V = run.accepted_V == 0, run.accepted_V == run.count_V
        spent_G[1] += run.count_V[wrong_V].sum()
        spent_G[2] += run.count_V[~wrong_V & ~right_V].sum()
        spent_G[3] += run.count_V[right_V & ~wrong_V].sum()
    return spent_G / max(spent_G.sum(), 1)
