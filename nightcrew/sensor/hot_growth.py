"""Hot pixels of one result against those of an earlier one: what is new, what has grown, what is gone, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.intervals import LEVEL, Interval, count_interval
from nightcrew.sensor.frames import Window

Place = tuple[int, int]
F8 = NDArray[np.float64]
B = NDArray[np.bool_]
GROWN = 1.5
"""A pixel whose rate is this many times the earlier one has grown; one that is 1/1.5 of it has shrunk."""
SURE_SIGMA = 3.0
"""A difference of two rates that is so many of its errors is a change; a smaller one may be noise alone."""
COUNTS = ("new", "gone", "grown", "shrunk")


@dataclass(frozen=True, kw_only=True)
class HotList:
    """Rates (ADU/s, by (y, x)) of the pixels that are hot, or warm and near to it, at one temperature.

    A pixel is hot above ``threshold_adu_per_s``; ``typical_adu_per_s`` is the mean of the others.  ``error_adu_per_s``: of each rate.
    A list without threshold holds hot pixels alone.  ``why`` tells why errors are not known.
    ``windows``: where it looked; () where that is not known.
    """

    rate_adu_per_s: Mapping[Place, float]
    error_adu_per_s: Mapping[Place, float] = field(default_factory=dict)
    threshold_adu_per_s: float | None = None
    typical_adu_per_s: float = 0.0
    temperature_c: float | None = None
    why: str = ""
    windows: tuple[Window, ...] = ()

    def seen_by(self, other: HotList) -> HotList:
        """The list without what lies outside the windows of ``other``, where these are known."""
        if not other.windows or other.windows == self.windows:
            return self
        within = {place for place in self.rate_adu_per_s if any(window.holds(*place) for window in other.windows)}
        return replace(
            self,
            rate_adu_per_s={place: rate for place, rate in self.rate_adu_per_s.items() if place in within},
            error_adu_per_s={place: error for place, error in self.error_adu_per_s.items() if place in within},
        )

    @property
    def excess(self) -> float | None:
        """How far above the other pixels' mean a pixel is hot."""
        return None if self.threshold_adu_per_s is None else self.threshold_adu_per_s - self.typical_adu_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HotGrowth:
    """Counts of hot pixels at one temperature; ``median_ratio`` of the rates now and then, of those hot both times (None without any).

    ``excess_adu_per_s``: how far above the others' mean a pixel counts as hot in both results, None where each has its own threshold.
    ``intervals`` by the count's name and of ``median_ratio``; ``why`` those of the counts are not known; ``before_c``: temperature then.
    ``windows_differ``: pixels that both results looked at count alone; ``windows_known``: whether the earlier one tells where it looked.
    """

    set_up: str
    region: str
    temperature_c: float | None
    before: int
    now: int
    new: int
    gone: int
    grown: int
    shrunk: int
    median_ratio: float | None
    before_c: float | None = None
    excess_adu_per_s: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    why: str = ""
    windows_differ: bool = False
    windows_known: bool = True


def growth(set_up: str, region: str, temperature_c: float | None, before: HotList, now: HotList, *, level: float = LEVEL) -> HotGrowth:
    """Compare the rates of two results.

    Thresholds go with the noise of a result, so the higher one counts in both: a pixel that was left out because the earlier darks were
    noisier is no new one.  Pixels that one of them did not look at do not count.
    """
    before, now = before.seen_by(now), now.seen_by(before)
    bars = (before.excess, now.excess)
    excess = None if bars[0] is None or bars[1] is None else max(bars[0], bars[1])
    then, after = _hot(before, excess), _hot(now, excess)
    both = sorted(then.keys() & after.keys())
    ratios = np.array([after[place] / then[place] for place in both if then[place] > 0])
    counts = {
        "new": len(after.keys() - then.keys()),
        "gone": len(then.keys() - after.keys()),
        "grown": int((ratios > GROWN).sum()),
        "shrunk": int((ratios < 1 / GROWN).sum()),
    }
    why = before.why or now.why or ("" if excess is not None else "the earlier result does not hold its threshold")
    intervals = {} if why or excess is None else _intervals(before, now, excess, counts, level)
    middle = median_interval(ratios, level)
    return HotGrowth(
        set_up=set_up,
        region=region,
        temperature_c=temperature_c,
        before=len(then),
        now=len(after),
        **counts,
        median_ratio=float(np.median(ratios)) if ratios.size else None,
        before_c=before.temperature_c,
        excess_adu_per_s=excess,
        intervals=intervals if middle is None else {**intervals, "median_ratio": middle},
        why=why,
        windows_differ=bool(before.windows) and before.windows != now.windows,
        windows_known=bool(before.windows),
    )


def _hot(found: HotList, excess: float | None) -> Mapping[Place, float]:
    if excess is None:
        least = found.threshold_adu_per_s if found.threshold_adu_per_s is not None else -math.inf
    else:
        least = found.typical_adu_per_s + excess
    return {place: rate for place, rate in found.rate_adu_per_s.items() if rate > least}


def median_interval(values: F8, level: float = LEVEL) -> Interval | None:
    """Interval of the median by order statistics, whatever the distribution; None when there are too few for the level."""
    from scipy.stats import binom

    below = int(binom.ppf((1 - level) / 2, values.size, 0.5)) if values.size else 0
    if below < 1 or 1 - 2 * binom.cdf(below - 1, values.size, 0.5) < level:
        return None
    ordered = np.sort(values)
    return Interval(float(ordered[below - 1]), float(ordered[values.size - below]), level)


