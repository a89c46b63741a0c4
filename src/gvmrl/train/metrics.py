"""What a step did, as one flat row of figures, and the places that rows go to.

Names are `area/name`; rates lie in [0, 1]; `cost/` figures are totals since the start.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from gvmrl.config import LogConfig
from gvmrl.data import FloatArray, Rollouts, segment_sum
from gvmrl.errors import InputError
from gvmrl.estimate.audit import Audit
from gvmrl.estimate.history import History
from gvmrl.files import json_line, read_json_lines, write_json_lines
from gvmrl.stats import PromptStats
from gvmrl.train.checkpoint import State
from gvmrl.train.update import UpdateMetrics
from gvmrl.train.weigh import Weights

MetricRow = dict[str, float]
Sink = Callable[[MetricRow], None]


class Clock:
    """Adds up wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Count the block's seconds under `time/{name}_s`."""
        start = time.perf_counter()
        yield
        key = f"time/{name}_s"
        self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - start


def rollout_metrics(rollouts: Rollouts, weights: Weights) -> MetricRow:
    """Summarise a step's rollouts.

    `reward/prompt_mean` gives every sampled prompt the same weight; `reward/rollout_mean` is
    allocation-weighted and moves when the counts move, even if the policy does not.
    """
    count_P = rollouts.count_P
    sampled_P = count_P > 0
    total_P = segment_sum(rollouts.reward_R, rollouts.prompt_R, count_P.size)
    mixed_P = (rollouts.success_P > 0) & (rollouts.success_P < count_P)
    lengths = [len(completion.token_ids) for completion in rollouts.completions]
    return {
        "reward/prompt_mean": float((total_P[sampled_P] / count_P[sampled_P]).mean()),
        "reward/rollout_mean": float(rollouts.reward_R.mean()),
        "rollouts/truncated_rate": float(np.mean([c.truncated for c in rollouts.completions])),
        "rollouts/mean_tokens": float(np.mean(lengths)),
        **{f"reward/{name}": rollouts.statuses.count(name) for name in ("timeout", "crashed")},
        "groups/mixed": int(mixed_P.sum()),
        "groups/of_one": int((count_P == 1).sum()),
        "groups/undefined_weight": weights.num_undefined,
    }


def allocation_metrics(rollouts: Rollouts, stats: PromptStats, notes: Sequence[str]) -> MetricRow:
    """Summarise the counts and what was known of the prompts."""
    count_P = rollouts.count_P
    row: MetricRow = {
        "allocation/left_out": int((count_P == 0).sum()),
        "allocation/min": int(count_P.min()),
        "allocation/median": float(np.median(count_P)),
        "allocation/max": int(count_P.max()),
        "allocation/notes": len(notes),
        "allocation/unseen": int((~stats.seen_P).sum()),
    }
    seen_P = stats.seen_P
    row |= _quantiles("stats/accept_rate", stats.successes_P[seen_P] / stats.trials_P[seen_P])
    if stats.grad_norm_P is not None:
        row |= _quantiles("stats/grad_norm", stats.grad_norm_P[stats.successes_P > 0])
    return row


def strategy_metrics(history: History, audit: Audit) -> MetricRow:
    """Say how fast outcomes age, how much of the pool was seen, and what the audit found."""
    row: MetricRow = {
        "history/seen_rate": float(history.seen_P.mean()),
        "history/prior_rollouts": history.strength,
        "history/pool_rate": history.pool_rate,
        "history/most_visits": int(history.visit_P.max()),
        "audit/strategy_in_use": int(audit.in_use),
    }
    if np.isfinite(history.half_life):
        row["history/half_life_updates"] = history.half_life
    if audit.uniform.n:
        row["audit/accept_rate"] = audit.uniform.accept_rate
    if (gain := audit.gain) is not None:
        row |= {"audit/gain": gain.ratio, "audit/low": gain.low, "audit/high": gain.high}
    return row


def update_metrics(updates: Sequence[UpdateMetrics], lr: float) -> MetricRow:
    """Average the updates of a step; rollouts and tokens are summed."""
    row: MetricRow = {"update/lr": lr}
    for field in fields(UpdateMetrics):
        values = [getattr(update, field.name) for update in updates]
        total = sum(values)
        row[f"update/{field.name}"] = (
            total if field.name.startswith("num_") else total / len(values)
        )
    row["update/empty"] = sum(update.num_rollouts == 0 for update in updates)
    return row


def progress_metrics(state: State) -> MetricRow:
    """Say where the run stands and what it has cost so far."""
    costs = {f"cost/{name}": value for name, value in asdict(state.costs).items()}
    return {"step": state.step, "updates": state.updates, **costs}


def memory_metrics(device: torch.device) -> MetricRow:
    """Say how much GPU memory the process has used at most since it started, in bytes.

    `memory/gpu_peak_bytes` is what tensors took at once; `memory/gpu_held_bytes` is what PyTorch's
    allocator took from the GPU for them, gaps included. CUDA's own context comes on top of it, some
    hundred MB. A policy that is not on CUDA has neither figure.
    """
    if device.type != "cuda":
        return {}
    return {
        "memory/gpu_peak_bytes": torch.cuda.max_memory_allocated(device),
        "memory/gpu_held_bytes": torch.cuda.max_memory_reserved(device),
    }


def _quantiles(name: str, value_P: FloatArray) -> MetricRow:
    if not value_P.size:
        return {}
    q10, q50, q90 = np.quantile(value_P, (0.1, 0.5, 0.9))
    return {f"{name}_q10": float(q10), f"{name}_q50": float(q50), f"{name}_q90": float(q90)}


class JsonLines:
    """Appends rows to a file, after dropping those that a resumed run will write again."""

    def __init__(self, path: Path, last_step: int | None) -> None:
        """Keep the rows up to the step that the run resumes from; None keeps nothing."""
        rows = read_json_lines(path) if last_step is not None else []
        write_json_lines(path, [row for row in rows if int(str(row["step"])) <= (last_step or 0)])
        self._path = path

    def __call__(self, row: Mapping[str, object]) -> None:
        """Append one row."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json_line(row))


def open_sinks(config: LogConfig, folder: Path) -> list[Sink]:
    """Return the sinks that the settings ask for besides metrics.jsonl.

    Raises:
        InputError: If the package of a sink is not installed.
    """
    sinks: list[Sink] = []
    if config.tensorboard:
        sinks.append(_tensorboard(folder))
    if config.wandb_project is not None:
        sinks.append(_wandb(folder, config.wandb_project))
    return sinks


def _tensorboard(folder: Path) -> Sink:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "log.tensorboard needs a package: pip install gvmrl[tensorboard]"
        ) from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(row: MetricRow) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    return write


def _wandb(folder: Path, project: str) -> Sink:
    try:
        import wandb  # pyright: ignore[reportMissingImports] - an extra of its own
    except ImportError as error:
        raise InputError("log.wandb_project needs a package: pip install gvmrl[wandb]") from error
    run = wandb.init(
        project=project, dir=str(folder), name=folder.name, id=folder.name, resume="allow"
    )

    def write(row: MetricRow) -> None:
        run.log(row, step=int(row["step"]))

    return write
