"""Bias as a function of temperature: bias(T) = a + b T for every pixel, T in C, by weighted least squares over all frames.

a is the level at 0 C.  Frames are weighted by their own noise, outlying frames are left out and named; a second-order residual of the
frames' mean level is looked for and reported, not fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.pixel_fits import PixelFit, fit_pixels, line
from nightcrew.detector.clusters import clusters
from nightcrew.detector.hits import HIT_SIGMA, LEAST_FRAMES, hits_of_lines, mean_without_hits, suspects
from nightcrew.detector.noise import pair_noise, pairs_of
from nightcrew.detector.stack import F4, Frame, FrameStack
from nightcrew.detector.validity import temperature_outside
from nightcrew.errors import RejectedInput
from nightcrew.quality.statistics import MAD_TO_SIGMA, clipped_mean_sigma, median_and_sigma

SAMPLE = 1 << 16  # pixels that frames are judged by
OUTLYING = 6.0  # robust standard deviations of a frame's level or scatter
CURVED = 5.0  # errors of the second-order term
LEAST_SPAN_K = 2.0  # between the extreme temperatures: below, there is no slope


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A frame that was not fitted, by its place in the input, and why."""

    place: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Curvature:
    """Second-order term of the mean level: ``value`` +- ``error`` (adu/K^2), and the largest deviation it makes in the range (adu)."""

    value: float
    error: float
    largest_adu: float

    @property
    def significant(self) -> bool:
        """Whether bias(T) is not straight."""
        return self.error > 0 and abs(self.value) > CURVED * self.error


@dataclass(frozen=True, kw_only=True, eq=False)
class BiasModel:
    """Planes [y, x] float32: ``level`` a (adu at 0 C) and ``slope`` b (adu/K) with errors, ``chi2`` reduced chi^2, ``count`` frames.

    ``correlation`` is that of a and b (the same for all pixels that have every frame).  ``temperatures_c``: lowest and highest fitted.
    """

    level: F4
    slope: F4
    level_error: F4
    slope_error: F4
    chi2: F4
    count: NDArray[np.uint16]
    correlation: float
    temperatures_c: tuple[float, float]
    frame_noise: float
    curvature: Curvature | None = None
    left_out: tuple[LeftOut, ...] = ()
    sloped: bool = True  # False: a mean level, which holds at its own temperature only
    hits: int = 0  # values that were left out as particle hits

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return int(self.level.shape[0]), int(self.level.shape[1])

    def value(self, temperature_c: float) -> F4:
        """Bias [y, x] (adu) at a temperature."""
        made: F4 = self.level + self.slope * np.float32(temperature_c)
        return made

    def error(self, temperature_c: float) -> F4:
        """One standard deviation [y, x] of :meth:`value`; without a slope it grows from the middle of the temperatures measured on."""
        t = np.float32(temperature_c if self.sloped else temperature_c - sum(self.temperatures_c) / 2)
        both = np.float32(2 * self.correlation) * t * self.level_error * self.slope_error
        variance = self.level_error**2 + (self.slope_error * t) ** 2 + both
        made: F4 = np.sqrt(np.maximum(variance, 0))
        return made

    def rows(self, chosen: NDArray[np.int64] | slice) -> BiasModel:
        """The same model for some rows of the frame."""
        planes = ("level", "slope", "level_error", "slope_error", "chi2", "count")
        return replace(self, **{name: getattr(self, name)[chosen] for name in planes})

    def outside(self, temperature_c: float) -> str:
        """Why the model does not hold at a temperature; "" where it does (up to a tenth of the range, at least 1 K, beyond its ends).

        A model without slope holds within half a kelvin.
        """
        return temperature_outside("bias", temperature_c, *self.temperatures_c, no_slope=not self.sloped)


