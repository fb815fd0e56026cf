"""Everything that the flats of one temperature tell of one region: curve, linearity, EMVA 1288, non-uniformity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.intervals import Interval
from nightcrew.sensor import emva1288
from nightcrew.sensor.curve_points import CurvePoint, points_of
from nightcrew.sensor.customary import PairSample, gain_clipped_at_three_sigma, sample, uneven_gain
from nightcrew.sensor.emva1288 import Linear1288, TemporalData
from nightcrew.sensor.full_well import full_well
from nightcrew.sensor.groups import Group, same_exposure
from nightcrew.sensor.linearity import Linearity, linearity, nothing_linear
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.pairing import disjoint
from nightcrew.sensor.pairs import PairOptions, PairStatistics
from nightcrew.sensor.regions import Region
from nightcrew.sensor.transfer_curve import DOUBTFUL, TransferCurve, stretch, transfer_curve, without_curve
from nightcrew.sensor.turn_off import turn_off
from nightcrew.sensor.uniformity import Uniformity, uniformity
from nightcrew.sensor.zero_level import Zero, bias_noise

F8 = NDArray[np.float64]
MEDIAN_OF_CHI2, ERROR_OF_MEDIAN = 0.4549, 2.33  # of squares of normal numbers: their median, its relative error times sqrt(n)
LEAST_NUMBERS = 10.0
"""Flats of smaller numbers are not in ADU."""
ONE_LAMP = 1.25
"""Signals of one exposure that differ by more come from several lamps: such a sweep is none by exposure."""


@dataclass(frozen=True, kw_only=True)
class FlatResult:
    """A region at one temperature.  ``emva`` is a sentence where the standard's levels are missing.

    The curve holds all filters, since photons' noise knows none.  Linearity and EMVA 1288 are of one light alone: of ``linearity_filter``
    and ``emva_filter``, those with most exposures and levels; ``filters`` are all there are.  ``customary_gain``: what a clip at 3 sigma
    with nothing put back makes of the brightest fitted pair, too high by a known share (:mod:`nightcrew.sensor.customary`).
    ``doubts``: why the gain may be wrong, or not that of the whole region.
    """

    region: str
    temperature_c: float | None
    curve: TransferCurve
    linearity: Linearity | None
    emva: Linear1288 | str
    uniformity: Uniformity
    filters: tuple[str, ...] = ()
    linearity_filter: str = ""
    emva_filter: str = ""
    customary_gain: float | None = None
    doubts: tuple[str, ...] = ()

    @property
    def full_well_e(self) -> tuple[float, Interval] | None:
        """Full well in e-: the middle of its interval, and that; None without a turn-off or a gain."""
        split = self.uniformity.split
        return full_well(self.curve, 0.01 * (split.total or 0.0) if split is not None else 0.0)


def _points(
    flats: Sequence[Group], region: Region, offset: float, options: SensorOptions, saturation_adu: float | None
) -> tuple[list[CurvePoint], list[str]]:
    pairing = PairOptions(clip_sigma=options.clip_sigma, saturation_adu=saturation_adu, max_lag=options.max_lag)
    with ThreadPoolExecutor(max(1, options.threads)) as pool:  # numpy works outside the interpreter's lock
        found = list(pool.map(lambda group: points_of(group, region, offset, pairing), flats))
    return [point for points, _ in found for point in points], [note for _, notes in found for note in notes]


def _band_remarks(points: Sequence[CurvePoint]) -> list[str]:
    banded = [pair for point in points for pair in point.pairs if pair.bands is not None and pair.bands.found]
    total = sum(len(point.pairs) for point in points)
    if not banded:
        return []
    relative = max(max(p.bands.row_rms, p.bands.column_rms) / max(p.level, 1.0) for p in banded if p.bands is not None)
    way = "rows" if any(pair.bands is not None and pair.bands.found_rows for pair in banded) else "columns"
    return [f"{len(banded)} of {total} pairs of flats are banded ({way} vary by up to {100 * relative:.2g} %, as by flicker): normalised"]


def flat_result(
    flats: Sequence[Group],
    darks: Sequence[Group],
    zero: Zero | str,
    region: Region,
    options: SensorOptions,
    saturation_adu: float | None,
) -> FlatResult:
    """Measure the ``flats`` (at least one group) of one temperature and set-up in a region.

    ``darks`` are the unflooded ones of that temperature; without a ``zero`` level nothing is measured, for the reason that stands there.
    """
    warm, filters = flats[0].temperature_c, tuple(sorted({group.filter for group in flats}))
    if isinstance(zero, str):
        return FlatResult(
            region=region.name,
            temperature_c=warm,
            curve=without_curve(region, zero),
            linearity=nothing_linear(zero),
            emva=zero,
            uniformity=Uniformity(reason=zero),
            filters=filters,
        )
    points, notes = _points(flats, region, zero.level, options, saturation_adu)
    top = None if saturation_adu is None else saturation_adu - zero.level
    light, straight = _linearity(points, top, options.seed)
    curve = transfer_curve(
        region,
        points,
        zero.noise,
        saturation_adu=top,
        linearity=straight,
        bootstrap=options.bootstrap,
        seed=options.seed,
        remarks=[*filter(None, (zero.remark, straight.untested_foot if straight is not None else "")), *notes, *_band_remarks(points)],
    )
    point, pair = _brightest(curve, flats, region) or (None, None)
    noise = zero.noise
    customary = None if pair is None or noise is None else gain_clipped_at_three_sigma(pair, zero.level, noise.variance)
    chosen, sweep = _sweep(points)
    temporal = _temporal(sweep, darks, zero, region, options.threads)
    return FlatResult(
        region=region.name,
        temperature_c=warm,
        curve=curve,
        linearity=straight,
        emva=temporal if isinstance(temporal, str) else emva1288.linear_model(temporal, seed=options.seed),
        uniformity=uniformity(curve, flats, darks, zero, region),
        filters=filters,
        linearity_filter=light,
        emva_filter=chosen,
        customary_gain=customary,
        doubts=tuple(_doubts(curve, straight, point, pair, zero)),
    )


def _brightest(curve: TransferCurve, flats: Sequence[Group], region: Region) -> tuple[CurvePoint, PairSample] | None:
    """The brightest fitted level, and a sample of its first pair; None without a gain."""
    fitted = [point for point, used in zip(curve.points, curve.fitted, strict=True) if used]
    if curve.fit is None or not fitted:
        return None
    brightest = max(fitted, key=lambda point: point.signal)
    frames = {frame.name: frame for group in flats if group.label == brightest.group for frame in group.frames}
    one, two = (frames[name] for name in brightest.pairs[0].names)
    return brightest, sample(one, two, region)


def _doubts(
    curve: TransferCurve, straight: Linearity | None, point: CurvePoint | None, pair: PairSample | None, zero: Zero
) -> Iterator[str]:
    """What makes one gain for the region doubtful."""
    if straight is not None and straight.foot:
        yield straight.foot
    fit, highest = curve.fit, max((point.signal for point in curve.points), default=0.0) + zero.level
    if curve.points and highest < LEAST_NUMBERS:
        yield f"no number is above {highest:.3g}: frames that were scaled, not in ADU. Cosmic rays and hot pixels are not told from noise"
    if fit is not None and stretch(fit) > DOUBTFUL:
        yield (
            f"the levels leave the transfer curve by {stretch(fit):.2g} times their errors (chi^2 {fit.chi2:.0f} for {fit.freedom} degrees "
            "of freedom): amplifiers of other gains, a gain that was changed, or light between the frames of a level?"
        )
    banded = point is not None and any(one.bands is not None and one.bands.found for one in point.pairs)
    if fit is not None and pair is not None and not banded and zero.noise is not None:
        uneven = uneven_gain(pair, zero.level, fit, curve.alpha_per_adu)
        yield from [uneven] if uneven else []


def _by_filter(points: Sequence[CurvePoint]) -> dict[str, list[CurvePoint]]:
    found: dict[str, list[CurvePoint]] = {}
    for point in sorted(points, key=lambda point: (point.filter, point.exposure_s, point.signal)):
        found.setdefault(point.filter, []).append(point)
    return found


def _several_lamps(points: Sequence[CurvePoint]) -> bool:
    """Whether flats of one exposure have levels of several lamps."""
    levels: dict[float, list[float]] = {}
    for point in points:
        levels.setdefault(point.exposure_s, []).append(point.signal)
    return any(max(found) > ONE_LAMP * max(min(found), 1.0) for found in levels.values())


def _linearity(points: Sequence[CurvePoint], top: float | None, seed: int) -> tuple[str, Linearity | None]:
    """Of the filter with most exposure times, and which that is; None when no flats were taken at several."""
    of_filter = _by_filter(points)
    best = max(of_filter, key=lambda name: len({p.exposure_s for p in of_filter[name]}), default="")
    chosen = of_filter.get(best, [])
    if len({p.exposure_s for p in chosen}) < 2:
        return best, None
    if _several_lamps(chosen):
        return best, nothing_linear("flats of one exposure have several levels: the sweep was not made by exposure alone")
    turn = turn_off(chosen, top)
    errors = _relative_errors(chosen)
    saturation = turn.lower if turn is not None else top
    return best, linearity([p.exposure_s for p in chosen], [p.signal for p in chosen], errors, saturation, seed=seed)


def _relative_errors(points: Sequence[CurvePoint]) -> list[float]:
    """Of each point's signal: the pixels' noise, and the scatter of the lamp."""
    lamp = _lamp_scatter([pair for point in points for pair in disjoint(point.pairs)])
    return [math.hypot(p.level_error / max(p.signal, 1.0), lamp / math.sqrt(max(p.frames, 1))) for p in points]


def _lamp_scatter(pairs: Sequence[PairStatistics]) -> float:
    """Relative scatter of the light from frame to frame: what the levels of pairs differ by beyond their own shot noise.

    0 while it is not 3 errors of such a median beyond it: half of all chance excesses would make every error too large.
    """
    known = [pair for pair in pairs if pair.used > 1 and pair.level > 0]
    if not known:
        return 0.0
    square = [((pair.levels[0] - pair.levels[1]) / pair.level) ** 2 / 2 for pair in known]
    shot = [pair.variance / pair.used / pair.level**2 for pair in known]
    seen, expected = float(np.median(square)) / MEDIAN_OF_CHI2, float(np.median(shot))
    return math.sqrt(seen - expected) if seen > expected * (1 + 3 * ERROR_OF_MEDIAN / math.sqrt(len(known))) else 0.0


def _sweep(points: Sequence[CurvePoint]) -> tuple[str, list[CurvePoint]]:
    """The points of one light for EMVA 1288, in the order of the light, and their filter: of the filter with most levels.

    Where a filter's flats mix exposures and lamps, those of the exposure with most levels.
    """
    of_filter = _by_filter(points)
    best = max(of_filter, key=lambda name: len(of_filter[name]), default="")
    chosen = of_filter.get(best, [])
    if _several_lamps(chosen):
        times = [point.exposure_s for point in chosen]
        most = max(sorted(set(times)), key=times.count)
        chosen = [point for point in chosen if point.exposure_s == most]
    return best, chosen


def _temporal(points: Sequence[CurvePoint], darks: Sequence[Group], zero: Zero, region: Region, threads: int) -> TemporalData | str:
    """Bright and dark means and variances by level; darks of the same exposure, else the bias."""
    if len(points) < 2:
        return f"{len(points)} level{'s' if len(points) != 1 else ''} of light in one filter: EMVA 1288 needs at least two"
    dark: list[tuple[float, float]] = []
    measured: dict[int, tuple[float, float]] = {}
    for point in points:
        same = next((g for g in darks if len(g.frames) > 1 and same_exposure(g.exposure_s, point.exposure_s)), None)
        if same is not None and id(same) not in measured:
            found = bias_noise(same.frames, region, 0, threads)
            if found is not None and found.floor.clipped:
                return f"{same.label}: values below {found.floor.lowest:g} ADU are cut off, and with them the dark noise"
            measured[id(same)] = (zero.level, 0.0) if found is None else (found.level, found.variance)
        if same is None and zero.noise is not None and zero.noise.cut_off:
            return zero.noise.hidden
        if same is None and zero.noise is None:
            return "no pair of biases, and not every exposure of the flats has its darks"
        dark.append(measured[id(same)] if same is not None else (zero.level, zero.noise.variance if zero.noise is not None else 0.0))
    return TemporalData(
        exposure_s=np.array([point.exposure_s for point in points]),
        photons=None,
        mean=np.array([point.signal + zero.level for point in points]),
        variance=np.array([point.variance for point in points]),
        dark_mean=np.array([mean for mean, _ in dark]),
        dark_variance=np.array([variance for _, variance in dark]),
        relative_error=np.array(_relative_errors(points)),
    )
