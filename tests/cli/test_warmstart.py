"""`gvmrl warmstart`."""

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from gvmrl.cli.warmstart import WarmstartConfig, histogram, type_table, warmstart
from gvmrl.data import Problem
from gvmrl.errors import InputError


def words(table: Table) -> list[list[str]]:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    # not the frames
    lines = [re.findall(r"[\w.#]+", line) for line in capture.get().splitlines()]
    return [line for line in lines if line]


def test_the_table_averages_each_type() -> None:
    problems = [Problem(key, "", "") for key in ("easy/1", "easy/2", "hard/3", "dead/4")]
    rows = words(type_table(problems, np.array([1.0, 0.5, 0.25, 0.0])))
    assert ["easy", "2", "0.750"] in rows
    assert ["hard", "1", "0.250"] in rows
    assert ["dead", "1", "0.000"] in rows
    # the mean of the four
    assert ["all", "4", "0.438"] in rows
    assert not any("mid" in row for row in rows)


def test_the_histogram_tells_decided_prompts_apart() -> None:
    rows = words(histogram(np.array([0.0, 0.0, 0.0625, 0.55, 1.0])))
    # 60 characters stand for all five prompts
    assert ["never", "2", "#" * 24] in rows
    assert ["0.0", "to", "0.1", "1", "#" * 12] in rows
    assert ["0.5", "to", "0.6", "1", "#" * 12] in rows
    assert ["always", "1", "#" * 12] in rows
    assert ["0.9", "to", "1.0", "0"] in rows


@pytest.mark.slow
def test_a_short_warm_start_writes_a_model_folder_and_shows_its_pass_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "model"
    warmstart(WarmstartConfig(out=out, mastery_steps=2, forget_steps=1))
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() == 150_848
    assert AutoTokenizer.from_pretrained(out).decode([6, 9]) == "47"
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("easy", "mid", "hard", "dead", "never", "always"))


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already; give a new folder"):
        warmstart(WarmstartConfig(out=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "bound"), [("seed", -1, 0), ("mastery_steps", 0, 1), ("forget_steps", 0, 1)]
)
def test_settings_out_of_range_are_refused(name: str, value: int, bound: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= {bound}, got {value}"):
        WarmstartConfig(out=Path("x"), **{name: value})
