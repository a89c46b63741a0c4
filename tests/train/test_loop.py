"""Whole runs of the built-in model: equal updates, exact budgets, resume, and folders."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from gvmrl.config import DataConfig, LogConfig, OptimConfig, RunConfig
from gvmrl.data import FloatArray
from gvmrl.errors import InputError
from gvmrl.files import read_json_lines, write_json_lines
from gvmrl.load import load_policy
from gvmrl.losses import LossConfig
from gvmrl.strategy.config import AllocationConfig, PilotConfig
from gvmrl.train.loop import train
from gvmrl.train.metrics import MetricRow
from gvmrl.train.run import open_run

Arrays = dict[str, FloatArray]


def run(config: RunConfig) -> list[MetricRow]:
    rows: list[MetricRow] = []
    with open_run(config) as opened:
        train(opened, rows.append)
    return rows


def small(out: Path, **changes: object) -> RunConfig:
    """Two steps of two updates on 8 prompts with 4 rollouts each."""
    settings: dict[str, object] = {
        "out": out,
        "steps": 2,
        "prompts_per_step": 8,
        "rollouts_per_step": 32,
        "rollouts_per_update": 16,
        "data": DataConfig(train_limit=40, eval_limit=8),
        "optim": OptimConfig(lr=1e-4),
        "pilot": PilotConfig(rollouts=2),
        **changes,
    }
    return RunConfig(**settings)  # pyright: ignore[reportArgumentType] - fields by name


RULES = {
    "uniform": AllocationConfig(rule="uniform"),
    "gvm": AllocationConfig(rule="gvm"),
    "gvm every 2": AllocationConfig(rule="gvm", every=2),
    "gvm bounded": AllocationConfig(rule="gvm", lo=1, hi=6),
    "gvm history": AllocationConfig(rule="gvm", statistics="history"),
    "gvm weights": AllocationConfig(rule="gvm", spend_on="weights"),
    "vip": AllocationConfig(rule="vip", statistics="history"),
    "speed": AllocationConfig(rule="speed"),
    "hora": AllocationConfig(rule="hora", hi=7),
    "paced": AllocationConfig(rule="paced"),
    "paced, predicted": AllocationConfig(rule="paced", predictor="prompt", predictor_every=1),
    "spaced": AllocationConfig(rule="spaced"),
    "thompson": AllocationConfig(rule="thompson"),
    "dapo": AllocationConfig(rule="dapo", audit_rate=0),
    "oracle": AllocationConfig(rule="oracle", every=2),
}


def test_every_rule_takes_equal_updates_on_equal_training_rollouts(tmp_path: Path) -> None:
    last = {
        name: run(small(tmp_path / name, allocation=allocation))[-1]
        for name, allocation in RULES.items()
    }
    assert {row["updates"] for row in last.values()} == {4}
    assert {row["cost/train_rollouts"] for row in last.values()} == {64}
    assert last["uniform"]["cost/pilot_rollouts"] == 0
    assert last["gvm"]["cost/pilot_rollouts"] == last["gvm every 2"]["cost/pilot_rollouts"] == 32
    assert last["gvm"]["cost/all_rollouts"] == 64 + 32
    free = ("gvm history", "gvm weights", "vip", "speed", "hora", "paced", "spaced", "thompson")
    assert {last[name]["cost/all_rollouts"] for name in free if name != "gvm weights"} == {64}
    assert last["dapo"]["cost/all_rollouts"] > 64
    assert last["oracle"]["cost/oracle_rollouts"] == 2 * 40
    assert last["oracle"]["cost/all_rollouts"] == 64


def test_a_policy_that_is_never_right_is_left_as_it_is(tmp_path: Path) -> None:
    lines = [{"id": f"q{n}", "question": f"1+{n}=", "answer": "no total"} for n in range(40)]
    write_json_lines(tmp_path / "dead.jsonl", lines)
    data = DataConfig(train=str(tmp_path / "dead.jsonl"), eval=None)
    config = small(tmp_path / "run", data=data, loss=LossConfig(name="rloo"))
    before = load_policy(config.model).parameters
    with open_run(config) as opened:
        train(opened, lambda _row: None)
        after = opened.learner.policy.parameters
    assert config.uses_history_baseline
    assert all(map(torch.equal, before, after))


def test_counts_of_a_step_sum_to_its_budget_and_keep_their_bounds(tmp_path: Path) -> None:
    run(small(tmp_path / "run", allocation=RULES["gvm bounded"]))
    lines = read_json_lines(tmp_path / "run" / "allocation.jsonl")
    counts = np.array([line["counts"] for line in lines], np.int64)
    assert counts.sum(axis=1).tolist() == [32, 32]
    assert counts.min() >= 1
    assert counts.max() <= 6


def test_reused_pilots_cost_nothing_extra_and_are_trained_on(tmp_path: Path) -> None:
    row = run(
        small(tmp_path / "run", allocation=RULES["gvm"], pilot=PilotConfig(rollouts=2, reuse=True))
    )[-1]
    assert row["cost/pilot_rollouts"] == 32
    assert row["cost/all_rollouts"] == row["cost/train_rollouts"] == 64
    lines = read_json_lines(tmp_path / "run" / "allocation.jsonl")
    assert np.array([line["counts"] for line in lines], np.int64).min() >= 2


def test_some_completions_of_each_step_can_be_read(tmp_path: Path) -> None:
    run(small(tmp_path / "run", allocation=RULES["uniform"]))
    samples = read_json_lines(tmp_path / "run" / "samples.jsonl")
    assert [sample["step"] for sample in samples] == [1] * 4 + [2] * 4
    for sample in samples:
        right = str(sample["completion"]).rstrip(".").split(",")[-1] == sample["answer"]
        assert sample["reward"] == right
        assert (sample["status"] == "correct") is right


def test_an_epoch_visits_every_prompt_once(tmp_path: Path) -> None:
    config = small(tmp_path / "run", steps=5, allocation=RULES["uniform"])
    run(config)
    lines = read_json_lines(tmp_path / "run" / "allocation.jsonl")
    ids = [prompt_id for line in lines for prompt_id in cast("list[str]", line["ids"])]
    assert len(ids) == len(set(ids)) == 40


def test_inverse_probability_draws_pilots_even_under_uniform(tmp_path: Path) -> None:
    loss = LossConfig(name="raft", weighting="inverse_probability")
    row = run(small(tmp_path / "run", loss=loss, allocation=RULES["uniform"]))[-1]
    assert row["cost/pilot_rollouts"] == 32
    assert row["cost/norm_tokens"] == 0


def test_training_raises_the_held_out_accuracy(tmp_path: Path) -> None:
    config = RunConfig(
        out=tmp_path / "run",
        steps=20,
        allocation=AllocationConfig(rule="uniform"),
        optim=OptimConfig(lr=3e-4),
        log=LogConfig(eval_every=20),
    )
    rows = run(config)
    assert rows[-1]["eval/accuracy"] > rows[0]["eval/accuracy"] + 0.03


def command(out: Path, *flags: str) -> list[str]:
    settings = ["--allocation.every", "2", "--log.checkpoint-every", "1", "--optim.lr", "1e-4"]
    sizes = ["--steps", "6", "--prompts-per-step", "8", "--rollouts-per-step", "32"]
    rest = ["--rollouts-per-update", "16", "--data.eval-limit", "8"]
    return [
        sys.executable,
        "-m",
        "gvmrl",
        "train",
        "--out",
        str(out),
        *settings,
        *sizes,
        *rest,
        *flags,
    ]


def final_files(out: Path) -> tuple[Arrays, Arrays, Arrays, str]:
    checkpoint = out / "checkpoints" / "step-000006"
    return (
        load_file(checkpoint / "policy" / "model.safetensors"),
        load_file(checkpoint / "optimizer.safetensors"),
        load_file(checkpoint / "history.safetensors"),
        (checkpoint / "state.json").read_text(),
    )


def timeless(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--allocation.rule", "gvm"),
        (
            *("--allocation.rule", "paced", "--allocation.predictor", "prompt"),
            *("--loss.name", "rloo", "--loss.baseline", "history"),
        ),
    ],
)
def test_a_killed_run_resumes_bitwise_equal_to_an_unbroken_one(
    tmp_path: Path, flags: Sequence[str]
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    subprocess.run(command(unbroken, *flags), check=True, capture_output=True)
    process = subprocess.Popen(command(broken, *flags), stderr=subprocess.DEVNULL)
    # An iteration has two steps, so after step 3 the run stands in the middle of one.
    while not (broken / "checkpoints" / "step-000003").exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = (broken / "metrics.jsonl").read_text()
    assert len(read_json_lines(broken / "metrics.jsonl")) < 7, "it was finished already"
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "half a li')
    subprocess.run(command(broken, *flags), check=True, capture_output=True)
    *arrays, states = zip(final_files(unbroken), final_files(broken), strict=True)
    assert states[0] == states[1]
    for one, other in cast("list[tuple[Arrays, Arrays]]", arrays):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
    for name in ("metrics.jsonl", "allocation.jsonl", "samples.jsonl"):
        rows = [timeless(read_json_lines(out / name)) for out in (unbroken, broken)]
        assert rows[0] == rows[1]
    assert killed.count("\n") >= 3


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    config = small(tmp_path / "run", allocation=RULES["uniform"])
    run(config)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert run(config) == []
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_resuming_with_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    run(small(tmp_path / "run", allocation=RULES["uniform"]))
    changed = small(
        tmp_path / "run", allocation=RULES["uniform"], seed=3, optim=OptimConfig(lr=2e-4)
    )
    with pytest.raises(InputError, match=r"optim.lr was 0.0001, is 0.0002; seed was 0, is 3"):
        run(changed)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and not a run"):
        run(small(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_too_few_prompts_for_an_iteration_are_named(tmp_path: Path) -> None:
    config = small(tmp_path / "run", data=DataConfig(train_limit=5, eval=None))
    with pytest.raises(InputError, match=r"gives 5 prompts, but .* is 8"):
        run(config)
    assert not (tmp_path / "run").exists()


def test_too_few_prompts_for_the_groups_that_dapo_keeps_are_named(tmp_path: Path) -> None:
    config = small(
        tmp_path / "run",
        data=DataConfig(train_limit=9, eval=None),
        allocation=AllocationConfig(rule="dapo", audit_rate=0.0, group=2),
    )
    needed = config.rollouts_per_step // 2
    with pytest.raises(InputError, match=f"gives 9 prompts, but .* keeps {needed} groups of 2"):
        run(config)


def test_a_run_that_diverges_names_the_step_and_saves_nothing_broken(tmp_path: Path) -> None:
    config = small(tmp_path / "run", allocation=RULES["uniform"], optim=OptimConfig(lr=1e30))
    with pytest.raises(InputError, match=r"step 1: update 2 has loss .*optim.lr \(it is 1e\+30\)"):
        run(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_divergence_leaves_the_checkpoint_of_the_step_before(tmp_path: Path) -> None:
    config = small(tmp_path / "run", allocation=RULES["uniform"], log=LogConfig(checkpoint_every=1))
    with open_run(config) as opened:
        parameter = opened.learner.policy.parameters[0]

        def spoil(*_: object) -> None:
            parameter.data.fill_(np.nan)

        def break_after_the_first_step(row: MetricRow) -> None:
            if row["step"] == 1:  # its checkpoint is written next; the update after it breaks
                opened.learner.optimizer.register_step_post_hook(spoil)

        with pytest.raises(InputError, match="step 2: update 4 has loss nan"):
            train(opened, break_after_the_first_step)
    saved = tmp_path / "run" / "checkpoints" / "step-000001" / "policy" / "model.safetensors"
    assert all(np.isfinite(array).all() for array in load_file(saved).values())


def test_the_resolved_settings_lie_beside_the_run(tmp_path: Path) -> None:
    run(small(tmp_path / "run"))
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["pilot"]["rollouts"] == 2
    assert saved["allocation"]["rule"] == "paced"
