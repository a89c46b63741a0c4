"""The command in a process of its own: help, errors, exit codes, settings files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gvmrl.bench.cells import make_cells
from gvmrl.bench.config import BenchConfig
from gvmrl.cli import COMMANDS
from gvmrl.cli.settings import expand_files
from gvmrl.config import RunConfig
from gvmrl.errors import InputError
from gvmrl.flags import parse_flags
from gvmrl.probe.config import ProbeConfig

ROOT = Path(__file__).parents[2]


def gvmrl(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gvmrl", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"},
    )


def test_help_names_every_command() -> None:
    done = gvmrl("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_explains_its_settings_and_loads_no_torch(name: str) -> None:
    code = (
        f"import sys; sys.argv = ['gvmrl', '{name}', '--help']\n"
        "from gvmrl.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: gvmrl {name}" in done.stdout


def test_importing_the_library_loads_no_torch() -> None:
    code = "import sys, gvmrl; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


BUNDLES = ("--sets", "demo:", "--losses", "grpo:", "--seeds", "0")
TRAIN = ("train", "--out", "run")
EVAL = ("eval", "--out", "run")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("trian",), "there is no command 'trian'"),
        (("plan",), "--budget"),
        ((*TRAIN, "--allocation.bugdet", "3"), "--allocation.bugdet"),
        ((*TRAIN, "--allocation.rul", "gvm"), "perhaps you meant --allocation.rule"),
        ((*TRAIN, "--allocation.rule", "gvn"), "invalid choice 'gvn'"),
        ((*TRAIN, "--allocation.alpha", "-1"), "allocation.alpha must be >= 0, got -1.0"),
        ((*TRAIN, "--allocation.beta", "0.5"), "allocation.beta must be >= 1, got 0.5"),
        ((*TRAIN, "--allocation.rule", "gvm", "--allocation.lo", "99"), "too few for 16 prompts"),
        ((*TRAIN, "@missing.toml"), "settings file missing.toml cannot be read"),
        ((*TRAIN, "--model.path", "no/model"), "model.path 'no/model' cannot be loaded"),
        ((*TRAIN, "--data.train", "none.jsonl"), "none.jsonl"),
        (("bench", "--arms", "a:"), "--sets"),
        (("bench", *BUNDLES, "--arms", "uniform: --loss.nam x"), "perhaps you meant --loss.name"),
        (("bench", *BUNDLES, "--arms", "gvm:"), "baseline 'uniform' is no arm; there are gvm"),
        ((*EVAL, "--benchmarks", "maths"), "there is no benchmark 'maths'"),
        ((*EVAL, "--benchmarks", "gsm8k=none.jsonl"), "none.jsonl: no such file"),
        ((*EVAL, "--temperature", "0"), "sampler.temperature must be > 0, got 0.0"),
        ((*EVAL, "--model.path", "no/model"), "model.path 'no/model' cannot be loaded"),
        (("report",), "no run is named"),
        (("report", "nowhere"), "nowhere is not a run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_writes_nothing(
    tmp_path: Path, args: tuple[str, ...], words: str
) -> None:
    done = gvmrl(*args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_data_file_are_named_by_line(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1+1=", "answer": "2"}\n{"question": "1+2="}\n')
    done = gvmrl(*TRAIN, "--data.train", "data.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "data.jsonl" in done.stderr
    assert "answer" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_settings_file_becomes_flags_and_later_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("steps = 3\n[optim]\nlr = 0.5\nbetas = [0.8, 0.9]\n")
    assert expand_files([f"@{file}", "--steps", "4"]) == [
        *("--steps", "3", "--optim.lr", "0.5", "--optim.betas", "0.8", "0.9"),
        *("--steps", "4"),
    ]


def test_a_malformed_settings_file_is_named_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("steps = \n")
    with pytest.raises(InputError, match=r"run.toml is malformed: .*line 1"):
        expand_files([f"@{file}"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_config_is_read(path: Path) -> None:
    args = expand_files([f"@{path}"])
    if "\narms = [" in path.read_text(encoding="utf-8"):  # a bench
        cells = make_cells(parse_flags(BenchConfig, args, name="bench"))
        assert len({cell.name for cell in cells}) == len(cells) > 10
    else:
        record = ProbeConfig if path.stem == "probe" else RunConfig
        assert parse_flags(record, args, name=path.stem) != record()


def test_a_saved_config_resumes_the_run_it_came_from(tmp_path: Path) -> None:
    sizes = ("--steps", "1", "--prompts-per-step", "4", "--rollouts-per-step", "8")
    rest = ("--rollouts-per-update", "8", "--data.eval", "None", "--pilot.rollouts", "2")
    first = gvmrl(*TRAIN, *sizes, *rest, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "step 1/1: 1 updates" in first.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["eval"] is None
    again = gvmrl("train", "@run/config.json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    other = gvmrl("train", "@run/config.json", "--seed", "1", cwd=tmp_path)
    assert "seed was 0, is 1" in other.stderr
    assert other.returncode == 2


def test_interrupting_a_run_is_one_line(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gvmrl", *TRAIN, "--steps", "9999"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(2)
    _, words = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in words
    assert words.strip().splitlines()[-1] == "gvmrl: interrupted"
