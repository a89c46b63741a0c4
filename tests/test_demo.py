"""The demonstration end to end, in its shortest form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from gvmrl.cli.settings import expand_files
from gvmrl.config import RunConfig
from gvmrl.demo import make_cells
from gvmrl.files import read_json_lines

CONFIG = Path(__file__).parents[1] / "configs" / "demo.toml"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_the_demo_trains_four_arms_at_equal_updates_and_keeps_what_is_finished(
    tmp_path: Path,
) -> None:
    out = tmp_path / "demo"
    flags = ["--out", str(out), "--steps", "1", "--seeds", "1", "--jobs", "2"]
    command = [sys.executable, "-m", "gvmrl", "demo", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "GVM minus uniform" in done.stdout
    assert (out / "report.html").read_text().count("<svg") == 2 * 6
    assert len(list(out.glob("curves-*.svg"))) == 2
    last = [
        read_json_lines(cell.config.out / "metrics.jsonl")[-1]
        for cell in make_cells(out, steps=1, num_seeds=1)
    ]
    assert len(last) == 4
    assert {row["updates"] for row in last} == {2}
    assert {row["cost/train_rollouts"] for row in last} == {128}
    assert {row["cost/all_rollouts"] for row in last} == {128, 256}

    written = {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.jsonl")}
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert again.returncode == 0, again.stderr
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_the_shipped_config_is_an_arm_of_the_demo(tmp_path: Path) -> None:
    cells = make_cells(tmp_path, steps=80, num_seeds=1)
    (arm,) = (cell for cell in cells if (cell.arm, cell.loss) == ("gvm", "raft++"))
    flags = [f"@{CONFIG}", "--out", str(arm.config.out)]
    assert tyro.cli(RunConfig, args=expand_files(flags)) == arm.config
