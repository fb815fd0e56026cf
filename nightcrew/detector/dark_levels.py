"""What the dark frames say as a whole: noise law, shared shape, and which frames do not belong to the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.bias_model import BiasModel, LeftOut
from nightcrew.detector.clusters import clusters
from nightcrew.detector.dark_shape import DarkShape, Law, fit_shape
from nightcrew.detector.noise import NoiseLaw, noise_law
from nightcrew.detector.stack import F4, FrameStack
from nightcrew.errors import RejectedInput
from nightcrew.quality.statistics import clipped_mean_sigma, median_and_sigma

F8 = NDArray[np.float64]
SAMPLE = 1 << 17  # pixels that the levels are taken from
NOISE_SAMPLE = 1 << 14  # of them, for the scatter of a pair: half a percent, and no pair is held to be better than one
CLIP_SAMPLE = 1 << 13  # of them, for the limits beyond which a value is a hit
ORDINARY = (0.05, 0.95)  # quantiles of the rate between which a pixel is ordinary
MOST_SATURATED = 0.01  # of the ordinary pixels: above, a frame's mean level says nothing
SHARE = 2e-3  # of a level: what two levels may differ by for reasons that noise does not know
OUTLYING = 6.0
LEAST_OFF = 0.03  # of its level, and ...


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Places of the frames to fit, their shared shape, the noise law, and those left out."""

    kept: NDArray[np.int64]
    shape: DarkShape
    noise: NoiseLaw
    left_out: tuple[LeftOut, ...]


