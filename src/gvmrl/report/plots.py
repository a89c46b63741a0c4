"""The figures of learning curves and speed-ups, as SVG text.

Axes: E evaluations, S seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter, StrMethodFormatter
from scipy import stats

from gvmrl.data import FloatArray
from gvmrl.report.runs import AXES, Axis, RunRecord, by_label
from gvmrl.report.style import finish, looks, svg

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of a forest plot."""

    group: str
    label: str
    value: float
    low: float
    """> 0, or 0 where there is no interval."""
    high: float


def curves(runs: Sequence[RunRecord]) -> str:
    """Held-out accuracy against each of the four costs: mean over seeds, with its 95% band."""
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    arms = by_label(runs)
    for axes, (axis, title) in zip(figure.subplots(2, 2).flat, AXES.items(), strict=True):
        for label, look in looks(arms).items():
            cost_E, mean_E, half_E = _band(arms[label], axis)
            axes.plot(
                cost_E,
                mean_E,
                color=look.color,
                linestyle=look.linestyle,
                linewidth=1.8,
                label=label,
            )
            axes.fill_between(
                cost_E, mean_E - half_E, mean_E + half_E, color=look.color, alpha=0.13, lw=0
            )
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        finish(axes, title, "held-out accuracy")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        frameon=False,
        ncols=min(len(arms), 6),
    )
    return svg(figure)


def forest(intervals: Sequence[Interval], title: str) -> str:
    """Speed-ups with their intervals, one row for each group and arm, on a logarithmic axis."""
    groups = list(dict.fromkeys(row.group for row in intervals))
    height = 1.0 + 0.24 * (len(intervals) + len(groups))
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    arms = looks(dict.fromkeys(row.label for row in intervals))
    names, places, at = list[str](), list[float](), 0.0
    for group in groups:
        axes.text(0, at, group, transform=axes.get_yaxis_transform(), weight="bold", va="center")
        for row in (row for row in intervals if row.group == group):
            at += 1
            colour = arms[row.label].color
            axes.plot(row.value, at, "o", color=colour, markersize=5)
            if row.low > 0 and np.isfinite(row.high):
                axes.plot([row.low, row.high], [at, at], color=colour, linewidth=1.6)
            names.append(row.label)
            places.append(at)
        at += 1.2
    axes.axvline(1, color="#222222", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(places, names)
    axes.set_ylim(at - 0.4, -0.8)
    finish(axes, title, "")
    return svg(figure)


def _band(runs: Sequence[RunRecord], axis: Axis) -> tuple[FloatArray, FloatArray, FloatArray]:
    """[E] costs, mean accuracies and half widths of their intervals, up to what all have spent."""
    cost_E = min((run.cost_E(axis) for run in runs), key=lambda cost_E: cost_E[-1])
    accuracy_SE = np.stack([np.interp(cost_E, run.cost_E(axis), run.accuracy_E) for run in runs])
    half_E = np.zeros(cost_E.size)
    if len(runs) > 1:
        half_E = stats.sem(accuracy_SE, axis=0) * stats.t.ppf((1 + LEVEL) / 2, len(runs) - 1)
    return cost_E, accuracy_SE.mean(axis=0), half_E
