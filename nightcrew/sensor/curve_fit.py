"""Fits of the photon transfer curve: weighted least squares, and the covariance model of Astier et al. 2019.

With mu the signal in ADU, g the gain in e-/ADU, a_ij the change of a pixel's area by an electron (i, j) away (A&A 629, A36, eq. 20):

    C_ij(mu) = mu/g [ delta_i0 delta_j0 + a_ij mu g + 2/3 [a*a]_ij (mu g)^2 + 1/3 [a*a*a]_ij (mu g)^3 ] + n_ij/g^2

(* is a convolution over all neighbours).  The paper's b, by which a itself changes with the signal, is taken as 0: it is not fitted.
Every lag is linear in its own 1/g, a_ij and n_ij; the convolutions are small and come from the round before, so a few rounds of linear
fits solve it, and errors and bootstrap are exact for the last round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.pairs import ROUNDING_VARIANCE

F8 = NDArray[np.float64]
ROUNDS = 12
HIDDEN_BELOW = 0.24
"""ADU^2: of a smaller variance rounding hides a part that nobody knows (EMVA 1288 R4, section 6.5)."""
LEAST_FOR_BRIGHT_FAT = 4  # signal levels, besides the bias, for the a00 term


@dataclass(frozen=True, kw_only=True)
class CurveData:
    """Points of a curve that a fit uses.  ``signal``, ``variance`` in ADU, ADU^2; ``relative_error`` of a variance at its own size.

    ``floor_slope`` multiplies the noise floor (1 but for straightened signals).  ``bias_variance`` is the noise floor as biases tell it.
    ``covariances`` [point, lag_y, lag_x] and ``bias_covariances`` in ADU^2; ``pixels`` of each point; None when not measured.
    """

    signal: F8
    variance: F8
    relative_error: F8
    floor_slope: F8
    bias_variance: float | None = None
    bias_error: float | None = None
    covariances: F8 | None = None
    bias_covariances: F8 | None = None
    pixels: F8 | None = None
    bias_pixels: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """Result of a fit: ``gain`` in e-/ADU, ``floor`` = variance at no signal (ADU^2), ``a00`` in 1/e- (None: not fitted).

    ``bootstrap_*``: standard deviations over resampled residuals.  ``a`` and ``a_error`` [lag_y, lag_x] of the full model.
    ``model`` are the fitted variances at the points, ``residual`` (measured - model) / error.
    """

    method: str
    gain: float
    gain_error: float
    floor: float
    floor_error: float
    a00: float | None
    a00_error: float | None
    chi2: float
    freedom: int
    model: F8
    residual: F8
    bootstrap_gain: float | None = None
    bootstrap_floor: float | None = None
    bootstrap_a00: float | None = None
    a: F8 | None = None
    a_error: F8 | None = None
    noise_covariances: F8 | None = None

    def variance_at(self, signal_adu: F8) -> F8:
        """The fitted variance at ``signal_adu``."""
        higher = np.zeros_like(signal_adu) if self.a is None else _higher(self.a, self.gain, signal_adu)[:, 0, 0]
        return np.asarray(self.floor + signal_adu / self.gain + (self.a00 or 0.0) * signal_adu**2 + higher)


def fit_curve(data: CurveData, *, bright_fat: bool = True, full: bool = False, bootstrap: int = 0, seed: int = 0) -> CurveFit:
    """Fit the curve; ``bright_fat`` with the a00 term where there are levels enough, ``full`` with the whole covariance model.

    Needs one point and the bias variance, or two points.  Raises ``ValueError`` with fewer.
    """
    points = data.signal.size + (data.bias_variance is not None)
    if points < 2 or data.signal.size < 1:
        raise ValueError(f"{points} points cannot give a gain")
    with_a = bright_fat and np.unique(np.round(data.signal, 1)).size >= LEAST_FOR_BRIGHT_FAT
    full = full and with_a and data.covariances is not None
    higher = np.zeros(data.signal.size)
    design = _design(data, with_a)
    fit = _variance_fit(data, design, higher, None)
    a = a_error = noise = None
    for _ in range(ROUNDS if with_a else 1):
        if full:
            a, a_error, noise = _lag_fits(data, fit, a)
            a[0, 0], a_error[0, 0] = fit.a00 or 0.0, fit.a00_error or 0.0
        elif with_a:  # the variance alone: V = (exp(2 a00 mu g) - 1) / (2 g^2 a00) + n/g^2 has 2/3 a00^2 in the cubic term
            a = np.array([[fit.a00 or 0.0]])
        if a is not None:
            higher = _higher(a, fit.gain, data.signal)[:, 0, 0]
        before = fit.gain
        fit = _variance_fit(data, design, higher, fit)
        if abs(fit.gain - before) < 1e-9 * before:
            break
    if a is not None:
        fit = _with_slopes(data, design, higher, fit, a)
        a[0, 0] = fit.a00 or 0.0
        if a_error is not None:
            a_error[0, 0] = fit.a00_error or 0.0
    if bootstrap:
        fit = _bootstrapped(data, design, higher, fit, bootstrap, seed, a)
    method = "covariances" if full else "quadratic" if with_a else "line"
    return replace(fit, method=method, a=a, a_error=a_error if full else None, noise_covariances=noise)


def _design(data: CurveData, with_a: bool) -> F8:
    """Columns: noise floor, 1/g, a00; the bias is the last row."""
    columns = [data.floor_slope, data.signal] + ([data.signal**2] if with_a else [])
    design = np.column_stack(columns)
    if data.bias_variance is not None:
        design = np.vstack([design, [1.0] + [0.0] * (design.shape[1] - 1)])
    return design


def _targets(data: CurveData, higher: F8, fit: CurveFit | None) -> tuple[F8, F8]:
    """Values to be fitted and their errors; the errors are those of the *model*'s variances, else low points would weigh too much."""
    values, size = data.variance - higher, data.variance if fit is None else fit.model
    sigma = np.maximum(size, 1e-12) * data.relative_error
    if data.bias_variance is not None:
        values, sigma = np.append(values, data.bias_variance), np.append(sigma, _bias_error(data.bias_variance, data.bias_error))
    return values, sigma


