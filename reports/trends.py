"""Limits learned from earlier nights: a value is outside when it leaves median -+ k robust sigmas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from reports.model import Limits, Trend, TrendPoint

MAD_TO_SIGMA = 1.4826  # for a normal distribution, 1 / Phi^-1(3/4)


def learned_limits(values: Sequence[float], *, k: float = 4.0, at_least: int = 5, floor: float = 0.0) -> Limits | None:
    """Robust limits of earlier ``values``: median -+ k x max(1.4826 MAD, ``floor``).

    ``floor`` keeps limits open where values hardly vary (a step of the converter, a rounding); at least 1e-3 of the
    median's size is always allowed.  None when fewer than ``at_least`` finite values are there to learn from.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < at_least:
        return None
    middle = median(finite)
    spread = MAD_TO_SIGMA * median(abs(value - middle) for value in finite)
    reach = k * max(spread, floor, 1e-3 * abs(middle))
    return Limits(low=middle - reach, high=middle + reach, median=middle, nights=len(finite))


def trend(
    quantity: str,
    label: str,
    unit: str,
    instrument: str,
    points: Sequence[TrendPoint],
    night: str,
    *,
    k: float = 4.0,
    at_least: int = 5,
    floor: float = 0.0,
) -> Trend:
    """A trend whose limits come from the nights before ``night`` only, so that a bad night does not widen its own limits."""
    ordered = tuple(sorted(points, key=lambda point: point.night))
    earlier = [point.value for point in ordered if point.night < night]
    tonight = [point.value for point in ordered if point.night == night]
    limits = learned_limits(earlier, k=k, at_least=at_least, floor=floor)
    outside = limits is not None and any(not limits.low <= value <= limits.high for value in tonight)
    return Trend(
        quantity=quantity,
        label=label,
        unit=unit,
        instrument=instrument,
        points=tuple(point for point in ordered if point.night <= night),
        limits=limits,
        outside=outside,
        tonight=bool(tonight),
    )
