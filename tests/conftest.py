"""Fixtures shared by all tests: no network, one thread, one small policy."""

import copy
import os
from dataclasses import replace

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hypothesis import settings

from gvmrl.config import ModelConfig
from gvmrl.data import Prompt
from gvmrl.model import Policy, load_policy
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
