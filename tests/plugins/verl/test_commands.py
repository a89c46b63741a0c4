"""`gvmrl verl`, as a user runs it."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "verl.md"


def gvmrl(cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gvmrl", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with data and a plan of two batches."""
    counts = [6, 2, 1, 7, 3, 5, 4, 4]
    ids = [f"p{row}" for row in range(8)]
    pq.write_table(pa.table({"id": ids, "prompt": ids}), tmp_path / "train.parquet")
    rows = [
        {"id": prompt_id, "count": count, "loss_weight": 4 / count}
        for prompt_id, count in zip(ids, counts, strict=True)
    ]
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


COMPILE = ("verl", "compile", "plan.jsonl", "--data", "train.parquet", "--out", "planned.parquet")
SIZES = ("--train-batch-size", "4", "--rollout-n", "4")


def test_compile_writes_the_file_and_says_what_to_set(folder: Path) -> None:
    done = gvmrl(folder, *COMPILE, *SIZES)
    assert done.returncode == 0, done.stderr
    assert "2 batches of 4 rows and 16 rollouts" in done.stderr
    assert "data.shuffle=False data.train_batch_size=4" in done.stderr
    table = pq.read_table(folder / "planned.parquet").to_pydict()
    assert sorted(table["__rollout_n__"]) == [1, 2, 3, 4, 4, 5, 6, 7]


def test_compile_moves_rollouts_where_it_is_asked_to(folder: Path) -> None:
    done = gvmrl(folder, *COMPILE, *SIZES, "--group-min", "2", "--batch-by-batch")
    assert done.returncode == 0, done.stderr
    assert re.search(r"batch by batch: \d+ rollouts moved", done.stderr)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--train-batch-size", "4", "--rollout-n", "5"), "do not fill batches of 20"),
        (("--train-batch-size", "0", "--rollout-n", "5"), "--train-batch-size must be >= 1, got 0"),
        ((*SIZES, "--group-min", "2"), "1 prompts have fewer than group-min 2"),
        ((*SIZES, "--out", "planned.csv"), "must end in .parquet"),
        ((*SIZES, "--data", "none.parquet"), "none.parquet cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_writes_nothing(
    folder: Path, args: tuple[str, ...], words: str
) -> None:
    before = sorted(folder.iterdir())
    done = gvmrl(folder, *COMPILE, *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(folder.iterdir()) == before


def test_help_lists_the_sub_commands_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    done = gvmrl(tmp_path, "verl", "--help")
    assert "usage: gvmrl verl COMMAND" in done.stdout
    assert all(f"  {name} " in done.stdout for name in ("compile", "stats", "check", "run"))
    assert "--reset-optimizer" in gvmrl(tmp_path, "verl", "run", "--help").stdout
    assert "there is no command 'stat'" in gvmrl(tmp_path, "verl", "stat").stderr


@pytest.mark.skipif(importlib.util.find_spec("verl") is not None, reason="verl is installed here")
def test_without_verl_it_says_how_to_get_it(folder: Path) -> None:
    run = ("verl", "run", "--data", "train.parquet", "--model", "none")
    for args in (("verl", "check", "data.shuffle=False"), run):
        done = gvmrl(folder, *args)
        assert done.returncode == 2
        assert done.stderr == "gvmrl: verl is not installed: pip install gvmrl[verl]\n"


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order(tiny: Path, tmp_path: Path) -> None:
    from tiny import save_prompts

    (tmp_path / "MODEL").symlink_to(tiny / "model")
    save_prompts(tmp_path / "train.parquet", 5 * 1024)
    (tmp_path / "dumps").mkdir()
    line = {"input": "user\n7+7=\nassistant\n", "gts": "14", "score": 1.0, "uid": "a_0_0"}
    (tmp_path / "dumps" / "1.jsonl").write_text((json.dumps(line) + "\n") * 8)
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^    gvmrl (.*)$", text, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["verl", "plan", "verl"]
    for command in commands:
        done = gvmrl(tmp_path, *shlex.split(command))
        assert done.returncode == 0, done.stderr
    stats = list(map(json.loads, (tmp_path / "stats.jsonl").read_text().splitlines()))
    assert (stats[7]["trials"], stats[7]["successes"], len(stats)) == (8, 8, 5120)
    assert pq.read_metadata(tmp_path / "planned.parquet").num_rows == 5120
