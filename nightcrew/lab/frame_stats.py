"""``frame_stats.csv``: mean, median, scatter and percentiles of every frame, over all of its pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.images import ImageFile
from nightcrew.lab.records import LabFrame
from nightcrew.lab.tables import write_table

COLUMNS = ("PATH", "CALTYPE", "TEMP", "EXPTIME", "MEAN", "MEDIAN", "STD", "P16", "P84", "STAGE", "DOSE", "ATTEMPT", "TIMESTAMP", "FILTER")


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Of one frame, in adu: mean, median, population standard deviation, percentiles 16 and 84 (interpolated), extremes."""

    mean: float
    median: float
    std: float
    p16: float
    p84: float
    lowest: float
    highest: float


def stats_of(pixels: NDArray[Any]) -> FrameStats:
    """Statistics of the finite pixels; 16-bit frames by their histogram, which is exact.  RejectedInput when no pixel is finite."""
    if pixels.dtype in (np.uint8, np.uint16):
        return _of_counts(np.bincount(pixels.reshape(-1)))
    values = pixels[np.isfinite(pixels)].astype(np.float64)
    if values.size == 0:
        raise RejectedInput("the frame has no finite pixel")
    p16, median, p84 = np.percentile(values, (16, 50, 84))
    return FrameStats(
        float(values.mean()), float(median), float(values.std()), float(p16), float(p84), float(values.min()), float(values.max())
    )


def _of_counts(counts: NDArray[np.intp]) -> FrameStats:
    level = np.arange(counts.size, dtype=np.float64)
    total = int(counts.sum())
    mean = float(counts @ level) / total
    std = float(np.sqrt(counts @ (level - mean) ** 2 / total))
    upto = np.cumsum(counts)

    def percentile(share: float) -> float:
        place = share * (total - 1)
        low, high = (float(np.searchsorted(upto, k, side="right")) for k in (np.floor(place), np.ceil(place)))
        return low + (high - low) * float(place - np.floor(place))

    present = np.flatnonzero(counts)
    return FrameStats(mean, percentile(0.5), std, percentile(0.16), percentile(0.84), float(present[0]), float(present[-1]))


def stats_of_frames(frames: Sequence[LabFrame], *, threads: int = 2) -> list[FrameStats]:
    """Statistics of every frame, read one after the other on each thread."""

    def one(frame: LabFrame) -> FrameStats:
        with ImageFile(frame.path) as image:
            return stats_of(image.read())

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(one, frames))


def write_frame_stats(path: Path, frames: Sequence[LabFrame], stats: Sequence[FrameStats]) -> Path:
    """Write the table; PATH is relative to its folder."""
    rows = (
        {
            "PATH": os.path.relpath(frame.path, path.parent),
            "CALTYPE": frame.caltype,
            "TEMP": frame.temperature_c,
            "EXPTIME": frame.exposure_s,
            "MEAN": one.mean,
            "MEDIAN": one.median,
            "STD": one.std,
            "P16": one.p16,
            "P84": one.p84,
            "STAGE": frame.stage,
            "DOSE": frame.dose_krad,
            "ATTEMPT": frame.attempt,
            "TIMESTAMP": None if frame.timestamp_s is None else f"{frame.timestamp_s!r}",
            "FILTER": frame.filter,
        }
        for frame, one in zip(frames, stats, strict=True)
    )
    return write_table(path, COLUMNS, rows)
