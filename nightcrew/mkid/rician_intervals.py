"""Modified-Rician light without bins: the times between photons, with dead time.

While the intensity stands still, photons come with density ``I exp(-I t)``; averaged over the intensities at which photons come and are
not lost, two photons that were counted are ``t >= T`` apart (T: dead time) with the density

    w(t) = M''(t) / -M'(T),    M(t) = E[exp(-I t)] = u exp(-Ic t u - Ip t),    u = 1 / (1 + Is t),

    M''/M * u  = B = Ic^2 u^5 + 4 Ic Is u^4 + (2 Is^2 + 2 Ip Ic) u^3 + 2 Ip Is u^2 + Ip^2 u
    -M'/M * u  = C = Ic u^3 + Is u^2 + Ip u.

Rates are per second, times in seconds (Walter et al. 2019, PASP 131, 114506, appendix; doi:10.1088/1538-3873/ab389a).  Written so, Is -> 0
is an ordinary point.  Light does not stand still where it is faint: intervals with ``forget_per_s`` have the M of light that changes
(:mod:`nightcrew.mkid.rician_changing`), in the same formula.  Intervals are taken as independent, so light that is correlated over many
photons needs errors from elsewhere (:func:`nightcrew.mkid.speckle_errors.interval_bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import rician_changing
from nightcrew.mkid.rician import IC, IP, IS
from nightcrew.mkid.rician_fit import Likelihood

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_PAIRS = ((IC, IC), (IC, IS), (IS, IS), (IC, IP), (IS, IP), (IP, IP))
_Terms = tuple[Floats, list[Floats], list[Floats]]
"""A value, its gradient and the six different second derivatives, in the order of ``_PAIRS``."""
_AT_ONCE = 1 << 13  # intervals: the temporaries of so many stay in the cache


@dataclass(frozen=True)
class Intervals:
    """Times between successive photons, pixel after pixel: those of pixel p are ``seconds[first[p]:first[p + 1]]``."""

    seconds: Floats
    first: Ints  # one more than pixels
    dead_time_s: float
    forget_per_s: Floats | None = None  # [pixel], > 0: how fast the light's amplitude forgets itself; None: it stands still

    @property
    def counts(self) -> Ints:
        """Intervals of each pixel."""
        return np.diff(self.first)

    def chosen(self, pixels: NDArray[np.intp]) -> Intervals:
        """Those of some pixels, in the order given."""
        counts = self.counts[pixels]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if counts.size == self.first.size - 1 and np.array_equal(pixels, np.arange(counts.size)):
            return self
        places = np.arange(first[-1]) + np.repeat(self.first[pixels] - first[:-1], counts)
        return Intervals(self.seconds[places], first, self.dead_time_s, None if self.forget_per_s is None else self.forget_per_s[pixels])


def log_density(seconds: Floats, parameters: Floats, dead_time_s: float, forget_per_s: Floats | None = None) -> Floats:
    """ln w(t) of intervals [k], [pixel, k], for ``parameters`` [pixel, (Ic, Is, Ip)] in photons per second; -inf below the dead time."""
    if forget_per_s is not None:
        row = np.repeat(np.arange(len(parameters)), seconds.size)
        every = np.tile(seconds, len(parameters))
        dense = rician_changing.terms(every, parameters, forget_per_s, row)[0].reshape(len(parameters), -1)
        dense -= _log_norm(parameters, dead_time_s, forget_per_s)[0][:, None]
        return np.where(seconds >= dead_time_s, dense, -np.inf)
    ic, is_, ip = (parameters[:, place, None] for place in (IC, IS, IP))
    u = 1 / (1 + is_ * seconds)
    big = 1 / (1 + is_ * dead_time_s)
    value = np.log(_b(ic, is_, ip, u)) - ic * seconds * u - ip * seconds
    value += ic * dead_time_s * big + ip * dead_time_s - np.log(big * (ip + big * (is_ + big * ic)))
    return np.where(seconds >= dead_time_s, value, -np.inf)


def log_survival(seconds: Floats, parameters: Floats, dead_time_s: float, forget_per_s: Floats | None = None) -> Floats:
    """ln of the probability that the interval is longer than t >= dead time: ``M'(t) / M'(T)``, for t [pixel, k] or [1, k]."""
    if forget_per_s is not None:
        every = np.broadcast_to(seconds, (len(parameters), seconds.shape[1]))
        row = np.repeat(np.arange(len(parameters)), seconds.shape[1])
        later = rician_changing.log_slope(every.ravel(), parameters, forget_per_s, row)[0].reshape(every.shape)
        return later - _log_norm(parameters, dead_time_s, forget_per_s)[0][:, None]
    ic, is_, ip = (parameters[:, place, None] for place in (IC, IS, IP))

    def minus_log(t: Floats) -> Floats:
        u = 1 / (1 + is_ * t)
        value: Floats = np.log(u * (ip + u * (is_ + u * ic))) - ic * t * u - ip * t
        return value

    return minus_log(seconds) - minus_log(np.full((1, 1), dead_time_s))


def _b(ic: Floats, is_: Floats, ip: Floats, u: Floats) -> Floats:
    """M''/M times u."""
    value: Floats = u * (ip**2 + u * (2 * ip * is_ + u * (2 * (is_**2 + ip * ic) + u * (4 * ic * is_ + u * ic**2))))
    return value


def log_likelihood(intervals: Intervals, parameters: Floats) -> Likelihood:
    """ln L of every pixel with gradient and Hessian by (Ic, Is, Ip) in photons per second."""
    return by_segment(intervals, parameters, intervals.first, np.arange(len(parameters)))


def by_segment(intervals: Intervals, parameters: Floats, first: Ints, owner: NDArray[np.integer]) -> Likelihood:
    """The same for stretches of the intervals: ``first`` [stretch + 1] are their rows, ``owner`` [stretch] their pixels."""
    edges = np.searchsorted(first, np.arange(first[0], first[-1], _AT_ONCE))
    bounds = np.unique(np.concatenate([[0], edges, [owner.size]]))
    parts = [_sums(np.empty(0), np.empty((0, 3)), np.zeros(1, np.int64), None)]
    forget = None if intervals.forget_per_s is None else intervals.forget_per_s[owner]
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        rows = first[low : high + 1]
        seconds, of = intervals.seconds[rows[0] : rows[-1]], owner[low:high]
        parts.append(_sums(seconds, parameters[of], rows - rows[0], None if forget is None else forget[low:high]))
    value, gradient, hessian = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    norm = _log_norm(parameters[owner], intervals.dead_time_s, forget)
    return _normalised(value, gradient, hessian, np.diff(first).astype(np.float64), norm)


def _sums(dt: Floats, parameters: Floats, first: Ints, forget_per_s: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Sums over segments of ln M''(t), but for what depends on the segment alone, and its derivatives; ``parameters`` are [segment, 3]."""
    row = np.repeat(np.arange(len(parameters)), np.diff(first))
    if forget_per_s is None:
        value, gradient, hessian = _terms(dt, *parameters[row].T)
    else:
        value, gradient, hessian = rician_changing.terms(dt, parameters, forget_per_s, row)
    return (
        _segments(value, first),
        np.stack([_segments(row, first) for row in gradient], axis=1),
        np.stack([_segments(row, first) for row in hessian], axis=1),
    )


