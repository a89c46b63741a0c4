"""Published ways to choose the prompts of a step, as arms to compare with.

Axes: P prompts of the pool.
"""

import numpy as np

from gvmrl.strategy.waves import Pool, Waves, most_urgent, spread

DAPO_WAVES = 10
"""Most rounds of oversampling in a step."""


def thompson(pool: Pool) -> Waves:
    """Draw a rate from each belief and visit the prompts nearest to 1/2.

    Source: MoPPS, arXiv 2507.04632 (Thompson draws), with beliefs that age as measured.
    """
    draw_P = pool.rng.beta(pool.belief.alpha_P, pool.belief.beta_P)
    rows = most_urgent(-np.abs(draw_P - 0.5), pool.num_groups, pool.rng)
    yield spread(pool.budget, rows, pool.size)
    return None


def dapo(pool: Pool) -> Waves:
    """Sample prompts in random order until enough groups are mixed; throw the others away.

    Source: DAPO, arXiv 2503.14476 (dynamic sampling). What is thrown away is counted as generated.
    If too few are mixed after `DAPO_WAVES` rounds or one pass, others fill the step.
    """
    order_P = pool.rng.permutation(pool.size)
    keep_P = np.zeros(pool.size, bool)
    used = 0
    for _ in range(DAPO_WAVES):
        rows = order_P[used : used + pool.num_groups]
        used += rows.size
        drawn = yield spread(pool.group * rows.size, rows, pool.size)
        keep_P[rows] = drawn.mixed_P[rows]
        if keep_P.sum() >= pool.num_groups or used == pool.size:
            break
    tried = order_P[:used]
    ranked = tried[np.argsort(~keep_P[tried], kind="stable")]
    kept_P = np.zeros(pool.size, bool)
    kept_P[ranked[: pool.num_groups]] = True
    return kept_P
