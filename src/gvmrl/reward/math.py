"""Answers found in a text, and compared with the right one where that takes no parsing.

All of it takes linear time, whatever the text, except `last_match`: a pattern may backtrack for
ever. A right answer ("gold") is text; several right answers are one a line.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial

from gvmrl.reward.config import Extract, GoldList, Status

Extractor = Callable[[str], str | None]

# [0-9], not \d: other scripts' digits would reach int() and sympy
_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_IN_TEXT = re.compile(rf"(?:(?<![\w)])[-+])?(?:{_NUMBER})")
_PLAIN = re.compile(rf"[-+]?(?:{_NUMBER})(?:[eE][-+]?[0-9]{{1,4}})?")
_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s+([^\s${}\\]+)")
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last closed `\boxed{}` (or `\fbox{}`), braces nested at will.

    Of boxes in a box, the one that opens last counts. `\boxed 5` counts where no box has braces.
    """
    open_boxes: list[int] = []  # where the content of each open brace starts; -1 if no box
    start, end = -1, -1
    for match in _BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token == "}":
            opened = open_boxes.pop() if open_boxes else -1
            if opened > start:
                start, end = opened, match.start()
        elif token == "{":
            open_boxes.append(-1)
        elif token.endswith("{") and len(token) > 2:
            open_boxes.append(match.end())
    if start >= 0:
        return text[start:end].strip() or None
    bare = _last(_BARE_BOX, text)
    return bare.group(1) if bare else None


def after_hashes(text: str) -> str | None:
    """Return the rest of the line after the last `####`, as in GSM8K."""
    _, found, rest = text.rpartition("####")
    lines = rest.strip().splitlines()
    return lines[0].strip() if found and lines else None


def final_number(text: str) -> str | None:
    """Return the last number of a text without its thousands separators.

    A sign counts where it cannot be a minus between two terms: `3-5` ends in 5, `is -5` in -5.
    """
    match = _last(_IN_TEXT, text)
    return match.group().replace(",", "") if match else None


def final_total(text: str) -> str | None:
    """Return the last of comma-separated whole numbers that end in a full stop: `55,50.` -> 50."""
    totals, stop, rest = text.rpartition(".")
    total = totals.rpartition(",")[2].strip()
    ended = stop and not rest.strip()
    return total if ended and _WHOLE_NUMBER.fullmatch(total) else None


def whole_text(text: str) -> str | None:
    """Return the text without the blanks around it."""
    return text.strip() or None


def last_match(text: str, pattern: str) -> str | None:
    """Return the last match of a regular expression: its first group if it has one."""
    match = _last(re.compile(pattern), text)
    if match is None:
        return None
    found = match.group(1) if match.re.groups else match.group()
    return (found or "").strip() or None


EXTRACTORS: dict[Extract, Extractor] = {
    "boxed": last_boxed,
    "hash": after_hashes,
    "number": final_number,
    "total": final_total,
    "exact": whole_text,
}
"""All but regex, which needs a pattern."""


def extractor(name: Extract, pattern: str = "") -> Extractor:
    """Return the extractor of that name; `pattern` is for regex."""
    return partial(last_match, pattern=pattern) if name == "regex" else EXTRACTORS[name]


def plain_number(text: str) -> Decimal | None:
    """Return the number that a text plainly is, such as `-1,080.50`, `$27$` or `4.5e33`."""
    stripped = text.strip(" \t\r\n$").removesuffix(".")
    if len(stripped) > 100 or not _PLAIN.fullmatch(stripped):
        return None
    return Decimal(stripped.replace(",", ""))


def quick_verdict(answer: str, golds: tuple[str, ...], gold_list: GoldList) -> Status | None:
    """Judge without parsing where that is exact: equal texts, and two plain numbers.

    Returns:
        correct, wrong, or None where math-verify must decide.
    """
    if gold_list == "all" and len(golds) > 1:
        return None
    if answer in golds:
        return "correct"
    number = plain_number(answer)
    if number is None:
        return None
    gold_numbers = [plain_number(gold) for gold in golds]
    if number in gold_numbers:
        return "correct"
    return None if None in gold_numbers else "wrong"


def split_golds(gold: str) -> tuple[str, ...]:
    """Return the right answers in a problem's `answer`, one a line; empty lines do not count."""
    return tuple(line.strip() for line in gold.split("\n") if line.strip())


def join_golds(golds: tuple[str, ...]) -> str:
    """Write several right answers as one set, in LaTeX."""
    return ", ".join(f"${gold.strip('$')}$" for gold in golds)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007 -- the last one is wanted
        pass
    return match
