"""Whole groups into batches of a fixed number of rows and of rollouts, as verl wants them.

`gvmrl.allocate.packing` fills batches of so many rollouts with as many prompts as it takes. A batch
of verl is a number of rows too, so prompts without rollouts fill up those that have few.

Axes: R rows of data, K batches, B rows of a batch.
"""

from collections import Counter

import numpy as np

from gvmrl.data import IntArray

PATIENCE = 200
"""Dead ends before a packing is given up; most packings meet none."""


class NoExactPacking(ValueError):
    """The groups do not fit into batches of that size, as far as was searched."""


def deal(count_R: IntArray, num_batches: int) -> IntArray:
    """Split rows into batches of equal size whose totals are as near as a deal makes them.

    The rows are dealt from the largest count to the smallest, back and forth over the batches, so
    that every batch gets its share of large and of small groups.

    Args:
        count_R: [R] rollouts of each row, >= 0; equal counts are dealt in the order given.
        num_batches: K; divides R.

    Returns:
        [K, B] rows of each batch.
    """
    order_BK = np.argsort(-count_R, kind="stable").reshape(-1, num_batches)
    order_BK[1::2] = order_BK[1::2, ::-1]
    return np.ascontiguousarray(order_BK.T)


def pack_rows(count_R: IntArray, num_batches: int, seed: int = 0) -> IntArray:
    """Split rows into batches of equal size and of exactly equal totals.

    Rows are dealt, and then exchanged between a batch that has too many rollouts and one that has
    too few, until every total is right.

    Args:
        count_R: [R] rollouts of each row, >= 0.
        num_batches: K; divides R and the total.
        seed: Decides what is tried at dead ends.

    Returns:
        [K, B] rows of each batch.

    Raises:
        NoExactPacking: If none was found.

    Example:
        >>> count_R = np.array([6, 2, 1, 7, 3, 5])
        >>> [sorted(count_R[row_B].tolist()) for row_B in pack_rows(count_R, 2)]
        [[2, 3, 7], [1, 5, 6]]
    """
    target = int(count_R.sum()) // num_batches
    row_KB = deal(count_R, num_batches)
    surplus_K = count_R[row_KB].sum(1) - target
    sizes = [Counter(count_R[row_B].tolist()) for row_B in row_KB]
    generator = np.random.default_rng(seed % 2**64)
    dead_ends = 0
    while surplus_K.any():
        trade = _best_trade(sizes, surplus_K)
        if trade is None:
            dead_ends += 1
            if dead_ends > PATIENCE or num_batches == 1:
                raise NoExactPacking(
                    f"no way was found to put the groups into {num_batches} batches of "
                    f"{row_KB.shape[1]} rows and {target} rollouts each"
                )
            trade = _any_trade(sizes, generator)
        _apply(trade, sizes, surplus_K)
    return _rows_of(sizes, count_R, row_KB)


Trade = tuple[int, int, int, int]
"""Batch that gives, batch that takes, the count given, the count that comes back."""


def _best_trade(sizes: list[Counter[int]], surplus_K: IntArray) -> Trade | None:
    """Return the exchange between the fullest batch and another that helps most, or None.

    Exchanging a for b moves a - b rollouts; it helps if the two surpluses come nearer to 0.
    """
    giver = int(surplus_K.argmax())
    for taker in np.argsort(surplus_K, kind="stable").tolist():
        if surplus_K[taker] >= 0:
            break
        over, under = int(surplus_K[giver]), -int(surplus_K[taker])
        best, least = None, over + under
        for given in sizes[giver]:
            for back in sizes[taker]:
                moved = given - back
                left = abs(over - moved) + abs(under - moved)
                if moved > 0 and left < least:
                    best, least = (giver, taker, given, back), left
        if best is not None:
            return best
    return None


def _any_trade(sizes: list[Counter[int]], generator: np.random.Generator) -> Trade:
    """Return an exchange between two batches drawn at random."""
    giver, taker = generator.choice(len(sizes), 2, replace=False).tolist()
    given, back = (
        int(generator.choice(np.array(sorted(sizes[batch])))) for batch in (giver, taker)
    )
    return giver, taker, given, back


def _apply(trade: Trade, sizes: list[Counter[int]], surplus_K: IntArray) -> None:
    """Exchange one row for another."""
    giver, taker, given, back = trade
    for batch, lost, won in ((giver, given, back), (taker, back, given)):
        sizes[batch][lost] -= 1
        sizes[batch] += Counter()  # forgets counts that are left in no row
        sizes[batch][won] += 1
        surplus_K[batch] += won - lost


def _rows_of(sizes: list[Counter[int]], count_R: IntArray, row_KB: IntArray) -> IntArray:
    """Return [K, B] rows with the counts wanted; rows that need not move stay in their batch."""
    kept: list[list[int]] = []
    free: dict[int, list[int]] = {}
    wanted = [Counter(size) for size in sizes]
    for batch, row_B in enumerate(row_KB.tolist()):
        stay: list[int] = []
        for row in row_B:
            count = int(count_R[row])
            if wanted[batch][count] > 0:
                wanted[batch][count] -= 1
                stay.append(row)
            else:
                free.setdefault(count, []).append(row)
        kept.append(stay)
    for batch, rest in enumerate(wanted):
        for count in rest.elements():
            kept[batch].append(free[count].pop())
    return np.array(kept, np.int64)
