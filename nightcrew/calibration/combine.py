"""Combine frames pixel by pixel: result, uncertainty, count and mask from one streamed pass.

Rows of all frames are read slab by slab, calibrated, sorted across frames, clipped and reduced; memory does not grow
with the number of frames.  The result depends neither on the order of the frames nor on slabs and threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import fallback, native
from nightcrew.calibration.kernels.slab import FrameRows, OutRows
from nightcrew.calibration.methods import Clip, Rule, rule
from nightcrew.calibration.normalisation import FrameCalibration, Normalise, normalised
from nightcrew.calibration.slabs import run_slabs
from nightcrew.calibration.sources import OpenedFrame, Source, close_all, open_all
from nightcrew.calibration.weights import Weights, frame_weights
from nightcrew.errors import Refused, RejectedInput, TransientError

PLANES = ("result", "uncertainty", "count", "mask")
DEFAULT_MEMORY_BYTES = 64 << 20
Kernel = Literal["auto", "c", "numpy"]


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """What was read and done for one frame."""

    name: str
    exposure_s: float | None = None
    statistic: float | None = None
    scale: float = 1.0
    shift: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """Planes [y, x] of a combination; those that were not asked for are ``None``.

    ``result``: NaN where no frame survived.  ``count``: number of survivors.  ``mask``: ``NO_DATA`` where no frame had a good
    value, ``REJECTED`` where the clip left none.

    ``uncertainty``: one standard deviation of the result.  Where the frames have uncertainties sigma_i of their own:
    sqrt(sum sigma_i^2) / n for the mean, sqrt(sum w_i^2 sigma_i^2) / sum(w_i) for the weighted mean, the mean's times the factors
    below for median and quantile, times n for the sum.  Otherwise, and for other methods, from the scatter of the n
    survivors, s^2 = sum (x - mean)^2 / (n - 1); NaN for n < 2 (one value has no scatter):

    - mean: s / sqrt(n); sum: s sqrt(n).
    - median, quantile q: s / sqrt(n) times sqrt(q (1 - q)) / phi(Phi^-1(q)), for normal noise; for the median the factor
      goes from 1 (n = 2) to sqrt(pi / 2) with the exact small-n values (:func:`nightcrew.calibration.methods.median_variance`).
    - weighted mean: sqrt(n / (n - 1) sum(w_i^2 (x_i - mean)^2)) / sum(w_i).
    - sigma-clipped: as above from the survivors; the scatter that a 3-sigma clip cuts off (1.4 % of s) is not put back.
    - extremes dropped: Winsorised, sqrt(SSD_w / (n (n - 1))), where the dropped values count as their nearest survivors
      (Tukey & McLaughlin 1963, Sankhya A 25, 331), times the factor of the median if that is the method.
    - std: itself / sqrt(2 (n - 1)); var: itself times sqrt(2 / (n - 1)); root mean square r of values with mean mu:
      sqrt((2 s^4 + 4 mu^2 s^2) / n) / (2 r); all for normal noise.  min, max: NaN.
    """

    result: NDArray[Any]
    uncertainty: NDArray[Any] | None = None
    count: NDArray[np.uint16] | None = None
    mask: NDArray[np.uint16] | None = None
    frames: tuple[FrameInfo, ...] = field(default=())


def combine(
    inputs: Sequence[Source],
    *,
    method: str = "median",
    quantile: float | None = None,
    clip: Clip | None = None,
    normalise: Normalise | None = None,
    unit: Literal["mean", "median"] | None = None,
    weights: Weights | None = None,
    per_frame: Sequence[FrameCalibration | None] | None = None,
    planes: Sequence[str] = PLANES,
    dtype: str = "f4",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    threads: int = 2,
    kernel: Kernel = "auto",
) -> Combined:
    """Combine frames of one shape, unit and gain setting.

    ``inputs``: arrays [y, x], paths, open ``ImageFile``s, or :class:`ArraySource` for windows, planes, masks and uncertainties.
    ``method`` and ``clip`` are defined in :mod:`nightcrew.calibration.methods`; ``quantile`` is the argument of that method.
    ``per_frame``: calibration of each frame, before anything else.  NaN and infinite pixels count as masked.
    ``normalise`` brings the calibrated frames to one level; ``unit`` divides result and uncertainty by the result's mean or median.
    ``weights`` (see :func:`nightcrew.calibration.weights.frame_weights`) make a mean a weighted mean.
    ``kernel``: ``c`` or ``numpy`` instead of whichever there is (they agree).
    ``dtype``: type of result and uncertainty, f4 or f8.  ``memory_bytes`` bounds the buffers (the planes of the result come on top).

    Raises ``Refused`` for options that cannot be carried out and frames that do not agree, ``RejectedInput`` for unusable files.
    """
    _check_options(inputs, per_frame, planes, dtype, threads)
    chosen = rule(method, clip=clip, quantile=quantile, n_frames=len(inputs), weighted=weights is not None)
    frames = open_all(inputs)
    try:
        given = [item or FrameCalibration() for item in per_frame or [None] * len(frames)]
        _check_planes(frames, given)
        seen: dict[int, NDArray[np.float32]] = {}
        calibrations = [item.ready(seen) for item in given]
        levels: list[float] | None = None
        if normalise is not None:
            calibrations, levels = normalised(frames, calibrations, normalise, threads)
        weighting = ([1.0] * len(frames), False) if weights is None else frame_weights(frames, calibrations, weights, threads)
        out = _empty_planes(frames[0].shape, planes, dtype)
        _run(frames, calibrations, weighting, chosen, out, memory_bytes=memory_bytes, threads=threads, kernel=kernel)
    finally:
        close_all(frames)
    if unit is not None:
        _to_unit(out, unit)
    return Combined(
        result=out.result,
        uncertainty=out.uncertainty,
        count=out.count,
        mask=out.mask,
        frames=_infos(frames, calibrations, levels, weighting[0]),
    )


def _infos(
    frames: list[OpenedFrame], calibrations: Sequence[FrameCalibration], levels: list[float] | None, weights: list[float]
) -> tuple[FrameInfo, ...]:
    return tuple(
        FrameInfo(
            name=frame.name,
            exposure_s=frame.exposure_s,
            statistic=None if levels is None else levels[i],
            scale=calibrations[i].scale,
            shift=calibrations[i].shift,
            weight=weights[i],
        )
        for i, frame in enumerate(frames)
    )


def _to_unit(out: OutRows, unit: str) -> None:
    """Divide result and uncertainty by the result's mean or median over its finite pixels."""
    good = out.result[np.isfinite(out.result)]
    level = float(np.median(good)) if unit == "median" else float(np.mean(good, dtype=np.float64))
    if not good.size or level == 0:
        raise RejectedInput(f"the {unit} of the combined frame is 0 or it has no good pixel, so it cannot be brought to unit {unit}")
    out.result /= level
    if out.uncertainty is not None:
        out.uncertainty /= level


