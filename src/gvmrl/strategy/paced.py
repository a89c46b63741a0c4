"""Visit prompts at a pace that follows what another look at them is expected to teach.

Axes: P prompts of the pool.
"""

import numpy as np

from gvmrl.strategy.waves import Pool, Waves, most_urgent, spread

LEAST_VALUE = 0.02
"""Smallest disagreement of a prompt as a share of the largest: none is forgotten for good."""
MOST_OFTEN = 2.0
"""Most visits of a prompt for each visit that uniform sampling would pay it."""


def paced(pool: Pool, *, power: float = 0.5, most_often: float = MOST_OFTEN) -> Waves:
    """Visit the prompts whose wait times value is largest.

    The value is a power of the expected disagreement of two rollouts, E[2 p (1 - p)], under a
    belief whose outcomes age as fast as was measured; the root is in proportion to the standard
    deviation of a reward, which is the rate of visits with the least variance (Neyman). Waiting
    times value makes a prompt's visits proportional to its value: all that can teach take turns,
    and what looks decided is looked at again when its outcomes have aged.

    Visiting few prompts often teaches those prompts and not the task, however lively their
    outcomes are. So a prompt rests between visits, and the power is well below 1.

    Args:
        pool: What is known.
        power: How strongly the visits follow the disagreement; 0 is round-robin.
        most_often: Most visits of a prompt for each visit by uniform sampling; >= 1.
    """
    history = pool.history
    value_P = pool.belief.disagreement_P
    value_P = np.maximum(value_P, LEAST_VALUE * value_P.max()) ** power
    wait_P = pool.step - np.where(history.seen_P, history.last_P, -pool.pace)
    # negative while a prompt rests: it is taken only where all others were
    over_P = wait_P - pool.pace / most_often
    rows = most_urgent(np.where(over_P < 0, over_P, wait_P * value_P), pool.num_groups, pool.rng)
    yield spread(pool.budget, rows, pool.size)
    return None
