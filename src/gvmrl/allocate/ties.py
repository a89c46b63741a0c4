"""Who comes first among equals: a seeded order of prompts that does not depend on their rows.

Axes: K some rows.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gvmrl.data import FloatArray, IntArray

Order = Callable[[IntArray], IntArray]
"""Puts [K] rows in the order in which they are served."""


def by_row(row_K: IntArray) -> IntArray:
    """Serve lower rows first."""
    return np.sort(row_K)


def by_hash(ids: Sequence[str], seed: int) -> Order:
    """Serve rows in the order of a seeded hash of their prompts' ids, equal hashes by id.

    Args:
        ids: The prompts' ids by row.
        seed: Any whole number; another seed gives another order.
    """
    return partial(_hash_order, ids, seed)


def uniform_draws(ids: Sequence[str], seed: int) -> FloatArray:
    """Return one number in [0, 1) for each id, that depends on nothing but the id and the seed."""
    return (_hash(ids, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _hash_order(ids: Sequence[str], seed: int, row_K: IntArray) -> IntArray:
    rows: list[int] = row_K.tolist()
    hash_K = _hash([ids[row] for row in rows], seed)
    place_K = np.argsort(hash_K)
    row_K, hash_K = row_K[place_K], hash_K[place_K]
    for place in np.flatnonzero(hash_K[1:] == hash_K[:-1]).tolist():
        if place and hash_K[place - 1] == hash_K[place]:
            continue  # inside a run that is sorted already
        end = int(np.searchsorted(hash_K, hash_K[place], side="right"))
        row_K[place:end] = sorted(row_K[place:end].tolist(), key=ids.__getitem__)
    return row_K


def _hash(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    crc_K = np.array([zlib.crc32(prompt_id.encode()) for prompt_id in ids], np.uint64)
    return _mix(crc_K + _mix(np.array([seed % 2**64], np.uint64)))


def _mix(key_K: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit keys one to one (the splitmix64 step)."""
    key_K = key_K + np.uint64(0x9E3779B97F4A7C15)
    key_K = (key_K ^ (key_K >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key_K = (key_K ^ (key_K >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key_K ^ (key_K >> np.uint64(31))
