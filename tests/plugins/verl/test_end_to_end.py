# pyright: basic, reportMissingImports=false
"""Stock `python -m verl.trainer.main_ppo` on a CPU, with and without the plug-in's trainer modes.

A run takes a minute or two on two cores and about 9 GB. One of them belongs to every gate; the
others are marked verl_slow.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl has an environment of its own: make .venv-verl/ready")

import cpu_run
import torch

from gvmrl.plugins.verl.advantages import even_advantages
from gvmrl.plugins.verl.data import COUNT_COLUMN, read_data, write_planned
from gvmrl.plugins.verl.dumps import stats_of_tally, tally_dumps
from gvmrl.plugins.verl.history import History
from gvmrl.plugins.verl.names import TRAINER_MODULE
from gvmrl.plugins.verl.plans import BatchShape, PlanRows, lay_out

pytestmark = pytest.mark.timeout(900)

COUNTS = [6, 2, 0, 9, 3, 5, 4, 3]
"""Two batches of four rows and 16 rollouts; the prompt without any is a filler."""


def planned_file(tiny: Path, folder: Path) -> Path:
    data = read_data(tiny / "train.parquet")
    plan = PlanRows(ids=data.ids, count_P=np.array(COUNTS), loss_weight_P=np.array(COUNTS) / 4)
    path = folder / "planned.parquet"
    write_planned(path, data, lay_out(plan, BatchShape(train_batch_size=4, rollout_n=4)))
    return path


def settings(tiny: Path, folder: Path, **changed: object) -> dict[str, object]:
    base = {
        "data.train_files": tiny / "train.parquet",
        "data.val_files": tiny / "train.parquet",
        "actor_rollout_ref.model.path": tiny / "model",
        "algorithm.adv_estimator": "gvmrl_raft",
        "trainer.total_training_steps": 2,
        "trainer.total_epochs": 1,
        "trainer.save_freq": 2,
        "trainer.resume_mode": "auto",
        "trainer.default_local_dir": folder / "checkpoints",
        "trainer.rollout_data_dir": folder / "dumps",
    }
    return base | {name.replace("__", "."): value for name, value in changed.items()}


def lines(path: Path) -> list[dict]:
    return list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))


def rollouts(folder: Path, step: int) -> list[dict]:
    return lines(folder / "dumps" / f"{step}.jsonl")


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    return {line["step"]: line["data"] for line in lines(folder / "metrics.jsonl")}


def updates_taken(folder: Path, step: int) -> set[int]:
    """Return how many steps the optimizer has taken, from its state in the checkpoint."""
    name = f"checkpoints/global_step_{step}/actor/optim_world_size_1_rank_0.pt"
    state = torch.load(folder / name, weights_only=False)["state"]
    return {int(each["step"]) for each in state.values()}


def test_stock_verl_trains_on_a_plan(tiny: Path, tmp_path: Path) -> None:
    planned = planned_file(tiny, tmp_path)
    cpu_run.train(tmp_path, settings(tiny, tmp_path, data__train_files=planned))
    import pyarrow.parquet as pq

    rows = pq.read_table(planned).to_pylist()
    for step in (1, 2):
        drawn = rollouts(tmp_path, step)
        wanted = {
            f"user\n{row['prompt'][0]['content']}\nassistant\n": row[COUNT_COLUMN]
            for row in rows[4 * (step - 1) : 4 * step]
            if row[COUNT_COLUMN]
        }
        assert Counter(row["input"] for row in drawn) == wanted
        # no row of padding, so exactly one update of 16 rollouts, as for uniform counts
        assert len(drawn) == 16
        prompt_R = np.unique([row["uid"].split("_")[0] for row in drawn], return_inverse=True)[1]
        advantage_R = even_advantages("raft", np.array([row["score"] for row in drawn]), prompt_R)
        row = metrics(tmp_path)[step]
        assert row["critic/advantages/max"] == pytest.approx(advantage_R.max())
        assert row["critic/advantages/min"] == pytest.approx(advantage_R.min())
    assert updates_taken(tmp_path, 2) == {2}


@pytest.mark.verl_slow
def test_a_plan_takes_as_many_updates_as_uniform_counts(tiny: Path, tmp_path: Path) -> None:
    cpu_run.train(tmp_path, settings(tiny, tmp_path, algorithm__adv_estimator="grpo"))
    assert [len(rollouts(tmp_path, step)) for step in (1, 2)] == [16, 16]
    assert updates_taken(tmp_path, 2) == {2}


@pytest.mark.verl_slow
def test_the_planned_mode_applies_the_weights_of_the_plan(tiny: Path, tmp_path: Path) -> None:
    planned = planned_file(tiny, tmp_path)
    changed = {"data.train_files": planned, "trainer.v1.trainer_mode": "gvmrl_planned"}
    cpu_run.train(tmp_path, settings(tiny, tmp_path) | changed, TRAINER_MODULE)
    for step in (1, 2):
        drawn = rollouts(tmp_path, step)
        count = Counter(row["input"] for row in drawn)
        accepted = Counter(row["input"] for row in drawn if row["score"] >= 1)
        # the weights were set to n / 4, and RAFT's own coefficient is n / accepted
        largest = max(count[text] ** 2 / (4 * many) for text, many in accepted.items())
        assert metrics(tmp_path)[step]["critic/advantages/max"] == pytest.approx(largest)


@pytest.mark.verl_slow
@pytest.mark.parametrize(("ranks", "norm"), [(1, "logits"), (2, "output_head")])
def test_the_online_mode_plans_from_pilots_and_resumes_with_its_history(
    tiny: Path, tmp_path: Path, ranks: int, norm: str
) -> None:
    online = {
        "trainer.v1.trainer_mode": "gvmrl_online",
        "trainer.n_gpus_per_node": ranks,
        "+gvmrl.rule": "gvm",
        "+gvmrl.pilots": 3,
        "+gvmrl.norm": norm,
        "+gvmrl.hi": 10,
    }
    cpu_run.train(tmp_path, settings(tiny, tmp_path) | online, TRAINER_MODULE)
    for step, row in metrics(tmp_path).items():
        assert len(rollouts(tmp_path, step)) == 16
        assert row["gvmrl/pilot_rollouts"] == 12
        assert row["gvmrl/unseen_prompts"] == 0
        counts = Counter(each["uid"].split("_")[0] for each in rollouts(tmp_path, step))
        assert max(counts.values()) == row["gvmrl/largest_count"] <= 10
    history = History()
    history.load(tmp_path / "checkpoints" / "global_step_2" / "gvmrl_history.jsonl")
    # 8 prompts with 3 pilots each, and 16 rollouts in each of two steps
    assert sum(record.trials for record in history.records.values()) == 8 * 3 + 2 * 16
    measured = [record for record in history.records.values() if record.norm_trials]
    assert measured
    assert all(0.1 < record.norm_sum / record.norm_trials < 100 for record in measured)
    cpu_run.train(
        tmp_path,
        settings(tiny, tmp_path)
        | online
        | {"trainer.total_training_steps": 4, "trainer.total_epochs": 2, "+gvmrl.pilots": 0},
        TRAINER_MODULE,
    )
    assert metrics(tmp_path)[3]["gvmrl/unseen_prompts"] == 0


@pytest.mark.verl_slow
@pytest.mark.parametrize(("reset", "updates"), [("False", 4), ("True", 2)])
def test_the_loop_plans_again_from_dumps_and_carries_the_optimizer_over(
    tiny: Path, tmp_path: Path, reset: str, updates: int
) -> None:
    command = [sys.executable, "-m", "gvmrl", "verl", "run", "--out", "run"]
    command += ["--data", str(tiny / "train.parquet"), "--model", str(tiny / "model")]
    command += ["--iterations", "2", "--steps", "2", "--train-batch-size", "4", "--rollout-n", "4"]
    command += ["--reset-optimizer", reset]
    extra = {
        "data.val_files": tiny / "train.parquet",
        "algorithm.adv_estimator": "gvmrl_raft",
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 4,
    }
    done = subprocess.run(
        [*command, "--verl", *cpu_run.flags(extra)],
        cwd=tmp_path,
        env=cpu_run.environment(tmp_path / "metrics.jsonl"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert sorted(int(path.stem) for path in (run / "dumps").glob("*")) == [1, 2, 3, 4]
    assert sum(row["trials"] for row in lines(run / "iteration-1" / "stats.jsonl")) == 0
    assert sum(row["trials"] for row in lines(run / "iteration-2" / "stats.jsonl")) == 32
    plan = {row["id"]: row["count"] for row in lines(run / "iteration-2" / "plan.jsonl")}
    assert len(set(plan.values())) > 1
    problems = [(f"user\n{number}+{number}=\nassistant\n", str(2 * number)) for number in range(8)]
    ids = [f"sum-{number}" for number in range(8)]
    drawn = stats_of_tally(tally_dumps(run / "dumps"), ids, problems).trials_P
    before = stats_of_tally(tally_dumps(run / "dumps", last_step=2), ids, problems).trials_P
    assert dict(zip(ids, (drawn - before).tolist(), strict=True)) == plan
    # four updates since the start; with a reset, two since the second iteration began
    assert updates_taken(run, 4) == {updates}
    assert ("moments are reset, as asked" in done.stderr) == (updates == 2)
    # the reference is the model of the start: it has left the policy, or the loss would be 0
    assert metrics(tmp_path)[3]["actor/kl_loss"] > 0
    assert (run / "checkpoints/global_step_4/actor/huggingface/model.safetensors").exists()
