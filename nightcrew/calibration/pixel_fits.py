"""Least-squares fits of every pixel over many frames, streamed: dark counts against exposure, or against exposure and temperature.

All pixels share one design, so the normal equations are solved once (by QR) and a pixel costs one product per frame and term;
pixels that miss a value in some frame (NaN, masked, saturated) are solved one by one from the frames they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import fits
from nightcrew.calibration.kernels.fallback import physical
from nightcrew.calibration.kernels.fits import FitRows, Solver
from nightcrew.calibration.kernels.slab import FrameRows
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.calibration.opened_frame import OpenedFrame
from nightcrew.calibration.opening import close_all, open_all
from nightcrew.calibration.slabs import run_slabs
from nightcrew.calibration.sources import Source
from nightcrew.errors import Refused, TransientError

F8 = NDArray[np.float64]
LEAST_PIVOT = 1e-9  # of a pixel's own normal matrix against the full one: below, its frames do not determine the terms
SOLVE_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What is fitted: value of frame i = sum over terms of coefficient times ``matrix[i, term]``; ``names`` of the terms."""

    matrix: F8
    names: tuple[str, ...]


def line(x: Sequence[float]) -> Design:
    """constant + slope x."""
    column = np.asarray(x, dtype=np.float64)
    return Design(np.column_stack([np.ones_like(column), column]), ("constant", "slope"))


