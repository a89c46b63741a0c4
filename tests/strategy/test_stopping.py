"""What going on with mixed groups does to RLOO's expectation: the bias of two waves, enumerated."""

import numpy as np
import pytest
from scipy.stats import binom


def kept_share(rate: float, first: int, more: int) -> float:
    """Expected RLOO weight of a group that goes on only if mixed, over that of a fixed size.

    The group's mean of advantage times reward is m (n - m) / (n (n - 1)) for m successes of n, with
    expectation p (1 - p) at any fixed n. A group that is decided after `first` has none.
    """
    size = first + more
    total = sum(
        binom.pmf(a, first, rate) * binom.pmf(b, more, rate) * (a + b) * (size - a - b)
        for a in range(1, first)
        for b in range(more + 1)
    )
    return float(total / (size * (size - 1)) / (rate * (1 - rate)))


def test_a_group_of_fixed_size_keeps_all_of_its_expectation() -> None:
    for rate in (0.05, 0.3, 0.7):
        whole = sum(binom.pmf(m, 8, rate) * m * (8 - m) / 56 for m in range(9))
        assert whole == pytest.approx(rate * (1 - rate))


def test_two_waves_lose_most_of_the_weight_of_rarely_solved_prompts() -> None:
    share = [kept_share(rate, first=4, more=8) for rate in (0.05, 0.1, 0.3, 0.5)]
    # docs/strategies.md gives these
    assert share == pytest.approx([0.45, 0.54, 0.81, 0.89], abs=0.01)
    assert (np.diff(share) > 0).all()


def test_an_experiment_agrees_with_the_enumeration() -> None:
    rng, rate = np.random.default_rng(0), 0.1
    a, b = rng.binomial(4, rate, 400_000), rng.binomial(8, rate, 400_000)
    m = a + b
    weight = np.where((a > 0) & (a < 4), m * (12 - m) / 132, 0.0)
    assert weight.mean() / (rate * (1 - rate)) == pytest.approx(kept_share(rate, 4, 8), abs=0.01)
