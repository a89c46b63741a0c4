"""`gvmrl probe` in a process of its own."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = (
    *("--prompts", "6", "--pool", "16", "--rollouts", "4", "--pilots", "4", "--pilot-draws", "2"),
    *("--check-draws", "10", "--rules", "gvm", "cures", "--data.train-limit", "6"),
)


def probe(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gvmrl", "probe", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"},
    )


@pytest.mark.slow
def test_a_probe_writes_its_figures_with_the_settings_that_repeat_them(tmp_path: Path) -> None:
    mix = ("--data.train", "builtin:arithmetic/M", "--loss.name", "rloo")
    done = probe(*SMALL, *mix, "--out", "a.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert found["settings"]["rules"] == ["gvm", "cures"]
    assert found["arm"] == "rloo"
    assert found["pool_rollouts"] == 96
    assert sum(found["bins"].values()) == 6
    # 6 updates, uniform and two rules, known statistics and pilots
    assert len(found["rows"]) == 36
    assert {row["rule"] for row in found["checks"]} == {"uniform", "gvm"}
    for row in found["rows"]:
        snr = row["snr"]["value"]
        assert snr is None or 0 <= snr <= 1
        assert math.isfinite(row["variance"]["value"])
    assert " ".join(found["verdict"].split()) in " ".join(done.stdout.split())
    assert "Allocation can save" in found["verdict"] or "Nothing to win" in found["verdict"]
    # the last flag is wrong on purpose: it is judged only if all saved settings were read
    (tmp_path / "again.json").write_text(json.dumps(found["settings"]))
    again = probe("@again.json", "--model.path", "no/model", cwd=tmp_path)
    assert "model.path 'no/model' cannot be loaded" in again.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--pool", "7"), "pool must be even and >= 8, got 7"),
        (("--rules", "speed"), "rules may not hold speed"),
        (("--prompts", "999"), "gives 512 prompts, but prompts_per_step"),
        (("--out", "."), "out . is a folder; give the name of a .json file"),
        (("--model.path", "no/model"), "model.path 'no/model' cannot be loaded"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, args: tuple[str, ...], words: str
) -> None:
    done = probe(*args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_prompts_without_any_success_leave_nothing_to_measure(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"question": f"{n}+1=", "answer": "199"} for n in range(1, 7)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = probe(*SMALL, "--data.train", "data.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "of 6 prompts only 0 had both accepted and rejected rollouts among 8" in done.stderr
