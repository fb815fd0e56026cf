"""Which frames belong together: set-ups of the camera, temperatures within a tolerance, groups of equal exposures with a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from nightcrew.frames.model import FrameHeader
from nightcrew.sensor.frames import SensorFrame, in_order

TEMPERATURE_TOLERANCE_C = 0.5
SAME_EXPOSURE = 1e-3  # of the exposure: what a shutter's measured time differs by from frame to frame
LEAST_FRAMES = 2  # two frames make a difference, and only differences tell noise from pattern
KINDS = ("bias", "dark", "flat", "light")
Lights = Literal["leave out", "as flats", "keep"]


@dataclass(frozen=True, slots=True, order=True)
class SetUp:
    """What must agree for frames to tell of one and the same sensor."""

    camera: str
    detector: str
    geometry: str
    gain_setting: str
    offset_setting: str
    readout_mode: str

    @classmethod
    def of(cls, header: FrameHeader) -> SetUp:
        """The set-up of a frame."""
        return cls(
            camera=header.camera,
            detector=header.detector,
            geometry=header.geometry,
            gain_setting=header.gain_setting,
            offset_setting=header.offset_setting,
            readout_mode=header.readout_mode,
        )

    @property
    def label(self) -> str:
        """For people: what is known of it."""
        gain = f"gain {self.gain_setting}" if self.gain_setting else ""
        return ", ".join(filter(None, (self.camera, self.detector, self.geometry, gain, self.offset_setting, self.readout_mode)))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Frames of one set-up that are equal in everything but time.

    ``temperature_c`` is the median of the frames' temperature bin (None: not in the headers), ``exposure_s`` that of their exposures;
    ``reason`` is empty when the group is large enough, else it says what lacks.
    """

    set_up: SetUp
    kind: str
    temperature_c: float | None
    exposure_s: float
    filter: str
    flooded: bool
    frames: tuple[SensorFrame, ...]
    reason: str = ""

    @property
    def verdict(self) -> str:
        """``enough`` or what lacks."""
        return self.reason or "enough"

    @property
    def label(self) -> str:
        """``dark 60 s at -10.0 C`` for sentences."""
        warm = "" if self.temperature_c is None else f" at {self.temperature_c:.1f} C"
        light = f" in {self.filter}" if self.filter else ""
        return f"{'flooded ' if self.flooded else ''}{self.kind} {self.exposure_s:g} s{light}{warm}"


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """All groups, sorted; frames that fit nowhere with their reason; remarks on the grouping itself."""

    groups: tuple[Group, ...]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]

    def of(self, set_up: SetUp) -> tuple[Group, ...]:
        """The groups of one set-up."""
        return tuple(group for group in self.groups if group.set_up == set_up)

    @property
    def set_ups(self) -> tuple[SetUp, ...]:
        """The set-ups, the one with most frames first."""
        counts: dict[SetUp, int] = defaultdict(int)
        for group in self.groups:
            counts[group.set_up] += len(group.frames)
        return tuple(sorted(counts, key=lambda set_up: (-counts[set_up], set_up)))


def same_exposure(one_s: float, other_s: float) -> bool:
    """Whether two exposure times are one, but for how they were measured or written: a microsecond or a thousandth apart."""
    return abs(one_s - other_s) <= max(1e-6, SAME_EXPOSURE * max(one_s, other_s))


def one_exposure(exposures_s: Iterable[float]) -> dict[float, float]:
    """Each exposure -> the median of those that are one with it, to 6 digits.  Every cluster lies within the tolerance of its shortest."""
    clusters: list[list[float]] = []
    for value in sorted(exposures_s):
        if clusters and same_exposure(clusters[-1][0], value):
            clusters[-1].append(value)
        else:
            clusters.append([value])
    return {value: float(f"{median(members):.6g}") for members in clusters for value in members}  # 0.1 + 0.2 is 0.3


