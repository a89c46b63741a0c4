"""Packing: exact batches, whole groups, and the errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvmrl import Plan, PromptStats, allocate
from gvmrl.allocate import Limits
from gvmrl.allocate.packing import pack


def plan_of(counts: list[int]) -> Plan:
    number = len(counts)
    stats = PromptStats(
        ids=tuple(f"prompt {row}" for row in range(number)),
        trials_P=np.full(number, 8.0),
        successes_P=np.full(number, 4.0),
    )
    return allocate(stats, sum(counts), rule="uniform", lo=counts)


def sizes(plan: Plan, batches: tuple[tuple[str, ...], ...]) -> list[list[int]]:
    count = dict(zip(plan.ids, plan.count_P.tolist(), strict=True))
    return [[count[prompt_id] for prompt_id in batch] for batch in batches]


@given(st.integers(2, 40), st.integers(1, 10), st.integers(0, 2**32), st.integers(0, 9))
def test_batches_are_exact_and_hold_every_prompt_once(
    batch_size: int, num_batches: int, source: int, seed: int
) -> None:
    # cut batches into groups at random, so that there is a packing; its traces are lost
    generator = np.random.default_rng(source)
    counts: list[int] = [0, 0]
    for _ in range(num_batches):
        left = batch_size
        while left > 0:
            counts.append(int(generator.integers(1, left + 1)))
            left -= counts[-1]
    counts = generator.permutation(counts).tolist()
    plan = plan_of(counts)
    batches = pack(plan, batch_size, seed=seed)
    assert all(sum(batch) == batch_size for batch in sizes(plan, batches))
    used = [prompt_id for batch in batches for prompt_id in batch]
    wanted = [name for name, count in zip(plan.ids, counts, strict=True) if count > 0]
    assert sorted(used) == sorted(wanted)


def test_every_batch_gets_its_share_of_large_groups() -> None:
    plan = plan_of([12] * 8 + [4] * 8)
    assert [sorted(batch) for batch in sizes(plan, pack(plan, 32))] == [[4, 4, 12, 12]] * 4


def test_a_packing_without_slack_is_found() -> None:
    plan = plan_of([7, 5, 6, 6, 9, 3, 10, 2, 8, 4])
    assert all(sum(batch) == 12 for batch in sizes(plan, pack(plan, 12)))


def test_the_seed_mixes_and_the_rows_do_not() -> None:
    plan = plan_of([4] * 12)
    assert pack(plan, 8, seed=1) != pack(plan, 8, seed=2)
    assert pack(plan, 8, seed=1) == pack(plan, 8, seed=1)


def test_a_group_larger_than_a_batch_names_the_prompt() -> None:
    with pytest.raises(ValueError, match=r"'prompt 1' has 9 rollouts, .* batch of 8.*hi=8"):
        pack(plan_of([3, 9]), 8)


def test_a_total_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10 rollouts do not fill batches of 8: 2 are left"):
        pack(plan_of([5, 5]), 8)


def test_sizes_that_cannot_fill_a_batch_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"no way was found to fill batches of 8 .* groups of 3, 5"
    ):
        # a five and a three fill a batch, but there are more threes than fives
        pack(plan_of([5, 5, *[3] * 10]), 8)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        pack(plan_of([1]), 0)


def test_an_allocation_with_the_advice_of_the_errors_packs() -> None:
    generator = np.random.default_rng(0)
    stats = PromptStats(
        ids=tuple(f"prompt {row}" for row in range(300)),
        trials_P=np.full(300, 8.0),
        successes_P=generator.binomial(8, generator.beta(0.3, 0.4, 300)).astype(float),
    )
    limits = Limits(group_min=2, multiple_of=64)
    plan = allocate(stats, 2400, rule="gvm", hi=64, limits=limits)
    assert all(sum(batch) == 64 for batch in sizes(plan, pack(plan, 64)))
