"""verl's rollout dumps (`trainer.rollout_data_dir`) read back into statistics.

A dump holds one JSON line for each rollout: the decoded prompt, the ground truth and the score,
but no id. Prompts are told apart by text and ground truth, which is what verl itself saw.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from gvmrl.errors import InputError
from gvmrl.plugins.verl.data import TrainingData
from gvmrl.stats import PromptStats

Problem = tuple[str, str]
"""Text of a prompt as verl decodes it, and its ground truth."""

ACCEPTED_SCORE = 1.0
"""A rollout whose score is at least this is accepted."""

PADDING_UID = "pad"
"""How the uid of a row begins that verl added to fill a batch."""


class Tokenizer(Protocol):
    """What is used of a tokenizer of transformers."""

    def apply_chat_template(
        self, conversation: object, *, tokenize: bool, add_generation_prompt: bool, **names: object
    ) -> str:
        """Render messages as text."""
        ...

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Mapping[str, list[object]]:
        """Turn texts into tokens."""
        ...

    def batch_decode(self, sequences: list[object], *, skip_special_tokens: bool) -> list[str]:
        """Turn tokens into texts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the dumps say of each problem."""

    trials: Mapping[Problem, float]
    """Rollouts; not whole where old steps count less."""
    successes: Mapping[Problem, float]
    """Accepted ones among them."""
    steps: tuple[int, ...]
    """The training steps read."""
    padding: int
    """Rows that verl added to fill a batch; 0 for packed plans."""


def tally_dumps(folder: Path, *, decay: float = 1.0, last_step: int | None = None) -> Tally:
    """Count rollouts and successes of each problem.

    Args:
        folder: What `trainer.rollout_data_dir` was set to: files 1.jsonl, 2.jsonl, ...
        decay: What a rollout counts for each step that it is older than the newest, in (0, 1].
        last_step: Leave later steps out; None reads all.

    Raises:
        InputError: If there are no dumps, or a line cannot be used.
    """
    if not 0 < decay <= 1:
        raise InputError(f"decay must be in (0, 1], got {decay}")
    files = {int(path.stem): path for path in folder.glob("*.jsonl") if path.stem.isdecimal()}
    steps = sorted(step for step in files if last_step is None or step <= last_step)
    if not steps:
        raise InputError(
            f"{folder} holds no rollout dumps (1.jsonl, ...); run verl with "
            f"trainer.rollout_data_dir={folder}"
        )
    trials: dict[Problem, float] = defaultdict(float)
    successes: dict[Problem, float] = defaultdict(float)
    padding = 0
    for step in steps:
        weight = decay ** (steps[-1] - step)
        for problem, accepted in _rollouts(files[step]):
            if problem is None:
                padding += 1
                continue
            trials[problem] += weight
            successes[problem] += weight * accepted
    return Tally(trials=trials, successes=successes, steps=tuple(steps), padding=padding)


def stats_of_tally(tally: Tally, ids: Sequence[str], problems: Sequence[Problem]) -> PromptStats:
    """Join a tally to the prompts of the data; those without a rollout are unseen.

    Prompts of equal text and ground truth share their statistics: they are the same problem.

    Args:
        tally: What the dumps say.
        ids: The id of each row of the data.
        problems: Its text and ground truth.

    Raises:
        InputError: If the dumps hold a problem that the data do not.
    """
    strange = tally.trials.keys() - set(problems)
    if strange:
        text, truth = min(strange)
        raise InputError(
            f"{len(strange)} of {len(tally.trials)} problems of the dumps are not in the data, "
            f"such as {text[-60:]!r} with the ground truth {truth!r}; give the data, the model and "
            "the chat template settings of that run"
        )
    return PromptStats(
        ids=tuple(ids),
        trials_P=np.array([tally.trials.get(problem, 0.0) for problem in problems]),
        successes_P=np.array([tally.successes.get(problem, 0.0) for problem in problems]),
    )


def problems_of(
    data: TrainingData, tokenizer: Tokenizer, template_settings: Mapping[str, object]
) -> list[Problem]:
    """Return each row's prompt as verl writes it into a dump, and its ground truth.

    Args:
        data: With the columns prompt and reward_model.
        tokenizer: That of the run's model.
        template_settings: `data.apply_chat_template_kwargs` of the run.

    Raises:
        InputError: If a column is missing or the tokenizer has no chat template.
    """
    for name in ("prompt", "reward_model"):
        if name not in data.table.column_names:
            raise InputError(f"the data have no column {name!r}; there must be one in verl's data")
    problems: list[Problem] = []
    for batch in data.table.select(["prompt", "reward_model"]).to_batches(max_chunksize=4096):
        rows = batch.to_pylist()
        try:
            texts = [_render(tokenizer, row["prompt"], template_settings) for row in rows]
        except (ValueError, TypeError) as error:
            raise InputError(f"the prompts cannot be rendered: {error}") from error
        tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for text, row in zip(decoded, rows, strict=True):
            problems.append((text, _truth(row["reward_model"].get("ground_truth"))))
    return problems


def stats_rows(stats: PromptStats) -> Iterator[dict[str, object]]:
    """Give rows id, trials, successes and, where measured, grad_norm."""
    names = ["id", "trials", "successes"]
    columns: list[Iterable[object]] = [
        stats.ids,
        stats.trials_P.tolist(),
        stats.successes_P.tolist(),
    ]
    if stats.grad_norm_P is not None:
        names.append("grad_norm")
        columns.append(stats.grad_norm_P.tolist())
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _render(tokenizer: Tokenizer, messages: object, settings: Mapping[str, object]) -> str:
    return tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **settings
    )


def _rollouts(path: Path) -> Iterator[tuple[Problem | None, bool]]:
    """Give each rollout's problem and whether it was accepted; None for padding."""
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, 1):
            try:
                row = json.loads(text)
                padding = re.match(PADDING_UID, str(row.get("uid", "")))
                problem = None if padding else (row["input"], _truth(row["gts"]))
                accepted = row["score"] >= ACCEPTED_SCORE
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{path} line {line} is no rollout of verl's trainer ({error!r}): it needs "
                    "input, gts, score and uid"
                ) from error
            yield problem, accepted


def _truth(value: object) -> str:
    """Return a ground truth as text, so that it can be compared."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
