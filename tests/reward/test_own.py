"""A user's own reward: programs, real-valued rewards, and settings that need 0 or 1."""

import logging
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from gvmrl.config import RunConfig
from gvmrl.data import Completion, Prompt
from gvmrl.errors import InputError
from gvmrl.losses import LossConfig
from gvmrl.reward.config import RewardConfig, Verdict
from gvmrl.reward.scorer import make_reward
from gvmrl.strategy.config import AllocationConfig

HERE = str(Path(__file__).parent)
PROGRAM = """
import json, sys, time
row = json.load(sys.stdin)
text = row["completion"]
if text == "fail": sys.exit("it does not like this one")
if text == "talk": print("well,")
if text == "hang": time.sleep(60)
if text == "eat": bytearray(1 << 40)
assert row["id"] == "p" and row["truncated"] is False
print(len(text) / len(row["answer"]))
"""


def complete(*texts: str) -> list[Completion]:
    return [
        Completion(text=text, token_ids=(1,), logprobs=(0.0,), truncated=False) for text in texts
    ]


def score(config: RewardConfig, *texts: str, binary_for: str = "") -> list[Verdict]:
    with closing(make_reward(config, binary_for=binary_for)) as scorer:
        return scorer.score([Prompt("p", (1,), "1234")] * len(texts), complete(*texts))


def command(tmp_path: Path) -> str:
    path = tmp_path / "my judge.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return f"{sys.executable} '{path}'"


def test_a_program_reads_a_completion_and_prints_its_reward(tmp_path: Path) -> None:
    verdicts = score(RewardConfig(program=command(tmp_path)), "12", "", "123456", "\u00e9")
    assert [verdict.reward for verdict in verdicts] == [0.5, 0, 1.5, 0.25]
    assert {verdict.status for verdict in verdicts} == {"scored"}


def test_a_program_that_fails_earns_nothing_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        verdicts = score(RewardConfig(program=command(tmp_path)), "fail", "talk", "eat", "12")
    assert [verdict.status for verdict in verdicts] == ["crashed", "crashed", "crashed", "scored"]
    assert "ended with status 1: it does not like this one" in verdicts[0].detail
    assert "must print one finite number, got 'well,\\n1.0\\n'" in verdicts[1].detail
    assert "MemoryError" in verdicts[2].detail
    assert "my judge.py' failed on 3 of 4 completions" in caplog.text


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    (verdict,) = score(RewardConfig(program=command(tmp_path), timeout_s=0.5), "hang")
    assert verdict.status == "timeout"
    assert time.monotonic() - began < 30


def test_a_missing_program_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"no program 'no-such-judge' that can be run"):
        make_reward(RewardConfig(program="no-such-judge --fast"))


def test_real_rewards_are_refused_where_a_setting_needs_0_or_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(HERE)
    config = RewardConfig(callable="targets:length_reward")
    assert [v.reward for v in score(config, "1234", "", binary_for="loss.name raft")] == [1, 0]
    message = (
        r"reward.callable = targets:length_reward gave 0.5 to a completion of p, but "
        r"loss.name raft needs rewards of 0 or 1; return these, or use allocation.rule uniform"
    )
    with pytest.raises(InputError, match=message):
        score(config, "1234", "12", binary_for="loss.name raft")
    assert score(config, "12")[0].reward == 0.5


@pytest.mark.parametrize(
    ("rule", "loss", "needs"),
    [
        ("gvm", "raft++", "loss.name raft++"),
        ("uniform", "raft", "loss.name raft"),
        ("gvm", "grpo", "allocation.rule gvm"),
        ("uniform", "grpo", ""),
        ("vip", "grpo", "allocation.rule vip"),
        ("paced", "grpo", "loss.baseline history"),
        ("uniform", "rloo", ""),
        ("uniform", "dr_grpo", ""),
    ],
)
def test_each_run_says_whether_it_needs_binary_rewards(rule: str, loss: str, needs: str) -> None:
    config = RunConfig(
        allocation=AllocationConfig(rule=rule),  # pyright: ignore[reportArgumentType] -- a parameter's text
        loss=LossConfig(name=loss),  # pyright: ignore[reportArgumentType] -- as above
    )
    assert config.binary_for == needs
