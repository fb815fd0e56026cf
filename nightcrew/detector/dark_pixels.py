"""Dark rate and B of every pixel of a block, in counts with their noise: saturated values and hits left out, telegraph pixels found.

d_i = R f_i exp(dB u_i) with the shared shape f_i; R and dB by weighted least squares (Gauss-Newton).  A pixel has its own B where it
determines it: error of B at most ``OWN_B`` of the shared one; elsewhere dB = 0.

This is the definition that the C kernel (``calibration/kernels/source/dark.c``) is held to, to the last bit: float32, frame after frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import darks
from nightcrew.detector.dark_terms import F4, Bool, Design, Rows, course_of, known, signal_of, variance
from nightcrew.detector.exponential import exponential

HIT_SIGMA = 6.0  # above the pixel's own course: a hit, in so few of its frames that they are no habit
JUMP_SIGMA = 5.0
BLOCK = 1 << 14  # pixels that numpy works on at once


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Of each pixel: rate R (adu/s) and its error, dB (1/K) and its error, correlation of both, reduced chi^2, good frames, hits.

    ``lever`` is what one adu of bias error makes of R (1/s), ``jump`` the largest deviation of a value from the course in its noise.
    NaN where no frame is usable; where the shared B holds dB is 0 and its error NaN.
    """

    rate: F4
    rate_error: F4
    db: F4
    db_error: F4
    correlation: F4
    chi2: F4
    count: NDArray[np.uint16]
    lever: F4
    jump: F4
    hits: NDArray[np.uint16]
    unstable: Bool
    saturated: Bool

    @classmethod
    def empty(cls, n_pixels: int) -> Fitted:
        """Planes to be filled."""
        a, b, c, d, e, f = (np.empty(n_pixels, np.float32) for _ in range(6))
        return cls(a, b, c, d, e, f, np.empty(n_pixels, np.uint16), *Passing.empty(n_pixels))

    def part(self, where: slice) -> Fitted:
        """Views of some pixels."""
        return Fitted(*(getattr(self, name)[where] for name in self.__slots__))

    def put(self, where: NDArray[np.intp], other: Fitted) -> None:
        """Replace the pixels ``where`` by those of ``other``, but for ``jump`` and ``saturated``."""
        for name in self.__slots__:
            if name not in ("jump", "saturated"):
                getattr(self, name)[where] = getattr(other, name)


class Passing(NamedTuple):
    """Those planes of a fit that no model keeps."""

    lever: F4
    jump: F4
    hits: NDArray[np.uint16]
    unstable: Bool
    saturated: Bool

    @classmethod
    def empty(cls, n_pixels: int) -> Passing:
        """Planes to be filled."""
        lever, jump = np.empty(n_pixels, np.float32), np.empty(n_pixels, np.float32)
        return cls(lever, jump, np.empty(n_pixels, np.uint16), np.empty(n_pixels, bool), np.empty(n_pixels, bool))

    def part(self, where: slice) -> Passing:
        """Views of some pixels."""
        return Passing(self.lever[where], self.jump[where], self.hits[where], self.unstable[where], self.saturated[where])


def fit_rows(raw: Sequence[NDArray[Any]], level: F4, slope: F4, design: Design, out: Fitted, *, kernel: str = "auto") -> None:
    """Fit the raw values (adu) of all frames, one flat array [pixel] each, of pixels with bias ``level`` + ``slope`` T, into ``out``."""
    if kernel != "numpy" and darks.available():
        planes = {name: getattr(out, name) for name in out.__slots__}
        darks.fit_rows(raw, design.terms(), design.numbers(HIT_SIGMA), design.own_b, (level, slope), planes, JUMP_SIGMA)
        return
    for start in range(0, level.size, BLOCK):
        part = slice(start, min(level.size, start + BLOCK))
        with np.errstate(all="ignore"):
            _fit_block([row[part].astype(np.float32) for row in raw], level[part], slope[part], design, out.part(part))


