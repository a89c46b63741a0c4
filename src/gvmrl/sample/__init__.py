"""Drawing rollouts: the sampler protocol and the step from prompts to scored rollouts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gvmrl.data import Completion, FloatArray, IntArray, Prompt, Rollouts
from gvmrl.reward.config import Scorer

Address = tuple[int, ...]
"""Where randomness comes from: (seed, part of the program, step). Equal addresses, equal draws."""


class Sampler(Protocol):
    """Something that draws completions from the current policy."""

    def sample(
        self, prompts: Sequence[Prompt], count_P: IntArray, addresses: Sequence[Address]
    ) -> list[Completion]:
        """Draw `count_P[i]` completions of each prompt, grouped by prompt in order.

        A completion depends on the policy, its prompt, its number among the prompt's completions
        and the prompt's address, and on nothing else (but for float noise). A prompt may be named
        again with another address.

        Raises:
            FloatingPointError: If the policy's logits are not finite.
        """
        ...


def uniforms(prompt: Prompt, number: int, length: int, address: Address) -> FloatArray:
    """Return the [length] uniform numbers in [0, 1) that pick the tokens of one completion."""
    name = int.from_bytes(hashlib.blake2b(prompt.id.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([*address, name, number]).random(length)


@dataclass(frozen=True, slots=True)
class Wave:
    """Completions to be drawn."""

    prompts: tuple[Prompt, ...]
    """P prompts, each named once."""
    count_P: IntArray
    """[P] completions of each; 0 is fine."""
    address: Address
    """Where the randomness comes from."""


def collect(
    sampler: Sampler, scorer: Scorer, waves: Sequence[Wave], *, policy_step: int
) -> list[Rollouts]:
    """Draw the completions of some waves side by side and score them.

    Args:
        sampler: Draws from the current policy.
        scorer: Judges the completions.
        waves: At least one; each draws what it would draw alone.
        policy_step: Updates that the sampler's policy has taken.

    Returns:
        The rollouts of each wave.
    """
    prompts = [prompt for wave in waves for prompt in wave.prompts]
    count_P = np.concatenate([wave.count_P for wave in waves])
    addresses = [wave.address for wave in waves for _ in wave.prompts]
    completions = sampler.sample(prompts, count_P, addresses)
    prompt_R = np.repeat(np.arange(len(prompts)), count_P)
    verdicts = scorer.score([prompts[row] for row in prompt_R], completions)
    found, end = list[Rollouts](), 0
    for wave in waves:
        start, end = end, end + int(wave.count_P.sum())
        found.append(
            Rollouts(
                prompts=wave.prompts,
                prompt_R=np.repeat(np.arange(len(wave.prompts)), wave.count_P),
                completions=tuple(completions[start:end]),
                reward_R=np.array([one.reward for one in verdicts[start:end]], np.float64),
                statuses=tuple(one.status for one in verdicts[start:end]),
                policy_step=policy_step,
            )
        )
    return found
