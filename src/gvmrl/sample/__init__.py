"""Drawing rollouts: the sampler protocol and the step from prompts to scored rollouts."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gvmrl.data import Completion, FloatArray, IntArray, Prompt, Rollouts
from gvmrl.reward.config import Scorer

Address = tuple[int, ...]
"""Where randomness comes from: (seed, part of the program, step). Equal addresses, equal draws."""


class Sampler(Protocol):
    """Something that draws completions from the current policy."""

    def sample(
        self, prompts: Sequence[Prompt], count_P: IntArray, address: Address
    ) -> list[Completion]:
        """Draw `count_P[i]` completions of each prompt, grouped by prompt in order.

        A completion depends on the policy, its prompt, its number among the prompt's completions
        and the address, and on nothing else (but for float noise).

        Raises:
            FloatingPointError: If the policy's logits are not finite.
        """
        ...


def uniforms(prompt: Prompt, number: int, length: int, address: Address) -> FloatArray:
    """Return the [length] uniform numbers in [0, 1) that pick the tokens of one completion."""
    name = int.from_bytes(hashlib.blake2b(prompt.id.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([*address, name, number]).random(length)


def collect(
    sampler: Sampler,
    scorer: Scorer,
    prompts: tuple[Prompt, ...],
    count_P: IntArray,
    *,
    address: Address,
    policy_step: int,
) -> Rollouts:
    """Draw completions and score them.

    Args:
        sampler: Draws from the current policy.
        scorer: Judges the completions.
        prompts: P prompts.
        count_P: [P] completions of each; 0 is fine.
        address: Where the randomness comes from.
        policy_step: Updates that the sampler's policy has taken.
    """
    prompt_R = np.repeat(np.arange(len(prompts)), count_P)
    completions = sampler.sample(prompts, count_P, address)
    verdicts = scorer.score([prompts[row] for row in prompt_R], completions)
    return Rollouts(
        prompts=prompts,
        prompt_R=prompt_R,
        completions=tuple(completions),
        reward_R=np.array([verdict.reward for verdict in verdicts], np.float64),
        statuses=tuple(verdict.status for verdict in verdicts),
        policy_step=policy_step,
    )
