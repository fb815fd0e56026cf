"""Chunks of a flat into one sensitivity for each pixel and wavelength bin: levels, trimming, variances, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]

LEAST_SIGNIFICANCE, LEAST_OF_PIXEL = 3.0, 7.0
"""Of the mean pixel's counts in a bin, and of a pixel's counts in all bins; below, weights would be noise."""
_PLAIN = 4.0  # significance of counts that cannot be overlooked
_BAND_VALUES = 1 << 20  # [chunk, bin, y, x] that are worked on at a time
_MIDDLE = (25.0, 75.0)  # percentiles between which pixels tell how bright the light is


@dataclass(frozen=True)
class Measured:
    """One chunk of one flat."""

    start_us: int  # Unix time
    stop_us: int
    counts: Singles  # [bin, y, x], as counted
    exposure_s: Floats  # [y, x]
    linearity: Floats  # [y, x]: factor for the photons that dead time took
    used: bool  # its rate is allowed
    lit: Flags  # [bin]: it has light there


@dataclass(frozen=True)
class Combined:
    """Of all chunks together; cubes are [bin, y, x]."""

    sensitivity: Floats  # rate over the level of the array; NaN where there is none
    variance: Floats
    spectrum_cps: Floats
    zero: Flags  # no counts
    chosen: Flags  # weights are made here
    bright: Flags  # the pixel's other bins let expect counts that cannot be overlooked
    chunk_weights: Singles  # [chunk, bin, y, x]
    chunk_error: Singles
    trimmed: Flags


def combine(measured: Sequence[Measured], dark_cps: Floats, dark_variance: Floats, usable: Flags, trim_fraction: float) -> Combined:
    """Sensitivity of every pixel and bin.

    The light of a chunk and bin is the rate of a fixed set of middling pixels, a ratio of sums.  Sensitivities are averaged with the
    inverse variances that their mean lets expect, not with the chunk's own noise.  Weights are made in bins where the mean pixel counts
    enough, for pixels that count enough in all bins together: a choice by a bin's own counts would favour those that are high by chance.
    """
    shape = measured[0].counts.shape
    dark, variance = np.broadcast_to(dark_cps, shape), np.broadcast_to(dark_variance, shape)
    level, total, time_s = _levels(measured, dark, usable)
    chosen, bright = _chosen(total, dark * time_s, variance * time_s**2, usable)
    number, bins, (rows, columns) = len(measured), shape[0], shape[1:]
    found = Combined(
        sensitivity=np.full(shape, np.nan),
        variance=np.full(shape, np.nan),
        spectrum_cps=np.full(shape, np.nan),
        zero=total == 0,
        chosen=chosen,
        bright=bright,
        chunk_weights=np.empty((number, *shape), np.float32),
        chunk_error=np.empty((number, *shape), np.float32),
        trimmed=np.zeros((number, *shape), np.bool_),
    )
    height = max(_BAND_VALUES // (number * bins * columns), 1)
    for low in range(0, rows, height):
        _combine_band(measured, dark, variance, level, trim_fraction, slice(low, min(low + height, rows)), found)
    return found


def _levels(measured: Sequence[Measured], dark_cps: Floats, usable: Flags) -> tuple[Floats, Floats, Floats]:
    """Light [chunk, bin] (NaN: none), counts of all used chunks [bin, y, x], and the time that they were counted in, less dead time."""
    total, time_s = np.zeros(dark_cps.shape), np.zeros(dark_cps.shape)
    for one in measured:
        if one.used:
            total += np.where(one.lit[:, None, None], one.counts, 0.0)
            time_s += np.where(one.lit[:, None, None], one.exposure_s / one.linearity, 0.0)
    whole_s = time_s.max(axis=0)
    rate = np.where(usable & (whole_s > 0), (total - dark_cps * time_s).sum(axis=0) / np.where(whole_s > 0, whole_s, 1.0), 0.0)
    bright = rate[rate > 0]
    low, high = np.percentile(bright, _MIDDLE) if bright.size else (np.inf, np.inf)
    middling = (rate >= low) & (rate <= high)
    level = np.full((len(measured), len(dark_cps)), np.nan)
    for place, one in enumerate(measured):
        part_s = (one.exposure_s / one.linearity)[middling]
        if one.used and part_s.sum() > 0:
            counts = one.counts[:, middling].sum(axis=1, dtype=np.float64) - (dark_cps[:, middling] * part_s).sum(axis=1)
            level[place] = np.where(one.lit & (counts > 0), counts / part_s.sum(), np.nan)
    return level, total, time_s


def _chosen(total: Floats, dark: Floats, dark_variance: Floats, usable: Flags) -> tuple[Flags, Flags]:
    """Where weights are made [bin, y, x], and where the pixel's other bins let expect counts that stand out of their noise."""
    light, noise = np.where(usable, total - dark, 0.0), dark + dark_variance
    of_pixel, of_bin = light.sum(axis=0), light.sum(axis=(1, 2))
    number = max(np.count_nonzero(usable & (of_pixel > 0)), 1)
    mean_noise = np.where(usable, noise, 0.0).sum(axis=(1, 2)) / number
    bins = _stands_out(of_bin / number, mean_noise, LEAST_SIGNIFICANCE)
    pixels = _stands_out(of_pixel, noise.sum(axis=0), LEAST_OF_PIXEL)
    others = (of_bin.sum() - of_bin)[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(others > 0, (of_pixel - light) * of_bin[:, None, None] / others, 0.0)
    return bins[:, None, None] & pixels & usable, _stands_out(expected, noise, _PLAIN)


def _stands_out(light: Floats, noise: Floats, significance: float) -> Flags:
    """Counts of light over their own noise and the variance ``noise`` besides."""
    result: Flags = (light > 0) & (light >= significance * np.sqrt(np.maximum(light, 0) + noise))
    return result


def _combine_band(
    measured: Sequence[Measured], dark_cps: Floats, dark_variance: Floats, level: Floats, trim_fraction: float, band: slice, found: Combined
) -> None:
    """Rows ``band`` of :class:`Combined`, written in place."""
    time_s = np.stack([one.exposure_s[band] / one.linearity[band] for one in measured])[:, None]  # less dead time
    light = level[:, :, None, None]
    dark, variance_of_dark = dark_cps[:, band], dark_variance[:, band]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.stack([one.counts[:, band] for one in measured]) / time_s - dark
        used = np.isfinite(rates) & np.isfinite(light)
        sensitivity = np.where(used, rates / light, np.nan)
        first = _mean(sensitivity, np.where(used, time_s * light, 0.0))  # what the errors are reckoned from
        variance = np.maximum(first * light + dark, 0.0) / time_s / light**2
        used &= np.isfinite(variance) & (variance > 0)
        weight = np.where(used, 1 / np.where(used, variance, 1.0), 0.0)
        common = variance_of_dark / light**2  # the same dark for all chunks: averaging does not lower its noise
        trimmed, spread, shift = _trim(np.where(used, sensitivity, np.nan), trim_fraction)
        combined = _mean(sensitivity, np.where(trimmed, 0.0, weight))
        found.sensitivity[:, band] = combined + shift * _mean(1 / (time_s * light), used.astype(np.float64))
        found.variance[:, band] = spread / weight.sum(axis=0) + _mean(np.broadcast_to(common, variance.shape), used.astype(np.float64))
        found.spectrum_cps[:, band] = _mean(rates, used.astype(np.float64))
        found.chunk_weights[:, :, band] = np.where(used, 1 / sensitivity, np.nan)
        found.chunk_error[:, :, band] = np.where(used, np.sqrt(variance + common) / sensitivity**2, np.nan)
    found.trimmed[:, :, band] = trimmed


def _mean(values: Floats, weight: Floats) -> Floats:
    """Weighted mean over chunks; NaN without a weight."""
    total = weight.sum(axis=0)
    return np.where(total > 0, np.where(weight > 0, values * weight, 0.0).sum(axis=0) / np.where(total > 0, total, 1.0), np.nan)


def _trim(values: Floats, fraction: float) -> tuple[Flags, Floats, Floats]:
    """Values [chunk, ...] that are cut off at both ends, by how much the variance of the mean grows, and counts that its mean lacks.

    Of n chunks int(fraction * n) fall at each end.  The mean of what is left of n normal deviates has the variance of the winsorised
    sample over n (1 - 2 k / n)^2 (Tukey and McLaughlin 1963, Sankhya A 25, 331).  Counts are skewed: a Poisson deviate is
    mean + sigma (z + (z^2 - 1) / (6 sigma)) (Cornish and Fisher 1938), so the mean of the middle lies (1 - <z^2>) / 6 counts low.
    """
    from scipy.special import ndtri

    number = np.isfinite(values).sum(axis=0)
    cut = np.floor(fraction * number + 1e-9).astype(np.int64)
    order = np.argsort(values, axis=0, kind="stable")  # NaN last
    rank = np.argsort(order, axis=0, kind="stable")
    trimmed: Flags = np.isfinite(values) & ((rank < cut) | (rank >= number - cut))
    share = cut / np.maximum(number, 1)
    z = ndtri(1 - np.clip(share, 1e-12, 0.499))
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    middle = (1 - 2 * share) - 2 * z * density  # integral of z^2 over what is left
    spread = np.where(cut > 0, (middle + 2 * share * z**2) / (1 - 2 * share) ** 2, 1.0)
    return trimmed, spread, np.where(cut > 0, (1 - middle / (1 - 2 * share)) / 6, 0.0)