def judge_darks(
    stack: FrameStack,
    temperatures_c: F8,
    exposures_s: F8,
    bias: BiasModel,
    *,
    law: Law,
    reference_c: float | None,
    reference_s: float | None,
    free_gamma: bool,
    saturation: float,
) -> Judged:
    """Look at a sample of pixels of all frames; RejectedInput when they do not make a model."""
    signal, saturated = _sampled(stack, temperatures_c, bias, saturation)
    if signal.shape[1] < 100:
        raise RejectedInput("the bias model has too few valid pixels to subtract it from darks")
    dark = saturated.mean(axis=1) <= 0.5
    if not dark.any():
        raise RejectedInput("the darks are saturated")
    every = -(-signal.shape[1] // NOISE_SAMPLE)
    few = np.ascontiguousarray(signal[:, ::every])
    first = [float(np.median(row)) for row in few]
    cells = cell_numbers(temperatures_c, exposures_s)
    noise = noise_law(few, cells, first, floor=0.3 * bias.frame_noise, saturated=saturated[:, ::every])

    def shaped(levels: Sequence[float] | F8, errors: Sequence[float] | F8, good: NDArray[np.bool_]) -> DarkShape:
        return fit_shape(
            np.asarray(levels)[good].tolist(),
            np.asarray(errors)[good].tolist(),
            temperatures_c[good].tolist(),
            exposures_s[good].tolist(),
            law=law,
            reference_c=reference_c,
            reference_s=reference_s,
            free_gamma=free_gamma,
        )

    good = np.ones(len(stack), bool)
    good &= dark  # the median of a frame that is saturated for the most part is no level
    usual = [float(np.sqrt(noise.read**2 + noise.factor * max(level, 0.0)) / 30) for level in first]
    shape = shaped(first, usual, good)
    levels, errors, lost = _levels(signal, saturated, shape.factor(temperatures_c, exposures_s), noise)
    measured = ~lost
    if not (good & measured).any():
        raise RejectedInput("the darks are saturated")
    left_out = [LeftOut(n, stack.name(n), f"{stack.name(n)}: most of its pixels are saturated") for n in np.flatnonzero(~dark).tolist()]
    for _ in range(3):
        shape = shaped(levels, errors, good & measured)
        off = _off(levels, errors, shape, temperatures_c, exposures_s, good & measured)
        if not off:
            break
        for place, reason in off.items():
            good[place] = False
            left_out.append(LeftOut(place, stack.name(place), f"{stack.name(place)}: {reason}"))
    return Judged(np.flatnonzero(good), shape, noise, tuple(left_out))


def _sampled(stack: FrameStack, temperatures_c: F8, bias: BiasModel, saturation: float) -> tuple[F4, NDArray[np.bool_]]:
    """Signal [frame, pixel] (adu) of pixels whose values are all known, and which are saturated.  Row by row: a row stays in the cache."""
    signal = stack.sample(SAMPLE)
    rows = stack.sample_rows(SAMPLE)
    level, slope = bias.level[rows].reshape(-1), bias.slope[rows].reshape(-1)
    saturated, usable = np.empty(signal.shape, bool), np.ones(level.size, bool)
    for i, t in enumerate(temperatures_c.astype(np.float32)):
        np.greater_equal(signal[i], saturation, out=saturated[i])
        signal[i] -= level
        signal[i] -= t * slope
        usable &= np.isfinite(signal[i])
    return (signal, saturated) if usable.all() else (signal[:, usable], saturated[:, usable])


def cell_numbers(temperatures_c: F8, exposures_s: F8, *, gap_k: float = 0.5) -> list[tuple[int, float]]:
    """A number of the cluster of temperature and the exposure, of each frame."""
    cluster = np.empty(temperatures_c.size, int)
    for number, group in enumerate(clusters(temperatures_c, gap_k=gap_k)):
        cluster[group] = number
    return [(int(number), float(f"{seconds:.6g}")) for number, seconds in zip(cluster, exposures_s, strict=True)]


def _levels(signal: F4, saturated: NDArray[np.bool_], factor: F8, noise: NoiseLaw) -> tuple[F8, F8, NDArray[np.bool_]]:
    """Mean level and error (adu) of every frame over ordinary pixels without hits, and which frames are too saturated to tell."""
    f = factor.astype(np.float32)
    weight = 1 / noise.variance(f * np.float32(np.median((f @ signal) / (f @ f))))
    rate = ((weight * f) @ signal) / np.sum(weight * f * f)
    low, high = np.quantile(rate, ORDINARY)
    chosen = (rate >= low) & (rate <= high)
    ordinary = rate[chosen]
    every = -(-ordinary.size // CLIP_SAMPLE)
    levels, errors, share = np.empty(len(f)), np.empty(len(f)), np.empty(len(f))
    for i, whole in enumerate(signal):
        row, course = whole[chosen], f[i] * ordinary
        deviation = (row - course) / np.sqrt(noise.variance(course))
        # Hits go by their distance from the pixel's own course, seen from the frame's: a frame that is off as a whole stays whole.
        middle, sigma, _ = clipped_mean_sigma(deviation[::every], clip_sigma=5.0)
        kept = np.abs(deviation - np.float32(middle)) <= np.float32(5 * sigma)
        levels[i] = float(np.mean(row[kept], dtype=np.float64))
        scatter = float(np.sqrt(noise.read**2 + noise.factor * max(levels[i], 0.0)))
        errors[i] = np.hypot(scatter / np.sqrt(max(int(kept.sum()), 1)), 0.01 * noise.read)
        share[i] = np.count_nonzero(saturated[i] & chosen) / ordinary.size
    return levels, np.hypot(errors, SHARE * levels), share > MOST_SATURATED


def _off(levels: F8, errors: F8, shape: DarkShape, t: F8, seconds: F8, good: NDArray[np.bool_]) -> dict[int, str]:
    """Frames whose level lies far from the shape of the others."""
    expected = shape.rate * shape.factor(t, seconds)
    deviation = (levels - expected) / errors
    if good.sum() < 5:
        return {}
    middle, spread = median_and_sigma(deviation[good])
    found = {}
    for place in np.flatnonzero(good):
        off = levels[place] - expected[place]
        far = abs(deviation[place] - middle) > OUTLYING * max(spread, 1.0)
        # A few percent may be the law's own failing, which is not the frame's.
        if far and abs(off) > max(LEAST_OFF * expected[place], 5 * errors[place]):
            found[int(place)] = f"its mean dark level is {levels[place]:.4g} adu, the others say {expected[place]:.4g}"
    return found if len(found) <= max(1, int(good.sum()) // 5) else {}
