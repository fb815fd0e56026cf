"""From the phases of laser lines to photon energies: a line or a parabola for each pixel, with errors in the phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NONE, LINEAR, QUADRATIC = 0, 1, 2
_ROUNDS = 6  # of weights that follow the slope
_BACKWARDS = 4.0  # sigma by which centres may go back
_MARGIN = 3.0  # sigma beyond the lines within which a parabola may not turn
_SCALE_DEG = 20.0


@dataclass(frozen=True)
class EnergyFits:
    """Of many pixels, [pixel]; coefficients are NaN where there is no solution."""

    kind: NDArray[np.uint8]  # NONE, LINEAR or QUADRATIC
    coefficients: Floats  # [pixel, 3]: energy_ev = c0 + c1 p + c2 p^2, p in degrees
    covariance: Floats  # [pixel, 3, 3]
    chi2: Floats  # [pixel]
    too_few: Flags  # fewer than two lines
    not_monotonic: Flags
    not_converged: Flags
    not_valid: Flags


def energy_at(coefficients: Floats, phase_deg: Floats) -> Floats:
    """Energies; ``coefficients`` [..., 3] against ``phase_deg`` [...]."""
    value: Floats = (coefficients[..., 2] * phase_deg + coefficients[..., 1]) * phase_deg + coefficients[..., 0]
    return value


def slope_at(coefficients: Floats, phase_deg: Floats) -> Floats:
    """dE/dp, negative where a solution makes sense."""
    value: Floats = coefficients[..., 1] + 2 * coefficients[..., 2] * phase_deg
    return value


def energy_variance(covariance: Floats, phase_deg: Floats) -> Floats:
    """Variance of the energy at ``phase_deg`` [...] with ``covariance`` [..., 3, 3] of the coefficients."""
    powers = np.stack([np.ones_like(phase_deg), phase_deg, phase_deg**2], axis=-1)
    variance: Floats = np.einsum("...i,...ij,...j->...", powers, covariance, powers)
    return variance


def fit_energies(centre_deg: Floats, error_deg: Floats, good: Flags, energies_ev: Floats) -> EnergyFits:
    """Fit lines at ``centre_deg`` [laser, pixel] to ``energies_ev`` [laser], ascending or not.

    Minimises sum ((f(p) - E) / (f'(p) sigma_p))^2 with the weights brought up to date round by round, so that they do not pull the fit.
    A parabola (from three lines on) must not turn within the lines or ``3 sigma`` beyond, fall with the phase, and give positive
    energies; a straight line must fall and cross zero outside the lines.  Of two good ones that with the smaller Akaike criterion counts.
    """
    use = good & np.isfinite(centre_deg) & (error_deg > 0)
    number = use.sum(axis=0)
    backwards = _goes_back(centre_deg, error_deg, use, energies_ev)
    lowest = np.where(use, centre_deg - _MARGIN * error_deg, np.inf).min(axis=0)
    highest = np.where(use, centre_deg + _MARGIN * error_deg, -np.inf).max(axis=0)
    line = _polynomial(centre_deg, error_deg, use, energies_ev, 1)
    parabola = _polynomial(centre_deg, error_deg, use, energies_ev, 2)
    line_ends = np.isfinite(line.coefficients).all(axis=1) & (number >= 2)
    parabola_ends = np.isfinite(parabola.coefficients).all(axis=1) & (number >= 3)
    with np.errstate(invalid="ignore"):
        line_good = line_ends & _sensible(line.coefficients, lowest, highest)
        parabola_good = parabola_ends & _sensible(parabola.coefficients, lowest, highest)
        better = parabola_good & (~line_good | (parabola.chi2 + 6 < line.chi2 + 4))
    kind = np.where(better, QUADRATIC, np.where(line_good, LINEAR, NONE)).astype(np.uint8)
    kind[backwards | (number < 2)] = NONE
    enough, ended = (number >= 2) & ~backwards, line_ends | parabola_ends
    none, quadratic = kind == NONE, kind == QUADRATIC
    chosen = [np.where(quadratic.reshape(-1, *[1] * (b.ndim - 1)), b, a) for a, b in zip(line.arrays, parabola.arrays, strict=True)]
    for values in chosen:
        values[none] = np.nan
    coefficients, covariance, chi2 = chosen
    return EnergyFits(
        kind=kind,
        coefficients=coefficients,
        covariance=covariance,
        chi2=chi2,
        too_few=number < 2,
        not_monotonic=backwards & (number >= 2),
        not_converged=none & enough & ~ended,
        not_valid=none & enough & ended,
    )


def _goes_back(centre_deg: Floats, error_deg: Floats, use: Flags, energies_ev: Floats) -> Flags:
    """Where a line of greater energy is nearer to phase 0 than one of smaller energy, beyond the errors."""
    back = np.zeros(use.shape[1], dtype=np.bool_)
    last = np.full(use.shape[1], np.inf)
    last_error = np.zeros(use.shape[1])
    for one in np.argsort(energies_ev):
        step = centre_deg[one] - last
        back |= use[one] & np.isfinite(last) & (step > _BACKWARDS * (error_deg[one] + last_error))
        last, last_error = np.where(use[one], centre_deg[one], last), np.where(use[one], error_deg[one], last_error)
    return back


@dataclass(frozen=True)
class _Polynomial:
    coefficients: Floats
    covariance: Floats
    chi2: Floats

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats]:
        return self.coefficients, self.covariance, self.chi2


def _polynomial(centre_deg: Floats, error_deg: Floats, use: Flags, energies_ev: Floats, degree: int) -> _Polynomial:
    n_pixels = use.shape[1]
    number = np.maximum(use.sum(axis=0), 1)
    middle = np.where(use, centre_deg, 0.0).sum(axis=0) / number
    t = np.where(use, (centre_deg - middle) / _SCALE_DEG, 0.0)
    error = np.where(use, error_deg, 1.0)
    powers = np.stack([t**power for power in range(degree + 1)], axis=-1)  # [laser, pixel, power]
    slope = np.abs(energies_ev[:, None] / np.where(use, np.minimum(centre_deg, -1.0), -1.0))
    solvable = use.sum(axis=0) > degree
    fitted = np.full((n_pixels, degree + 1), np.nan)
    covariance = np.full((n_pixels, degree + 1, degree + 1), np.nan)
    weight = np.zeros_like(t)
    for _ in range(_ROUNDS):
        weight = np.where(use, 1 / np.maximum(slope * error, 1e-12) ** 2, 0.0)
        matrix = np.einsum("lpi,lp,lpj->pij", powers, weight, powers)
        side = np.einsum("lpi,lp,l->pi", powers, weight, energies_ev)
        matrix[~solvable] = np.eye(degree + 1)
        regular = np.linalg.cond(matrix) < 1e12
        matrix[~regular] = np.eye(degree + 1)
        solvable &= regular
        fitted = np.linalg.solve(matrix, side[:, :, None])[:, :, 0]
        covariance = np.linalg.inv(matrix)
        slope = np.abs(sum(k * fitted[:, k] * t ** (k - 1) for k in range(1, degree + 1)) / _SCALE_DEG)
    chi2 = (weight * (np.einsum("lpi,pi->lp", powers, fitted) - energies_ev[:, None]) ** 2).sum(axis=0)
    fitted[~solvable], covariance[~solvable], chi2[~solvable] = np.nan, np.nan, np.nan
    return _Polynomial(*_in_degrees(fitted, covariance, middle), chi2)


def _in_degrees(fitted: Floats, covariance: Floats, middle: Floats) -> tuple[Floats, Floats]:
    """From powers of (p - middle) / scale to powers of p, always three of them."""
    turn = np.zeros((fitted.shape[0], 3, fitted.shape[1]))
    turn[:, 0, 0] = 1.0
    turn[:, 0, 1], turn[:, 1, 1] = -middle / _SCALE_DEG, 1 / _SCALE_DEG
    if fitted.shape[1] == 3:
        turn[:, 0, 2] = (middle / _SCALE_DEG) ** 2
        turn[:, 1, 2] = -2 * middle / _SCALE_DEG**2
        turn[:, 2, 2] = 1 / _SCALE_DEG**2
    return np.einsum("pij,pj->pi", turn, fitted), np.einsum("pij,pjk,plk->pil", turn, covariance, turn)


def _sensible(coefficients: Floats, lowest: Floats, highest: Floats) -> Flags:
    """Falling and positive from end to end; a parabola that falls at both ends does not turn between them."""
    falls = (slope_at(coefficients, lowest) < 0) & (slope_at(coefficients, highest) < 0)
    sensible: Flags = falls & (energy_at(coefficients, lowest) > 0) & (energy_at(coefficients, highest) > 0)
    return sensible
