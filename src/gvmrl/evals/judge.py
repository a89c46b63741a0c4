"""Completions judged, and those of a problem that agree grouped, for the most frequent answer."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from gvmrl.data import Completion, Prompt
from gvmrl.reward.config import RewardConfig, Scorer, Verdict
from gvmrl.reward.math import EXTRACTORS
from gvmrl.reward.scorer import make_reward

Row = dict[str, object]
Pair = tuple[str, str]
Equal = Callable[[Sequence[Pair]], Sequence[bool]]
"""Tells for each pair of answers whether they are equivalent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Scores completions and finds out which of them agree."""

    reward: RewardConfig
    scorer: Scorer
    equality: Scorer | None
    """Compares two answers; None where the reward does not tell where an answer stands."""

    def close(self) -> None:
        """End the worker processes."""
        for scorer in filter(None, (self.scorer, self.equality)):
            scorer.close()

    def rows(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Row]:
        """Return one row a completion, as the file of completions keeps it.

        Args:
            prompts: P prompts.
            completions: The same number for each prompt, grouped by prompt.
        """
        k = len(completions) // len(prompts)
        owners = [prompt for prompt in prompts for _ in range(k)]
        verdicts = self.scorer.score(owners, completions)
        answers, votes = self._votes(completions, verdicts, k)
        return [
            {
                "id": prompt.id,
                "number": number % k,
                "completion": completion.text,
                "tokens": len(completion.token_ids),
                "truncated": completion.truncated,
                "answer": answers[number],
                "vote": votes[number],
                "reward": verdict.reward,
                "status": verdict.status,
            }
            for number, (prompt, completion, verdict) in enumerate(
                zip(owners, completions, verdicts, strict=True)
            )
        ]

    def _votes(
        self, completions: Sequence[Completion], verdicts: Sequence[Verdict], k: int
    ) -> tuple[list[str | None], list[int] | list[None]]:
        """Return each completion's answer, and the first of its problem's that is equivalent."""
        equality, name = self.equality, self.reward.extract
        if equality is None:
            return [None] * len(completions), [None] * len(completions)
        answers = [
            None if verdict.status in ("no_answer", "too_long") else EXTRACTORS[name](c.text)
            for c, verdict in zip(completions, verdicts, strict=True)
        ]
        # what made the verifier fail once need not do so again for every comparison
        failed = ("timeout", "crashed")
        hostile = {
            answer
            for answer, verdict in zip(answers, verdicts, strict=True)
            if answer is not None and verdict.status in failed
        }

        def equal(pairs: Sequence[Pair]) -> list[bool]:
            golds = [Prompt("", (), first) for _, first in pairs]
            texts = [
                Completion(text=text, token_ids=(), logprobs=(), truncated=False)
                for text, _ in pairs
            ]
            return [verdict.reward >= 1 for verdict in equality.score(golds, texts)]

        grouped = [answers[start : start + k] for start in range(0, len(answers), k)]
        votes = count_votes(grouped, equal, opaque=hostile)
        return answers, [vote for row in votes for vote in row]


def make_judge(reward: RewardConfig) -> Judge:
    """Return the judge that the settings describe; worker processes start when they are needed.

    Raises:
        InputError: If math-verify is missing or the user's function cannot be imported.
    """
    scorer = make_reward(reward)
    # a function's answers are its own, and a pattern may search for ever, which takes a worker
    if reward.own is not None or reward.extract == "regex":
        return Judge(reward=reward, scorer=scorer, equality=None)
    # the whole text of a completion is the answer
    limits = replace(reward, extract="exact", gold="exact", gold_list="any")
    return Judge(reward=reward, scorer=scorer, equality=make_reward(limits))


def count_votes(
    answers: Sequence[Sequence[str | None]], equal: Equal, *, opaque: Collection[str] = ()
) -> list[list[int]]:
    """Group each problem's answers by equivalence.

    An answer joins the first earlier one that it is equivalent to. Equal texts are not compared,
    and all problems are compared side by side, so that the work is K - 1 batches at most.

    Args:
        answers: The answers of each problem's completions; None where there is none.
        equal: Compares answers of one problem.
        opaque: Answers that are equal to nothing but their own text, and not compared.

    Returns:
        For each completion the number of the first one with an equivalent answer; -1 for None.
    """
    chosen = [{answer: answer for answer in row if answer is not None} for row in answers]
    waiting = [[answer for answer in dict.fromkeys(row) if answer not in opaque] for row in chosen]
    while any(len(row) > 1 for row in waiting):
        pairs = [
            (number, (answer, row[0])) for number, row in enumerate(waiting) for answer in row[1:]
        ]
        verdicts = equal([pair for _, pair in pairs])
        left: list[list[str]] = [[] for _ in waiting]
        for (number, (answer, first)), same in zip(pairs, verdicts, strict=True):
            if same:
                chosen[number][answer] = first
            else:
                left[number].append(answer)
        waiting = left
    return [
        [-1 if answer is None else row.index(to[answer]) for answer in row]
        for row, to in zip(answers, chosen, strict=True)
    ]
