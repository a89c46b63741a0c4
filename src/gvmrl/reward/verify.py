"""Mathematical equivalence through math-verify; only worker processes import this module.

Parsing and comparing may take for ever and eat memory, so pool.py sets the limits. math-verify's
own timer is off: it works in the main thread alone, cannot interrupt C code, and its exception
is no Exception.
"""

import logging
import re
from functools import lru_cache

from math_verify import LatexExtractionConfig, parse, verify
from sympy import Basic, MatrixBase

from gvmrl.reward.config import GoldList, Verdict
from gvmrl.reward.math import join_golds, last_match, quick_verdict

NO_TIMER = 0
_BOXED = (LatexExtractionConfig(boxed_match_priority=0),)
_SCIENTIFIC = re.compile(r"([-+]?[0-9]+(?:\.[0-9]*)?)[eE]([-+]?[0-9]{1,4})")

Parsed = list[Basic | MatrixBase | str]


def judge(
    text: str, golds: tuple[str, ...], gold_list: GoldList, pattern: str = "", max_chars: int = 0
) -> Verdict:
    """Compare an answer with the right ones.

    Args:
        text: The answer; with a pattern, the text in which the answer is what it finds last.
        golds: Right answers, at least one.
        gold_list: Whether the answer must equal one of them or be the set of all.
        pattern: Regular expression; empty for none.
        max_chars: Longest answer of a pattern.

    Returns:
        bad_gold where a right answer cannot be parsed.
    """
    if pattern:
        answer = last_match(text, pattern)
        if answer is None:
            return Verdict.of("no_answer")
        if len(answer) > max_chars:
            return Verdict.of("too_long")
        quick = quick_verdict(answer, golds, gold_list)
        return Verdict.of(quick) if quick else judge(answer, golds, gold_list)
    targets = golds
    if gold_list == "all" and len(golds) > 1:
        targets = (join_golds(golds),)
    if not all(parsed(gold) for gold in targets):
        return Verdict.of("bad_gold", "math-verify cannot parse the right answer")
    return Verdict.of("correct" if any(equal(text, gold) for gold in targets) else "wrong")


def equal(answer: str, gold: str) -> bool:
    """Return whether math-verify finds an answer equal to the right one."""
    return verify(parsed(gold), parsed(answer), timeout_seconds=NO_TIMER)


@lru_cache(maxsize=4096)
def parsed(text: str) -> Parsed:
    """Parse an answer, once; empty if it cannot be parsed."""
    return parse(
        rf"\boxed{{{_as_latex(text)}}}",
        _BOXED,
        fallback_mode="no_fallback",
        parsing_timeout=NO_TIMER,
    )


def _as_latex(text: str) -> str:
    # Minerva Math writes numbers as 4.5e33, which LaTeX reads as 4.5 times e times 33, and
    # functions as np.arcsin(10/13)
    match = _SCIENTIFIC.fullmatch(text.strip())
    if match:
        return rf"{match.group(1)} \times 10^{{{match.group(2)}}}"
    return re.sub(r"\bnp\.([a-z]+)", r"\\\1", text)


# it warns of every process that its timer is off
logging.getLogger("math_verify").setLevel(logging.ERROR)
# the first parse loads grammars; that is no call's time
parsed(r"\frac{1}{2}")
