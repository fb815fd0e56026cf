"""Precision of a campaign: the older suite's formulas and the star's noise, at every dose step, from the masters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightcrew.irradiation.bit_depth import BitDepth, sweep
from nightcrew.irradiation.masters import Master, read_maps
from nightcrew.irradiation.precision import (
    DynamicRange,
    MeanStd,
    PrecisionMaps,
    Relative,
    dynamic_range,
    precision_at,
    precision_maps,
    relative_precision,
)
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.star_noise import Forecast, Star, forecast, limit_loss

FORECAST_DOSES = 5
COURSE_DOSES = 41


@dataclass(frozen=True, kw_only=True, eq=False)
class Cost:
    """Bias and dark of a stage, dose and exposure, and what they leave.

    ``dose_krad``: of the dark; the bias may be of another dose.  ``step``, ``step_dose_krad``: label of the dark's dose step, and the mean
    dose of the step's darks of all exposures, which files and quantities of the step bear.
    """

    stage: str
    step: float
    step_dose_krad: float
    dose_krad: float
    exposure_s: float
    bias: Master
    dark: Master
    range: DynamicRange
    magnitude: MeanStd
    temporal_noise_adu: float


def costs(analysis: Analysis) -> list[Cost]:
    """One entry a dark with its bias, in the main temperature bin, by exposure, stage and dose."""
    darks = [(dark, dark.bias) for dark in analysis.masters if _counts(dark, analysis) and dark.bias is not None]
    steps: dict[tuple[str, float], list[float]] = {}
    for dark, _ in darks:
        steps.setdefault((dark.group.stage, dark.group.step), []).append(dark.group.dose_krad)
    made = []
    for dark, bias in darks:
        group = dark.group
        doses = steps[group.stage, group.step]
        made.append(
            Cost(
                stage=group.stage,
                step=group.step,
                step_dose_krad=sum(doses) / len(doses),
                dose_krad=group.dose_krad,
                exposure_s=group.exposure_s,
                bias=bias,
                dark=dark,
                range=dynamic_range(bias.mean, dark.mean, bias.std, dark.std),
                magnitude=precision_at([(bias.mean, bias.std)], [(dark.mean, dark.std)]),
                temporal_noise_adu=math.sqrt(dark.stack.variance) if dark.stack.variance >= 0 else math.nan,
            )
        )
    order = {"pre": 0, "radiating": 1, "post": 2}
    return sorted(made, key=lambda one: (one.exposure_s, order[one.stage], one.dose_krad))


def _counts(dark: Master, analysis: Analysis) -> bool:
    return dark.group.kind == "DARK" and dark.group.temperature_bin == analysis.main_bin and not dark.group.visit


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionPoint:
    """Magnitude error of a step: mean and population std over all its pairs of bias and dark."""

    stage: str
    dose_krad: float
    magnitude: MeanStd


def photometric_precision(made: Sequence[Cost]) -> list[PrecisionPoint]:
    """Magnitude error over the darks of all exposures of a step with their bias, by stage and step; doses are those of the darks."""
    steps: dict[tuple[str, float], list[Cost]] = {}
    for one in made:
        steps.setdefault((one.stage, one.step), []).append(one)
    points = []
    for (stage, _), inside in steps.items():
        biases = list({id(one.bias): (one.bias.mean, one.bias.std) for one in inside}.values())
        found = precision_at(biases, [(one.dark.mean, one.dark.std) for one in inside])
        points.append(PrecisionPoint(stage=stage, dose_krad=inside[0].step_dose_krad, magnitude=found))
    order = {"pre": 0, "radiating": 1, "post": 2}
    return sorted(points, key=lambda one: (order[one.stage], one.dose_krad))


def of_longest(made: Sequence[Cost]) -> list[Cost]:
    """The entries of the longest exposure, which are those that the maps and relative numbers are of."""
    longest = max((one.exposure_s for one in made), default=0.0)
    return [one for one in made if one.exposure_s == longest]


def cost_maps(made: Sequence[Cost]) -> Iterator[tuple[Cost, PrecisionMaps]]:
    """Per-pixel precision of each entry, one after the other (memory of one)."""
    for one in made:
        bias, dark = read_maps(one.bias.path), read_maps(one.dark.path)
        yield one, precision_maps(bias.mean, bias.spread, dark.spread)


def relative(made: Sequence[Cost]) -> list[Relative]:
    """Noise and magnitude error against the stage pre."""
    return relative_precision([(one.stage, one.dose_krad, one.range) for one in made])


def bit_depths(analysis: Analysis, made: Sequence[Cost]) -> list[BitDepth]:
    """The sweep over converter widths at every dose."""
    gain, _ = analysis.gain
    return [
        entry
        for one in made
        if math.isfinite(one.temporal_noise_adu)
        for entry in sweep(
            one.dose_krad, one.range.base_level_16, one.temporal_noise_adu, gain_e_per_adu=gain, stored_step_adu=analysis.step_adu
        )
    ]


def star_forecast(analysis: Analysis, star: Star, doses_krad: Sequence[float] = ()) -> tuple[list[Forecast], str]:
    """The star at the campaign's doses (or those asked for), and why not where it cannot be told."""
    gain, why = analysis.gain
    fit = analysis.main_fit
    if fit is None:
        return [], "there is no bias and no dark with a dose"
    if gain is None:
        return [], why
    largest = max((one.group.dose_krad for one in analysis.masters), default=0.0)
    asked = list(doses_krad) or [largest * n / (FORECAST_DOSES - 1) for n in range(FORECAST_DOSES)]
    return forecast(fit, star, sorted(set(asked)), gain_e_per_adu=gain, gain_error_e_per_adu=analysis.gain_error_e_per_adu), ""


def star_limit_loss(analysis: Analysis, star: Star, first: Forecast, last: Forecast) -> tuple[float, float]:
    """What the limit loses from one forecast to the other, with its error; NaN where one of them cannot be told."""
    gain, _ = analysis.gain
    fit = analysis.main_fit
    if gain is None or fit is None or first.why or last.why:
        return math.nan, math.nan
    error = analysis.gain_error_e_per_adu
    return limit_loss(fit, star, first.dose_krad, last.dose_krad, gain_e_per_adu=gain, gain_error_e_per_adu=error)


def star_course(analysis: Analysis, star: Star, doses_krad: Sequence[float] = ()) -> list[Forecast]:
    """The star from dose 0 to the largest dose measured or asked for, for a curve; empty where nothing can be told."""
    largest = max((one.group.dose_krad for one in analysis.masters), default=0.0)
    top = max(largest, *doses_krad, 1e-6)
    found, _ = star_forecast(analysis, star, [top * n / (COURSE_DOSES - 1) for n in range(COURSE_DOSES)])
    return [one for one in found if not one.why]
