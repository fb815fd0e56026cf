"""A sensor from its frames: everything that biases, darks and flats can tell, region by region and temperature by temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from nightcrew.sensor.arrhenius import Arrhenius, arrhenius
from nightcrew.sensor.dark_signal import DarkSeries, Residual, dark_series, residual_image
from nightcrew.sensor.flats import FlatResult, flat_result
from nightcrew.sensor.frames import SensorFrame, Window
from nightcrew.sensor.groups import Group, Grouping, SetUp, group_frames
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.regions import Region, crop_of, regions_of
from nightcrew.sensor.transfer_curve import BiasNoise, bias_noise

MOST_DARK_EXPOSURES = 6
SHORTEST_DARK = 0.05
"""Of the longest: shorter darks say nothing of the rate."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Gain in e-/ADU with its error and where it comes from: ``measured`` or ``header`` (then without an error)."""

    value: float
    error: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Read noise of a region at one temperature: in ADU from pairs of biases; in e- when a gain is known."""

    temperature_c: float | None
    bias: BiasNoise
    adu: float | None
    adu_error: float | None


@dataclass(frozen=True, kw_only=True)
class RegionResult:
    """One region: read noise, flats and darks by temperature, and what follows from all of them."""

    region: Region
    noises: tuple[Noise, ...]
    flats: tuple[FlatResult, ...]
    darks: tuple[DarkSeries, ...]
    residuals: tuple[Residual, ...]
    arrhenius: Arrhenius | str
    gain: Gain | None
    gain_reason: str

    def noise_at(self, temperature_c: float | None) -> Noise | None:
        """The read noise at the temperature nearest to ``temperature_c``."""
        return min(self.noises, key=lambda noise: _apart(noise.temperature_c, temperature_c), default=None)


@dataclass(frozen=True, kw_only=True)
class SetUpResult:
    """One set-up of the camera: its groups and regions."""

    set_up: SetUp
    groups: tuple[Group, ...]
    regions: tuple[RegionResult, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SensorResult:
    """All set-ups of a set, the one with most frames first."""

    grouping: Grouping
    set_ups: tuple[SetUpResult, ...]
    options: SensorOptions


def characterise(frames: Sequence[SensorFrame], options: SensorOptions | None = None, *, progress: Progress | None = None) -> SensorResult:
    """Group the frames and measure each set-up; what cannot be measured is None with its reason in the results.

    ``progress`` is told what is being done.
    """
    options = options or SensorOptions()
    tell = progress or (lambda _: None)
    grouping = group_frames(frames, tolerance_c=options.temperature_tolerance_c, lights=options.lights)
    set_ups = tuple(_set_up(set_up, grouping.of(set_up), options, tell) for set_up in grouping.set_ups)
    return SensorResult(grouping=grouping, set_ups=set_ups, options=options)


def _set_up(set_up: SetUp, groups: tuple[Group, ...], options: SensorOptions, tell: Progress) -> SetUpResult:
    regions = _regions(groups, options)
    remarks: list[str] = []
    if not any(group.kind == "bias" for group in groups):
        remarks.append("no biases: offset and read noise come from the shortest darks, if there are any")
    warm = {group.temperature_c for group in groups if group.kind != "bias"}
    cold = {group.temperature_c for group in groups if group.kind == "bias"}
    if cold:
        remarks += [
            f"no biases at {t:.1f} C: those of the nearest temperature are used" for t in sorted(t for t in warm - cold if t is not None)
        ]
    results = []
    for region in regions:
        tell(f"{set_up.label or 'camera'}, {region.name}")
        results.append(_region(region, groups, options, remarks))
    return SetUpResult(set_up=set_up, groups=groups, regions=tuple(results), remarks=tuple(dict.fromkeys(remarks)))


def _regions(groups: Sequence[Group], options: SensorOptions) -> tuple[Region, ...]:
    frame = groups[0].frames[0]
    light = frame.light_window if options.box is None else crop_of(frame.light_window, options.box)
    patterns = {f.header.bayer for group in groups for f in group.frames if f.header.bayer}
    bayer = (
        options.bayer if options.bayer not in ("auto", "none") else min(patterns) if options.bayer == "auto" and len(patterns) == 1 else ""
    )
    return regions_of(light, amplifiers=options.amplifiers, bayer=bayer)


def _region(region: Region, groups: Sequence[Group], options: SensorOptions, remarks: list[str]) -> RegionResult:
    noises = _noises(region, groups, options)
    flats = _flats(region, groups, noises, options)
    gain, reason = _gain(flats, groups)
    darks = _darks(region, groups, noises)
    good = [series for series in darks if series.rate_adu_per_s is not None and series.temperature_c is not None]
    fit = arrhenius(
        [s.mean_temperature_c for s in good if s.mean_temperature_c is not None],
        [s.rate_adu_per_s for s in good if s.rate_adu_per_s is not None],
        [s.rate_error_adu_per_s for s in good if s.rate_error_adu_per_s is not None],
        [s.temperature_error_c for s in good],
    )
    residuals = tuple(_residuals(region, groups, noises, gain)) if gain is not None else ()
    if gain is None and any(group.flooded for group in groups):
        remarks.append(f"flooded darks were given, but no gain is known: {reason}")
    return RegionResult(
        region=region,
        noises=noises,
        flats=flats,
        darks=darks,
        residuals=residuals,
        arrhenius=fit,
        gain=gain,
        gain_reason=reason,
    )


def _noises(region: Region, groups: Sequence[Group], options: SensorOptions) -> tuple[Noise, ...]:
    """Read noise by temperature; without any bias the shortest darks below a second stand for them."""
    found = []
    for group in (g for g in groups if g.kind == "bias"):
        bias = bias_noise(group.frames, region, options.max_lag, options.threads)
        if bias is not None:
            rest = bias.variance - 1 / 12
            adu = math.sqrt(rest) if rest > 0 else None
            error = None if adu is None else bias.variance_error / (2 * adu)
            found.append(Noise(temperature_c=group.temperature_c, bias=bias, adu=adu, adu_error=error))
    return tuple(found)


def _flats(region: Region, groups: Sequence[Group], noises: Sequence[Noise], options: SensorOptions) -> tuple[FlatResult, ...]:
    results = []
    for warm in _temperatures(groups, "flat"):
        flats = [g for g in groups if g.kind == "flat" and g.temperature_c == warm]
        darks = [g for g in groups if g.kind == "dark" and not g.flooded and g.temperature_c == warm]
        noise = min(noises, key=lambda one: _apart(one.temperature_c, warm), default=None)
        bias_group = min((g for g in groups if g.kind == "bias"), key=lambda g: _apart(g.temperature_c, warm), default=None)
        stand_in = None
        notes = []
        if noise is None and (short := _shortest_dark(darks)) is not None:
            stand_in, bias_group = bias_noise(short.frames, region, options.max_lag), short
            notes.append(f"no biases: {short.label} stands for them")
        saturation = _saturation(flats)
        bias = noise.bias if noise is not None else stand_in
        results.append(flat_result(flats, darks, bias_group, bias, region, options, saturation, notes))
    return tuple(results)


def _shortest_dark(darks: Sequence[Group]) -> Group | None:
    return min((g for g in darks if len(g.frames) > 1), key=lambda g: g.exposure_s, default=None)


def _saturation(flats: Sequence[Group]) -> float | None:
    """Where the numbers end: as the headers or the profile say."""
    known = [frame.header.saturation_adu for group in flats for frame in group.frames if frame.header.saturation_adu]
    return min(known) if known else None


def _gain(flats: Sequence[FlatResult], groups: Sequence[Group]) -> tuple[Gain | None, str]:
    """The measured gain with the smallest error; else what the headers say."""
    measured = [(flat.curve.gain_error, flat.curve.fit.gain) for flat in flats if flat.curve.fit is not None]
    if measured:
        error, value = min(measured)
        return Gain(value=value, error=error, source="measured"), ""
    reason = flats[0].curve.reason if flats else "no flats"
    stated = [frame.header.gain_e_per_adu for group in groups for frame in group.frames if frame.header.gain_e_per_adu]
    if stated:
        return Gain(value=median(stated), error=0.0, source="header"), reason
    return None, reason


def _darks(region: Region, groups: Sequence[Group], noises: Sequence[Noise]) -> tuple[DarkSeries, ...]:
    series = []
    for warm in _temperatures(groups, "dark"):
        darks = [g for g in groups if g.kind == "dark" and not g.flooded and g.temperature_c == warm]
        longest = max((g.exposure_s for g in darks), default=0.0)
        worth = sorted((g for g in darks if g.exposure_s >= SHORTEST_DARK * longest), key=lambda g: g.exposure_s)[-MOST_DARK_EXPOSURES:]
        bias = next((g for g in groups if g.kind == "bias" and g.temperature_c == warm), None)
        noise = next((one for one in noises if one.temperature_c == warm), None)
        drift = noise.bias.drift if noise is not None else 0.0
        whole = region.name == "whole"
        series.append(dark_series(worth, bias, region, drift_adu=drift, keep_map=whole))
    return tuple(one for one in series if one.points or one.reason != "no darks")


def _residuals(region: Region, groups: Sequence[Group], noises: Sequence[Noise], gain: Gain) -> list[Residual]:
    found = []
    for flooded in (g for g in groups if g.kind == "dark" and g.flooded):
        same = [g for g in groups if g.kind == "dark" and not g.flooded and g.temperature_c == flooded.temperature_c]
        partner = next((g for g in same if abs(g.exposure_s - flooded.exposure_s) < 1e-6), None)
        noise = min(noises, key=lambda one: _apart(one.temperature_c, flooded.temperature_c), default=None)
        if partner is not None and noise is not None and noise.adu is not None:
            found.append(residual_image(flooded, partner, region, gain.value, noise.adu * gain.value))
    return found


def _temperatures(groups: Sequence[Group], kind: str) -> list[float | None]:
    known = {group.temperature_c for group in groups if group.kind == kind}
    return sorted(known, key=lambda t: (t is None, t or 0.0))


def _apart(one: float | None, other: float | None) -> float:
    return abs(one - other) if one is not None and other is not None else (0.0 if one is other else 1e6)


def window_of(frame: SensorFrame, options: SensorOptions) -> Window:
    """The window of the tables' crop in a frame."""
    return crop_of(frame.light_window, options.crop)
