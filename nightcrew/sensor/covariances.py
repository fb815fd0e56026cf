"""Covariances of pixels with their neighbours, from a difference image that comes in strips."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Strip = NDArray[np.float32]


@dataclass(slots=True)
class CovarianceSums:
    """Sums of d[y, x] d[y + i, x + j] for lags i = 0..``max_lag`` and j = -max_lag..max_lag; add the strips from top to bottom.

    A strip is kept flat with ``max_lag`` zeros behind every row: a shift by (i, j) is then a shift of one long vector, and each
    sum one product of vectors that lie in the cache.
    """

    max_lag: int
    columns: int
    sums: NDArray[np.float64]
    rows: int = 0
    _above: Strip = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def empty(cls, max_lag: int, columns: int) -> CovarianceSums:
        """Nothing added yet."""
        return cls(max_lag, columns, np.zeros((max_lag + 1, 2 * max_lag + 1)), 0, np.empty((0, columns + max_lag), np.float32))

    def add(self, difference: Strip) -> None:
        """Add the next rows ``[y, x]`` (0 where a pixel is not good)."""
        lag, width = self.max_lag, self.columns + self.max_lag
        held = len(self._above)
        block = np.zeros((held + len(difference) + 1, width), np.float32)  # one row more: shifts to the left of row 0 stay inside
        block[:held] = self._above
        block[held:-1, : self.columns] = difference
        flat = block.reshape(-1)
        end = (held + len(difference)) * width
        for i in range(lag + 1):
            # partners (y, y + i) whose lower row is new
            start = max(held - i, 0) * width
            stop = end - i * width
            if stop <= start:
                continue
            upper = flat[start:stop]
            for j in range(-lag if i else 0, lag + 1):
                shifted = start + i * width + j
                self.sums[i, j + lag] += float(np.dot(upper, flat[shifted : shifted + stop - start]))
        self.rows += len(difference)
        self._above = block[max(0, held + len(difference) - lag) : held + len(difference)].copy()

    def mean(self, good: int, mean: float) -> NDArray[np.float64]:
        """Mean products about ``mean`` for lags [0..max_lag, 0..max_lag], both signs of the x lag averaged.

        Pairs of pixels are counted as those of a full image times the square of the good fraction.
        """
        lag = self.max_lag
        result = np.full((lag + 1, lag + 1), np.nan)
        fraction = good / max(1, self.rows * self.columns)
        for i in range(lag + 1):
            for j in range(lag + 1):
                places = max(0, self.rows - i) * max(0, self.columns - j)
                both = 0.5 * (self.sums[i, lag + j] + self.sums[i, lag - j]) if i and j else self.sums[i, lag + j]
                count = places * (fraction if i == j == 0 else fraction**2)
                if count:
                    result[i, j] = both / count - mean**2
        return result
