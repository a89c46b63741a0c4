"""Fixtures shared by all tests: no network, one thread, one small policy."""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hypothesis import settings

from gvmrl.config import ModelConfig, RunConfig, to_json
from gvmrl.data import Prompt
from gvmrl.files import write_json_lines, write_text
from gvmrl.load import load_policy
from gvmrl.model import Policy
from gvmrl.tasks.arithmetic import make_problems
from gvmrl.tasks.encode import encode

# Always the same examples, so that a red run is red again; the clock is no oracle.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def shipped_policy() -> Policy:
    """The built-in model; a test must not change its weights (see `policy`)."""
    torch.set_num_threads(1)
    return load_policy(ModelConfig())


@pytest.fixture
def policy(shipped_policy: Policy) -> Policy:
    """A copy of the built-in model that the test may train."""
    return replace(shipped_policy, module=copy.deepcopy(shipped_policy.module))


@pytest.fixture(scope="session")
def prompts(shipped_policy: Policy) -> tuple[Prompt, ...]:
    """Eight prompts of the embedded task, of different lengths."""
    problems = make_problems(8, seed=7)
    return encode(problems, shipped_policy.tokenizer, max_prompt_tokens=64).prompts


WriteRun = Callable[..., Path]


@pytest.fixture
def write_run() -> WriteRun:
    """A function that makes a folder as runs leave them, with accuracies of one's choice."""
    return _write_run


def _write_run(
    config: RunConfig, accuracies: Sequence[float], *, pilots: int = 0, **changes: object
) -> Path:
    """One evaluation every 10 updates of 100 rollouts, with so many pilots for each 100.

    `changes` go into the one row of allocation.jsonl: three prompts, of which two got rollouts.
    """
    write_text(config.out / "config.json", to_json(config))
    write_json_lines(
        config.out / "metrics.jsonl",
        [
            {
                "step": step,
                "updates": 10 * step,
                "cost/train_rollouts": 100 * step,
                "cost/pilot_rollouts": pilots * step,
                "cost/all_rollouts": (100 + pilots) * step,
                "cost/all_tokens": 9 * (100 + pilots) * step,
                "eval/accuracy": accuracy,
                "eval/accuracy_hard": accuracy / 2,
                "eval/completions": 400,
                "time/sample_s": 1.0 if step else 0.0,
                "time/eval_s": 5.0,
            }
            for step, accuracy in enumerate(accuracies)
        ],
    )
    row = {"step": 1, "ids": ["a", "b", "c"], "counts": [4, 0, 6], "accepted": [2, 0, 0]}
    trials = [8, 8, 8] if pilots else [0, 0, 0]
    row |= {"trials": trials, "successes": [trial // 2 for trial in trials]}
    write_json_lines(config.out / "allocation.jsonl", [row | changes])
    return config.out
