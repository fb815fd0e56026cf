"""Where the variance of a photon transfer curve turns down: the full well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.sensor.curve_points import CurvePoint

TURN_OFF_SIGMA = 5.0
LEAST_DROP = 0.1
"""Of the highest variance: pixels that clip take more, lamps and patterns less."""


@dataclass(frozen=True, kw_only=True)
class TurnOff:
    """Where the variance turns down for good: signals in ADU between which the full well lies.

    Rule: beyond ``lower`` a variance lies more than 5 of its errors and more than 10 % below that of a lower signal, and none rises
    above that again.  ``upper`` is the highest signal seen beyond (a plateau when the sweep goes past saturation), ``left_variance`` its
    variance in ADU^2.  The errors are those of the levels' pixels.  ``by_converter``: the numbers end, not the pixels.
    """

    lower: float
    upper: float
    by_converter: bool
    lower_error: float = 0.0
    upper_error: float = 0.0
    left_variance: float = 0.0

    @property
    def middle(self) -> float:
        """Middle of the interval."""
        return 0.5 * (self.lower + self.upper)


@dataclass(frozen=True, kw_only=True)
class Fall:
    """A variance that falls beyond chance: ``signal`` in ADU is the last before it, ``drop`` what it loses in all (0..1).

    A small drop is no full well, but nothing beyond it is fit to be fitted.
    """

    signal: float
    signal_error: float
    beyond: float  # the first signal after it
    top: CurvePoint  # the brightest after it
    drop: float


def fall(points: Sequence[CurvePoint]) -> Fall | None:
    """Where the variance begins to fall for good by more than 5 errors; None when it rises to the end of the sweep."""
    ordered = sorted(points, key=lambda point: (point.signal, point.exposure_s))
    highest, error = 0.0, 0.0
    for place, point in enumerate(ordered):
        own = point.variance * point.relative_error if point.variance > 0 else 0.0
        if place and point.variance < highest - TURN_OFF_SIGMA * math.hypot(own, error):
            beyond = ordered[place:]
            if max(one.variance for one in beyond) < highest:
                last, top = ordered[place - 1], max(beyond, key=lambda one: one.signal)
                drop = 1 - min(one.variance for one in beyond) / highest
                return Fall(signal=last.signal, signal_error=last.level_error, beyond=point.signal, top=top, drop=drop)
        if point.variance > highest:
            highest, error = point.variance, own
    return None


def turn_off(points: Sequence[CurvePoint], saturation_adu: float | None) -> TurnOff | None:
    """The full well's bounds; None when the sweep does not reach it.  ``saturation_adu`` is a signal above the offset."""
    found = fall(points)
    if found is None or found.drop < LEAST_DROP:
        return None
    upper = max(found.top.signal, found.signal)
    return TurnOff(
        lower=found.signal,
        upper=upper,
        by_converter=saturation_adu is not None and upper + 3 * found.top.level_error > 0.99 * saturation_adu,
        lower_error=found.signal_error,
        upper_error=found.top.level_error,
        left_variance=max(found.top.variance, 0.0),
    )
