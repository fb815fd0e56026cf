"""How sure a count of hot pixels is: noise lifts pixels above the threshold and takes others below it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.intervals import LEVEL, Interval, count_interval
from nightcrew.sensor.dark_signal import DarkSeries, HotPixels

F8 = NDArray[np.float64]
BAND_SIGMA = 2.0
"""Width of the bands on both sides of the threshold that tell how steeply the pixels' rates fall there."""


def hot_interval(series: DarkSeries, gain_e_per_adu: float | None, level: float = LEVEL) -> Interval | str:
    """Interval of the number of pixels whose true dark rate is as far above the other pixels' mean as the threshold; or why there is none.

    A pixel of measured rate r is above with probability Phi((r - threshold) / sigma(r)), sigma from the temporal noise of darks and zero
    level and from the shot noise of its own charge; the sum over the pixels is a Poisson-binomial number.  Of rates that get rarer upwards
    noise lifts more above the threshold than it takes below (Eddington 1913): :func:`_lifted` is taken off.  Pixels nearer to that
    mean than to the threshold are not above it.  The interval holds the count.
    """
    hot = series.hot
    if hot is None:
        return series.reason or "no dark rate"
    if gain_e_per_adu is None:
        return "no gain: the noise of a pixel at the threshold is not known"
    typical = _rate_variance(series, gain_e_per_adu)
    if isinstance(typical, str):
        return typical
    rates = np.concatenate([hot.rate_adu_per_s, hot.below_adu_per_s])
    above = _above((rates - hot.threshold_adu_per_s) / _sigma(rates, hot, *typical))
    found, count = count_interval(above, level), hot.rate_adu_per_s.size
    lifted, wider = _lifted(rates, hot, float(_sigma(np.array([hot.threshold_adu_per_s]), hot, *typical)[0]))
    middle, moved = float(above.sum()), count - lifted
    low, high = round(moved - wider * (middle - found.low)), round(moved + wider * (found.high - middle))
    sure = int(np.count_nonzero(above > 1 - 1e-6))
    return Interval(min(max(low, sure), count), max(high, count), level)


def rate_errors(series: DarkSeries, gain_e_per_adu: float | None, rates: F8) -> F8 | str:
    """Error of pixels' dark rates (ADU/s) by temporal noise and their own charge's shot noise; or why it is not known."""
    if series.hot is None:
        return series.reason or "no dark rate"
    if gain_e_per_adu is None:
        return "no gain: the noise of a pixel is not known"
    typical = _rate_variance(series, gain_e_per_adu)
    return typical if isinstance(typical, str) else _sigma(rates, series.hot, *typical)


def _sigma(rates: F8, hot: HotPixels, variance: float, of_shot: float) -> F8:
    return np.asarray(np.sqrt(np.maximum(variance + of_shot * np.maximum(rates - hot.typical_adu_per_s, 0.0), 1e-18)))


def _above(distance: F8) -> F8:
    from scipy.special import ndtr

    return np.asarray(ndtr(distance), np.float64)


def _lifted(rates: F8, hot: HotPixels, sigma: float) -> tuple[float, float]:
    """How many more pixels noise lifts above the threshold than it takes below it, and by what taking that off widens the interval.

    Where rates fall off as exp(-r / scale), s = sigma / scale, noise multiplies their number beyond a threshold by exp(s^2 / 2); s and the
    number come from the pixels in bands of 2 sigma on both sides.
    """
    threshold = hot.threshold_adu_per_s
    width = min(BAND_SIGMA, 0.5 * (threshold - hot.typical_adu_per_s) / sigma)
    near = np.abs(rates - threshold) <= width * sigma
    over = int(np.count_nonzero(near & (rates > threshold))) + 0.5
    under = int(np.count_nonzero(near & (rates <= threshold))) + 0.5
    steep = math.log(under / over) / width
    beyond = over / -math.expm1(-width * steep) if abs(steep) > 1e-6 else math.inf
    lifted = beyond * -math.expm1(-(steep**2) / 2) if math.isfinite(beyond) else 0.0
    return lifted, _wider(width)


def _wider(width: float) -> float:
    """What the error of a count less :func:`_lifted` is in units of the bare count's, for ``width`` of the bands in sigma.

    A pixel counts 1 above the threshold; with (under - over) / (2 width^2) taken off, which is what is lifted where the slope is small,
    it counts 1 + a in the upper band and -a in the lower, a = 1 / (2 width^2).  The variance of that over the noise, summed over true
    rates on both sides of the threshold, is compared with that of the bare count.
    """
    true = np.linspace(-8 - width, 8 + width, 801)
    edges = _above(np.array([-width, 0.0, width])[:, None] - true[None, :])
    a = 1 / (2 * width**2)
    mean = -a * (edges[1] - edges[0]) + (1 + a) * (edges[2] - edges[1]) + (1 - edges[2])
    square = a**2 * (edges[1] - edges[0]) + (1 + a) ** 2 * (edges[2] - edges[1]) + (1 - edges[2])
    return math.sqrt(float((square - mean**2).sum()) / float((edges[1] * (1 - edges[1])).sum()))


def _rate_variance(series: DarkSeries, gain: float) -> tuple[float, float] | str:
    """Variance of a typical pixel's rate (ADU/s)^2, and what each ADU/s beyond the typical one adds to it; or why it is not known.

    The rate is the sum of w (dark - zero level), w = t n / sum(t^2 n), over the exposures t with n frames.  Where one frame alone tells no
    noise, that of the others stands for it, the shot noise of the dark charge between them counted.
    """
    t = np.array([point.exposure_s - series.zero_exposure_s for point in series.points])
    n = np.array([point.frames for point in series.points], np.float64)
    level = np.array([max(point.median, 0.0) for point in series.points])
    stated = [point.temporal_variance for point in series.points]
    floors = [variance - charge / gain for variance, charge in zip(stated, level, strict=True) if variance is not None]
    if series.zero_variance is None and not floors:
        return "one frame of each exposure, and one of the zero level: the noise of a pixel is not known"
    floor = series.zero_variance if series.zero_variance is not None else max(float(np.mean(floors)), 0.0)
    of_frames = np.array([floor + charge / gain if one is None else one for one, charge in zip(stated, level, strict=True)])
    w = t * n / float((t**2 * n).sum())
    variance = float((w**2 * of_frames / n).sum()) + float(w.sum()) ** 2 * floor / max(series.zero_frames, 1)
    return variance, float((w**2 * t / n).sum()) / gain