def temperature_bins(temperatures_c: Iterable[float], tolerance_c: float = TEMPERATURE_TOLERANCE_C) -> dict[float, float]:
    """Each temperature -> the median of its bin.  Sorted values are split at gaps of more than ``tolerance_c``: a function of the set."""
    ordered = sorted(set(temperatures_c))
    bins: list[list[float]] = []
    for value in ordered:
        if bins and value - bins[-1][-1] <= tolerance_c:
            bins[-1].append(value)
        else:
            bins.append([value])
    return {value: round(median(members), 2) for members in bins for value in members}


def group_frames(frames: Sequence[SensorFrame], *, tolerance_c: float = TEMPERATURE_TOLERANCE_C, lights: Lights = "leave out") -> Grouping:
    """Group by set-up, kind, temperature bin, exposure, filter and flood; never by exposure alone, so darks and flats stay apart."""
    left_out: list[tuple[str, str]] = []
    equal: dict[tuple[SetUp, str, float | None, str, bool], list[SensorFrame]] = defaultdict(list)
    usable = []
    for frame in frames:
        if reason := _unusable(frame, lights):
            left_out.append((frame.name, reason))
        else:
            usable.append(frame)
    bins, remarks = _all_bins(usable, tolerance_c)
    for frame in usable:
        header, set_up = frame.header, SetUp.of(frame.header)
        kind = "flat" if header.kind == "light" and lights == "as flats" else header.kind
        warm = None if header.temperature_c is None else bins[set_up][header.temperature_c]
        light = header.filter if kind in ("flat", "light") else ""
        equal[set_up, kind, warm, light, frame.flooded and kind == "dark"].append(frame)
    groups = [
        _judged(Group(set_up=s, kind=k, temperature_c=t, exposure_s=e, filter=f, flooded=fl, frames=in_order(found)))
        for (s, k, t, f, fl), several in equal.items()
        for e, found in _by_exposure(several, k).items()
    ]
    groups.sort(
        key=lambda g: (
            g.set_up,
            KINDS.index(g.kind),
            g.flooded,
            -300.0 if g.temperature_c is None else g.temperature_c,
            g.filter,
            g.exposure_s,
        )
    )
    return Grouping(groups=tuple(groups), left_out=tuple(left_out), remarks=remarks)


def _by_exposure(frames: Sequence[SensorFrame], kind: str) -> dict[float, list[SensorFrame]]:
    times = [0.0 if kind == "bias" else frame.header.exposure_s or 0.0 for frame in frames]
    typical, found = one_exposure(times), dict[float, list[SensorFrame]]()
    for frame, time in zip(frames, times, strict=True):
        found.setdefault(typical[time], []).append(frame)
    return found


def _unusable(frame: SensorFrame, lights: Lights) -> str:
    header = frame.header
    if header.kind in KINDS and (header.kind != "light" or lights != "leave out"):
        return "" if header.kind == "bias" or header.exposure_s is not None else f"a {header.kind} without an exposure time"
    if header.kind == "light":
        return "a light frame: only biases, darks and flats tell of the sensor (--lights-are-flats takes it for a flat)"
    return header.other_reason or f"a {header.kind} frame tells nothing of the sensor"


def _all_bins(frames: Sequence[SensorFrame], tolerance_c: float) -> tuple[dict[SetUp, dict[float, float]], tuple[str, ...]]:
    by_set_up: dict[SetUp, set[float]] = defaultdict(set)
    for frame in frames:
        if frame.header.temperature_c is not None:
            by_set_up[SetUp.of(frame.header)].add(frame.header.temperature_c)
    bins = {set_up: temperature_bins(values, tolerance_c) for set_up, values in by_set_up.items()}
    remarks = []
    for set_up, of_value in sorted(bins.items()):
        for middle in sorted(set(of_value.values())):
            inside = [value for value, where in of_value.items() if where == middle]
            if max(inside) - min(inside) > 2 * tolerance_c:
                remarks.append(
                    f"the temperature drifted from {min(inside):.2f} to {max(inside):.2f} C in one bin of {set_up.label or 'the camera'}"
                )
    return bins, tuple(remarks)


def _judged(group: Group) -> Group:
    lacking = LEAST_FRAMES - len(group.frames)
    if lacking <= 0:
        return group
    return replace(group, reason=f"needs {lacking} more: one frame alone has no difference to another")
