"""A sensor from its frames: everything that biases, darks and flats can tell, region by region and temperature by temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from nightcrew.errors import Refused
from nightcrew.sensor.arrhenius import Arrhenius, arrhenius
from nightcrew.sensor.dark_signal import DarkSeries, dark_series
from nightcrew.sensor.flats import FlatResult, flat_result
from nightcrew.sensor.frames import SensorFrame, UnreadableFrame, Window
from nightcrew.sensor.groups import Group, Grouping, SetUp, group_frames
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.regions import Region, crop_of, regions_of
from nightcrew.sensor.residual import Residual, residual_image
from nightcrew.sensor.twins import given_again
from nightcrew.sensor.zero_level import BiasNoise, Zero, apart, bias_noise, zero_of

MOST_DARK_EXPOSURES = 6
SHORTEST_DARK = 0.05
"""Of the longest: shorter darks say nothing of the rate."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Gain in e-/ADU with its error and its source: ``measured``, on so many ``levels`` of light, or who states it, without error."""

    value: float
    error: float
    source: str
    levels: int = 0


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Read noise of a region at one temperature: in ADU from pairs of biases; in e- when a gain is known."""

    temperature_c: float | None
    bias: BiasNoise
    adu: float | None
    adu_error: float | None


@dataclass(frozen=True, kw_only=True)
class RegionResult:
    """One region: read noise, flats and darks by temperature, and what follows from all of them.

    ``gains_said``: gains in e-/ADU that header and profile state, with who does.
    """

    region: Region
    noises: tuple[Noise, ...]
    flats: tuple[FlatResult, ...]
    darks: tuple[DarkSeries, ...]
    residuals: tuple[Residual, ...]
    arrhenius: Arrhenius | str
    gain: Gain | None
    gain_reason: str
    gains_said: tuple[tuple[str, float], ...] = ()

    def noise_at(self, temperature_c: float | None) -> Noise | None:
        """The read noise at the temperature nearest to ``temperature_c``."""
        return min(self.noises, key=lambda noise: apart(noise.temperature_c, temperature_c), default=None)


@dataclass(frozen=True, kw_only=True)
class SetUpResult:
    """One set-up of the camera: its groups and regions.  Without regions nothing could be measured: ``remarks`` say why."""

    set_up: SetUp
    groups: tuple[Group, ...]
    regions: tuple[RegionResult, ...]
    remarks: tuple[str, ...]

    @property
    def binning(self) -> tuple[int, int]:
        """Pixels that one stored pixel holds: columns, rows."""
        header = self.groups[0].frames[0].header
        return header.binning_x, header.binning_y


@dataclass(frozen=True, kw_only=True)
class SensorResult:
    """All set-ups of a set, the one with most frames first.  ``unreadable``: frames whose pixels could not be read, with the cause."""

    grouping: Grouping
    set_ups: tuple[SetUpResult, ...]
    options: SensorOptions
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Frames that took no part, with the reason."""
        return (*self.unreadable, *self.grouping.left_out)


def characterise(frames: Sequence[SensorFrame], options: SensorOptions | None = None, *, progress: Progress | None = None) -> SensorResult:
    """Group the frames and measure each set-up; what cannot be measured is None with its reason in the results.

    A frame whose pixels cannot be read is left out with the cause, and what it had a part in is done again without it.  ``progress``
    is told what is being done.
    """
    options = options or SensorOptions()
    tell = progress or (lambda _: None)
    left, unreadable = list(frames), list[tuple[str, str]]()
    while True:
        try:
            found = _characterised(left, options, tell)
        except UnreadableFrame as error:
            lost = {id(error.frame): str(error), **_unreadable(left)}
            unreadable += [(frame.name, lost[id(frame)]) for frame in left if id(frame) in lost]
            left = [frame for frame in left if id(frame) not in lost]
        else:
            return replace(found, unreadable=tuple(unreadable))


def _unreadable(frames: Sequence[SensorFrame]) -> dict[int, str]:
    """Compressed frames that cannot be decoded to their end, by identity: where one is broken others may be, and each costs a round."""
    lost: dict[int, str] = {}
    for frame in frames:
        if frame.compressed:
            try:
                with frame.opened():
                    pass
            except UnreadableFrame as error:
                lost[id(frame)] = str(error)
    return lost


