"""The photon transfer curve of a region: its points, where it turns, and what its fit says of gain and read noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.curve_fit import CurveData, CurveFit, fit_curve
from nightcrew.sensor.frames import SensorFrame
from nightcrew.sensor.groups import Group
from nightcrew.sensor.linearity import Linearity, straightened
from nightcrew.sensor.pairs import PairOptions, PairStatistics, pair_statistics
from nightcrew.sensor.regions import Region

F8 = NDArray[np.float64]
LEVEL_GAP = 1.02
"""Flats of one exposure whose levels differ by more belong to different levels of illumination."""
MAX_LEVEL_RATIO = 1.25
"""Frames whose levels differ by more are no pair."""
TURN_OFF_SIGMA = 5.0
LEAST_SIGMA = 3.0
"""A gain that is not this many errors above 0 is none: the photon noise is not seen."""
FIT_BELOW = 0.85
"""Of the turn-off (or of saturation): higher points are shown, not fitted."""
MOST_SATURATED = 1e-3
BRIGHT_FAT_FROM_E = 10_000.0
"""Largest signal from which on a curve is fitted with the full covariance model."""
LEAST_FOR_COVARIANCES = 6
QUANTISATION_VARIANCE = 1 / 12
"""ADU^2, of rounding to whole numbers (EMVA 1288 R4, eq. 8)."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """All pairs of one level together; ADU, ADU^2, s.  ``relative_error`` is that of ``variance``."""

    group: str
    filter: str
    exposure_s: float
    signal: float
    signal_scatter: float
    variance: float
    relative_error: float
    pairs: tuple[PairStatistics, ...]

    @property
    def saturated_fraction(self) -> float:
        """Share of saturated pixels."""
        return max(pair.saturated_fraction for pair in self.pairs)

    @property
    def pixels(self) -> float:
        """Pixel pairs used in all."""
        return float(sum(pair.used for pair in self.pairs))

    @property
    def covariances(self) -> F8 | None:
        """Mean covariances [lag_y, lag_x] of the pairs."""
        found = [pair.covariances for pair in self.pairs if pair.covariances is not None]
        return np.asarray(np.mean(found, axis=0)) if len(found) == len(self.pairs) else None


@dataclass(frozen=True, kw_only=True)
class BiasNoise:
    """Pairs of biases: level and variance in ADU, with the variance's error; ``drift`` is the scatter of the levels."""

    level: float
    drift: float
    variance: float
    variance_error: float
    pairs: tuple[PairStatistics, ...]

    @property
    def covariances(self) -> F8 | None:
        """Mean covariances [lag_y, lag_x]."""
        found = [pair.covariances for pair in self.pairs if pair.covariances is not None]
        return np.asarray(np.mean(found, axis=0)) if found else None


@dataclass(frozen=True, kw_only=True)
class TurnOff:
    """Where the variance turns down: signals in ADU between which the full well lies.

    Rule: the highest signal up to which no variance is more than 5 of its errors below that of a lower signal.  ``upper`` is
    the highest signal seen beyond (a plateau when the sweep goes past saturation).  ``by_converter``: the numbers end, not the pixels.
    """

    lower: float
    upper: float
    by_converter: bool

    @property
    def middle(self) -> float:
        """Middle of the interval."""
        return 0.5 * (self.lower + self.upper)


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


def stretch_of(chi2: float, freedom: int) -> float:
    """The same from the numbers; a factor from every chance excess would make errors too large on average."""
    if freedom < 1 or chi2 <= freedom + 3 * math.sqrt(2 * freedom):
        return 1.0
    return math.sqrt(chi2 / freedom)


def bias_noise(frames: Sequence[SensorFrame], region: Region, max_lag: int, threads: int = 1) -> BiasNoise | None:
    """Level and temporal variance of biases from all disjoint pairs; None with fewer than two."""
    options = PairOptions(max_lag=max_lag, scale=False)

    def measured(place: int) -> PairStatistics:
        return pair_statistics(frames[place], frames[place + 1], region.windows, 0.0, options)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        pairs = tuple(pair for pair in pool.map(measured, range(0, len(frames) - 1, 2)) if pair.used > 1)
    if not pairs:
        return None
    levels = [level for pair in pairs for level in pair.levels]
    variance, error = combined(pairs)
    return BiasNoise(level=float(np.mean(levels)), drift=_drift(levels, pairs), variance=variance, variance_error=error, pairs=pairs)