def fit_bias(
    frames: Sequence[Frame],
    temperatures_c: Sequence[float],
    *,
    exclude: NDArray[np.bool_] | None = None,
    memory_bytes: int = 64 << 20,
    threads: int = 2,
) -> BiasModel:
    """Fit bias frames (files or arrays [y, x], adu) against their temperatures (C).

    ``exclude`` [y, x]: pixels that get NaN in every map.  Errors of a and b are those of the frames' noise, times the pixel's own
    sqrt(chi^2) where that is above 1 by more than 3 of its errors.  Chi^2 and ``frame_noise`` are by the noise of pairs of frames of one
    temperature, where there are pairs: scatter about the line itself would make every chi^2 about 1.  RejectedInput when the frames span
    less than 2 K or fewer than 3 are usable.
    """
    temperature = np.asarray(temperatures_c, np.float64)
    if temperature.size != len(frames) or not np.all(np.isfinite(temperature)):
        raise RejectedInput("every bias frame needs a temperature")
    if len(frames) < 3 or np.ptp(temperature) < LEAST_SPAN_K:
        span = float(np.ptp(temperature)) if temperature.size else 0.0
        raise RejectedInput(f"{len(frames)} bias frames over {span:.3g} K: a slope needs 3 frames over at least {LEAST_SPAN_K:g} K")
    kept, sigma, left_out, curvature, by_pairs = _judge(frames, temperature)
    if len(kept) < 3 or np.ptp(temperature[kept]) < LEAST_SPAN_K:
        raise RejectedInput(f"only {len(kept)} of {len(frames)} bias frames agree with each other; first: {left_out[0].reason}")
    used = [frames[i] for i in kept]
    fit = fit_pixels(used, line(temperature[kept].tolist()), frame_sigma=sigma[kept].tolist(), memory_bytes=memory_bytes, threads=threads)
    if fit.errors is None or fit.scatter is None:
        raise RuntimeError("the fit gave no errors")
    hits = _without_hits(used, temperature[kept], sigma[kept], fit, memory_bytes)
    # Pixels of a CMOS sensor have noise of their own; where their scatter says so beyond chance, it counts.
    noisy = fit.scatter > 1 + 3 / np.sqrt(2.0 * max(len(kept) - 2, 1))
    fit.errors[:, noisy] *= fit.scatter[noisy]
    chi2 = np.square(fit.scatter / np.float32(by_pairs))
    if exclude is not None:
        for plane in (*fit.coefficients, *fit.errors, chi2):
            plane[exclude] = np.nan
    return BiasModel(
        level=fit.coefficients[0],
        slope=fit.coefficients[1],
        level_error=fit.errors[0],
        slope_error=fit.errors[1],
        chi2=chi2,
        count=fit.count,
        correlation=_correlation(temperature[kept], sigma[kept]),
        temperatures_c=(float(temperature[kept].min()), float(temperature[kept].max())),
        frame_noise=float(np.median(sigma[kept])) * by_pairs,
        curvature=curvature,
        left_out=tuple(left_out),
        hits=hits,
    )


def _without_hits(frames: Sequence[Frame], t: NDArray[np.float64], sigma: NDArray[np.float64], fit: PixelFit, memory_bytes: int) -> int:
    """Fit pixels that a particle hit again, without the values that were hit; returns how many values those are."""
    if fit.errors is None or fit.scatter is None or len(frames) < LEAST_FRAMES:
        return 0
    places = suspects(fit.scatter * fit.scatter, len(frames) - 2)
    found = 0
    with FrameStack(frames) as stack:
        for part, raw in stack.columns(places):
            y, x = np.divmod(part, stack.shape[1])
            course = fit.coefficients[0][y, x] + np.multiply.outer(t.astype(np.float32), fit.coefficients[1][y, x])
            far = ((raw - course) / sigma.astype(np.float32)[:, None]).max(axis=0) > 0.7 * HIT_SIGMA
            y, x, values = y[far], x[far], raw[:, far]
            hit = hits_of_lines(values, t, sigma)
            struck = hit.any(axis=0)
            if not struck.any():
                continue
            found += int(hit.sum())
            y, x = y[struck], x[struck]
            unhit = np.where(hit, np.float32(np.nan), values)[:, struck]
            again = fit_pixels(
                [row[None] for row in unhit], line(t.tolist()), frame_sigma=sigma.tolist(), memory_bytes=memory_bytes, threads=1
            )
            if again.errors is None or again.scatter is None:
                raise RuntimeError("the fit gave no errors")
            fit.coefficients[:, y, x], fit.errors[:, y, x] = again.coefficients[:, 0], again.errors[:, 0]
            fit.scatter[y, x], fit.count[y, x] = again.scatter[0], again.count[0]
    return found


