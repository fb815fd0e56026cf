"""EMVA Standard 1288, release 4.0 Linear: what a camera's data sheet states, from means and variances in DN.

Linear model: mu_y - mu_dark = K eta mu_p, sigma_y^2 - sigma_dark^2 = K (mu_y - mu_dark), sigma_dark^2 = K^2 sigma_d^2 + 1/12, K in DN/e-.
Without a photometric calibration the light is measured by the exposure alone and responsivity and thresholds stay in electrons.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.intervals import LEVEL, Interval
from nightcrew.sensor.linearity import deviation_interval

F8 = NDArray[np.float64]
QUANTISATION = 1 / 12  # DN^2
LEAST_DARK_VARIANCE = 0.24  # DN^2: below, rounding hides the noise (section 6.5)
LEAST_DROP = 0.1  # of the largest variance: what it falls by at least when pixels saturate
GAIN_FIT_UP_TO = 0.7  # of saturation
HIGHPASS_REACH = 9  # pixels, of the boxes and the binomial together
MOST_LINES = 1024  # of an image for a spectrogram: the mean of so many has an error of 3 %
_STRIP_PIXELS = 1 << 19
LINEARITY_FROM, LINEARITY_TO = 0.05, 0.95


@dataclass(frozen=True, kw_only=True)
class TemporalData:
    """One entry a level of light, in the order of the light: exposure in s, photons a pixel (None: not calibrated), mean and temporal
    variance of bright and dark frames of that exposure, in DN and DN^2.  ``relative_error``: of each signal above the dark, by lamp and
    noise together (None: not known)."""

    exposure_s: F8
    photons: F8 | None
    mean: F8
    variance: F8
    dark_mean: F8
    dark_variance: F8
    relative_error: F8 | None = None


@dataclass(frozen=True, kw_only=True)
class Linear1288:
    """Results of the linear model.  ``light`` of the relative form is the exposure in s; what needs photons is None without them.

    A sweep whose variance does not fall at its end has not reached saturation: ``saturated`` is False, saturation capacity, largest SNR,
    dynamic range and linearity error are None, and ``highest_e`` is all that is known of them: the sensor holds at least so much.
    ``linearity_interval``: of the linearity error without noise, ``linearity_noise_percent``: what noise alone makes; None where the
    signals' errors are not known.
    """

    saturated: bool
    highest_e: float
    saturation_index: int
    gain_dn_per_e: float
    responsivity_dn_per_photon: float | None
    responsivity_dn_per_s: float | None
    quantum_efficiency: float | None
    dark_noise_dn: float
    dark_noise_e: float | None
    threshold_e: float
    threshold_photons: float | None
    saturation_e: float | None
    saturation_photons: float | None
    snr_max: float | None
    dynamic_range: float | None
    linearity_error_percent: float | None
    linearity_min_percent: float | None
    linearity_max_percent: float | None
    linearity_interval: Interval | None = None
    linearity_noise_percent: float | None = None

    @property
    def snr_max_db(self) -> float | None:
        """20 log10 of the largest signal-to-noise ratio."""
        return None if self.snr_max is None else 20 * math.log10(self.snr_max)

    @property
    def dynamic_range_db(self) -> float | None:
        """20 log10 of the dynamic range."""
        return None if self.dynamic_range is None else 20 * math.log10(self.dynamic_range)


def linear_model(data: TemporalData, *, seed: int = 0, level: float = LEVEL) -> Linear1288 | str:
    """Sections 6 and 7 of the standard; the reason when there are not two levels below 70 % of saturation.

    ``seed`` and ``level`` are those of the linearity error's interval.
    """
    signal, excess = data.mean - data.dark_mean, data.variance - data.dark_variance
    top = saturation_index(data.variance)
    saturated = bool((data.variance[top + 1 :] < (1 - LEAST_DROP) * data.variance[top]).any())
    if not saturated:
        top = int(signal.argmax())
    low = signal <= GAIN_FIT_UP_TO * signal[top]
    low[top:] = False
    low &= signal > 0
    if np.count_nonzero(low) < 2:
        return f"{np.count_nonzero(low)} levels below 70 % of saturation: two are needed"
    gain = _through_zero(signal[low], excess[low])
    if gain <= 0:
        return "the variance does not grow with the signal"
    photons = data.photons
    responsivity = None if photons is None else _through_zero(photons[low], signal[low])
    efficiency = None if responsivity is None else responsivity / gain
    dark_variance = max(_dark_variance(data), LEAST_DARK_VARIANCE)
    threshold = math.sqrt(dark_variance) / gain + 0.5
    light = data.exposure_s if photons is None else photons
    relative = _through_zero(light[low], signal[low]) / gain if np.unique(light).size > 1 else 0.0
    # with photons as the standard has it (QE x photons at saturation); else the signal at saturation over the gain
    highest = float(light[top] * relative) if photons is not None else float(signal[top] / gain)
    saturation = highest if saturated else None
    used = _levels_of_linearity(light, signal, top) if saturated else None
    errors = None if used is None else _deviations_from_line(light[used], signal[used])
    interval = alone = None
    if used is not None and errors is not None and data.relative_error is not None:
        interval, alone = deviation_interval(light[used], signal[used], data.relative_error[used], errors, seed, level)
    return Linear1288(
        saturated=saturated,
        highest_e=highest,
        saturation_index=top,
        gain_dn_per_e=gain,
        responsivity_dn_per_photon=responsivity,
        responsivity_dn_per_s=_through_zero(data.exposure_s[low], signal[low]) if np.unique(data.exposure_s).size > 1 else None,
        quantum_efficiency=efficiency,
        dark_noise_dn=math.sqrt(dark_variance),
        dark_noise_e=math.sqrt(dark_variance - QUANTISATION) / gain,
        threshold_e=threshold,
        threshold_photons=None if efficiency is None else threshold / efficiency,
        saturation_e=saturation,
        saturation_photons=None if photons is None or not saturated else float(photons[top]),
        snr_max=None if saturation is None else math.sqrt(saturation),
        dynamic_range=None if saturation is None else saturation / threshold,
        linearity_error_percent=None if errors is None else float(np.abs(errors).mean()),
        linearity_min_percent=None if errors is None else float(errors.min()),
        linearity_max_percent=None if errors is None else float(errors.max()),
        linearity_interval=interval,
        linearity_noise_percent=alone,
    )


def saturation_index(variance: F8) -> int:
    """Place of the saturation point: the largest variance before it falls for good, found from the top (section 6.6)."""
    best, place = 0.0, 0
    for n in range(variance.size - 1, -1, -1):
        below = variance[n - 1] if n else -math.inf
        if variance[n] >= best or below >= best:
            best, place = float(variance[n]), n
        else:
            break
    return place


def _through_zero(x: F8, y: F8) -> float:
    return float((x * y).sum() / (x * x).sum())


def _dark_variance(data: TemporalData) -> float:
    """Dark variance at no exposure: intercept over the exposures where there are three, else that of the first."""
    times = np.unique(data.exposure_s)
    if times.size <= 2:
        return float(data.dark_variance[0])
    return float(np.polyfit(data.exposure_s, data.dark_variance, 1)[1])


def _levels_of_linearity(light: F8, signal: F8, top: int) -> NDArray[np.bool_] | None:
    """Which levels lie between 5 % and 95 % of saturation; None below 3 of them."""
    inside = (signal >= LINEARITY_FROM * signal[top]) & (signal <= LINEARITY_TO * signal[top])
    return inside if np.unique(light[inside]).size >= 3 else None


def _deviations_from_line(light: F8, signal: F8) -> F8:
    """Deviations in % from the line of least relative deviation (section 6.7)."""
    slope, offset = np.polyfit(light, signal, 1, w=1 / signal)
    line = slope * light + offset
    return np.asarray(100 * (signal - line) / line)


@dataclass(frozen=True, kw_only=True)
class SpatialVariance:
    """Spatial variance of a mean image in DN^2, temporal noise taken out: all, and its parts of rows, columns and single pixels."""

    total: float
    row: float
    column: float
    pixel: float
    mean: float
    error: float  # of the total


def spatial_variance(mean_image: NDArray[Any], variance_of_mean: float) -> SpatialVariance:
    """Split of the spatial variance of ``mean_image`` [y, x] (section 8.2): ``variance_of_mean`` is the temporal variance left in it.

    The averages over rows and columns hold a share of the pixels' variance; three linear equations part them.
    """
    m, n = mean_image.shape
    mean_image, share = _without_gaps(mean_image)
    mean, of_rows, of_columns, measured = _moments(mean_image)
    measured /= share
    total = measured - variance_of_mean
    columns = float(np.mean((of_columns - mean) ** 2)) - variance_of_mean / m
    rows = float(np.mean((of_rows - mean) ** 2)) - variance_of_mean / n
    whole = m * n - m - n
    return SpatialVariance(
        total=total,
        column=(m * n - m) / whole * columns - n / whole * (total - rows),
        row=(m * n - n) / whole * rows - m / whole * (total - columns),
        pixel=m * n / whole * (total - columns - rows),
        mean=mean,
        error=measured * math.sqrt(2 / mean_image.size),
    )


def _without_gaps(image: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """The image with the mean of its columns, else of all, where it is not finite, and the share of pixels that are."""
    bad = ~np.isfinite(image)
    count = int(np.count_nonzero(bad))
    if not count or count == image.size:
        return image, 1.0
    filled = np.where(bad, np.broadcast_to(finite_mean(image, axis=0), image.shape), image)
    return np.where(np.isfinite(filled), filled, np.mean(image[~bad], dtype=np.float64)).astype(image.dtype), 1 - count / image.size


def finite_mean(image: NDArray[Any], axis: int) -> NDArray[Any]:
    """Mean of the finite values along an axis, which stays with length 1; NaN where there is none."""
    good = np.isfinite(image)
    count = good.sum(axis=axis, keepdims=True)
    total = np.where(good, image, 0).sum(axis=axis, keepdims=True, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(image.dtype)


def _moments(image: NDArray[Any]) -> tuple[float, F8, F8, float]:
    """Mean, means of rows and columns, and variance (ddof 1), in strips so that no second image is held."""
    m, n = image.shape
    step = max(1, _STRIP_PIXELS // n)
    of_rows = np.concatenate([image[y : y + step].mean(axis=1, dtype=np.float64) for y in range(0, m, step)])
    mean = float(of_rows.mean())
    of_columns, square = np.zeros(n), 0.0
    for y in range(0, m, step):
        strip = image[y : y + step] - mean
        of_columns += strip.sum(axis=0, dtype=np.float64)
        square += float(np.einsum("ij,ij->", strip, strip, dtype=np.float64))
    return mean, of_rows, mean + of_columns / m, square / (image.size - 1)


@dataclass(frozen=True, kw_only=True)
class NonUniformity:
    """DSNU in e-, PRNU in %: total, row, column, pixel; None where the spatial variance is below what noise leaves (negative)."""

    total: float | None
    row: float | None
    column: float | None
    pixel: float | None
    error: float | None  # of the total


def dsnu(dark: SpatialVariance, gain_dn_per_e: float) -> NonUniformity:
    """Dark signal non-uniformity in e- (eq. 56): spatial deviation of the mean dark image over the gain."""
    return _deviations(dark.total, dark.row, dark.column, dark.pixel, dark.error, 1 / gain_dn_per_e)


def prnu(bright: SpatialVariance, dark: SpatialVariance) -> NonUniformity:
    """Photo response non-uniformity in % (eq. 57), from mean images at half saturation and in the dark."""
    scale = 100 / (bright.mean - dark.mean)
    error = math.hypot(bright.error, dark.error)
    return _deviations(
        bright.total - dark.total, bright.row - dark.row, bright.column - dark.column, bright.pixel - dark.pixel, error, scale
    )


def _deviations(total: float, row: float, column: float, pixel: float, error: float, scale: float) -> NonUniformity:
    def root(value: float) -> float | None:
        return math.sqrt(value) * scale if value > 0 else None

    whole = root(total)
    return NonUniformity(
        total=whole, row=root(row), column=root(column), pixel=root(pixel), error=None if not whole else error * scale**2 / (2 * whole)
    )


def highpass(image: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Image less its smooth part, and the share of a white pattern's variance that stays.

    Smooth part: boxes of 7 x 7 and 11 x 11 and a binomial of 3 x 3 (section 8.1), so that shading by optics and lamp does not count.
    """
    from scipy.ndimage import convolve, uniform_filter

    binomial = np.outer([1, 2, 1], [1, 2, 1]) / 16

    def smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(convolve(uniform_filter(uniform_filter(values, 7, mode="reflect"), 11, mode="reflect"), binomial))

    bad = ~np.isfinite(image)
    if bad.any():
        rough = _highpass_with_gaps(image, bad, smooth)
    else:
        rough = np.asarray(image - np.float32(np.mean(image, dtype=np.float64)), np.float32)
        rough -= smooth(rough)
    unit = np.zeros((41, 41))
    unit[20, 20] = 1
    unit -= convolve(uniform_filter(uniform_filter(unit, 7, mode="constant"), 11, mode="constant"), binomial)
    return rough, float((unit**2).sum())


