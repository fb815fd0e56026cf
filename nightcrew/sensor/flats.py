"""Everything that the flats of one temperature tell of one region: curve, linearity, EMVA 1288, non-uniformity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor import emva1288
from nightcrew.sensor.emva1288 import Linear1288, NonUniformity, SpatialVariance, TemporalData
from nightcrew.sensor.frames import SensorFrame, Window
from nightcrew.sensor.groups import Group
from nightcrew.sensor.linearity import Linearity, linearity, straightened
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.pairs import PairOptions, pair_statistics
from nightcrew.sensor.regions import Region
from nightcrew.sensor.robust import clipped_moments
from nightcrew.sensor.stacks import Stack, stack
from nightcrew.sensor.transfer_curve import (
    BiasNoise,
    CurvePoint,
    TransferCurve,
    points_of,
    transfer_curve,
    turn_off,
)

F8 = NDArray[np.float64]
MOST_PIXELS = 1 << 22
BAND_ROWS = 256
LEAST_SIDE = 48  # of a region for the highpass filter, whose smooth part reaches 19 pixels


@dataclass(frozen=True, kw_only=True)
class Uniformity:
    """Fixed pattern of a region at about half saturation, illumination shape filtered out (highpass).

    ``prnu_percent`` None: ``reason`` says why.  ``split`` and ``dark_split`` are EMVA's with all pixels, total, rows, columns, pixels.
    ``along_rows`` and ``along_columns``: frequencies and spectra of the fixed pattern, in % of the signal squared.
    """

    signal_adu: float | None = None
    frames: int = 0
    prnu_percent: float | None = None
    prnu_error_percent: float | None = None
    split: NonUniformity | None = None
    dark_split: NonUniformity | None = None
    defects: int = 0
    along_rows: tuple[F8, F8] | None = None
    along_columns: tuple[F8, F8] | None = None
    picture: NDArray[np.float32] | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class FlatResult:
    """A region at one temperature.  ``emva`` is a sentence where the standard's levels are missing."""

    region: str
    temperature_c: float | None
    curve: TransferCurve
    linearity: Linearity | None
    emva: Linear1288 | str
    uniformity: Uniformity

    @property
    def full_well_e(self) -> tuple[float, float, float] | None:
        """Full well in e-: middle and bounds of its 95 % interval, from the turn-off's interval and the gain's error; None without."""
        turn, fit = self.curve.turn_off, self.curve.fit
        if turn is None or fit is None:
            return None
        error = 2 * self.curve.gain_error
        signals, _ = straightened(np.array([turn.lower, turn.upper]), self.curve.alpha_per_adu)
        low, high = float(signals[0]) * (fit.gain - error), float(signals[1]) * (fit.gain + error)
        return 0.5 * (low + high), low, high


def flat_result(
    flats: Sequence[Group],
    darks: Sequence[Group],
    bias_group: Group | None,
    bias: BiasNoise | None,
    region: Region,
    options: SensorOptions,
    saturation_adu: float | None,
    remarks: Sequence[str] = (),
) -> FlatResult:
    """Measure the ``flats`` of one temperature and set-up in a region; ``darks`` are the unflooded ones of that temperature."""
    offset = bias.level if bias is not None else 0.0
    points, notes = _points(flats, region, offset, options, saturation_adu)
    top = None if saturation_adu is None else saturation_adu - offset
    straight = _linearity(points, top)
    curve = transfer_curve(
        region,
        points,
        bias,
        saturation_adu=top,
        linearity=straight,
        bootstrap=options.bootstrap,
        seed=options.seed,
        remarks=[*remarks, *notes, *_band_remarks(points)],
    )
    temporal = _temporal(points, darks, bias, region)
    return FlatResult(
        region=region.name,
        temperature_c=flats[0].temperature_c if flats else None,
        curve=curve,
        linearity=straight,
        emva=temporal if isinstance(temporal, str) else emva1288.linear_model(temporal),
        uniformity=_uniformity(curve, flats, darks, bias_group, region, offset),
    )


def _points(
    flats: Sequence[Group], region: Region, offset: float, options: SensorOptions, saturation_adu: float | None
) -> tuple[list[CurvePoint], list[str]]:
    pairing = PairOptions(clip_sigma=options.clip_sigma, saturation_adu=saturation_adu, max_lag=options.max_lag)
    with ThreadPoolExecutor(max(1, options.threads)) as pool:  # numpy works outside the interpreter's lock
        found = list(pool.map(lambda group: points_of(group, region, offset, pairing), flats))
    return [point for points, _ in found for point in points], [note for _, notes in found for note in notes]