def _characterised(frames: Sequence[SensorFrame], options: SensorOptions, tell: Progress) -> SensorResult:
    twins = given_again(frames)
    fresh = [frame for frame in frames if id(frame) not in twins]
    grouping = group_frames(fresh, tolerance_c=options.temperature_tolerance_c, lights=options.lights)
    again = tuple((frame.name, twins[id(frame)]) for frame in frames if id(frame) in twins)
    grouping = replace(grouping, left_out=(*grouping.left_out, *again))
    set_ups = tuple(_set_up(set_up, grouping.of(set_up), options, tell) for set_up in grouping.set_ups)
    return SensorResult(grouping=grouping, set_ups=set_ups, options=options)


def _set_up(set_up: SetUp, groups: tuple[Group, ...], options: SensorOptions, tell: Progress) -> SetUpResult:
    remarks: list[str] = []
    try:
        regions = _regions(groups, options)
    except Refused as error:  # a box or amplifiers that this set-up's frames have no room for: the others go on
        return SetUpResult(set_up=set_up, groups=groups, regions=(), remarks=(f"{set_up.label or 'the camera'}: not measured: {error}",))
    if not any(group.kind == "bias" for group in groups):
        remarks.append("no biases: there is no read noise, and the offset is that of darks no longer than the flats, if there are any")
    cold = {group.temperature_c for group in groups if group.kind == "bias"}
    if cold:
        lit = [t for t in _temperatures(groups, "flat") if t is not None and t not in cold]
        remarks += [f"no biases at {t:.1f} C: those of the nearest temperature are used for the flats" for t in lit]
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
    remarks += [f"{region.name}: {noise.bias.hidden}" for noise in noises if noise.bias.hidden]
    flats = _flats(region, groups, noises, options, remarks)
    gain, reason = _gain(flats, groups)
    darks = _darks(region, groups, noises, remarks)
    good = [series for series in darks if series.rate_adu_per_s is not None and series.temperature_c is not None]
    fit = arrhenius(
        [s.mean_temperature_c for s in good if s.mean_temperature_c is not None],
        [s.rate_adu_per_s for s in good if s.rate_adu_per_s is not None],
        [s.rate_error_adu_per_s for s in good if s.rate_error_adu_per_s is not None],
        [s.temperature_error_c for s in good],
    )
    residuals = tuple(_residuals(region, groups, noises, gain, reason))
    return RegionResult(
        region=region,
        noises=noises,
        flats=flats,
        darks=darks,
        residuals=residuals,
        arrhenius=fit,
        gain=gain,
        gain_reason=reason,
        gains_said=_gains_said(groups),
    )


def _noises(region: Region, groups: Sequence[Group], options: SensorOptions) -> tuple[Noise, ...]:
    """Read noise by temperature, from biases alone."""
    found = []
    for group in (g for g in groups if g.kind == "bias"):
        bias = bias_noise(group.frames, region, options.max_lag, options.threads)
        if bias is not None:
            adu, error = bias.read_noise_adu or (None, None)
            found.append(Noise(temperature_c=group.temperature_c, bias=bias, adu=adu, adu_error=error))
    return tuple(found)


def _flats(
    region: Region, groups: Sequence[Group], noises: Sequence[Noise], options: SensorOptions, remarks: list[str]
) -> tuple[FlatResult, ...]:
    results = []
    of_warm = {noise.temperature_c: noise.bias for noise in noises}
    biases = {group: of_warm.get(group.temperature_c) for group in groups if group.kind == "bias"}
    for warm in _temperatures(groups, "flat"):
        flats = [g for g in groups if g.kind == "flat" and g.temperature_c == warm]
        darks = [g for g in groups if g.kind == "dark" and not g.flooded and g.temperature_c == warm]
        zero = zero_of(flats, darks, biases, region, options.max_lag)
        if isinstance(zero, Zero) and zero.remark:
            remarks.append(f"{region.name}: {zero.remark}")
        results.append(flat_result(flats, darks, zero, region, options, _saturation(flats)))
    return tuple(results)


