"""Rules for rounds: what is wanted after each wave, by hand."""

import numpy as np
import pytest

from gvmrl.allocate import allocate
from gvmrl.allocate.demand import Demand
from gvmrl.allocate.rules.rounds import pilot_commit, reinforce_ada, speed, wanted
from gvmrl.stats import PromptStats


def in_round(drawn: list[int], hits: list[int]) -> PromptStats:
    return PromptStats(
        ids=tuple(f"prompt {row}" for row in range(len(drawn))),
        trials_P=np.zeros(len(drawn)),
        successes_P=np.zeros(len(drawn)),
        round_trials_P=np.array(drawn, float),
        round_successes_P=np.array(hits, float),
    )


def wants(demand: Demand, num_prompts: int) -> list[float]:
    return demand.count_at(0, np.zeros(num_prompts), np.full(num_prompts, 999.0)).tolist()


def test_speed_screens_with_4_and_continues_mixed_groups_with_20() -> None:
    stats = in_round([0, 4, 4, 4, 2, 24], [0, 0, 2, 4, 1, 9])
    assert wants(speed(stats), 6) == [4, 0, 20, 0, 2, 0]


def test_pilot_commit_screens_with_16_and_continues_with_48() -> None:
    assert wants(pilot_commit(in_round([0, 16, 16], [0, 3, 16])), 3) == [16, 48, 0]


def test_reinforce_ada_draws_8_until_2_right_and_2_wrong_at_most_4_rounds() -> None:
    stats = in_round([0, 8, 8, 8, 24, 32], [0, 8, 1, 2, 0, 0])
    assert wants(reinforce_ada(stats), 6) == [8, 8, 8, 0, 8, 0]


def test_a_budget_of_what_is_wanted_is_spent_exactly_on_it() -> None:
    stats = in_round([0, 4, 4, 4], [0, 0, 2, 4])
    budget = wanted(speed(stats), 4)
    plan = allocate(stats, budget, rule="speed")
    assert budget == 24
    assert plan.count_P.tolist() == [4, 0, 20, 0]
    assert plan.notes == ()


def test_a_smaller_budget_is_shared_in_proportion_and_a_larger_one_noted() -> None:
    stats = in_round([0, 4, 4, 4], [0, 0, 2, 4])
    assert allocate(stats, 12, rule="speed").count_P.tolist() == [2, 0, 10, 0]
    rich = allocate(stats, 30, rule="speed")
    # six more: evenly, lowest first, over prompts with 4, 0, 20 and 0
    assert rich.count_P.tolist() == [4, 3, 20, 3]
    assert "the others get the rest, 6 rollouts" in rich.notes[0]


def test_the_first_wave_treats_new_and_known_prompts_alike() -> None:
    known = PromptStats(
        ids=("old", "new"), trials_P=np.array([8.0, 0.0]), successes_P=np.array([8.0, 0.0])
    )
    for rule in (speed, pilot_commit, reinforce_ada):
        first, second = wants(rule(known), 2)
        assert first == second > 0
    assert allocate(known, 8, rule="speed").count_P.tolist() == [4, 4]


def test_settings_out_of_range_are_refused() -> None:
    stats = in_round([0], [0])
    with pytest.raises(ValueError, match="first must be >= 1 and more >= 0, got 0 and 20"):
        speed(stats, first=0)
    with pytest.raises(ValueError, match="first must be >= 1 and more >= 0, got 16 and -1"):
        pilot_commit(stats, more=-1)
    with pytest.raises(ValueError, match="right, wrong >= 0 and each, rounds >= 1, got 2, 2, 0, 4"):
        reinforce_ada(stats, each=0)
