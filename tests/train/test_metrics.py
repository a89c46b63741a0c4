"""Figures of a step, and the sinks they go to."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gvmrl.config import LogConfig
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines
from gvmrl.train.metrics import JsonLines, memory_metrics, open_sinks


def test_a_resumed_file_loses_the_rows_that_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonLines(path, None)
    for step in range(4):
        sink({"step": step})
    JsonLines(path, 2)({"step": 3, "again": 1})
    assert read_json_lines(path) == [
        *({"step": step} for step in range(3)),
        {"step": 3, "again": 1},
    ]


def test_a_run_without_checkpoint_starts_its_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    JsonLines(path, None)({"step": 0})
    JsonLines(path, None)
    assert read_json_lines(path) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own dependencies
def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (sink,) = open_sinks(LogConfig(tensorboard=True), tmp_path)
    sink({"step": 3, "reward/prompt_mean": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = events.Scalars("reward/prompt_mean")
    assert (event.step, event.value) == (3, 0.5)


def test_a_sink_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install gvmrl\[wandb\]"):
        open_sinks(LogConfig(wandb_project="p"), tmp_path)


def test_memory_is_that_of_the_policys_gpu_and_a_cpu_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def index_after(number: int) -> Callable[[torch.device], int]:
        return lambda device: number + device.index

    # What torch would say of the second of two GPUs.
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", index_after(10))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", index_after(20))
    assert memory_metrics(torch.device("cpu")) == {}
    assert memory_metrics(torch.device("cuda", 1)) == {
        "memory/gpu_peak_bytes": 11,
        "memory/gpu_held_bytes": 21,
    }
