"""The photon transfer curve of a region: its points, where it turns, and what its fit says of gain and read noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.curve_fit import CurveData, CurveFit, fit_curve
from nightcrew.sensor.curve_points import CurvePoint
from nightcrew.sensor.linearity import Linearity, straightened
from nightcrew.sensor.pairing import independent_pixels
from nightcrew.sensor.pairs import ROUNDING_VARIANCE
from nightcrew.sensor.regions import Region
from nightcrew.sensor.robust import stretch_of
from nightcrew.sensor.turn_off import Fall, TurnOff, fall, turn_off
from nightcrew.sensor.zero_level import BiasNoise

F8 = NDArray[np.float64]
LEAST_SIGMA = 3.0
"""A gain that is not this many errors above 0 is none: the photon noise is not seen."""
FIT_BELOW = 0.85
"""Of the turn-off (or of saturation): higher points are shown, not fitted."""
MOST_SATURATED = 1e-3
BRIGHT_FAT_FROM_E = 10_000.0
"""Largest signal from which on a curve is fitted with the full covariance model."""
LEAST_FOR_COVARIANCES = 6
DOUBTFUL = 3.0
"""Levels that leave the curve by so many times their errors do not belong to it."""
NO_BRIGHT_FAT = "brighter-fatter effect not taken into account"


@dataclass(frozen=True, kw_only=True)
class TransferCurve:
    """Points of a region with what follows.  ``fit`` None: ``reason`` says why.  ``fitted`` marks the points that the fit used."""

    region: str
    points: tuple[CurvePoint, ...]
    bias: BiasNoise | None
    turn_off: TurnOff | None
    fitted: NDArray[np.bool_]
    alpha_per_adu: float
    fit: CurveFit | None
    line: CurveFit | None
    read_noise_adu: float | None
    read_noise_error_adu: float | None
    reason: str
    remarks: tuple[str, ...]

    @property
    def read_noise_e(self) -> tuple[float, float] | None:
        """Read noise in e- and its error, from the biases (else from the fit) and the gain."""
        if self.fit is None or self.read_noise_adu is None or self.read_noise_error_adu is None:
            return None
        value = self.read_noise_adu * self.fit.gain
        return value, value * math.hypot(self.read_noise_error_adu / self.read_noise_adu, self.gain_error / self.fit.gain)

    @property
    def gain_error(self) -> float:
        """Error of the gain: that of the fit, or of the bootstrap where its residuals scatter more than they should."""
        if self.fit is None:
            return math.nan
        return self.fit.gain_error * stretch(self.fit)


def stretch(fit: CurveFit) -> float:
    """Factor on a fit's errors where its residuals are no chance (chi^2 beyond 3 sigma of its freedom): sqrt(chi^2/freedom)."""
    return stretch_of(fit.chi2, fit.freedom)