def level_bias(frames: Sequence[Frame], temperatures_c: Sequence[float]) -> BiasModel:
    """A model without slope from bias frames of one temperature: it holds there and within half a kelvin.

    The mean of each pixel without hits.  Its slope is not known: 0 with a frame's noise per K as its error.  RejectedInput for frames that
    span 2 K or more: their mean holds at none of their temperatures.
    """
    t = np.asarray(temperatures_c, np.float64)
    if t.size == 0 or not np.all(np.isfinite(t)) or np.ptp(t) >= LEAST_SPAN_K:
        raise RejectedInput(f"{t.size} bias frames that span {np.ptp(t) if t.size else 0.0:.3g} K have no common level")
    with FrameStack(frames) as stack:
        ny, nx = stack.shape
        noise = _level_noise(stack)
        level, scatter = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
        count = np.empty((ny, nx), np.uint16)
        for y0, y1 in stack.slabs(16, 32 << 20):
            mean, spread, of = mean_without_hits(stack.rows(y0, y1), noise)
            level[y0:y1], scatter[y0:y1], count[y0:y1] = (plane.reshape(-1, nx) for plane in (mean, spread, of))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.float32(noise) / np.sqrt(count)
    return BiasModel(
        level=level,
        slope=np.zeros_like(level),
        level_error=error.astype(np.float32),
        slope_error=np.full_like(level, noise),
        chi2=np.square(scatter / np.float32(noise)),
        count=count,
        correlation=0.0,
        temperatures_c=(float(t.min()), float(t.max())),
        frame_noise=noise,
        sloped=False,
        hits=int(len(frames) * count.size - int(count.sum(dtype=np.int64))),
    )