def _intervals(before: HotList, now: HotList, excess: float, counts: Mapping[str, int], level: float) -> dict[str, Interval]:
    """Of how many pixels truly crossed the common threshold, or changed by the factor.

    Of a pixel whose rates differ by more than 3 errors the true change is as likely as the noise of both rates tells.  Of another
    one the change may be noise alone: then, whatever its true rate, the difference d of the rates tells nothing of their weighted
    mean r, and the probability that d takes it across is exact (:func:`_by_chance`).  As many as that makes, at most, are taken off
    at the lower end; they stay in the upper.  The interval so covers the truth at least as often as ``level`` says.
    """
    places = sorted(before.error_adu_per_s.keys() | now.error_adu_per_s.keys())
    if not places:
        return {name: Interval(0, 0, level) for name in COUNTS}
    r0, s0 = _columns(before, places)
    r1, s1 = _columns(now, places)
    changed = ~(np.abs(r1 - r0) < SURE_SIGMA * np.hypot(s0, s1))  # also those of which one rate is below both lists
    measured, likely = _measured(r0, r1, before, now, excess), _likely(r0, s0, r1, s1, before, now, excess)
    chance = _by_chance(r0, s0, r1, s1, excess, before, now)
    found = {}
    for name in COUNTS:
        sure = count_interval(likely[name][changed], level)
        near = int(np.count_nonzero(measured[name] & ~changed))
        low = sure.low + max(near - count_interval(chance[name][~changed], level).high, 0)
        high = sure.high + max(near, count_interval(likely[name][~changed], level).high)
        found[name] = Interval(min(low, counts[name]), max(high, counts[name]), level)
    return found


def _columns(found: HotList, places: list[Place]) -> tuple[F8, F8]:
    """Rates and errors of ``places``; one that the list does not hold is far below: minus infinity, without an error."""
    rates = np.array([found.rate_adu_per_s.get(place, -math.inf) for place in places])
    return rates, np.array([max(found.error_adu_per_s.get(place, 0.0), 1e-12) for place in places])


def _measured(r0: F8, r1: F8, before: HotList, now: HotList, excess: float) -> dict[str, B]:
    hot0, hot1 = r0 > before.typical_adu_per_s + excess, r1 > now.typical_adu_per_s + excess
    both = hot0 & hot1
    return {
        "new": hot1 & ~hot0,
        "gone": hot0 & ~hot1,
        "grown": both & (r1 > GROWN * r0),
        "shrunk": both & (GROWN * r1 < r0),
    }


def _likely(r0: F8, s0: F8, r1: F8, s1: F8, before: HotList, now: HotList, excess: float) -> dict[str, F8]:
    """Probability that each pixel truly is of that kind, the noises of both rates taken as independent."""
    from scipy.special import ndtr

    above0 = ndtr((r0 - before.typical_adu_per_s - excess) / s0)
    above1 = ndtr((r1 - now.typical_adu_per_s - excess) / s1)
    known0, known1 = np.where(np.isfinite(r0), r0, 0.0), np.where(np.isfinite(r1), r1, 0.0)  # above is 0 there
    return {
        "new": np.asarray(above1 * (1 - above0)),
        "gone": np.asarray(above0 * (1 - above1)),
        "grown": np.asarray(above0 * above1 * ndtr((known1 - GROWN * known0) / np.hypot(s1, GROWN * s0))),
        "shrunk": np.asarray(above0 * above1 * ndtr((known0 - GROWN * known1) / np.hypot(s0, GROWN * s1))),
    }


def _by_chance(r0: F8, s0: F8, r1: F8, s1: F8, excess: float, before: HotList, now: HotList) -> dict[str, F8]:
    """Probability that noise alone makes each pixel of that kind, if its rate did not change, and its difference stays within 3 errors.

    With r the weighted mean of both rates and d their difference, r1 = r + a d and r0 = r - b d, a = s1^2/s^2, b = s0^2/s^2,
    s^2 = s0^2 + s1^2; d is normal with sigma s, independent of r.
    """
    known = np.isfinite(r0) & np.isfinite(r1)
    one, two = np.where(known, r0, 0.0), np.where(known, r1, 0.0)
    s = np.hypot(s0, s1)
    a, b = (s1 / s) ** 2, (s0 / s) ** 2
    mean = b * two + a * one  # weights 1/s1^2 and 1/s0^2
    over = mean - excess - 0.5 * (before.typical_adu_per_s + now.typical_adu_per_s)
    far = {
        "new": np.maximum(-over / a, over / b),
        "gone": np.maximum(-over / b, over / a),
        "grown": np.where(over > 0, (GROWN - 1) * mean / (a + GROWN * b), math.inf),  # of pixels below it one rate is
        "shrunk": np.where(over > 0, (GROWN - 1) * mean / (b + GROWN * a), math.inf),
    }
    return {name: np.where(known, _tail(reach / s), 0.0) for name, reach in far.items()}


def _tail(z: F8) -> F8:
    """Probability that a standard normal number which stays within 3 is above ``z``."""
    from scipy.special import ndtr

    beyond = float(ndtr(-SURE_SIGMA))
    return np.asarray(np.clip((ndtr(-z) - beyond) / (1 - 2 * beyond), 0.0, 1.0))
