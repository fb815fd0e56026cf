"""The named quantities of a campaign for ``summary.json``: each with its error, or null with the reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from nightcrew.irradiation.costs import costs, of_longest, photometric_precision, star_forecast, star_limit_loss
from nightcrew.irradiation.operation import Operation
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.star_noise import Star
from reports.summary import Plain, Quantity, determined

JOINT = {
    "b0": ("B0", "adu"),
    "alpha": ("alpha", "adu/kRad"),
    "dc0": ("DC0", "adu/s"),
    "beta": ("beta", "adu/s/kRad"),
    "q": ("q", "adu/kRad"),
    "sigma_q": ("sigma_q", "adu/kRad"),
    "read_noise": ("read", "adu"),
}
KEY_QUANTITIES = ("bias_dose_slope", "dark_dose_slope", "beta", "hot_pixel_growth", "star_limit_loss")
Where = Mapping[str, Plain]


def campaign_quantities(analysis: Analysis, star: Star, predict_krad: Sequence[float], where: Where) -> list[Quantity]:
    """Everything that is measured; ``where`` says which campaign, if there are several."""
    found = [
        Quantity(name="frames", value=sum(len(one.group.frames) for one in analysis.masters), where=where),
        Quantity(name="masters", value=len(analysis.masters), where=where),
    ]
    found += _slopes(analysis, where)
    found += _shifts(analysis, where)
    found += _joint(analysis, where)
    found += _hot(analysis, where)
    found += _healing(analysis, where)
    found += _precision(analysis, where)
    found += _star(analysis, star, predict_krad, where)
    return found


def _here(where: Where, **more: Plain) -> dict[str, Plain]:
    return {**where, **{key: round(value, 9) if isinstance(value, float) else value for key, value in more.items()}}


def _temperature(analysis: Analysis, temperature_c: float) -> dict[str, Plain]:
    return {"temperature_c": round(temperature_c, 2)} if len(analysis.bins) > 1 and math.isfinite(temperature_c) else {}


def _slopes(analysis: Analysis, where: Where) -> Iterator[Quantity]:
    if not any(slope.kind == "BIAS" for slope in analysis.slopes):
        yield determined("bias_dose_slope", None, "there is no bias with a dose", unit="adu/kRad", where=where)
    for slope in analysis.slopes:
        dark = slope.kind == "DARK"
        at = _here(where, **({"exposure_s": slope.exposure_s} if dark else {}), **_temperature(analysis, slope.temperature_c))
        name = "dark_dose_slope" if dark else "bias_dose_slope"
        yield _with_remark(
            determined(name, slope.value, slope.remark or "too few doses", error=slope.error, unit="adu/kRad", where=at), slope.remark
        )


def _with_remark(quantity: Quantity, remark: str) -> Quantity:
    """A determined value keeps its remark, so that what it holds besides is not lost."""
    if quantity.value is None or not remark:
        return quantity
    return Quantity(name=quantity.name, value=quantity.value, error=quantity.error, unit=quantity.unit, where=quantity.where, note=remark)


def _shifts(analysis: Analysis, where: Where) -> Iterator[Quantity]:
    for shift in analysis.shifts:
        more: dict[str, Plain] = {"transition": shift.transition, "kind": shift.kind.lower()}
        if shift.kind == "DARK":
            more["exposure_s"] = shift.exposure_s
        yield determined(
            "base_shift", shift.value, shift.why or "a level is missing", error=shift.error, unit="adu", where=_here(where, **more)
        )


def _joint(analysis: Analysis, where: Where) -> Iterator[Quantity]:
    for joint in analysis.joint.values():
        at = _here(where, **_temperature(analysis, joint.temperature_c))
        for name, (ours, unit) in JOINT.items():
            if joint.fit is None:
                yield determined(name, None, "there is no bias and no dark with a dose", unit=unit, where=at)
                continue
            why = joint.fit.why.get(ours, "the fit does not determine it")
            yield determined(name, joint.fit.values[ours], why, error=joint.fit.errors[ours], unit=unit, where=at)
    gain, origin = analysis.gain
    yield determined("gain", gain, origin, error=analysis.gain_error_e_per_adu, unit="e-/adu", where=where)


def _hot(analysis: Analysis, where: Where) -> Iterator[Quantity]:
    hot = analysis.hot
    if hot.why or hot.limit is None:
        yield determined("hot_pixel_growth", None, hot.why, unit="1/kRad", where=where)
        return
    for one in hot.counts:
        visit = {"visit": one.master.group.visit} if one.master.group.visit else {}
        at = _here(where, dose_krad=one.dose_krad, stage=one.stage, **visit)
        spread = math.sqrt(max(one.count or 0, 1))
        yield determined("hot_pixels", one.count, one.why or "not counted", error=spread, where=at)
        unit = "adu"
        yield determined("dark_tail", one.tail.scale_adu, one.tail.why or "no tail", error=one.tail.scale_error_adu, unit=unit, where=at)
    if hot.growth is not None:
        why = hot.growth.why or "fewer than two doses"
        yield determined("hot_pixel_growth", hot.growth.per_krad, why, error=hot.growth.per_krad_error, unit="1/kRad", where=where)


def _healing(analysis: Analysis, where: Where) -> Iterator[Quantity]:
    for one in analysis.healing:
        more: dict[str, Plain] = {"kind": one.kind.lower(), **({"exposure_s": one.exposure_s} if one.kind == "DARK" else {})}
        at = _here(where, **more)
        why = one.fit.why or "no time constant"
        yield determined("annealing_time", one.fit.time_constant_s, why, error=one.fit.time_constant_error_s, unit="s", where=at)
        yield determined("recovered_fraction", one.recovered, one.recovered_why or "not determined", error=one.recovered_error, where=at)


def _precision(analysis: Analysis, where: Where) -> Iterator[Quantity]:
    points = photometric_precision(costs(analysis))
    if not points:
        yield determined("magnitude_error", None, "there is no dark with a bias of its own", unit="mag", where=where)
    for point in points:
        at = _here(where, dose_krad=point.dose_krad, stage=point.stage)
        why = "the bias leaves no head-room"
        spread = f"no error: nothing tells that of the noise; exposures of the step differ by {point.magnitude.std:.3g} mag (rms)"
        yield _with_remark(determined("magnitude_error", point.magnitude.mean, why, unit="mag", where=at), spread)
    for one in of_longest(costs(analysis)):
        at = _here(where, dose_krad=one.dose_krad, stage=one.stage, exposure_s=one.exposure_s)
        yield determined("dynamic_range", one.range.dynamic_range_16, "no range", unit="adu", where=at)


def extrapolated(analysis: Analysis, dose_krad: float) -> str:
    """What to say of a forecast beyond the campaign's largest dose; "" inside."""
    largest = max((one.group.dose_krad for one in analysis.masters), default=0.0)
    return f"beyond the measured {largest:.4g} kRad: extrapolated" if dose_krad > largest * 1.001 else ""