def _fit_block(raw: Rows, level: F4, slope: F4, design: Design, out: Fitted) -> None:
    signal = [signal_of(row, level, slope, design, i) for i, row in enumerate(raw)]
    above, below = np.zeros_like(level), np.zeros_like(level)
    for i, row in enumerate(signal):
        good = known(row)
        above += np.where(good, design.first[i] * row, np.float32(0))
        below += np.where(good, design.first_norm[i], np.float32(0))
    found = _two_terms(signal, _weights(signal, above / below, None, design), design)
    for name in found.__slots__:
        getattr(out, name)[...] = getattr(found, name)
    out.saturated[...] = found.count < len(raw)
    suspects = np.flatnonzero(found.jump > np.float32(JUMP_SIGMA))
    if suspects.size:
        out.put(suspects, _carefully([row[suspects] for row in signal], design))


def _weights(signal: Rows, rate: F4, db: F4 | None, design: Design) -> Rows:
    """1 / variance at the course of ``rate`` and ``db`` of every value, 0 where there is none."""
    made = []
    for i, row in enumerate(signal):
        weight = np.float32(1) / variance(course_of(i, rate, db, design), design)
        made.append(np.where(known(row), weight, np.float32(0)))
    return made


def _two_terms(signal: Rows, weights: Rows, design: Design) -> Fitted:
    """Rate and B where B is determined, the rate alone elsewhere; and each pixel's largest deviation from its course, in its noise."""
    zero = np.zeros_like(signal[0])
    m0, m1, m2, lever, y0, y1, count = (zero.copy() for _ in range(7))
    for i, (row, weight) in enumerate(zip(signal, weights, strict=True)):
        weighted = weight * np.where(known(row), row, np.float32(0))
        m0 += weight * design.ff[i]
        m1 += weight * design.ffu[i]
        m2 += weight * design.ffuu[i]
        lever += weight * design.factor[i]
        y0 += weighted * design.factor[i]
        y1 += weighted * design.fu[i]
        count += known(row)
    nan = np.float32(np.nan)
    determinant = m0 * m2 - m1 * m1
    rate = y0 / m0
    db_error = np.sqrt(m0 / determinant) / np.abs(rate)  # of a linear fit of R and R dB, to first order
    own = np.zeros(rate.shape, bool)
    if design.own_b:
        own = (determinant > (m0 * m2) * np.float32(1e-6)) & (db_error <= design.own_limit) & (rate > 0)
    first = (y1 - rate * m1) / determinant  # the first step from dB = 0 needs no exponential
    found = Fitted(
        np.where(own, rate - m1 * first, rate),
        np.where(m0 > 0, np.float32(1) / np.sqrt(m0), nan),
        np.where(own, _clip(_clip(_finite((m0 * first) / rate), design.largest_step), design.largest_db), np.float32(0)),
        np.full_like(rate, nan),
        zero.copy(),
        zero.copy(),
        count.astype(np.uint16),
        lever / m0,
        zero.copy(),
        np.zeros(rate.shape, np.uint16),
        np.zeros(rate.shape, bool),
        np.zeros(rate.shape, bool),
    )
    _step(found, np.flatnonzero(own), signal, design)
    far = np.flatnonzero(own & (np.abs(found.db) > design.far_limit))
    for _ in range(2):
        _step(found, far, signal, design)
    _chi2(found, signal, weights, own, count, design)
    return found


def _finite(x: NDArray[Any]) -> F4:
    return np.where(np.isfinite(x), x, np.float32(0))


def _clip(x: F4, most: np.float32) -> F4:
    return np.clip(x, -most, most)


