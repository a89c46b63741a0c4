"""What a reward is: the settings, the verdict on one completion, the scorer of many."""

import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from gvmrl.data import Completion, Problem, Prompt

Extract = Literal["boxed", "hash", "number", "total", "exact", "regex"]
GoldExtract = Literal["boxed", "hash", "number", "exact"]
GoldList = Literal["any", "all"]
Status = Literal[
    "correct", "wrong", "no_answer", "too_long", "timeout", "crashed", "bad_gold", "scored"
]

MIN_MEMORY_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one completion earned, and why."""

    reward: float
    """Finite; 1 is a right answer, 0 a wrong one, and a user's own reward may be any number."""
    status: Status = "scored"
    """Why: scored is a user's own reward; no_answer, too_long, timeout, crashed and bad_gold (a
    right answer that math-verify cannot read) earn 0."""
    detail: str = ""
    """What went wrong in the worker, for timeout and crashed."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.reward):
            raise ValueError(f"a verdict's reward must be a finite number, got {self.reward}")

    @classmethod
    def of(cls, status: Status, detail: str = "") -> Self:
        """Return the verdict of that status: reward 1 if correct, else 0."""
        return cls(float(status == "correct"), status, detail)


Reward = Callable[[Prompt, Completion], Verdict]
"""Judges one completion; a user's own is named by `reward.callable`."""


class Scorer(Protocol):
    """Something that judges a batch of completions and never raises because of their text."""

    def check(self, problems: Sequence[Problem]) -> None:
        """Raise InputError for right answers that no completion could match."""
        ...

    def faults(self, problems: Sequence[Problem]) -> dict[str, str]:
        """Say by id what is wrong with right answers that no completion could match."""
        ...

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Verdict]:
        """Judge each completion against the prompt in the same place; the order is kept."""
        ...

    def close(self) -> None:
        """End the worker processes; scoring again starts new ones."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """How completions are judged."""

    extract: Extract = "boxed"
    """Where a completion's answer stands: the last \\boxed{}, after the last ####, the last number
    of the text, the last of comma-separated totals ending in a full stop (the embedded task), the
    exact text, or what `pattern` finds last."""
    pattern: str = ""
    """Regular expression for extract = regex; its first group, if any, is the answer."""
    gold: GoldExtract = "exact"
    """Where the right answer stands in the data's answer field, as in `extract`."""
    gold_list: GoldList = "any"
    """For a list of right answers: match any one of them, or give all of them."""
    callable: str | None = None
    """Your own reward as module:function, called with (prompt, completion) in a worker process and
    returning a Verdict; modules are found from the current folder too."""
    program: str | None = None
    """Your own reward as a command line, run for each completion: it reads one JSON object with id,
    answer, completion and truncated from its standard input, and prints a number."""
    workers: int = 2
    """Worker processes; none is started before it is needed."""
    timeout_s: float = 3.0
    """Wall-clock seconds for one completion; then the worker is killed and the reward is 0."""
    memory_bytes: int = 1 << 30
    """Address space of a worker (Linux); raise it for a reward that loads large libraries."""
    max_answer_chars: int = 512
    """A longer answer is not parsed: status too_long, reward 0."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"reward.workers must be >= 1, got {self.workers}")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"reward.timeout_s must be > 0 and finite, got {self.timeout_s}")
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise ValueError(
                f"reward.memory_bytes must be >= {MIN_MEMORY_BYTES} (256 MiB), "
                f"got {self.memory_bytes}"
            )
        if self.max_answer_chars < 1:
            raise ValueError(f"reward.max_answer_chars must be >= 1, got {self.max_answer_chars}")
        self._check_pattern()
        self._check_own()

    def _check_pattern(self) -> None:
        if (self.extract == "regex") != bool(self.pattern):
            raise ValueError(
                f"reward.pattern goes with reward.extract = regex and with nothing else; "
                f"got extract = {self.extract}, pattern = {self.pattern!r}"
            )
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"reward.pattern is no regular expression: {error}, in {self.pattern!r}"
            ) from None

    def _check_own(self) -> None:
        if self.callable is not None:
            module, _, function = self.callable.partition(":")
            if not (module and function):
                raise ValueError(
                    f"reward.callable must read module:function, got {self.callable!r}"
                )
        if self.program is not None and not _words(self.program):
            raise ValueError(f"reward.program must be a command line, got {self.program!r}")
        if self.callable is not None and self.program is not None:
            raise ValueError("reward.callable and reward.program exclude each other; give one")
        # boxed and total are what nobody has set: the defaults of this record and of a training run
        extracts = self.extract not in ("boxed", "total")
        if self.own is not None and (extracts or self.gold_list != "any"):
            raise ValueError(
                f"{self.own} finds and compares the answer itself; "
                "leave out reward.extract, reward.pattern and reward.gold_list"
            )

    @property
    def own(self) -> str | None:
        """The setting that names the user's own reward, with its value; None if there is none."""
        if self.callable is not None:
            return f"reward.callable = {self.callable}"
        return None if self.program is None else f"reward.program = {self.program}"


def _words(command: str) -> list[str]:
    """Split a command line; empty if it is none."""
    try:
        return shlex.split(command)
    except ValueError:
        return []
