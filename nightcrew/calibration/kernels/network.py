"""Sorting networks: the compare-exchanges that sort a column of n frames, or only the ranks that are wanted.

A network is run *across frames* on blocks of pixels, so every compare-exchange is one minimum and one maximum of two
contiguous rows and works on many pixels at once.
"""

from __future__ import annotations

from functools import lru_cache

BOTH, MINIMUM_ONLY, MAXIMUM_ONLY = 0, 1, 2

Comparator = tuple[int, int, int]


def batcher_pairs(n: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of Batcher's merge exchange for any ``n`` (Knuth, TAOCP 3, 5.2.2, algorithm M)."""
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                pairs.extend((i + j, i + j + k) for i in range(min(k, n - j - k)) if (i + j) // (2 * p) == (i + j + k) // (2 * p))
            k //= 2
        p *= 2
    return pairs


@lru_cache(maxsize=64)
def comparators(n: int, wanted: frozenset[int] | None = None) -> tuple[Comparator, ...]:
    """The network for ``n`` frames as (i, j, what): the minimum goes to row i and the maximum to row j.

    ``wanted`` names the ranks that will be read (``None``: all); whatever cannot reach them is left out, and ``what``
    says when only the minimum or only the maximum is still needed.
    """
    needed = set(range(n)) if wanted is None else set(wanted)
    kept: list[Comparator] = []
    for i, j in reversed(batcher_pairs(n)):
        low, high = i in needed, j in needed
        if low or high:
            kept.append((i, j, BOTH if low and high else MINIMUM_ONLY if low else MAXIMUM_ONLY))
            needed |= {i, j}
    return tuple(reversed(kept))
