"""Where a plan spends, by acceptance rate."""

import numpy as np
import pytest

from gvmrl import PromptStats, allocate
from gvmrl.allocate.bins import rate_bins, spending


def make() -> PromptStats:
    return PromptStats(
        ids=tuple("abcdefg"),
        trials_P=np.array([0.0, 10, 10, 10, 10, 10, 10]),
        successes_P=np.array([0.0, 0, 1, 2, 9, 10, 10]),
    )


def test_every_prompt_is_in_one_bin_and_bounds_belong_above() -> None:
    bins = rate_bins(make())
    members = {name: np.flatnonzero(bin_P).tolist() for name, bin_P in bins.items()}
    assert members == {
        "unseen": [0],
        "0": [1],
        "0 to 20%": [2],
        "20 to 40%": [3],
        "40 to 60%": [],
        "60 to 80%": [],
        "80 to 100%": [4],
        "100%": [5, 6],
    }


def test_spending_adds_up() -> None:
    plan = allocate(make(), 15, rule="uniform", hi=[9, 9, 9, 9, 9, 9, 0])
    bins = spending(make(), plan)
    assert sum(part.rollouts for part in bins) == 15
    assert sum(part.prompts for part in bins) == 7
    (last,) = [part for part in bins if part.name == "100%"]
    assert (last.prompts, last.left_out, last.mean) == (2, 1, last.rollouts / 2)


def test_a_plan_of_other_prompts_is_refused() -> None:
    other = PromptStats(ids=("x",), trials_P=np.ones(1), successes_P=np.ones(1))
    with pytest.raises(ValueError, match="made from other prompts"):
        spending(other, allocate(make(), 7))
