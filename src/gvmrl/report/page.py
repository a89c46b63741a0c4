"""The page: runs side by side, as one HTML file that needs no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from gvmrl.files import write_text
from gvmrl.report import plots, spending
from gvmrl.report.runs import RunRecord, by_label
from gvmrl.report.table import Table, cost_table
from gvmrl.report.visits import read_visits


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with the sentence below it."""

    svg: str
    caption: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that can be folded away."""

    title: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    is_open: bool = True


def write_page(
    path: Path, sections: Sequence[Section], *, title: str, verdict: Sequence[str] = ()
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file.
        sections: Its parts, in order.
        title: Its heading.
        verdict: Sentences that stand above everything else.
    """
    environment = Environment(
        loader=PackageLoader("gvmrl", "report"), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("page.html.jinja")
    write_text(path, template.render(title=title, verdict=verdict, sections=sections))


def sections_of(runs: Sequence[RunRecord], *, num_open: int = 2) -> Iterator[Section]:
    """Give a section for each group of runs; the first `num_open` are not folded."""
    groups = list(dict.fromkeys(run.group for run in runs))
    for number, group in enumerate(groups):
        same = [run for run in runs if run.group == group]
        yield Section(group, (cost_table(same),), tuple(_charts(same)), is_open=number < num_open)


def _charts(runs: Sequence[RunRecord]) -> Iterator[Chart]:
    arms = by_label(runs)
    visits = {label: [read_visits(run.folder) for run in same] for label, same in arms.items()}
    yield Chart(
        plots.curves(runs),
        "Held-out accuracy, mean over seeds with the 95% band of the mean, against four costs. "
        "Only the lower two count what was spent on pilots.",
        wide=True,
    )
    yield Chart(
        spending.over_time(visits),
        "Where each step's training rollouts went, by the pass rate that was known of their "
        "prompts: from the rule's statistics or, for rules without, from the prompt's last visit.",
        wide=True,
    )
    yield Chart(
        spending.outcomes(visits, arms),
        "A group whose rollouts are all wrong or all right has no group advantage; RAFT learns "
        "from every accepted rollout.",
    )
    yield Chart(
        spending.counts(visits),
        "Training rollouts that a prompt of a step got, by what was known of it before.",
    )
    yield Chart(
        spending.visits(visits),
        "How often a prompt was visited; prompts that no step visited are not drawn.",
    )
    if reliability := spending.reliability(visits):
        yield Chart(
            reliability,
            "Whether predicted pass rates are right: on the grey line, they are.",
        )
