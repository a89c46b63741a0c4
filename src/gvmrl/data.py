"""The values that flow through the library: problems, prompts, rollouts.

Axes: P prompts, R rollouts over all prompts (flat and ragged, never reshaped to a grid).
Everything is joined by `Prompt.id`, never by position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its right answer, as text."""

    id: str
    """Unique within a data set."""
    question: str
    """What the model is asked, before any chat template."""
    answer: str
    """The gold answer in the form that the reward compares with."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem as the policy sees it: tokenized, with the chat template applied."""

    id: str
    """The problem's id."""
    token_ids: tuple[int, ...]
    """What the policy continues; never empty."""
    answer: str
    """The gold answer."""


class TokenSequence(NamedTuple):
    """A prompt and one completion of it, as token ids."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled continuation of a prompt."""

    text: str
    """The decoded tokens, special tokens left out."""
    token_ids: tuple[int, ...]
    """The sampled tokens; ends with the stop token unless truncated."""
    logprobs: tuple[float, ...]
    """Natural log-probability of each token under the policy that sampled it."""
    truncated: bool
    """True where the length limit ended the completion instead of a stop token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """R scored completions of P prompts, all drawn from one policy."""

    prompts: tuple[Prompt, ...]
    """The P prompts; one may have no rollout at all."""
    prompt_R: IntArray
    """[R] row in `prompts` of each rollout; ascending."""
    completions: tuple[Completion, ...]
    """The R completions, grouped by prompt."""
    reward_R: FloatArray
    """[R] reward; an accepted rollout has 1."""
    statuses: tuple[str, ...]
    """[R] why each reward is what it is, such as correct, wrong or timeout."""
    policy_step: int
    """Optimizer updates that the sampling policy had taken."""

    def __post_init__(self) -> None:
        sizes = (self.prompt_R.size, self.reward_R.size, len(self.statuses))
        if any(size != len(self.completions) for size in sizes):
            raise ValueError(
                f"{len(self.completions)} completions need as many rows, rewards and statuses, "
                f"got {sizes}"
            )
        if np.any(np.diff(self.prompt_R) < 0):
            raise ValueError("prompt_R must be ascending: group the rollouts by prompt")

    @property
    def accepted_R(self) -> BoolArray:
        """[R] whether the rollout was accepted (its reward is 1)."""
        return self.reward_R >= 1.0

    @property
    def count_P(self) -> IntArray:
        """[P] rollouts of each prompt."""
        return np.bincount(self.prompt_R, minlength=len(self.prompts)).astype(np.int64)

    @property
    def success_P(self) -> IntArray:
        """[P] accepted rollouts of each prompt."""
        return segment_sum(self.accepted_R, self.prompt_R, len(self.prompts)).astype(np.int64)

    @property
    def sequences(self) -> tuple[TokenSequence, ...]:
        """The R rollouts as token ids."""
        return tuple(
            TokenSequence(self.prompts[row].token_ids, completion.token_ids)
            for row, completion in zip(self.prompt_R, self.completions, strict=True)
        )

    @property
    def num_tokens(self) -> int:
        """Generated tokens over all rollouts."""
        return sum(len(completion.token_ids) for completion in self.completions)


def segment_sum(
    value_R: FloatArray | IntArray | BoolArray, prompt_R: IntArray, num_prompts: int
) -> FloatArray:
    """Sum the values of each prompt's rollouts; a prompt without any gets 0."""
    return np.bincount(prompt_R, weights=value_R, minlength=num_prompts).astype(np.float64)


def merge(parts: Sequence[Rollouts]) -> Rollouts:
    """Join rollouts from the same policy, regrouped by prompt; prompts are joined by id.

    Raises:
        ValueError: If the parts come from different policies, or give an id to two prompts.
    """
    prompts = {prompt.id: prompt for part in parts for prompt in part.prompts}
    row_of = {prompt_id: row for row, prompt_id in enumerate(prompts)}
    for part in parts:
        if part.policy_step != parts[0].policy_step:
            raise ValueError("only rollouts of the same policy can be merged")
        if any(prompts[prompt.id] != prompt for prompt in part.prompts):
            raise ValueError("two prompts have the same id: only one of them can be merged")
    prompt_R = np.concatenate(
        [np.array([row_of[p.id] for p in part.prompts], np.int64)[part.prompt_R] for part in parts]
    )
    order_R = np.argsort(prompt_R, kind="stable")
    completions = [completion for part in parts for completion in part.completions]
    statuses = [status for part in parts for status in part.statuses]
    return Rollouts(
        prompts=tuple(prompts.values()),
        prompt_R=prompt_R[order_R],
        completions=tuple(completions[row] for row in order_R),
        reward_R=np.concatenate([part.reward_R for part in parts])[order_R],
        statuses=tuple(statuses[row] for row in order_R),
        policy_step=parts[0].policy_step,
    )


def select(rollouts: Rollouts, keep_P: BoolArray) -> Rollouts:
    """Return the rollouts of some of the prompts, those prompts alone.

    Args:
        rollouts: P prompts.
        keep_P: [P] which of them stay.
    """
    row_R = np.flatnonzero(keep_P[rollouts.prompt_R])
    new_row_P = np.cumsum(keep_P) - 1
    return Rollouts(
        prompts=tuple(rollouts.prompts[row] for row in np.flatnonzero(keep_P)),
        prompt_R=new_row_P[rollouts.prompt_R[row_R]],
        completions=tuple(rollouts.completions[row] for row in row_R),
        reward_R=rollouts.reward_R[row_R],
        statuses=tuple(rollouts.statuses[row] for row in row_R),
        policy_step=rollouts.policy_step,
    )
