"""What a reward is: the settings, the verdict on one completion, the scorer of many."""

import math
import re
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
        if self.callable is not None:
            self._check_callable(self.callable)

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

    def _check_callable(self, name: str) -> None:
        module, _, function = name.partition(":")
        if not (module and function):
            raise ValueError(f"reward.callable must read module:function, got {name!r}")
        if self.extract != "boxed" or self.gold_list != "any":
            raise ValueError(
                f"reward.callable = {name} finds and compares the answer itself; "
                "leave out reward.extract, reward.pattern and reward.gold_list"
            )
