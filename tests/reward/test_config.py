"""Settings and verdicts at their bounds."""

import math

import pytest

from gvmrl.reward.config import RewardConfig, Verdict


def test_verdict_of_a_status_rewards_only_correct() -> None:
    assert Verdict.of("correct") == Verdict(1.0, "correct")
    assert Verdict.of("crashed", "why") == Verdict(0.0, "crashed", "why")


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_verdict_needs_a_finite_reward(reward: float) -> None:
    with pytest.raises(ValueError, match=rf"finite number, got {reward}"):
        Verdict(reward)


def test_settings_out_of_bounds_are_named() -> None:
    with pytest.raises(ValueError, match=r"reward.workers must be >= 1, got 0"):
        RewardConfig(workers=0)
    with pytest.raises(ValueError, match=r"reward.timeout_s must be > 0 and finite, got nan"):
        RewardConfig(timeout_s=math.nan)
    with pytest.raises(ValueError, match=r"reward.memory_bytes must be >= 268435456 .*got 1000"):
        RewardConfig(memory_bytes=1000)
    with pytest.raises(ValueError, match=r"reward.max_answer_chars must be >= 1, got 0"):
        RewardConfig(max_answer_chars=0)


def test_a_pattern_goes_with_regex_alone() -> None:
    with pytest.raises(ValueError, match=r"reward.pattern goes with .* pattern = ''"):
        RewardConfig(extract="regex")
    with pytest.raises(ValueError, match=r"got extract = boxed, pattern = 'x'"):
        RewardConfig(pattern="x")
    with pytest.raises(ValueError, match=r"reward.pattern is no regular expression: .* in '\('"):
        RewardConfig(extract="regex", pattern="(")


@pytest.mark.parametrize("name", ["module", "module:", ":function"])
def test_a_callable_is_named_by_module_and_function(name: str) -> None:
    with pytest.raises(ValueError, match=rf"must read module:function, got '{name}'"):
        RewardConfig(callable=name)


def test_a_callable_does_not_take_the_settings_of_the_built_in_reward() -> None:
    with pytest.raises(ValueError, match=r"m:f finds and compares the answer itself; leave out"):
        RewardConfig(callable="m:f", extract="number")
    with pytest.raises(ValueError, match=r"leave out reward.extract"):
        RewardConfig(callable="m:f", gold_list="all")


def test_the_default_extraction_of_a_run_does_not_stand_in_the_way_of_a_callable() -> None:
    assert RewardConfig(callable="m:f", extract="total").own == "reward.callable = m:f"
    assert RewardConfig(program="judge --fast").own == "reward.program = judge --fast"
    assert RewardConfig().own is None


@pytest.mark.parametrize("command", ["", "  ", "judge 'open"])
def test_a_program_is_a_command_line(command: str) -> None:
    with pytest.raises(ValueError, match=r"reward.program must be a command line, got "):
        RewardConfig(program=command)


def test_a_callable_and_a_program_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"exclude each other; give one"):
        RewardConfig(program="judge", callable="m:f")