def _drift(levels: Sequence[float], pairs: Sequence[PairStatistics]) -> float:
    """Scatter of the frames' levels beyond what the pixels' noise gives their means."""
    noise = float(np.mean([pair.variance / max(pair.used, 1) for pair in pairs]))
    return math.sqrt(max(float(np.var(levels, ddof=1)) - noise, 0.0))


def combined(pairs: Sequence[PairStatistics]) -> tuple[float, float]:
    """Mean variance of pairs by their pixels, and its error."""
    weights = np.array([pair.used for pair in pairs], np.float64)
    weights /= weights.sum()
    variance = float(sum(w * pair.variance for w, pair in zip(weights, pairs, strict=True)))
    return variance, math.sqrt(float(sum((w * pair.variance_error) ** 2 for w, pair in zip(weights, pairs, strict=True))))


def points_of(group: Group, region: Region, offset_adu: float, options: PairOptions) -> tuple[list[CurvePoint], list[str]]:
    """The points of one group of flats: one for each level of light, and remarks on frames that found no partner."""
    points: list[CurvePoint] = []
    remarks: list[str] = []
    for members in _levels(group.frames, region, offset_adu):
        pairs = []
        for first, second in zip(members[::2], members[1::2], strict=False):
            found = pair_statistics(first, second, region.windows, offset_adu, options)
            if max(found.ratio, 1 / found.ratio) > MAX_LEVEL_RATIO:
                remarks.append(
                    f"{first.name} and {second.name}: levels differ by a factor of {max(found.ratio, 1 / found.ratio):.2f}, no pair"
                )
            else:
                pairs.append(found)
        if len(members) < 2:
            remarks.append(f"{members[0].name}: no second flat of its level")
        if pairs:
            points.append(_point(group, pairs))
    return points, remarks


def _levels(frames: Sequence[SensorFrame], region: Region, offset_adu: float) -> list[list[SensorFrame]]:
    """Frames by level of light, each in the order of time."""
    level = {id(frame): quick_level(frame, region) - offset_adu for frame in frames}
    ordered = sorted(frames, key=lambda frame: level[id(frame)])
    clusters: list[list[SensorFrame]] = []
    for frame in ordered:
        before = level[id(clusters[-1][-1])] if clusters else 0.0
        if clusters and (before <= 0 or level[id(frame)] <= LEVEL_GAP * before):
            clusters[-1].append(frame)
        else:
            clusters.append([frame])
    place = {id(frame): n for n, frame in enumerate(frames)}
    return [sorted(cluster, key=lambda frame: place[id(frame)]) for cluster in clusters]


