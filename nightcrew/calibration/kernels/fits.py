"""Per-pixel least squares over the frames: C kernel and numpy, operation by operation alike (see ``source/fits.c``)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import native
from nightcrew.calibration.kernels.fallback import physical
from nightcrew.calibration.kernels.library import POINTER, address, library, pointer, scratch
from nightcrew.calibration.kernels.slab import FrameRows
from nightcrew.calibration.kernels.threads import RangeWork, share_ranges

MAX_TERMS = 6
BLOCK = 1 << 14  # pixels that numpy works on at once
SLAB_BYTES = 2 << 20  # of stored rows, of all frames together

F8 = NDArray[np.float64]

# mirrors fit_t of source/fits.c
TASK = np.dtype(
    [
        *((name, "i4") for name in ("n_frames", "n_terms", "known_errors", "unused")),
        *((name, POINTER) for name in ("basis", "weight", "back", "error")),
        ("coefficient", POINTER, MAX_TERMS),
        ("sigma", POINTER, MAX_TERMS),
        ("scatter", POINTER),
        ("count", POINTER),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True, eq=False)
class Solver:
    """A design made ready: ``weight`` [frame], orthonormal ``basis`` [frame, term], ``back`` [term, term] upper triangular.

    With y the weighted values of a pixel, q = basis^T y and the coefficients are back q; ``error`` [term] is their error for residuals of
    scatter 1.  ``known_errors``: the weights are 1 / sigma of the frames, so that ``error`` is the error itself.
    """

    weight: F8
    basis: F8
    back: F8
    error: F8
    known_errors: bool


@dataclass(slots=True, eq=False)
class FitRows:
    """Planes to fill: ``coefficients`` and ``errors`` [term, y, x], ``scatter`` and ``count`` [y, x]."""

    coefficients: NDArray[np.float32]
    errors: NDArray[np.float32] | None
    scatter: NDArray[np.float32] | None
    count: NDArray[np.uint16]

    def part(self, y0: int, y1: int) -> FitRows:
        """Rows y0..y1 of all planes."""
        return FitRows(
            self.coefficients[:, y0:y1],
            None if self.errors is None else self.errors[:, y0:y1],
            None if self.scatter is None else self.scatter[y0:y1],
            self.count[y0:y1],
        )


def can_do(frames: list[FrameRows], solver: Solver) -> bool:
    """Whether the kernel exists and covers this work."""
    return solver.basis.shape[1] <= MAX_TERMS and all(native.takes(frame) for frame in frames) and library() is not None


def fit_images(
    frames: list[FrameRows], solver: Solver, out: FitRows, done: Callable[[int, int], None], *, threads: int, memory_bytes: int
) -> int | None:
    """Fit whole images with the C kernel, and call ``done(y0, y1)`` for rows that are.

    Returns the index of a frame that could not be read, or ``None``.
    """
    kernel = library()
    if kernel is None:
        raise RuntimeError("there is no compiled kernel")
    if kernel.fit_size != TASK.itemsize:
        raise RuntimeError("the compiled kernel and nightcrew.calibration.kernels.fits disagree about a fit")
    ny, nx = out.count.shape
    step = max(1, min(SLAB_BYTES, memory_bytes // threads) // sum((frame.row_pixels or nx) * frame.data.itemsize for frame in frames))
    table, failed = native.describe(frames), list[int]()

    def worker() -> RangeWork:
        whole = _task(solver, out)
        memory, at = scratch(int(kernel.fit_room(address(table), address(whole), ctypes.c_long(step), ctypes.c_long(nx))))

        def run(y0: int, y1: int) -> None:
            task = _task(solver, out.part(y0, y1))
            status = kernel.fit_images(address(table), address(task), *(ctypes.c_long(v) for v in (y0, y1, nx, step)), at)
            if status:
                failed.append(status - 1)
            else:
                done(y0, y1)
            memory[:0] = 0  # keeps it alive

        return run

    share_ranges(ny, max(step, -(-ny // (threads * native.CHUNKS_A_THREAD))), threads, worker)
    return min(failed, default=None)


def _task(solver: Solver, out: FitRows) -> NDArray[np.void]:
    task = np.zeros((), TASK)
    n_frames, n_terms = solver.basis.shape
    task["n_frames"], task["n_terms"], task["known_errors"] = n_frames, n_terms, solver.known_errors
    task["basis"], task["weight"] = pointer(solver.basis), pointer(solver.weight)
    task["back"], task["error"] = pointer(solver.back), pointer(solver.error)
    for j in range(n_terms):
        task["coefficient"][j] = pointer(out.coefficients[j])
        task["sigma"][j] = 0 if out.errors is None else pointer(out.errors[j])
    task["scatter"], task["count"] = pointer(out.scatter), pointer(out.count)
    return task


def fit_rows(frames: list[FrameRows], solver: Solver, out: FitRows) -> None:
    """Fit rows in memory with numpy; pixels that miss a value get NaN."""
    shape = out.count.shape
    flat = FitRows(
        np.empty((solver.basis.shape[1], out.count.size), np.float32),
        None if out.errors is None else np.empty((solver.basis.shape[1], out.count.size), np.float32),
        None if out.scatter is None else np.empty(out.count.size, np.float32),
        np.empty(out.count.size, np.uint16),
    )
    for start in range(0, out.count.size, BLOCK):
        _fit_block(frames, solver, flat, slice(start, min(out.count.size, start + BLOCK)))
    out.coefficients[...] = flat.coefficients.reshape(-1, *shape)
    out.count[...] = flat.count.reshape(shape)
    if out.errors is not None and flat.errors is not None:
        out.errors[...] = flat.errors.reshape(-1, *shape)
    if out.scatter is not None and flat.scatter is not None:
        out.scatter[...] = flat.scatter.reshape(shape)


def _fit_block(frames: list[FrameRows], solver: Solver, out: FitRows, part: slice) -> None:
    n_frames, n_terms = solver.basis.shape
    values = [physical(frame, part, "f8") for frame in frames]
    good = np.sum([np.isfinite(v) for v in values], axis=0, dtype=np.uint16)
    out.count[part] = good
    lacking = good < n_frames
    with np.errstate(invalid="ignore", over="ignore"):
        values = [v * w for v, w in zip(values, solver.weight, strict=True)]
        q = [np.zeros(good.shape) for _ in range(n_terms)]
        for i, value in enumerate(values):
            for j in range(n_terms):
                q[j] += solver.basis[i, j] * value
        for j in range(n_terms):
            coefficient = np.zeros(good.shape)
            for m in range(j, n_terms):
                coefficient += solver.back[j, m] * q[m]
            coefficient[lacking] = np.nan
            out.coefficients[j, part] = coefficient
        if out.errors is None and out.scatter is None:
            return
        scatter = _scatter(values, solver, q)
    scatter[lacking] = np.nan
    if out.scatter is not None:
        out.scatter[part] = scatter
    for j in range(n_terms if out.errors is not None else 0):
        error = np.where(lacking, np.nan, solver.error[j]) if solver.known_errors else solver.error[j] * scatter
        if out.errors is not None:
            out.errors[j, part] = error


def _scatter(values: list[F8], solver: Solver, q: list[F8]) -> F8:
    """Standard deviation of the residuals, by degrees of freedom; NaN without any."""
    n_frames, n_terms = solver.basis.shape
    rss = np.zeros(q[0].shape)
    for i, value in enumerate(values):
        left = value.copy()
        for j in range(n_terms):
            left -= solver.basis[i, j] * q[j]
        rss += left * left
    if n_frames <= n_terms:
        return np.full(rss.shape, np.nan)
    scatter: F8 = np.sqrt(rss / float(n_frames - n_terms))
    return scatter
