"""Rows or columns that vary as a whole from frame to frame: flicker of a lamp under a rolling shutter, hum of the read-out.

Each row's mean of a difference of two frames scatters by sigma / sqrt(columns) when pixels vary on their own.  Bands are *found* when
the variance of the row means is above that by more than ``LEAST_EXCESS`` of its own error.  They are then taken out row by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_EXCESS = 6.0
LEAST_SIDE = 16
Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Means of a pair's difference along the rows and columns (ADU, about the mean), and whether they are bands.

    ``row_excess`` and ``column_excess``: variance of these means over the expected one, less 1, in units of its error.
    ``row_rms`` and ``column_rms``: rms of the bands in one frame, in ADU, 0 when none were found.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    row_excess: float
    column_excess: float
    row_rms: float
    column_rms: float

    @property
    def found_rows(self) -> bool:
        """Whether rows vary as a whole."""
        return self.row_excess > LEAST_EXCESS

    @property
    def found_columns(self) -> bool:
        """Whether columns vary as a whole."""
        return self.column_excess > LEAST_EXCESS

    @property
    def found(self) -> bool:
        """Whether there are bands at all."""
        return self.found_rows or self.found_columns

    @property
    def strength(self) -> float:
        """The larger of the two excesses."""
        return max(self.row_excess, self.column_excess)

    def of_rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """What to take from rows ``y0:y1`` of the difference, ``[y, x]`` or a shape that broadcasts to it."""
        rows = self.rows[y0:y1, None] if self.found_rows else np.zeros((1, 1))
        columns = self.columns[None, :] if self.found_columns else np.zeros((1, 1))
        return np.asarray(rows + columns, np.float32)

    def freedom(self, ny: int, nx: int) -> float:
        """What is left of a variance when its row or column means are taken out."""
        left = (1 - 1 / nx if self.found_rows else 1.0) * (1 - 1 / ny if self.found_columns else 1.0)
        return left if left > 0 else 1.0


@dataclass(slots=True, eq=False)
class BandSums:
    """Sums of a difference along rows and columns, strip by strip from the top."""

    row_sum: NDArray[np.float64]
    row_n: NDArray[np.float64]
    column_sum: NDArray[np.float64]
    column_n: NDArray[np.float64]
    square: float = 0.0

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> BandSums | None:
        """Nothing added yet; None for regions too small to tell (below 16 rows or columns)."""
        ny, nx = shape
        if min(ny, nx) < LEAST_SIDE:
            return None
        return cls(np.zeros(ny), np.full(ny, float(nx)), np.zeros(nx), np.full(nx, float(ny)))

    def add(self, y0: int, difference: NDArray[np.float32], bad: NDArray[np.intp]) -> None:
        """Add rows from ``y0`` on; ``bad`` are the flat places of pixels that do not count (their difference is 0)."""
        ny, nx = difference.shape
        self.row_sum[y0 : y0 + ny] = difference.sum(axis=1)
        self.column_sum += difference.sum(axis=0)
        flat = difference.reshape(-1)
        self.square += float(np.dot(flat, flat))
        if bad.size:
            self.row_n[y0 : y0 + ny] -= np.bincount(bad // nx, minlength=ny)
            self.column_n -= np.bincount(bad % nx, minlength=nx)

    def judged(self, ratio: float) -> Bands:
        """The bands of two frames whose levels have that ratio."""
        return _judged(self.row_sum, self.row_n, self.column_sum, self.column_n, self.square, ratio)


def _judged(row_sum: Array, row_n: Array, column_sum: Array, column_n: Array, square: float, ratio: float) -> Bands:
    total = max(float(row_n.sum()), 1.0)
    mean = float(row_sum.sum()) / total
    variance = max(square / total - mean**2, 0.0)
    rows, row_excess, row_rms = _excess(row_sum, row_n, mean, variance)
    columns, column_excess, column_rms = _excess(column_sum, column_n, mean, variance)
    one = math.sqrt(1 + ratio**2)
    return Bands(rows, columns, row_excess, column_excess, row_rms / one, column_rms / one)


def _excess(total: Array, count: Array, mean: float, variance: float) -> tuple[NDArray[np.float64], float, float]:
    """Means about ``mean``, the excess of their variance in its errors, and the rms of what exceeds."""
    means = np.where(count > 0, total / np.maximum(count, 1) - mean, 0.0)
    if variance <= 0:
        return means, 0.0, 0.0
    # each mean in units of its own error
    normal = means[count > 0] ** 2 * count[count > 0] / variance
    n = normal.size
    excess = (float(normal.mean()) - 1) / math.sqrt(2 / n)
    extra = float(np.mean(means**2)) - variance * float(np.mean(1 / np.maximum(count, 1)))
    return means, excess, math.sqrt(max(extra, 0.0)) if excess > LEAST_EXCESS else 0.0