def _level_noise(stack: FrameStack) -> float:
    """Noise of one frame (adu): scatter about the frames' mean; of a single frame between neighbours, which is an upper bound."""
    sample = stack.sample(SAMPLE // 4)
    if len(stack) > 1:
        residual = sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        sigma = clipped_mean_sigma(residual.reshape(-1), clip_sigma=5.0)[1] * np.sqrt(len(stack) / (len(stack) - 1))
    else:
        sigma = clipped_mean_sigma(np.diff(sample[0]), clip_sigma=5.0)[1] / np.sqrt(2.0)
    return max(float(sigma), 1e-3)


def _correlation(temperature: NDArray[np.float64], sigma: NDArray[np.float64]) -> float:
    weight = 1 / sigma**2
    return float(-np.sum(weight * temperature) / np.sqrt(np.sum(weight) * np.sum(weight * temperature**2))) if np.any(temperature) else 0.0


def _judge(
    frames: Sequence[Frame], temperature: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[LeftOut], Curvature | None, float]:
    """From a sample of pixels: which frames to fit, the scatter of each about the line (adu), those left out, the curvature, and what
    pairs of frames make of the scatter."""
    with FrameStack(frames) as stack:
        sample = stack.sample(SAMPLE)
        names = [stack.name(i) for i in range(len(stack))]
    good = np.ones(len(frames), bool)
    left_out: list[LeftOut] = []
    for _ in range(3):
        shift, sigma, residual = _residuals(sample, temperature, good)
        bad = _outlying(shift, sigma, good)
        if not bad or good.sum() - len(bad) < 3:
            break
        for place, reason in bad.items():
            good[place] = False
            left_out.append(LeftOut(place, names[place], f"{names[place]}: {reason}"))
    by_pairs = _by_pairs(residual, temperature, sigma, good)
    return np.flatnonzero(good), np.maximum(sigma, 1e-3), left_out, _curvature(shift, temperature, good), by_pairs


def _by_pairs(residual: F4, temperature: NDArray[np.float64], sigma: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    """Noise by pairs of frames of one temperature over the scatter about the line, which holds what no line describes; 1 without pairs."""
    places = np.flatnonzero(good)
    cells = np.empty(places.size, int)
    for number, group in enumerate(clusters(temperature[places])):
        cells[group] = number
    kept = residual if good.all() else residual[places]
    ratios = []
    for one, other in pairs_of(cells.tolist(), kept):
        noise, _ = pair_noise(kept[one], kept[other])
        about = float(np.mean(sigma[places[[one, other]]] ** 2))
        if noise > 0 and about > 0:  # copies of a frame have no noise
            ratios.append(noise**2 / about)
    return float(np.sqrt(np.median(ratios))) if ratios else 1.0


def _residuals(
    sample: F4, temperature: NDArray[np.float64], good: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], F4]:
    """Mean level and scatter (adu) of every frame about the line through the good ones, and what is left of the sample."""
    design = np.column_stack([np.ones_like(temperature), temperature])
    solve = np.linalg.pinv(design[good])
    residual = sample - (design @ (solve @ sample[good])).astype(np.float32)
    numbers = [clipped_mean_sigma(row, clip_sigma=5.0)[:2] for row in residual]
    shift, sigma = np.array(numbers, np.float64).T
    freedom = max(good.sum() - 2, 1) / good.sum()  # the line takes part of the noise away
    return shift, np.where(good, sigma / np.sqrt(freedom), sigma), residual


def _outlying(shift: NDArray[np.float64], sigma: NDArray[np.float64], good: NDArray[np.bool_]) -> dict[int, str]:
    """Frames whose level or scatter lies far from those of the others, with the reason; the worst ones first fitted without."""
    middle, spread = median_and_sigma(shift[good])
    usual, sigma_spread = median_and_sigma(sigma[good])
    # A mean of so many pixels has hardly any noise; below a tenth of a frame's noise a shift does no harm.
    level_limit = max(OUTLYING * spread, 0.1 * usual)
    scatter_limit = max(OUTLYING * sigma_spread, 0.2 * usual)
    found: dict[int, str] = {}
    for place in np.flatnonzero(good):
        if abs(shift[place] - middle) > level_limit:
            found[int(place)] = f"its level is {shift[place]:+.3g} adu off the line of the others (limit {level_limit:.3g})"
        elif abs(sigma[place] - usual) > scatter_limit:
            found[int(place)] = f"its scatter is {sigma[place]:.3g} adu, the others' {usual:.3g} (limit {scatter_limit:.3g} from it)"
    if len(found) > len(shift) // 4:  # so many outliers are no outliers: the line itself does not fit
        worst = sorted(found, key=lambda place: -abs(shift[place] - middle))[: max(1, len(shift) // 10)]
        return {place: found[place] for place in worst} if len(found) < good.sum() // 2 else {}
    return found


def _curvature(shift: NDArray[np.float64], temperature: NDArray[np.float64], good: NDArray[np.bool_]) -> Curvature | None:
    """Second-order term of the levels; None with fewer than three clusters of temperature."""
    t, y = temperature[good], shift[good]
    if len(clusters(t)) < 3 or t.size < 5:
        return None
    centred = t - t.mean()
    design = np.column_stack([np.ones_like(t), centred, centred**2])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ coefficients
    noise = max(MAD_TO_SIGMA * float(np.median(np.abs(residual))), float(np.sqrt(np.mean(residual**2))))
    error = noise * float(np.sqrt(np.linalg.inv(design.T @ design)[2, 2])) * np.sqrt(t.size / max(t.size - 3, 1))
    bow = coefficients[2] * (centred**2 - np.polyval(np.polyfit(centred, centred**2, 1), centred))
    return Curvature(float(coefficients[2]), float(error), float(np.max(np.abs(bow))))
