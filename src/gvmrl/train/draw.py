"""Drawing rollouts in a run: where randomness comes from, the order of the epochs, a step's batch.

Axes: P prompts, R rollouts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from gvmrl.data import FloatArray, IntArray, Prompt, Rollouts
from gvmrl.estimate.history import Belief
from gvmrl.sample import Address, Wave, collect
from gvmrl.stats import PromptStats
from gvmrl.train.checkpoint import State
from gvmrl.train.run import Run


class Part(IntEnum):
    """The parts of the program that draw random numbers."""

    ORDER = 0
    PILOT = 1
    TRAIN = 2
    SPLIT = 3
    EVAL = 4
    STRATEGY = 5
    AUDIT = 6
    ORACLE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A step's rollouts, and what was known before they were drawn."""

    rollouts: Rollouts
    """What the step trains on: as many rollouts as its budget."""
    drawn: Sequence[Rollouts]
    """All that was generated in the step, in the order of the draws."""
    stats: PromptStats
    """What was known of the prompts in `rollouts`, in their order."""
    belief: Belief
    """What was believed of their acceptance rates, from the rollouts of earlier steps."""
    accept_rate_P: FloatArray
    """[P] the rates that the weighting by inverse probability takes: of pilots, or expected."""
    loss_weight_P: FloatArray | None = None
    """[P] further weight of each prompt in the loss; None where all weigh the same."""
    notes: tuple[str, ...] = ()
    """What happened on the way that the user should know."""


def address(run: Run, part: Part, step: int, wave: int = 0) -> Address:
    """Return where the randomness of a part of a step comes from."""
    return (run.config.seed, part, step, wave)


def draw(
    run: Run, prompts: tuple[Prompt, ...], count_P: IntArray, updates: int, where: Address
) -> Rollouts:
    """Sample and score with the current weights."""
    wave = Wave(prompts, count_P, where)
    return collect(run.sampler, run.scorer, [wave], policy_step=updates)[0]


def draw_some(run: Run, updates: int, *wanted: tuple[IntArray, Address]) -> list[Rollouts]:
    """Sample and score training prompts: waves of [P] counts with addresses, side by side."""
    waves: list[Wave] = []
    for count_P, where in wanted:
        rows = np.flatnonzero(count_P)
        prompts = tuple(run.train_prompts[row] for row in rows)
        waves.append(Wave(prompts, count_P[rows], where))
    return collect(run.sampler, run.scorer, waves, policy_step=updates)


def epoch_rows(run: Run, first: int, number: int, block: int = 1) -> IntArray:
    """Return rows of the training prompts in seeded epochs, each without repeats.

    Args:
        run: The run.
        first: How many were taken before, over all epochs.
        number: How many to take.
        block: An epoch ends with its last whole block, so that a block never spans two.
    """
    size = len(run.train_prompts) // block * block
    place_K = np.arange(first, first + number)
    order = {
        epoch: np.random.default_rng(address(run, Part.ORDER, epoch)).permutation(
            len(run.train_prompts)
        )
        for epoch in np.unique(place_K // size).tolist()
    }
    return np.array([order[place // size][place % size] for place in place_K.tolist()], np.int64)


def spend(state: State, rollouts: Rollouts) -> State:
    """Add generated rollouts to the costs."""
    costs = replace(
        state.costs,
        all_rollouts=state.costs.all_rollouts + len(rollouts.completions),
        all_tokens=state.costs.all_tokens + rollouts.num_tokens,
    )
    return replace(state, costs=costs)
