"""Tables, rows and page of a bench, from folders that look as runs leave them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gvmrl.bench.cells import Cell, make_cells
from gvmrl.bench.config import BenchConfig
from gvmrl.bench.results import load_runs, result_rows, speed_table, write_results
from gvmrl.bench.summary import Comparison, compare
from gvmrl.files import read_json_lines

WriteRun = Callable[..., Path]
SPEEDS = {"uniform": 1.0, "gvm": 1.0, "fast": 2.0, "oracle": 4.0, "uniform2": 1.0, "long": 1.0}
"""How much faster each arm rises; gvm's pilots double its cost."""


def bench_config(out: Path, **changes: object) -> BenchConfig:
    settings: dict[str, object] = {
        "arms": (
            *("uniform: --allocation.rule uniform", "gvm: --allocation.rule gvm"),
            *("fast: --allocation.rule uniform", "oracle: --allocation.rule uniform"),
            "uniform2: --allocation.rule uniform --rollouts-per-update 128",
            "long: --allocation.rule uniform --optim.lr 1e-3",
        ),
        "sets": ("D: --data.train builtin:arithmetic/D",),
        "losses": ("grpo: --loss.name grpo",),
        "seeds": (0, 1, 2, 3, 4, 5),
        "headroom": "uniform2",
        "ceiling": "oracle",
        "only": ("long: */[0-2]",),
        "out": out,
        **changes,
    }
    return BenchConfig(**settings)  # pyright: ignore[reportArgumentType] - fields by name


def accuracies(cell: Cell, speed: float) -> list[float]:
    """An exponential rise with a little noise; the long arm goes on for twice as long."""
    rng = np.random.default_rng((cell.config.seed, len(cell.arm)))
    time = np.arange(41 if cell.arm == "long" else 21) * 10.0
    curve = 0.3 + 0.4 * (1 - np.exp(-speed * time / 70)) + rng.normal(0, 0.01, time.size)
    return [float(value) for value in curve]


Ended = tuple[BenchConfig, list[Cell]]


@pytest.fixture
def ended(tmp_path: Path, write_run: WriteRun) -> Ended:
    """A bench whose runs have all been made."""
    config = bench_config(tmp_path / "bench")
    cells = make_cells(config)
    for cell in cells:
        pilots = 100 if cell.arm == "gvm" else 0
        write_run(cell.config, accuracies(cell, SPEEDS[cell.arm]), pilots=pilots)
    return config, cells


def comparison_of(ended: Ended, **changes: object) -> Comparison:
    config, cells = ended
    (found,) = compare(load_runs(cells), replace(config, **changes))
    return found


def test_each_axis_has_its_own_speedup_and_pilots_cost(ended: Ended) -> None:
    results = {result.arm: result for result in comparison_of(ended).results}
    assert list(results) == [arm for arm in SPEEDS if arm != "uniform"]
    gvm, fast = results["gvm"].speedup, results["fast"].speedup
    assert gvm is not None
    assert fast is not None
    for one in (gvm.paired, gvm.of_means):
        updates, train, all_rollouts, tokens, _ = (estimate.value for estimate in one)
        assert updates == pytest.approx(1, abs=0.1)
        assert train == pytest.approx(updates)
        assert all_rollouts == pytest.approx(updates / 2)
        assert tokens == pytest.approx(updates / 2)
    for estimate in fast.of_means:
        assert estimate.low < 2 < estimate.high
    assert fast.num_targets == 6 * 4
    assert results["gvm"].area.verdict == "worse"


def test_the_way_to_the_ceiling_is_half_for_half_the_logarithm(ended: Ended) -> None:
    results = {result.arm: result for result in comparison_of(ended).results}
    share = results["fast"].share
    assert share is not None
    assert share.low < 0.5 < share.high
    assert results["long"].share is not None  # on the seeds that it shares with the ceiling
    assert all(result.share is None for result in comparison_of(ended, ceiling=None).results)


def test_unequal_arms_and_missing_headroom_are_said(ended: Ended) -> None:
    found = comparison_of(ended)
    notes = "\n".join(found.notes)
    assert "long is not on equal terms with uniform: 400 updates, not 200; optim.lr 0.001" in notes
    assert "uniform2 is not on equal terms with uniform: rollouts_per_update 128, not 64" in notes
    assert "gvm is not" not in notes
    assert "too few" not in notes
    assert "More rollouts an update do not clearly help" in found.verdict
    assert "More rollouts an update help" in comparison_of(ended, headroom="fast").verdict


def test_a_baseline_that_stays_where_it_is_leaves_only_areas(
    tmp_path: Path, write_run: WriteRun
) -> None:
    config = bench_config(tmp_path, seeds=(0, 1, 2))
    cells = make_cells(config)
    for cell in cells:
        write_run(cell.config, [0.98, 0.98, 0.98])
    (found,) = compare(load_runs(cells), config)
    assert "uniform goes from 0.980 to 0.980, no rise beyond its noise" in found.notes[0]
    assert "3 seeds: too few for a claim" in found.notes[1]
    assert found.verdict == ""
    table = speed_table(found)
    assert table.rows[0] == ("gvm", "3", *"------", "+0.000 [+0.000, +0.000]", "-")
    assert len(table.columns) == len(table.rows[0])


def test_rows_name_their_cell_and_keep_the_costs(ended: Ended) -> None:
    _, cells = ended
    rows = list(result_rows(cells, load_runs(cells)))
    assert len(rows) == 21 * 5 * 6 + 41 * 3
    accuracy = {"eval/accuracy": 0, "eval/accuracy_hard": 0}
    assert rows[1] | accuracy == accuracy | {
        "set": "D",
        "loss": "grpo",
        "arm": "uniform",
        "seed": 0,
        "step": 1,
        "updates": 10,
        "cost/train_rollouts": 100,
        "cost/pilot_rollouts": 0,
        "cost/all_rollouts": 100,
        "cost/all_tokens": 900,
        "seconds": 1,
    }


def test_the_files_of_a_bench_hold_its_tables(ended: Ended) -> None:
    config, cells = ended
    runs = load_runs(cells)
    comparisons = compare(runs, config)
    write_results(config, cells, runs, comparisons)
    text = (config.out / "table.md").read_text()
    page = (config.out / "report.html").read_text()
    (table,) = (speed_table(comparison) for comparison in comparisons)
    assert table.columns[-1] == "way to the ceiling"
    assert table.markdown in text
    assert all(f"`{arm}`" in text for arm in config.arms)
    for row in table.rows:
        assert all(f"<td>{cell}</td>" in page for cell in row if "<=" not in cell)
    assert page.count("<svg") == 2 + 5
    assert "<script" not in page
    assert len(read_json_lines(config.out / "results.jsonl")) == 21 * 5 * 6 + 41 * 3
