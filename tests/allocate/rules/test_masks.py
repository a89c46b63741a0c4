"""Masks: who is kept, and how they compose with a rule."""

from functools import partial

import numpy as np
import pytest

from gvmrl.allocate import Limits, allocate, gvm, masked, mixed
from gvmrl.allocate.rules.masks import greso, mopps
from gvmrl.allocate.rules.matched import neyman
from gvmrl.allocate.rules.rates import beta_rate
from gvmrl.data import BoolArray
from gvmrl.stats import PromptStats


def keep(stats: PromptStats, rows: list[int]) -> BoolArray:
    return np.isin(np.arange(len(stats)), rows)


def stats_of(successes: list[int], trials: int = 8) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(successes))),
        trials_P=np.full(len(successes), float(trials)),
        successes_P=np.array(successes, float),
        cost_P=np.full(len(successes), 10.0),
    )


def test_a_mask_takes_prompts_out_of_any_rule() -> None:
    stats = stats_of([4, 4, 4, 0])
    rule = masked(gvm, partial(keep, rows=[0, 2, 3]))
    plan = allocate(stats, 8, rule=rule)
    assert plan.count_P.tolist() == [4, 0, 4, 0]
    assert plan.left_out == {"masked": 1, "nothing accepted yet": 1}
    assert "the mask leaves out 1 prompts" in plan.notes
    tokens = allocate(stats, 80, rule=rule, limits=Limits(unit="tokens"))
    assert tokens.count_P.tolist() == [4, 0, 4, 0]


def test_masks_compose_with_masks() -> None:
    first = masked(gvm, partial(keep, rows=[0, 1]))
    both = masked(first, partial(keep, rows=[1, 2]))
    assert allocate(stats_of([4, 4, 4]), 5, rule=both).count_P.tolist() == [0, 5, 0]


def test_membership_and_weight_are_separate_with_a_smoothed_rate() -> None:
    stats = stats_of([0, 1, 4, 8])
    smooth = partial(neyman, rate=beta_rate)
    assert allocate(stats, 16, rule=smooth).count_P[0] > 0
    plan = allocate(stats, 16, rule=masked(smooth, mixed))
    # sqrt(pq) at 2/10 and 5/10: 0.4 and 0.5 of 16
    assert plan.count_P.tolist() == [0, 7, 9, 0]


def test_greso_keeps_by_the_streak() -> None:
    ids = tuple(f"prompt {row}" for row in range(4000))
    stats = PromptStats(ids=ids, trials_P=np.ones(4000), successes_P=np.zeros(4000))
    streak = {prompt_id: row % 4 for row, prompt_id in enumerate(ids)}
    keep_P = greso(stats, streak=streak, keep_rate=0.25, floor=0.1)
    # chances 1, 1/4, 0.1 (above 1/16), 0.1; within five standard deviations
    for length, chance in enumerate((1, 0.25, 0.1, 0.1)):
        kept = keep_P[np.arange(4000) % 4 == length].mean()
        assert abs(kept - chance) <= 5 * (chance * (1 - chance) / 1000) ** 0.5


def test_greso_draws_by_id_and_seed() -> None:
    stats = stats_of([0] * 50)
    streak = dict.fromkeys(stats.ids, 1)
    keep_P = greso(stats, streak=streak, seed=1)
    assert greso(stats.take(list(range(49, -1, -1))), streak=streak, seed=1).tolist() == (
        keep_P[::-1].tolist()
    )
    assert greso(stats, streak=streak, seed=2).tolist() != keep_P.tolist()
    assert greso(stats, streak={}, seed=1).all()


def test_mopps_keeps_those_that_look_nearest_to_a_half() -> None:
    # with 10^6 trials the draw is the rate
    stats = stats_of([0, 450_000, 700_000, 10**6], trials=10**6)
    assert mopps(stats, keep=1).tolist() == [False, True, False, False]
    assert mopps(stats, keep=2).tolist() == [False, True, True, False]
    assert mopps(stats, keep=1, target=0.9).tolist() == [False, False, False, True]
    assert mopps(stats, keep=9).all()
    assert not mopps(stats, keep=0).any()


def test_mopps_explores_what_it_hardly_knows() -> None:
    stats = stats_of([0] * 40, trials=1)
    kept = [np.flatnonzero(mopps(stats, keep=1, seed=seed))[0] for seed in range(20)]
    assert len(set(kept)) > 5


def test_mopps_does_not_depend_on_the_order_of_rows() -> None:
    stats = stats_of(list(range(9)) * 3)
    order = np.random.default_rng(0).permutation(27)
    keep_P = mopps(stats, keep=9, seed=4)
    assert mopps(stats.take(order), keep=9, seed=4).tolist() == keep_P[order].tolist()


def test_settings_out_of_range_are_refused() -> None:
    stats = stats_of([4])
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.5 and 0.01"):
        greso(stats, streak={}, keep_rate=1.5)
    with pytest.raises(ValueError, match="streak of prompt 'prompt 0' is -1, below 0"):
        greso(stats, streak={"prompt 0": -1})
    with pytest.raises(ValueError, match=r"keep >= 0, 0 <= target <= 1 and a, b > 0, got -1"):
        mopps(stats, keep=-1)
