"""The picture of `gvmrl plan --plot`."""

from pathlib import Path

import numpy as np

from gvmrl.allocate import Plan, RuleName
from gvmrl.allocate.bins import spending
from gvmrl.errors import InputError
from gvmrl.files import replacing
from gvmrl.stats import PromptStats

SUFFIXES = (".png", ".svg", ".pdf")


def draw(path: Path, stats: PromptStats, plans: dict[RuleName, Plan], chosen: RuleName) -> None:
    """Draw the mean count by acceptance rate for each plan, the chosen one thicker.

    Raises:
        InputError: If matplotlib is missing or cannot write such a file.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"plot {path} must end in {', '.join(SUFFIXES)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("--plot needs matplotlib: pip install gvmrl[report]") from error
    figure = Figure(figsize=(9, 5), layout="constrained")
    counts = figure.add_subplot()
    bins = spending(stats, plans[chosen])
    place_B = np.arange(len(bins))
    for number, (name, each) in enumerate(plans.items()):
        means = [part.mean for part in spending(stats, each)]
        width = 3.0 if name == chosen else 1.2
        style = ("-", "--", ":")[number // 10]
        counts.plot(place_B, means, style, marker="o", markersize=3, linewidth=width, label=name)
    counts.set_ylim(bottom=0)
    counts.set_ylabel("rollouts per prompt")
    counts.set_xlabel("accepted so far")
    counts.set_xticks(place_B, [part.name for part in bins], fontsize="small")
    prompts = counts.twinx()
    prompts.bar(place_B, [part.prompts for part in bins], color="0.9", label="prompts")
    prompts.set_ylabel("prompts")
    # the lines in front of the bars
    counts.set_zorder(prompts.get_zorder() + 1)
    counts.patch.set_visible(False)
    figure.legend(loc="outside right upper", fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150)
