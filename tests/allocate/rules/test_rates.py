"""Estimates of the acceptance rate."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl.allocate.rules.rates import Rate, beta_rate, discounted_rate, fitted_rate, raw_rate
from gvmrl.stats import PromptStats


def stats_of(trials: Sequence[float], successes: Sequence[float]) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(trials))),
        trials_P=np.array(trials),
        successes_P=np.array(successes),
    )


def test_raw_and_beta_by_hand() -> None:
    stats = stats_of([8, 2], [2, 0])
    assert raw_rate(stats).tolist() == [0.25, 0]
    # 2 + 1 of 8 + 3, and 0 + 1 of 2 + 3
    assert beta_rate(stats, a=1, b=2).tolist() == [3 / 11, 1 / 5]


def test_beta_knows_unseen_prompts() -> None:
    assert beta_rate(stats_of([0], [0]), a=1, b=3).tolist() == [0.25]


def test_discounted_counts_old_rollouts_less() -> None:
    stats = PromptStats(
        ids=("a", "b"),
        trials_P=np.array([8.0, 8.0]),
        successes_P=np.array([8.0, 4.0]),
        round_trials_P=np.array([4.0, 0.0]),
        round_successes_P=np.array([0.0, 0.0]),
    )
    # (0.25 * 8 + 0) / (0.25 * 8 + 4), and nothing new
    assert discounted_rate(stats, keep=0.25).tolist() == [1 / 3, 0.5]
    assert discounted_rate(stats, keep=1).tolist() == raw_rate(stats).tolist()


def test_fitted_trusts_a_decided_set_and_doubts_a_uniform_one() -> None:
    decided = stats_of([8] * 20, [0] * 10 + [8] * 10)
    alike = stats_of([8] * 20, [3, 4] * 10)
    # rates of 0 and 1: rho = 0.99, so a = b = 0.005, and 0 of 8 stays at 0.005 / 8.01
    assert fitted_rate(decided)[0] == pytest.approx(0.5 * (1 / 0.99 - 1) / (8 + 1 / 0.99 - 1))
    # less spread than binomial noise: rho = 0.01, a + b = 99, mean (70 + .5) / (160 + 1)
    mean = 70.5 / 161
    assert fitted_rate(alike)[0] == pytest.approx((3 + 99 * mean) / (8 + 99))


def test_fitted_recovers_the_spread_of_a_beta() -> None:
    generator = np.random.default_rng(0)
    rate_P = generator.beta(0.5, 1.0, 20000)
    stats = stats_of([8.0] * 20000, generator.binomial(8, rate_P).tolist())
    zero = int(stats.successes_P.argmin())
    # posterior mean of 0 of 8 under the true prior: 0.5 / 9.5
    assert fitted_rate(stats)[zero] == pytest.approx(0.5 / 9.5, rel=0.05)


@pytest.mark.parametrize("trials", [[0.0, 0.0], [1.0, 1.0], [0.0, 3.0], [1e-12, 1e-12]])
def test_fitted_has_an_answer_for_hardly_any_data(trials: list[float]) -> None:
    rate_P = fitted_rate(stats_of(trials, [0.0] * len(trials)))
    assert ((rate_P > 0) & (rate_P < 1)).all()


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=20),
    st.sampled_from([raw_rate, beta_rate, partial(discounted_rate, keep=0.3), fitted_rate]),
)
def test_every_estimate_lies_in_the_unit_interval_and_grows_with_successes(
    prompts: list[tuple[int, float]], rate: Rate
) -> None:
    trials = [float(trials) for trials, _ in prompts]
    stats = stats_of(trials, [np.floor(most * part) for most, part in prompts])
    rate_P = rate(stats)
    assert ((rate_P >= 0) & (rate_P <= 1)).all()
    more_P = np.minimum(stats.successes_P + 1, stats.trials_P)
    assert (rate(stats_of(trials, more_P.tolist())) >= rate_P - 1e-12).sum() >= (
        1 if rate is fitted_rate else rate_P.size
    )


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="a and b of the Beta prior must be > 0, got 0 and 1"):
        beta_rate(stats_of([1], [0]), a=0, b=1)
    with pytest.raises(ValueError, match="keep must be > 0 and at most 1, got 0"):
        discounted_rate(stats_of([1], [0]), keep=0)


def test_raw_rates_of_unseen_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="has no trials"):
        raw_rate(stats_of([0, 1], [0, 1]))
