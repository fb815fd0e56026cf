"""Modified-Rician fits of counts in bins, for many pixels at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import rician
from nightcrew.mkid.rician import IC, IP
from nightcrew.mkid.rician_fit import Likelihood, maximise
from nightcrew.mkid.speckle import Collected, Flags, SpeckleFits, SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_errors import binned_bootstrap, block_histograms, draws, shortfall
from nightcrew.mkid.speckle_goodness import of_bins
from nightcrew.mkid.speckle_time import autocovariance, decorrelation, of_array

Floats = NDArray[np.float64]
Counts = NDArray[np.integer]

_FEWEST_BLOCKS, _MOST_BLOCKS = 20, 200
_BLOCK_OVER_TIME = 10  # decorrelation times in a block
_APART_OVER_TIME = 3  # between bins that are as good as independent
DEAD_SHARE = 0.01
"""Of the time: dead time that a fit does not know may be as much."""
_SLOW_OVER_BLOCK = 0.3  # decorrelation times longer than so much of a block: its errors are guesses
_GROUP = 1024  # pixels at most: what a group needs stays in the cache
_GROUP_VALUES = 1 << 23  # of histograms by block
MOST_COUNTS = 1 << 15
"""Photons in a bin, beyond which it is not fitted: the work grows with it, and such bins are long against any decorrelation time."""


def fit_counts(counts: Counts, rules: SpeckleRules, *, array_s: float | None = None, every: Counts | None = None) -> SpeckleFits:
    """Fit counts ``[pixel, bin]`` in bins of ``rules.bin_s``; bins below 0 are masked.

    ``array_s`` is the decorrelation time by which pixels are judged whose own is not seen, and which makes the blocks of the bootstrap;
    None: that of these pixels together.  ``rules.decorrelation_s`` goes before both.  ``every`` [pixel] are all photons that each pixel
    counted, whatever their wavelength, by which its dead time is judged; None: those in ``counts``.
    """
    own_s, array_s = _decorrelation_times(counts, rules, array_s)
    block_s = float(np.nanmedian(own_s)) if not math.isfinite(array_s) and np.isfinite(own_s).any() else array_s
    resample = rules.errors == "bootstrap" or (rules.errors == "auto" and block_s > rules.bin_s / 2)
    collected = Collected(len(counts), rules.bin_s)
    top = counts.max(axis=1, initial=0)
    for group in _alike(top, _MOST_BLOCKS if resample else 1):
        _fit_group(collected, counts[group], group, rules, block_s if resample else None, _apart(block_s, rules.bin_s))
    usable = (counts >= 0).sum(axis=1)
    total = np.where(counts > 0, counts, 0).sum(axis=1, dtype=np.int64)
    judged_s = np.where(np.isfinite(own_s), own_s, array_s)
    if rules.correct_bin:
        collected.undo_averaging(averaging(rules.bin_s, judged_s), rules.most_cps)
    flags = collected.flags(judged_s, usable * rules.bin_s, rules)
    flags |= _flags_of_counts(counts, usable, judged_s, rules, total if every is None else every)
    flags[top > MOST_COUNTS] |= np.uint32(SpeckleFlag.TOO_MANY_COUNTS)
    if resample:
        slow_s = _SLOW_OVER_BLOCK * bins_per_block(counts.shape[1], rules.bin_s, block_s) * rules.bin_s
        flags[judged_s > slow_s] |= np.uint32(SpeckleFlag.ERRORS_UNSURE)
    flags[~np.isfinite(judged_s) & collected.speckles_seen] |= np.uint32(SpeckleFlag.BIN_TOO_LONG)  # they live shorter than a bin
    return collected.fits(flags, own_s, total / np.maximum(usable, 1) / rules.bin_s, array_s, resample)


def _decorrelation_times(counts: Counts, rules: SpeckleRules, array_s: float | None) -> tuple[Floats, float]:
    if rules.decorrelation_s is not None:
        return np.full(len(counts), rules.decorrelation_s), rules.decorrelation_s
    found = autocovariance(counts, rules.bin_s)
    return decorrelation(found).time_s, of_array([found]) if array_s is None else array_s


def _apart(array_s: float, bin_s: float) -> int:
    return max(math.ceil(_APART_OVER_TIME * array_s / bin_s), 1) if math.isfinite(array_s) else 1


def _alike(top: Counts, n_blocks: int) -> list[NDArray[np.intp]]:
    """Pixels in groups of similar greatest counts, as work and memory of a group grow with the greatest; those beyond all limits in none.

    ``n_blocks`` are those of the bootstrap, 1 without.
    """
    order = np.argsort(top, kind="stable")
    order = order[top[order] <= MOST_COUNTS]
    level = np.ceil(np.log2(np.maximum(top[order], 8)) * 2).astype(np.int64)
    groups = np.split(order, np.flatnonzero(np.diff(level)) + 1) if order.size else []
    pieces = []
    for group in groups:
        most = min(_GROUP, max(_GROUP_VALUES // ((int(top[group[-1]]) + 1) * n_blocks), 1))
        pieces += np.array_split(group, -(-group.size // most))
    return pieces


def start_of(mean: Floats, variance: Floats, *, companion: bool) -> Floats:
    """First guess [pixel, 3] from mean and variance; with a companion a tenth of the mean is its."""
    start = rician.from_moments(mean, variance)
    if companion:
        start[:, IP] = 0.1 * mean
        start[:, IC] *= 0.9
    return start


def _fit_group(
    collected: Collected, counts: Counts, group: NDArray[np.intp], rules: SpeckleRules, block_s: float | None, apart: int
) -> None:
    """Fit alike pixels; ``block_s`` is the decorrelation time for the bootstrap (NaN: unknown), None: errors from the curvature."""
    bins = rician.histogram(counts)
    number, n = np.maximum(bins.sum(axis=0), 1), np.arange(len(bins))[:, None]
    mean = (n * bins).sum(axis=0) / number
    variance = (n**2 * bins).sum(axis=0) / number - mean**2
    lower, upper = rules.bounds(rules.bin_s)

    def evaluate(parameters: Floats, which: NDArray[np.intp]) -> Likelihood:
        return rician.log_likelihood(bins if which.size == group.size else bins[:, which], parameters)

    likelihood = rules.with_prior(evaluate, rules.bin_s, group)
    best = maximise(likelihood, start_of(mean, variance, companion=rules.companion), lower, upper)
    covariance = best.covariance
    if block_s is not None:
        per_block = bins_per_block(counts.shape[1], rules.bin_s, block_s)
        weights = draws(np.random.default_rng(rules.seed), -(-counts.shape[1] // per_block), rules.resamples)
        blocks = block_histograms(counts, per_block, len(bins) - 1)
        covariance = binned_bootstrap(
            blocks,
            best,
            (lower, upper),
            weights,
            lambda known, pixels: rules.with_prior(known, rules.bin_s, group[pixels]),
        )
        covariance /= shortfall(block_s, per_block * rules.bin_s, weights.shape[1])
    collected.put(group, best, covariance, likelihood, (lower, upper))
    collected.judge(group, of_bins(rician.histogram(counts[:, ::apart], len(bins) - 1), best.parameters, rules.n_free))


def averaging(bin_s: float, decorrelation_s: Floats) -> Floats:
    """Share of the intensity's variance that averaging over a bin leaves, ``2 (x - 1 + exp(-x)) / x^2``, x = bin / tau; 1 where unknown."""
    known = np.isfinite(decorrelation_s) & (decorrelation_s > 0)
    x = np.where(known, bin_s / np.where(known, decorrelation_s, 1.0), 0.0)
    series = 1 - x / 3 + x**2 / 12
    return np.where(x > 1e-3, 2 * (x + np.expm1(-x)) / np.maximum(x, 1e-3) ** 2, series)