def _saturation(flats: Sequence[Group]) -> float | None:
    """Where the numbers end: as the headers or the profile say."""
    known = [frame.header.saturation_adu for group in flats for frame in group.frames if frame.header.saturation_adu]
    return min(known) if known else None


def _gain(flats: Sequence[FlatResult], groups: Sequence[Group]) -> tuple[Gain | None, str]:
    """The measured gain with the smallest error, of curves with the brighter-fatter term if there are any; else what the headers say."""
    measured = [
        (flat.curve.fit.a00 is None, flat.curve.gain_error, flat.curve.fit.gain, int(flat.curve.fitted.sum()))
        for flat in flats
        if flat.curve.fit is not None
    ]
    if measured:
        _, error, value, levels = min(measured)
        return Gain(value=value, error=error, source="measured", levels=levels), ""
    reason = flats[0].curve.reason if flats else "no flats"
    stated = [frame.header.gain_e_per_adu for group in groups for frame in group.frames if frame.header.gain_e_per_adu]
    if stated:
        value = median(stated)
        source = next((who for who, gain in _gains_said(groups) if gain == value), "header")
        return Gain(value=value, error=0.0, source=source), reason
    return None, reason


def _gains_said(groups: Sequence[Group]) -> tuple[tuple[str, float], ...]:
    """What header and profile state, each once: the median of the frames'."""
    said: dict[str, list[float]] = {}
    for frame in (frame for group in groups for frame in group.frames):
        for source, value in frame.gains_said:
            said.setdefault(source, []).append(value)
    return tuple((source, median(values)) for source, values in said.items())


def _darks(region: Region, groups: Sequence[Group], noises: Sequence[Noise], remarks: list[str]) -> tuple[DarkSeries, ...]:
    series = []
    for warm in _temperatures(groups, "dark"):
        darks = [g for g in groups if g.kind == "dark" and not g.flooded and g.temperature_c == warm]
        longest = max((g.exposure_s for g in darks), default=0.0)
        worth = sorted((g for g in darks if g.exposure_s >= SHORTEST_DARK * longest), key=lambda g: g.exposure_s)[-MOST_DARK_EXPOSURES:]
        bias = next((g for g in groups if g.kind == "bias" and g.temperature_c == warm), None)
        if bias is None and darks:  # the shortest stands for the bias, however short it is
            zero = min(darks, key=lambda g: g.exposure_s)
            worth = worth if zero in worth else [zero, *worth]
            stands = f"{zero.label} stands for them in the dark rate" if len(worth) > 1 else f"{zero.label} alone tells no dark rate"
            remarks.append(f"no biases at the temperature of the darks: {stands}")
        noise = min(noises, key=lambda one: apart(one.temperature_c, warm), default=None)
        drift = noise.bias.drift if noise is not None else 0.0
        whole = region.name == "whole"
        series.append(dark_series(worth, bias, region, drift_adu=drift, keep_map=whole))
        if noise is None and series[-1].rate_adu_per_s is not None:
            where = "" if warm is None else f" at {warm:.1f} C"
            remarks.append(f"{region.name}: no pair of biases tells how their level drifts: the error of the dark rate{where} lacks that")
    return tuple(one for one in series if one.points or one.reason != "no darks")


def _residuals(region: Region, groups: Sequence[Group], noises: Sequence[Noise], gain: Gain | None, reason: str) -> Iterator[Residual]:
    """One of every group of flooded darks, measured or with its reason."""
    for flooded in (g for g in groups if g.kind == "dark" and g.flooded):
        same = [g for g in groups if g.kind == "dark" and not g.flooded and g.temperature_c == flooded.temperature_c]
        noise = min(noises, key=lambda one: apart(one.temperature_c, flooded.temperature_c), default=None)
        read = noise.adu * gain.value if noise is not None and noise.adu is not None and gain is not None else None
        yield residual_image(flooded, same, region, None if gain is None else (gain.value, gain.error), read, reason)


def _temperatures(groups: Sequence[Group], kind: str) -> list[float | None]:
    known = {group.temperature_c for group in groups if group.kind == kind}
    return sorted(known, key=lambda t: (t is None, t or 0.0))


def window_of(frame: SensorFrame, options: SensorOptions) -> Window:
    """The window of the tables' crop in a frame."""
    return crop_of(frame.light_window, options.crop)