def _band_remarks(points: Sequence[CurvePoint]) -> list[str]:
    banded = [pair for point in points for pair in point.pairs if pair.bands is not None and pair.bands.found]
    total = sum(len(point.pairs) for point in points)
    if not banded:
        return []
    relative = max(max(p.bands.row_rms, p.bands.column_rms) / max(p.level, 1.0) for p in banded if p.bands is not None)
    way = "rows" if any(pair.bands is not None and pair.bands.found_rows for pair in banded) else "columns"
    return [f"{len(banded)} of {total} pairs of flats are banded ({way} vary by up to {100 * relative:.2g} %, as by flicker): normalised"]


def _linearity(points: Sequence[CurvePoint], top: float | None) -> Linearity | None:
    """Of the filter with most exposure times; None when no flats were taken at several."""
    by_filter: dict[str, list[CurvePoint]] = {}
    for point in points:
        by_filter.setdefault(point.filter, []).append(point)
    if not by_filter:
        return None
    best = max(sorted(by_filter), key=lambda name: len({p.exposure_s for p in by_filter[name]}))
    chosen = sorted(by_filter[best], key=lambda p: (p.exposure_s, p.signal))
    if len({p.exposure_s for p in chosen}) < 2:
        return None
    turn = turn_off(chosen, top)
    scatter = [abs(p.levels[0] - p.levels[1]) / max(p.level, 1.0) / math.sqrt(2) for point in chosen for p in point.pairs]
    lamp = float(np.median(scatter)) * 1.4826 if scatter else 0.0
    errors = [
        math.hypot(math.sqrt(max(p.variance, 0.1) / max(2 * p.pixels, 1)) / max(p.signal, 1.0), lamp / math.sqrt(len(p.pairs) * 2))
        for p in chosen
    ]
    saturation = turn.lower if turn is not None else top
    return linearity([p.exposure_s for p in chosen], [p.signal for p in chosen], errors, saturation)


def _temporal(points: Sequence[CurvePoint], darks: Sequence[Group], bias: BiasNoise | None, region: Region) -> TemporalData | str:
    """Bright and dark means and variances by level; darks of the same exposure, else the bias."""
    if len(points) < 2:
        return f"{len(points)} levels of light: EMVA 1288 needs at least two"
    of_exposure: dict[float, tuple[float, float]] = {}
    pairing = PairOptions(scale=False)
    for group in darks:
        if len(group.frames) > 1 and any(abs(point.exposure_s - group.exposure_s) < 1e-6 for point in points):
            pair = pair_statistics(group.frames[0], group.frames[1], region.windows, 0.0, pairing)
            of_exposure[group.exposure_s] = (pair.level, pair.variance)
    if bias is None and len(of_exposure) < len({point.exposure_s for point in points}):
        return "no biases, and not every exposure of the flats has its darks"
    zero = (0.0, 0.0) if bias is None else (bias.level, bias.variance)
    offset = 0.0 if bias is None else bias.level
    ordered = sorted(points, key=lambda point: (point.exposure_s, point.signal))
    dark = np.array([of_exposure.get(point.exposure_s, zero) for point in ordered])
    return TemporalData(
        exposure_s=np.array([point.exposure_s for point in ordered]),
        photons=None,
        mean=np.array([point.signal + offset for point in ordered]),
        variance=np.array([point.variance for point in ordered]),
        dark_mean=dark[:, 0],
        dark_variance=dark[:, 1],
    )


def _uniformity(
    curve: TransferCurve, flats: Sequence[Group], darks: Sequence[Group], bias: Group | None, region: Region, offset: float
) -> Uniformity:
    """From the flats nearest to half saturation, and the darks of their exposure (else the biases)."""
    chosen = [point for point, used in zip(curve.points, curve.fitted, strict=True) if used]
    if not chosen:
        return Uniformity(reason=curve.reason or "no flats below saturation")
    half = 0.5 * (curve.turn_off.lower if curve.turn_off is not None else max(point.signal for point in chosen))
    point = min(chosen, key=lambda p: abs(p.signal - half))
    names = {name for pair in point.pairs for name in pair.names}
    frames = [frame for group in flats for frame in group.frames if frame.name in names]
    same = next((g for g in darks if abs(g.exposure_s - point.exposure_s) < 1e-6 and len(g.frames) > 1), bias)
    if same is None or len(same.frames) < 2:
        return Uniformity(reason="neither darks of the flats' exposure nor biases: the offset pattern is not known")
    if min(min(window.shape) for window in region.windows) < LEAST_SIDE:
        return Uniformity(reason=f"the region is smaller than {LEAST_SIDE} pixels: the pattern cannot be told from the illumination")
    return _measured(frames, same.frames, region.windows, offset, point, curve)


