"""Particle hits in single frames: values far above a pixel's own course, left out where they are few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
HIT_SIGMA = 6.0
LEAST_FRAMES = 5  # fewer do not say which of two values is the hit, when the line has a slope
MOST_HITS = 3  # of a pixel


def mean_without_hits(rows: F4, noise: float) -> tuple[F4, F4, NDArray[np.uint16]]:
    """Mean, sample scatter (NaN of one value) and number of the values of each column of ``rows`` [frame, pixel] without hits.

    A hit lies ``HIT_SIGMA`` above the median, in units of ``noise`` (adu) or of the pixel's own scatter where that is larger.
    With fewer than three frames nothing says which one was hit.
    """
    good = np.isfinite(rows)
    if len(rows) > 2:
        off = rows - _median(rows, good)
        own = 1.4826 * _median(np.abs(off), good)
        with np.errstate(invalid="ignore"):
            good &= off <= HIT_SIGMA * np.maximum(own, noise)
    of = good.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(good, rows, 0.0).sum(axis=0, dtype=np.float64) / of
        squares = (np.where(good, rows - mean, 0.0) ** 2).sum(axis=0)
        spread = np.sqrt(np.where(of > 1, squares / (of - 1), np.nan))
    return mean.astype(np.float32), spread.astype(np.float32), of.astype(np.uint16)


def _median(rows: F4, good: NDArray[np.bool_]) -> F4:
    """Median of the good values of each column, 0 where there are none."""
    if good.all():
        return np.asarray(np.median(rows, axis=0), np.float32)
    some = good.any(axis=0)
    found = np.zeros(rows.shape[1], np.float32)
    found[some] = np.nanmedian(np.where(good, rows, np.float32(np.nan))[:, some], axis=0)
    return found


def suspects(chi2: F4, freedom: int) -> NDArray[np.intp]:
    """Flat places of pixels whose reduced chi^2 leaves room for a hit of ``HIT_SIGMA``."""
    room = 1 + 0.5 * HIT_SIGMA**2 / max(freedom, 1)
    return np.flatnonzero(chi2 > room)


def hits_of_lines(values: F4, t: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of ``values`` [frame, pixel] are hits on a line in ``t`` whose noise in each frame is ``sigma`` (adu).

    One after the other, the value that lies furthest above the line through the others is left out when it does so by ``HIT_SIGMA`` of
    its noise, and of the pixel's own robust scatter where that is larger; at most ``MOST_HITS``, and never where fewer than
    ``LEAST_FRAMES`` values are there.
    """
    good = np.isfinite(values)
    hit = np.zeros(values.shape, bool)
    places = np.arange(values.shape[1])
    for _ in range(MOST_HITS):
        distance = _deleted(np.where(good[:, places], values[:, places], 0.0), good[:, places], t, sigma)
        worst = np.argmax(distance, axis=0)
        far = distance[worst, np.arange(places.size)]
        found = (far > HIT_SIGMA) & (good[:, places].sum(axis=0) >= LEAST_FRAMES)
        worst, places = worst[found], places[found]
        if not places.size:
            break
        hit[worst, places] = True
        good[worst, places] = False
    return hit


def _deleted(
    values: NDArray[np.float64], good: NDArray[np.bool_], t: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each value its distance above the line through the others, in its noise or in the pixel's own scatter; -inf where it is none."""
    weight = np.where(good, 1.0 / sigma[:, None] ** 2, 0.0)
    x = (t - t.mean())[:, None]
    s0, s1, s2 = weight.sum(axis=0), (weight * x).sum(axis=0), (weight * x * x).sum(axis=0)
    y0, y1 = (weight * values).sum(axis=0), (weight * x * values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        determinant = s0 * s2 - s1 * s1
        level, slope = (s2 * y0 - s1 * y1) / determinant, (s0 * y1 - s1 * y0) / determinant
        lever = weight * (s2 - 2 * s1 * x + s0 * x * x) / determinant
        residual = np.where(good & (lever < 0.999), (values - level - slope * x) * np.sqrt(weight), np.nan)
    usable = np.isfinite(residual).any(axis=0)
    residual[:, ~usable] = 0.0
    # Hits pull the line up as a whole; the median of the residuals tells by how much.
    middle = np.nanmedian(residual, axis=0)
    own = 1.4826 * np.nanmedian(np.abs(residual - middle), axis=0)
    distance = (residual - middle) / np.sqrt(np.maximum(1 - lever, 1e-3)) / np.maximum(own, 1.0)
    return np.where(np.isfinite(distance) & usable, distance, -np.inf)
