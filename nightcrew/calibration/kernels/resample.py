"""Bilinear resampling of a frame onto another grid by an affine transform: C kernel, and numpy with the same result."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.library import POINTER, library, pointer
from nightcrew.frames.flags import PixelFlag

SNAP = 1e-6  # positions closer than this to a whole pixel are on it: a shift by whole pixels copies
ROWS_AT_ONCE = 64

# mirrors resample_t of source/resample.c
TASK = np.dtype(
    [
        *((name, POINTER) for name in ("image", "sigma", "mask", "image_out", "sigma_out", "mask_out")),
        *((name, "i8") for name in ("ny", "nx", "first_row", "out_nx", "out_first_row")),
        ("back", "f8", 6),
        ("outside", "i4"),
        ("noise", "i4"),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """``image`` and ``uncertainty`` float32 [y, x], NaN outside the frame; ``mask`` uint16 flags, ``EDGE | NO_DATA`` outside."""

    image: NDArray[np.float32]
    uncertainty: NDArray[np.float32] | None
    mask: NDArray[np.uint16]


def resample_affine(
    image: NDArray[Any],
    back: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    uncertainty: NDArray[Any] | None = None,
    rows: tuple[int, int] | None = None,
    nx: int | None = None,
    first_row: int = 0,
    frame_rows: int | None = None,
    smoothed_noise: bool = False,
    kernel: str = "auto",
) -> Resampled:
    """Rows ``rows`` (default: as many as the frame has) and ``nx`` columns of the output grid, by bilinear interpolation.

    ``back`` (2, 3) leads from (x, y) of the output grid to (x, y) of the frame.  ``image`` [y, x] may be the rows of a frame of
    ``frame_rows`` rows from ``first_row`` on, if it holds all that are needed (:func:`rows_needed`).
    A pixel takes the flags of all frame pixels that enter it with any weight, and NaN from them.  ``uncertainty``: sqrt(sum w V), right for
    sums over many pixels, or with ``smoothed_noise`` sqrt(sum w^2 V), the smaller scatter of single pixels, which are then correlated.
    Raises ``ValueError`` when rows that are needed are not there or planes differ in shape.
    """
    planes = [None if p is None else np.ascontiguousarray(p, t) for p, t in ((image, "f4"), (uncertainty, "f4"), (mask, "u2"))]
    data, sigma, flags = planes
    if data is None or data.ndim != 2 or any(p is not None and p.shape != data.shape for p in planes):
        raise ValueError(f"image, mask and uncertainty must be of one shape [y, x]; the image is {np.shape(image)}")
    ny = data.shape[0] if frame_rows is None else frame_rows
    y0, y1 = rows or (0, ny)
    shape = (y1 - y0, data.shape[1] if nx is None else nx)
    need = rows_needed(back, y0, y1, shape[1], (ny, data.shape[1]))
    if need[0] < need[1] and not (first_row <= need[0] and need[1] <= first_row + data.shape[0]):
        raise ValueError(f"rows {need[0]}:{need[1]} of the frame are needed, {first_row}:{first_row + data.shape[0]} are there")
    out = Resampled(np.empty(shape, "f4"), None if sigma is None else np.empty(shape, "f4"), np.empty(shape, "u2"))
    task = _describe(data, sigma, flags, out)
    task["ny"], task["nx"], task["first_row"], task["out_nx"], task["out_first_row"] = ny, data.shape[1], first_row, shape[1], y0
    task["back"] = np.asarray(back, np.float64).reshape(-1)
    task["outside"], task["noise"] = int(PixelFlag.EDGE | PixelFlag.NO_DATA), smoothed_noise
    compiled = library() if kernel != "numpy" else None
    if compiled is not None:
        compiled.resample(ctypes.c_void_p(pointer(task)), ctypes.c_long(shape[0]))
    else:
        for i in range(0, shape[0], ROWS_AT_ONCE):
            _numpy_rows(task, (data, sigma, flags), out, i, min(shape[0], i + ROWS_AT_ONCE))
    return out


def rows_needed(back: NDArray[np.float64], y0: int, y1: int, nx: int, frame_shape: tuple[int, int]) -> tuple[int, int]:
    """Rows [first, last) of the frame from which rows [y0, y1) of the grid are made; (0, 0) where none is."""
    if y1 <= y0 or nx < 1:
        return 0, 0
    corners = [back[1][0] * x + back[1][1] * y + back[1][2] for x in (0, nx - 1) for y in (y0, y1 - 1)]
    first, last = max(0, int(np.floor(min(corners) + SNAP)) - 1), min(frame_shape[0], int(np.floor(max(corners) + SNAP)) + 3)
    return (first, last) if first < last else (0, 0)


def _describe(data: NDArray[Any], sigma: NDArray[Any] | None, flags: NDArray[Any] | None, out: Resampled) -> NDArray[Any]:
    task = np.zeros((), TASK)
    task["image"], task["sigma"], task["mask"] = pointer(data), pointer(sigma), pointer(flags)
    task["image_out"], task["sigma_out"], task["mask_out"] = pointer(out.image), pointer(out.uncertainty), pointer(out.mask)
    return task


def _numpy_rows(task: NDArray[Any], planes: tuple[NDArray[Any] | None, ...], out: Resampled, i0: int, i1: int) -> None:
    """Output rows i0..i1 as the C kernel makes them."""
    ny, nx, first_row = int(task["ny"]), int(task["nx"]), int(task["first_row"])
    b = task["back"]
    x, y = np.arange(int(task["out_nx"]), dtype=np.float64), (int(task["out_first_row"]) + np.arange(i0, i1, dtype=np.float64))[:, None]
    row, column = b[3] * x + (b[4] * y + b[5]), b[0] * x + (b[1] * y + b[2])
    whole_row, whole_column = np.floor(row + SNAP), np.floor(column + SNAP)
    fr, fc = row - whole_row, column - whole_column
    fr[fr < SNAP], fc[fc < SNAP] = 0.0, 0.0
    inside = (whole_row >= 0) & (whole_column >= 0) & (whole_row + (fr > 0) <= ny - 1) & (whole_column + (fc > 0) <= nx - 1)
    fr, fc = fr[inside], fc[inside]
    at = (whole_row[inside].astype(np.intp) - first_row) * nx + whole_column[inside].astype(np.intp)
    right, down = (fc > 0).astype(np.intp), np.where(fr > 0, nx, 0)
    corners = (at, at + right, at + down, at + down + right)
    weights = ((1.0 - fr) * (1.0 - fc), (1.0 - fr) * fc, fr * (1.0 - fc), fr * fc)
    image, sigma, flags = planes
    if image is not None:
        _put(out.image[i0:i1], inside, _weighted(weights, [image.reshape(-1)[c].astype(np.float64) for c in corners]), np.nan)
    if sigma is not None and out.uncertainty is not None:
        variances = [np.square(sigma.reshape(-1)[c].astype(np.float64)) for c in corners]
        used = tuple(w * w for w in weights) if task["noise"] else weights
        _put(out.uncertainty[i0:i1], inside, np.sqrt(_weighted(used, variances)), np.nan)
    merged = np.zeros(at.shape, np.uint16) if flags is None else np.bitwise_or.reduce([flags.reshape(-1)[c] for c in corners])
    _put(out.mask[i0:i1], inside, merged, int(task["outside"]))


def _weighted(weights: tuple[NDArray[np.float64], ...], values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total += weight * value
    return total


def _put(target: NDArray[Any], inside: NDArray[np.bool_], values: NDArray[Any], elsewhere: float) -> None:
    target[...] = elsewhere
    target[inside] = values
