"""The files of a bench: results.jsonl, table.md and report.html."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from gvmrl.bench.cells import Cell
from gvmrl.bench.config import BenchConfig
from gvmrl.bench.summary import COSTS, ArmResult, Comparison
from gvmrl.files import write_json_lines, write_text
from gvmrl.report.page import Chart, Section, sections_of, write_page
from gvmrl.report.plots import Interval, forest
from gvmrl.report.runs import ACCURACY, RunRecord, load_run
from gvmrl.report.table import Table, cost_table

KEPT = ("step", "updates", "seconds")
KEPT_PREFIXES = ("cost/", ACCURACY)
"""Figures of an evaluation that results.jsonl keeps."""
READING = """\
Speed-ups in the cost of the column: median over paired seeds of the geometric mean over the \
targets, with the 95% bootstrap interval over seeds; above 1, the arm needs less.
The column of mean curves compares the means over seeds instead, which is less noisy.
A target that a run misses is entered at all that the run spent, so <= marks an upper and >= a \
lower bound; `missed` counts them for the arm and for the baseline, out of seeds x targets.
Area: accuracy averaged along the curve minus the baseline's, at equal numbers of all rollouts, \
with the 95% t interval.
Seconds depend on the machine and on what else it does.""".splitlines()
"""How to read the tables of speed-ups, a line each."""


def load_runs(cells: Sequence[Cell]) -> list[RunRecord]:
    """Read the finished runs of a bench, labelled by arm and grouped by set and loss."""
    return [replace(load_run(cell.config.out), label=cell.arm, group=cell.group) for cell in cells]


def result_rows(cells: Sequence[Cell], runs: Sequence[RunRecord]) -> Iterator[dict[str, object]]:
    """Give a row for each cell and evaluation."""
    for cell, run in zip(cells, runs, strict=True):
        for row in run.evaluations:
            yield {
                "set": cell.set,
                "loss": cell.loss,
                "arm": cell.arm,
                "seed": run.seed,
                **{
                    name: row[name]
                    for name in row
                    if name in KEPT or name.startswith(KEPT_PREFIXES)
                },
            }


def speed_table(comparison: Comparison) -> Table:
    """Show the speed-ups of a group's arms."""
    some_share = any(result.share is not None for result in comparison.results)
    columns = (
        *("arm", "seeds"),
        *COSTS.values(),
        *("all rollouts, mean curves", "area", "missed"),
        *(("way to the ceiling",) if some_share else ()),
    )
    rows = [_cells(result)[: len(columns)] for result in comparison.results]
    notes = (comparison.verdict,) if comparison.verdict else ()
    return Table(comparison.group, columns, tuple(rows), (*notes, *comparison.notes))


def write_results(
    config: BenchConfig,
    cells: Sequence[Cell],
    runs: Sequence[RunRecord],
    comparisons: Sequence[Comparison],
) -> None:
    """Write the files of a finished bench into its folder; bench.json runs it again."""
    write_text(config.out / "bench.json", json.dumps(asdict(config), indent=2, default=str) + "\n")
    write_json_lines(config.out / "results.jsonl", result_rows(cells, runs))
    write_text(config.out / "table.md", _markdown(config, runs, comparisons))
    write_page(
        config.out / "report.html",
        [_speed_section(config, comparisons), *sections_of(runs)],
        title=f"Bench {config.out.name}",
        verdict=[f"{one.group}: {one.verdict}" for one in comparisons if one.verdict],
    )


def _cells(result: ArmResult) -> tuple[str, ...]:
    start = (result.arm, str(result.num_seeds))
    found = result.speedup
    if found is None:
        return (*start, *("-",) * (len(COSTS) + 1), str(result.area), "-", "-")
    return (
        *start,
        *(str(estimate) for estimate in found.paired),
        str(found.of_means[list(COSTS).index("cost/all_rollouts")]),
        str(result.area),
        f"{found.arm_missed}, {found.baseline_missed} of {found.num_targets}",
        str(result.share) if result.share is not None else "-",
    )


def _speed_section(config: BenchConfig, comparisons: Sequence[Comparison]) -> Section:
    tables = [speed_table(comparison) for comparison in comparisons]
    tables[-1] = replace(tables[-1], notes=(*tables[-1].notes, *READING))
    charts: list[Chart] = []
    for of_means, title in ((False, "median of paired seeds"), (True, "mean curves")):
        if intervals := list(_intervals(comparisons, of_means=of_means)):
            svg = forest(intervals, f"speed-up over {config.baseline} in all rollouts, {title}")
            charts.append(Chart(svg, "With 95% bootstrap intervals over seeds."))
    return Section(f"Speed-up over {config.baseline}", tuple(tables), tuple(charts))


def _intervals(comparisons: Sequence[Comparison], *, of_means: bool) -> Iterator[Interval]:
    at = list(COSTS).index("cost/all_rollouts")
    for comparison in comparisons:
        for result in comparison.results:
            if result.speedup is not None:
                found = result.speedup.of_means if of_means else result.speedup.paired
                one = found[at]
                yield Interval(comparison.group, result.arm, one.value, one.low, one.high)


def _markdown(
    config: BenchConfig, runs: Sequence[RunRecord], comparisons: Sequence[Comparison]
) -> str:
    """Render all tables, and the bundles that they come from."""
    bundles = [
        f"- {setting} `{text}`"
        for setting in ("arms", "sets", "losses", "only")
        for text in getattr(config, setting)
    ]
    parts = [
        f"# Bench {config.out.name}\n",
        f"Baseline {config.baseline}, seeds {', '.join(map(str, config.seeds))}.\n",
        "\n".join(bundles) + "\n",
        f"## Speed-up over {config.baseline}\n",
        "".join(f"- {line}\n" for line in READING),
        *(speed_table(comparison).markdown for comparison in comparisons),
        "## Costs\n",
    ]
    for comparison in comparisons:
        same = [run for run in runs if run.group == comparison.group]
        parts.append(cost_table(same, title=comparison.group).markdown)
    return "\n".join(parts)
