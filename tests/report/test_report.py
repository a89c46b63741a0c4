"""The page and the comparison, from folders that look as runs leave them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gvmrl.config import OptimConfig, RunConfig
from gvmrl.errors import InputError
from gvmrl.losses import LossConfig
from gvmrl.report.compare import paired_difference
from gvmrl.report.page import sections_of, write_page
from gvmrl.report.runs import RunRecord, load_run, tell_apart
from gvmrl.report.table import Table, cost_table
from gvmrl.strategy.config import AllocationConfig

WriteRun = Callable[..., Path]


def config_of(out: Path, rule: str, seed: int, *, lr: float = 1e-6) -> RunConfig:
    allocation = AllocationConfig(rule=rule)  # pyright: ignore[reportArgumentType] - a rule's name
    return RunConfig(
        out=out,
        seed=seed,
        allocation=allocation,
        loss=LossConfig(name="grpo"),
        optim=OptimConfig(lr=lr),
    )


@pytest.fixture
def runs(tmp_path: Path, write_run: WriteRun) -> list[RunRecord]:
    """Two seeds of uniform, and of gvm, whose pilots double its cost."""
    return [
        load_run(
            write_run(
                config_of(tmp_path / f"{rule}{seed}", rule, seed),
                accuracies,
                pilots=100 if rule == "gvm" else 0,
            )
        )
        for rule, seed, accuracies in [
            ("uniform", 0, [0.5, 0.6, 0.7]),
            ("uniform", 1, [0.5, 0.6, 0.6]),
            ("gvm", 0, [0.5, 0.7, 0.8]),
            ("gvm", 1, [0.5, 0.6, 0.8]),
        ]
    ]


def test_mean_accuracy_is_the_area_under_the_curve(runs: list[RunRecord]) -> None:
    # Trapezoids: (.55 + .65) / 2 to update 20, and (.55 * 10 + .625 * 5) / 15 to update 15.
    assert runs[0].mean_accuracy("updates", 20) == pytest.approx(0.6)
    assert runs[0].mean_accuracy("updates", 15) == pytest.approx((5.5 + 3.125) / 15)
    assert runs[0].mean_accuracy("updates", 0) == 0.5


def test_seconds_add_up_and_leave_evaluation_out(runs: list[RunRecord]) -> None:
    assert runs[0].cost_E("seconds").tolist() == [0, 1, 2]


def test_differences_are_paired_by_seed_with_a_t_interval(runs: list[RunRecord]) -> None:
    found = paired_difference(runs[2:], runs[:2][::-1], "updates")
    differences = np.array([0.675 - 0.6, 0.625 - 0.575])
    low, high = stats.t.interval(
        0.95, 1, loc=differences.mean(), scale=differences.std(ddof=1) / np.sqrt(2)
    )
    assert (found.mean, found.low, found.high) == pytest.approx((differences.mean(), low, high))
    assert found.verdict == "no clear difference"


def test_equal_cost_compares_up_to_what_both_have_spent(runs: list[RunRecord]) -> None:
    # Uniform ends at 200 rollouts, where gvm has done half of its updates.
    found = paired_difference([runs[2]], [runs[0]], "cost/all_rollouts")
    assert found.mean == pytest.approx((0.5 + 0.7) / 2 - 0.6)
    assert (found.low, found.high) == (-np.inf, np.inf)


def test_unpaired_seeds_are_refused(runs: list[RunRecord]) -> None:
    with pytest.raises(ValueError, match=r"same seeds, each once; got \[0, 1\] and \[0\]"):
        paired_difference(runs[2:], runs[:1], "updates")


def test_the_table_has_means_over_seeds_and_counts_pilots(runs: list[RunRecord]) -> None:
    table = cost_table(runs)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["arm"] for row in rows] == ["uniform", "gvm"]
    assert [row["all rollouts"] for row in rows] == ["200", "400"]
    assert [row["end"] for row in rows] == ["0.650", "0.800"]
    assert [row["end, hard"] for row in rows] == ["0.325", "0.400"]
    assert [row["seconds"] for row in rows] == ["2", "2"]


def test_markdown_has_a_line_a_row_and_a_bullet_a_note() -> None:
    table = Table("Name", ("arm", "seeds"), (("a", "1"), ("b", "2")), ("A note.",))
    assert table.markdown == (
        "### Name\n\n| arm | seeds |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n\n- A note.\n"
    )


def test_runs_that_differ_in_more_than_their_seed_get_labels_of_their_own(
    runs: list[RunRecord], tmp_path: Path, write_run: WriteRun
) -> None:
    fast = load_run(write_run(config_of(tmp_path / "fast", "gvm", 0, lr=1e-3), [0.5, 0.9]))
    assert [run.label for run in tell_apart([*runs, fast])] == [
        *("uniform", "uniform", "gvm, optim.lr 1e-06", "gvm, optim.lr 1e-06"),
        "gvm, optim.lr 0.001",
    ]
    assert {run.group for run in runs} == {"demo, grpo"}


def test_the_page_stands_alone_and_escapes_what_it_is_given(
    runs: list[RunRecord], tmp_path: Path
) -> None:
    sections = list(sections_of(runs))
    write_page(tmp_path / "page.html", sections, title="a <b> title", verdict=["2 < 3"])
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == len(sections[0].charts) == 5
    assert "a &lt;b&gt; title" in page
    assert "2 &lt; 3" in page
    assert "<script" not in page
    assert 'src="' not in page
    for row in cost_table(runs).rows:
        assert all(f"<td>{cell}</td>" in page for cell in row)


def test_predictions_are_drawn_where_a_run_makes_them(tmp_path: Path, write_run: WriteRun) -> None:
    run = load_run(
        write_run(config_of(tmp_path / "run", "uniform", 0), [0.5, 0.6], predicted=[0.4, 0.2, 0.0])
    )
    (section,) = sections_of([run])
    assert len(section.charts) == 6
    assert "predicted pass rate" in section.charts[-1].svg


def test_a_folder_without_an_evaluation_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(config_of(tmp_path / "run", "gvm", 0), [])
    with pytest.raises(InputError, match="has no evaluation yet"):
        load_run(folder)
