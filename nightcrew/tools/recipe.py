"""The GODO reduction as a plan: which frames belong together, and which disagree and why.

Pure: normalised headers in, groups out.  :mod:`nightcrew.tools.recipe_run` does the pixels.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightcrew.frames.model import FrameHeader
from nightcrew.frames.text import slug
from nightcrew.planning.groups import by_key, split_at_gaps

KINDS = ("bias", "dark", "flat", "light")
_FACTS = (
    ("camera", "camera"),
    ("geometry", "size, window and binning"),
    ("gain_setting", "gain setting"),
    ("offset_setting", "offset setting"),
    ("readout_mode", "readout mode"),
)


@dataclass(frozen=True, slots=True)
class NightFrame:
    """A file and its normalised header."""

    path: Path
    header: FrameHeader

    @property
    def exposure_s(self) -> float:
        """The exposure, 0 for a bias without one."""
        return self.header.exposure_s or 0.0


@dataclass(frozen=True, slots=True)
class SetUp:
    """Frames that may be combined with and applied to each other; ``number`` counts from 1, the largest set-up first."""

    number: int
    frames: tuple[NightFrame, ...]

    def of(self, kind: str) -> list[NightFrame]:
        """Frames of one kind, in time and then by name."""
        return sorted((f for f in self.frames if f.header.kind == kind), key=lambda f: (f.header.time_utc, f.path.name))

    @property
    def temperature_c(self) -> float | None:
        """Median sensor temperature, ``None`` when no header has one."""
        values = [f.header.temperature_c for f in self.frames if f.header.temperature_c is not None]
        return statistics.median(values) if values else None

    def describe(self) -> str:
        """The set-up in a line, for people."""
        header = self.frames[0].header
        parts = [header.camera, header.geometry, f"gain {header.gain_setting}" if header.gain_setting else "", header.readout_mode]
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.1f} C")
        counts = ", ".join(f"{len(self.of(kind))} {kind}" for kind in KINDS if self.of(kind))
        return f"set-up {self.number}: {', '.join(part for part in parts if part)} ({counts})"


def set_ups(frames: Sequence[NightFrame], *, temperature_gap_c: float = 1.5) -> list[SetUp]:
    """Group frames by camera, geometry, gain and offset setting, readout mode, and clusters of temperature; the largest group first.

    Temperatures further apart than ``temperature_gap_c`` split a group; frames without one go with the largest cluster.
    """
    groups: list[list[NightFrame]] = []
    for same in by_key(frames, lambda f: tuple(str(getattr(f.header, name)) for name, _ in _FACTS)):
        clusters = split_at_gaps(same, lambda f: f.header.temperature_c, temperature_gap_c)
        if len(clusters) > 1 and clusters[-1][0].header.temperature_c is None:
            unknown = clusters.pop()
            max(clusters, key=len).extend(unknown)
        groups += clusters
    groups.sort(key=lambda group: (-len(group), min(f.path.name for f in group)))
    return [SetUp(number, tuple(group)) for number, group in enumerate(groups, 1)]


def disagreements(groups: Sequence[SetUp]) -> list[str]:
    """For every set-up but the largest: its frames, and in what they differ from the largest, one sentence each."""
    sentences = []
    for other in groups[1:]:
        first, own = groups[0].frames[0].header, other.frames[0].header
        said = [(words, _said(own, name), _said(first, name)) for name, words in _FACTS]
        reasons = [f"{words} {here} instead of {usual}" for words, here, usual in said if here != usual]
        if not reasons:
            reasons = [f"temperature {_celsius(other)} instead of {_celsius(groups[0])}"]
        sentences.append(f"{names(other.frames)}: {'; '.join(reasons)}")
    return sentences


def names(frames: Sequence[NightFrame], most: int = 4) -> str:
    """The first few file names and how many more there are."""
    shown = ", ".join(f.path.name for f in frames[:most])
    return shown + (f" and {len(frames) - most} more" if len(frames) > most else "")


def by_exposure(frames: Sequence[NightFrame]) -> dict[float, list[NightFrame]]:
    """Frames of (nearly) equal exposure together, keyed by the exposure that most of them have, shortest first."""
    clusters = split_at_gaps(frames, lambda f: f.exposure_s, 1e-3, relative=True)
    return {Counter(f.exposure_s for f in cluster).most_common(1)[0][0]: cluster for cluster in clusters}


def by_target(frames: Sequence[NightFrame]) -> dict[tuple[str, str, float], list[NightFrame]]:
    """Lights by target, filter and exposure (means of unlike exposures mean nothing)."""
    found: dict[tuple[str, str, float], list[NightFrame]] = {}
    for exposure_s, same in by_exposure(frames).items():
        for group in by_key(same, lambda f: (f.header.target, f.header.filter)):
            found[group[0].header.target, group[0].header.filter, exposure_s] = group
    return found


def odd_frames(levels: Sequence[float], scatters: Sequence[float], *, limit: float = 5.0) -> dict[int, str]:
    """Places of frames that do not belong to their siblings, each with the reason; needs three frames to tell which is odd.

    A frame is odd when its level, or its scatter over the box, lies more than ``limit`` robust sigmas from the median of all.  The robust
    sigma (1.4826 MAD) is never taken smaller than 2 % of the scatter of a pixel.
    """
    if len(levels) < 3:
        return {}
    least = 0.02 * float(np.median(scatters))
    found: dict[int, str] = {}
    for words, values in (("level", levels), ("scatter", scatters)):
        array = np.asarray(values, np.float64)
        middle = float(np.median(array))
        sigma = max(1.4826 * float(np.median(np.abs(array - middle))), least)
        for place in np.flatnonzero(~(np.abs(array - middle) <= limit * sigma)):
            found.setdefault(int(place), f"its {words} in the box is {array[place]:.2f}, the others' {middle:.2f}")
    return found


def label(text: str) -> str:
    """``text`` as part of a file name; ``none`` when it is empty."""
    return slug(text) or "none"


def _said(header: FrameHeader, name: str) -> str:
    return str(getattr(header, name)) or "(not given)"


def _celsius(group: SetUp) -> str:
    return "(not given)" if group.temperature_c is None else f"{group.temperature_c:.1f} C"