def _highpass_with_gaps(
    image: NDArray[Any], bad: NDArray[np.bool_], smooth: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The smooth part from finite pixels alone; NaN where the image is not finite."""
    level = np.float32(np.mean(image[~bad], dtype=np.float64)) if not bad.all() else np.float32(0)
    rough = np.where(bad, np.float32(0), np.asarray(np.where(bad, level, image) - level, np.float32))
    rough -= smooth(rough) / np.maximum(smooth((~bad).astype(np.float32)), np.float32(1e-3))
    rough[bad] = np.nan
    return rough


def spectrogram(mean_image: NDArray[Any], axis: int) -> tuple[F8, F8]:
    """Frequencies in cycles a pixel (0..0.5) and the mean power spectrum along rows (``axis`` 1) or columns (0), in DN^2 (section 8.6).

    A white pattern of variance s^2 gives s^2 at every frequency.
    """
    mean_image, _ = _without_gaps(mean_image)
    lines = mean_image if axis == 1 else mean_image.T
    level = float(np.mean(mean_image, dtype=np.float64))
    chosen = np.asarray(lines[:: max(1, -(-len(lines) // MOST_LINES))], np.float64) - level
    power = np.abs(np.fft.rfft(chosen, axis=1)) ** 2 / lines.shape[1]
    return np.asarray(np.fft.rfftfreq(lines.shape[1]), np.float64), np.asarray(power.mean(axis=0), np.float64)
