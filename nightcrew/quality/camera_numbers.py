"""Gain, read noise and dark current of a camera from its own frames.

Photon transfer (Janesick, Photon Transfer, SPIE 2007, chapter 5): the difference of two equal frames holds no fixed pattern,
so its variance is twice the temporal noise of one.  With two biases ``r^2 = var(b1 - b2) / 2`` and, with two flats of mean
``S`` above the bias, ``gain = S / (var(f1 - q f2) / (1 + q^2) - r^2)``, where ``q = S1 / S2`` makes their levels equal.

Pixels hit by cosmic rays and defects are clipped at 4 sigma of the difference.  The clip also takes 0.1 % of a Gaussian's
variance; that is not put back, being below the error of a pair of megapixel frames.  (A clip at 3 sigma takes 2.7 %: gains
from such a clip are too high by as much.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import clipped_mean_sigma

Image = NDArray[Any]

CLIP_SIGMA = 4.0
MAX_LEVEL_RATIO = 1.25
"""Flats whose levels differ by more are no pair."""
DEFECT_SIGMA = 8.0
"""A pixel this far from the pair's typical level (in its scatter) is a defect and takes no part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A value with its 1-sigma error; ``None`` with a ``reason`` where it could not be determined."""

    value: float | None
    error: float | None = None
    n_pairs: int = 0
    reason: str = ""


def central_region(image: Image, fraction: float = 0.5) -> Image:
    """The middle part of ``image`` ``[y, x]``: ``fraction`` of each side (a view)."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction must be above 0 and at most 1, not {fraction}")
    ny, nx = image.shape
    ky, kx = max(1, round(ny * fraction)), max(1, round(nx * fraction))
    y0, x0 = (ny - ky) // 2, (nx - kx) // 2
    return image[y0 : y0 + ky, x0 : x0 + kx]


def disjoint_pairs(frames: Sequence[Image]) -> list[tuple[Image, Image]]:
    """(1st, 2nd), (3rd, 4th), ...: each frame in one pair, so that the pairs' errors are independent.  Give them in order of time."""
    return [(frames[i], frames[i + 1]) for i in range(0, len(frames) - 1, 2)]


def pair_variance(first: Image, second: Image, ratio: float = 1.0) -> tuple[float, float]:
    """Temporal variance of one frame of the pair and its error, from the clipped difference ``first - ratio x second``."""
    a, b = np.asarray(first, np.float64).reshape(-1), np.asarray(second, np.float64).reshape(-1)
    good = np.isfinite(a) & np.isfinite(b) & _not_defect(0.5 * (a + b))
    _, sigma, n = clipped_mean_sigma(a[good] - ratio * b[good], clip_sigma=CLIP_SIGMA)
    variance = sigma * sigma / (1.0 + ratio * ratio)
    return variance, variance * math.sqrt(2.0 / max(n - 1, 1))


def read_noise(biases: Sequence[Image], *, fraction: float = 0.5) -> Measurement:
    """Read noise in ADU from pairs of biases ``[y, x]`` (ADU), in the middle ``fraction`` of the frame."""
    pairs = disjoint_pairs([central_region(frame, fraction) for frame in biases])
    if not pairs:
        return Measurement(value=None, reason=f"{len(biases)} bias frames: two are needed")
    variance, error = _mean([pair_variance(a, b) for a, b in pairs])
    if variance <= 0:
        return Measurement(value=None, n_pairs=len(pairs), reason="biases do not vary: the noise is hidden by the quantisation")
    noise = math.sqrt(variance)
    return Measurement(value=noise, error=error / (2.0 * noise), n_pairs=len(pairs))


