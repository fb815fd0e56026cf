"""Grouping frames: equal keys, clusters of temperature and exposure.  Functions of the set, never of its order."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import TypeVar

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.rows import FrameRow

T = TypeVar("T")
_time_and_content = attrgetter("header.time_utc", "sha256")
_ROUNDING = 1 + 1e-9  # 1.1 - 0.1 is a little more than 1
_ODD = re.compile(r"[^A-Za-z0-9+.-]")
EQUAL_FACTS = ("camera", "detector", "geometry", "gain_setting", "offset_setting", "readout_mode")
"""What must be equal for frames to be combined or applied to each other."""

BIAS_TAKEN_OFF = "its bias was taken off before it came, and with what is not known"
"""By the camera or its program: no bias may be taken off again, nor a dark that holds its own."""

BIAS_WITNESS = "bias_witness"
"""Role of the bias master that a frame without its bias is compared with: nothing is taken off by it."""

Equal = tuple[str, ...]
SET_UP = (
    "camera",
    "detector",
    "nx",
    "ny",
    "window_x0",
    "window_y0",
    "binning_x",
    "binning_y",
    "gain_setting",
    "offset_setting",
    "readout_mode",
)
"""The values of a header that ``equal_keys`` is made of."""


def equal_keys(header: FrameHeader) -> Equal:
    """The values of ``EQUAL_FACTS`` of a frame."""
    return (header.camera, header.detector, header.geometry, header.gain_setting, header.offset_setting, header.readout_mode)


def known_temperature(header: FrameHeader) -> float | None:
    """Sensor temperature in C to 0.01; None when it is not known.  Frames that share a decision are told apart no finer than this."""
    return None if header.temperature_c is None else round(header.temperature_c, 2) + 0.0  # -0.0 would print as another number


def by_key(items: Iterable[T], key: Callable[[T], object]) -> list[list[T]]:
    """Items with equal keys together, groups sorted by their key's text."""
    groups: dict[object, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return [groups[name] for name in sorted(groups, key=repr)]


def split_at_gaps(items: Sequence[T], value: Callable[[T], float | None], gap: float, *, relative: bool = False) -> list[list[T]]:
    """Sort by ``value`` and split where neighbours lie further apart than ``gap`` (or than ``gap`` x value).

    Items without a value form a cluster of their own, last.
    """
    known: list[tuple[float, T]] = []
    unknown: list[T] = []
    for item in items:
        number = value(item)
        if number is None:
            unknown.append(item)
        else:
            known.append((number, item))
    known.sort(key=itemgetter(0))
    clusters: list[list[T]] = []
    last: float | None = None
    for number, item in known:
        limit = gap * max(abs(number), 1e-6) if relative else gap
        if last is None or number - last > limit * _ROUNDING:
            clusters.append([])
        clusters[-1].append(item)
        last = number
    return clusters + ([unknown] if unknown else [])


def median_temperature(frames: Sequence[FrameRow]) -> float | None:
    """Median sensor temperature in C, rounded to 0.01; None when no frame says."""
    values = [f.header.temperature_c for f in frames if f.header.temperature_c is not None]
    return round(statistics.median(values), 2) if values else None


def median_exposure(frames: Sequence[FrameRow]) -> float | None:
    """Median exposure in seconds; None when no frame says."""
    values = [f.header.exposure_s for f in frames if f.header.exposure_s is not None]
    return float(statistics.median(values)) if values else None


def mid_time(frames: Sequence[FrameRow]) -> str:
    """Median start time (a frame's own, the lower one of two): ISO text, "" when no frame says."""
    values = sorted(f.header.time_utc for f in frames if f.header.time_utc)
    return values[(len(values) - 1) // 2] if values else ""


def quiet_since(frames: Sequence[FrameRow], quiet_s: float) -> str:
    """When the group will be (or became) quiet: the last arrival + ``quiet_s``, ledger time."""
    last = max(f.arrived_at for f in frames)
    return (datetime.fromisoformat(last) + timedelta(seconds=quiet_s)).isoformat(timespec="milliseconds")


def in_order(frames: Iterable[FrameRow]) -> list[FrameRow]:
    """The one order of frames in products: by time, then content hash; the same in every ledger."""
    return sorted(frames, key=_time_and_content)


def plain(text: str) -> str:
    """Text as a part of a key or a file name: letters, digits and ``+-.`` stay, all else becomes ``-``."""
    return _ODD.sub("-", text.strip()).strip("-.")[:40]


def exposure_text(exposure_s: float | None) -> str:
    """``60s``, ``0.5s``, ``3.2e-05s``, ``unknown-exposure``."""
    return "unknown-exposure" if exposure_s is None else f"{exposure_s:.6g}s"


def temperature_text(temperature_c: float | None) -> str:
    """``-18.8C`` or ``unknown-temperature``."""
    return "unknown-temperature" if temperature_c is None else f"{temperature_c:+.1f}C".replace("+0.0C", "0.0C").replace("-0.0C", "0.0C")
