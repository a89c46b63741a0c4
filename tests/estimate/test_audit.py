"""The audit: unbiased yields, honest intervals, a verdict either way."""

from dataclasses import replace

import numpy as np
import pytest

from gvmrl.estimate.audit import LEAST_GROUPS, MEMORY, Audit, Yield


def spend(audit: Audit, rng: np.random.Generator, chosen: float, even: list[float]) -> Audit:
    """One step: 14 groups of 4 at rate `chosen`, and a uniform group of 8 at one of the rates."""
    n = np.full(14, 4)
    hits = rng.binomial(8, rng.choice(even), 1)
    return replace(
        audit,
        strategy=audit.strategy.plus(n, rng.binomial(n, chosen)),
        uniform=audit.uniform.plus(np.array([8]), hits),
    )


def test_the_yield_is_the_share_of_pairs_that_disagree() -> None:
    # 1 of 4 right: 3 of the 6 pairs disagree; 2 of 2 right: none; one rollout says nothing
    side = Yield().plus(np.array([4, 2, 1]), np.array([1, 2, 1]))
    assert side.rate == pytest.approx((4 * 0.5 + 2 * 0) / 6)
    assert side.groups == 2
    assert side.accept_rate == pytest.approx(3 / 6)


def test_older_steps_count_less() -> None:
    side = Yield().plus(np.array([4]), np.array([2])).plus(np.array([4]), np.array([0]))
    assert side.n == pytest.approx(4 + 4 * MEMORY)
    assert side.y == pytest.approx(4 * (2 / 3) * MEMORY)


def test_there_is_no_verdict_before_enough_was_seen() -> None:
    rng, audit = np.random.default_rng(0), Audit()
    for _ in range(LEAST_GROUPS - 1):
        audit = spend(audit, rng, 0.5, [0.0])
    assert audit.gain is None
    assert audit.should_use


def test_a_strategy_that_gains_is_kept_and_one_that_does_not_is_given_up() -> None:
    rng = np.random.default_rng(1)
    good, idle = Audit(), Audit()
    for _ in range(150):
        good = spend(good, rng, 0.4, [0.0, 0.0, 0.3, 1.0])
        idle = spend(idle, rng, 0.3, [0.3])
    assert good.should_use
    assert good.gain is not None
    assert good.gain.low > 1.5
    assert not idle.should_use
    assert idle.gain is not None
    assert idle.gain.low < 1 < idle.gain.high


def test_the_interval_holds_the_true_gain_nine_times_of_ten_or_a_little_more() -> None:
    rng, inside = np.random.default_rng(2), 0
    truth = (0.4 * 0.6) / np.mean([0.0, 0.2 * 0.8, 0.5 * 0.5])
    for _ in range(300):
        audit = Audit()
        for _ in range(80):
            audit = spend(audit, rng, 0.4, [0.0, 0.2, 0.5])
        assert audit.gain is not None
        inside += audit.gain.low <= truth <= audit.gain.high
    assert 0.86 <= inside / 300 <= 0.97
