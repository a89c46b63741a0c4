"""The embedded task: left-to-right sums and differences modulo 100, running totals as reasoning.

`47+8-5=` is answered by `55,50.`; every chain has 1 to 5 terms. A step carries where its units
digits leave 0..9 (a carry of a sum, a borrow of a difference). The shipped model (warmstart.py)
errs only there, so the number of carries decides how often it is right.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal
from zlib import crc32

import numpy as np

from gvmrl.data import Problem

PromptType = Literal["easy", "mid", "hard", "dead"]
MixName = Literal["demo", "D", "R", "U", "S", "M", "E"]
Split = Literal["train", "heldout"]

MODULUS = 100
MAX_TERMS = 5
ALPHABET = "0123456789+-=,."
"""Every character of a question or a completion."""

ONE_DIGIT_RATE = 1 / 3
"""Share of the numbers in a question that have one digit."""
HELDOUT_PERIOD = 5
"""One question in this many is held out, decided by the checksum of its text."""

TYPES: tuple[PromptType, ...] = ("easy", "mid", "hard", "dead")
_TERM_COUNTS: dict[PromptType, tuple[int, ...]] = {
    "easy": (1, 2, 3),
    "mid": (1, 2, 3),
    "hard": (4, 5),
    "dead": (4, 5),
}
_CARRY_COUNTS: dict[PromptType, tuple[int, ...]] = {
    "easy": (0,),
    "mid": (1,),
    "hard": (3, 4, 5),
    "dead": (3, 4, 5),
}
_QUESTION = re.compile(rf"([0-9]{{1,2}})((?:[+-][0-9]{{1,2}}){{1,{MAX_TERMS}}})=")
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Mix:
    """Share of each prompt type in a set of problems; the shares sum to 1."""

    easy: float
    """1 to 3 terms, no carry."""
    mid: float
    """1 to 3 terms, exactly one carry."""
    hard: float
    """4 or 5 terms, at least 3 carries."""
    dead: float
    """As hard, with a wrong label that no total can equal."""


MIXES: dict[MixName, Mix] = {
    "demo": Mix(0.30, 0.40, 0.20, 0.10),
    "D": Mix(0.10, 0.20, 0.15, 0.55),
    "R": Mix(0.25, 0.30, 0.25, 0.20),
    "U": Mix(0.25, 0.30, 0.45, 0.00),
    "S": Mix(0.45, 0.08, 0.12, 0.35),
    "M": Mix(0.00, 1.00, 0.00, 0.00),
    "E": Mix(1.00, 0.00, 0.00, 0.00),
}
"""Named mixes; demo is the default, D mostly dead, R as real sets, U U-shaped, S skewed to easy."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A number and the signed terms that are added to it one after the other."""

    start: int
    """0 to 99."""
    terms: tuple[int, ...]
    """1 to 5 of them, each -99 to 99 and not 0."""

    @property
    def question(self) -> str:
        """The chain as the model reads it, such as `47+8-5=`."""
        return f"{self.start}{''.join(f'{term:+d}' for term in self.terms)}="

    @property
    def totals(self) -> tuple[int, ...]:
        """The right running totals, one a term, each 0 to 99."""
        total, totals = self.start, list[int]()
        for term in self.terms:
            total = (total + term) % MODULUS
            totals.append(total)
        return tuple(totals)

    @property
    def num_carries(self) -> int:
        """Terms that need a carry or a borrow on the way through the right totals."""
        before = (self.start, *self.totals[:-1])
        return sum(carries(total, term) for total, term in zip(before, self.terms, strict=True))

    @property
    def heldout(self) -> bool:
        """Whether the question is kept for evaluation: a property of its text alone."""
        return crc32(self.question.encode()) % HELDOUT_PERIOD == 0


def carries(total: int, term: int) -> bool:
    """Return whether adding a signed term to a total carries or borrows from the tens."""
    units = abs(term) % 10
    return total % 10 + (units if term > 0 else -units) not in range(10)


def parse_question(question: str) -> Chain:
    """Read a question such as `47+8-5=`.

    Raises:
        ValueError: If the text is no such question.
    """
    match = _QUESTION.fullmatch(question)
    if match is None:
        raise ValueError(
            f"question {question!r} is not of the embedded task; write a chain of 1 to "
            f"{MAX_TERMS} terms below {MODULUS}, such as '47+8-5='"
        )
    terms = re.findall(r"[+-][0-9]+", match.group(2))
    return Chain(int(match.group(1)), tuple(int(term) for term in terms))