def quick_level(frame: SensorFrame, region: Region) -> float:
    """Mean level of a few rows in ADU."""
    window = region.windows[0]
    ny = window.shape[0]
    with frame.opened() as rows:
        return float(np.mean([np.mean(window.rows(rows, y, y + 1), dtype=np.float64) for y in range(0, ny, max(1, ny // 16))]))


def _point(group: Group, pairs: Sequence[PairStatistics]) -> CurvePoint:
    good = [pair for pair in pairs if pair.used > 1]
    variance, error = combined(good) if good else (0.0, 0.0)
    levels = [level for pair in pairs for level in pair.levels]
    return CurvePoint(
        group=group.label,
        filter=group.filter,
        exposure_s=group.exposure_s,
        signal=float(np.mean([pair.level for pair in (good or pairs)])),
        signal_scatter=float(np.std(levels)),
        variance=variance,
        relative_error=error / variance if variance > 0 else math.inf,
        pairs=tuple(pairs),
    )


def turn_off(points: Sequence[CurvePoint], saturation_adu: float | None) -> TurnOff | None:
    """Where the variance turns down; None when it rises to the end of the sweep.  ``saturation_adu`` is a signal above the offset."""
    ordered = sorted(points, key=lambda point: (point.signal, point.exposure_s))
    highest, error, good = 0.0, 0.0, -1
    for place, point in enumerate(ordered):
        own = point.variance * point.relative_error if point.variance > 0 else 0.0
        if place and point.variance < highest - TURN_OFF_SIGMA * math.hypot(own, error):
            break
        good = place
        if point.variance > highest:
            highest, error = point.variance, own
    if good < 0 or good == len(ordered) - 1:
        return None
    beyond = ordered[good + 1 :]
    upper = max(point.signal + 3 * math.sqrt(max(point.variance, 0.0) / max(point.pixels, 1.0)) for point in beyond)
    by_converter = saturation_adu is not None and upper > 0.99 * saturation_adu
    return TurnOff(lower=ordered[good].signal, upper=max(upper, ordered[good].signal), by_converter=by_converter)


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
    turn = turn_off(ordered, saturation_adu)
    ceiling = min(turn.lower if turn is not None else math.inf, saturation_adu if saturation_adu is not None else math.inf)
    fitted = np.array([_usable(point, ceiling) for point in ordered], np.bool_)
    alpha = linearity.alpha_per_adu if linearity is not None and linearity.curved and linearity.alpha_per_adu is not None else 0.0
    chosen = [point for point, used in zip(ordered, fitted, strict=True) if used]
    fit = line = None
    reason = _why_not(ordered, chosen, bias)
    notes = list(remarks)
    if not reason:
        data = _data(chosen, bias, alpha)
        fit = _fit(data, chosen, bootstrap, seed)
        line = fit_curve(data, bright_fat=False)
        if alpha and linearity is not None and linearity.alpha_error_per_adu:
            fit = _with_alpha_error(fit, chosen, bias, alpha, linearity.alpha_error_per_adu)
            notes.append("the response is curved: signals and variances were straightened before the fit")
        if not (math.isfinite(fit.gain) and 0 < fit.gain_error < fit.gain / LEAST_SIGMA):
            fit, line, reason = None, None, "the variance does not grow with the signal: no gain"
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


def _usable(point: CurvePoint, ceiling: float) -> bool:
    lit = point.variance > 0 and point.signal > 0 and math.isfinite(point.relative_error) and point.relative_error > 0
    return lit and point.signal <= FIT_BELOW * ceiling and point.saturated_fraction <= MOST_SATURATED


def _why_not(points: Sequence[CurvePoint], chosen: Sequence[CurvePoint], bias: BiasNoise | None) -> str:
    if not points:
        return "no pair of flats"
    if not chosen:
        return "all flats are saturated, or hold no light"
    if bias is None and len(chosen) < 2:
        return "one level of light and no pair of biases: the read noise cannot be told from the photon noise"
    return ""


def _data(points: Sequence[CurvePoint], bias: BiasNoise | None, alpha: float) -> CurveData:
    raw = np.array([point.signal for point in points])
    signal, slope = straightened(raw, alpha)
    found = [point.covariances for point in points]
    covariances = None if any(one is None for one in found) else np.array(found) * (slope**2)[:, None, None]
    return CurveData(
        signal=signal,
        variance=np.array([point.variance for point in points]) * slope**2,
        relative_error=np.array([point.relative_error for point in points]),
        floor_slope=slope**2,
        bias_variance=None if bias is None else bias.variance,
        bias_error=None if bias is None else bias.variance_error,
        covariances=covariances,
        bias_covariances=None if bias is None else bias.covariances,
        pixels=np.array([point.pixels for point in points]),
        bias_pixels=0.0 if bias is None else float(sum(pair.used for pair in bias.pairs)),
    )


def _fit(data: CurveData, points: Sequence[CurvePoint], bootstrap: int, seed: int) -> CurveFit:
    """The model that the points can bear: a line, with a00, or all covariances above the stated flux."""
    first = fit_curve(data)
    full = data.covariances is not None and len(points) >= LEAST_FOR_COVARIANCES and data.signal.max() * first.gain >= BRIGHT_FAT_FROM_E
    return fit_curve(data, full=full, bootstrap=bootstrap, seed=seed)


def _with_alpha_error(fit: CurveFit, points: Sequence[CurvePoint], bias: BiasNoise | None, alpha: float, error: float) -> CurveFit:
    """The errors of the straightening, by fits with the curvature one error off."""
    from dataclasses import replace

    other = fit_curve(_data(points, bias, alpha + error))
    mine = fit_curve(_data(points, bias, alpha))
    a00_error = None
    if fit.a00_error is not None and other.a00 is not None and mine.a00 is not None:
        a00_error = math.hypot(fit.a00_error, other.a00 - mine.a00)
    return replace(fit, gain_error=math.hypot(fit.gain_error, other.gain - mine.gain), a00_error=a00_error)


def _read_noise(bias: BiasNoise | None, fit: CurveFit | None) -> tuple[float | None, float | None]:
    """Read noise in ADU from the biases, else from the fit's floor; the rounding to whole numbers is taken out."""
    variance, error = (
        (bias.variance, bias.variance_error) if bias is not None else (fit.floor, fit.floor_error) if fit is not None else (0.0, 0.0)
    )
    variance -= QUANTISATION_VARIANCE
    if variance <= 0:
        return None, None
    return math.sqrt(variance), error / (2 * math.sqrt(variance))