def transfer_curve(
    region: Region,
    points: Sequence[CurvePoint],
    bias: BiasNoise | None,
    *,
    saturation_adu: float | None = None,
    linearity: Linearity | None = None,
    bootstrap: int = 200,
    seed: int = 0,
    remarks: Sequence[str] = (),
) -> TransferCurve:
    """Fit the points of a region.  ``saturation_adu`` is the signal above the offset where the numbers end."""
    ordered = tuple(sorted(points, key=lambda point: (point.signal, point.exposure_s)))
    turn, falling = turn_off(ordered, saturation_adu), fall(ordered)
    highest = min(_below_fall(ordered, falling), FIT_BELOW * (saturation_adu if saturation_adu is not None else math.inf))
    fitted = np.array([_usable(point, highest) for point in ordered], np.bool_)
    alpha = linearity.alpha_per_adu if linearity is not None and linearity.curved and linearity.alpha_per_adu is not None else 0.0
    chosen = [point for point, used in zip(ordered, fitted, strict=True) if used]
    fit = line = None
    reason = _why_not(ordered, chosen, bias, highest)
    notes = list(remarks)
    if falling is not None and turn is None:
        lost = f"{100 * falling.drop:.2g} %"
        notes.append(f"beyond {falling.signal:.0f} ADU the variance falls by {lost}: not fitted, and too little to be a full well")
    if bias is not None and bias.variance <= 0:
        notes.append("the biases do not vary at all: rounding or clipping hides their noise, the flats alone tell of the floor")
    if not reason:
        data = _data(chosen, bias, alpha)
        fit = _fit(data, chosen, bootstrap, seed)
        line = fit_curve(data, bright_fat=False)
        if alpha and linearity is not None and linearity.alpha_error_per_adu:
            fit = _with_alpha_error(fit, chosen, bias, alpha, linearity.alpha_error_per_adu)
            notes.append("the response is curved: signals and variances were straightened before the fit")
        if not (math.isfinite(fit.gain) and 0 < fit.gain_error < fit.gain / LEAST_SIGMA):
            fit, line, reason = None, None, "the variance does not grow with the signal: no gain"
        elif 1 < stretch(fit) <= DOUBTFUL:  # beyond, the grade's reason says it
            beyond = f"chi^2 {fit.chi2:.0f} for {fit.freedom} degrees of freedom"
            notes.append(f"the levels scatter about the curve beyond chance ({beyond}): errors are {stretch(fit):.2g} times the noise's")
        if fit is not None and fit.a00 is None:
            notes.append(f"{len(chosen)} level{'s' if len(chosen) > 1 else ''} of light: {NO_BRIGHT_FAT}")
    noise, noise_error = _read_noise(bias, fit)
    return TransferCurve(
        region=region.name,
        points=ordered,
        bias=bias,
        turn_off=turn,
        fitted=fitted,
        alpha_per_adu=alpha,
        fit=fit,
        line=line,
        read_noise_adu=noise,
        read_noise_error_adu=noise_error,
        reason=reason,
        remarks=tuple(notes),
    )


def without_curve(region: Region, reason: str) -> TransferCurve:
    """No curve at all, for that reason."""
    return TransferCurve(
        region=region.name,
        points=(),
        bias=None,
        turn_off=None,
        fitted=np.empty(0, np.bool_),
        alpha_per_adu=0.0,
        fit=None,
        line=None,
        read_noise_adu=None,
        read_noise_error_adu=None,
        reason=reason,
        remarks=(),
    )


def _below_fall(points: Sequence[CurvePoint], falling: Fall | None) -> float:
    """The highest signal that is fit to be fitted before the variance falls.

    85 % of the last one before the fall.  That one itself, where none of its pixels is saturated and the next lies so far above that
    it is below 85 % of what pixels were seen to hold: the fall is somewhere in that gap.
    """
    if falling is None:
        return math.inf
    whole = all(point.saturated_fraction == 0 for point in points if point.signal <= falling.signal)
    return falling.signal if whole and falling.signal <= FIT_BELOW * falling.beyond else FIT_BELOW * falling.signal


def _lit(point: CurvePoint) -> bool:
    return point.variance > 0 and point.signal > 0 and math.isfinite(point.relative_error) and point.relative_error > 0


def _usable(point: CurvePoint, highest: float) -> bool:
    return _lit(point) and point.signal <= highest and point.saturated_fraction <= MOST_SATURATED


def _why_not(points: Sequence[CurvePoint], chosen: Sequence[CurvePoint], bias: BiasNoise | None, highest: float) -> str:
    if not points:
        return "no pair of flats"
    if not chosen:
        good = [point for point in points if _lit(point) and point.saturated_fraction <= MOST_SATURATED]
        if good:
            least = min(point.signal for point in good)
            near = "too close to saturation or to the fall of the variance"
            return f"the dimmest flats ({least:.0f} ADU) are {near}: flats below {highest:.0f} ADU are needed"
        full = [point for point in points if point.saturated_fraction > MOST_SATURATED]
        return "all flats are saturated" if len(full) == len(points) else "the flats are saturated, or hold no light"
    if bias is None and len(chosen) < 2:
        return "one level of light and no pair of biases: the read noise cannot be told from the photon noise"
    return ""


