"""Bilinear resampling of rows of a frame onto the grid of the reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]


def inverse(matrix: Double) -> Double:
    """Inverse (2, 3) of an affine transform (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def integer_shift(back: Double) -> tuple[int, int] | None:
    """(dx, dy) where the transform ``back`` is a shift by whole pixels (to 1e-6), else ``None``."""
    shift = np.rint(back[:, 2])
    if np.abs(back[:, :2] - np.eye(2)).max() > 1e-9 or np.abs(back[:, 2] - shift).max() > 1e-6:
        return None
    return int(shift[0]), int(shift[1])


def rows_needed(back: Double, y0: int, y1: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows of a frame (first, last + 1) from which the rows y0:y1 of the reference grid can be made; empty (0, 0) where none.

    ``back`` (2, 3) leads from positions (x, y) on the reference to the frame; ``shape`` (ny, nx) is that of both.
    """
    ny, nx = shape
    corners = np.array([[x, y, 1.0] for x in (0.0, nx - 1.0) for y in (y0, y1 - 1.0)])
    y = (corners @ back.T)[:, 1]
    first, last = int(np.floor(y.min())) - 1, int(np.ceil(y.max())) + 2
    first, last = max(first, 0), min(last, ny)
    return (first, last) if first < last else (0, 0)


def resample_rows(window: Float, first_row: int, back: Double, y0: int, y1: int, nx: int) -> Float:
    """Rows y0:y1 (``nx`` columns) of the reference grid from ``window``, the frame's rows from ``first_row`` on, bilinear.

    NaN beyond the frame, and wherever a NaN is one of the four pixels.
    """
    shift = integer_shift(back)
    if shift is not None:
        return _shifted(window, first_row, shift, y0, y1, nx)
    from scipy.ndimage import affine_transform

    if window.shape[0] < 2 or window.shape[1] < 2:
        return np.full((y1 - y0, nx), np.nan, np.float32)
    (a, b, c), (d, e, f) = back
    out: Float = np.empty((y1 - y0, nx), np.float32)
    # scipy counts (row, column): row = e y + d x + f, column = b y + a x + c
    affine_transform(
        window,
        [[e, d], [b, a]],
        offset=(e * y0 + f - first_row, b * y0 + c),
        output_shape=out.shape,
        output=out,
        order=1,
        mode="constant",
        cval=np.nan,
    )
    return out


def _shifted(window: Float, first_row: int, shift: tuple[int, int], y0: int, y1: int, nx: int) -> Float:
    """A shift by whole pixels: values are copied, not interpolated."""
    dx, dy = shift
    out: Float = np.full((y1 - y0, nx), np.nan, np.float32)
    top, bottom = max(y0 + dy, first_row), min(y1 + dy, first_row + window.shape[0])
    left, right = max(dx, 0), min(nx + dx, window.shape[1])
    if top < bottom and left < right:
        out[top - dy - y0 : bottom - dy - y0, left - dx : right - dx] = window[top - first_row : bottom - first_row, left:right]
    return out


def moved_pixels(marked: NDArray[np.bool_], first_row: int, matrix: Double, y0: int, y1: int, nx: int) -> NDArray[np.bool_]:
    """Which pixels of rows y0:y1 of the reference grid a ``marked`` pixel of the frame (rows from ``first_row``) reaches."""
    out = np.zeros((y1 - y0, nx), np.bool_)
    row, column = np.nonzero(marked)
    if row.size == 0:
        return out
    there = np.column_stack([column, row + first_row, np.ones(row.size)]) @ matrix.T
    whole = integer_shift(matrix) is not None
    for step_y in (0,) if whole else (0, 1):
        for step_x in (0,) if whole else (0, 1):
            base = np.rint(there) if whole else np.floor(there)
            x, y = base[:, 0].astype(np.intp) + step_x, base[:, 1].astype(np.intp) + step_y - y0
            inside = (x >= 0) & (x < nx) & (y >= 0) & (y < y1 - y0)
            out[y[inside], x[inside]] = True
    return out
