"""Dark rate and B of every pixel of a block, in counts with their noise: saturated values and hits left out, telegraph pixels found.

d_i = R f_i exp(dB u_i) with the shared shape f_i; R and dB by weighted least squares (Gauss-Newton).  A pixel has its own B where it
determines it: error of B at most ``OWN_B`` of the shared one; elsewhere dB = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.noise import NoiseLaw

F4 = NDArray[np.float32]
Bool = NDArray[np.bool_]

OWN_B = 0.05  # of the shared B: largest error of a pixel's own
HIT_SIGMA = 6.0  # above the pixel's own course: a hit, in so few of its frames that they are no habit
MOST_HITS = 0.2  # of a pixel's frames: more jumps than that are no hits
JUMP_SIGMA = 5.0
UNSTABLE_SIGMA = 10.0  # errors of chi^2 above 1
LARGEST_STEP = 0.5  # of the shared B, in one iteration
FAR_B = 0.1  # of the shared B: pixels that differ by more need further iterations


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What all pixels share, [frame]: factor f (s), u (K) and temperature (C); noise law; value from which a pixel is saturated (adu)."""

    factor: F4
    u: F4
    temperature_c: F4
    b: float
    noise: NoiseLaw
    saturation: float
    typical_rate: float
    own_b: bool


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Of each pixel: rate R (adu/s) and its error, dB (1/K) and its error, correlation of both, reduced chi^2, good frames, hits.

    ``lever`` is what one adu of bias error makes of R (1/s).  NaN where no frame is usable; where the shared B holds dB is 0 and its
    error NaN.
    """

    rate: F4
    rate_error: F4
    db: F4
    db_error: F4
    correlation: F4
    chi2: F4
    lever: F4
    count: NDArray[np.uint16]
    hits: NDArray[np.uint16]
    unstable: Bool
    saturated: Bool

    def put(self, where: NDArray[np.intp], other: Fitted) -> None:
        """Replace the pixels ``where`` by those of ``other``."""
        for name in self.__slots__:
            getattr(self, name)[where] = getattr(other, name)


def empty_planes(n_pixels: int) -> Fitted:
    """Planes to be filled."""
    a, b, c, d, e, f, g = (np.empty(n_pixels, np.float32) for _ in range(7))
    counts, hits = np.empty(n_pixels, np.uint16), np.empty(n_pixels, np.uint16)
    return Fitted(a, b, c, d, e, f, g, counts, hits, np.empty(n_pixels, bool), np.empty(n_pixels, bool))


def fit_block(raw: F4, level: F4, slope: F4, design: Design) -> Fitted:
    """Fit raw values [frame, pixel] (adu) of pixels with bias ``level`` + ``slope`` T; ``raw`` is used up."""
    good: Bool = raw < np.float32(design.saturation)
    good &= np.isfinite(level)
    saturated = ~good.all(axis=0)
    signal = raw
    signal -= level
    signal -= np.multiply.outer(design.temperature_c, slope)
    if saturated.any():
        signal[~good] = 0
    typical = np.float32(design.typical_rate) * design.factor
    weight = np.divide(good, design.noise.variance(typical)[:, None], dtype=np.float32)
    rate = _rate(signal, weight, design.factor)
    weight = np.divide(good, design.noise.variance(np.multiply.outer(design.factor, rate)), dtype=np.float32)
    found, jump = _two_terms(signal, weight, good, design)
    suspects = np.flatnonzero(jump > JUMP_SIGMA)
    if suspects.size:
        found.put(suspects, _carefully(signal[:, suspects], good[:, suspects], design))
    found.saturated[...] = saturated
    return found


def _rate(signal: F4, weight: F4, factor: F4) -> F4:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((factor @ (weight * signal)) / ((factor * factor) @ weight), np.float32)


def _two_terms(signal: F4, weight: F4, good: Bool, design: Design) -> tuple[Fitted, F4]:
    """Rate and B where B is determined, the rate alone elsewhere; and each pixel's largest deviation from its course, in its noise."""
    f, u = design.factor, design.u
    terms = np.stack([f * f, f * f * u, f * f * u * u, f])
    m0, m1, m2, levers = terms @ weight
    y0, y1 = np.stack([f, f * u]) @ (weight * signal)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = y0 / m0
        rate_error = 1 / np.sqrt(m0)
        lever = levers / m0
        # Of a linear fit of R and R dB; error of dB to first order.
        determinant = m0 * m2 - m1 * m1
        db_error = np.sqrt(m0 / determinant) / np.abs(rate)
    own = np.zeros(rate.shape, bool)
    if design.own_b:
        own = (determinant > 1e-6 * m0 * m2) & (db_error <= OWN_B * design.b) & (rate > 0)
    zero = np.zeros_like(rate)
    found = Fitted(
        rate,
        rate_error,
        zero,
        np.full_like(rate, np.nan),
        zero.copy(),
        np.empty_like(rate),
        lever,
        good.sum(axis=0, dtype=np.uint16),
        np.zeros(rate.shape, np.uint16),
        np.zeros(rate.shape, bool),
        np.zeros(rate.shape, bool),
    )
    if own.any():
        with np.errstate(invalid="ignore", divide="ignore"):
            first = (y1 - rate * m1) / determinant  # the first step from dB = 0 needs no exponential
            start = np.stack([rate - m1 * first, m0 * first / rate])
        start[1] = np.clip(np.nan_to_num(start[1], posinf=0, neginf=0), -LARGEST_STEP * design.b, LARGEST_STEP * design.b)
        if 2 * int(own.sum()) > own.size:
            _own_b_of_most(found, own, start, signal, good, design)
        else:
            where = np.flatnonzero(own)
            found.rate[where], found.db[where] = start[0][where], start[1][where]
            _own_b(found, where, signal[:, where], good[:, where], design)
        far = np.flatnonzero(own & (np.abs(found.db) > FAR_B * design.b))
        for _ in range(2 if far.size else 0):
            _own_b(found, far, signal[:, far], good[:, far], design)
    return found, _chi2(found, signal, weight, own, design)


