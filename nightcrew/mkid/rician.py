"""Counts of modified-Rician light in bins: probabilities, likelihood, and its exact derivatives.

The intensity of a speckle field with a coherent part has the density ``p(I) = exp(-(I + Ic) / Is) I0(2 sqrt(I Ic) / Is) / Is`` (Goodman
1975; Aime & Soummer 2004, ApJ 612, L85; doi:10.1086/424381); a companion adds a steady intensity Ip.  Counts in a bin that is short
against the decorrelation time are Poisson about it (Walter et al. 2019, PASP 131, 114506; doi:10.1088/1538-3873/ab389a).  Here Ic, Is
and Ip are mean counts in a bin.

The generating function is ``G(s) = exp(-Ip v - Ic v / (1 + Is v)) / (1 + Is v)`` with ``v = 1 - s``.  From ``G'/G`` follows, with
``a = Is / (1 + Is)`` and ``b = Ic / (1 + Is)^2``,

    (n + 1) p[n+1] = Ip p[n] + a S[n] + b T[n],    S[n] = p[n] + a S[n-1],    T[n] = S[n] + a T[n-1].

Every term is positive, so that nothing cancels whatever the counts are, and the limits Is -> 0 (Poisson), Ic -> 0 (Bose-Einstein) and
Ip -> 0 are ordinary points.  Followed as ratios to p[n], nothing overflows.  For Ip = 0 these are the Laguerre polynomials of the
literature; Ip is the convolution with a Poisson distribution.

Derivatives by Ic, Is and Ip multiply G by ``-v / (1 + Is v)`` (operator D below) and ``-v`` (operator E), so they are recurrences too:
``dp/dIc = D p``, ``dp/dIs = D p + Ic D^2 p``, ``dp/dIp = E p``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.rician_fit import Likelihood

Floats = NDArray[np.float64]
Counts = NDArray[np.integer]

IC, IS, IP = 0, 1, 2
"""Places of the parameters in every array of them."""
_TINY = 1e-60  # its fourth power is still a number


@dataclass(frozen=True)
class _Step:
    """One n: ratio p[n] / p[n-1] and what belongs to it, each [pixel]."""

    n: int
    log_p: Floats
    ratio: Floats


def _steps(n_max: int, parameters: Floats) -> Iterator[_Step]:
    ic, is_, ip = parameters[:, IC], parameters[:, IS], parameters[:, IP]
    a, b = is_ / (1 + is_), ic / (1 + is_) ** 2
    log_p = -np.log1p(is_) - ic / (1 + is_) - ip
    s = t = np.ones_like(ic)  # S[n] / p[n] and T[n] / p[n]
    yield _Step(0, log_p, np.ones_like(ic))
    for n in range(1, n_max + 1):
        ratio = np.maximum((ip + a * s + b * t) / n, _TINY)
        log_p = log_p + np.log(ratio)
        s = 1 + a * s / ratio
        t = s + a * t / ratio
        yield _Step(n, log_p, ratio)


def log_pmf(n_max: int, parameters: Floats) -> Floats:
    """ln of the probability of 0..``n_max`` counts in a bin, ``[n, pixel]``; ``parameters`` is ``[pixel, (Ic, Is, Ip)]``, each >= 0."""
    return np.stack([step.log_p for step in _steps(n_max, parameters)])


def mean_and_variance(parameters: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of the counts in a bin, each [pixel]."""
    ic, is_, ip = parameters[:, IC], parameters[:, IS], parameters[:, IP]
    mean = ic + is_ + ip
    return mean, mean + is_**2 + 2 * ic * is_


def from_moments(mean: Floats, variance: Floats) -> Floats:
    """First guess ``[pixel, (Ic, Is, 0)]`` of the parameters from mean and variance of the counts.

    ``Ic = sqrt(mean^2 - variance + mean)``; where the light varies more than any modified-Rician light or less than Poisson's, the nearest
    that is possible, kept off the edges.
    """
    share = np.sqrt(np.clip(1 - (variance - mean) / np.maximum(mean, _TINY) ** 2, 0.01, 0.99))
    return np.stack([share * mean, (1 - share) * mean, np.zeros_like(mean)], axis=1)


def histogram(counts: Counts, n_max: int | None = None) -> Floats:
    """How many bins have 0, 1, ... counts, ``[n, pixel]``, from counts ``[pixel, bin]``; bins below 0 are left out."""
    n_pixels = counts.shape[0]
    top = int(counts.max(initial=0)) if n_max is None else n_max
    place = counts.astype(np.int64) * n_pixels + np.arange(n_pixels)[:, None]
    found = np.bincount(place[counts >= 0], minlength=(top + 1) * n_pixels)
    return found.reshape(top + 1, n_pixels).astype(np.float64)


def log_likelihood(bins: Floats, parameters: Floats) -> Likelihood:
    """ln L of every pixel with gradient and Hessian by (Ic, Is, Ip); ``bins[n, pixel]`` are how many bins have n counts."""
    ic = parameters[:, IC]
    widen = 1 / (1 + parameters[:, IS])
    n_pixels = ic.size
    value, gradient, hessian = np.zeros(n_pixels), np.zeros((n_pixels, 3)), np.zeros((n_pixels, 3, 3))
    d_before = np.zeros((5, n_pixels))  # (D^k p)[n-1] / p[n-1]
    e_before = np.zeros((3, n_pixels))  # (E D^k p)[n-1] / p[n-1], k = 0..2
    for step in _steps(bins.shape[0] - 1, parameters):
        back = 0.0 if step.n == 0 else 1 / step.ratio
        d = np.ones((5, n_pixels))
        for k in range(1, 5):
            d[k] = widen * ((parameters[:, IS] * d_before[k] + d_before[k - 1]) * back - d[k - 1])
        e = d_before[:3] * back - d[:3]
        ee = e_before[0] * back - e[0]
        weight = bins[step.n]
        if weight.any():
            value += weight * step.log_p
            _add(gradient, hessian, weight, (d[1], d[1] + ic * d[2], e[0]), _second(ic, d, e, ee))
        d_before, e_before = d, e
    for row in range(3):
        for column in range(row):
            hessian[:, row, column] = hessian[:, column, row]
    return Likelihood(value, gradient, hessian)


def _second(ic: Floats, d: Floats, e: Floats, ee: Floats) -> dict[tuple[int, int], Floats]:
    """Second derivatives of p over p."""
    return {
        (IC, IC): d[2],
        (IC, IS): 2 * d[2] + ic * d[3],
        (IS, IS): 2 * d[2] + ic * (4 * d[3] + ic * d[4]),
        (IC, IP): e[1],
        (IS, IP): e[1] + ic * e[2],
        (IP, IP): ee,
    }


def _add(
    gradient: Floats, hessian: Floats, weight: Floats, first: tuple[Floats, Floats, Floats], second: dict[tuple[int, int], Floats]
) -> None:
    for row in range(3):
        gradient[:, row] += weight * first[row]
    for (row, column), value in second.items():
        hessian[:, row, column] += weight * (value - first[row] * first[column])