def _measured(
    frames: Sequence[SensorFrame],
    dark: Sequence[SensorFrame],
    windows: Sequence[Window],
    offset: float,
    point: CurvePoint,
    curve: TransferCurve,
) -> Uniformity:
    parts = [(stack(frames, window, scale_offset_adu=offset), stack(dark, window)) for window in windows]
    # bands of equal phase vanish in a pair's difference, not in the mean flat: one banded pair tells of the lamp
    banded = any(pair.bands is not None and pair.bands.found for one in curve.points for pair in one.pairs)
    pattern = [_pattern(bright, zero, point.variance / len(frames), without_bands=banded) for bright, zero in parts]
    n = float(sum(p[2] for p in pattern))
    variance = sum(p[0] * p[2] for p in pattern) / n
    error = math.sqrt(sum((p[1] * p[2]) ** 2 for p in pattern)) / n
    straight, slope = straightened(sum(p[4] * p[2] for p in pattern) / n, curve.alpha_per_adu)
    scale = 100 * float(slope / straight)  # on a curved response the pattern is stretched as the signal is
    bright, zero = parts[0]
    split, dark_split = _splits(bright, zero, curve)
    difference = bright.mean - zero.mean
    known = variance > 2 * error
    return Uniformity(
        signal_adu=point.signal,
        frames=len(frames),
        prnu_percent=math.sqrt(variance) * scale if known else None,
        prnu_error_percent=error * scale / (2 * math.sqrt(variance)) if known else None,
        split=split,
        dark_split=dark_split,
        defects=sum(p[3] for p in pattern),
        along_rows=_relative(emva1288.spectrogram(difference, 1), scale),
        along_columns=_relative(emva1288.spectrogram(difference, 0), scale),
        picture=np.asarray(difference, np.float32),
        reason="" if known else "the fixed pattern is below what the noise of the flats lets see: more flats are needed",
    )


def _pattern(bright: Stack, zero: Stack, bright_variance: float, *, without_bands: bool) -> tuple[float, float, int, int, float]:
    """Highpass variance of bright less dark, its temporal part taken out; error, pixels, defects that were left out, signal.

    ``bright_variance``: temporal, of the mean flat.  Bands of a lamp lie in the mean flat: with ``without_bands`` row and column means go.
    """
    found = [_of_band(part, without_bands) for part in _row_bands(bright.mean, zero.mean)]
    n = float(sum(part[2] for part in found))
    spatial, level = (sum(part[k] * part[2] for part in found) / n for k in (0, 1))
    pattern = spatial - bright_variance - (zero.variance_of_mean or 0.0)
    return pattern, spatial * math.sqrt(2 / n / found[0][4]), int(n), sum(part[3] for part in found), level


def _row_bands(bright: NDArray[np.float32], zero: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Bright less dark: whole, or of a large image bands of rows spread over it, which tell as much as anybody needs."""
    ny, nx = bright.shape
    if bright.size <= MOST_PIXELS:
        yield bright - zero
        return
    count = max(1, MOST_PIXELS // (BAND_ROWS * nx))
    for place in range(count):
        y = round(place * (ny - BAND_ROWS) / max(count - 1, 1))
        yield bright[y : y + BAND_ROWS] - zero[y : y + BAND_ROWS]


def _of_band(difference: NDArray[np.float32], without_bands: bool) -> tuple[float, float, int, int, float]:
    """Highpass variance, level, pixels used, defects, and the filter's share."""
    rough, share = emva1288.highpass(difference)
    edge = emva1288.HIGHPASS_REACH
    level = float(difference[edge:-edge, edge:-edge].mean(dtype=np.float64))
    inner = rough[edge:-edge, edge:-edge]  # at the edges the smooth part is made up
    if without_bands:
        inner = inner - inner.mean(axis=1, keepdims=True)
        inner -= inner.mean(axis=0, keepdims=True)
        share *= (1 - 1 / inner.shape[0]) * (1 - 1 / inner.shape[1])
    _, sigma, kept = clipped_moments(np.ascontiguousarray(inner), 8.0)
    return sigma**2 / share, level, kept, inner.size - kept, share


def _splits(bright: Stack, zero: Stack, curve: TransferCurve) -> tuple[NonUniformity | None, NonUniformity | None]:
    if bright.variance_of_mean is None or zero.variance_of_mean is None:
        return None, None
    light: SpatialVariance = emva1288.spatial_variance(bright.mean, bright.variance_of_mean)
    dark = emva1288.spatial_variance(zero.mean, zero.variance_of_mean)
    gain = curve.fit.gain if curve.fit is not None else None
    return emva1288.prnu(light, dark), None if gain is None else emva1288.dsnu(dark, 1 / gain)


def _relative(spectrum: tuple[F8, F8], scale: float) -> tuple[F8, F8]:
    return spectrum[0], spectrum[1] * scale**2
