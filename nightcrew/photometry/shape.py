"""Width, ellipticity and direction of sources, from Gaussian-weighted moments that adapt to each source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.parameters import FWHM_PER_SIGMA

Double = NDArray[np.float64]

ITERATIONS = 12
CONVERGED = 1e-3
STAMP_SIGMA = 3.5
MIN_STARS = 3
BRIGHT_SNR = 20.0


@dataclass(frozen=True, slots=True)
class Shapes:
    """One value a source; NaN where ``ok`` is False.

    ``fwhm_px``: geometric mean over both axes; ``ellipticity``: 1 - b/a; ``theta_deg``: of the long axis, from +x towards +y, [0, 180).
    """

    fwhm_px: Double
    ellipticity: Double
    theta_deg: Double
    ok: NDArray[np.bool_]


def adaptive_shapes(above: NDArray[np.float32], x: Double, y: Double, guess_fwhm_px: float) -> Shapes:
    """Shapes of the sources at (``x``, ``y``) on the background-free image ``above`` ``[y, x]``.

    Second moments ``C`` under an elliptical Gaussian weight of covariance ``W``; for a Gaussian source ``C^-1 = S^-1 + W^-1``,
    and ``W`` is set to the source ``S`` until nothing changes (then ``S = 2 C``).  The pixel's own width is part of the result.
    Method: Bernstein & Jarvis 2002 (doi:10.1086/338085), section 3, with the centre held fixed.
    """
    n = x.size
    if n == 0:
        none = np.empty(0)
        return Shapes(none, none, none, np.empty(0, np.bool_))
    sigma = guess_fwhm_px / FWHM_PER_SIGMA
    stamp, dx, dy = _stamps(above, x, y, half=int(np.ceil(STAMP_SIGMA * sigma)))
    xx = np.full(n, sigma**2)
    yy, xy = xx.copy(), np.zeros(n)
    ok = np.ones(n, np.bool_)
    change = np.full(n, np.inf)
    active = np.arange(n)
    for _ in range(ITERATIONS):
        new = _step(stamp[active], dx[active], dy[active], xx[active], yy[active], xy[active])
        valid = _valid(*new, limit=(2.5 * sigma) ** 2)
        ok[active[~valid]] = False
        change[active] = np.abs(new[0] - xx[active]) + np.abs(new[1] - yy[active])
        keep = active[valid]
        xx[keep], yy[keep], xy[keep] = (value[valid] for value in new)
        active = keep[change[keep] > CONVERGED * xx[keep]]
        if active.size == 0:
            break
    ok[active] &= change[active] < 0.05 * xx[active]
    return _shapes(xx, yy, xy, ok)


def frame_fwhm(shapes: Shapes, snr: Double, usable: NDArray[np.bool_]) -> float | None:
    """Median FWHM in px of the frame's ``usable`` stars above a signal to noise of 20 (all, if fewer than 3); ``None`` without any."""
    fair = shapes.ok & usable
    bright = fair & (snr > BRIGHT_SNR)
    chosen = bright if np.count_nonzero(bright) >= MIN_STARS else fair
    return float(np.median(shapes.fwhm_px[chosen])) if chosen.any() else None


def _stamps(above: NDArray[np.float32], x: Double, y: Double, half: int) -> tuple[NDArray[np.float32], Double, Double]:
    """Pixels [n, side, side] about each source (0 beyond the frame) and their offsets dx [n, 1, side], dy [n, side, 1]."""
    ny, nx = above.shape
    offset = np.arange(-half, half + 1)
    xi = np.rint(x).astype(np.intp)[:, None] + offset
    yi = np.rint(y).astype(np.intp)[:, None] + offset
    inside = ((yi >= 0) & (yi < ny))[:, :, None] & ((xi >= 0) & (xi < nx))[:, None, :]
    stamp = above[np.clip(yi, 0, ny - 1)[:, :, None], np.clip(xi, 0, nx - 1)[:, None, :]]
    stamp = np.where(inside, stamp, np.float32(0.0))
    return stamp, (xi - x[:, None])[:, None, :], (yi - y[:, None])[:, :, None]


def _step(stamp: NDArray[np.float32], dx: Double, dy: Double, xx: Double, yy: Double, xy: Double) -> tuple[Double, Double, Double]:
    """New covariance of the sources from moments under the present one as weight (NaN where there is no light)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        determinant = xx * yy - xy * xy
        cxx, cyy, cxy = (value[:, None, None] / determinant[:, None, None] for value in (yy, xx, -xy))
        exponent = (-0.5 * (cxx * dx * dx + cyy * dy * dy) - cxy * dx * dy).astype(np.float32)
        weighted = np.exp(exponent, out=exponent)
        weighted *= stamp
        rows, columns = weighted.sum(axis=2, dtype=np.float64), weighted.sum(axis=1, dtype=np.float64)
        total = rows.sum(axis=1)
        fx, fy = dx[:, 0, :], dy[:, :, 0]
        mxx = (columns * fx * fx).sum(axis=1) / total
        myy = (rows * fy * fy).sum(axis=1) / total
        mxy = (np.einsum("nyx,nx->ny", weighted, fx, dtype=np.float64) * fy).sum(axis=1) / total
        return _deconvolve(mxx, myy, mxy, xx, yy, xy)


def _deconvolve(mxx: Double, myy: Double, mxy: Double, xx: Double, yy: Double, xy: Double) -> tuple[Double, Double, Double]:
    """Covariance S of the source from the weighted moments M and the weight W: S^-1 = M^-1 - W^-1."""
    dm, dw = mxx * myy - mxy * mxy, xx * yy - xy * xy
    ixx, iyy, ixy = myy / dm - yy / dw, mxx / dm - xx / dw, -mxy / dm + xy / dw
    di = ixx * iyy - ixy * ixy
    sign = np.where((di > 0) & (ixx > 0) & (dm > 0), 1.0, np.nan)
    return sign * iyy / di, sign * ixx / di, -sign * ixy / di


def _valid(xx: Double, yy: Double, xy: Double, limit: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray((xx > 0) & (yy > 0) & (xx * yy > xy * xy) & (xx < limit) & (yy < limit), np.bool_)


def _shapes(xx: Double, yy: Double, xy: Double, ok: NDArray[np.bool_]) -> Shapes:
    mean, spread = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    long2, short2 = mean + spread, np.maximum(mean - spread, 1e-12)
    fwhm = FWHM_PER_SIGMA * (long2 * short2) ** 0.25
    ellipticity = 1.0 - np.sqrt(short2 / long2)
    theta = np.degrees(0.5 * np.arctan2(2.0 * xy, xx - yy)) % 180.0
    fwhm, ellipticity, theta = (np.where(ok, value, np.nan) for value in (fwhm, ellipticity, theta))
    return Shapes(fwhm, ellipticity, theta, ok)
