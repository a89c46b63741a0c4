"""Checkpoints: the policy in Hugging Face format, AdamW's moments, and the state as JSON.

A checkpoint is a folder that gets its name only when it is complete, so whatever is found under
`checkpoints/` can be resumed from.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from gvmrl.estimate.audit import Audit, Yield
from gvmrl.estimate.history import History
from gvmrl.estimate.predictor import Predictor
from gvmrl.files import replacing
from gvmrl.model import Policy
from gvmrl.stats import PromptStats

POLICY = "policy"
"""Sub-folder with the policy; any Hugging Face tool can load it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Everything spent since the start of the run, evaluation not included."""

    pilot_rollouts: int = 0
    """Rollouts drawn to learn statistics, whether trained on or not."""
    train_rollouts: int = 0
    """Rollouts that updates were computed from, reused pilots included."""
    all_rollouts: int = 0
    """Rollouts generated."""
    all_tokens: int = 0
    """Tokens generated."""
    norm_tokens: int = 0
    """Tokens of accepted pilots that went through a gradient-norm pass."""
    oracle_rollouts: int = 0
    """Rollouts that measured the oracle's rates; no method has them: not in `all_rollouts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a run stands between two steps; with the weights, all that a resume needs."""

    step: int = 0
    """Steps done."""
    updates: int = 0
    """Optimizer updates done."""
    costs: Costs = field(default_factory=Costs)
    stats: PromptStats | None = None
    """Pilots of the current iteration's prompts, or the oracle's; None where there are none."""
    audit: Audit = field(default_factory=Audit)
    """Whether the strategy gains anything; untouched where there is none."""


def save(
    folder: Path,
    state: State,
    policy: Policy,
    optimizer: torch.optim.AdamW,
    history: History,
    predictor: Predictor | None,
) -> None:
    """Write the checkpoint of a step into `folder`, then remove older ones."""
    target = folder / f"step-{state.step:06d}"
    with replacing(target) as temporary:
        policy.save(temporary / POLICY)
        save_file(_flatten(optimizer), temporary / "optimizer.safetensors")
        save_arrays(history.arrays(), temporary / "history.safetensors")
        if predictor is not None:
            save_arrays(predictor.arrays(), temporary / "predictor.safetensors")
        content = {
            "step": state.step,
            "updates": state.updates,
            "costs": asdict(state.costs),
            "stats": _columns(state.stats),
            "audit": asdict(state.audit),
        }
        (temporary / "state.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    for older in set(_complete(folder)) - {target}:
        shutil.rmtree(older)


def newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in `folder`, if there is one."""
    return max(_complete(folder), default=None)


def load_state(checkpoint: Path) -> State:
    """Read where the run stood."""
    content = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    stats, audit = content["stats"], content["audit"]
    return State(
        step=content["step"],
        updates=content["updates"],
        costs=Costs(**content["costs"]),
        stats=PromptStats(**stats) if stats is not None else None,
        audit=Audit(
            **audit | {"strategy": Yield(**audit["strategy"]), "uniform": Yield(**audit["uniform"])}
        ),
    )


def load_optimizer(checkpoint: Path, optimizer: torch.optim.AdamW) -> None:
    """Give the optimizer the moments that `save` wrote."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def load_statistics(checkpoint: Path, history: History, predictor: Predictor | None) -> None:
    """Give the history and the predictor what `save` wrote."""
    history.restore(load_arrays(checkpoint / "history.safetensors"))
    if predictor is not None:
        predictor.restore(load_arrays(checkpoint / "predictor.safetensors"))


def _columns(record: PromptStats | None) -> dict[str, object] | None:
    """Give a record's fields with its arrays as lists; floats survive JSON bit by bit."""
    if record is None:
        return None
    values = {column.name: getattr(record, column.name) for column in fields(record)}
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def _flatten(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": tensor.contiguous()
        for number, moments in state.items()
        for name, tensor in moments.items()
    }


def _complete(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("step-*"))
