"""Dark signal of a region at one temperature: rate, its spread over the pixels, hot pixels, trapped charge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import clipped_mean_sigma, median_and_sigma
from nightcrew.sensor.frames import Window
from nightcrew.sensor.groups import Group
from nightcrew.sensor.regions import Region
from nightcrew.sensor.robust import clipped_moments, sampled, stretch_of
from nightcrew.sensor.stacks import Stack, stack

F8 = NDArray[np.float64]
FALLING_SIGMA = 5.0
"""A dark rate so many of its errors below 0 is no chance, and no dark current."""
HOT_SIGMA = 8.0
"""A pixel whose dark rate exceeds the median by this many robust sigmas of the pixels' rates is hot."""


@dataclass(frozen=True, slots=True)
class HotPixels:
    """Hot pixels in the stored array, brightest first: rows, columns and rates in ADU/s; the threshold, and the mean rate of the others.

    ``below_adu_per_s``: rates of the others that are nearer to the threshold than to their mean, at ``below_y``, ``below_x``.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    rate_adu_per_s: F8
    threshold_adu_per_s: float
    typical_adu_per_s: float
    below_adu_per_s: F8
    below_y: NDArray[np.int64]
    below_x: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DarkPoint:
    """Darks of one exposure without hot pixels: level above the bias, its error, and the non-uniformity (DSNU), all in ADU.

    ``temporal_variance`` of one frame (None with one); ``dsnu`` None with its reason when noise hides it.  ``level_error`` is this
    exposure's own; that of the zero level, common to all points, goes into the rate.
    """

    exposure_s: float
    frames: int
    level: float
    level_error: float
    median: float
    temporal_variance: float | None
    dsnu: float | None
    dsnu_error: float | None
    dsnu_reason: str
    rays: int


@dataclass(frozen=True, kw_only=True)
class DarkSeries:
    """Darks of one temperature.  ``rate_adu_per_s`` None: ``reason`` says why; the points stay.

    The rate is the mean of all pixels but the hot ones, ``median_rate_adu_per_s`` that of the typical pixel: warm pixels lie between.
    ``intercept_adu``: level of the darks above the biases at no exposure; with fewer than three exposures it is taken as 0 (then None).
    ``variance_slope``: in ADU^2/s.  The zero level is that of ``zero_frames`` frames of ``zero_exposure_s`` with the temporal variance
    ``zero_variance`` (ADU^2, None with one).
    """

    region: str
    temperature_c: float | None
    mean_temperature_c: float | None
    temperature_error_c: float
    points: tuple[DarkPoint, ...]
    rate_adu_per_s: float | None
    rate_error_adu_per_s: float | None
    median_rate_adu_per_s: float | None
    intercept_adu: float | None
    intercept_error_adu: float | None
    variance_slope: float | None
    hot: HotPixels | None
    rate_map: NDArray[np.float32] | None
    reason: str = ""
    zero_exposure_s: float = 0.0
    zero_frames: int = 0
    zero_variance: float | None = None


def dark_series(
    darks: Sequence[Group], bias: Group | None, region: Region, *, drift_adu: float = 0.0, keep_map: bool = False
) -> DarkSeries:
    """Rate and non-uniformity from unflooded darks of one temperature and the biases there.

    Without a bias the shortest darks stand for it (two exposures are then needed).  ``drift_adu`` is the scatter of the bias level
    between frames: darks drift as biases do.  The windows of a region are put together.
    """
    ordered = sorted(darks, key=lambda group: group.exposure_s)
    warm = ordered[0].temperature_c if ordered else None
    zero = bias if bias is not None else (ordered[0] if len(ordered) > 1 else None)
    longer = [group for group in ordered if zero is not None and group is not zero and group.exposure_s > zero.exposure_s]
    if zero is None or not longer:
        reason = "no darks" if not ordered else "darks of one exposure and no bias: a rate needs two exposures"
        return _without(region, warm, reason)
    parts = [_part(zero, longer, window) for window in region.windows]
    times = np.array([group.exposure_s - zero.exposure_s for group in longer])
    rates = np.concatenate([sampled(part.rate, 1 << 20) for part in parts])
    if not np.isfinite(rates).any():
        return _without(region, warm, "no pixel is finite in all darks and biases")
    threshold = _threshold(rates)
    hot = _hot_pixels(parts, region.windows, threshold)
    zero_noise = [part.zero.temporal_variance for part in parts if part.zero.temporal_variance is not None]
    points = tuple(_point(parts, place, group, threshold, drift_adu) for place, group in enumerate(longer))
    sigma = np.array([max(point.level_error, 1e-9) for point in points])
    zero_error = _zero_error(parts, zero, points, drift_adu)
    rate, error, intercept, intercept_error = _slope(times, np.array([point.level for point in points]), sigma, zero_error)
    median_rate = _slope(times, np.array([point.median for point in points]), sigma, zero_error)[0]
    falls = _falls(rate, error)
    return DarkSeries(
        region=region.name,
        reason=falls,
        temperature_c=warm,
        mean_temperature_c=_mean_temperature(ordered)[0],
        temperature_error_c=_mean_temperature(ordered)[1],
        points=points,
        rate_adu_per_s=None if falls else rate,
        rate_error_adu_per_s=None if falls else error,
        median_rate_adu_per_s=None if falls else median_rate,
        intercept_adu=intercept,
        intercept_error_adu=intercept_error,
        variance_slope=_variance_slope(points),
        hot=hot,
        rate_map=parts[0].rate if keep_map and len(parts) == 1 else None,
        zero_exposure_s=zero.exposure_s,
        zero_frames=len(zero.frames),
        zero_variance=float(np.mean(zero_noise)) if zero_noise else None,
    )


def _falls(rate: float, error: float) -> str:
    """Why a rate is none that is below 0 by more than chance; "" for others."""
    if rate >= -FALLING_SIGMA * error:
        return ""
    fall = f"{-rate:.3g} +- {error:.2g} ADU/s"
    return (
        f"the level of the darks falls with their exposure, by {fall}: the camera sets it anew in each dark, and it tells no dark current"
    )


def _without(region: Region, temperature_c: float | None, reason: str) -> DarkSeries:
    return DarkSeries(
        region=region.name,
        temperature_c=temperature_c,
        mean_temperature_c=temperature_c,
        temperature_error_c=0.0,
        points=(),
        rate_adu_per_s=None,
        rate_error_adu_per_s=None,
        median_rate_adu_per_s=None,
        intercept_adu=None,
        intercept_error_adu=None,
        variance_slope=None,
        hot=None,
        rate_map=None,
        reason=reason,
    )


def _mean_temperature(groups: Sequence[Group]) -> tuple[float | None, float]:
    """Mean temperature of the frames, and its error: their scatter over the root of their number."""
    values = [frame.header.temperature_c for group in groups for frame in group.frames if frame.header.temperature_c is not None]
    if not values:
        return None, 0.0
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


@dataclass(frozen=True, eq=False)
class _Part:
    """One window: stacks above the zero level, and the rate of every pixel (ADU/s)."""

    stacks: list[Stack]
    zero: Stack
    rate: NDArray[np.float32]


def _part(zero: Group, longer: Sequence[Group], window: Window) -> _Part:
    base = stack(zero.frames, window)
    stacks = [stack(group.frames, window) for group in longer]
    above, total = np.zeros(base.mean.shape, np.float32), 0.0
    for group, one in zip(longer, stacks, strict=True):
        time = group.exposure_s - zero.exposure_s
        above += np.float32(time * len(group.frames)) * (one.mean - base.mean)
        total += time**2 * len(group.frames)
    return _Part(stacks, base, above / np.float32(total))


def _threshold(rates: NDArray[np.float32]) -> float:
    finite = rates[np.isfinite(rates)]
    median, sigma = median_and_sigma(finite)
    if sigma == 0:  # most pixels have one and the same whole number
        sigma = clipped_mean_sigma(finite, clip_sigma=HOT_SIGMA)[1]
    return median + HOT_SIGMA * max(sigma, 1e-9)


def _hot_pixels(parts: Sequence[_Part], windows: Sequence[Window], threshold: float) -> HotPixels:
    others = _joined([part.rate[part.rate <= threshold] for part in parts])
    typical = float(others.mean(dtype=np.float64)) if others.size else threshold
    y, x, rate = _found(parts, windows, threshold, math.inf)
    order = np.argsort(-rate, kind="stable")
    below_y, below_x, below = _found(parts, windows, 0.5 * (typical + threshold), threshold)
    return HotPixels(y[order], x[order], rate[order], threshold, typical, below, below_y, below_x)


def _found(
    parts: Sequence[_Part], windows: Sequence[Window], above: float, up_to: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], F8]:
    """Rows and columns in the stored array, and rates, of the pixels with ``above`` < rate <= ``up_to``."""
    ys, xs, rates = [], [], []
    for part, window in zip(parts, windows, strict=True):
        y, x = np.nonzero((part.rate > above) & (part.rate <= up_to))
        ys.append(window.y0 + y * window.step)
        xs.append(window.x0 + x * window.step)
        rates.append(part.rate[y, x].astype(np.float64))
    return np.concatenate(ys), np.concatenate(xs), np.concatenate(rates)


def _point(parts: Sequence[_Part], place: int, group: Group, threshold: float, drift_adu: float) -> DarkPoint:
    cold = [part.rate <= threshold for part in parts]
    above = _joined([(part.stacks[place].mean - part.zero.mean)[ok] for part, ok in zip(parts, cold, strict=True)])
    n_frames = len(group.frames)
    # one or two frames: what cosmic rays left is still in them
    level = float(above.mean(dtype=np.float64)) if n_frames > 2 else clipped_moments(above, 6.0)[0]
    variances = [part.stacks[place].temporal_variance for part in parts]
    known = [value for value in variances if value is not None]
    temporal = float(np.mean(known)) if len(known) == len(variances) else None
    noise = temporal if temporal is not None else float(above.var(dtype=np.float64))
    pixel_error = math.sqrt(noise / n_frames / above.size)
    median = float(np.median(sampled(above, 1 << 20)))
    del above
    values = _joined([part.stacks[place].mean[ok] for part, ok in zip(parts, cold, strict=True)])
    dsnu, dsnu_error, reason = _non_uniformity(values, temporal, n_frames)
    return DarkPoint(
        exposure_s=group.exposure_s,
        frames=n_frames,
        level=level,
        level_error=math.hypot(pixel_error, drift_adu / math.sqrt(n_frames)),
        median=median,
        temporal_variance=temporal,
        dsnu=dsnu,
        dsnu_error=dsnu_error,
        dsnu_reason=reason,
        rays=sum(part.stacks[place].rays for part in parts),
    )


def _joined(arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _non_uniformity(values: NDArray[np.float32], temporal: float | None, frames: int) -> tuple[float | None, float | None, str]:
    """Standard deviation over the pixels of the mean image, its temporal part taken out (EMVA 1288 R4, section 8.2)."""
    if temporal is None:
        return None, None, "one dark alone: pattern and noise cannot be told apart"
    _, sigma, kept = clipped_moments(values, 8.0)
    spatial = sigma**2
    pattern = spatial - temporal / frames
    error = spatial * math.sqrt(2 / kept)
    if not pattern > 2 * error:
        return None, None, f"below what noise lets see ({math.sqrt(2 * error):.3g} ADU)"
    return math.sqrt(pattern), error / (2 * math.sqrt(pattern)), ""


def _zero_error(parts: Sequence[_Part], zero: Group, points: Sequence[DarkPoint], drift_adu: float) -> float:
    """Error of the zero level in ADU: its pixels' noise, of one frame alone taken as that of the darks, and the drift of its frames."""
    n_frames, pixels = len(zero.frames), sum(int(np.count_nonzero(np.isfinite(part.rate))) for part in parts)
    known = [part.zero.temporal_variance for part in parts if part.zero.temporal_variance is not None]
    noise = known or [point.temporal_variance for point in points if point.temporal_variance is not None]
    variance = float(np.mean(noise)) if noise else 0.0
    return math.hypot(math.sqrt(variance / n_frames / max(pixels, 1)), drift_adu / math.sqrt(n_frames))


