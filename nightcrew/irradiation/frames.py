"""A frame of a campaign as the analysis sees it: where it is from, when and how it was taken, and its dose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nightcrew.irradiation.tokens import Stage, natural


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.  ``relative``: its name inside the campaign's root; ``folder``: that of its attempt (frames of one numbering).

    Unknown numbers are None.  ``nominal_dose_krad``: what the folder's name says.
    """

    path: Path
    relative: str
    campaign: str
    folder: str
    kind: str
    stage: Stage | None
    number: int | None = None
    time_s: float | None = None
    exposure_s: float | None = None
    temperature_c: float | None = None
    nominal_dose_krad: float | None = None
    dataset: str = ""
    bad: str = ""

    def order(self) -> tuple[object, ...]:
        """Sorting key of frames without times: folder, then number, then name."""
        return (natural(self.folder), self.number if self.number is not None else -1, natural(self.relative))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDose:
    """Dose of a frame in kRad and where it comes from.

    ``source``: ``time`` (interpolated in a log by time), ``number`` (row of a log by folder and frame number), ``position`` (row of a
    log by order), ``nominal`` (the folder's dose spread in time order), ``stage`` (before or after the beam), or ``none``.
    ``rate_krad_per_s``: robust slope of the run of the beam in which the frame was taken; 0 out of the beam, NaN unknown.
    ``since_end_s``: seconds since the end of the beam (NaN before it or unknown).  ``remarks``: what does not agree.
    """

    dose_krad: float
    error_krad: float
    rate_krad_per_s: float
    source: str
    stage: Stage
    since_end_s: float = math.nan
    remarks: tuple[str, ...] = field(default=())


def in_time_order(frames: Sequence[Frame]) -> list[Frame]:
    """Frames by time where all have one, else by folder and number."""
    if all(frame.time_s is not None for frame in frames):
        return sorted(frames, key=lambda frame: (frame.time_s or 0.0, frame.order()))
    return sorted(frames, key=lambda frame: frame.order())
