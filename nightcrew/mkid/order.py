"""Photons in order of pixel, then time: one counting sort, and a check of the times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w

_WIDEST = 2**31 - 1


@dataclass(frozen=True)
class Ordered:
    """Photons by pixel, then time.  Those of pixel p are the rows ``first[p]:first[p + 1]``."""

    first: NDArray[np.int64]  # one more than pixels
    time_us: NDArray[np.int64]
    word: w.Words

    def pixels(self) -> NDArray[np.int32]:
        """Pixel number of every row."""
        return np.repeat(np.arange(self.first.size - 1, dtype=np.int32), np.diff(self.first))


def by_pixel(pixel: NDArray[np.int32], time_us: NDArray[np.int64], word: w.Words, n_pixels: int) -> Ordered:
    """Sort photons; each pixel's keep their order where times are equal.

    A sparse matrix in coordinate form is turned into rows, which is a counting sort that takes times (as column numbers) and words (as
    values) along.  Streams are nearly in order of time, so pixels whose times go back are put right one by one afterwards.
    """
    if not pixel.size:
        return Ordered(np.zeros(n_pixels + 1, np.int64), time_us, word)
    origin_us = int(time_us.min())
    if int(time_us.max()) - origin_us >= _WIDEST:
        order = np.lexsort((time_us, pixel))
        first = np.searchsorted(pixel[order], np.arange(n_pixels + 1)).astype(np.int64)
        return Ordered(first, time_us[order], word[order])
    from scipy.sparse import coo_array

    matrix = coo_array((word, (pixel, (time_us - origin_us).astype(np.int32))), shape=(n_pixels, _WIDEST))
    matrix.has_canonical_format = True  # photons of equal time are not to be added up
    rows = matrix.tocsr()
    times, words, first = rows.indices, rows.data, rows.indptr.astype(np.int64)
    _mend(first, times, words)
    return Ordered(first, times + np.int64(origin_us), words)


def _mend(first: NDArray[np.int64], times: NDArray[np.int32], words: w.Words) -> None:
    """Sort, in place, the pixels whose times go back."""
    back = np.flatnonzero(times[1:] < times[:-1]) + 1
    owner = np.searchsorted(first, back, side="right") - 1
    for pixel in np.unique(owner[first[owner] != back]).tolist():
        rows = slice(first[pixel], first[pixel + 1])
        order = np.argsort(times[rows], kind="stable")
        times[rows], words[rows] = times[rows][order], words[rows][order]