def _slope(times: F8, level: F8, sigma: F8, zero_error: float = 0.0) -> tuple[float, float, float | None, float | None]:
    """Rate and its error from a weighted line, and the line's level at no exposure.

    A camera may set another level for a dark than for a bias, so the line has its own intercept where three exposures bear it; that
    takes up the error of the zero level.  With fewer it goes through the zero level, whose error moves all points alike and so the
    rate.  The errors grow where the points scatter more than theirs.
    """
    free = np.unique(times).size >= 3
    design = np.column_stack([times, np.ones_like(times)]) if free else times[:, None]
    weighted = design / sigma[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    beta = covariance @ weighted.T @ (level / sigma)
    freedom = times.size - design.shape[1]
    stretch = stretch_of(float((((level - design @ beta) / sigma) ** 2).sum()), freedom)
    error = math.sqrt(covariance[0, 0]) * stretch
    if free:
        return float(beta[0]), error, float(beta[1]), math.hypot(math.sqrt(covariance[1, 1]) * stretch, zero_error)
    pull = float((covariance @ weighted.T @ (1 / sigma))[0])  # of the rate, when all levels move by 1 ADU
    return float(beta[0]), math.hypot(error, pull * zero_error), None, None


def _variance_slope(points: Sequence[DarkPoint]) -> float | None:
    """Slope of temporal variance against exposure in ADU^2/s; None with fewer than three exposures that have it."""
    known = [(point.exposure_s, point.temporal_variance, point.frames) for point in points if point.temporal_variance is not None]
    if len(known) < 3:
        return None
    t, v, n = (np.array(column, np.float64) for column in zip(*known, strict=True))
    weights = np.sqrt(np.maximum(n - 1, 1)) / np.maximum(v, 1e-12)
    return float(np.polyfit(t, v, 1, w=weights)[0])