def _own_b_of_most(found: Fitted, own: Bool, start: F4, signal: F4, good: Bool, design: Design) -> None:
    """One step for all pixels, of which those that share B get theirs back: cheaper than picking the columns of most of them."""
    rate, error, others = found.rate.copy(), found.rate_error.copy(), ~own
    found.rate[...] = np.where(own, start[0], rate)
    found.db[...] = np.where(own, start[1], np.float32(0))
    _own_b(found, slice(None), signal, good, design)
    found.rate[others], found.rate_error[others] = rate[others], error[others]
    found.db[others], found.db_error[others], found.correlation[others] = 0, np.nan, 0


def _own_b(found: Fitted, where: NDArray[np.intp] | slice, signal: F4, good: Bool, design: Design) -> None:
    """One Gauss-Newton step for R and dB of the pixels ``where``, whose values are ``signal``; puts in their errors, too."""
    u = design.u[:, None]
    rate, db = found.rate[where], found.db[where]
    shape = np.multiply(u, db)
    np.exp(shape, out=shape)
    shape *= design.factor[:, None]
    residual = np.multiply(shape, rate)
    weight = np.divide(good, design.noise.variance(residual), dtype=np.float32)
    np.subtract(signal, residual, out=residual)
    residual *= weight
    residual *= shape
    weight *= shape
    weight *= shape
    powers = np.stack([np.ones_like(design.u), design.u, design.u**2])
    m0, m1, m2 = powers @ weight
    y0, y1 = powers[:2] @ residual
    most = np.float32(LARGEST_STEP * design.b)
    with np.errstate(invalid="ignore", divide="ignore"):
        determinant = m0 * m2 - m1 * m1
        step_rate = (m2 * y0 - m1 * y1) / determinant
        step_db = (m0 * y1 - m1 * y0) / determinant / rate
        found.rate_error[where] = np.sqrt(m2 / determinant)
        found.db_error[where] = np.sqrt(m0 / determinant) / np.abs(rate)
        found.correlation[where] = -m1 / np.sqrt(m0 * m2)
    found.rate[where] = rate + np.nan_to_num(step_rate, posinf=0, neginf=0)
    found.db[where] = db + np.clip(np.nan_to_num(step_db, posinf=0, neginf=0), -most, most)


def _course(found: Fitted, design: Design) -> F4:
    """What the fit says of every value [frame, pixel]."""
    course: F4 = np.multiply.outer(design.factor, found.rate)
    own = np.flatnonzero(found.db)
    if 2 * own.size > found.db.size:  # picking columns costs more than exponentials of 0
        tilt = np.multiply.outer(design.u, found.db)
        course *= np.exp(tilt, out=tilt)
    elif own.size:
        course[:, own] *= np.exp(np.multiply.outer(design.u, found.db[own]))
    return course


def _chi2(found: Fitted, signal: F4, weight: F4, own: Bool, design: Design) -> F4:
    """Put in the reduced chi^2; returns the largest deviation of each pixel (pixels without a rate have none)."""
    residual = _course(found, design)
    np.subtract(signal, residual, out=residual)
    np.multiply(residual, residual, out=residual)
    residual *= weight
    freedom = np.maximum(found.count.astype(np.float32) - 1 - own, 1)
    found.chi2[...] = residual.sum(axis=0) / freedom
    worst: F4 = np.nan_to_num(np.sqrt(residual.max(axis=0)))
    return worst


def _carefully(signal: F4, good: Bool, design: Design) -> Fitted:
    """Pixels with jumps: a robust start, hits left out where they are few, else the pixel is unstable."""
    strong = design.factor >= 0.1 * design.factor.max()
    ratio = np.where(good, signal / design.factor[:, None], np.nan)[strong]
    # All frames of the pixel may be saturated; its rate stays NaN then.
    known = np.isfinite(ratio).any(axis=0)
    start = np.full(signal.shape[1], np.nan, np.float32)
    if known.any():
        start[known] = np.nanmedian(ratio[:, known], axis=0)
    kept = good.copy()
    found = None
    for _ in range(3):
        course = np.multiply.outer(design.factor, start) if found is None else _course(found, design)
        deviation = (signal - course) / np.sqrt(design.noise.variance(course))
        hit = good & (deviation > HIT_SIGMA)
        many = hit.sum(axis=0) > np.maximum(1, MOST_HITS * good.sum(axis=0))
        hit[:, many] = False
        kept = good & ~hit
        weight = np.divide(kept, design.noise.variance(course), dtype=np.float32)
        found, _ = _two_terms(signal, weight, kept, design)
    if found is None:
        raise RuntimeError("no iteration was made")
    found.hits[...] = good.sum(axis=0) - kept.sum(axis=0)
    freedom = np.maximum(kept.sum(axis=0) - 2.0, 1.0)
    found.unstable[...] = found.chi2 > 1 + UNSTABLE_SIGMA * np.sqrt(2 / freedom)
    return found
