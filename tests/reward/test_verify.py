"""Equivalence in this process (its main thread), and on the benchmarks' own right answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gvmrl.reward.math import EXTRACTORS, last_boxed
from gvmrl.reward.verify import equal, judge, parsed

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("0.5", r"\frac{1}{2}"),
        (r"\dfrac12", "1/2"),
        ("27", "27.0"),
        (r"x = 5", "5"),
        (r"(3, \tfrac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
        ("2, 1", "1,2"),
        (r"12 \text{ cm}", "12"),
        (r"\text{(A)}", "A"),
        (r"50\%", "0.5"),
        (r"4.5 \times 10^{33}", "4.5e33"),
        (r"\sin^{-1}(10/13)", "np.arcsin(10/13)"),
        ("(1+x)^2", "x^2 + 2x + 1"),
    ],
)
def test_equal_answers_in_other_words_are_equal(answer: str, gold: str) -> None:
    assert equal(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("0.33", r"\frac{1}{3}"),
        ("5,6", "5"),
        (r"5 \text{ or } 6", "5"),
        ("(2,1)", "(1,2)"),
        (r"\frac{1}{", r"\frac{1}{2}"),
        (r"-\infty", r"\infty"),
        ("", "0"),
    ],
)
def test_other_answers_are_not_equal(answer: str, gold: str) -> None:
    assert not equal(answer, gold)


def test_a_right_answer_that_cannot_be_parsed_is_a_bad_gold() -> None:
    assert parsed("\u00bd") == []
    assert judge("5", ("\u00bd",), "any").status == "bad_gold"


def test_any_of_a_list_or_all_of_it() -> None:
    golds = ("$69$", "84")
    assert judge("84.0", golds, "any").status == "correct"
    assert judge("84", golds, "all").status == "wrong"
    assert judge("84, 69", golds, "all").status == "correct"
    assert judge(r"69 \text{ and } 84", golds, "all").status == "correct"
    assert judge("69, 84, 85", golds, "all").status == "wrong"
    assert judge("7.0", ("7",), "all").status == "correct"


def test_a_pattern_is_searched_before_judging() -> None:
    pattern = r"answer: (.*)"
    assert judge("answer: 2/4", (r"\frac12",), "any", pattern, 9).status == "correct"
    assert judge("answer: 0.5", ("0.5",), "any", pattern, 9).status == "correct"
    assert judge("answer: 1/3", (r"\frac12",), "any", pattern, 9).status == "wrong"
    assert judge("none", (r"\frac12",), "any", pattern, 9).status == "no_answer"
    assert judge("answer: 0.50000000", ("0.5",), "any", pattern, 9).status == "too_long"


def gold_answers(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the right answers of a benchmark file by id."""
    find = last_boxed if path.name.startswith("minerva") else EXTRACTORS["exact"]
    golds: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
        found = tuple(find(str(answer)) or "" for answer in answers)
        golds[str(row.get("unique_id", number))] = found
    return golds


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no ../shared/data/benchmarks here")
@pytest.mark.parametrize(
    ("name", "num_rows"),
    [("math500", 500), ("minerva", 20), ("olympiad", 20), ("amc23", 10), ("aime24", 10)],
)
def test_every_right_answer_of_the_benchmarks_verifies_against_itself(
    name: str, num_rows: int, record_property: Callable[[str, object], None]
) -> None:
    # the parser alone decides: no shortcut for equal texts is taken here
    (path,) = BENCHMARKS.glob(f"{name}*.jsonl")
    golds = gold_answers(path)
    assert len(golds) == num_rows
    failed: dict[str, str] = {}
    for row_id, answers in golds.items():
        for answer in answers:
            found = last_boxed(rf"so the answer is $\boxed{{{answer}}}$.")
            if not parsed(answer):
                failed[row_id] = f"cannot be parsed: {answer}"
            elif found is None or not equal(f" {found}", answer):
                failed[row_id] = f"is not equal to itself: {answer}"
    record_property("share", 1 - len(failed) / len(golds))
    print(f"{name}: {len(golds) - len(failed)} of {len(golds)}", *failed.items())  # noqa: T201
    assert not failed
