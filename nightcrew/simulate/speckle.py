"""Modified-Rician light that changes as speckles do, and its photons: exact, without a step in time that has to be small.

The complex amplitude is ``sqrt(Ic) + z(t)`` with z a complex Ornstein-Uhlenbeck process of variance Is, so the intensity ``|amplitude|^2``
is modified Rician at every moment, and the amplitude's correlation is ``exp(-t / tau)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def independent_intensities(rng: np.random.Generator, ic: ArrayLike, is_: ArrayLike, ip: ArrayLike, n: int) -> Floats:
    """Intensities ``[pixel, n]`` that know nothing of each other."""
    ic, is_, ip = (np.atleast_1d(np.asarray(value, dtype=np.float64))[:, None] for value in (ic, is_, ip))
    n_pixels = max(ic.size, is_.size, ip.size)
    real, imaginary = rng.standard_normal((2, n_pixels, n))
    width = np.sqrt(is_ / 2)
    found: Floats = (np.sqrt(ic) + width * real) ** 2 + (width * imaginary) ** 2 + ip
    return found


def correlated_intensities(
    rng: np.random.Generator, ic: ArrayLike, is_: ArrayLike, ip: ArrayLike, n: int, *, step_s: float, tau_s: float
) -> Floats:
    """Intensities ``[pixel, n]`` at moments ``step_s`` apart; the amplitude forgets itself with ``tau_s``."""
    from scipy.signal import lfilter

    ic, is_, ip = (np.atleast_1d(np.asarray(value, dtype=np.float64))[:, None] for value in (ic, is_, ip))
    n_pixels = max(ic.size, is_.size, ip.size)
    keep = np.exp(-step_s / tau_s)
    noise = rng.standard_normal((2, n_pixels, n)) * np.sqrt(1 - keep**2)
    noise[:, :, 0] /= np.sqrt(1 - keep**2)  # stationary from the start
    real, imaginary = lfilter([1.0], [1.0, -keep], noise, axis=2)
    width = np.sqrt(is_ / 2)
    found: Floats = (np.sqrt(ic) + width * real) ** 2 + (width * imaginary) ** 2 + ip
    return found


def photon_times(rng: np.random.Generator, rate_cps: Floats, step_s: float) -> tuple[Ints, Floats]:
    """Photons of rates ``[pixel, step]`` that stand still for a step: (pixel, time in s), sorted by pixel, then time."""
    counts = rng.poisson(rate_cps * step_s)
    place = np.repeat(np.arange(counts.size), counts.ravel())
    pixel, step = np.divmod(place, rate_cps.shape[1])
    time_s = (step + rng.random(place.size)) * step_s
    order = np.lexsort((time_s, pixel))
    return pixel[order].astype(np.int64), time_s[order]


def after_dead_time(pixel: Ints, time: NDArray[np.generic], dead_time: float) -> NDArray[np.bool_]:
    """Which photons are counted when each blinds its pixel for ``dead_time`` (not extended by lost ones); sorted by pixel, then time."""
    counted = np.arange(pixel.size)
    while counted.size:
        near = np.zeros(counted.size, dtype=np.bool_)
        near[1:] = (pixel[counted[1:]] == pixel[counted[:-1]]) & (np.diff(time[counted]) < dead_time)
        near[1:] &= ~near[:-1]  # one that was not counted blinds nobody
        if not near.any():
            break
        counted = counted[~near]
    keep = np.zeros(pixel.size, dtype=np.bool_)
    keep[counted] = True
    return keep


def independent_intervals(rng: np.random.Generator, ic: Floats, is_: Floats, ip: Floats, n: int, dead_time_s: float) -> Floats:
    """Times between photons ``[pixel, n]``, each in light of its own: intensities as photons that are counted see them.

    Such intensities have the density ``I exp(-I T) p(I)``; drawn by keeping those of p with the probability ``I exp(-I T)`` over its
    greatest value among very many.
    """
    found = np.empty((ic.size, n))
    for pixel in range(ic.size):
        kept: list[Floats] = []
        size = 0
        while size < n:
            trial = independent_intensities(rng, ic[pixel], is_[pixel], ip[pixel], 20 * n)[0]
            weight = trial * np.exp(-trial * dead_time_s)
            top = (np.sqrt(ic[pixel]) + 5 * np.sqrt(is_[pixel])) ** 2 + ip[pixel]  # beyond lies less than 1e-10 of the light
            chosen = trial[rng.random(trial.size) * top < weight]
            kept.append(chosen)
            size += chosen.size
        found[pixel] = dead_time_s + rng.exponential(1.0, n) / np.concatenate(kept)[:n]
    return found
