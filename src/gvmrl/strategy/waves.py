"""What a strategy sees and what it says: the pool of prompts, and waves of rollouts.

An allocation rule divides a step's rollouts among prompts that somebody else chose. A strategy
chooses the prompts too: it is a generator that yields how many rollouts every prompt of the pool
gets next, is sent what came of them, and goes on until the step's rollouts are spent.

Axes: P prompts of the pool.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from gvmrl.data import BoolArray, FloatArray, IntArray
from gvmrl.estimate.history import Belief, History


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What is known before a step."""

    history: History
    """Outcomes of earlier steps; not to be changed."""
    belief: Belief
    """What they say about each acceptance rate now."""
    step: int
    """Updates that the policy has taken."""
    budget: int
    """Rollouts that the step trains on."""
    group: int
    """Rollouts of a prompt at a visit, unless the strategy has a reason for others; >= 2."""
    pace: float
    """Updates in which a group for every prompt would take the whole budget of the steps."""
    rng: np.random.Generator
    """Settles ties and draws."""

    @property
    def num_groups(self) -> int:
        """Prompts that the budget visits with a group each; 1 or more."""
        return max(1, self.budget // self.group)

    @property
    def size(self) -> int:
        """P, the number of prompts."""
        return len(self.history.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What the waves of a step have brought so far."""

    trial_P: IntArray
    """[P] rollouts."""
    success_P: IntArray
    """[P] accepted ones."""

    @property
    def mixed_P(self) -> BoolArray:
        """[P] whether some, but not all, of a prompt's rollouts of the step were accepted."""
        return (self.success_P > 0) & (self.success_P < self.trial_P)


Waves = Generator[IntArray, Drawn, BoolArray | None]
"""Yields [P] further rollouts of each prompt and returns which prompts' rollouts are trained on;
None keeps all of them. The rollouts that are kept add up to the budget."""

Strategy = Callable[[Pool], Waves]


def most_urgent(urgency_P: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """Return the rows of the `count` largest values, ties at random, largest first."""
    count = min(count, urgency_P.size)
    tie_P = rng.random(urgency_P.size)
    if count < urgency_P.size:
        # a partial sort first: a pool of a million prompts is not ordered whole at every step
        edge = np.partition(urgency_P, urgency_P.size - count)[urgency_P.size - count]
        rows = np.flatnonzero(urgency_P >= edge)
    else:
        rows = np.arange(urgency_P.size)
    return rows[np.lexsort((tie_P[rows], -urgency_P[rows]))][:count]


def spread(budget: int, row_K: IntArray, size: int) -> IntArray:
    """Return [size] counts that share a budget evenly among some rows, the first get the rest.

    A row that is named twice gets two shares.
    """
    base, extra = divmod(budget, row_K.size)
    even_P, rest_P = (np.bincount(rows, minlength=size) for rows in (row_K, row_K[:extra]))
    return base * even_P + rest_P
