"""The page and the comparison, from folders that look as runs leave them."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gvmrl.errors import InputError
from gvmrl.files import write_json_lines, write_text
from gvmrl.report.compare import paired_difference
from gvmrl.report.page import COLUMNS, table, write_page
from gvmrl.report.runs import RunRecord, load_run


def write_run(folder: Path, rule: str, seed: int, accuracies: list[float]) -> Path:
    """A run with one evaluation every 10 updates, whose pilots double its cost under gvm."""
    factor = 2 if rule == "gvm" else 1
    config = {"allocation": {"rule": rule}, "loss": {"name": "grpo"}, "seed": seed}
    write_text(folder / "config.json", json.dumps(config))
    write_json_lines(
        folder / "metrics.jsonl",
        [
            {
                "step": step,
                "updates": 10 * step,
                "cost/train_rollouts": 100 * step,
                "cost/pilot_rollouts": 100 * step * (factor - 1),
                "cost/all_rollouts": 100 * step * factor,
                "cost/all_tokens": 900 * step * factor,
                "eval/accuracy": accuracy,
                "eval/completions": 400,
                "time/sample_s": 1.0,
                "time/eval_s": 5.0,
            }
            for step, accuracy in enumerate(accuracies)
        ],
    )
    allocation = {"step": 1, "ids": ["a", "b", "c"], "counts": [4, 0, 6], "accepted": [2, 0, 0]}
    trials = [8, 8, 8] if rule == "gvm" else [0, 0, 0]
    row = allocation | {"trials": trials, "successes": [t // 2 for t in trials]}
    write_json_lines(folder / "allocation.jsonl", [row])
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[RunRecord]:
    return [
        load_run(write_run(tmp_path / f"{rule}{seed}", rule, seed, accuracies))
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
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table(runs)]
    assert [row["arm"] for row in rows] == ["uniform grpo", "gvm grpo"]
    assert [row["all rollouts"] for row in rows] == ["200", "400"]
    assert [row["end"] for row in rows] == ["0.650", "0.800"]
    assert [row["seconds"] for row in rows] == ["3", "3"]  # evaluation is nobody's cost


def test_the_page_stands_alone_and_escapes_what_it_is_given(
    runs: list[RunRecord], tmp_path: Path
) -> None:
    write_page(tmp_path / "page.html", runs, title="a <b> title", verdict="2 < 3")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 3
    assert "a &lt;b&gt; title" in page
    assert "2 &lt; 3" in page
    assert "<script" not in page
    assert 'src="' not in page
    for row in table(runs):
        assert all(f"<td>{cell}</td>" in page for cell in row)


def test_a_folder_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "gvm", 0, [])
    with pytest.raises(InputError, match="has no evaluation yet"):
        load_run(folder)
