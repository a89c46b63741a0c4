"""Batches through real workers: order, memory, checks of the right answers, own functions."""

import logging
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gvmrl.data import Completion, Problem, Prompt
from gvmrl.errors import InputError
from gvmrl.reward.config import RewardConfig, Scorer, Status
from gvmrl.reward.scorer import make_reward

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with closing(make_reward(RewardConfig())) as made:
        yield made


def statuses(scorer: Scorer, pairs: list[tuple[str, str]]) -> list[Status]:
    """Return the status of each (completion, right answer)."""
    prompts = [Prompt(f"p{row}", (1,), gold) for row, (_, gold) in enumerate(pairs)]
    completions = [
        Completion(text=text, token_ids=(1,), logprobs=(0.0,), truncated=False) for text, _ in pairs
    ]
    verdicts = scorer.score(prompts, completions)
    assert all(v.reward == float(v.status == "correct") for v in verdicts if v.status != "scored")
    return [verdict.status for verdict in verdicts]


def test_a_batch_keeps_its_order_whoever_judges(scorer: Scorer) -> None:
    half = r"\frac{1}{2}"
    pairs = [
        (r"\boxed{0.5}", half),  # a worker
        (r"\boxed{27}", "27.0"),  # exact numbers
        ("no box", half),
        (r"\boxed{\frac{1}{3}}", half),  # a worker
        (rf"\boxed{{{half}}}", half),  # equal text
        (rf"\boxed{{{'1' * 600}}}", half),
        (r"\boxed{28}", "27.0"),
        (r"\boxed{0.5}", half),  # as the first
        (r"\boxed{3}", "2\n3"),  # one of two
    ]
    expected = ["correct", "correct", "no_answer", "wrong", "correct", "too_long", "wrong"]
    expected += ["correct", "correct"]
    assert statuses(scorer, pairs) == expected


def test_plain_answers_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    plain = make_reward(RewardConfig(extract="number", gold_list="all"))
    assert statuses(plain, [("it is 1,080.", "1080.0"), ("x", "5")]) == ["correct", "no_answer"]
    plain.check([Problem("p", "?", "1,080"), Problem("q", "?", "-2.5e3")])
    with pytest.raises(FileNotFoundError, match="/nowhere/python"):
        statuses(plain, [("it is 5", r"\sqrt{25}")])


def test_a_judged_pair_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(make_reward(RewardConfig())) as scorer:
        pairs = [(r"\boxed{2/4}", "1/2"), (r"\boxed{1/3}", "1/2")]
        assert statuses(scorer, pairs) == ["correct", "wrong"]
        scorer.close()
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert statuses(scorer, pairs) == ["correct", "wrong"]
        with pytest.raises(FileNotFoundError):
            statuses(scorer, [(r"\boxed{2/4}", r"\frac12")])


def test_a_timeout_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(make_reward(RewardConfig(timeout_s=0.2))) as scorer:
        pairs = [(r"\boxed{9^{9^{9^{9}}}}", "1/2")]
        assert statuses(scorer, pairs) == ["timeout"]
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(FileNotFoundError):
            statuses(scorer, pairs)


def test_a_pattern_finds_the_answer_in_a_worker() -> None:
    config = RewardConfig(extract="regex", pattern=r"=(.+)\$")
    with closing(make_reward(config)) as scorer:
        pairs = [("x=5$", "5"), ("x=2/4$", "0.5"), ("x=3$", r"\pi"), ("b", "a")]
        assert statuses(scorer, pairs) == ["correct", "correct", "wrong", "no_answer"]


def test_a_pattern_that_backtracks_for_ever_times_out() -> None:
    config = RewardConfig(extract="regex", pattern=r"(a+)+\$", timeout_s=0.2)
    with closing(make_reward(config)) as scorer:
        assert statuses(scorer, [("a" * 40, "a")]) == ["timeout"]


def test_all_right_answers_of_a_list_can_be_required() -> None:
    with closing(make_reward(RewardConfig(gold_list="all"))) as scorer:
        pairs = [(r"\boxed{3, 2}", "2\n3"), (r"\boxed{3}", "2\n3")]
        assert statuses(scorer, pairs) == ["correct", "wrong"]
        scorer.check([Problem("p", "?", "2\nx^2")])


def test_right_answers_that_verify_pass_the_check(scorer: Scorer) -> None:
    scorer.check([Problem("a", "?", r"\pi"), Problem("b", "?", "1/2\n7"), Problem("c", "?", "5")])


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("\u00bd", r"bad is '\u00bd' \(bad_gold\)"),
        ("7\n\u00bd\n8", r"bad is '\u00bd' \(bad_gold\)"),
        ("\u00bd\nx", r"bad is '\u00bd' \(bad_gold\)"),
        ("1/0", r"bad is '1/0' \(wrong\)"),
        ("", r"bad has 0 characters"),
        ("x" * 600, r"bad has 600 characters"),
    ],
)
def test_a_right_answer_that_cannot_be_verified_is_named(
    answer: str, fault: str, scorer: Scorer
) -> None:
    problems = [Problem("good", "?", "x+1"), Problem("bad", "?", answer)]
    with pytest.raises(InputError, match=rf"^1 of 2 right answers .*: {fault}; .* reward\.gold"):
        scorer.check(problems)


def test_missing_math_verify_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "math_verify", raising=False)
    with pytest.raises(InputError, match=r"pip install gvmrl\[hf\]"):
        make_reward(RewardConfig())


def test_prompts_and_completions_must_pair_up(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="shorter"):
        scorer.score([Prompt("p", (1,), "1")], [])


def test_a_users_function_gives_any_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(HERE)
    with closing(make_reward(RewardConfig(callable="targets:length_reward"))) as scorer:
        prompts = [Prompt("p", (1,), "1234")] * 3
        completions = [
            Completion(text=text, token_ids=(1,), logprobs=(0.0,), truncated=False)
            for text in ("12", "break", "123456")
        ]
        scorer.check([Problem("p", "?", "")])
        with caplog.at_level(logging.WARNING):
            verdicts = scorer.score(prompts, completions)
    assert [verdict.reward for verdict in verdicts] == [0.5, 0, 1.5]
    assert [verdict.status for verdict in verdicts] == ["scored", "crashed", "scored"]
    assert "targets:length_reward failed on 1 of 3 completions" in caplog.text
    assert "ValueError: cannot read this one" in caplog.text


def test_a_users_module_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from gvmrl.reward.config import Verdict\ndef one(prompt, completion):\n    "
    (tmp_path / "own_reward.py").write_text(f"{code}return Verdict(1.0)\n")
    monkeypatch.chdir(tmp_path)
    with closing(make_reward(RewardConfig(callable="own_reward:one"))) as scorer:
        assert statuses(scorer, [("text", "gold")]) == ["scored"]


def test_a_users_function_must_return_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    with (
        closing(make_reward(RewardConfig(callable="targets:bare_number"))) as scorer,
        pytest.raises(InputError, match=r"bare_number cannot be used: it returned a float, not a"),
    ):
        statuses(scorer, [("text", "gold")])


def test_a_users_function_that_is_not_there_is_found_at_once() -> None:
    with pytest.raises(InputError, match=r"reward function nowhere:f cannot be used: ModuleNot"):
        make_reward(RewardConfig(callable="nowhere:f"))
