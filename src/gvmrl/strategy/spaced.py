"""Spaced re-visits with two waves: look at decided prompts rarely, and briefly.

Axes: P prompts of the pool.
"""

import numpy as np

from gvmrl.strategy.waves import Pool, Waves, most_urgent, spread

BRIEF = 4
"""Rollouts of a prompt that was never seen, or last seen decided."""
FULL = 8
"""Rollouts of a prompt that was last seen mixed."""
FIRST_SHARE = 0.75
"""Share of a step's rollouts in the first wave."""
GROWTH = 3.0
"""Factor of the interval for every `FULL` rollouts in a row with the same outcome."""
LONGEST = 8.0
"""Longest interval, in passes: a pass is as long as `FULL` rollouts for every prompt take."""


def spaced(pool: Pool) -> Waves:
    """Visit the most overdue prompts, and go on with the groups that turn out mixed.

    A prompt is due one pass after a mixed visit. Outcomes that were all the same make the interval
    longer: threefold for every eight of them in a row, up to eight passes. Unseen prompts come
    first. Three quarters of the budget go to first looks, the rest to the mixed groups among the
    brief ones, or among all where fewer than two of those are mixed.
    """
    history = pool.history
    interval_P = np.minimum(GROWTH ** (np.abs(history.streak_P) / FULL), LONGEST)
    pass_length = pool.pace * FULL / pool.group
    wait_P = np.where(history.seen_P, (pool.step - history.last_P) / pass_length, np.inf)
    lively_P = history.seen_P & (history.streak_P == 0)
    first = int(pool.budget * FIRST_SHARE)
    order = most_urgent(wait_P / interval_P, -(-first // BRIEF), pool.rng)
    want_K = np.where(lively_P[order], FULL, BRIEF)
    count_P = np.zeros(pool.size, np.int64)
    count_P[order] = np.diff(np.minimum(np.cumsum(want_K), first), prepend=0)
    drawn = yield count_P
    rows = np.flatnonzero(drawn.mixed_P & (count_P == BRIEF))
    if rows.size < 2:
        rows = np.flatnonzero(drawn.mixed_P)
    if not rows.size:
        rows = np.flatnonzero(count_P)
    yield spread(pool.budget - first, pool.rng.permutation(rows), pool.size)
    return None
