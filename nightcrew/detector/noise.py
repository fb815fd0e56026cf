"""Noise of a sensor from its own frames: variance = read^2 + factor x signal, by differences of frames of one cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import clipped_mean_sigma

F4 = NDArray[np.float32]
QUANTISATION = 1 / np.sqrt(12.0)
LEAST_USABLE = 0.5  # of a frame's pixels


@dataclass(frozen=True, slots=True)
class NoiseLaw:
    """Variance of a pixel in one frame: ``read``^2 + ``factor`` x signal; ``read`` in adu, ``factor`` in adu (1 / gain in e-/adu)."""

    read: float
    factor: float

    def variance(self, signal: F4) -> F4:
        """Variance (adu^2) at ``signal`` (adu without bias)."""
        law: F4 = np.maximum(signal, 0) * np.float32(self.factor) + np.float32(self.read**2)
        return law


def pair_noise(first: F4, second: F4) -> tuple[float, float]:
    """Temporal noise of one frame and its error, from two frames of a cell: clipped scatter of the difference / sqrt(2).

    Values that are not finite in both take no part.
    """
    difference = (second - first).astype(np.float64)
    difference = difference[np.isfinite(difference)]
    _, sigma, count = clipped_mean_sigma(difference - np.median(difference), clip_sigma=5.0)
    return sigma / np.sqrt(2.0), sigma / np.sqrt(2.0) / np.sqrt(2.0 * max(count - 1, 1))


def pairs_of(cells: Sequence[object], frames: F4) -> list[tuple[int, int]]:
    """Neighbours in level among the frames of each cell, whatever the order of the frames in the list."""
    groups: dict[object, list[int]] = {}
    for place, cell in enumerate(cells):
        groups.setdefault(cell, []).append(place)
    found = []
    with np.errstate(invalid="ignore"):
        for group in groups.values():
            ordered = (
                sorted(group, key=lambda place: (float(np.nanmean(frames[place], dtype=np.float64)), place)) if len(group) > 1 else group
            )
            found += list(pairwise(ordered))
    return found


def noise_law(
    frames: F4, cells: Sequence[object], levels: Sequence[float], *, floor: float = 0.0, saturated: NDArray[np.bool_] | None = None
) -> NoiseLaw:
    """The law from frames [frame, pixel] whose ``cells`` (equal for equal conditions) and ``levels`` (adu without bias) are known.

    A straight line through the pairs' variances, each weighted by its own error; ``floor`` is the least read noise (adu).  ``saturated``
    [frame, pixel]: values that have no noise of their own; a pair that is left with less than half of its pixels tells nothing.  With no
    pair of one cell the scatter over pixels of all frames stands in for it, which overestimates the noise.
    """
    known = frames if saturated is None or not saturated.any() else np.where(saturated, np.float32(np.nan), frames)
    usable = np.isfinite(known).mean(axis=1) >= LEAST_USABLE
    signal, variance, error = [], [], []
    for one, other in pairs_of([cell if usable[n] else ("unusable", n) for n, cell in enumerate(cells)], known):
        sigma, sigma_error = pair_noise(known[one], known[other])
        signal.append((levels[one] + levels[other]) / 2)
        variance.append(sigma**2)
        error.append(max(2 * sigma * sigma_error, 1e-6))
    if not variance:
        steps = np.diff(known[usable].astype(np.float64), axis=1).reshape(-1)[: 1 << 20]
        steps = steps[np.isfinite(steps)]
        spread = clipped_mean_sigma(steps, clip_sigma=5.0)[1] if steps.size else 0.0
        return NoiseLaw(max(spread / np.sqrt(2.0), floor, QUANTISATION), 0.0)
    return _line(np.asarray(signal), np.asarray(variance), np.asarray(error), floor)


def _line(signal: NDArray[np.float64], variance: NDArray[np.float64], error: NDArray[np.float64], floor: float) -> NoiseLaw:
    weight = 1 / (error**2 + (0.02 * variance) ** 2)  # pixels differ: no pair is better than two percent
    mean_s, mean_v = np.average(signal, weights=weight), np.average(variance, weights=weight)
    spread = float(np.sum(weight * (signal - mean_s) ** 2))
    slope = float(np.sum(weight * (signal - mean_s) * (variance - mean_v)) / spread) if spread > 0 and np.ptp(signal) > 1 else 0.0
    slope = max(slope, 0.0)
    least = max(floor, QUANTISATION) ** 2
    read = mean_v - slope * mean_s
    if read < least:  # the line is steered by the bright end; the darkest pair bounds the read noise from above
        read = max(least, float(np.min(variance)) / 2)
    return NoiseLaw(float(np.sqrt(read)), slope)
