"""The page on allocation and every example in a docstring say what the code does."""

import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gvmrl.allocate import RULES
from gvmrl.allocate.demand import Proportional, Rule
from gvmrl.allocate.rules.masks import greso, mopps
from gvmrl.stats import PromptStats

PAGE = Path(__file__).parents[2] / "docs" / "allocation.md"
PATH = [str(Path(inspect.getfile(PromptStats)).parent / "allocate")]


def described(name: str, function: Callable[..., object], kind: str) -> str:
    """Return the row of the table that a docstring asks for."""
    text = inspect.getdoc(function) or ""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    # up to the first stop that ends a sentence
    source = re.search(r"Source: ((?:[^.:]|\.(?=\S))+)", text.replace("\n", " "))
    right = re.search(r"Right ((?:[^.:]|\.(?=\S))+)", text.replace("\n", " "))
    assert right is not None, f"{name} does not say what it is right for"
    where = source[1] if source else "-"
    return f"| `{name}` | {kind} | {parts[0].rstrip('.')} | {where} | {right[1]} |"


def kind_of(rule: Rule) -> str:
    stats = PromptStats(ids=("a",), trials_P=np.full(1, 8.0), successes_P=np.full(1, 4.0))
    return "weight" if isinstance(rule(stats), Proportional) else "gain"


def test_the_tables_of_rules_and_masks_are_those_of_the_docstrings() -> None:
    header = "| name | kind | what it does | source | right |\n|---|---|---|---|---|\n"
    rules = [described(name, rule, kind_of(rule)) for name, rule in RULES.items()]
    masks = [described(mask.__name__, mask, "mask") for mask in (greso, mopps)]
    page = PAGE.read_text()
    for rows in (rules, masks):
        assert header + "\n".join(rows) + "\n" in page


def test_every_example_on_the_page_runs() -> None:
    failures, number = doctest.testfile(str(PAGE), module_relative=False)
    assert failures == 0
    assert number > 10


def modules() -> list[str]:
    names = [f"gvmrl.allocate.{module.name}" for module in pkgutil.iter_modules(PATH)]
    return ["gvmrl", "gvmrl.stats", "gvmrl.allocate", *names]


@pytest.mark.parametrize("name", modules())
def test_every_example_in_a_docstring_runs(name: str) -> None:
    # every module sees numpy, as a reader would assume
    assert doctest.testmod(importlib.import_module(name), extraglobs={"np": np}).failed == 0


def test_every_command_on_the_page_runs(tmp_path: Path) -> None:
    rows = '{"id": "a", "trials": 8, "successes": 3}\n{"id": "b", "trials": 8, "successes": 8}\n'
    (tmp_path / "stats.jsonl").write_text(rows)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("gvmrl")]
    assert len(commands) >= 3
    for command in commands:
        words = [sys.executable, "-m", *shlex.split(command)]
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}: {result.stderr}"
    assert (tmp_path / "plan.csv").exists()
    assert (tmp_path / "plan.png").exists()
