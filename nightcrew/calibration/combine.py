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

from nightcrew.calibration.job import CombineJob, FrameInfo, Kernel, Output, Sink, check_options, empty_rows
from nightcrew.calibration.kernels.slab import OutRows
from nightcrew.calibration.methods import Clip, rule
from nightcrew.calibration.normalisation import FrameCalibration, Normalise
from nightcrew.calibration.sources import Source
from nightcrew.calibration.weights import Weights
from nightcrew.errors import RejectedInput

PLANES = ("result", "uncertainty", "count", "mask")
DEFAULT_MEMORY_BYTES = 64 << 20


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
    check_options(inputs, per_frame, planes, dtype, threads)
    chosen = rule(method, clip=clip, quantile=quantile, n_frames=len(inputs), weighted=weights is not None)
    with CombineJob(inputs, chosen, normalise=normalise, weights=weights, per_frame=per_frame, threads=threads) as job:
        names = frozenset(planes)
        out = empty_rows(job.shape, names, dtype)
        job.run(Output(names, dtype, planes=out), memory_bytes=memory_bytes, kernel=kernel)
    if unit is not None:
        _to_unit(out, unit)
    return Combined(result=out.result, uncertainty=out.uncertainty, count=out.count, mask=out.mask, frames=job.infos())


def combine_to(
    sink: Sink,
    inputs: Sequence[Source],
    *,
    method: str = "median",
    quantile: float | None = None,
    clip: Clip | None = None,
    normalise: Normalise | None = None,
    weights: Weights | None = None,
    per_frame: Sequence[FrameCalibration | None] | None = None,
    planes: Sequence[str] = PLANES,
    dtype: str = "f4",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    threads: int = 2,
    kernel: Kernel = "auto",
) -> tuple[FrameInfo, ...]:
    """Combine as :func:`combine` does, but give rows away as they are done: no plane is ever held whole.

    ``sink(y0, rows)`` is called once for every slab, in any order and from several threads; ``rows`` has the planes of ``planes``.
    """
    check_options(inputs, per_frame, planes, dtype, threads)
    chosen = rule(method, clip=clip, quantile=quantile, n_frames=len(inputs), weighted=weights is not None)
    with CombineJob(inputs, chosen, normalise=normalise, weights=weights, per_frame=per_frame, threads=threads) as job:
        job.run(Output(frozenset(planes), dtype, sink=sink), memory_bytes=memory_bytes, kernel=kernel)
    return job.infos()


def _to_unit(out: OutRows, unit: str) -> None:
    """Divide result and uncertainty by the result's mean or median over its finite pixels."""
    good = out.result[np.isfinite(out.result)]
    level = 0.0
    if good.size:
        level = float(np.median(good)) if unit == "median" else float(np.mean(good, dtype=np.float64))
    if level == 0:
        raise RejectedInput(f"the {unit} of the combined frame is 0 or it has no good pixel, so it cannot be brought to unit {unit}")
    out.result /= level
    if out.uncertainty is not None:
        out.uncertainty /= level