def _segments(values: Floats, first: Ints) -> Floats:
    """Sums over rows ``first[k]:first[k + 1]``; 0 for none."""
    sums = np.zeros(first.size - 1)
    filled = np.flatnonzero(np.diff(first) > 0)
    if filled.size:
        sums[filled] = np.add.reduceat(values, first[filled])
    return sums


def _terms(dt: Floats, ic: Floats, is_: Floats, ip: Floats) -> _Terms:
    u = 1 / (1 + is_ * dt)
    u2 = u * u
    du, d2u = -dt * u2, 2 * dt * dt * u2 * u
    square = 2 * (is_ * is_ + ip * ic)
    c4, c3, c2 = ic * ic, 4 * ic * is_, 2 * ip * is_
    inverse = 1 / (u * (ip * ip + u * (c2 + u * (square + u * (c3 + u * c4)))))
    b_u = ip * ip + u * (2 * c2 + u * (3 * square + u * (4 * c3 + u * 5 * c4)))
    b_uu = 2 * c2 + u * (6 * square + u * (12 * c3 + u * 20 * c4))
    b_c = 2 * u2 * u * (ip + u * (2 * is_ + u * ic)) * inverse
    b_p = 2 * u * (ip + u * (is_ + u * ic)) * inverse
    b_s = (2 * u2 * (ip + 2 * u * (is_ + u * ic)) + b_u * du) * inverse
    cs = (4 * u2 * u2 + du * u2 * (6 * ip + u * (16 * is_ + u * 10 * ic))) * inverse
    ps = (2 * u2 + du * (2 * ip + u * (4 * is_ + u * 6 * ic))) * inverse
    ss = (4 * u2 * u + 2 * du * u * (4 * ip + u * (12 * is_ + u * 16 * ic)) + b_uu * du * du + b_u * d2u) * inverse
    late = dt * u
    value = -np.log(inverse) - ic * late - ip * dt
    gradient = [b_c - late, b_s + ic * late * late, b_p - dt]
    hessian = [
        2 * u2 * u2 * u * inverse - b_c * b_c,
        cs - b_c * b_s + late * late,
        ss - b_s * b_s - 2 * ic * late * late * late,
        2 * u2 * u * inverse - b_c * b_p,
        ps - b_s * b_p,
        2 * u * inverse - b_p * b_p,
    ]
    return value, gradient, hessian