def _bias_error(variance: float, error: float | None) -> float:
    """Error of the biases' variance; where rounding hides the noise it is not known better than the rounding's own variance."""
    return max(error or 0.0, ROUNDING_VARIANCE if variance < HIDDEN_BELOW else 1e-6 * variance)


def _solver(design: F8, sigma: F8) -> tuple[F8, F8]:
    """Matrix from values to coefficients, and the coefficients' covariance."""
    scale = np.abs(design).max(axis=0)
    weighted = design / scale / sigma[:, None]
    inverse = np.linalg.pinv(weighted.T @ weighted, hermitian=True)
    return (inverse @ weighted.T / sigma) / scale[:, None], inverse / np.outer(scale, scale)


def _variance_fit(data: CurveData, design: F8, higher: F8, before: CurveFit | None) -> CurveFit:
    fit = before
    for _ in range(1 if before is not None else 4):
        values, sigma = _targets(data, higher, fit)
        solver, covariance = _solver(design, sigma)
        beta = solver @ values
        fit = _as_fit(data, beta, covariance, design, values, sigma, higher)
    if fit is None:
        raise AssertionError("unreachable")
    return fit


def _as_fit(data: CurveData, beta: F8, covariance: F8, design: F8, values: F8, sigma: F8, higher: F8) -> CurveFit:
    residual = (values - design @ beta) / sigma
    n = data.signal.size
    slope = float(beta[1])
    return CurveFit(
        method="",
        gain=1 / slope if slope != 0 else math.inf,
        gain_error=math.sqrt(covariance[1, 1]) / slope**2 if slope != 0 else math.inf,
        floor=float(beta[0]),
        floor_error=math.sqrt(covariance[0, 0]),
        a00=float(beta[2]) if beta.size > 2 else None,
        a00_error=math.sqrt(covariance[2, 2]) if beta.size > 2 else None,
        chi2=float((residual**2).sum()),
        freedom=int(values.size - beta.size),
        model=(design @ beta)[:n] + higher,
        residual=residual[:n],
    )


