"""Whole groups into batches of one size: for engines whose batch is a fixed number of rollouts.

Axes: P prompts.
"""

from collections import Counter, defaultdict

import numpy as np

from gvmrl.allocate.plan import Plan
from gvmrl.allocate.ties import by_hash
from gvmrl.data import IntArray

PATIENCE = 2000
"""Dead ends before a packing is given up; most packings meet none."""


def pack(plan: Plan, batch_size: int, *, seed: int = 0) -> tuple[tuple[str, ...], ...]:
    """Split the prompts of a plan into batches of exactly `batch_size` rollouts, groups unsplit.

    Every batch gets its share of large and of small groups, as near as the sizes allow, so that no
    batch is harder than another. The order of the batches and who of equal count is in which hang
    on the seed and the ids alone.

    Args:
        plan: Whose prompts with rollouts are packed.
        batch_size: Rollouts of a batch, >= 1; divides the plan's total.
        seed: Another seed mixes the prompts otherwise.

    Returns:
        The prompts' ids, batch by batch.

    Raises:
        ValueError: If a group is larger than a batch (naming the prompt), the total is no multiple
            of the batch size, or no exact packing was found.

    Example:
        >>> from gvmrl import PromptStats, allocate
        >>> stats = PromptStats(ids=("a", "b", "c"), trials_P=[8, 8, 8], successes_P=[2, 8, 8])
        >>> plan = allocate(stats, 12, rule="gvm")
        >>> plan.count_P.tolist(), sorted(map(sorted, pack(plan, 6)))
        ([6, 3, 3], [['a'], ['b', 'c']])
    """
    if not batch_size >= 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    total, largest = int(plan.count_P.sum()), int(plan.count_P.max())
    if largest > batch_size:
        name = plan.ids[int(plan.count_P.argmax())]
        raise ValueError(
            f"prompt {name!r} has {largest} rollouts, more than a batch of {batch_size}; allocate "
            f"with hi={batch_size} or take larger batches"
        )
    if total % batch_size:
        raise ValueError(
            f"{total} rollouts do not fill batches of {batch_size}: {total % batch_size} are left; "
            f"allocate with multiple_of={batch_size}"
        )
    recipes = _recipes(plan.count_P, batch_size, np.random.default_rng(seed % 2**64))
    return _fill(plan, recipes, seed)


def _recipes(
    count_P: IntArray, batch_size: int, generator: np.random.Generator
) -> list[Counter[int]]:
    """Return, batch by batch, how many groups of each size it takes.

    Batches are filled one after the other. At a dead end some of them, drawn at random, are taken
    apart again.

    Raises:
        ValueError: If there were too many dead ends.
    """
    left = Counter(count_P[count_P > 0].tolist())
    num_batches = int(count_P.sum()) // batch_size
    recipes: list[Counter[int]] = []
    dead_ends = 0
    while len(recipes) < num_batches:
        recipe = _recipe(left, num_batches - len(recipes), batch_size, generator, dead_ends > 0)
        if recipe is not None:
            recipes.append(recipe)
            left -= recipe
            continue
        dead_ends += 1
        if dead_ends > PATIENCE or not recipes:
            raise ValueError(
                f"no way was found to fill batches of {batch_size} with whole groups of "
                f"{', '.join(map(str, sorted(set(count_P[count_P > 0].tolist()))))}; take larger "
                "batches, or set hi, group_min and multiple_of so that the sizes divide a batch"
            )
        for _ in range(min(len(recipes), int(generator.integers(1, 9)))):
            left += recipes.pop(int(generator.integers(len(recipes))))
    return [recipes[place] for place in generator.permutation(num_batches)]


def _recipe(
    left: Counter[int],
    batches_left: int,
    batch_size: int,
    generator: np.random.Generator,
    shake: bool,
) -> Counter[int] | None:
    """Return how many groups of each size to put into the next batch; None at a dead end.

    As near to the batch's even share of each size as the sum allows; shaken, near to that.
    """
    sizes = sorted(left, reverse=True)
    reach = _reachable(sizes, left, batch_size)
    if not reach[0] >> batch_size & 1:
        return None
    recipe: Counter[int] = Counter()
    room = batch_size
    for place, size in enumerate(sizes):
        wish = left[size] / batches_left + (generator.normal() if shake else 0.0)
        possible = [
            many
            for many in range(min(left[size], room // size) + 1)
            if reach[place + 1] >> (room - many * size) & 1
        ]
        recipe[size] = min(possible, key=lambda many: (abs(many - wish), many))
        room -= recipe[size] * size
    return recipe


def _reachable(sizes: list[int], number: Counter[int], limit: int) -> list[int]:
    """Return for each place the sums that the sizes from there on can make, as bits of an int."""
    reach = [1]
    for size in reversed(sizes):
        bits, many, part = reach[-1], number[size], 1
        while many > 0:
            part = min(part, many)
            bits |= bits << (size * part)
            bits &= (1 << (limit + 1)) - 1
            many, part = many - part, 2 * part
        reach.append(bits)
    return reach[::-1]


def _fill(plan: Plan, recipes: list[Counter[int]], seed: int) -> tuple[tuple[str, ...], ...]:
    """Put prompts into the batches, those of equal count in the order of their hashes."""
    rows: IntArray = by_hash(plan.ids, seed)(np.flatnonzero(plan.count_P > 0))
    waiting: dict[int, list[str]] = defaultdict(list)
    for row in rows.tolist():
        waiting[int(plan.count_P[row])].append(plan.ids[row])
    return tuple(
        tuple(waiting[size].pop() for size, many in recipe.items() for _ in range(many))
        for recipe in recipes
    )
