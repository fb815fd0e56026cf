"""The gain as many scripts make it, for comparison with numbers that were published: its bias is known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.frames import Rows, SensorFrame, Window
from nightcrew.sensor.pairs import kept_by_repeated_clip
from nightcrew.sensor.regions import Region

CUSTOMARY_SIGMA = 3.0
CUSTOMARY_EXCESS = 1 / kept_by_repeated_clip(CUSTOMARY_SIGMA) - 1
"""By so much that gain is too high where the noise is Gaussian: 3.1 %."""
_MOST_PIXELS = 1 << 20


def gain_clipped_at_three_sigma(
    first: SensorFrame, second: SensorFrame, region: Region, offset_adu: float, bias_variance: float
) -> float | None:
    """g = S / (V - R) of two flats, with V from their difference clipped at 3 sigma until nothing changes, nothing put back.

    S is the mean level above ``offset_adu``, R what the same clip leaves of ``bias_variance`` (ADU^2, of one frame).  This is no estimate
    of the gain: the clip takes 3.0 % of a Gaussian's variance.  Of large frames rows are sampled, to 0.2 %.  None where nothing is left.
    """
    with first.opened() as a, second.opened() as b:
        one = np.concatenate([_sampled(a, window, len(region.windows)) for window in region.windows])
        two = np.concatenate([_sampled(b, window, len(region.windows)) for window in region.windows])
    finite = np.isfinite(one) & np.isfinite(two)
    if np.count_nonzero(finite) < 2:
        return None
    signal = 0.5 * (one[finite].mean() + two[finite].mean()) - offset_adu
    shot = 0.5 * _clipped_variance(one[finite] - two[finite]) - kept_by_repeated_clip(CUSTOMARY_SIGMA) * bias_variance
    return float(signal / shot) if signal > 0 and shot > 0 and math.isfinite(shot) else None


def _sampled(image: Rows, window: Window, parts: int) -> NDArray[np.float64]:
    """Rows of the window, evenly spread, of not more pixels than are needed."""
    ny, nx = window.shape
    step = max(1, -(-ny * nx * parts // _MOST_PIXELS))
    rows = [window.rows(image, y, y + 1) for y in range(0, ny, step)] if step > 1 else [window.whole(image)]
    return np.concatenate([np.asarray(row, np.float64).reshape(-1) for row in rows])


def _clipped_variance(values: NDArray[np.float64]) -> float:
    """Variance of what is left when all beyond 3 sigma of the median is cut until nothing changes."""
    while True:
        kept = values[np.abs(values - np.median(values)) <= CUSTOMARY_SIGMA * values.std()]
        if kept.size == values.size or kept.size < 2:
            return float(values.var())
        values = kept