def _normalised(value: Floats, gradient: Floats, hessian: Floats, counts: Floats, log_norm: _Terms) -> Likelihood:
    """Less the logarithm of -M'(T), once for each interval."""
    norm, first, second = log_norm
    full = np.zeros((len(counts), 3, 3))
    for place, (row, column) in enumerate(_PAIRS):
        full[:, row, column] = full[:, column, row] = hessian[:, place] - counts * second[place]
    return Likelihood(value - counts * norm, gradient - counts[:, None] * np.stack(first, axis=1), full)


def _log_norm(parameters: Floats, dead_time_s: float, forget_per_s: Floats | None = None) -> _Terms:
    """ln(-M'(T)) and its derivatives, each [pixel]."""
    if forget_per_s is not None:
        every = np.full(len(parameters), dead_time_s)
        return rician_changing.log_slope(every, parameters, forget_per_s, np.arange(len(parameters)))
    ic, is_, ip = parameters[:, IC], parameters[:, IS], parameters[:, IP]
    t = dead_time_s
    u = 1 / (1 + is_ * t)
    du, d2u = -t * u**2, 2 * t**2 * u**3
    c = u * (ip + u * (is_ + u * ic))
    by_u = ip + u * (2 * is_ + u * 3 * ic)
    c_c, c_s, c_p = u**3 / c, (u**2 + du * by_u) / c, u / c
    c_cs, c_ps = 3 * u**2 * du / c, du / c
    c_ss = (4 * u * du + d2u * by_u + du**2 * (2 * is_ + 6 * ic * u)) / c
    late = t * u
    value = np.log(c) - ic * late - ip * t
    first = [c_c - late, c_s + ic * late**2, c_p - t]
    second = [
        -c_c * c_c,
        c_cs - c_c * c_s + late**2,
        c_ss - c_s * c_s - 2 * ic * late**3,
        -c_c * c_p,
        c_ps - c_s * c_p,
        -c_p * c_p,
    ]
    return value, first, second
