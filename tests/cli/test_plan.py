"""`gvmrl plan`, as a user runs it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROWS = [
    {"id": "easy", "trials": 8, "successes": 8, "grad_norm": 0.5, "cost": 100},
    {"id": "mid", "trials": 8, "successes": 4, "grad_norm": 1.0, "cost": 200},
    {"id": "hard", "trials": 8, "successes": 1, "grad_norm": 1.0, "cost": 400},
    {"id": "dead", "trials": 8, "successes": 0, "cost": 400},
    {"id": "new", "trials": 0, "successes": 0, "cost": 200},
]


@pytest.fixture
def stats(tmp_path: Path) -> Path:
    """A file of statistics."""
    path = tmp_path / "stats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gvmrl", "plan", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_go_to_stdout_and_a_table_to_stderr(stats: Path) -> None:
    result = run(stats, "--budget", 20, "--hi", 64)
    assert result.returncode == 0, result.stderr
    plan = rows(result.stdout)
    assert [row["id"] for row in plan] == ["easy", "mid", "hard", "dead", "new"]
    assert [row.keys() for row in plan] == [{"id", "count", "loss_weight"}] * 5
    # a fifth for the unseen prompt; 0.5 : 1.41 : 2.81 of the other 16
    assert [row["count"] for row in plan] == [2, 5, 9, 0, 4]
    assert "20 rollouts for 5 prompts by gvm(alpha=0.001, beta=2.0)" in result.stderr
    assert "left out, nothing accepted yet: 1" in result.stderr


def test_out_writes_a_file_and_nothing_to_stdout(stats: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.jsonl"
    result = run(stats, "--budget", 20, "--out", out)
    assert result.stdout == ""
    assert rows(out.read_text()) == rows(run(stats, "--budget", 20).stdout)


def test_every_flag_reaches_the_allocation(stats: Path) -> None:
    result = run(
        stats, "--budget", 6001, "--tokens", "--rule", "least_variance", "--estimator", "rloo",
        "--group-min", 2, "--multiple-of", 4, "--lo", 0, "--hi", 16, "--seed", 3,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    plan = {str(row["id"]): row for row in rows(result.stdout)}
    total = sum(int(str(row["count"])) for row in plan.values())
    assert total % 4 == 0
    assert plan["easy"]["count"] == plan["dead"]["count"] == 0
    assert "least_variance(estimator='rloo')" in result.stderr
    assert "of 6,001 tokens spent" in result.stderr
    assert "times the signal-to-noise of uniform counts" in " ".join(result.stderr.split())


def test_an_objective_changes_the_weights(stats: Path) -> None:
    base = (stats, "--budget", 40, "--estimator", "rloo", "--rule", "uniform")
    native = rows(run(*base).stdout)
    passk = rows(run(*base, "--objective", "pass_at_k", "--k", 4).stdout)
    assert [row["count"] for row in native] == [row["count"] for row in passk]
    assert [row["loss_weight"] for row in native] == [1.0] * 5
    # 4 q^3 more weight, and q is larger where p is smaller
    assert float(str(passk[2]["loss_weight"])) > float(str(passk[1]["loss_weight"])) > 0


def test_compare_shows_every_rule_and_leaves_the_plan_alone(stats: Path) -> None:
    plain, compared = run(stats, "--budget", 40), run(stats, "--budget", 40, "--compare")
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout == plain.stdout
    for name in ("uniform", "least_variance", "pilot_commit", "reinforce_ada"):
        assert f" {name} " in compared.stderr
    assert "Warning" not in compared.stderr


def test_plot_draws_a_picture(stats: Path, tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    result = run(stats, "--budget", 40, "--compare", "--plot", picture)
    assert result.returncode == 0, result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib_says_what_to_install(stats: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv[0] = 'gvmrl'; "
        "from gvmrl.cli import main; main()"
    )
    args = ["plan", str(stats), "--budget", "9", "--plot", str(tmp_path / "plan.png")]
    result = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "--plot needs matplotlib: pip install gvmrl[report]" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "3", "--lo", "1"], "budget 3 is 2 rollouts short of the 5 that lo asks for"),
        (["--budget", "21", "--hi", "4"], "budget 21 is 1 rollouts more than the 20 that hi"),
        (["--budget", "9", "--alpha", "-1"], "alpha must be >= 0, got -1.0"),
        (["--budget", "9", "--beta", "0.5"], "beta must be >= 1, got 0.5"),
        (["--budget", "9", "--rule", "vip", "--beta", "3"], "belong to the rule gvm, not to vip"),
        (["--budget", "9", "--objective", "arcsin"], "needs an estimator; set --estimator"),
        (["--budget", "9", "--k", "2"], "--k belongs to the objective pass_at_k"),
        (["--budget", "9", "--group-min", "0"], "limits.group_min must be >= 1, got 0"),
        (["--budget", "9", "--rule", "gmv"], "gmv"),
        (["--budget", "9", "--out", "plan.txt"], "must end in .jsonl, .csv, .parquet"),
        (["--budget", "9", "--plot", "plan.bmp"], "must end in .png, .svg, .pdf"),
        (["--bugdet", "9"], "bugdet"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(
    stats: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    before = sorted(tmp_path.iterdir())
    result = run(stats, *flags)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_bad_rows_name_the_line_and_write_nothing(stats: Path, tmp_path: Path) -> None:
    stats.write_text(stats.read_text() + '{"id": "more", "trials": 2, "successes": 3}\n')
    result = run(stats, "--budget", 20, "--out", tmp_path / "plan.jsonl")
    assert result.returncode == 2
    assert "line 6: successes must be at most trials, got 3 of 2" in result.stderr
    assert not (tmp_path / "plan.jsonl").exists()


def test_tokens_without_costs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.csv"
    path.write_text("id,trials,successes\na,8,4\n")
    result = run(path, "--budget", 100, "--tokens")
    assert result.returncode == 2
    assert "needs the expected tokens of a rollout (cost)" in result.stderr


def test_help_explains_every_flag_without_torch() -> None:
    start = time.process_time()
    code = "import sys\nfrom gvmrl.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print('torch' in sys.modules, 'pyarrow' in sys.modules, file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code, "plan", "--help"], capture_output=True, text=True, check=True
    )
    assert result.stderr.split() == ["False", "False"]
    for flag in ("--budget", "--rule", "--group-min", "--multiple-of", "--compare", "--plot"):
        assert flag in result.stdout
    assert time.process_time() - start < 1
