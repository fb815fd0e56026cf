"""Errors of speckle parameters by a block bootstrap: light that is correlated from bin to bin makes those from the curvature too small.

Time is cut into blocks that are long against the decorrelation time.  Blocks are drawn with replacement, the same ones for all pixels, and
the parameters estimated anew (Kuensch 1989, Ann. Stat. 17, 1217, with blocks that do not overlap).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.rician import log_likelihood
from nightcrew.mkid.rician_fit import Evaluate, Likelihood, Maximum, maximise
from nightcrew.mkid.rician_intervals import Intervals, by_segment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_FITS_AT_ONCE = 1 << 14
_REFIT_STEPS = 12


def draws(rng: np.random.Generator, n_blocks: int, resamples: int) -> Floats:
    """How often each block is taken, ``[resample, block]``."""
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=resamples).astype(np.float64)


def shortfall(decorrelation_s: float, block_s: float, n_blocks: int) -> float:
    """By what factor the variance from blocks is too small: they are no longer than ``block_s``, and no more than ``n_blocks``.

    The variance of the mean of a block of length L of light that decorrelates exponentially, times L, is 1 - tau / L of its limit.
    """
    if n_blocks < 2:
        return 1.0
    cut = decorrelation_s / block_s if np.isfinite(decorrelation_s) else 0.0
    return (1 - min(cut, 0.5)) * (1 - 1 / n_blocks)


def block_histograms(counts: NDArray[np.integer], bins_per_block: int, n_max: int) -> Floats:
    """Histograms of the counts of each block, ``[n, block, pixel]``, of counts ``[pixel, bin]``; bins below 0 are left out."""
    n_pixels, n_bins = counts.shape
    n_blocks = -(-n_bins // bins_per_block)
    block = np.arange(n_bins) // bins_per_block
    place = (counts.astype(np.int64) * n_blocks + block) * n_pixels + np.arange(n_pixels)[:, None]
    found = np.bincount(place[counts >= 0], minlength=(n_max + 1) * n_blocks * n_pixels)
    return found.reshape(n_max + 1, n_blocks, n_pixels).astype(np.float64)


def binned_bootstrap(
    blocks: Floats,
    best: Maximum,
    bounds: tuple[Floats, Floats],
    weights: Floats,
    known: Callable[[Evaluate, NDArray[np.intp]], Evaluate] = lambda likelihood, _: likelihood,
) -> Floats:
    """Covariance [pixel, k, k] of fits with each row of ``weights`` [resample, block]; ``blocks`` is of :func:`block_histograms`.

    ``bounds`` are those of the fit; ``known`` adds its prior to the likelihood of the pixels that it is given.
    """
    n_pixels, k = best.parameters.shape
    at_once = max(_FITS_AT_ONCE // max(n_pixels, 1), 1)
    found = []
    for low in range(0, len(weights), at_once):
        part = weights[low : low + at_once]
        bins = np.einsum("nbp,rb->nrp", blocks, part, optimize=True).reshape(blocks.shape[0], -1)

        def evaluate(parameters: Floats, which: NDArray[np.intp], bins: Floats = bins) -> Likelihood:
            return log_likelihood(bins if which.size == bins.shape[1] else bins[:, which], parameters)

        likelihood = known(evaluate, np.tile(np.arange(n_pixels), len(part)))
        again = maximise(likelihood, np.tile(best.parameters, (len(part), 1)), *bounds, most_steps=_REFIT_STEPS)
        found.append(again.parameters.reshape(len(part), n_pixels, k))
    return _spread(np.concatenate(found))


def interval_bootstrap(intervals: Intervals, block: Ints, best: Maximum, bounds: tuple[Floats, Floats], weights: Floats) -> Floats:
    """Covariance [pixel, k, k] of one Newton step from the maximum for each row of ``weights``, from gradients and curvatures of blocks.

    ``block`` are the numbers of the blocks in which the intervals begin, not falling within a pixel.  One step is enough where the
    likelihood is nearly a parabola over its error (Davidson & MacKinnon 1999), and takes one pass through the photons instead of hundreds.
    """
    n_pixels, k = best.parameters.shape
    n_blocks = weights.shape[1]
    key = np.repeat(np.arange(n_pixels), intervals.counts) * n_blocks + block
    begins = np.concatenate([[0], np.flatnonzero(np.diff(key)) + 1, [key.size]]) if key.size else np.zeros(1, np.int64)
    owner, of_block = np.divmod(key[begins[:-1]], n_blocks)
    terms = by_segment(intervals, best.parameters, begins, owner)
    gradient, hessian = np.zeros((n_blocks, n_pixels, k)), np.zeros((n_blocks, n_pixels, k, k))
    gradient[of_block, owner], hessian[of_block, owner] = terms.gradient, terms.hessian
    free: NDArray[np.bool_] = np.logical_and(~best.at_bound, bounds[0] < bounds[1])
    steps = np.stack([_one_step(np.tensordot(row, gradient, 1), np.tensordot(row, hessian, 1), free) for row in weights])
    return _spread(np.clip(best.parameters + steps, *bounds))


def _one_step(gradient: Floats, hessian: Floats, free: NDArray[np.bool_]) -> Floats:
    places = np.arange(gradient.shape[1])
    matrix = np.where(free[:, :, None] & free[:, None, :], -hessian, 0.0)
    matrix[:, places, places] += ~free
    singular = ~np.isfinite(matrix).all(axis=(1, 2))
    matrix[singular] = np.eye(len(places))
    singular |= np.abs(np.linalg.det(matrix / np.maximum(np.abs(matrix).max(axis=(1, 2), keepdims=True), 1e-300))) < 1e-12
    matrix[singular] = np.eye(len(places))
    step: Floats = np.linalg.solve(matrix, np.where(free, gradient, 0.0)[:, :, None])[:, :, 0]
    step[singular] = np.nan
    return step


def _spread(samples: Floats) -> Floats:
    """Covariance about their mean of samples [resample, pixel, k]; those that are not finite are left out, NaN where fewer than two are."""
    good: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(samples), axis=2)
    used = good.sum(axis=0)
    number = np.maximum(used, 2)[:, None]
    kept = np.where(good[:, :, None], samples, 0.0)
    off = np.where(good[:, :, None], samples - kept.sum(axis=0) / number, 0.0)
    covariance: Floats = np.einsum("rpi,rpj->pij", off, off) / (number[:, :, None] - 1)
    covariance[used < 2] = np.nan
    return covariance
