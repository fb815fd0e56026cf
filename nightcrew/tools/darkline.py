"""Dark counts against exposure time: the line counts = offset + slope x exposure, its errors of every kind, and scale factors.

Ordinary least squares of unweighted points, as the GODO reduction does it.  With X the matrix [1, t] and C = (X'X)^-1:

- *unit* errors: sqrt(diag C), the formal errors if every point were uncertain by 1 count (what GODO's README quotes);
- *scatter* errors: these times s, s^2 = sum of squared residuals / (n - 2); unknown for two points;
- *noise* errors: sqrt(diag C X' S X C) with S = diag(noise^2), the propagated errors of the points themselves;
- the *adopted* error is scatter and noise added in squares (what is known of them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightcrew.errors import MissingCalibration, RejectedInput


@dataclass(frozen=True, kw_only=True, slots=True)
class LineErrors:
    """Errors of one coefficient, in its unit; ``None`` where they cannot be known."""

    unit: float
    scatter: float | None
    noise: float | None

    @property
    def adopted(self) -> float | None:
        """Scatter and noise added in squares, ``None`` when neither is known."""
        known = [value for value in (self.scatter, self.noise) if value is not None]
        return math.hypot(*known) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class DarkLine:
    """counts [ADU] = ``offset_adu`` + ``slope_adu_per_s`` x exposure [s], at full precision."""

    offset_adu: float
    slope_adu_per_s: float
    offset_errors: LineErrors
    slope_errors: LineErrors
    n_points: int

    def counts_adu(self, exposure_s: float) -> float:
        """The line at ``exposure_s``."""
        return self.offset_adu + self.slope_adu_per_s * exposure_s

    def factor(self, exposure_s: float, reference_s: float) -> float:
        """What a dark of ``reference_s`` is multiplied by to stand for one of ``exposure_s``.

        :class:`RejectedInput` when the line gives no positive counts at either exposure: then scaling means nothing.
        """
        wanted, reference = self.counts_adu(exposure_s), self.counts_adu(reference_s)
        if not (reference > 0 and wanted > 0):
            found = f"{wanted:.4g} counts at {exposure_s:g} s and {reference:.4g} at {reference_s:g} s"
            raise RejectedInput(f"the dark line gives {found}: darks cannot be scaled by it")
        return wanted / reference


def fit_dark_line(exposures_s: Sequence[float], counts_adu: Sequence[float], noise_adu: Sequence[float] | None = None) -> DarkLine:
    """The line through points (exposure, counts); ``noise_adu`` is the 1-sigma error of each point, when known.

    :class:`MissingCalibration` for fewer than two different exposures, :class:`RejectedInput` for values that are not finite.
    """
    t, y = np.asarray(exposures_s, np.float64), np.asarray(counts_adu, np.float64)
    if len(set(exposures_s)) < 2:
        raise MissingCalibration(f"a dark line needs darks of two exposures or more, there are {len(set(exposures_s))}")
    if not (np.isfinite(t).all() and np.isfinite(y).all()):
        raise RejectedInput("a dark line cannot go through points that are not numbers")
    centre = t.mean()
    dt = t - centre
    spread = float(dt @ dt)
    slope = float(dt @ y) / spread
    offset = float(y.mean() - slope * centre)
    unit = (math.sqrt(1 / t.size + centre**2 / spread), math.sqrt(1 / spread))
    residuals = y - (offset + slope * t)
    scatter = math.sqrt(float(residuals @ residuals) / (t.size - 2)) if t.size > 2 else None
    # each coefficient is a weighted sum of the points
    weights = (1 / t.size - centre * dt / spread, dt / spread)
    noise = None if noise_adu is None else [float(np.linalg.norm(w * np.asarray(noise_adu, np.float64))) for w in weights]
    errors = [
        LineErrors(unit=unit[i], scatter=None if scatter is None else unit[i] * scatter, noise=None if noise is None else noise[i])
        for i in range(2)
    ]
    return DarkLine(offset_adu=offset, slope_adu_per_s=slope, offset_errors=errors[0], slope_errors=errors[1], n_points=t.size)