def gain(flats: Sequence[Image], biases: Sequence[Image], *, fraction: float = 0.5, saturation_adu: float | None = None) -> Measurement:
    """Gain in e-/ADU from pairs of flats and at least two biases (ADU, ``[y, x]``), in the middle ``fraction`` of the frame.

    Pairs that are saturated, too unequal, or without photon noise are left out; when none is left the reason is told.
    """
    bias_regions = [central_region(frame, fraction) for frame in biases]
    noise = read_noise(biases, fraction=fraction)
    if noise.value is None or noise.error is None:
        return Measurement(value=None, reason=f"no read noise: {noise.reason}")
    bias_level = float(np.mean([clipped_mean_sigma(frame)[0] for frame in bias_regions]))
    gains, reasons = [], []
    for first, second in disjoint_pairs([central_region(frame, fraction) for frame in flats]):
        found = _pair_gain(first, second, bias_level, noise.value, noise.error, saturation_adu)
        reasons.append(found) if isinstance(found, str) else gains.append(found)
    if not gains:
        return Measurement(value=None, reason="; ".join(sorted(set(reasons))) or f"{len(flats)} flats: two are needed")
    value, error = _weighted(gains)
    return Measurement(value=value, error=error, n_pairs=len(gains))


def dark_current(levels_adu: Sequence[float], exposures_s: Sequence[float]) -> Measurement:
    """Dark current in ADU/s: slope of the darks' levels (see :func:`dark_level`) over exposure, offset free, least squares.

    The error is that of the fit's residuals (``None`` with two exposures).
    """
    t, level = np.asarray(exposures_s, np.float64), np.asarray(levels_adu, np.float64)
    if t.size != level.size:
        raise ValueError(f"{level.size} levels but {t.size} exposure times")
    if np.unique(t).size < 2:
        return Measurement(value=None, reason="darks of one exposure time only: two are needed")
    centred = t - t.mean()
    slope = float((centred * level).sum() / (centred**2).sum())
    if t.size == 2:
        return Measurement(value=slope, n_pairs=2)
    residual = level - level.mean() - slope * centred
    error = math.sqrt(float((residual**2).sum()) / (t.size - 2) / float((centred**2).sum()))
    return Measurement(value=slope, error=error, n_pairs=int(t.size))


def dark_level(dark: Image, *, fraction: float = 0.5) -> float:
    """Level of a dark in ADU in its middle ``fraction``: clipped mean, so that hot pixels and cosmic rays take no part."""
    return clipped_mean_sigma(central_region(dark, fraction), clip_sigma=3.0)[0]


def _not_defect(level: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels of a usual level: hot ones and dead ones carry other noise."""
    finite = level[np.isfinite(level)]
    if finite.size == 0:
        return np.zeros(level.shape, np.bool_)
    mean, sigma, _ = clipped_mean_sigma(finite[:: max(1, finite.size // 100_000)], clip_sigma=CLIP_SIGMA)
    return np.asarray(np.abs(level - mean) <= DEFECT_SIGMA * max(sigma, 1.0), np.bool_)


def _pair_gain(
    first: Image, second: Image, bias_level: float, noise: float, noise_error: float, saturation_adu: float | None
) -> tuple[float, float] | str:
    """Gain and error of one pair of flats, or why it gives none."""
    levels = [clipped_mean_sigma(frame)[0] for frame in (first, second)]
    if saturation_adu is not None and max(levels) >= saturation_adu:
        return "flats are saturated"
    signal = [level - bias_level for level in levels]
    if min(signal) <= noise:
        return "flats are not above the bias by more than the read noise"
    ratio = signal[0] / signal[1]
    if max(ratio, 1 / ratio) > MAX_LEVEL_RATIO:
        return f"levels of the pair differ by a factor of {max(ratio, 1 / ratio):.2f}"
    # var(f1 - q f2) = (S1 + q^2 S2) / g + (1 + q^2) r^2
    mean_signal = (signal[0] + ratio**2 * signal[1]) / (1 + ratio**2)
    variance, error = pair_variance(first, second, ratio)
    photons = variance - noise**2
    photons_error = math.hypot(error, 2 * noise * noise_error)
    if photons <= 3 * photons_error:
        return "no photon noise above the read noise"
    value = mean_signal / photons
    return value, value * photons_error / photons


def _mean(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    n = len(values)
    return math.fsum(v for v, _ in values) / n, math.sqrt(math.fsum(e * e for _, e in values)) / n


def _weighted(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean by inverse relative variance (absolute errors grow with the value itself and would bias it)."""
    weights = [(v / e) ** 2 for v, e in values]
    total = math.fsum(weights)
    value = math.fsum(w * v for w, (v, _) in zip(weights, values, strict=True)) / total
    return value, value / math.sqrt(total)
