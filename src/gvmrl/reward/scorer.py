"""Scorers of batches: mathematical answers, or a user's own function."""

import logging
import shlex
import shutil
from collections.abc import Sequence
from importlib.util import find_spec

from gvmrl.data import Completion, Problem, Prompt
from gvmrl.errors import InputError
from gvmrl.reward.config import RewardConfig, Scorer, Verdict
from gvmrl.reward.math import EXTRACTORS, join_golds, plain_number, quick_verdict, split_golds
from gvmrl.reward.pool import Call, Pool

logger = logging.getLogger(__name__)

CACHE_SIZE = 1 << 15
"""Verdicts remembered, at most about 40 MB at the default length of an answer."""
NAMED = 5
"""Ids that an error names."""


def make_reward(config: RewardConfig, *, binary_for: str = "") -> Scorer:
    """Return the scorer that the settings describe.

    Args:
        config: How completions are judged.
        binary_for: The setting that needs rewards of 0 or 1, as an error names it; empty for none.

    Raises:
        InputError: If math-verify is missing, the user's function cannot be imported, or there is
            no such program.
    """
    if config.own is not None:
        return OwnScorer(config, config.own, binary_for)
    return MathScorer(config)


class MathScorer:
    """Finds the answer in a completion and compares it with the right one.

    Equal texts and plain numbers are judged on the spot; the rest goes to worker processes, once
    for each pair of answer and right answer. A pattern runs in the workers too, since it may
    backtrack for ever; what it finds is not remembered.
    """

    def __init__(self, config: RewardConfig) -> None:
        """Prepare; no process is started.

        Raises:
            InputError: If math-verify is missing.
        """
        if find_spec("math_verify") is None:
            raise InputError(
                "comparing mathematical answers needs math-verify: pip install gvmrl[hf]"
            )
        self._config = config
        self._pool = Pool("gvmrl.reward.verify:judge", config, quiet=True)
        self._known: dict[Call, Verdict] = {}

    def check(self, problems: Sequence[Problem]) -> None:
        """Raise InputError for right answers that do not verify against themselves."""
        faults = self.faults(problems)
        if faults:
            named = "; ".join(f"{name} {fault}" for name, fault in list(faults.items())[:NAMED])
            raise InputError(
                f"{len(faults)} of {len(problems)} right answers do not verify against themselves: "
                f"{named}; correct or remove them, or say with reward.gold where the answer stands "
                f"in the field (1 to {self._config.max_answer_chars} characters, "
                "reward.max_answer_chars)"
            )

    def faults(self, problems: Sequence[Problem]) -> dict[str, str]:
        """Say by id why right answers do not verify against themselves.

        Each one is parsed in a worker; plain numbers need none.
        """
        limit = self._config.max_answer_chars
        faults: dict[str, str] = {}
        calls: list[tuple[str, Call]] = []
        for problem in problems:
            golds = split_golds(problem.answer)
            longest = max(map(len, golds), default=0)
            if not 1 <= longest <= limit:
                faults[problem.id] = f"has {longest} characters"
            elif self._config.gold_list == "all" and len(golds) > 1:
                calls.append((problem.id, (join_golds(golds), golds, "all")))
            else:
                symbolic = [gold for gold in golds if plain_number(gold) is None]
                calls += [(problem.id, (gold, (gold,), "any")) for gold in symbolic]
        unique = list(dict.fromkeys(call for _, call in calls))
        verdicts = dict(zip(unique, self._pool.run(unique), strict=True))
        for name, call in calls:
            if verdicts[call].status != "correct":
                faults[name] = f"is {str(call[0])[:60]!r} ({verdicts[call].status})"
        return faults

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Verdict]:
        """Judge each completion against the prompt in the same place; the order is kept."""
        judged: list[Verdict | Call] = [
            self._prepare(completion.text, split_golds(prompt.answer))
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        calls = list(dict.fromkeys(call for call in judged if not isinstance(call, Verdict)))
        fresh = dict(zip(calls, self._pool.run(calls), strict=True))
        self._remember(fresh)
        return [item if isinstance(item, Verdict) else fresh[item] for item in judged]

    def close(self) -> None:
        """End the worker processes; scoring again starts new ones."""
        self._pool.close()

    def _prepare(self, text: str, golds: tuple[str, ...]) -> Verdict | Call:
        config = self._config
        if config.extract == "regex":
            return (text, golds, config.gold_list, config.pattern, config.max_answer_chars)
        answer = EXTRACTORS[config.extract](text)
        if answer is None:
            return Verdict.of("no_answer")
        if len(answer) > config.max_answer_chars:
            return Verdict.of("too_long")
        quick = quick_verdict(answer, golds, config.gold_list)
        if quick:
            return Verdict.of(quick)
        call = (answer, golds, config.gold_list)
        return self._known.get(call, call)

    def _remember(self, fresh: dict[Call, Verdict]) -> None:
        # a timeout or a crash may be the busy machine's fault, so those are tried again
        if self._config.extract != "regex":
            self._known |= {
                call: verdict
                for call, verdict in fresh.items()
                if verdict.status in ("correct", "wrong")
            }
        while len(self._known) > CACHE_SIZE:
            del self._known[next(iter(self._known))]


class OwnScorer:
    """Calls a user's own function or program in worker processes, once for each completion."""

    def __init__(self, config: RewardConfig, name: str, binary_for: str) -> None:
        """Start one worker, so that a wrong name is found before anything is sampled.

        Args:
            config: With a callable or a program.
            name: What the user calls the reward, for messages.
            binary_for: The setting that needs rewards of 0 or 1; empty for none.

        Raises:
            InputError: If the function cannot be imported, or there is no such program.
        """
        self._name = name
        self._binary_for = binary_for
        self._first: Call = ()
        function = config.callable
        if config.program is not None:
            function = "gvmrl.reward.program:judge"
            command = shlex.split(config.program)
            if shutil.which(command[0]) is None:
                raise InputError(f"{name}: there is no program {command[0]!r} that can be run")
            self._first = (tuple(command),)
        assert function is not None, "there is a callable or a program"
        self._pool = Pool(function, config, quiet=False)
        self._pool.start()

    def check(self, problems: Sequence[Problem]) -> None:
        """Accept any right answer: the function alone knows how to read it."""

    def faults(self, problems: Sequence[Problem]) -> dict[str, str]:  # noqa: ARG002 -- as above
        """Find no fault with any right answer."""
        return {}

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Verdict]:
        """Judge each completion against the prompt in the same place; the order is kept.

        Raises:
            InputError: If the function returns anything but a Verdict, or a reward other than 0 and
                1 where a setting needs these.
        """
        pairs = list(zip(prompts, completions, strict=True))
        verdicts = self._pool.run([(*self._first, *pair) for pair in pairs])
        if self._binary_for:
            for prompt, verdict in zip(prompts, verdicts, strict=True):
                if verdict.reward not in (0, 1):
                    raise InputError(
                        f"{self._name} gave {verdict.reward:g} to a completion of {prompt.id}, but "
                        f"{self._binary_for} needs rewards of 0 or 1; return these, or use "
                        "allocation.rule uniform with grpo, dr_grpo or rloo"
                    )
        failed = [verdict for verdict in verdicts if verdict.status == "crashed"]
        if failed:
            logger.warning(
                "%s failed on %d of %d completions, which earn 0; the first: %s",
                self._name,
                len(failed),
                len(verdicts),
                failed[0].detail,
            )
        return verdicts

    def close(self) -> None:
        """End the worker processes; scoring again starts new ones."""
        self._pool.close()
