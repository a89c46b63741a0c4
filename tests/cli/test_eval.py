"""`gvmrl eval` in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from gvmrl.tasks.arithmetic import make_problems

FLAGS = ("--reward.extract", "total", "--data.instruction", "", "--sampler.max-new-tokens", "16")


def gvmrl_eval(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gvmrl", "eval", *FLAGS, "--out", "out", *args],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


def test_the_command_prints_a_table_and_names_the_file(tmp_path: Path) -> None:
    rows = [{"question": p.question, "answer": p.answer} for p in make_problems(20, seed=2)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "sums.jsonl").write_text(text)
    args = ("--benchmarks", "sums=sums.jsonl", "--k", "2", "--temperature", "0.7")
    done = gvmrl_eval(tmp_path, *args)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("avg@2", "pass@2", "maj@2", "sums", "20"))
    assert "All figures: out/results.json" in done.stdout
    assert "40 completions" in done.stderr
    settings = json.loads((tmp_path / "out" / "results.json").read_text())["settings"]
    assert settings["sampler"]["temperature"] == 0.7
    again = gvmrl_eval(tmp_path, *args)
    assert again.stdout == done.stdout
    assert "completions" not in again.stderr
