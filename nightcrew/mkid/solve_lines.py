"""From the lines of all lasers to the solution: the shape of the lines, energies, resolutions, flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid import line_fit as lf
from nightcrew.mkid import line_models as lm
from nightcrew.mkid.energy_fit import LINEAR, NONE, QUADRATIC, EnergyFits, energy_at, fit_energies, slope_at
from nightcrew.mkid.wavelength_solution import HC_EV_NM, WavelengthSolution, unsolved

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

HALF_WIDTH = float(np.sqrt(2 * np.log(2)))  # of a Gaussian at half its height, in sigma
SHAPE_PRIOR, SHAPE_PRIOR_SIGMA = 0.5, 0.5
_SIGNS = np.array([-1.0, 1, 1, 1, 1, -1, 1, 1])  # of the parameters, from heights to phases


def solve(
    wavelengths_nm: Floats,
    resid: NDArray[np.uint32],
    lines: Sequence[lf.Lines],
    tried: Flags,
    causes: NDArray[np.uint32],
    photons: NDArray[np.int64],
) -> WavelengthSolution:
    """Solution of the pixels [pixel] of ``resid`` [y, x] from ``lines`` [laser]; ``causes`` are flags of pixels that were not ``tried``.

    A line that is Gaussian in energy is a little skewed in phase where the response is curved, and its fitted centre is its mean.  The
    median is the same photon in phase and in energy, so the energies are fitted to it.  How skewed lines really are, against what the curve
    explains (1: Gaussian in energy, 0: in phase), is measured on the whole array, where it stands far above its noise.
    """
    energies_ev = HC_EV_NM / wavelengths_nm
    good = np.stack([one.flag == lf.GOOD for one in lines])
    centre = np.stack([-one.parameters[:, lm.CENTRE] for one in lines])
    error = np.sqrt(np.stack([one.covariance[:, lm.CENTRE, lm.CENTRE] for one in lines]))
    sigma = np.stack([one.parameters[:, lm.SIGMA] for one in lines])
    found = fit_energies(centre, error, good, energies_ev)
    shape = _line_shape(found, lines, centre, sigma, good)
    median = centre
    for _ in range(2):
        median = np.where(good, centre + shape * _skew_shift(found, centre, sigma), np.nan)
        found = fit_energies(median, error, good, energies_ev)
    flag = _flags(found, good, lines, tried, causes)
    resolution, resolution_error = _resolutions(found, median, sigma, lines, good)
    size = (len(lines), *resid.shape)
    stacked = {name: np.stack([getattr(one, name) for one in lines]) for name in ("flag", "model", "edge_deg", "bin_deg", "aic", "chi2")}
    parameters = np.stack([one.parameters for one in lines]) * _SIGNS
    covariance = np.stack([one.covariance for one in lines]) * np.outer(_SIGNS, _SIGNS)
    inside = np.where(good & (found.kind != NONE), median, np.nan)
    return replace(
        unsolved(wavelengths_nm, resid),
        flag=flag.reshape(resid.shape),
        coefficients=found.coefficients.reshape(*resid.shape, 3),
        covariance=found.covariance.reshape(*resid.shape, 3, 3),
        phase_range_deg=_range(inside).reshape(*resid.shape, 2),
        resolution=resolution.reshape(size),
        resolution_error=resolution_error.reshape(size),
        line_flag=stacked["flag"].reshape(size),
        line_model=stacked["model"].reshape(size),
        line_parameters=parameters.reshape(*size, lm.N_PARAMETERS),
        line_covariance=covariance.reshape(*size, lm.N_PARAMETERS, lm.N_PARAMETERS),
        line_centre_deg=median.reshape(size),
        line_centre_error_deg=np.where(good, error, np.nan).reshape(size),
        line_edge_deg=-stacked["edge_deg"].reshape(size),
        line_bin_deg=stacked["bin_deg"].reshape(size),
        line_photons=photons.reshape(size),
        line_aic=stacked["aic"].reshape(size),
        line_chi2=stacked["chi2"].reshape(size),
        line_shape=np.array([shape]),
    )


def _range(inside: Floats) -> Floats:
    lit = np.isfinite(inside).any(axis=0)
    low = np.where(lit, np.where(np.isfinite(inside), inside, np.inf).min(axis=0), np.nan)
    high = np.where(lit, np.where(np.isfinite(inside), inside, -np.inf).max(axis=0), np.nan)
    return np.stack([low, high], axis=-1)


def _curvature(found: EnergyFits, phase_deg: Floats) -> Floats:
    """E'' / E' [laser, pixel], 0 where the solution is a straight line."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = 2 * found.coefficients[:, 2] / slope_at(found.coefficients[None], phase_deg)
    return np.where((found.kind == QUADRATIC) & np.isfinite(value), value, 0.0)


