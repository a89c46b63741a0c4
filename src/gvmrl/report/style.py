"""How every figure of a page looks."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#777777")
"""One an arm; told apart by colour-blind readers too."""
DASHES = ("-", "--", ":")
"""Where there are more arms than colours, they come again with the next dash."""
PASS_RATE_COLOURS = (
    *("#dddddd", "#882255", "#cc6677", "#ddcc77", "#88ccaa", "#44aa99", "#332288"),
)
"""One a bin of the pass rate: unseen, then from 0 to 1."""


class Look(NamedTuple):
    """How an arm's line is drawn."""

    color: str
    linestyle: str


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """Return colour and dash of each arm."""
    return {
        label: Look(COLOURS[row % len(COLOURS)], DASHES[row // len(COLOURS) % len(DASHES)])
        for row, label in enumerate(labels)
    }


def finish(axes: Axes, x_label: str, y_label: str) -> None:
    """Label the axes and leave out what carries no figure."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def svg(figure: Figure) -> str:
    """Render a figure as SVG text; the same figure always gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 10, "svg.hashsalt": "gvmrl"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return "<svg" + text.getvalue().partition("<svg")[2]