def bins_per_block(n_bins: int, bin_s: float, decorrelation_s: float) -> int:
    """Ten decorrelation times, but so that there are 20 to 200 blocks where there are bins enough."""
    wanted = _BLOCK_OVER_TIME * decorrelation_s / bin_s if math.isfinite(decorrelation_s) else 1.0
    return int(max(min(wanted, n_bins / _FEWEST_BLOCKS), n_bins / _MOST_BLOCKS, 1))


def _flags_of_counts(counts: Counts, usable: Counts, judged_s: Floats, rules: SpeckleRules, every: Counts) -> Flags:
    total = np.where(counts > 0, counts, 0).sum(axis=1, dtype=np.int64)
    conditions = {
        SpeckleFlag.FEW_COUNTS: (counts >= 2).sum(axis=1) < rules.least_pairs,
        SpeckleFlag.BIN_TOO_LONG: judged_s * rules.bin_over_decorrelation < rules.bin_s,
        SpeckleFlag.DEAD_TIME: every * rules.dead_time_s > DEAD_SHARE * usable * rules.bin_s,
        SpeckleFlag.NO_LIGHT: (total < 2) | (usable < 2),
    }
    flags = np.zeros(len(counts), dtype=np.uint32)
    for flag, where in conditions.items():
        flags[where] |= np.uint32(flag)
    return flags