def _star(analysis: Analysis, star: Star, predict_krad: Sequence[float], where: Where) -> Iterator[Quantity]:
    asked = sorted({0.0, *predict_krad}) if predict_krad else ()
    found, why = star_forecast(analysis, star, asked)
    if not found:
        yield determined("star_limit_loss", None, why, unit="mag", where=where)
        return
    for one in found:
        at = _here(where, dose_krad=one.dose_krad)
        reason = one.why or "not determined"
        beyond = extrapolated(analysis, one.dose_krad)
        spread = determined("star_magnitude_error", one.magnitude_error, reason, error=one.magnitude_error_error, unit="mag", where=at)
        limit = determined("star_limit", one.limiting_magnitude, reason, error=one.limiting_magnitude_error, unit="mag", where=at)
        yield from (_with_remark(spread, beyond), _with_remark(limit, beyond))
    first, last = found[0], found[-1]
    loss, error = star_limit_loss(analysis, star, first, last)
    at = _here(where, dose_krad=last.dose_krad)
    lost = determined("star_limit_loss", loss, last.why or first.why or "not determined", error=error, unit="mag", where=at)
    yield _with_remark(lost, extrapolated(analysis, last.dose_krad))


def operation_quantities(found: Sequence[Operation], where: Where) -> list[Quantity]:
    """Outliers of every sequence, what chance would give, and how they follow the dose rate."""
    made = []
    for one in found:
        at = _here(where, sequence=one.name)
        total = None if one.why else int(one.series.outliers.sum())
        made.append(determined("operation_outliers", total, one.why or "none", where=at))
        made.append(Quantity(name="operation_expected_false", value=one.expected_false, where=at))
        law = one.correlation
        made.append(determined("operation_correlation", law.r, law.why or "not determined", error=law.r_error, where=at))
        for name, other in one.beside.items():
            place = {**at, "with": name}
            made.append(determined("operation_correlation", other.r, other.why or "not determined", error=other.r_error, where=place))
    return made
