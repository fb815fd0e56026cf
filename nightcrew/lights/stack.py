"""One image from many lights of a target: resampled onto the reference's grid, then mean or median, pixel by pixel.

Rows are read slab by slab from all frames, so memory grows neither with their number nor with their size.

Masked pixels are left out: a pixel of the grid takes nothing from a frame where one of the four pixels it would come from is
flagged (saturation excepted, which is passed on).  Frames are levelled first - each frame's sky is brought to the mean sky of
all - so that a pixel which lost a frame does not show that frame's brighter sky as a hole.

Uncertainty.  Bilinear resampling makes neighbours share noise: the scatter from pixel to pixel falls, but not the error of an
aperture sum, which is what the plane is used for.  The variance plane is therefore resampled like the image itself
(``sum w V``, not ``sum w^2 V``) and sums of it are right; the pixel-to-pixel scatter is smaller than the plane says.
Mean: ``sigma = sqrt(sum V) / n``; median: that times ``sqrt(pi / 2)`` for more than two frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.resample import resample_affine, rows_needed
from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Method = Literal["mean", "median"]

PASSED_ON = PixelFlag.SATURATED
SLAB_BYTES = 24 << 20
"""Memory for the rows of one slab, all frames together."""


class RowSource(Protocol):
    """A reduced light that gives rows: science and 1-sigma uncertainty (float32), mask (uint16 PixelFlag bits)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx)."""

    def rows(self, y0: int, y1: int) -> tuple[Float, Float, NDArray[np.uint16]]:
        """Rows y0:y1 of the three planes."""


@dataclass(frozen=True, slots=True)
class ArrayRows:
    """A reduced light in memory as a :class:`RowSource`."""

    science: Float
    uncertainty: Float
    mask: NDArray[np.uint16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.science.shape

    def rows(self, y0: int, y1: int) -> tuple[Float, Float, NDArray[np.uint16]]:
        return self.science[y0:y1], self.uncertainty[y0:y1], self.mask[y0:y1]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInput:
    """One light of a stack: ``matrix`` (2, 3) leads from it to the reference (``None``: unregistered, as it lies).

    ``level`` is its sky in the image's unit; ``None`` takes no part in the levelling.
    """

    rows: RowSource
    matrix: Double | None = None
    level: float | None = None


@dataclass(frozen=True, slots=True)
class Stacked:
    """``science`` and 1-sigma ``uncertainty`` (float32 ``[y, x]``, unit of the inputs, per single exposure), ``coverage``
    (frames that reached the pixel, uint16) and ``mask`` (PixelFlag bits).  NaN where nothing reached: EDGE where no frame
    covers the pixel, REJECTED where those that do are flagged there; both with NO_DATA.
    """

    science: Float
    uncertainty: Float
    coverage: NDArray[np.uint16]
    mask: NDArray[np.uint16]
    facts: dict[str, Any] = field(default_factory=dict)


def stack(inputs: Sequence[StackInput], *, method: Method = "mean", levelled: bool = True) -> Stacked:
    """Mean or median of ``inputs`` on the reference's grid; see the module's text.

    :raises Refused: no input, or a method of another name.
    :raises RejectedInput: inputs of different shape.
    """
    if not inputs:
        raise Refused("a stack needs at least one frame")
    if method not in ("mean", "median"):
        raise Refused(f"a stack is a mean or a median, not {method!r}")
    shapes = {tuple(item.rows.shape) for item in inputs}
    if len(shapes) > 1:
        raise RejectedInput(f"frames of a stack must have one shape, these have {sorted(shapes)}")
    ny, nx = (int(n) for n in shapes.pop())
    offsets = _offsets(inputs) if levelled else [0.0] * len(inputs)
    planes = Stacked(
        np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32), np.zeros((ny, nx), np.uint16), np.zeros((ny, nx), np.uint16)
    )
    placed = [_Placed(item, offset) for item, offset in zip(inputs, offsets, strict=True)]
    n_held = len(inputs) if method == "median" else 1
    n_rows = int(np.clip(SLAB_BYTES // (max(nx, 1) * 4 * (2 * n_held + 8)), 8, 256))
    for y0 in range(0, ny, n_rows):
        _stack_rows(placed, method, y0, min(y0 + n_rows, ny), (ny, nx), planes)
    planes.facts.update(_facts(planes, inputs, method, offsets))
    return planes


def _offsets(inputs: Sequence[StackInput]) -> list[float]:
    """What is added to each frame to bring its sky to the mean sky."""
    known = sorted(item.level for item in inputs if item.level is not None and math.isfinite(item.level))
    mean = math.fsum(known) / len(known) if known else 0.0
    return [0.0 if item.level is None or not math.isfinite(item.level) else mean - item.level for item in inputs]


def inverse(matrix: Double) -> Double:
    """Inverse (2, 3) of an affine transform (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


class _Placed:
    """A frame with its place on the reference's grid."""

    def __init__(self, item: StackInput, offset: float) -> None:
        self.rows, self.offset = item.rows, np.float32(offset)
        self.back = inverse(np.eye(2, 3) if item.matrix is None else np.asarray(item.matrix, np.float64))

    def on_grid(self, y0: int, y1: int, shape: tuple[int, int]) -> tuple[Float, Float, NDArray[np.uint16]] | None:
        """Rows y0:y1 of the grid: levelled science, uncertainty and flags; ``None`` where the frame reaches none of them."""
        ny, nx = shape
        first, last = rows_needed(self.back, y0, y1, nx, shape)
        if first >= last:
            return None
        science, uncertainty, mask = self.rows.rows(first, last)
        placed = resample_affine(
            science, self.back, mask=mask, uncertainty=uncertainty, rows=(y0, y1), nx=nx, first_row=first, frame_rows=ny
        )
        if placed.uncertainty is None:
            raise ValueError("a frame without an uncertainty cannot be stacked")
        placed.image[...] += self.offset
        return placed.image, placed.uncertainty, placed.mask


def _stack_rows(placed: list[_Placed], method: Method, y0: int, y1: int, shape: tuple[int, int], planes: Stacked) -> None:
    rows = (y1 - y0, shape[1])
    total, variance = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    count, covered, flags = np.zeros(rows, np.uint16), np.zeros(rows, np.bool_), np.zeros(rows, np.uint16)
    passed, edge = np.uint16(int(PASSED_ON)), np.uint16(int(PixelFlag.EDGE))
    held: list[Float] = []
    for frame in placed:
        part = frame.on_grid(y0, y1, shape)
        if part is None:
            continue
        value, sigma, mask = part
        good = ((mask & ~passed) == 0) & np.isfinite(value)
        sigma *= sigma
        np.add(variance, sigma, out=variance, where=good)
        if method == "mean":
            np.add(total, value, out=total, where=good)
        else:
            held.append(np.where(good, value, np.float32(np.nan)))
        count += good
        covered |= (mask & edge) == 0
        np.bitwise_or(flags, mask & passed, out=flags, where=good)
    with np.errstate(divide="ignore", invalid="ignore"):
        science = total / count if method == "mean" else _median(held, count)
        error = np.sqrt(variance) / count
    if method == "median":
        error *= np.where(count > 2, np.float32(math.sqrt(math.pi / 2)), np.float32(1))
    none = count == 0
    planes.science[y0:y1] = np.where(none, np.float32(np.nan), science)
    planes.uncertainty[y0:y1] = np.where(none, np.float32(np.nan), error)
    planes.coverage[y0:y1] = count
    planes.mask[y0:y1] = np.where(none, _why_empty(covered), flags)


def _why_empty(covered: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Flags of pixels without a value: frames cover them but are flagged there, or none covers them."""
    rejected, outside = PixelFlag.REJECTED | PixelFlag.NO_DATA, PixelFlag.EDGE | PixelFlag.NO_DATA
    return np.where(covered, np.uint16(int(rejected)), np.uint16(int(outside)))


def _median(held: list[Float], count: NDArray[np.uint16]) -> Float:
    """Median of the finite values of each pixel (sorting puts NaN last)."""
    if not held:
        return np.full(count.shape, np.nan, np.float32)
    values = np.sort(np.stack(held), axis=0)
    upper = np.minimum(count // 2, len(held) - 1).astype(np.intp)
    lower = np.maximum((count.astype(np.intp) - 1) // 2, 0)
    pick = [np.take_along_axis(values, index[None], axis=0)[0] for index in (lower, upper)]
    return np.asarray(0.5 * (pick[0] + pick[1]), np.float32)


def _facts(planes: Stacked, inputs: Sequence[StackInput], method: Method, offsets: list[float]) -> dict[str, Any]:
    return {
        "method": method,
        "frames": len(inputs),
        "registered": sum(item.matrix is not None for item in inputs),
        "level_offsets": offsets,
        "full_coverage_fraction": float(np.mean(planes.coverage == len(inputs))),
        "no_data_fraction": float(np.mean(planes.coverage == 0)),
    }
