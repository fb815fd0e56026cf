"""photonica's tables: noises of a crop per frame, and per temperature and exposure.

The quantities are those of photonica where it is right (its names are kept); what was wrong in it is done otherwise:
groups never mix kinds or filters, temperatures agree within a tolerance, variances are made in float64 from all frames of a group,
and what cannot be determined is empty with its reason.  All in DN; read noise of a bias group is spatial, as photonica's, and
the temporal one stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Crop = NDArray[Any]

SUMMARY_COLUMNS = (
    "ccd_temp",
    "exptime",
    "img_type",
    "avg_signal",
    "avg_signal-offset",
    "avg_std_dev",
    "delta_std_dev",
    "total_noise",
    "shot+read",
    "read(DN)",
    "FPN",
    "sig_shot",
    "offset_correction",
)
"""photonica's own, in its order."""
SUMMARY_MORE = ("filter", "frames", "pairs", "temporal_read(DN)", "verdict", "set_up")
ELECTRONS = ("total_noise", "shot+read", "read(DN)", "FPN", "sig_shot")
DATA_SET_COLUMNS = (
    "file",
    "img_type",
    "exptime",
    "ccd_temp",
    "ff_geometry",
    "crop_geometry",
    "min",
    "max",
    "signal",
    "std_dev",
    "data",
    "offset",
    "signal-offset",
    "read(DN)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasLevel:
    """What the biases of one temperature say: ``offset`` (mean level), spatial and temporal read noise, in DN; None with few frames."""

    offset: float
    spatial_read: float
    temporal_read: float | None
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNoise:
    """One row of the summary, in DN.  ``reason`` says why values are None."""

    signal: float
    signal_minus_offset: float | None
    total_noise: float
    difference_std: float | None
    shot_and_read: float | None
    read: float | None
    fixed_pattern: float | None
    signal_shot: float | None
    pairs: int
    reason: str


def bias_level(crops: Sequence[Crop]) -> BiasLevel:
    """Offset and read noise from the crops of the biases of one temperature (at least one)."""
    spreads = [float(np.std(_finite(crop), dtype=np.float64)) for crop in crops]
    level = float(np.mean([np.mean(_finite(crop), dtype=np.float64) for crop in crops]))
    variance, pairs = difference_variance(crops)
    temporal = math.sqrt(variance / 2) if pairs else None
    return BiasLevel(offset=level, spatial_read=float(np.mean(spreads)), temporal_read=temporal, frames=len(crops))


def difference_variance(crops: Sequence[Crop]) -> tuple[float, int]:
    """Mean variance (ddof 0) of the differences of all pairs, in float64, and how many pairs there are; (nan, 0) without one.

    It is twice the pixel-wise variance (n - 1) of all n frames, each less its own mean, over the pixels that are finite in all of them;
    for two frames photonica's ``delta_std_dev`` squared.  Frames without a finite pixel take no part.
    """
    frames = [crop for crop in crops if _finite(crop).size]
    n, finite = len(frames), np.ones(frames[0].shape if frames else 0, np.bool_)
    for frame in frames:
        finite &= np.isfinite(frame)
    if n < 2 or not finite.any():
        return math.nan, 0
    mean = np.zeros(int(np.count_nonzero(finite)))
    for frame in frames:  # one after the other: no second set of all frames is held
        mean += _centred(frame[finite]) / n
    square = sum(float(np.square(_centred(frame[finite]) - mean).mean()) for frame in frames)
    return 2 * square / (n - 1), n * (n - 1) // 2


def _centred(values: Crop) -> NDArray[np.float64]:
    return np.asarray(values - values.mean(dtype=np.float64), np.float64)


def _finite(crop: Crop) -> Crop:
    """The pixels that are numbers: masked ones of a float image are not."""
    return crop if crop.dtype.kind in "ui" else crop[np.isfinite(crop)]


def group_noise(crops: Sequence[Crop], bias: BiasLevel | None, offset_correction: float = 0.0) -> GroupNoise:
    """Noises of one group: total, shot and read, read, fixed pattern and signal shot noise (see the module)."""
    signal = float(np.mean([np.mean(_finite(crop), dtype=np.float64) for crop in crops]))
    total = float(np.mean([np.std(_finite(crop), dtype=np.float64) for crop in crops]))
    variance, pairs = difference_variance(crops)
    reasons = [] if bias is not None else ["no bias at this temperature: neither offset nor read noise"]
    if not pairs:
        reasons.insert(0, "needs 1 more: one frame alone has no difference")
    temporal = math.sqrt(variance / 2) if pairs else None
    read = None if bias is None else bias.spatial_read
    fixed = _left_of(total, temporal, "the fixed pattern is below what noise lets see: total noise does not exceed shot+read", reasons)
    shot = _left_of(temporal, read, "no signal shot noise: shot+read does not exceed the read noise", reasons)
    return GroupNoise(
        signal=signal,
        signal_minus_offset=None if bias is None else signal - bias.offset - offset_correction,
        total_noise=total,
        difference_std=math.sqrt(variance) if pairs else None,
        shot_and_read=temporal,
        read=read,
        fixed_pattern=fixed,
        signal_shot=shot,
        pairs=pairs,
        reason="; ".join(reasons),
    )


def _left_of(whole: float | None, part: float | None, why_not: str, reasons: list[str]) -> float | None:
    """sqrt(whole^2 - part^2); None, with its reason added, where that is negative."""
    if whole is None or part is None:
        return None
    rest = whole**2 - part**2
    if rest < 0:
        reasons.append(why_not)
        return None
    return math.sqrt(rest)
