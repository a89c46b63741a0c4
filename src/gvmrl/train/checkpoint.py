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
from safetensors.torch import load_file, save_file
from torch import Tensor

from gvmrl.allocate import Plan
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


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a run stands between two steps; with the weights, all that a resume needs."""

    step: int = 0
    """Steps done."""
    updates: int = 0
    """Optimizer updates done."""
    costs: Costs = field(default_factory=Costs)
    stats: PromptStats | None = None
    """Statistics of the current iteration's prompts; None where the rule draws no pilots."""
    plan: Plan | None = None
    """The last step's plan."""


def save(folder: Path, state: State, policy: Policy, optimizer: torch.optim.AdamW) -> None:
    """Write the checkpoint of a step into `folder`, then remove older ones."""
    target = folder / f"step-{state.step:06d}"
    with replacing(target) as temporary:
        policy.save(temporary / POLICY)
        save_file(_flatten(optimizer), temporary / "optimizer.safetensors")
        content = {
            "step": state.step,
            "updates": state.updates,
            "costs": asdict(state.costs),
            "stats": _columns(state.stats),
            "plan": _columns(state.plan),
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
    stats, plan = content["stats"], content["plan"]
    return State(
        step=content["step"],
        updates=content["updates"],
        costs=Costs(**content["costs"]),
        stats=PromptStats(**stats) if stats is not None else None,
        plan=Plan(**plan) if plan is not None else None,
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


def _columns(record: PromptStats | Plan | None) -> dict[str, object] | None:
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
