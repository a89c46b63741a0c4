"""Visit prompts at a pace that follows what another look at them is expected to teach.

Axes: P prompts of the pool.
"""

import numpy as np

from gvmrl.strategy.waves import Pool, Waves, most_urgent, spread

LEAST_VALUE = 0.02
"""Smallest value of a prompt as a share of the largest: none is forgotten for good."""


def paced(pool: Pool, *, power: float = 1.0) -> Waves:
    """Visit the prompts whose wait times value is largest, unseen ones first.

    The value is the expected disagreement of two rollouts, E[2 p (1 - p)], under a belief whose
    outcomes age as fast as was measured. Waiting times value makes a prompt's visits proportional
    to its value: all that can teach take turns, so that none is replayed before the others had
    theirs, and what looks decided is looked at again when its outcomes have aged.

    Args:
        pool: What is known.
        power: How strongly the visits follow the value; 0 is round-robin.
    """
    history = pool.history
    value_P = pool.belief.disagreement_P
    value_P = np.maximum(value_P, LEAST_VALUE * value_P.max()) ** power
    wait_P = np.where(history.seen_P, pool.step - history.last_P, np.inf)
    rows = most_urgent(wait_P * value_P, pool.num_groups, pool.rng)
    yield spread(pool.budget, rows, pool.size)
    return None
