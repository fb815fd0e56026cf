"""The uncertainty plane of a master: the scatter of a few frames, freed of its own noise and of single hits.

The scatter of n = 5 values knows its own sigma to 35 % only, and one cosmic ray in one of the frames makes it a hundred
times too large although the median does not move.  Noise, however, varies slowly over a detector: it is read noise and
the photon noise of a smooth level.  So the variance plane is replaced by its local level,

``u^2(x, y) = L[s^2](x, y) (n - 1) / chi2_median(n - 1) + max(m - L[m], 0) / (g n) f``

``L`` is the median over boxes, linear in between; the factor turns the median of the chi-squared law of n - 1 degrees of
freedom into its mean; ``m`` is the master, and the last term the photon noise of a pixel brighter than its surroundings
(a warm pixel of a dark; g the gain, f the variance of a median over that of a mean).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.methods import median_variance
from nightcrew.quality.bad_pixels import smooth_level


def chi_squared_median(degrees: int) -> float:
    """Median of the chi-squared law: exact to 3 degrees, then to 0.4 % (Wilson & Hilferty 1931, doi:10.1073/pnas.17.12.684)."""
    exact = {1: 0.454936, 2: 1.386294, 3: 2.365974}
    return float(exact.get(degrees, degrees * (1.0 - 2.0 / (9.0 * degrees)) ** 3))


def smoothed_uncertainty(
    uncertainty: NDArray[np.float32],
    master: NDArray[np.float32],
    *,
    frames: int,
    gain_e_per_adu: float | None = None,
    floor: float = 0.0,
) -> NDArray[np.float32]:
    """1-sigma uncertainty ``[y, x]`` of a master of ``frames`` frames, in its unit; see the module's text.

    ``uncertainty`` is the scatter-based one of :func:`nightcrew.calibration.combine.combine`.  With one frame there is no
    scatter: the result is ``floor`` everywhere.  ``floor`` is the quantisation limit step / sqrt(12 n).
    """
    if frames < 2 or not np.isfinite(uncertainty).any():
        return np.full(master.shape, floor, np.float32)
    variance = np.square(uncertainty, dtype=np.float32)
    level = smooth_level(variance) * np.float32((frames - 1) / chi_squared_median(frames - 1))
    if gain_e_per_adu:
        excess = np.nan_to_num(master - smooth_level(master), nan=0.0)
        level += np.maximum(excess, 0.0) * np.float32(median_variance(frames) / (gain_e_per_adu * frames))
    return np.asarray(np.sqrt(np.maximum(level, np.float32(floor * floor))), np.float32)
