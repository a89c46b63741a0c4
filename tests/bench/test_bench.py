"""A bench end to end, in its shortest form: files, tables, warnings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gvmrl.files import read_json_lines

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
ARMS = (
    "uniform: --allocation.rule uniform",
    "gvm: --allocation.rule gvm --pilot.rollouts 2",
    "uniform2: --allocation.rule uniform --rollouts-per-step 64 --rollouts-per-update 64",
    "long: --allocation.rule uniform --rollouts-per-step 64",
)
FLAGS = (
    *("--arms", *ARMS, "--losses", "rloo: --loss.name rloo", "--seeds", "0", "1"),
    *("--sets", "M: --data.train builtin:arithmetic/M --data.eval builtin:arithmetic/M"),
    *("--only", "long: */0", "--headroom", "uniform2", "--ceiling", "gvm", "--jobs", "2"),
    *("--run.steps", "2", "--run.optim.lr", "1e-4", "--run.log.eval-every", "1"),
    *("--run.prompts-per-step", "8", "--run.rollouts-per-step", "32"),
    *("--run.rollouts-per-update", "32", "--run.data.train-limit", "64"),
    *("--run.data.eval-limit", "20"),
)


@pytest.mark.slow
def test_a_bench_writes_rows_tables_and_a_page_and_names_unequal_arms(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    command = [sys.executable, "-m", "gvmrl", "bench", *FLAGS, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "7 of 7 runs" in done.stderr
    rows = read_json_lines(out / "results.jsonl")
    assert len(rows) == 7 * 3
    assert {(row["arm"], row["seed"]) for row in rows} == {
        *((arm, seed) for arm in ("uniform", "gvm", "uniform2") for seed in (0, 1)),
        ("long", 0),
    }
    last = {row["arm"]: row for row in rows if row["seed"] == 0}
    assert [last[arm]["updates"] for arm in ("uniform", "gvm", "long")] == [2, 2, 4]
    assert last["gvm"]["cost/all_rollouts"] == 2 * (32 + 8 * 2)
    table = (out / "table.md").read_text()
    assert "uniform2 is not on equal terms with uniform: rollouts_per_update 64, not 32" in table
    assert "long is not on equal terms with uniform: 4 updates, not 2" in table
    assert "2 seeds: too few for a claim" in table
    assert all(f"`{arm}`" in table for arm in ARMS)
    page = (out / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert "<script" not in page

    again = subprocess.run(
        [*command[:4], f"@{out / 'bench.json'}"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert (out / "table.md").read_text() == table
