"""A frame of a campaign as the analysis sees it: where it is from, when and how it was taken, and its dose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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
    """Frames by time.  One without a time stands between its neighbours in its folder's numbering; without any time: folder and number.

    A folder without a time is spread evenly over the times of the others of its stage and dose.
    """
    found = _times(frames)
    if not found:
        return sorted(frames, key=Frame.order)

    def place(frame: Frame) -> tuple[float, tuple[object, ...]]:
        return found.get(frame.relative, -math.inf if frame.stage == "pre" else math.inf), frame.order()

    return sorted(frames, key=place)


def _times(frames: Sequence[Frame]) -> dict[str, float]:
    """Time of each frame, its own or one between those of its neighbours; nothing for frames that nothing places."""
    folders: dict[str, list[Frame]] = {}
    for frame in sorted(frames, key=Frame.order):
        folders.setdefault(frame.folder, []).append(frame)
    found: dict[str, float] = {}
    for inside in folders.values():
        known = [(place, frame.time_s) for place, frame in enumerate(inside) if frame.time_s is not None]
        if len(known) == len(inside):
            found |= {frame.relative: frame.time_s for frame in inside if frame.time_s is not None}
        elif known:
            between = np.interp(np.arange(len(inside)), [place for place, _ in known], [time for _, time in known]).tolist()
            found |= {f.relative: f.time_s if f.time_s is not None else time for f, time in zip(inside, between, strict=True)}
    steps: dict[tuple[object, ...], list[float]] = {}
    for frame in frames:
        if frame.relative in found:
            steps.setdefault((frame.campaign, frame.stage, frame.nominal_dose_krad), []).append(found[frame.relative])
    for inside in folders.values():
        beside = steps.get((inside[0].campaign, inside[0].stage, inside[0].nominal_dose_krad))
        if inside[0].relative not in found and beside:
            first, span = min(beside), max(beside) - min(beside)
            found |= {frame.relative: first + span * (place + 0.5) / len(inside) for place, frame in enumerate(inside)}
    return found


def places_in_step(frames: Sequence[Frame]) -> list[tuple[Frame, float]]:
    """Frames of one dose step in the order in which they were taken, each with the part of the step that was then over.

    By time; without any, by number where every number is there once.  Else kinds and exposures lie side by side, each evenly over the
    step: the order of their names says nothing of time.
    """
    if any(frame.time_s is not None for frame in frames):
        return _evenly(in_time_order(frames))
    numbers = [frame.number for frame in frames]
    if None not in numbers and len(set(numbers)) == len(numbers):
        return _evenly(sorted(frames, key=lambda frame: frame.number or 0))
    series: dict[tuple[str, str], list[Frame]] = {}
    for frame in sorted(frames, key=Frame.order):
        series.setdefault((frame.kind, "" if frame.kind == "BIAS" else f"{frame.exposure_s or 0:.3g}"), []).append(frame)
    placed = [one for inside in series.values() for one in _evenly(inside)]
    return sorted(placed, key=lambda one: (one[1], one[0].order()))


def _evenly(frames: Sequence[Frame]) -> list[tuple[Frame, float]]:
    return [(frame, place / len(frames)) for place, frame in enumerate(frames, start=1)]