def _step(found: Fitted, where: NDArray[np.intp], signal: Rows, design: Design) -> None:
    """One Gauss-Newton step for R and dB of the pixels ``where``; puts in their errors, too."""
    if not where.size:
        return
    rate, db = found.rate[where], found.db[where]
    m0, m1, m2, y0, y1 = (np.zeros_like(rate) for _ in range(5))
    for i, all_pixels in enumerate(signal):
        row = all_pixels[where] if where.size < all_pixels.size else all_pixels
        shape = exponential(design.u[i] * db) * design.factor[i]
        course = shape * rate
        good = known(row)
        weight = np.where(good, np.float32(1) / variance(course, design), np.float32(0))
        residual = (np.where(good, row - course, np.float32(0)) * weight) * shape
        weight = (weight * shape) * shape
        m0 += weight
        m1 += weight * design.u[i]
        m2 += weight * design.uu[i]
        y0 += residual
        y1 += residual * design.u[i]
    determinant = m0 * m2 - m1 * m1
    found.rate_error[where] = np.sqrt(m2 / determinant)
    found.db_error[where] = np.sqrt(m0 / determinant) / np.abs(rate)
    found.correlation[where] = -m1 / np.sqrt(m0 * m2)
    found.rate[where] = rate + _finite(np.divide(m2 * y0 - m1 * y1, determinant))
    step = _clip(_finite(((m0 * y1 - m1 * y0) / determinant) / rate), design.largest_step)
    found.db[where] = _clip(db + step, design.largest_db)


def _chi2(found: Fitted, signal: Rows, weights: Rows, own: Bool, count: F4, design: Design) -> None:
    """Put in the reduced chi^2 and the largest deviation of each pixel (pixels without a rate have none)."""
    total, worst = np.zeros_like(found.rate), np.zeros_like(found.rate)
    db = found.db if own.any() else None
    for i, (row, weight) in enumerate(zip(signal, weights, strict=True)):
        residual = np.where(known(row), row - course_of(i, found.rate, db, design), np.float32(0))
        residual = (residual * residual) * weight
        total += residual
        worst = np.where(residual > worst, residual, worst)
    freedom = np.maximum((count - np.float32(1)) - own, np.float32(1))
    found.chi2[...] = np.where(count > 0, total / freedom, np.float32(np.nan))
    found.jump[...] = np.sqrt(worst)


def _carefully(signal: Rows, design: Design) -> Fitted:
    """Pixels with jumps: a robust start, hits left out where they are few, else the pixel is unstable."""
    rate, db, good, found = _robust_rate(signal, design), None, np.zeros(0, np.float32), None
    for _ in range(3):
        kept, good = _without_hits(signal, rate, db, design)
        found = _two_terms(kept, _weights(kept, rate, db, design), design)
        rate, db = found.rate, found.db
    if found is None:
        raise RuntimeError("no iteration was made")
    found.hits[...] = good.astype(np.uint16) - found.count
    freedom = np.maximum(found.count.astype(np.float32) - np.float32(2), np.float32(1))
    limit = np.sqrt(np.float32(2) / freedom) * design.unstable_sigma + np.float32(1)
    found.unstable[...] = found.chi2 > limit
    return found


def _robust_rate(signal: Rows, design: Design) -> F4:
    """Median of the rates in the frames with much signal; NaN where all are saturated."""
    strong = np.flatnonzero(design.factor >= design.strong)
    ratio = np.sort([signal[i] / design.factor[i] for i in strong], axis=0)  # NaN behind all others
    count = np.sum(known(ratio), axis=0)
    columns = np.arange(count.size)
    low, high = (ratio[np.minimum(np.maximum(rank, 0), len(ratio) - 1), columns] for rank in ((count - 1) // 2, count // 2))
    return np.where(count > 0, np.float32(0.5) * (low + high), np.float32(np.nan))


def _without_hits(signal: Rows, rate: F4, db: F4 | None, design: Design) -> tuple[Rows, F4]:
    """The signal without values far above the course, where these are few; and how many values are good."""
    good, many, hits = np.zeros_like(rate), np.zeros_like(rate), []
    for i, row in enumerate(signal):
        course = course_of(i, rate, db, design)
        off = row - course
        hits.append((off > 0) & (off * off > variance(course, design) * np.float32(HIT_SIGMA**2)))
        good += known(row)
        many += hits[-1]
    few = many <= np.maximum(good * design.most_hits, np.float32(1))
    return [np.where(hit & few, np.float32(np.nan), row) for hit, row in zip(hits, signal, strict=True)], good
