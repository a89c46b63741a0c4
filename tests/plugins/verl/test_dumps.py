"""verl's dumps back into statistics, and what is kept from step to step."""

import json
from pathlib import Path

import numpy as np
import pytest

from gvmrl.allocate import allocate
from gvmrl.errors import InputError
from gvmrl.plugins.verl.data import read_data
from gvmrl.plugins.verl.dumps import problems_of, stats_of_tally, stats_rows, tally_dumps
from gvmrl.plugins.verl.history import History
from gvmrl.plugins.verl.loop import load_tokenizer, prompts_of_iteration
from gvmrl.plugins.verl.online import decide, online_config


def dump(folder: Path, step: int, rows: list[tuple[str, str, float]], uid: str = "u") -> None:
    """Write a step's rollouts as verl does."""
    folder.mkdir(exist_ok=True)
    names = ("input", "gts", "score")
    rest = {"output": "", "step": step, "uid": f"{uid}_0_0"}
    lines = [dict(zip(names, row, strict=True)) | rest for row in rows]
    (folder / f"{step}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


PROBLEMS = [("1+1=", "2"), ("2+2=", "4"), ("3+3=", "6")]
IDS = ("a", "b", "c")


def test_rollouts_are_counted_by_prompt_and_unseen_prompts_stay(tmp_path: Path) -> None:
    dump(tmp_path, 1, [("1+1=", "2", 1.0), ("1+1=", "2", 0.0), ("2+2=", "4", 0.5)])
    dump(tmp_path, 2, [("1+1=", "2", 1.0)])
    stats = stats_of_tally(tally_dumps(tmp_path), IDS, PROBLEMS)
    assert stats.trials_P.tolist() == [3, 1, 0]
    assert stats.successes_P.tolist() == [2, 0, 0]
    assert list(stats_rows(stats))[2] == {"id": "c", "trials": 0.0, "successes": 0.0}


def test_older_steps_count_less_and_later_ones_can_be_left_out(tmp_path: Path) -> None:
    dump(tmp_path, 1, [("1+1=", "2", 1.0)] * 4)
    dump(tmp_path, 3, [("1+1=", "2", 0.0)] * 4)
    stats = stats_of_tally(tally_dumps(tmp_path, decay=0.5), IDS, PROBLEMS)
    assert (stats.trials_P[0], stats.successes_P[0]) == (5, 1)  # 4 + 4 / 2^2
    assert tally_dumps(tmp_path, last_step=2).steps == (1,)


def test_padding_is_left_out_and_counted(tmp_path: Path) -> None:
    dump(tmp_path, 1, [("<pad>", "2", 0.0)] * 3, uid="pad0f")
    tally = tally_dumps(tmp_path)
    assert (tally.padding, dict(tally.trials)) == (3, {})


def test_the_same_problem_under_two_ids_shares_its_statistics(tmp_path: Path) -> None:
    dump(tmp_path, 1, [("1+1=", "2", 1.0), ("1+1=", "3", 0.0)])
    problems = [("1+1=", "2"), ("1+1=", "2"), ("1+1=", "3")]
    stats = stats_of_tally(tally_dumps(tmp_path), IDS, problems)
    assert stats.trials_P.tolist() == [1, 1, 1]
    assert stats.successes_P.tolist() == [1, 1, 0]


def test_dumps_of_other_data_are_refused(tmp_path: Path) -> None:
    dump(tmp_path, 1, [("9+9=", "18", 1.0), ("1+1=", "2", 1.0)])
    with pytest.raises(InputError, match=r"1 of 2 problems .* such as '9\+9=' .* truth '18'"):
        stats_of_tally(tally_dumps(tmp_path), IDS, PROBLEMS)


@pytest.mark.parametrize(
    "text", ["no json", '{"input": "a"}', "[1]", '{"input": "", "gts": "", "score": "x"}']
)
def test_a_line_that_is_no_rollout_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.jsonl").write_text(text + "\n")
    with pytest.raises(InputError, match=r"1.jsonl line 1 is no rollout"):
        tally_dumps(tmp_path)


def test_an_empty_folder_and_a_wrong_decay_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no rollout dumps .* trainer.rollout_data_dir="):
        tally_dumps(tmp_path)
    with pytest.raises(InputError, match=r"decay must be in \(0, 1\], got 0"):
        tally_dumps(tmp_path, decay=0)


def test_prompts_are_rendered_and_joined_by_what_verl_saw(tiny: Path, tmp_path: Path) -> None:
    data = read_data(tiny / "train.parquet")
    problems = problems_of(data, load_tokenizer(str(tiny / "model")), {})
    dump(tmp_path, 1, [("user\n2+2=\nassistant\n", "4", 1.0)])
    stats = stats_of_tally(tally_dumps(tmp_path), data.ids, problems)
    assert stats.trials_P.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


def test_a_history_ages_grows_and_comes_back_from_its_file(tmp_path: Path) -> None:
    history = History(decay=0.5)
    history.add(["a", "a", "b"], np.array([1.0, 0.0, 1.0]), np.array([2.0, 9.0, 4.0]))
    history.add(["a"], np.array([1.0]), np.array([5.0]))
    stats = history.stats(["b", "a", "new"])
    assert stats.trials_P.tolist() == [1, 2, 0]
    assert stats.successes_P.tolist() == [1, 1.5, 0]
    assert stats.grad_norm_P is not None
    # a: (2 / 2 + 5) / 1.5; the mean over all accepted ones stands in for new
    assert stats.grad_norm_P.tolist() == [4, 4, 10 / 2.5]
    history.save(tmp_path / "history.jsonl")
    again = History(decay=0.5)
    again.load(tmp_path / "history.jsonl")
    assert again == history
    assert next(stats_rows(stats))["grad_norm"] == 4


def test_the_online_decision_spends_the_batch_and_heeds_the_settings() -> None:
    history = History()
    history.add(["easy"] * 8 + ["hard"] * 8, np.array([1.0] * 8 + [1.0] + [0.0] * 7))
    config = online_config({"rule": "gvm", "group_min": 2, "hi": 12, "estimator": "raft"})
    stats = history.stats(["easy", "hard", "new"])
    plan = decide(config, stats, rollout_n=8, step=1)
    assert plan.count_P.sum() == 24
    assert plan.count_P[1] > plan.count_P[0] >= 2
    uniform = decide(online_config({"rule": "uniform"}), stats, rollout_n=8, step=1)
    assert uniform.count_P.tolist() == allocate(stats, 24, rule="uniform").count_P.tolist()
    assert uniform.loss_weight_P.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "gmv"}, "there is no rule 'gmv'; did you mean 'gvm'"),
        ({"norm": "head"}, "gvmrl.norm must be one of none, logits, output_head, got 'head'"),
        ({"estimator": "ppo"}, "gvmrl.estimator must be one of"),
        ({"decay": 0}, r"gvmrl.decay must be in \(0, 1\], got 0"),
        ({"hi": 1, "lo": 2}, "gvmrl.hi must be >= gvmrl.lo"),
        ({"lo": "two"}, "not supported between"),
        ({"pilot": 2}, "did you mean gvmrl.pilots"),
    ],
)
def test_online_settings_are_checked(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        online_config(settings)


def test_iterations_take_every_prompt_once_in_an_epoch() -> None:
    ids = tuple(f"p{row}" for row in range(10))
    epoch = [prompts_of_iteration(ids, 4, iteration, seed=0) for iteration in range(2)]
    assert len({row for rows in epoch for row in rows}) == 8
    assert prompts_of_iteration(ids, 4, 2, seed=0) != epoch[0]