def _check_options(inputs: Sequence[Source], per_frame: Sequence[Any] | None, planes: Sequence[str], dtype: str, threads: int) -> None:
    if unknown := set(planes) - set(PLANES):
        raise Refused(f"there is no plane {sorted(unknown)[0]!r}; choose from {', '.join(PLANES)}")
    if dtype not in ("f4", "f8"):
        raise Refused(f"results are f4 or f8, not {dtype!r}")
    if per_frame is not None and len(per_frame) != len(inputs):
        raise Refused(f"{len(per_frame)} calibrations for {len(inputs)} frames")
    if threads < 1:
        raise Refused(f"combining needs at least one thread, not {threads}")


def _check_planes(frames: Sequence[OpenedFrame], calibrations: Sequence[FrameCalibration]) -> None:
    for frame, calibration in zip(frames, calibrations, strict=True):
        planes = [plane for plane, _ in calibration.subtract] + ([] if calibration.divide is None else [calibration.divide])
        for plane in planes:
            if plane.shape != frame.shape:
                raise Refused(f"{frame.name}: is {frame.shape}, its calibration plane {plane.shape}")


def _empty_planes(shape: tuple[int, int], planes: Sequence[str], dtype: str) -> OutRows:
    return OutRows(
        result=np.empty(shape, dtype),
        uncertainty=np.empty(shape, dtype) if "uncertainty" in planes else None,
        count=np.empty(shape, np.uint16) if "count" in planes else None,
        mask=np.empty(shape, np.uint16) if "mask" in planes else None,
    )


def _rows_of(out: OutRows, y0: int, y1: int) -> OutRows:
    def cut(plane: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if plane is None else plane[y0:y1]

    return OutRows(result=out.result[y0:y1], uncertainty=cut(out.uncertainty), count=cut(out.count), mask=cut(out.mask))


def _run(
    frames: list[OpenedFrame],
    calibrations: Sequence[FrameCalibration],
    weighting: tuple[list[float], bool],
    chosen: Rule,
    out: OutRows,
    *,
    memory_bytes: int,
    threads: int,
    kernel: Kernel,
) -> None:
    """Stream all slabs through the kernel."""

    def prepare(rows: list[FrameRows], y0: int, y1: int) -> None:
        for frame, calibration, weight in zip(rows, calibrations, weighting[0], strict=True):
            calibration.apply_to(frame, y0, y1)
            frame.weight, frame.weight_by_sigma = weight, weighting[1]

    whole = [frame.whole() for frame in frames] if kernel != "numpy" else [None]
    images = [image for image in whole if image is not None]
    if len(images) == len(frames):
        prepare(images, 0, frames[0].shape[0])
        if native.can_do(images, chosen):
            bad = native.combine_images(images, chosen, out, threads=threads, memory_bytes=memory_bytes)
            if bad is None:
                return
            frames[bad].rows(0, frames[bad].shape[0], {})  # says what is wrong with it
            raise TransientError(f"{frames[bad].name}: could not be read, and then it could")

    def work(y0: int, y1: int, rows: list[FrameRows]) -> None:
        prepare(rows, y0, y1)
        combine_rows(rows, chosen, _rows_of(out, y0, y1), kernel)

    run_slabs(frames, work, memory_bytes=memory_bytes, threads=threads)


def combine_rows(rows: list[FrameRows], chosen: Rule, out: OutRows, kernel: Kernel) -> None:
    """Combine rows in memory with the C kernel, or numpy where there is none."""
    if kernel == "c" or (kernel == "auto" and native.can_do(rows, chosen)):
        native.combine_rows(rows, chosen, out)
    else:
        fallback.combine_rows(rows, chosen, out)
