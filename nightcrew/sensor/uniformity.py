"""Fixed pattern of flats: PRNU without the shape of the illumination, EMVA 1288's split, spectra."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor import emva1288
from nightcrew.sensor.curve_points import CurvePoint
from nightcrew.sensor.emva1288 import NonUniformity, SpatialVariance
from nightcrew.sensor.frames import SensorFrame, Window
from nightcrew.sensor.groups import Group, same_exposure
from nightcrew.sensor.linearity import straightened
from nightcrew.sensor.regions import Region
from nightcrew.sensor.robust import clipped_moments
from nightcrew.sensor.stacks import Stack, stack
from nightcrew.sensor.transfer_curve import TransferCurve
from nightcrew.sensor.zero_level import Zero

F8 = NDArray[np.float64]
MOST_PIXELS = 1 << 22
BAND_ROWS = 256
LEAST_SIDE = 48  # of a region for the highpass filter, whose smooth part reaches 19 pixels


@dataclass(frozen=True, kw_only=True)
class Uniformity:
    """Fixed pattern of a region at about half saturation, illumination shape filtered out (highpass).

    ``prnu_percent`` is that of the pixels' response: what the brighter-fatter effect smooths (the share ``kept``) is put back.
    ``prnu_percent`` None: ``reason`` says why.  ``split`` and ``dark_split`` are EMVA's with all pixels, total, rows, columns, pixels.
    ``along_rows`` and ``along_columns``: frequencies and spectra of the fixed pattern, in % of the signal squared.
    """

    signal_adu: float | None = None
    filter: str = ""
    frames: int = 0
    kept: float = 1.0
    prnu_percent: float | None = None
    prnu_error_percent: float | None = None
    split: NonUniformity | None = None
    dark_split: NonUniformity | None = None
    defects: int = 0
    along_rows: tuple[F8, F8] | None = None
    along_columns: tuple[F8, F8] | None = None
    picture: NDArray[np.float32] | None = None
    reason: str = ""


def uniformity(curve: TransferCurve, flats: Sequence[Group], darks: Sequence[Group], zero: Zero, region: Region) -> Uniformity:
    """From the flats nearest to half saturation, and the darks of their exposure (else the biases)."""
    chosen = [point for point, used in zip(curve.points, curve.fitted, strict=True) if used]
    if not chosen:
        return Uniformity(reason=curve.reason or "no flats below saturation")
    half = 0.5 * (curve.turn_off.lower if curve.turn_off is not None else max(point.signal for point in chosen))
    point = min(chosen, key=lambda p: abs(p.signal - half))
    names = {name for pair in point.pairs for name in pair.names}
    frames = [frame for group in flats for frame in group.frames if frame.name in names]
    same = next((g.frames for g in darks if same_exposure(g.exposure_s, point.exposure_s) and len(g.frames) > 1), zero.frames)
    if len(same) < 2:
        return Uniformity(reason="neither darks of the flats' exposure nor biases: the offset pattern is not known")
    if min(min(window.shape) for window in region.windows) < LEAST_SIDE:
        return Uniformity(reason=f"the region is smaller than {LEAST_SIDE} pixels: the pattern cannot be told from the illumination")
    return _measured(frames, same, region.windows, zero.level, point, curve)


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
    kept, kept_error = _kept_by_charge(curve, float(straight))
    bright, zero = parts[0]
    split, dark_split = _splits(bright, zero, curve)
    difference = bright.mean - zero.mean
    known = variance > 2 * error
    return Uniformity(
        signal_adu=point.signal,
        filter=point.filter,
        frames=len(frames),
        prnu_percent=math.sqrt(variance) * scale / kept if known else None,
        prnu_error_percent=scale / kept * math.hypot(error / (2 * math.sqrt(variance)), math.sqrt(variance) * kept_error / kept)
        if known
        else None,
        kept=kept,
        split=split,
        dark_split=dark_split,
        defects=sum(p[3] for p in pattern),
        along_rows=_relative(emva1288.spectrogram(difference, 1), scale),
        along_columns=_relative(emva1288.spectrogram(difference, 0), scale),
        picture=np.asarray(difference, np.float32),
        reason="" if known else "the fixed pattern is below what the noise of the flats lets see: more flats are needed",
    )


def _kept_by_charge(curve: TransferCurve, signal_adu: float) -> tuple[float, float]:
    """Share of the pixels' own pattern that the brighter-fatter effect leaves at a signal, and its error.

    A pixel that holds more shrinks while it fills, by a00 for each electron, of which there are half in the mean: 1 + a00 mu g / 2.
    What neighbours add stands in quadrature below a thousandth.  1 while a00 is not 3 of its errors from 0.
    """
    fit = curve.fit
    if fit is None or fit.a00 is None or not fit.a00_error or abs(fit.a00) < 3 * fit.a00_error:
        return 1.0, 0.0
    half = 0.5 * signal_adu * fit.gain
    return max(1 + fit.a00 * half, 0.5), fit.a00_error * half


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
    level = float(np.nanmean(difference[edge:-edge, edge:-edge], dtype=np.float64))
    inner = rough[edge:-edge, edge:-edge]  # at the edges the smooth part is made up
    if without_bands:
        inner = inner - emva1288.finite_mean(inner, axis=1)
        inner -= emva1288.finite_mean(inner, axis=0)
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