def _data(points: Sequence[CurvePoint], bias: BiasNoise | None, alpha: float) -> CurveData:
    raw = np.array([point.signal for point in points])
    signal, slope = straightened(raw, alpha)
    found = [point.covariances for point in points]
    hidden = bias is not None and (bias.variance <= 0 or bias.cut_off)
    silent = hidden and len(points) > 1  # constant biases, and those that are cut off, tell nothing of the noise
    rows, columns = _taken_out(points, bias)
    covariances = None if any(one is None for one in found) else np.array(found) * (slope**2)[:, None, None]
    return CurveData(
        signal=signal,
        variance=np.array([point.variance for point in points]) * slope**2,
        relative_error=np.array([point.relative_error for point in points]),
        floor_slope=slope**2,
        bias_variance=None if silent or bias is None else max(bias.variance - rows - columns, 0.0),
        bias_error=None if silent or bias is None else bias.variance_error,
        covariances=covariances,
        bias_covariances=None if bias is None or silent else _without(bias.covariances, rows, columns),
        pixels=np.array([point.pixels for point in points]),
        bias_pixels=0.0 if bias is None else independent_pixels(bias.pairs),
    )


def _taken_out(points: Sequence[CurvePoint], bias: BiasNoise | None) -> tuple[float, float]:
    """What of the biases' rows and columns is not in flats whose bands were taken out, in ADU^2."""
    if bias is None:
        return 0.0, 0.0
    bands = [pair.bands for point in points for pair in point.pairs if pair.bands is not None]
    rows, columns = any(one.found_rows for one in bands), any(one.found_columns for one in bands)
    return bias.row_power if rows else 0.0, bias.column_power if columns else 0.0


def _without(covariances: F8 | None, rows: float, columns: float) -> F8 | None:
    """Covariances of pixels without what their row and column have in common."""
    if covariances is None or not (rows or columns):
        return covariances
    left = covariances.copy()
    left[0, :] -= rows
    left[:, 0] -= columns
    return left


def _fit(data: CurveData, points: Sequence[CurvePoint], bootstrap: int, seed: int) -> CurveFit:
    """The model that the points can bear: a line, with a00, or all covariances above the stated flux."""
    first = fit_curve(data)
    full = data.covariances is not None and len(points) >= LEAST_FOR_COVARIANCES and data.signal.max() * first.gain >= BRIGHT_FAT_FROM_E
    return fit_curve(data, full=full, bootstrap=bootstrap, seed=seed)


def _with_alpha_error(fit: CurveFit, points: Sequence[CurvePoint], bias: BiasNoise | None, alpha: float, error: float) -> CurveFit:
    """The errors of the straightening, by fits with the curvature one error off."""
    other = fit_curve(_data(points, bias, alpha + error))
    mine = fit_curve(_data(points, bias, alpha))
    a00_error = None
    if fit.a00_error is not None and other.a00 is not None and mine.a00 is not None:
        a00_error = math.hypot(fit.a00_error, other.a00 - mine.a00)
    return replace(fit, gain_error=math.hypot(fit.gain_error, other.gain - mine.gain), a00_error=a00_error)


def _read_noise(bias: BiasNoise | None, fit: CurveFit | None) -> tuple[float | None, float | None]:
    """Read noise in ADU from the biases, else from the fit's floor; the rounding to whole numbers is taken out."""
    if bias is not None:
        return bias.read_noise_adu or (None, None)
    variance = 0.0 if fit is None else fit.floor - ROUNDING_VARIANCE
    if fit is None or variance <= 0:
        return None, None
    return math.sqrt(variance), fit.floor_error / (2 * math.sqrt(variance))
