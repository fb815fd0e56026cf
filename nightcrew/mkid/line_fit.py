"""Laser lines in many histograms: models by maximum likelihood, the best by Akaike's criterion, and whether it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import line_models as lm
from nightcrew.mkid.line_guess import Guess, guess
from nightcrew.mkid.phase_histogram import BIN_DEG, BINS
from nightcrew.mkid.poisson_fit import Fitted, fit
from nightcrew.mkid.wavelength_solution import HISTOGRAM_FLAGS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
GOOD, NOT_ATTEMPTED, FEW_PHOTONS, HOT, FEW_BINS, NOT_CONVERGED, NOT_VALID = range(len(HISTOGRAM_FLAGS))

LEAST_PHOTONS = 60
LEAST_BINS = 7  # with counts
LEAST_HEIGHT_DEG = 10.0
_MOST_CHI2, _MISFIT = 3.0, 0.15  # reduced chi square; and the relative misfit that many counts may show


@dataclass
class Lines:
    """Fits in the order of the histograms, in degrees of height (minus the phase); what there is not is NaN."""

    flag: NDArray[np.uint8]  # [fit], index into HISTOGRAM_FLAGS
    model: NDArray[np.uint8]  # [fit], index into MODELS
    parameters: Floats  # [fit, 8]
    covariance: Floats  # [fit, 8, 8]
    edge_deg: Floats  # [fit]
    bin_deg: Floats
    aic: Floats
    chi2: Floats
    skew: Floats  # skewness of the line, and its standard deviation
    skew_error: Floats

    @classmethod
    def none(cls, n: int) -> Lines:
        """Nothing attempted."""
        nan = {name: np.full(n, np.nan) for name in ("edge_deg", "bin_deg", "aic", "chi2", "skew", "skew_error")}
        flag, model = np.full(n, NOT_ATTEMPTED, np.uint8), np.zeros(n, np.uint8)
        return cls(flag=flag, model=model, parameters=np.full((n, 8), np.nan), covariance=np.full((n, 8, 8), np.nan), **nan)

    def put(self, where: NDArray[np.intp] | Flags, other: Lines) -> None:
        """Take over fits."""
        for one in fields(self):
            getattr(self, one.name)[where] = getattr(other, one.name)

    def of(self, where: Flags | NDArray[np.intp]) -> Lines:
        """Some of them."""
        return Lines(**{one.name: getattr(self, one.name)[where] for one in fields(self)})


@dataclass(frozen=True)
class _Data:
    counts: Floats  # [fit, bin]
    valid: Flags
    bins: lm.Bins
    guess: Guess


def fit_lines(
    counts: NDArray[np.uint32],
    dark: Floats | None,
    models: Sequence[str],
    centre: Floats | None = None,
    sigma: Floats | None = None,
) -> Lines:
    """Fit histograms [fit, bin of half a degree] of pulse heights.

    ``dark`` [fit, bin] are the counts that are expected without light; they are part of the model, so that counts stay counts.
    ``centre`` and ``sigma`` [fit] are better guesses than the histogram's own.
    """
    n = counts.shape[0]
    lines = Lines.none(n)
    total = counts.sum(axis=1, dtype=np.int64)
    lines.flag[:] = np.where(total < LEAST_PHOTONS, FEW_PHOTONS, FEW_BINS)
    chosen = np.flatnonzero(total >= LEAST_PHOTONS)
    if not chosen.size:
        return lines
    part = None if centre is None or sigma is None else (centre[chosen], sigma[chosen])
    data = _binned(counts[chosen], None if dark is None else dark[chosen], part)
    enough = np.count_nonzero((data.counts > 0) & data.valid, axis=1) >= LEAST_BINS
    best = Lines.none(chosen.size)
    best.flag[:] = NOT_CONVERGED
    best.aic[:] = np.inf
    previous: Fitted | None = None
    for name in models:
        model = lm.LineModel.named(name)
        fitted = _fit_model(model, data, previous)
        previous = previous or fitted
        _take_better(best, _judged(model, data, fitted))
    best.aic[~np.isfinite(best.aic)] = np.nan
    lines.put(chosen[enough], best.of(enough))
    return lines


def _binned(counts: NDArray[np.uint32], dark: Floats | None, better: tuple[Floats, Floats] | None) -> _Data:
    found = guess(counts, *(better or (None, None)))
    number = int(np.max(-(-(found.stop - found.first) // found.widening)))
    at = np.minimum(found.first[:, None] + found.widening[:, None] * np.arange(number + 1), BINS)
    starts = at[:, :-1] < np.minimum(found.stop, BINS - found.widening + 1)[:, None]
    dark_counts = None if dark is None else _summed(dark, at)
    bins = lm.Bins((found.first * BIN_DEG).astype(np.float64), (found.widening * BIN_DEG).astype(np.float64), number, dark_counts)
    return _Data(_summed(counts, at), starts, bins, found)


def _summed(values: NDArray[np.uint32] | Floats, at: NDArray[np.int64]) -> Floats:
    before = np.zeros((values.shape[0], BINS + 1))
    np.cumsum(values, axis=1, out=before[:, 1:])
    return np.diff(np.take_along_axis(before, at, axis=1), axis=1)


def _fit_model(model: lm.LineModel, data: _Data, simpler: Fitted | None) -> Fitted:
    start, low, high = _start_and_bounds(data)
    if simpler is not None:
        usable = simpler.converged & (simpler.parameters[:, lm.COUNTS] > 0)
        start[:, : lm.COUNTS + 1] = np.where(usable[:, None], simpler.parameters[:, : lm.COUNTS + 1], start[:, : lm.COUNTS + 1])
    free = list(model.free)

    def expected(parameters: Floats, which: NDArray[np.intp]) -> tuple[Floats, Floats]:
        return model.expected(data.bins, parameters, which)

    return fit(expected, data.counts, data.valid, start[:, free], low[:, free], high[:, free])


def _start_and_bounds(data: _Data) -> tuple[Floats, Floats, Floats]:
    g, n = data.guess, data.counts.shape[0]
    total = np.where(data.valid, data.counts, 0).sum(axis=1)
    begin, end = g.first * BIN_DEG, g.stop * BIN_DEG
    span = np.maximum(end - begin, 1.0)
    counts = np.minimum(g.peak * g.sigma * 2.5, total)
    nothing = np.zeros(n)
    half_span = np.maximum(span / 2, 0.6)
    columns = (
        (np.clip(g.centre, begin, end), begin, end),
        (np.minimum(g.sigma, half_span), np.full(n, 0.25), half_span),
        (counts, nothing, 2 * total + 10),
        (np.maximum(g.at_first, 0.01), nothing, total + 10.0),
        (np.full(n, 0.1), nothing, np.full(n, 3.0)),
        (begin + 2.0, begin - 30.0, np.maximum(g.centre, begin)),
        (np.clip(g.sigma, 1.0, 50.0), np.full(n, 0.5), np.full(n, 100.0)),
        (np.maximum(total - counts, 1.0) / 2, nothing, 3 * total + 10),
    )
    start, low, high = (np.stack([column[place] for column in columns], axis=1).astype(np.float64) for place in range(3))
    return start, low, high


def _judged(model: lm.LineModel, data: _Data, fitted: Fitted) -> Lines:
    n, free = data.counts.shape[0], list(model.free)
    lines = Lines.none(n)
    lines.model[:] = model.number
    lines.parameters[:, free] = fitted.parameters
    lines.covariance[np.ix_(range(n), free, free)] = fitted.covariance
    lines.edge_deg, lines.bin_deg = data.bins.start.copy(), data.bins.width.copy()
    lines.aic = 2 * len(free) + 2 * fitted.minus_log_likelihood
    mu, slopes = model.expected(data.bins, fitted.parameters, np.arange(n))
    lines.chi2 = _chi2(lines.parameters, data, mu, len(free))
    lines.skew, lines.skew_error = _skewness(data, lines.parameters, fitted.at_bound, mu, slopes)
    variances = fitted.covariance[:, range(3), range(3)]
    converged = fitted.converged & (np.isfinite(variances) & (variances > 0)).all(axis=1)
    lines.flag[:] = np.where(converged, np.where(_valid(data, lines, mu), GOOD, NOT_VALID), NOT_CONVERGED)
    return lines


def _near(parameters: Floats, data: _Data) -> Flags:
    edges = data.bins.edges(np.arange(data.counts.shape[0]))
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    near: Flags = data.valid & (np.abs(middles - parameters[:, lm.CENTRE, None]) <= 2 * parameters[:, lm.SIGMA, None])
    return near


def _chi2(parameters: Floats, data: _Data, mu: Floats, n_free: int) -> Floats:
    near = _near(parameters, data)
    pulls = np.where(near, (data.counts - mu) ** 2 / np.maximum(mu, 1e-3), 0.0).sum(axis=1)
    chi2: Floats = pulls / np.maximum(near.sum(axis=1) - min(n_free, 3), 1)
    return chi2


def _valid(data: _Data, lines: Lines, mu: Floats) -> Flags:
    """The rules of a good histogram: a narrow, significant peak that stands out from its background, and fits."""
    centre, sigma, counts = (lines.parameters[:, place] for place in (lm.CENTRE, lm.SIGMA, lm.COUNTS))
    peak = counts * data.bins.width / (sigma * np.sqrt(2 * np.pi))
    rows = np.arange(centre.size)
    at = np.clip(((centre - data.bins.start) / data.bins.width).astype(np.int64), 0, data.bins.number - 1)
    background = np.maximum(mu[rows, at] - peak, 0.0)
    lit = np.where(data.valid, data.counts, 0.0)
    mean = lit.sum(axis=1) / np.maximum(data.valid.sum(axis=1), 1)
    error = np.sqrt(np.abs(lines.covariance[:, lm.COUNTS, lm.COUNTS]))
    end = data.bins.start + data.bins.width * data.valid.sum(axis=1)
    inside = (centre >= max(LEAST_HEIGHT_DEG, 0)) & (centre <= end) & (centre > data.bins.start)
    narrow = (sigma >= data.bins.width / 2) & (sigma < (end - data.bins.start) / 2)
    stands_out = (peak >= 2 * background) & (peak >= mean / 10) & (counts >= 5 * error)
    near_mean = np.where(_near(lines.parameters, data), mu, 0.0).sum(axis=1) / np.maximum(_near(lines.parameters, data).sum(axis=1), 1)
    fits = lines.chi2 <= _MOST_CHI2 + _MISFIT**2 * near_mean
    second, its_sigma = lines.parameters[:, lm.SECOND_CENTRE], lines.parameters[:, lm.SECOND_SIGMA]
    below = np.isnan(second) | ((second < centre - 1.5 * sigma) & (its_sigma <= 2 * np.maximum(sigma, 3.0)))
    valid: Flags = inside & narrow & stands_out & fits & below
    return valid


def _skewness(data: _Data, parameters: Floats, at_bound: Flags, mu: Floats, slopes: Floats) -> tuple[Floats, Floats]:
    """Skewness of the line by one step of the likelihood away from a Gaussian, all other parameters free; and its standard deviation."""
    edges = data.bins.edges(np.arange(mu.shape[0]))
    extra = lm.skew_slope(edges, *(parameters[:, place] for place in (lm.CENTRE, lm.SIGMA, lm.COUNTS)))
    inverse = data.valid / np.maximum(mu, 1e-9)
    kept = np.where(at_bound[:, :, None], 0.0, slopes)
    size = np.sqrt(np.maximum((kept**2 * inverse[:, None, :]).sum(axis=2), 1e-300))
    kept = kept / size[:, :, None]
    own = np.einsum("fb,fb->f", extra**2, inverse)
    cross = np.matmul(kept, (extra * inverse)[:, :, None])[:, :, 0]
    fisher = np.matmul(kept * inverse[:, None, :], kept.transpose(0, 2, 1)) + 1e-9 * np.eye(kept.shape[1])
    free = own - np.einsum("fp,fp->f", cross, np.linalg.solve(fisher, cross[:, :, None])[:, :, 0])
    score = np.einsum("fb,fb->f", extra, np.where(data.valid, data.counts, 0.0) * inverse - data.valid)
    free = np.maximum(free, 1e-9)
    return 6 * score / free, 6 / np.sqrt(free)


def _take_better(best: Lines, other: Lines) -> None:
    """A valid fit before one that is not, then the smaller criterion."""
    rank = {GOOD: 0, NOT_VALID: 1}
    ours = np.array([rank.get(flag, 2) for flag in range(len(HISTOGRAM_FLAGS))])[best.flag]
    theirs = np.array([rank.get(flag, 2) for flag in range(len(HISTOGRAM_FLAGS))])[other.flag]
    better = (theirs < ours) | ((theirs == ours) & (other.aic < best.aic))
    best.put(better, other.of(better))
