"""Full well in electrons: the bracket that the levels about the turn-off leave, with its noise."""

from __future__ import annotations

import math

import numpy as np

from nightcrew.quality.intervals import LEVEL, Interval
from nightcrew.sensor.linearity import straightened
from nightcrew.sensor.transfer_curve import TransferCurve

ONE_SIDED = 1.6449
"""Errors within which a bound that lies at the truth is right in 95 %."""
CLIPPED_REACH = 2.0


def full_well(curve: TransferCurve, spread: float) -> tuple[float, Interval] | None:
    """Middle and interval (at least 95 %) of the full well in e-; None without a turn-off or a gain.

    A mean of clipped pixels is never above the full well, so the last level before the fall is a lower bound.  The highest level beyond
    is an upper one as far as its pixels are full: of a Gaussian of which a share r of the variance is left, the mean lies less than
    2 sqrt(r) of its standard deviations below the clip (:func:`_not_full`).  Each bound is moved outwards by 1.645 of its errors, so
    that even a truth at the bound, as on a plateau, is covered in 95 %.  ``spread``: relative scatter of the pixels' levels, shading too.
    """
    turn, fit = curve.turn_off, curve.fit
    if turn is None or fit is None:
        return None
    top = turn.upper + _not_full(curve, spread)
    signals, slopes = straightened(np.array([turn.lower, top]), curve.alpha_per_adu)
    drift = curve.bias.drift if curve.bias is not None else 0.0
    bounds = []
    for signal, slope, error, side in zip(signals, slopes, (turn.lower_error, turn.upper_error), (-1, 1), strict=True):
        relative = math.hypot(curve.gain_error / fit.gain, math.hypot(error, drift) * float(slope) / float(signal))
        bounds.append(float(signal) * fit.gain * (1 + side * ONE_SIDED * relative))
    return 0.5 * (bounds[0] + bounds[1]), Interval(bounds[0], bounds[1], LEVEL)


def _not_full(curve: TransferCurve, spread: float) -> float:
    """How far the mean of the brightest level may lie below the clip, in ADU: nothing but the read noise's share on a plateau."""
    turn, fit = curve.turn_off, curve.fit
    if turn is None or fit is None:
        return 0.0
    photons = max(float(fit.variance_at(np.array([turn.upper]))[0]) - fit.floor, 0.0)
    left = min(max(turn.left_variance - fit.floor, 0.0) / photons, 1.0) if photons > 0 else 0.0
    return CLIPPED_REACH * math.sqrt(left) * math.hypot(math.sqrt(photons), spread * turn.upper)
