"""The history of outcomes: what it counts, how it ages, what it forecasts, how it is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.data import IntArray
from gvmrl.errors import InputError
from gvmrl.estimate.history import HALF_LIFE_H, STRENGTH_S, Belief, History


def ints(*values: int) -> IntArray:
    return np.array(values, np.int64)


def test_an_unseen_prompt_has_no_trial_and_the_belief_of_the_pool() -> None:
    history = History(("a", "b"))
    history.record(ints(0), ints(8), ints(2), step=3)
    stats = history.stats(ints(1, 0), step=3)
    assert stats.ids == ("b", "a")
    assert stats.trials_P.tolist() == [0, 8]
    assert stats.successes_P.tolist() == [0, 2]
    assert history.seen_P.tolist() == [True, False]
    # before any forecast a prior is worth one rollout; the pool's rate is (2 + 1/2) / (8 + 1)
    belief = history.belief(3)
    rate = 2.5 / 9
    assert belief.rate_P == pytest.approx([(2 + rate) / 9, rate])


def test_a_seen_prompt_never_looks_unseen_however_old() -> None:
    history = History(("a",))
    rng = np.random.default_rng(0)
    for step in range(128):  # outcomes that jump about: the shortest half-life forecasts best
        rate = (step // 16) % 2
        history.record(ints(0), ints(8), ints(int(rng.binomial(8, 0.02 + 0.96 * rate))), step)
    assert history.half_life == HALF_LIFE_H[0]
    stats = history.stats(ints(0), step=10**9)
    assert stats.seen_P.all()
    assert stats.trials_P[0] < 1e-3


@pytest.mark.parametrize("drift", [0.0, 0.25])
def test_the_half_life_follows_the_drift_of_the_rates(drift: float) -> None:
    rng = np.random.default_rng(1)
    size = 60
    history = History(tuple(map(str, range(size))))
    logit_P = rng.normal(0, 1.5, size)
    for step in range(0, 1200, 10):
        rows = rng.choice(size, 12, replace=False).astype(np.int64)
        hits = rng.binomial(8, 1 / (1 + np.exp(-logit_P[rows])))
        history.record(rows, np.full(12, 8), hits.astype(np.int64), step)
        logit_P += drift * rng.normal(0, 1, size)
    assert history.half_life >= 432 if drift == 0 else history.half_life <= 144


def test_the_choice_is_the_one_whose_forecasts_had_the_least_log_loss() -> None:
    # an independent loop over all choices, written from the definition
    rng = np.random.default_rng(2)
    visits = [(int(rng.integers(3)), int(rng.integers(1, 9)), step) for step in range(0, 90, 3)]
    outcomes = [int(rng.binomial(n, 0.3)) for _, n, _ in visits]
    history = History(("a", "b", "c"))
    for (row, n, step), hits in zip(visits, outcomes, strict=True):
        history.record(ints(row), ints(n), ints(hits), step)
    expected = np.zeros_like(history.loss_HS)
    for h, half_life in enumerate(HALF_LIFE_H):
        for s, strength in enumerate(STRENGTH_S):
            loss = 0.0
            for now, ((row, n, step), hits) in enumerate(zip(visits, outcomes, strict=True)):
                past = [
                    (r, m, k, 0.5 ** ((step - t) / half_life))
                    for (r, m, t), k in zip(visits[:now], outcomes[:now], strict=True)
                ]
                pool = (sum(k * w for *_, k, w in past) + 0.5) / (
                    sum(m * w for _, m, _, w in past) + 1
                )
                own = [(m * w, k * w) for r, m, k, w in past if r == row]
                loss *= 0.98
                if own:
                    trials, successes = map(sum, zip(*own, strict=True))
                    rate = (successes + strength * pool) / (trials + strength)
                    loss -= hits * np.log(rate) + (n - hits) * np.log(1 - rate)
            expected[h, s] = loss
    assert history.loss_HS == pytest.approx(expected, rel=1e-5)


def test_a_streak_counts_rollouts_in_a_row_with_one_outcome() -> None:
    history = History(("a", "b"))
    for step, hits in enumerate((0, 0, 3, 8, 8)):
        history.record(ints(0), ints(8), ints(hits), step)
    assert history.streak_P.tolist() == [16, 0]
    assert history.last_P.tolist() == [4, -1]
    assert (history.rollout_P[0], history.success_P[0], history.visit_P[0]) == (40, 19, 5)


def test_norms_are_running_means_and_missing_ones_are_filled_with_the_mean_of_the_others() -> None:
    history = History(("a", "b", "c"))
    assert history.stats(ints(0), 0).grad_norm_P is None
    nan = np.nan
    history.record_norms(ints(0, 1), np.array([2.0, nan]), np.array([nan, 6.0]))
    history.record_norms(ints(0, 1), np.array([4.0, 5.0]), np.array([nan, nan]))
    stats = history.stats(ints(0, 1, 2), 0)
    assert stats.grad_norm_P == pytest.approx([3.0, 5.0, 4.0])
    assert stats.rejected_norm_P == pytest.approx([6.0, 6.0, 6.0])


@given(st.floats(0.01, 50), st.floats(0.01, 50))
def test_disagreement_is_the_expected_chance_that_two_rollouts_differ(a: float, b: float) -> None:
    belief = Belief(alpha_P=np.array([a]), beta_P=np.array([b]))
    # E[p^2] of a Beta(a, b) is its variance plus its squared mean
    mean, variance = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    assert belief.disagreement_P[0] == pytest.approx(2 * (mean - variance - mean**2), abs=1e-12)


def test_a_restored_history_goes_on_bit_by_bit_and_is_joined_by_id() -> None:
    rng = np.random.default_rng(3)
    history = History(("a", "b", "c"))
    for step in range(20):
        rows = np.sort(rng.choice(3, 2, replace=False)).astype(np.int64)
        history.record(rows, ints(4, 6), rng.integers(0, 5, 2), step)
    same = History(("a", "b", "c"))
    same.restore(history.arrays())
    for name, array in history.arrays().items():
        assert np.array_equal(array, same.arrays()[name], equal_nan=name.endswith("norm_P")), name
    other = History(("c", "new", "a"))
    other.restore(history.arrays())
    assert other.rollout_P.tolist() == [history.rollout_P[2], 0, history.rollout_P[0]]
    assert other.seen_P.tolist() == [True, False, True]
    assert other.half_life == history.half_life


def test_a_million_prompts_take_bounded_memory_and_a_step_touches_only_its_own() -> None:
    history = History(tuple(map(str, range(10**6))))
    arrays = {name: array for name, array in history.arrays().items() if name != "ids"}
    assert sum(array.nbytes for array in arrays.values()) <= 140 * 10**6
    history.record(ints(5, 999_999), ints(8, 8), ints(1, 0), 0)
    assert np.flatnonzero(history.visit_P).tolist() == [5, 999_999]


def test_a_history_of_another_grid_is_refused_in_words() -> None:
    arrays = History(("a",)).arrays()
    arrays["loss_HS"] = np.zeros((5, 6))
    with pytest.raises(InputError, match=r"chooses among \(5, 6\) .* this version of gvmrl among"):
        History(("a",)).restore(arrays)
