"""The figures of the page, each as SVG text.

Axes: E evaluations, P prompts of a step, K bins of the acceptance rate.
"""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from gvmrl.data import FloatArray
from gvmrl.report.runs import AXES, RunRecord

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#777777")
"""One a label; told apart by colour-blind readers too."""
BIN_EDGES = (0.0, 1e-9, 0.25, 0.5, 0.75, 1.0 - 1e-9, 1.0)
BIN_NAMES = ("0", "to 1/4", "to 1/2", "to 3/4", "below 1", "1")
GROUPS = ("all wrong", "mixed", "all right")


def curves(runs: Sequence[RunRecord]) -> str:
    """Held-out accuracy against each of the four costs; a label's seeds share a colour."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    for axes, (axis, title) in zip(figure.subplots(2, 2).flat, AXES.items(), strict=True):
        for label, colour in _colours(runs).items():
            same = [run for run in runs if run.label == label]
            for run in same:
                axes.plot(
                    run.cost_E(axis),
                    run.accuracy_E,
                    color=colour,
                    linewidth=1.8 if len(same) == 1 else 0.7,
                    alpha=1 if len(same) == 1 else 0.5,
                    label=label if len(same) == 1 else None,
                )
            if len(same) > 1:
                shortest = min((run.cost_E(axis) for run in same), key=lambda cost_E: cost_E[-1])
                mean_E = np.mean(
                    [np.interp(shortest, run.cost_E(axis), run.accuracy_E) for run in same], axis=0
                )
                axes.plot(shortest, mean_E, color=colour, linewidth=2.2, label=label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        _finish(axes, title, "held-out accuracy")
    figure.axes[0].legend(frameon=False)
    return _svg(figure)


def counts(runs: Sequence[RunRecord]) -> str:
    """Mean rollouts of a prompt against its pilots' acceptance rate, over all steps."""
    figure = Figure(figsize=(4.9, 3.2), layout="constrained")
    axes = figure.subplots()
    for label, colour in _colours(runs).items():
        rate_P, count_P = _rates_and_counts([run for run in runs if run.label == label])
        if not rate_P.size:
            continue
        bin_P = np.searchsorted(BIN_EDGES, rate_P, side="right") - 1
        bin_P = np.minimum(bin_P, len(BIN_NAMES) - 1)
        mean_K = [
            count_P[bin_P == k].mean() if (bin_P == k).any() else np.nan
            for k in range(len(BIN_NAMES))
        ]
        axes.plot(BIN_NAMES, mean_K, marker="o", color=colour, label=label)
    _finish(axes, "acceptance rate of the prompt's pilots", "mean rollouts")
    if axes.lines:
        axes.legend(frameon=False)
    return _svg(figure)


def spending(runs: Sequence[RunRecord]) -> str:
    """Share of all rollouts: pilots thrown away, and training groups by what came out."""
    labels = list(_colours(runs))
    figure = Figure(figsize=(4.9, 0.9 + 0.5 * len(labels)), layout="constrained")
    axes = figure.subplots()
    share_LK = np.array([_shares([run for run in runs if run.label == label]) for label in labels])
    left_L = np.zeros(len(labels))
    names = ("pilots, discarded", *(f"groups {name}" for name in GROUPS))
    for column, name in enumerate(names):
        axes.barh(
            labels,
            share_LK[:, column],
            left=left_L,
            label=name,
            color=("#bbbbbb", "#ee6677", "#228833", "#4477aa")[column],
        )
        left_L += share_LK[:, column]
    _finish(axes, "share of all rollouts", "")
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return _svg(figure)


def _rates_and_counts(runs: Sequence[RunRecord]) -> tuple[FloatArray, FloatArray]:
    """[P] pilot acceptance rates and [P] counts of all prompts of all steps that had pilots."""
    rate, count = [np.zeros(0)], [np.zeros(0)]
    for run in runs:
        for row in run.allocations:
            trials_P = np.array(row["trials"], np.float64)
            if trials_P.all():
                rate.append(np.array(row["successes"], np.float64) / trials_P)
                count.append(np.array(row["counts"], np.float64))
    return np.concatenate(rate), np.concatenate(count)


def _shares(runs: Sequence[RunRecord]) -> FloatArray:
    """[4] shares of discarded pilots and of groups all wrong, mixed and all right."""
    spent = np.zeros(4)
    for run in runs:
        last = run.rows[-1]
        spent[0] += last["cost/all_rollouts"] - last["cost/train_rollouts"]
        for row in run.allocations:
            count_P = np.array(row["counts"], np.float64)
            accepted_P = np.array(row["accepted"], np.float64)
            wrong_P, right_P = accepted_P == 0, accepted_P == count_P
            spent[1] += count_P[wrong_P].sum()
            spent[2] += count_P[~wrong_P & ~right_P].sum()
            spent[3] += count_P[right_P & ~wrong_P].sum()
    return spent / max(spent.sum(), 1)


def _colours(runs: Sequence[RunRecord]) -> dict[str, str]:
    labels = dict.fromkeys(run.label for run in runs)
    return {label: COLOURS[row % len(COLOURS)] for row, label in enumerate(labels)}


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 10, "svg.hashsalt": "gvmrl"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return "<svg" + text.getvalue().partition("<svg")[2]
