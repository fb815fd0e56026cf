"""How long speckles live: the decorrelation time of counts in bins, pixel by pixel and of the array.

The autocovariance of counts at lags of one bin and more is that of the intensity alone, since photon noise is independent from bin to
bin.  Of a modified-Rician field whose complex amplitude forgets itself as ``exp(-t / tau)`` it is ``2 Ic Is exp(-t / tau) + Is^2 exp(-2 t /
tau)``.  Here one exponential is fitted, and *decorrelation time* means its 1/e time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.integer]

_MOST_LAGS = 24
_GRID = 60  # decorrelation times that are tried
_SIGNIFICANT = 12.0  # gain of the fit over no correlation, in units of its noise (chi^2): about 3.5 sigma
_PIXELS_AT_ONCE = 256


@dataclass(frozen=True)
class Autocovariance:
    """Autocovariance of the counts in bins, ``values[pixel, lag]`` at ``lags`` in bins (the first is 0, photon noise in it)."""

    lags: NDArray[np.int64]
    values: Floats
    n_bins: NDArray[np.int64]  # usable bins of each pixel
    bin_s: float


@dataclass(frozen=True)
class Decorrelation:
    """Decorrelation times [pixel]; NaN where no correlation from bin to bin is seen."""

    time_s: Floats
    amplitude: Floats  # of the exponential: variance of the intensity, (counts per bin)^2
    gain: Floats  # chi^2 over no correlation

    @property
    def found(self) -> NDArray[np.bool_]:
        """Where correlation is seen."""
        return np.isfinite(self.time_s)


def lags_of(n_bins: int) -> NDArray[np.int64]:
    """0, 1, 2, ... and then ever further apart, up to a quarter of the bins."""
    far = max(n_bins // 4, 1)
    return np.unique(np.concatenate([[0, 1, 2, 3], np.geomspace(1, far, _MOST_LAGS)]).round().astype(np.int64).clip(0, far))


def autocovariance(counts: Counts, bin_s: float) -> Autocovariance:
    """Of counts ``[pixel, bin]``; bins below 0 are masked and pairs with them left out."""
    lags = lags_of(counts.shape[1])
    values = np.zeros((counts.shape[0], lags.size))
    usable = (counts >= 0).sum(axis=1)
    for low in range(0, counts.shape[0], _PIXELS_AT_ONCE):
        rows = slice(low, low + _PIXELS_AT_ONCE)
        values[rows] = _block(counts[rows], usable[rows], lags)
    return Autocovariance(lags, values, usable, bin_s)


def _block(counts: Counts, usable: NDArray[np.int64], lags: NDArray[np.int64]) -> Floats:
    seen = counts >= 0
    whole = bool(seen.all())
    off = np.where(seen, counts, 0).astype(np.float32) if not whole else counts.astype(np.float32)
    mean = off.sum(axis=1, dtype=np.float64) / np.maximum(usable, 1)
    off -= mean[:, None].astype(np.float32)
    if not whole:
        off *= seen
    found = np.empty((len(counts), lags.size))
    for place, lag in enumerate(lags.tolist()):
        early, late = off[:, : off.shape[1] - lag], off[:, lag:]
        pairs = early.shape[1] if whole else (seen[:, : off.shape[1] - lag] & seen[:, lag:]).sum(axis=1)
        found[:, place] = np.einsum("pt,pt->p", early, late, dtype=np.float32) / np.maximum(pairs, 1)
    return found


def decorrelation(found: Autocovariance) -> Decorrelation:
    """Fit ``A exp(-t / tau)`` to the lags beyond 0, by least squares over a fine grid of tau and its parabola."""
    lag_s = found.lags[1:] * found.bin_s
    values = found.values[:, 1:]
    if lag_s.size < 3:
        nothing = np.full(len(values), np.nan)
        return Decorrelation(nothing, nothing.copy(), np.zeros(len(values)))
    trial_s = np.geomspace(0.4 * found.bin_s, max(lag_s[-1] / 2, found.bin_s), _GRID)
    shape = np.exp(-lag_s / trial_s[:, None])  # [trial, lag]
    shape /= np.sqrt((shape**2).sum(axis=1, keepdims=True))
    projected = values @ shape.T  # [pixel, trial]
    best = projected.argmax(axis=1)
    rows = np.arange(len(values))
    step = np.log(trial_s[1] / trial_s[0])
    time_s = trial_s[best] * np.exp(_vertex(projected, best) * step)
    top = projected[rows, best]
    noise = found.values[:, 0] ** 2 / np.maximum(found.n_bins, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.where(noise > 0, np.maximum(top, 0) ** 2 / noise, 0.0)
    seen = gain > _SIGNIFICANT
    amplitude = top / np.sqrt((np.exp(-2 * lag_s / time_s[:, None])).sum(axis=1))
    return Decorrelation(np.where(seen, time_s, np.nan), np.where(seen, amplitude, np.nan), gain)


def _vertex(values: Floats, best: NDArray[np.intp]) -> Floats:
    """Where the parabola through a maximum and its neighbours has its top, in steps from the maximum; 0 at the edge."""
    rows, last = np.arange(len(values)), values.shape[1] - 1
    middle = values[rows, best]
    low, high = values[rows, np.maximum(best - 1, 0)], values[rows, np.minimum(best + 1, last)]
    bend = low - 2 * middle + high
    inside = (best > 0) & (best < last) & (bend < 0)
    return np.where(inside, 0.5 * (low - high) / np.where(inside, bend, -1.0), 0.0).clip(-1, 1)


def of_array(pieces: list[Autocovariance]) -> float:
    """Decorrelation time of all pixels together, in s; NaN where none is seen.  ``pieces`` are of different pixels, with the same bins."""
    if not pieces:
        return float("nan")
    values = sum((piece.values.sum(axis=0) for piece in pieces), np.zeros(pieces[0].lags.size))
    squares = sum(float((piece.values[:, 0] ** 2 / np.maximum(piece.n_bins, 1)).sum()) for piece in pieces)
    if not squares > 0:
        return float("nan")
    n_bins = max(round(values[0] ** 2 / squares), 1)  # so that noise = values[0]^2 / n_bins is that of the sum
    pooled = Autocovariance(pieces[0].lags, values[None, :], np.array([n_bins]), pieces[0].bin_s)
    return float(decorrelation(pooled).time_s[0])
