"""Weights of the frames in a weighted mean: given, or from each frame's level, noise or exposure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from nightcrew.calibration.normalisation import FrameCalibration, good_values, statistic_of
from nightcrew.calibration.opened_frame import OpenedFrame
from nightcrew.errors import Refused, RejectedInput

BY_NAME = ("mean", "median", "sum", "inverse_variance", "exposure")
Weights = Sequence[float] | str


def frame_weights(
    frames: Sequence[OpenedFrame], calibrations: Sequence[FrameCalibration], wanted: Weights, threads: int
) -> tuple[list[float], bool]:
    """One weight a frame, and whether each pixel's own 1 / sigma^2 is to be used instead.

    ``wanted``: numbers of at least 0, or ``mean``, ``median``, ``sum`` (of the calibrated, normalised frame), ``exposure`` (seconds), or
    ``inverse_variance``: pixel by pixel from the frames' own uncertainties, or, where they have none, 1 / variance of the whole frame.
    A frame of weight 0 takes no part at all.  Raises ``Refused`` for weights that cannot be used, ``RejectedInput`` for a frame that
    gives none.
    """
    if not isinstance(wanted, str):
        return _given(wanted, len(frames)), False
    if wanted not in BY_NAME:
        raise Refused(f"there are no weights by {wanted!r}; give numbers or one of {', '.join(BY_NAME)}")
    if wanted == "exposure":
        return [_exposure(frame) for frame in frames], False
    if wanted == "inverse_variance" and all(frame.has_uncertainty for frame in frames):
        return [1.0] * len(frames), True
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda frame, calibration: _by_statistic(frame, calibration, wanted), frames, calibrations)), False


def _given(wanted: Sequence[float], n_frames: int) -> list[float]:
    weights = [float(weight) for weight in wanted]
    if len(weights) != n_frames:
        raise Refused(f"{len(weights)} weights for {n_frames} frames")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise Refused("weights must be finite numbers of at least 0, and not all 0")
    return weights


def _exposure(frame: OpenedFrame) -> float:
    if frame.exposure_s is None or not frame.exposure_s > 0:
        raise RejectedInput(f"{frame.name}: has no exposure time to weight it by")
    return frame.exposure_s


def _by_statistic(frame: OpenedFrame, calibration: FrameCalibration, wanted: str) -> float:
    values = good_values(frame, calibration, None, None)
    if values.size == 0:
        raise RejectedInput(f"{frame.name}: has no good pixel to weight it by")
    if wanted == "inverse_variance":
        variance = float(np.var(values, dtype=np.float64))
        if variance == 0:
            raise RejectedInput(f"{frame.name}: all its pixels are equal, so it has no inverse variance")
        return 1.0 / variance
    weight = statistic_of(values, wanted)
    if weight < 0:
        raise RejectedInput(f"{frame.name}: its {wanted} is {weight:g}, and a weight cannot be below 0")
    return weight
