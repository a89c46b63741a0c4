"""What the documents say is what the code does."""

import importlib
import re
from pathlib import Path

import pytest

from gvmrl.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_example_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in python_blocks(page.read_text(encoding="utf-8")):
        if ">>>" not in block:
            exec(compile(block, page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_dotted_name_exists(page: Path) -> None:
    for name in set(re.findall(r"`(gvmrl(?:\.\w+)+)", page.read_text(encoding="utf-8"))):
        parts = name.split(".")
        for split in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:split]))
            except ModuleNotFoundError:
                continue
            for part in parts[split:]:
                assert hasattr(found, part), name
                found = getattr(found, part)
            break


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_command_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for command in re.findall(r"^(?: {4}|\$ )gvmrl (\w+)", text, flags=re.MULTILINE):
        assert command in COMMANDS
    for path in re.findall(r"`((?:src|docs|configs|benchmarks|tests|scripts)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_first_example_hands_out_the_whole_budget(capsys: pytest.CaptureFixture[str]) -> None:
    (block, *_) = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    exec(compile(block, "README.md", "exec"), {})
    counts = re.findall(r"(\d+) rollouts", capsys.readouterr().out)
    assert sum(map(int, counts)) == 64
