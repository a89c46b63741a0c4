"""Runs in forked processes: the same bits as `gvmrl train`, resumed, named when they fail."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gvmrl.bench.cells import Cell, make_cells
from gvmrl.bench.config import BenchConfig
from gvmrl.bench.runner import run_cells
from gvmrl.config import DataConfig, LogConfig, OptimConfig, RunConfig
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines
from gvmrl.strategy.config import PilotConfig

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
SMALL = RunConfig(
    steps=2,
    prompts_per_step=8,
    rollouts_per_step=32,
    rollouts_per_update=32,
    data=DataConfig(train_limit=40, eval_limit=16),
    pilot=PilotConfig(rollouts=2),
    optim=OptimConfig(lr=1e-4),
    log=LogConfig(eval_every=1),
)


def small_cells(out: Path, *arms: str) -> list[Cell]:
    return make_cells(
        BenchConfig(
            arms=("uniform: --allocation.rule uniform", *arms),
            sets=("D: --data.train builtin:arithmetic/D --data.eval builtin:arithmetic/D",),
            losses=("grpo: --loss.name grpo",),
            seeds=(0,),
            out=out,
            run=SMALL,
        )
    )


def run(cells: list[Cell], out: Path) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []
    run_cells(
        cells,
        logs=out / "logs",
        jobs=2,
        threads=1,
        show=lambda cell, step: seen.append((cell.arm, step)),
    )
    return seen


def figures(folder: Path) -> list[dict[str, object]]:
    """All that a run logged but its times."""
    rows = read_json_lines(folder / "metrics.jsonl") + read_json_lines(folder / "allocation.jsonl")
    return [
        {name: value for name, value in row.items() if not name.startswith("time/")} for row in rows
    ]


@pytest.mark.slow
def test_a_cell_has_the_bits_of_the_same_run_of_gvmrl_train(tmp_path: Path) -> None:
    cells = small_cells(tmp_path, "gvm: --allocation.rule gvm")
    seen = run(cells, tmp_path)
    assert sorted(seen) == [(arm, step) for arm in ("gvm", "uniform") for step in (0, 1, 2)]
    assert not list(tmp_path.glob("D/grpo/*/seed0/checkpoints"))
    for cell in cells:
        alone = tmp_path / "alone" / cell.arm
        command = ["train", f"@{cell.config.out / 'config.json'}", "--out", str(alone)]
        subprocess.run(
            [sys.executable, "-m", "gvmrl", *command],
            check=True,
            capture_output=True,
            env=ENVIRONMENT,
        )
        assert figures(cell.config.out) == figures(alone)
    assert run(cells, tmp_path) == []  # nothing finished runs again


@pytest.mark.slow
def test_a_cell_that_fails_is_named_and_the_others_end(tmp_path: Path) -> None:
    cells = small_cells(tmp_path, "lost: --model.path no/model")
    with pytest.raises(InputError, match=r"D/grpo/lost/seed0 failed: gvmrl: .*no/model.*lost"):
        run(cells, tmp_path)
    (last,) = read_json_lines(cells[0].config.out / "metrics.jsonl")[-1:]
    assert last["step"] == 2


@pytest.mark.slow
def test_many_failures_stop_the_rest(tmp_path: Path) -> None:
    (cell,) = small_cells(tmp_path)
    cells = [
        replace(cell, arm=f"lost{number}", config=replace(config, out=config.out / str(number)))
        for number in range(20)
        for config in [replace(cell.config, model=replace(cell.config.model, path="no/model"))]
    ]
    with pytest.raises(InputError, match=r"[1-3] more failed"):
        run(cells, tmp_path)


def test_a_folder_of_another_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    cells = small_cells(tmp_path, "gvm: --allocation.rule gvm")
    cells[1].config.out.mkdir(parents=True)
    (cells[1].config.out / "config.json").write_text('{"steps": 5}')
    with pytest.raises(InputError, match=r"holds a run with other settings .*steps was 5, is 2"):
        run(cells, tmp_path)
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_bench_leaves_no_process_behind_and_goes_on(
    tmp_path: Path, ending: signal.Signals, code: int
) -> None:
    args = [
        *("--arms", "uniform: --allocation.rule uniform", "--seeds", "0", "1", "--jobs", "2"),
        *("--sets", "demo: --data.eval-limit 8", "--losses", "grpo: --loss.name grpo"),
        *("--run.steps", "9999", "--run.log.checkpoint-every", "1", "--out", str(tmp_path / "out")),
    ]
    command = [sys.executable, "-m", "gvmrl", "bench", *args]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    folders = [tmp_path / f"out/demo/grpo/uniform/seed{seed}" for seed in (0, 1)]
    while not all(list(folder.glob("checkpoints/step-*")) for folder in folders):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(ending)
    _, words = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in words
    sizes = {}
    for _ in range(100):
        before, sizes = sizes, {one: (one / "metrics.jsonl").stat().st_size for one in folders}
        if sizes == before:
            break
        time.sleep(1)  # a step takes a few tenths of it
    else:
        pytest.fail("runs go on after their bench was stopped")