def _skew_shift(found: EnergyFits, centre: Floats, sigma: Floats) -> Floats:
    """Median less mean of a line that is Gaussian in energy, to second order: E'' sigma^2 / (2 E')."""
    shift: Floats = 0.5 * _curvature(found, centre) * sigma**2
    return np.where(np.abs(shift) < 0.3 * sigma, shift, 0.0)


def _line_shape(found: EnergyFits, lines: Sequence[lf.Lines], centre: Floats, sigma: Floats, good: Flags) -> float:
    """Weighted mean of the skewness that is found over the one that the curve explains, held by a prior where there are few lines."""
    expected = -3 * _curvature(found, centre) * sigma
    measured = -np.stack([one.skew for one in lines])  # heights to phases
    error = np.stack([one.skew_error for one in lines])
    use = good & np.isfinite(measured) & (error > 0) & (expected != 0) & (np.abs(expected) < 1) & (np.abs(measured) < 5 * error + 0.3)
    weight = np.where(use, 1 / np.where(use, error, 1.0) ** 2, 0.0)
    ratio = float((weight * np.where(use, expected * measured, 0.0)).sum()) + SHAPE_PRIOR / SHAPE_PRIOR_SIGMA**2
    total = float((weight * np.where(use, expected**2, 0.0)).sum()) + 1 / SHAPE_PRIOR_SIGMA**2
    return float(np.clip(ratio / total, -0.5, 1.5))


def _resolutions(found: EnergyFits, median: Floats, sigma: Floats, lines: Sequence[lf.Lines], good: Flags) -> tuple[Floats, Floats]:
    """R = E / (E(lower half maximum) - E(upper half maximum)), and its standard deviation [laser, pixel]."""
    coefficients = found.coefficients[None]
    width_ev = energy_at(coefficients, median - HALF_WIDTH * sigma) - energy_at(coefficients, median + HALF_WIDTH * sigma)
    energy_ev = energy_at(coefficients, median)
    with np.errstate(invalid="ignore", divide="ignore"):
        usable = good & (found.kind != NONE) & (width_ev > 0)
        resolution = np.where(usable, energy_ev / width_ev, np.nan)
        of_sigma = np.stack([one.covariance[:, lm.SIGMA, lm.SIGMA] for one in lines]) / sigma**2
        slope = slope_at(coefficients, median)
        nothing = np.zeros_like(median)
        gradient = np.stack([nothing + 1, median, median**2], axis=-1) / energy_ev[..., None]  # of ln R = ln E - ln |E'| by c0, c1, c2
        gradient -= np.stack([nothing, nothing + 1, 2 * median], axis=-1) / slope[..., None]
        of_solution = np.einsum("lpi,pij,lpj->lp", gradient, found.covariance, gradient)
        error = resolution * np.sqrt(of_sigma + of_solution)
    return resolution, np.where(usable, error, np.nan)


def _flags(found: EnergyFits, good: Flags, lines: Sequence[lf.Lines], tried: Flags, causes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    few = np.stack([one.flag == lf.FEW_PHOTONS for one in lines]).all(axis=0)
    solved = found.kind != NONE
    rules = {
        "wavecal.bad": ~solved,
        "wavecal.not_attempted": ~tried,
        "wavecal.no_histograms": tried & few,
        "wavecal.not_enough_histogram_fits": tried & ~few & found.too_few,
        "wavecal.not_monotonic": tried & found.not_monotonic,
        "wavecal.failed_convergence": tried & found.not_converged,
        "wavecal.failed_validation": tried & found.not_valid,
        "wavecal.histogram_fit_problems": tried & ~good.all(axis=0),
        "wavecal.linear": found.kind == LINEAR,
        "wavecal.quadratic": found.kind == QUADRATIC,
    }
    flag = causes.copy()
    for name, which in rules.items():
        flag[which] |= np.uint32(f.bit(name))
    return flag
