"""Random draws that depend only on a seed and an id.

Each candidate gets a hash of (seed, id, position), and the smallest hashes are drawn. So a draw
needs no generator state, does not depend on order or worker, and takes one sort for a million
parcels.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["draw_positions", "hash_ids", "mix"]


def hash_ids(ids: Iterable[object], *salt: object) -> NDArray[np.uint64]:
    """64-bit hashes of ids; another salt (a seed, an epoch) gives other hashes."""
    prefix = "|".join(map(str, salt))
    digests = (hashlib.blake2b(f"{prefix}|{key}".encode(), digest_size=8).digest() for key in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers: the finaliser of SplitMix64 (Steele et al. 2014, OOPSLA)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def draw_positions(
    counts: NDArray[np.int64], hashes: NDArray[np.uint64], n: int
) -> NDArray[np.int64]:
    """Draw up to ``n`` positions in each group, without replacement.

    Parameters
    ----------
    counts : numpy.ndarray
        (group,) number of candidates.
    hashes : numpy.ndarray
        (group,) uint64, see `hash_ids`.
    n : int
        Draws per group.

    Returns
    -------
    numpy.ndarray
        (group, n) int64 positions from 0 to count - 1, ascending; -1 fills up smaller groups.
    """
    groups = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    position = np.arange(len(groups)) - starts[groups]
    keys = mix(hashes[groups] ^ mix(position.astype(np.uint64)))
    order = np.lexsort((keys, groups))
    rank = np.arange(len(groups)) - starts[groups]
    drawn = order[rank < n]
    drawn.sort()
    out = np.full((len(counts), n), -1, dtype=np.int64)
    sizes = np.minimum(counts, n)
    column = np.arange(len(drawn)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    out[groups[drawn], column] = position[drawn]
    return out
