"""Speed-ups: values worked out by hand, curves with a known answer, and what is not reached."""

import numpy as np
import pytest

from gvmrl.bench.speedup import (
    FRACTIONS,
    Curves,
    Speedup,
    cost_to_reach,
    share_of_ceiling,
    speedup,
    targets_of,
)
from gvmrl.data import FloatArray

NUM_EVALUATIONS = 25
UPDATES_E = np.arange(NUM_EVALUATIONS) * 10.0


def straight(*ends: float, last: float = 100.0) -> Curves:
    """Curves from 0 to the given accuracies over equal costs, one a seed."""
    cost_E = np.linspace(0, last, 11)
    accuracy_SE = np.outer(ends, np.linspace(0, 1, 11))
    return Curves(accuracy_SE=accuracy_SE, cost_CSE=np.tile(cost_E, (1, len(ends), 1)))


def draw_curves(
    rng: np.random.Generator, num_seeds: int, speed: float, level_S1: FloatArray
) -> Curves:
    """Noisy exponentials, as the embedded task's: evaluation noise .02, speeds that vary by 25%."""
    rate_S1 = np.log(20) / 240 * speed * np.exp(rng.normal(0, 0.25, (num_seeds, 1)))
    mean_SE = 0.35 + level_S1 + 0.35 * (1 - np.exp(-rate_S1 * UPDATES_E))
    accuracy_SE = mean_SE + rng.normal(0, 0.02, mean_SE.shape)
    cost_CSE = np.tile(UPDATES_E, (1, num_seeds, 1)).astype(np.float64)
    return Curves(accuracy_SE=accuracy_SE, cost_CSE=cost_CSE)


def draw_speedups(speed: float, num_seeds: int, num_draws: int) -> list[Speedup]:
    rng = np.random.default_rng(5)
    found: list[Speedup] = []
    for _ in range(num_draws):
        level_S1 = rng.normal(0, 0.02, (num_seeds, 1))  # the prompts of a seed, the same for both
        baseline, arm = (draw_curves(rng, num_seeds, one, level_S1) for one in (1.0, speed))
        found.append(speedup(arm, baseline, targets_of(baseline.accuracy_SE)))
    return found


def test_costs_are_read_off_the_monotone_curve() -> None:
    # .5 and .3 fall, so both become .4; .6 lies half of the way from .4 (at 2) to .8 (at 3).
    accuracy_NE = np.array([[0.2, 0.5, 0.3, 0.8]])
    cost_CNE = np.array([[[0.0, 1.0, 2.0, 3.0]], [[0.0, 10.0, 20.0, 30.0]]])
    cost_CNT, missed_NT = cost_to_reach(accuracy_NE, cost_CNE, np.array([0.3, 0.4, 0.6, 0.9]))
    assert cost_CNT[0] == pytest.approx(np.array([[0.5, 1.0, 2.5, 3.0]]))
    assert cost_CNT[1] == pytest.approx(10 * cost_CNT[0])
    assert missed_NT.tolist() == [[False, False, False, True]]


def test_a_curve_that_starts_above_a_target_is_charged_half_an_interval() -> None:
    cost_CNT, _ = cost_to_reach(np.array([[0.5, 0.6]]), np.array([[[0.0, 8.0]]]), np.array([0.4]))
    assert cost_CNT.tolist() == [[[4.0]]]


def test_targets_are_shares_of_the_baselines_way() -> None:
    target_T = targets_of(straight(0.4, 0.6).accuracy_SE)
    assert target_T == pytest.approx(0.5 * np.array(FRACTIONS))


def test_a_baseline_that_does_not_rise_beyond_its_noise_has_no_targets() -> None:
    assert targets_of(np.full((3, 5), 0.98)).size == 0
    noisy_SE = np.array([[0.5, 0.9], [0.5, 0.2], [0.5, 0.6]])
    assert targets_of(noisy_SE).size == 0


def test_twice_the_slope_is_twice_the_speed_in_every_seed() -> None:
    baseline = straight(0.3, 0.4, 0.5)
    found = speedup(straight(0.6, 0.8, 1.0), baseline, np.array([0.1, 0.2, 0.3]))
    for estimate in (found.paired[0], found.of_means[0]):
        assert estimate.value == pytest.approx(2)
        assert str(found.paired[0]) == "2.00 [2.00, 2.00]"
    assert (found.arm_missed, found.baseline_missed, found.num_targets) == (0, 0, 9)


def test_costs_of_an_arm_with_twice_the_updates_are_compared_as_they_are() -> None:
    # The same slope per cost, on a curve that is twice as long.
    arm = straight(0.6, 0.8, last=200.0)
    assert speedup(arm, straight(0.3, 0.4), np.array([0.2])).paired[0].value == pytest.approx(1)


def test_a_target_that_only_the_arm_misses_makes_an_upper_bound() -> None:
    found = speedup(straight(0.2, 0.2), straight(0.8, 0.8), np.array([0.4]))
    assert found.arm_missed == 2
    assert str(found.paired[0]) == "<=0.50 [0.50, 0.50]"
    back = speedup(straight(0.8, 0.8), straight(0.2, 0.2), np.array([0.4]))
    assert str(back.of_means[0]) == ">=2.00 [2.00, 2.00]"


def test_one_seed_has_no_interval() -> None:
    estimate = speedup(straight(0.6), straight(0.3), np.array([0.2])).paired[0]
    assert (str(estimate), estimate.low, estimate.high) == ("2.00", 0, np.inf)


def test_swapping_the_arms_turns_the_speedup_around() -> None:
    one, other = (
        draw_curves(np.random.default_rng(seed), 6, 1.2, np.zeros((6, 1))) for seed in (0, 1)
    )
    target_T = np.array([0.45, 0.55])
    there, back = speedup(one, other, target_T), speedup(other, one, target_T)
    for mine, theirs in zip(
        there.paired + there.of_means, back.paired + back.of_means, strict=True
    ):
        assert mine.value * theirs.value == pytest.approx(1)
        assert mine.low * theirs.high == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0.7, 1.5])
def test_ten_noisy_seeds_find_the_true_speedup(speed: float) -> None:
    found = draw_speedups(speed, num_seeds=10, num_draws=40)
    for name in ("paired", "of_means"):
        estimates = [getattr(one, name)[0] for one in found]
        bias = np.mean([np.log(one.value) for one in estimates]) - np.log(speed)
        covered = np.mean([one.low <= speed <= one.high for one in estimates])
        # 0.06 in the logarithm is 6%; a slow arm misses targets, which pulls towards 1.
        assert abs(bias) < (0.08 if speed < 1 else 0.05), (name, bias)
        # The share of 40 intervals has a standard error of .034 where 95% are meant to cover.
        assert covered >= 0.86, (name, covered)
        assert np.mean([np.log(one.high / one.low) for one in estimates]) < 0.7


def test_the_way_to_the_ceiling_is_measured_in_logarithms() -> None:
    rng = np.random.default_rng(2)
    level_S1 = np.zeros((10, 1))
    baseline, arm, ceiling = (draw_curves(rng, 10, speed, level_S1) for speed in (1.0, 2.0, 4.0))
    target_T = targets_of(baseline.accuracy_SE)
    mine, best = (speedup(one, baseline, target_T).of_means[0] for one in (arm, ceiling))
    share = share_of_ceiling(mine, best, 10)
    assert share is not None
    assert share.low < 0.5 < share.high
    assert share.value == pytest.approx(np.log(mine.value) / np.log(best.value))
    assert share_of_ceiling(best, speedup(baseline, baseline, target_T).of_means[0], 10) is None