def two_variables(x: Sequence[float], y: Sequence[float], *, product: bool = False) -> Design:
    """constant + slope_x x + slope_y y, with ``product`` also + product x y."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape:
        raise Refused(f"{len(a)} values of one variable, {len(b)} of the other")
    columns, names = [np.ones_like(a), a, b], ("constant", "slope_x", "slope_y")
    return Design(np.column_stack([*columns, a * b]), (*names, "product")) if product else Design(np.column_stack(columns), names)


@dataclass(frozen=True, slots=True, eq=False)
class PixelFit:
    """Planes of a fit: ``coefficients`` [term, y, x], their 1-sigma ``errors``, ``scatter`` and ``count`` [y, x].

    ``scatter``: sqrt(residual sum of squares / (n - terms)), weighted where the frames' errors are known; ``count``: n, the good values.
    ``errors``: scatter times sqrt(diag((X^T X)^-1)), or, where the frames' errors are known, sqrt(diag((X^T W X)^-1)).
    NaN where the pixel's good frames do not determine the terms; scatter, and errors made from it, also for n = terms.
    """

    names: tuple[str, ...]
    coefficients: NDArray[np.float32]
    errors: NDArray[np.float32] | None
    scatter: NDArray[np.float32] | None
    count: NDArray[np.uint16]


def fit_pixels(
    inputs: Sequence[Source],
    design: Design,
    *,
    frame_sigma: Sequence[float] | None = None,
    per_frame: Sequence[FrameCalibration | None] | None = None,
    errors: bool = True,
    memory_bytes: int = 64 << 20,
    threads: int = 2,
    kernel: str = "auto",
) -> PixelFit:
    """Fit ``design`` to every pixel of ``inputs`` (as in :func:`nightcrew.calibration.combine.combine`), calibrated by ``per_frame``.

    ``frame_sigma``: known error of a pixel's value in each frame; weights are then 1 / sigma^2 and errors are formal.
    ``errors=False`` leaves errors and scatter out.  Raises ``Refused`` when the frames do not determine the terms.
    """
    solver = _solver(design, frame_sigma, len(inputs))
    if per_frame is not None and len(per_frame) != len(inputs):
        raise Refused(f"{len(per_frame)} calibrations for {len(inputs)} frames")
    frames = open_all(inputs)
    try:
        seen: dict[int, NDArray[np.float32]] = {}
        calibrations = [(item or FrameCalibration()).ready(seen) for item in per_frame or [None] * len(frames)]
        out = _empty(frames[0].shape, len(design.names), errors)
        job = _Job(frames, calibrations, solver, out)
        job.run(kernel, threads, memory_bytes)
    finally:
        close_all(frames)
    return PixelFit(design.names, out.coefficients, out.errors, out.scatter, out.count)


def _solver(design: Design, frame_sigma: Sequence[float] | None, n_frames: int) -> Solver:
    """QR of the weighted design, with its columns scaled."""
    if design.matrix.shape != (n_frames, len(design.names)):
        raise Refused(f"the fit has variables for {design.matrix.shape[0]} frames, there are {n_frames}")
    sigma = np.ones(n_frames) if frame_sigma is None else np.asarray(frame_sigma, dtype=np.float64)
    if sigma.shape != (n_frames,) or not np.all(np.isfinite(sigma) & (sigma > 0)):
        raise Refused("the frames' errors must be one number above 0 for each frame")
    weighted = design.matrix / sigma[:, None]
    scale = np.sqrt(np.sum(weighted * weighted, axis=0))
    n_terms = len(design.names)
    if not np.all(np.isfinite(weighted)) or not np.all(scale > 0) or np.linalg.matrix_rank(weighted / scale) < n_terms:
        raise Refused(f"{n_frames} frames do not determine {', '.join(design.names)}: their variables do not differ enough")
    basis, upper = np.linalg.qr(weighted / scale)
    back = np.linalg.inv(upper) / scale[:, None]
    error = np.sqrt(np.sum(back * back, axis=1))
    return Solver(1.0 / sigma, np.ascontiguousarray(basis), np.ascontiguousarray(np.triu(back)), error, frame_sigma is not None)


def _empty(shape: tuple[int, int], n_terms: int, errors: bool) -> FitRows:
    return FitRows(
        np.empty((n_terms, *shape), np.float32),
        np.empty((n_terms, *shape), np.float32) if errors else None,
        np.empty(shape, np.float32) if errors else None,
        np.empty(shape, np.uint16),
    )


class _Job:
    """One fit: frames, what is done to them, and the planes."""

    def __init__(self, frames: list[OpenedFrame], calibrations: list[FrameCalibration], solver: Solver, out: FitRows) -> None:
        self.frames, self.calibrations, self.solver, self.out = frames, calibrations, solver, out
        for frame, calibration in zip(frames, calibrations, strict=True):
            calibration.check(frame.shape, frame.name)

    def run(self, kernel: str, threads: int, memory_bytes: int) -> None:
        """Fit everything."""
        images = self._whole() if kernel != "numpy" else None
        if images is not None and fits.can_do(images, self.solver):
            bad = fits.fit_images(images, self.solver, self.out, self._mend, threads=threads, memory_bytes=memory_bytes)
            if bad is not None:
                self.frames[bad].rows(0, self.frames[bad].shape[0], {})  # says what is wrong with it
                raise TransientError(f"{self.frames[bad].name}: could not be read, and then it could")
            return

        def work(y0: int, y1: int, rows: list[FrameRows]) -> None:
            prepared = [c.apply_to(frame, y0, y1) for frame, c in zip(rows, self.calibrations, strict=True)]
            part = self.out.part(y0, y1)
            fits.fit_rows(prepared, self.solver, part)
            self._mend_rows(prepared, part)

        run_slabs(self.frames, work, memory_bytes=memory_bytes, threads=threads)

    def _whole(self) -> list[FrameRows] | None:
        images = [frame.whole() for frame in self.frames]
        ready = [image for image in images if image is not None]
        if len(ready) < len(images):
            return None
        return [c.apply_to(image, 0, self.frames[0].shape[0]) for image, c in zip(ready, self.calibrations, strict=True)]

    def _mend(self, y0: int, y1: int) -> None:
        """Fit the pixels of rows y0..y1 that miss a value, if any."""
        part = self.out.part(y0, y1)
        if np.all(part.count == len(self.frames)):
            return
        rows = [c.apply_to(frame.rows(y0, y1, {}), y0, y1) for frame, c in zip(self.frames, self.calibrations, strict=True)]
        self._mend_rows(rows, part)

    def _mend_rows(self, rows: list[FrameRows], part: FitRows) -> None:
        y, x = np.nonzero(part.count < len(self.frames))
        if y.size == 0:
            return
        values = np.empty((len(rows), y.size))
        for i, frame in enumerate(rows):
            values[i] = physical(frame, slice(None), "f8").reshape(part.count.shape)[y, x]
        for start in range(0, y.size, SOLVE_AT_ONCE):
            chosen = slice(start, start + SOLVE_AT_ONCE)
            where = (y[chosen], x[chosen])
            coefficients, errors, scatter = solve_lacking(values[:, chosen], self.solver)
            part.coefficients[(slice(None), *where)] = coefficients
            if part.errors is not None and part.scatter is not None:
                part.errors[(slice(None), *where)] = errors
                part.scatter[where] = scatter


def solve_lacking(values: F8, solver: Solver) -> tuple[F8, F8, F8]:
    """Coefficients and errors [term, pixel] and scatter [pixel] of columns ``values`` [frame, pixel] that hold NaN."""
    good = np.isfinite(values)
    weighted = np.where(good, values * solver.weight[:, None], 0.0)
    n_terms = solver.basis.shape[1]
    normal = np.einsum("ip,ij,ik->pjk", good.astype(np.float64), solver.basis, solver.basis)
    determined = np.linalg.eigvalsh(normal)[:, 0] > LEAST_PIVOT
    normal[~determined] = np.eye(n_terms)
    inverse = np.linalg.inv(normal)
    q = np.einsum("pjk,ik,ip->jp", inverse, solver.basis, weighted)
    freedom = good.sum(axis=0) - n_terms
    residual = np.where(good, weighted - solver.basis @ q, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        scatter = np.where(freedom > 0, np.sqrt(np.sum(residual * residual, axis=0) / freedom), np.nan)
    unit = np.sqrt(np.einsum("jk,pkl,jl->jp", solver.back, inverse, solver.back))
    errors = unit if solver.known_errors else unit * scatter
    coefficients = solver.back @ q
    for plane in (coefficients, errors, scatter):
        plane[..., ~determined] = np.nan
    return coefficients, errors, scatter
