"""Modified-Rician fits of the times between photons, for many pixels at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import rician_intervals
from nightcrew.mkid.rician_changing import SLOWEST_PER_S, forgetting
from nightcrew.mkid.rician_fit import Evaluate, Maximum, maximise
from nightcrew.mkid.rician_intervals import Intervals
from nightcrew.mkid.speckle import Collected, SpeckleFits, SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_binned import DEAD_SHARE, bins_per_block, start_of
from nightcrew.mkid.speckle_errors import draws, interval_bootstrap, shortfall
from nightcrew.mkid.speckle_goodness import of_intervals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GROUP_PHOTONS = 1 << 16
_PHOTONS_PER_PAIR = 4
_PHOTONS_PER_BREAK = 50  # at least: what is left out is longer than the rest, which makes light brighter by one photon in so many
_TIMES_CHANGING = 2
_MOST_FAINT = 0.015  # of the time: beyond it the form of the correlation counts, taken as exponential (docs/mkid_images.md)


@dataclass(frozen=True)
class TimedIntervals:
    """Intervals with the times at which they begin, in s since the start of a window of ``span_s``."""

    intervals: Intervals
    begins_s: Floats
    span_s: float
    broken: Ints | None = None  # [pixel] intervals that were left out; None: none was

    @property
    def mean_cps(self) -> Floats:
        """Photons per second of live and dead time, from the intervals alone."""
        counts = self.intervals.counts
        sums = np.add.reduceat(np.append(self.intervals.seconds, 0.0), np.minimum(self.intervals.first[:-1], self.intervals.seconds.size))
        return np.where(counts > 0, counts / np.where((counts > 0) & (sums > 0), sums, 1.0), 0.0)


def intervals_of(
    first: Ints,
    time_us: Ints,
    span_us: int,
    dead_time_us: float,
    breaks_us: Ints | None = None,
    own_breaks: Iterable[tuple[NDArray[np.bool_], Ints]] = (),
) -> TimedIntervals:
    """Times between successive photons; ``first`` [pixel + 1] are the rows of each pixel, ``time_us`` ascends within a pixel.

    An interval in which one of ``breaks_us`` (ascending; starts of gaps or masks) lies is left out: nobody knows what was lost there.
    ``own_breaks`` are such of some pixels only, as (which [pixel], breaks).
    Times are whole microseconds, so intervals shorter than the dead time by rounding count as the dead time.
    """
    apart = np.diff(time_us)
    keep = np.ones(apart.size, dtype=np.bool_)
    ends = first[1:-1]
    keep[ends[(ends > 0) & (ends < time_us.size)] - 1] = False
    within = keep.copy()
    owner = np.repeat(np.arange(first.size - 1), np.diff(first))[:-1] if time_us.size else np.empty(0, np.int64)
    everywhere = np.ones(first.size - 1, dtype=np.bool_)
    for pixels, breaks in ((everywhere, np.empty(0, np.int64) if breaks_us is None else breaks_us), *own_breaks):
        if breaks.size and pixels.any():
            stretch = np.searchsorted(breaks, time_us, side="right")
            keep &= (stretch[1:] == stretch[:-1]) | ~pixels[owner]
    counts = np.bincount(owner[keep], minlength=first.size - 1)
    seconds = np.maximum(apart[keep], dead_time_us) * 1e-6
    begins_s: Floats = time_us[:-1][keep].astype(np.float64) * 1e-6
    return TimedIntervals(
        Intervals(seconds.astype(np.float64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), dead_time_us * 1e-6),
        begins_s,
        span_us * 1e-6,
        np.bincount(owner[within & ~keep], minlength=first.size - 1),
    )


def fit_intervals(
    timed: TimedIntervals,
    rules: SpeckleRules,
    own_s: Floats,
    array_s: float,
    *,
    usable_s: Floats | None = None,
    unseen: Ints | None = None,
) -> SpeckleFits:
    """Fit intervals; ``own_s`` [pixel] (NaN: not seen) and ``array_s`` are decorrelation times, as binned counts tell them.

    ``usable_s`` [pixel] is for how long each pixel really counted (None: the whole window).  ``unseen`` [pixel] are photons that it counted
    besides those given, of other wavelengths: the dead time after them is not in the fit.  Errors are those of a block bootstrap when
    photons are closer than the decorrelation time.
    """
    intervals, mean_cps = timed.intervals, timed.mean_cps
    counts = intervals.counts
    typical_cps = float(np.median(mean_cps[counts > 0])) if (counts > 0).any() else 0.0
    block_s = float(np.nanmedian(own_s)) if not math.isfinite(array_s) and np.isfinite(own_s).any() else array_s
    resample = rules.errors == "bootstrap" or (rules.errors == "auto" and block_s * typical_cps > 0.5)
    collected = Collected(counts.size, 1.0)
    judged_s = np.where(np.isfinite(own_s), own_s, array_s)
    edges = np.unique(
        np.concatenate([np.searchsorted(intervals.first[1:], np.arange(0, intervals.first[-1], _GROUP_PHOTONS)), [counts.size]])
    )
    for low, high in zip(np.concatenate([[0], edges[:-1]]).tolist(), edges.tolist(), strict=True):
        if high > low:
            _fit_group(collected, timed, np.arange(low, high), rules, judged_s[low:high], block_s if resample else None)
    broken = np.zeros(counts.size, np.int64) if timed.broken is None else timed.broken
    exposed_s = np.full(counts.size, timed.span_s) if usable_s is None else usable_s
    flags = collected.flags(judged_s, exposed_s, rules)
    conditions = {
        SpeckleFlag.DEAD_TIME: (0 if unseen is None else unseen) * timed.intervals.dead_time_s > DEAD_SHARE * exposed_s,
        SpeckleFlag.FEW_COUNTS: counts < np.maximum(_PHOTONS_PER_PAIR * rules.least_pairs, _PHOTONS_PER_BREAK * broken),
        SpeckleFlag.BIN_TOO_LONG: (judged_s * rules.bin_over_decorrelation * mean_cps < 1)
        | (faint_share(collected.parameters, judged_s) > _MOST_FAINT),
        SpeckleFlag.NO_LIGHT: counts < 2,
    }
    for flag, where in conditions.items():
        flags[where] |= np.uint32(flag)
    return collected.fits(flags, own_s, mean_cps, array_s, resample)


def faint_share(parameters_cps: Floats, decorrelation_s: Floats) -> Floats:
    """Share of the time [pixel] in which the intensity is below one photon in a decorrelation time; 0 where that is not known.

    The intensity is chi^2 with two degrees of freedom, not central, in units of Is / 2.  In such times it changes between two photons, and
    how far apart they are hangs on the form of its correlation, of which the 1/e time alone is measured.
    """
    from scipy.special import chndtr

    ic, is_, ip = parameters_cps.T
    with np.errstate(invalid="ignore", divide="ignore"):
        below = 1 / decorrelation_s - ip
        known = (is_ > 0) & (below > 0) & np.isfinite(below)
        scale = np.where(known, 2 / is_, 1.0)
    return np.where(known, chndtr(np.where(known, below, 0) * scale, 2.0, np.where(known, ic, 0) * scale), 0.0)


def _fit_group(
    collected: Collected,
    timed: TimedIntervals,
    pixels: NDArray[np.intp],
    rules: SpeckleRules,
    judged_s: Floats,
    block_s: float | None,
) -> None:
    rows = slice(int(timed.intervals.first[pixels[0]]), int(timed.intervals.first[pixels[-1] + 1]))
    mine = Intervals(
        timed.intervals.seconds[rows], timed.intervals.first[pixels[0] : pixels[-1] + 2] - rows.start, timed.intervals.dead_time_s
    )
    lower, upper = rules.bounds(1.0)
    mine, likelihood, best = _best(mine, pixels, rules, judged_s)
    covariance = best.covariance
    if block_s is not None:
        step_s = min(block_s, timed.span_s / 20) if math.isfinite(block_s) else timed.span_s / 200
        block_length_s = bins_per_block(max(int(timed.span_s / step_s), 1), step_s, block_s) * step_s
        n_blocks = max(math.ceil(timed.span_s / block_length_s), 2)
        weights = draws(np.random.default_rng(rules.seed), n_blocks, rules.resamples)
        block = np.minimum((timed.begins_s[rows] / block_length_s).astype(np.int64), n_blocks - 1)
        covariance = interval_bootstrap(mine, block, best, (lower, upper), weights)
        covariance /= shortfall(block_s, block_length_s, n_blocks)
    collected.put(pixels, best, covariance, likelihood, (lower, upper))
    collected.judge(pixels, of_intervals(mine, best.parameters, rules.n_free))


def _best(intervals: Intervals, pixels: NDArray[np.intp], rules: SpeckleRules, judged_s: Floats) -> tuple[Intervals, Evaluate, Maximum]:
    """The intervals with how fast their light changes, their likelihood, and its maximum.

    First as if light stood still between photons; how fast it changes follows from the decorrelation time of the intensity and what is
    found for Ic and Is, which in turn moves them: twice is enough.
    """

    def likelihood_of(mine: Intervals) -> Evaluate:
        return rules.with_prior(lambda parameters, which: rician_intervals.log_likelihood(mine.chosen(which), parameters), 1.0, pixels)

    mean = np.maximum(_mean(intervals), 1e-12)
    likelihood = likelihood_of(intervals)
    best = maximise(likelihood, start_of(mean, mean + 0.5 * mean**2, companion=rules.companion), *rules.bounds(1.0))
    for _ in range(_TIMES_CHANGING):
        forget_per_s = forgetting(best.parameters, judged_s)
        if (forget_per_s <= SLOWEST_PER_S).all():
            break
        intervals = replace(intervals, forget_per_s=forget_per_s)
        likelihood = likelihood_of(intervals)
        best = maximise(likelihood, best.parameters, *rules.bounds(1.0))
    return intervals, likelihood, best


def _mean(intervals: Intervals) -> Floats:
    return TimedIntervals(intervals, np.empty(0), 0.0).mean_cps
