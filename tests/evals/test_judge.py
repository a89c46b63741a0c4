"""Votes for the most frequent answer: grouping against an oracle, and with the real verifier."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.data import Completion, Prompt
from gvmrl.evals.judge import Judge, Pair, count_votes, make_judge
from gvmrl.reward.config import RewardConfig


def complete(*texts: str) -> list[Completion]:
    return [
        Completion(text=text, token_ids=(1, 2), logprobs=(0.0, 0.0), truncated=False)
        for text in texts
    ]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with closing(make_judge(RewardConfig())) as made:
        yield made


answers = st.lists(st.lists(st.none() | st.sampled_from("aAbBcC"), max_size=6), max_size=4)


@given(answers)
def test_an_answer_joins_the_first_that_is_equivalent(rows: list[list[str | None]]) -> None:
    def equal(pairs: Sequence[Pair]) -> list[bool]:
        assert all(one != other for one, other in pairs), "equal texts need no comparison"
        return [one.lower() == other.lower() for one, other in pairs]

    folded = [[answer.lower() if answer else None for answer in row] for row in rows]
    wanted = [[-1 if answer is None else row.index(answer) for answer in row] for row in folded]
    assert count_votes(rows, equal) == wanted


def test_opaque_answers_are_not_compared() -> None:
    def equal(pairs: Sequence[Pair]) -> list[bool]:
        assert not any("x" in pair for pair in pairs)
        return [True] * len(pairs)

    assert count_votes([["x", "a", "b", "x"]], equal, opaque={"x"}) == [[0, 1, 1, 0]]


def test_equivalent_answers_vote_together_and_missing_ones_not_at_all(judge: Judge) -> None:
    texts = [r"\boxed{0.5}", "none", r"\boxed{\frac12}", r"\boxed{3}", r"\boxed{" + "1" * 600 + "}"]
    more = [r"\boxed{x+1}", r"\boxed{1+x}", r"\boxed{3}", r"\boxed{3.0}", r"\boxed{1/2}"]
    prompts = [Prompt("p", (1,), "1/2"), Prompt("q", (1,), "3")]
    rows = judge.rows(prompts, complete(*texts, *more))
    assert [row["vote"] for row in rows] == [0, -1, 0, 3, -1, 0, 0, 2, 2, 4]
    assert [row["reward"] for row in rows] == [1, 0, 1, 0, 0, 0, 0, 1, 1, 0]
    assert [row["id"] for row in rows] == ["p"] * 5 + ["q"] * 5
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4] * 2
    assert rows[2] == {
        "id": "p",
        "number": 2,
        "completion": r"\boxed{\frac12}",
        "tokens": 2,
        "truncated": False,
        "answer": r"\frac12",
        "vote": 0,
        "reward": 1.0,
        "status": "correct",
    }


def test_an_answer_that_hangs_the_verifier_is_met_once() -> None:
    with closing(make_judge(RewardConfig(timeout_s=0.3, workers=1))) as judge:
        tower = r"\boxed{9^{9^{9^{9}}}}"
        rows = judge.rows([Prompt("p", (1,), "1/3")], complete(tower, r"\boxed{x}", tower))
    assert [row["status"] for row in rows] == ["timeout", "wrong", "timeout"]
    assert [row["vote"] for row in rows] == [0, 1, 0]


def test_answers_of_a_pattern_or_a_function_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "reward"))
    configs = (
        RewardConfig(extract="regex", pattern="(.)$"),
        RewardConfig(callable="targets:length_reward"),
    )
    for config in configs:
        with closing(make_judge(config)) as judge:
            (row,) = judge.rows([Prompt("p", (1,), "5")], complete("5"))
        assert row["vote"] is None
        assert row["answer"] is None
        assert row["reward"] == 1.0
