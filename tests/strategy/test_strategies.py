"""What every strategy keeps to, and what each is for, on pools whose true rates are known."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from gvmrl.data import BoolArray, FloatArray, IntArray
from gvmrl.estimate.history import History
from gvmrl.strategy.catalog import STRATEGIES
from gvmrl.strategy.config import STRATEGY_NAMES
from gvmrl.strategy.paced import paced
from gvmrl.strategy.spaced import spaced
from gvmrl.strategy.waves import Drawn, Pool, Strategy, most_urgent, spread


def pool_of(history: History, step: int, budget: int = 64, group: int = 4) -> Pool:
    return Pool(
        history=history,
        belief=history.belief(step),
        step=step,
        budget=budget,
        group=group,
        pace=len(history.ids) * group / budget,
        rng=np.random.default_rng((7, step)),
    )


def take_step(
    strategy: Strategy, history: History, rate_P: FloatArray, step: int, budget: int = 64
) -> tuple[IntArray, BoolArray | None, int]:
    """Follow a strategy for a step; return all counts, what it keeps, and the number of waves."""
    rng = np.random.default_rng((11, step))
    trial_P, success_P = (np.zeros(rate_P.size, np.int64) for _ in range(2))
    waves = strategy(pool_of(history, step, budget))
    count_P, num = next(waves), 0
    while True:
        assert (count_P >= 0).all()
        num += 1
        trial_P += count_P
        success_P += rng.binomial(count_P, rate_P)
        try:
            count_P = waves.send(Drawn(trial_P=trial_P.copy(), success_P=success_P.copy()))
        except StopIteration as end:
            rows = np.flatnonzero(trial_P)
            history.record(rows, trial_P[rows], success_P[rows], step)
            return trial_P, end.value, num


def visits(strategy: Strategy, rate_P: FloatArray, steps: int) -> IntArray:
    history = History(tuple(map(str, range(rate_P.size))))
    for step in range(steps):
        take_step(strategy, history, rate_P, step)
    return history.rollout_P


@pytest.mark.parametrize("name", STRATEGY_NAMES)
@pytest.mark.parametrize("budget", [8, 56, 63, 64])
@pytest.mark.parametrize("rates", [(0.0,), (1.0,), (0.5,), (0.0, 0.2, 0.9, 1.0)])
def test_what_is_kept_adds_up_to_the_budget_step_after_step(
    name: str, budget: int, rates: Sequence[float]
) -> None:
    strategy = dict(STRATEGIES)[name]  # pyright: ignore[reportArgumentType] - a name of the config
    rate_P = np.resize(np.array(rates), 40)
    history = History(tuple(map(str, range(40))))
    for step in range(12):
        trial_P, keep_P, _ = take_step(strategy, history, rate_P, step, budget)
        kept_P = trial_P if keep_P is None else trial_P[keep_P]
        assert kept_P.sum() == (budget if keep_P is None else budget // 4 * 4)


@pytest.mark.parametrize("name", ["paced", "spaced"])
def test_every_prompt_is_seen_once_before_any_decided_one_is_seen_again(name: str) -> None:
    strategy = dict(STRATEGIES)[name]  # pyright: ignore[reportArgumentType] - a name of the config
    history = History(tuple(map(str, range(48))))
    for step in range(4):  # 12 or 16 new prompts a step
        take_step(strategy, history, np.zeros(48), step)
    assert history.seen_P.all()


def test_paced_visits_follow_the_deviation_and_forget_nobody() -> None:
    rate_P = np.repeat([0.0, 0.05, 0.5, 1.0], 40)
    rollouts = visits(STRATEGIES["paced"], rate_P, 120).reshape(4, 40)
    mean = rollouts.mean(axis=1)
    assert mean[2] > 1.5 * mean[1] > 1.5 * mean[0]
    assert rollouts.min() >= 4
    # turns: among equals nobody gets much more than the others
    assert rollouts[2].max() <= 2 * rollouts[2].min()


@pytest.mark.parametrize("most_often", [1.5, 3.0])
def test_paced_lets_a_prompt_rest_between_visits(most_often: float) -> None:
    # 4 of 80 prompts are lively; uniform sampling would visit each prompt in every 5th step
    rate_P = np.where(np.arange(80) < 4, 0.5, 0.0)
    strategy = partial(paced, power=1.0, most_often=most_often)
    rollouts = visits(strategy, rate_P, 120)
    assert rollouts[:4].max() <= 4 * (1 + 119 / (5 / most_often))
    assert rollouts[:4].min() > 1.2 * rollouts[4:].max()


def test_paced_takes_the_prompts_that_rest_where_there_are_no_others() -> None:
    history = History(("a", "b", "c", "d"))
    for step in range(3):
        trial_P, _, _ = take_step(paced, history, np.full(4, 0.5), step, budget=16)
        assert trial_P.tolist() == [4, 4, 4, 4]


def test_spaced_goes_on_with_the_groups_that_came_out_mixed() -> None:
    history = History(tuple(map(str, range(40))))
    rate_P = np.where(np.arange(40) % 2 == 0, 0.5, 0.0)
    trial_P, _, waves = take_step(spaced, history, rate_P, 0)
    assert waves == 2
    assert trial_P.sum() == 64
    assert (trial_P[1::2] <= 4).all()
    assert trial_P[::2].max() > 4


def test_spaced_intervals_grow_with_a_streak_up_to_eight_passes() -> None:
    # a pass of 160 prompts takes 20 steps; a prompt that is always wrong is seen again after
    # sqrt(3) passes, then 3, then 3 sqrt(3), where each visit has 4 rollouts
    rate_P = np.zeros(160)
    history = History(tuple(map(str, range(160))))
    for step in range(400):
        take_step(spaced, history, rate_P, step)
    assert history.visit_P.max() <= 400 * 64 / 160 / 4


def test_thompson_prefers_prompts_near_one_half() -> None:
    rate_P = np.repeat([0.0, 0.5, 1.0], 40)
    rollouts = visits(STRATEGIES["thompson"], rate_P, 80).reshape(3, 40).sum(axis=1)
    assert rollouts[1] > rollouts[0]
    assert rollouts[1] > rollouts[2]


def test_dapo_throws_away_groups_that_are_not_mixed_and_fills_up_where_it_must() -> None:
    history = History(tuple(map(str, range(100))))
    rate_P = np.where(np.arange(100) < 50, 0.5, 0.0)
    trial_P, keep_P, waves = take_step(STRATEGIES["dapo"], history, rate_P, 0)
    assert keep_P is not None
    assert trial_P.sum() > 64
    assert waves > 1
    assert keep_P[:50].sum() == 16
    assert not keep_P[50:].any()
    dead = History(tuple(map(str, range(100))))
    trial_P, keep_P, _ = take_step(STRATEGIES["dapo"], dead, np.zeros(100), 0)
    assert keep_P is not None
    assert (trial_P.sum(), trial_P[keep_P].sum()) == (400, 64)


def test_the_most_urgent_are_the_largest_and_ties_are_fair() -> None:
    rng = np.random.default_rng(0)
    assert most_urgent(np.array([1.0, 9.0, 5.0, np.inf]), 3, rng).tolist() == [3, 1, 2]
    assert most_urgent(np.array([1.0, 2.0]), 5, rng).tolist() == [1, 0]
    first = [most_urgent(np.full(4, np.inf), 1, rng)[0] for _ in range(400)]
    assert np.bincount(first, minlength=4).min() > 60


def test_a_budget_is_spread_evenly() -> None:
    assert spread(7, np.array([4, 0, 2]), 5).tolist() == [2, 0, 2, 0, 3]
    assert spread(6, np.array([1, 0, 1]), 2).tolist() == [2, 4]