def _higher(a: F8, gain: float, signal: F8) -> F8:
    """Terms beyond a_ij mu^2 for every point and lag: mu/g [2/3 a*a (mu g)^2 + 1/3 a*a*a (mu g)^3]."""
    r = a.shape[0]
    wide = np.pad(a, ((0, r // 2), (0, r // 2)))
    whole = _mirrored(wide)
    two = _convolved(whole, whole)
    three = _convolved(two, whole)
    c = wide.shape[0] - 1
    second, third = two[c : c + r, c : c + r], three[c : c + r, c : c + r] / 3
    charge = (signal * gain)[:, None, None]
    return np.asarray(signal[:, None, None] / gain * (2 / 3 * second * charge**2 + third * charge**3))


def _convolved(one: F8, other: F8) -> F8:
    """Convolution of two small images of one shape, cut to that shape about its middle."""
    shape = tuple(2 * n - 1 for n in one.shape)
    full = np.fft.irfft2(np.fft.rfft2(one, shape) * np.fft.rfft2(other, shape), shape)
    y, x = ((n - 1) // 2 for n in one.shape)
    return np.asarray(full[y : y + one.shape[0], x : x + one.shape[1]])


def _mirrored(quadrant: F8) -> F8:
    """A symmetric kernel [2r-1, 2r-1] from its quadrant [r, r]."""
    half = np.concatenate([quadrant[:, :0:-1], quadrant], axis=1)
    return np.concatenate([half[:0:-1], half], axis=0)


def _lag_fits(data: CurveData, fit: CurveFit, a: F8 | None) -> tuple[F8, F8, F8]:
    """a_ij, their errors and the noise covariances of all lags but (0, 0), by one weighted line in mu^2 each."""
    covariances = data.covariances
    if covariances is None or data.pixels is None:
        raise ValueError("no covariances were measured")
    lags = covariances.shape[1]
    a = np.zeros((lags, lags)) if a is None else a
    higher = _higher(a, fit.gain, data.signal)
    new, errors, noise = np.zeros((lags, lags)), np.zeros((lags, lags)), np.zeros((lags, lags))
    for i in range(lags):
        for j in range(lags):
            if i == j == 0:
                continue
            # independent Gaussians: the mean product of N pairs scatters by V / sqrt(N); averaging both signs halves its square
            share = math.sqrt(0.5) if i and j else 1.0
            sigma = fit.model / np.sqrt(data.pixels) * share
            values, design = covariances[:, i, j] - higher[:, i, j], np.column_stack([np.ones(data.signal.size), data.signal**2])
            if data.bias_covariances is not None and data.bias_variance is not None and data.bias_pixels:
                values = np.append(values, data.bias_covariances[i, j])
                sigma = np.append(sigma, max(data.bias_variance, ROUNDING_VARIANCE) / math.sqrt(data.bias_pixels) * share)
                design = np.vstack([design, [1.0, 0.0]])
            solver, _ = _solver(design, sigma)
            noise[i, j], new[i, j] = solver @ values
            # a_ij stands in the higher terms, too, above all with a00: their slope is part of the error
            charge = (fit.a00 or 0.0) * fit.gain * data.signal
            slopes = design.copy()
            slopes[: data.signal.size, 1] *= 1 + 4 / 3 * charge + charge**2
            _, cov = _solver(slopes, sigma)
            errors[i, j] = math.sqrt(cov[1, 1])
    return new, errors, noise


def _slopes(data: CurveData, design: F8, fit: CurveFit, a: F8) -> F8:
    """The design with the slopes of the higher terms in 1/g and a00: what an error does to the whole model."""
    signal, slope = data.signal, 1 / fit.gain
    here = _higher(a, fit.gain, signal)[:, 0, 0]
    step = 1e-4
    moved = design.copy()
    moved[: signal.size, 1] += (_higher(a, 1 / (slope * (1 + step)), signal)[:, 0, 0] - here) / (slope * step)
    other, change = a.copy(), step * (abs(float(a[0, 0])) or 1e-7)
    other[0, 0] += change
    moved[: signal.size, 2] += (_higher(other, fit.gain, signal)[:, 0, 0] - here) / change
    return moved


def _with_slopes(data: CurveData, design: F8, higher: F8, fit: CurveFit, a: F8) -> CurveFit:
    """The fit with errors from the whole model's slopes."""
    _, sigma = _targets(data, higher, fit)
    _, covariance = _solver(_slopes(data, design, fit, a), sigma)
    return replace(
        fit,
        gain_error=math.sqrt(covariance[1, 1]) * fit.gain**2,
        floor_error=math.sqrt(covariance[0, 0]),
        a00_error=math.sqrt(covariance[2, 2]),
    )


def _bootstrapped(data: CurveData, design: F8, higher: F8, fit: CurveFit, rounds: int, seed: int, a: F8 | None) -> CurveFit:
    """Wild bootstrap (Wu 1986): every residual keeps its place and size, divided by sqrt(1 - leverage), and gets a random sign.

    None where the residuals say nothing: no degree of freedom left.
    """
    if fit.freedom < 1:
        return fit
    values, sigma = _targets(data, higher, fit)
    beta = _solver(design, sigma)[0] @ values
    slopes = design if a is None else _slopes(data, design, fit, a)
    solver, _ = _solver(slopes, sigma)
    leverage = np.clip(np.einsum("ij,ji->i", slopes, solver), 0.0, 0.999)
    residual = (values - design @ beta) / np.sqrt(1 - leverage)
    signs = np.random.default_rng(seed).integers(0, 2, (rounds, values.size)) * 2.0 - 1.0
    trials: NDArray[Any] = beta + (signs * residual) @ solver.T
    gains = 1 / trials[:, 1]
    return replace(
        fit,
        bootstrap_gain=float(np.std(gains)),
        bootstrap_floor=float(np.std(trials[:, 0])),
        bootstrap_a00=float(np.std(trials[:, 2])) if trials.shape[1] > 2 else None,
    )
