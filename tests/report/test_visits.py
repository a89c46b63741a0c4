"""Where the rollouts went: what was known of a prompt before each of its steps."""

from pathlib import Path

import numpy as np
import pytest

from gvmrl.files import write_json_lines
from gvmrl.report.spending import over_time
from gvmrl.report.visits import BINS, read_visits

ROWS = (
    # No statistics: what is known is what the last visit showed. `b` gets nothing at first.
    {"step": 1, "ids": ["a", "b"], "counts": [4, 0], "accepted": [1, 0], "trials": [0, 0]},
    {"step": 2, "ids": ["b", "a"], "counts": [2, 4], "accepted": [2, 0], "trials": [0, 0]},
    # Statistics come before the last visit.
    {"step": 3, "ids": ["a", "b"], "counts": [4, 8], "accepted": [4, 8], "trials": [0, 8]},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [row | {"successes": [0, 6] if row["step"] == 3 else [0, 0]} for row in ROWS]
    write_json_lines(tmp_path / "allocation.jsonl", rows)
    return tmp_path


def test_a_prompt_is_known_by_its_statistics_or_its_last_visit(folder: Path) -> None:
    visits = read_visits(folder)
    assert visits.step_V.tolist() == [1, 1, 2, 2, 3, 3]
    assert visits.prompt_V.tolist() == [0, 1, 1, 0, 0, 1]
    nan = np.nan
    np.testing.assert_array_equal(visits.known_rate_V, [nan, nan, nan, 0.25, 0, 0.75])
    assert [BINS[row] for row in visits.bin_V] == [
        *("unseen", "unseen", "unseen", "to 1/4", "0", "to 3/4"),
    ]
    assert visits.visits_of_prompts.tolist() == [3, 2]
    assert np.isnan(visits.predicted_V).all()


@pytest.mark.parametrize(
    ("rate", "name"),
    [(0, "0"), (1e-9, "to 1/4"), (0.26, "to 1/2"), (0.5, "to 1/2"), (0.99, "below 1"), (1, "1")],
)
def test_bins_hold_their_upper_end(tmp_path: Path, rate: float, name: str) -> None:
    row = {"step": 1, "ids": ["a"], "counts": [1], "accepted": [0], "trials": [1.0]}
    write_json_lines(tmp_path / "allocation.jsonl", [row | {"successes": [rate]}])
    assert BINS[read_visits(tmp_path).bin_V[0]] == name


def test_a_run_that_has_not_taken_a_step_can_be_drawn(tmp_path: Path) -> None:
    visits = read_visits(tmp_path)
    assert visits.step_V.size == 0
    assert over_time({"arm": [visits]}).startswith("<svg")