def write_totals(totals: tuple[int, ...]) -> str:
    """Return running totals as the model writes them, such as `55,50.`."""
    return ",".join(map(str, totals)) + "."


def draw_chains(rng: np.random.Generator, num: int, term_counts: Sequence[int]) -> list[Chain]:
    """Draw chains at random.

    Args:
        rng: Source of the draws.
        num: Number of chains.
        term_counts: Each chain's number of terms is drawn from these, with equal chances.

    Returns:
        Chains whose numbers have one digit at `ONE_DIGIT_RATE`, else two; signs are even.
    """
    num_terms = rng.choice(np.asarray(term_counts), num).tolist()
    short = rng.random((num, max(term_counts) + 1)) < ONE_DIGIT_RATE
    number = np.where(
        short,
        rng.integers(1, 10, short.shape),
        rng.integers(10, MODULUS, short.shape),
    )
    # the first number may be 0, a term may not
    start = np.where(short[:, 0], rng.integers(0, 10, num), number[:, 0]).tolist()
    term = (number[:, 1:] * rng.choice((-1, 1), number[:, 1:].shape)).tolist()
    return [
        Chain(first, tuple(rest[:length]))
        for first, rest, length in zip(start, term, num_terms, strict=True)
    ]


def make_problems(
    num: int, *, mix: MixName = "demo", seed: int = 0, split: Split = "train"
) -> tuple[Problem, ...]:
    """Draw a set of problems without duplicate questions, in random order.

    The shares of the mix are met exactly, up to rounding. A held-out set has no question of any
    training set, and only right labels: the share of dead prompts goes to the other types.

    Args:
        num: Size of the set; >= 1.
        mix: Name of the shares, see `MIXES`.
        seed: Another seed draws another set.
        split: Questions to train on, or those kept for evaluation.

    Returns:
        Problems with ids such as `mid/47+8-5=`, stable and unique within a set.

    Raises:
        ValueError: If `num` is below 1, or the mix or the split unknown.
    """
    if num < 1:
        raise ValueError(f"num must be >= 1, got {num}")
    if mix not in MIXES:
        raise ValueError(f"mix must be one of {', '.join(MIXES)}; got {mix!r}")
    if split not in ("train", "heldout"):
        raise ValueError(f"split must be train or heldout, got {split!r}")
    heldout = split == "heldout"
    rng = np.random.default_rng((seed, int(heldout)))
    seen: set[Chain] = set()
    problems: list[Problem] = []
    for kind, size in _sizes(MIXES[mix], num, heldout).items():
        new = (chain for chain in _chains_of(kind, rng, heldout) if chain not in seen)
        for chain in islice(new, size):
            seen.add(chain)
            problems.append(_problem(chain, kind))
    return tuple(problems[row] for row in rng.permutation(num))


def type_of(problem: Problem) -> PromptType:
    """Return the prompt type of a problem that `make_problems` drew.

    Raises:
        ValueError: If the id does not begin with a prompt type.
    """
    head = problem.id.partition("/")[0]
    for kind in TYPES:
        if kind == head:
            return kind
    raise ValueError(
        f"problem id {problem.id!r} has no prompt type; ids of the embedded task read like "
        "'mid/47+8-5='"
    )


def _sizes(mix: Mix, num: int, heldout: bool) -> dict[PromptType, int]:
    share = [mix.easy, mix.mid, mix.hard, 0.0 if heldout else mix.dead]
    edge = np.rint(num * np.cumsum([0.0, *share]) / sum(share)).astype(int)
    return {kind: int(size) for kind, size in zip(TYPES, np.diff(edge), strict=True)}


def _chains_of(kind: PromptType, rng: np.random.Generator, heldout: bool) -> Iterator[Chain]:
    while True:
        for chain in draw_chains(rng, _CHUNK, _TERM_COUNTS[kind]):
            if chain.num_carries in _CARRY_COUNTS[kind] and chain.heldout == heldout:
                yield chain


def _problem(chain: Chain, kind: PromptType) -> Problem:
    # a total is below the modulus, so a dead prompt's label can never be one
    answer = chain.totals[-1] + (MODULUS if kind == "dead" else 0)
    return Problem(f"{kind}/{chain.question}", chain.question, str(answer))
