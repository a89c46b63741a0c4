"""The demonstration end to end, in its shortest form."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tyro

from gvmrl.cli.settings import expand_files
from gvmrl.config import RunConfig
from gvmrl.demo import SETTINGS, Arm, make_arms, run_demo
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines

CONFIG = Path(__file__).parents[1] / "configs" / "demo.toml"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(out: Path, steps: int) -> list[str]:
    flags = ["--out", str(out), "--steps", str(steps), "--seeds", "1", "--jobs", "2"]
    return [sys.executable, "-m", "gvmrl", "demo", *flags]


@pytest.mark.slow
def test_the_demo_trains_four_arms_at_equal_updates_and_keeps_what_is_finished(
    tmp_path: Path,
) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        command(out, 1), capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert "GVM minus uniform" in done.stdout
    assert "<svg" in (out / "report.html").read_text()
    last = {arm.name: read_json_lines(arm.out / "metrics.jsonl")[-1] for arm in make_arms(out, 1)}
    assert len(last) == 4
    assert {row["updates"] for row in last.values()} == {2}
    assert {row["cost/train_rollouts"] for row in last.values()} == {128}
    assert {row["cost/all_rollouts"] for row in last.values()} == {128, 256}

    written = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoints/*/policy/*")}
    again = subprocess.run(
        command(out, 1), capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert again.returncode == 0, again.stderr
    assert written == {path: path.stat().st_mtime_ns for path in written}


@pytest.mark.slow
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path, 999), env=ENVIRONMENT, stderr=subprocess.PIPE)
    while not list(tmp_path.glob("*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in listing.stdout


def test_the_shipped_config_is_an_arm_of_the_demo(tmp_path: Path) -> None:
    arm = Arm(rule="gvm", loss="raft++", seed=0, folder=tmp_path)
    in_the_demo = [*SETTINGS, *arm.flags, "--steps", "80"]
    from_the_file = [f"@{CONFIG}", "--out", str(arm.out)]
    one, other = (
        tyro.cli(RunConfig, args=expand_files(flags)) for flags in (in_the_demo, from_the_file)
    )
    assert one == other


def test_an_arm_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    def ignore(_: Arm, __: int) -> None:
        pass

    arm = Arm(rule="uniform", loss="grpo", seed=0, folder=tmp_path)
    with pytest.raises(InputError, match=r"uniform-grpo-seed0 failed: gvmrl: .*steps must be >= 1"):
        run_demo([arm], ("--steps", "0"), 1, ignore)
