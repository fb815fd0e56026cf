"""Modified-Rician light that changes between two photons: what the density of their intervals is then made of.

The complex amplitude is ``sqrt(Ic) + z`` with z a complex Gaussian process of variance Is that forgets itself as ``exp(-g t)``.  The
probability that no photon comes in t is ``M(t) = E[exp(-integral of I)] = exp(-L(t))`` with ``L = d + Ic f + Ip t``,

    d = ln det(1 + K),   f = <1, (1 + K)^-1 1>,   K(s, s') = Is exp(-g |s - s'|) on [0, t],

and the density of intervals between photons is ``M''(t) / -M'(0)`` whatever the process (Cox & Isham 1980, Point Processes, 2.4).  Both
have closed forms (as for light with a Lorentzian line: Bedard 1966, Phys. Rev. 151, 1038).  With ``w^2 = g^2 + 2 g Is``,
``p = (w - g) / (w + g)``, ``q = exp(-w t)``, and ``c = 4 g^2 Is / (w^3 (w + g))``,

    d  = (w - g) t + ln(1 - p^2 q^2) - ln(1 - p^2)         f  = t g^2 / w^2 + c (1 - q) / (1 - p q)
    d' = w - g + 2 w p^2 q^2 / (1 - p^2 q^2)               f' = g^2 / w^2 + c w (1 - p) q / (1 - p q)^2
    d'' = -(2 w p q / (1 - p^2 q^2))^2                     f'' = -c w^2 (1 - p) q (1 + p q) / (1 - p q)^3.

For g -> 0 they are ``d = ln(1 + Is t)`` and ``f = t / (1 + Is t)``, light that stands still.  Derivatives by Is are carried along.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SLOWEST_PER_S = 1e-3
"""Light that forgets itself more slowly is as good as standing still between photons."""


@dataclass(frozen=True, slots=True)
class Jet:
    """A value with its first and second derivative by Is."""

    value: Floats
    first: Floats
    second: Floats

    def __add__(self, other: Jet) -> Jet:
        return Jet(self.value + other.value, self.first + other.first, self.second + other.second)

    def __sub__(self, other: Jet) -> Jet:
        return Jet(self.value - other.value, self.first - other.first, self.second - other.second)

    def __mul__(self, other: Jet) -> Jet:
        return Jet(
            self.value * other.value,
            self.first * other.value + self.value * other.first,
            self.second * other.value + 2 * self.first * other.first + self.value * other.second,
        )

    def times(self, factor: Floats | float) -> Jet:
        """The jet times what does not depend on Is."""
        return Jet(self.value * factor, self.first * factor, self.second * factor)

    def plus(self, term: Floats | float) -> Jet:
        """The jet and what does not depend on Is."""
        return Jet(self.value + term, self.first, self.second)

    def of(self, value: Floats, by: Floats, by_by: Floats) -> Jet:
        """A function of the jet: its value and derivatives at :attr:`value`."""
        return Jet(value, by * self.first, by_by * self.first**2 + by * self.second)

    def inverse(self) -> Jet:
        """One over it."""
        one = 1 / self.value
        return self.of(one, -one * one, 2 * one**3)

    def log(self) -> Jet:
        """Its natural logarithm."""
        one = 1 / self.value
        return self.of(np.log(self.value), one, -one * one)

    def exp(self) -> Jet:
        """e to it."""
        value = np.exp(self.value)
        return self.of(value, value, value)

    def at(self, rows: NDArray[np.integer]) -> Jet:
        """Those of some rows."""
        return Jet(self.value[rows], self.first[rows], self.second[rows])


@dataclass(frozen=True, slots=True)
class Parts:
    """d and f with their first and second derivatives by time."""

    d: Jet
    d1: Jet
    d2: Jet
    f: Jet
    f1: Jet
    f2: Jet


def parts(seconds: Floats, is_cps: Floats, forget_per_s: Floats, row: NDArray[np.integer]) -> Parts:
    """At times [k] for Is and g (> 0) of the rows that each belongs to."""
    ones = np.ones_like(is_cps)
    s, g = Jet(is_cps, ones, 0 * ones), forget_per_s
    root = np.sqrt(g * g + 2 * g * is_cps)
    w = Jet(root, g / root, -g * g / root**3)
    one_over_w, one_over_sum = w.inverse(), w.plus(g).inverse()
    drift = (s * one_over_sum).times(2 * g)  # w - g
    p, off = drift * one_over_sum, one_over_sum.times(2 * g)  # off: 1 - p
    steady = (one_over_w * one_over_w).times(g * g)
    cw = (s * one_over_w * one_over_w * one_over_sum).times(4 * g * g)
    norm = (off * (p.plus(1.0))).log()
    q = w.at(row).times(-seconds).exp()
    pq = p.at(row) * q
    near, far = pq.times(-1.0).plus(1.0).inverse(), pq.plus(1.0).inverse()
    both = near * far
    bend = w.at(row).times(2.0) * pq * both  # 2 w p q / (1 - p^2 q^2)
    fall = (cw * off).at(row) * q * near * near
    return Parts(
        d=drift.at(row).times(seconds) - both.log() - norm.at(row),
        d1=drift.at(row) + bend * pq,
        d2=(bend * bend).times(-1.0),
        f=steady.at(row).times(seconds) + (cw * one_over_w).at(row) * q.times(-1.0).plus(1.0) * near,
        f1=steady.at(row) + fall,
        f2=(w.at(row) * fall * pq.plus(1.0) * near).times(-1.0),
    )


def terms(seconds: Floats, parameters: Floats, forget_per_s: Floats, row: NDArray[np.integer]) -> tuple[Floats, list[Floats], list[Floats]]:
    """ln M'' with its gradient by (Ic, Is, Ip) and Hessian (Ic Ic, Ic Is, Is Is, Ic Ip, Is Ip, Ip Ip); ``parameters`` are [row, 3]."""
    part = parts(seconds, parameters[:, 1], forget_per_s, row)
    ic, ip = parameters[row, 0], parameters[row, 2]
    slope, bend = (part.d1 + part.f1.times(ic)).plus(ip), part.d2 + part.f2.times(ic)  # L', L''
    lost = (part.d + part.f.times(ic)).plus(ip * seconds)
    dense = slope * slope - bend  # M'' / M
    one = 1 / dense.value
    f1, f2 = part.f1, part.f2
    by_c = (2 * slope.value * f1.value - f2.value) * one
    by_s, by_p = dense.first * one, 2 * slope.value * one
    by_cs = (2 * (slope.first * f1.value + slope.value * f1.first) - f2.first) * one
    value = np.log(dense.value) - lost.value
    gradient = [by_c - part.f.value, by_s - lost.first, by_p - seconds]
    hessian = [
        2 * f1.value**2 * one - by_c * by_c,
        by_cs - by_c * by_s - part.f.first,
        dense.second * one - by_s * by_s - lost.second,
        2 * f1.value * one - by_c * by_p,
        2 * slope.first * one - by_s * by_p,
        2 * one - by_p * by_p,
    ]
    return value, gradient, hessian


def log_slope(
    seconds: Floats, parameters: Floats, forget_per_s: Floats, row: NDArray[np.integer]
) -> tuple[Floats, list[Floats], list[Floats]]:
    """ln -M' in the same form."""
    part = parts(seconds, parameters[:, 1], forget_per_s, row)
    ic, ip = parameters[row, 0], parameters[row, 2]
    slope = (part.d1 + part.f1.times(ic)).plus(ip)
    lost = (part.d + part.f.times(ic)).plus(ip * seconds)
    one = 1 / slope.value
    by_c, by_s, by_p = part.f1.value * one, slope.first * one, one
    value = np.log(slope.value) - lost.value
    gradient = [by_c - part.f.value, by_s - lost.first, by_p - seconds]
    hessian = [
        -by_c * by_c,
        part.f1.first * one - by_c * by_s - part.f.first,
        slope.second * one - by_s * by_s - lost.second,
        -by_c * by_p,
        -by_s * by_p,
        -by_p * by_p,
    ]
    return value, gradient, hessian


def forgetting(parameters_cps: Floats, decorrelation_s: Floats) -> Floats:
    """g [pixel] of light whose intensity falls to 1/e of its correlation in ``decorrelation_s``; the slowest where that is not known.

    The correlation of the intensity is ``(2 Ic exp(-g t) + Is exp(-2 g t)) / (2 Ic + Is)``.
    """
    ic, is_ = parameters_cps[:, 0], parameters_cps[:, 1]
    part = (2 * ic + is_) / math.e
    below = ic + np.sqrt(ic**2 + is_ * part)
    left = np.where(below > 0, part / np.where(below > 0, below, 1.0), 1 / math.e)
    known = np.isfinite(decorrelation_s) & (decorrelation_s > 0)
    found: Floats = np.where(known, -np.log(left) / np.where(known, decorrelation_s, 1.0), 0.0)
    return np.maximum(found, SLOWEST_PER_S)
