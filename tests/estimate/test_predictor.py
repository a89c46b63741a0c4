"""The predictor of acceptance rates: it learns, is calibrated, follows drift and is restored."""

import numpy as np
import pytest

from gvmrl.data import FloatArray
from gvmrl.estimate.history import History
from gvmrl.estimate.predictor import (
    NUM_PAST,
    NUM_STATES,
    Predictor,
    past,
    projected,
    standardised,
)

NO_STATE_PD = np.zeros((2000, 0))


def rates(look_PD: FloatArray, slope: float) -> FloatArray:
    return 1 / (1 + np.exp(-slope * look_PD[:, 0] + 1.0))


def train(
    predictor: Predictor, history: History, rate_P: FloatArray, steps: range, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for step in steps:
        rows = rng.choice(rate_P.size, 16, replace=False)
        trial_K = np.full(16, 4)
        success_K = rng.binomial(trial_K, rate_P[rows])
        predictor.learn(history, step, rows, trial_K, success_K)
        history.record(rows, trial_K, success_K, step)


def pool(size: int) -> History:
    return History(tuple(map(str, range(size))))


def test_looks_tell_the_rates_of_prompts_that_were_never_seen() -> None:
    look_PD = np.random.default_rng(0).normal(size=(2000, 5))
    rate_P = rates(look_PD, slope=2.0)
    predictor, history = Predictor(2000), pool(2000)
    predictor.look(look_PD, NO_STATE_PD[: len(look_PD)])
    assert predictor.rate(history, 0) == pytest.approx(np.full(2000, 0.5))
    train(predictor, history, rate_P[:1000], range(60), seed=1)
    unseen_P = predictor.rate(history, 60)[1000:]
    assert np.abs(unseen_P - rate_P[1000:]).mean() < 0.08
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (unseen_P >= low) & (unseen_P < low + 0.25)
        assert rate_P[1000:][inside].mean() == pytest.approx(unseen_P[inside].mean(), abs=0.1)


def test_the_past_tells_dead_prompts_from_sleeping_ones() -> None:
    # half of the pool is dead, the other half succeeds three times in ten
    rate_P = np.repeat([0.0, 0.3], 200)
    predictor, history = Predictor(400), pool(400)
    train(predictor, history, rate_P, range(150), seed=2)
    forecast_P = predictor.rate(history, 150)
    wrong_P = history.streak_P <= -16
    lively_P = history.success_P >= 3
    assert forecast_P[wrong_P].mean() < 0.05
    assert forecast_P[lively_P].mean() == pytest.approx(0.3, abs=0.05)


def test_it_follows_a_policy_that_changes() -> None:
    look_PD = np.random.default_rng(2).normal(size=(500, 3))
    predictor, history = Predictor(500), pool(500)
    predictor.look(look_PD, NO_STATE_PD[: len(look_PD)])
    train(predictor, history, rates(look_PD, 2.0), range(100), seed=3)
    train(predictor, pool(500), rates(look_PD, -2.0), range(100, 400), seed=4)
    assert np.abs(predictor.rate(pool(500), 400) - rates(look_PD, -2.0)).mean() < 0.1


def test_features_of_a_past_are_what_they_say() -> None:
    history = pool(2)
    for step, hits in enumerate((0, 0)):
        history.record(np.array([0]), np.array([4]), np.array([hits]), step)
    seen, unseen = past(history, step=9)
    odds = np.log(0.5 / 8.5) / 2
    wrong, wait = np.log(9) / 2, np.log(9) / 4
    expected = (1, 1, odds, np.log(9) / 4 * odds, wrong, 0, wait, wait * wrong)
    assert seen == pytest.approx(expected)
    assert unseen.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert len(unseen) == NUM_PAST


def test_long_states_are_projected_and_constant_features_do_no_harm() -> None:
    state_PD = np.hstack([np.random.default_rng(5).normal(size=(40, 100)), np.ones((40, 1))])
    standard_PD = standardised(state_PD)
    assert np.abs(standard_PD[:, :-1].std(axis=0) - 1).max() < 1e-9
    assert not standard_PD[:, -1].any()
    state_PL = projected(standard_PD)
    assert state_PL.shape == (40, NUM_STATES)
    assert state_PL.std() == pytest.approx(1, abs=0.1)
    assert np.array_equal(state_PL, projected(standard_PD))
    assert projected(state_PL) is state_PL


def test_a_sign_is_believed_sooner_than_many_states_of_noise() -> None:
    rng = np.random.default_rng(8)
    sign_P1, noise_PD = rng.normal(size=(1000, 1)), rng.normal(size=(1000, 64))
    rate_P = rates(sign_P1, slope=2.0)
    errors = []
    for sign_PS, state_PD in (
        (sign_P1, noise_PD),
        (sign_P1[:, :0], np.hstack([sign_P1, noise_PD])),
    ):
        predictor, history = Predictor(1000), pool(1000)
        predictor.look(sign_PS, state_PD)
        train(predictor, history, rate_P[:500], range(8), seed=9)
        errors.append(((predictor.rate(history, 8)[500:] - rate_P[500:]) ** 2).mean())
    assert errors[0] < 0.5 * errors[1]


def test_new_looks_keep_what_was_learned() -> None:
    predictor, history = Predictor(50), pool(50)
    train(predictor, history, np.full(50, 0.2), range(20), seed=6)
    before_P = predictor.rate(history, 20)
    look_PD = np.random.default_rng(7).normal(size=(50, 4))
    predictor.look(look_PD[:, :1], look_PD[:, 1:])
    assert predictor.rate(history, 20) == pytest.approx(before_P)


def test_a_restored_predictor_goes_on_bit_by_bit() -> None:
    look_PD = np.random.default_rng(6).normal(size=(50, 4))
    predictor, other, history = Predictor(50), Predictor(50), pool(50)
    predictor.look(look_PD, NO_STATE_PD[: len(look_PD)])
    train(predictor, history, rates(look_PD, 1.0), range(5), seed=7)
    other.restore(predictor.arrays())
    again = pool(50)
    again.restore(history.arrays())
    train(predictor, history, rates(look_PD, 1.0), range(5, 8), seed=8)
    train(other, again, rates(look_PD, 1.0), range(5, 8), seed=8)
    assert np.array_equal(predictor.rate(history, 8), other.rate(again, 8))
