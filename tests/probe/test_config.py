"""Settings of a probe: what is refused, and that a saved one can be read again."""

import pytest

from gvmrl.config import DataConfig
from gvmrl.probe.config import ProbeConfig


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompts": 3}, "prompts must be >= 4, got 3"),
        ({"pool": 9}, "pool must be even and >= 8, got 9"),
        ({"pool": 6}, "pool must be even and >= 8, got 6"),
        ({"rollouts": 1}, "rollouts must be >= 2, got 1: a group of one has no baseline"),
        ({"pilots": 0}, "pilots must be >= 1, got 0"),
        ({"pilot_draws": 0}, "pilot_draws must be >= 1, got 0"),
        ({"check_draws": 3}, "check_draws must be 0, or even and >= 10, got 3"),
        ({"check_draws": -2}, "check_draws must be >= 0, got -2"),
        ({"sketch": -1}, "sketch must be >= 0, got -1"),
        ({"tokens_per_microbatch": 0}, "tokens_per_microbatch must be >= 1, got 0"),
        ({"rules": ()}, "rules is empty"),
        ({"rules": ("speed",)}, "rules may not hold speed"),
        ({"rules": ("gvm", "uniform")}, "rules may not hold uniform"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProbeConfig(**settings)  # pyright: ignore[reportArgumentType] - wrong on purpose


def test_the_run_is_one_update_of_all_prompts_without_held_out_ones() -> None:
    run = ProbeConfig(prompts=10, rollouts=4, data=DataConfig(train_limit=10)).run
    assert (run.prompts_per_step, run.rollouts_per_step, run.rollouts_per_update) == (10, 40, 40)
    assert run.data.eval is None
    assert run.data.train_limit == 10
