"""Extractors and exact comparison on texts worked out by hand."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.reward.math import (
    EXTRACTORS,
    after_hashes,
    extractor,
    final_number,
    final_total,
    join_golds,
    last_boxed,
    plain_number,
    quick_verdict,
    split_golds,
    whole_text,
)


def in_braces(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, max_size=3).map(lambda parts: f"{{{''.join(parts)}}}")


balanced = st.recursive(st.text("ab1 ,+^_", max_size=8), in_braces)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{1} then \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}} done", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right\}}", r"\left\{ x \right\}"),
        (r"\boxed{x = \boxed{5}}", "5"),
        (r"\fbox{7}", "7"),
        (r"\framebox{204} minutes", "204"),
        (r"\boxed {8}", "8"),
        (r"\boxed 9$", "9"),
        (r"\boxed{3} and \boxed{4", "3"),  # cut off by the length limit
        (r"} } \boxed{6}", "6"),
        (r"{ \boxed{6}", "6"),
        (r"\boxed{}", None),
        (r"\boxed{ {5 }", None),
        ("no box", None),
        ("", None),
    ],
)
def test_last_boxed_reads_nested_braces(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


@given(balanced, balanced, st.text(max_size=20))
def test_last_boxed_finds_any_balanced_content(first: str, last: str, before: str) -> None:
    found = last_boxed(rf"{before} \boxed{{{first}}} and \boxed{{{last}}}, done")
    assert found == (last.strip() or None)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6*7=42\n#### 42", "42"),
        ("#### 1\n#### 1,080\nand on", "1,080"),
        ("####\n 7", "7"),
        ("#### ", None),
        ("42", None),
    ],
)
def test_after_hashes_reads_the_last_marked_line(text: str, answer: str | None) -> None:
    assert after_hashes(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She has 3 apples and 12 pears.", "12"),
        ("It costs $1,080.50.", "1080.50"),
        ("the answer is -5", "-5"),
        ("rows 3-5", "5"),
        ("(2)-7", "7"),
        ("half is .5", ".5"),
        ("in 2024, 12 left", "12"),
        ("1,234,567 people", "1234567"),
        ("\u0665", None),  # an Arabic digit is no number here
        ("none", None),
    ],
)
def test_final_number_reads_prose(text: str, answer: str | None) -> None:
    assert final_number(text) == answer


@given(st.integers(), st.text(st.characters(exclude_characters="0123456789.,-+"), max_size=20))
def test_final_number_returns_the_number_before_any_text(number: int, after: str) -> None:
    assert final_number(f"first 7, then {number:,} {after}") == str(number)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("55,50.", "50"),
        ("55,500.", "500"),  # two totals, not one number with a thousands separator
        ("-3.", "-3"),
        ("12,-3.", "-3"),
        ("5.7", None),
        ("55,50", None),
        ("55,.", None),
        ("5-3.", None),
        ("4 5.", None),
        ("", None),
    ],
)
def test_final_total_reads_running_totals(text: str, answer: str | None) -> None:
    assert final_total(text) == answer


def test_whole_text_loses_the_blanks_around_it() -> None:
    assert whole_text("  x + 1\n") == "x + 1"
    assert whole_text(" \n") is None


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        (r"answer: (\w+)", "answer: A, no, answer: B", "B"),
        (r"\d+", "1 22 333", "333"),
        (r"x(\d)?", "x", None),
        (r"y", "x", None),
    ],
)
def test_a_pattern_finds_its_last_match(pattern: str, text: str, answer: str | None) -> None:
    assert extractor("regex", pattern)(text) == answer


def test_extractor_knows_every_name() -> None:
    assert {name: extractor(name) for name in EXTRACTORS} == EXTRACTORS


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("27.0", "27"),
        (" $1,080$ ", "1080"),
        ("025", "25"),
        ("+.5", "0.5"),
        ("5.5.", "5.5"),
        ("4.5e33", "4.5e33"),
    ],
)
def test_plain_number_reads_common_forms(text: str, number: str) -> None:
    assert plain_number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", "1/2", "1,08", "5..", "\u0665", "1e99999", "9" * 101, "1 2", "nan", "inf", "--5"],
)
def test_plain_number_leaves_the_rest_to_math_verify(text: str) -> None:
    assert plain_number(text) is None


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_quick_verdict_is_exact_on_whole_numbers(answer: int, gold: int) -> None:
    status = quick_verdict(f"{answer:,}", (f"{gold}.0",), "any")
    assert status == ("correct" if answer == gold else "wrong")


def test_quick_verdict_leaves_what_needs_parsing() -> None:
    assert quick_verdict("5", (r"\frac{10}{2}",), "any") is None
    assert quick_verdict(r"\frac{10}{2}", ("5",), "any") is None
    assert quick_verdict("x", ("x",), "any") == "correct"
    assert quick_verdict("5", ("4", "5"), "any") == "correct"
    assert quick_verdict("6", ("4", "5"), "any") == "wrong"
    assert quick_verdict("6", ("4", "x"), "any") is None
    assert quick_verdict("4", ("4", "5"), "all") is None


def test_golds_are_one_a_line() -> None:
    assert split_golds(" 5\n\n[0, 1) \n") == ("5", "[0, 1)")
    assert split_golds("") == ()
    assert join_golds(("$x=1$", "2")) == "$x=1$, $2$"
