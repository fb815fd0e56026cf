"""The quantities of a sensor for ``summary.json``: one entry a region and temperature, null with its reason where undetermined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nightcrew.sensor.characterise import RegionResult, SensorResult, SetUpResult
from nightcrew.sensor.emva1288 import Linear1288
from nightcrew.sensor.exposure_limits import data_sheet_rate, maximum_practical_exposure_s, minimum_practical_exposure_s
from nightcrew.sensor.flats import FlatResult
from nightcrew.sensor.hot_growth import HotGrowth
from nightcrew.sensor.options import SensorOptions
from reports.summary import Plain, Quantity, determined

Where = dict[str, Plain]
REFERENCE_RATES_E_PER_S = (0.1, 1.0, 10.0)
"""Rates of light for which the minimum exposure is stated when no sky is given."""


def quantities(result: SensorResult) -> tuple[Quantity, ...]:
    """Every quantity of every set-up."""
    several = len(result.set_ups) > 1
    return tuple(
        quantity
        for place, set_up in enumerate(result.set_ups)
        for quantity in _of_set_up(set_up, {"set_up": set_up.set_up.label or f"set-up {place + 1}"} if several else {}, result.options)
    )


def _of_set_up(set_up: SetUpResult, where: Where, options: SensorOptions) -> Iterator[Quantity]:
    for region in set_up.regions:
        here: Where = {**where, "region": region.region.name}
        yield from _gains(region, here)
        yield from _noises(region, here)
        for flat in region.flats:
            yield from _flat(flat, at(here, flat.temperature_c))
        yield from _dark(region, here, options)
        yield from _limits(region, here, options)


def at(where: Where, temperature_c: float | None) -> Where:
    """The place with its temperature, when it is known."""
    return where if temperature_c is None else {**where, "temperature_c": round(temperature_c, 2)}


def _gains(region: RegionResult, where: Where) -> Iterator[Quantity]:
    if not region.flats:
        yield determined("gain", None, region.gain_reason or "no flats", unit="e-/adu", where=where)
        yield determined("full_well", None, "no flats", unit="e-", where=where)
    for flat in region.flats:
        fit, here = flat.curve.fit, at(where, flat.temperature_c)
        reason = flat.curve.reason or "no gain"
        yield determined("gain", fit.gain if fit else None, reason, error=flat.curve.gain_error, unit="e-/adu", where=here)
        a00 = fit.a00 if fit else None
        why = reason if fit is None else "too few levels of light for the brighter-fatter term"
        yield determined("a00", a00, why, error=fit.a00_error if fit else None, unit="1/e-", where=here)
        yield _full_well(flat, here)


def _full_well(flat: FlatResult, where: Where) -> Quantity:
    found = flat.full_well_e
    if found is None or flat.curve.turn_off is None:
        reason = flat.curve.reason or "the variance rises to the end of the sweep: brighter flats are needed"
        return determined("full_well", None, reason, unit="e-", where=where)
    middle, low, high = found
    note = f"95 % interval {low:.0f} to {high:.0f} e-"
    if flat.curve.turn_off.by_converter:
        note += "; the converter ends there, the pixels hold more"
    return Quantity(name="full_well", value=middle, error=(high - low) / 4, unit="e-", where=where, note=note)


def _noises(region: RegionResult, where: Where) -> Iterator[Quantity]:
    if not region.noises:
        yield determined("read_noise", None, "no temperature with two biases", unit="e-", where=where)
    for noise in region.noises:
        here, gain = at(where, noise.temperature_c), region.gain
        hidden = "the biases do not vary: rounding to whole numbers hides the noise"
        yield determined("read_noise_adu", noise.adu, hidden, error=noise.adu_error, unit="adu", where=here)
        yield determined("bias_level", noise.bias.level, "", error=noise.bias.drift, unit="adu", where=here)
        value = error = None
        if noise.adu is not None and gain is not None and noise.adu_error is not None:
            value = noise.adu * gain.value
            error = value * math.hypot(noise.adu_error / noise.adu, gain.error / gain.value)
        reason = hidden if noise.adu is None else f"no gain: {region.gain_reason}"
        quantity = determined("read_noise", value, reason, error=error, unit="e-", where=here)
        yield with_note(quantity, _gain_note(region))


def with_note(quantity: Quantity, note: str) -> Quantity:
    """The quantity with a note besides what it has."""
    from dataclasses import replace

    return replace(quantity, note="; ".join(filter(None, (quantity.note, note)))) if quantity.value is not None else quantity


def _gain_note(region: RegionResult) -> str:
    stated = region.gain is not None and region.gain.source == "header"
    return f"with the header's gain, which was not measured ({region.gain_reason})" if stated else ""


def _flat(flat: FlatResult, where: Where) -> Iterator[Quantity]:
    uniformity, straight = flat.uniformity, flat.linearity
    yield determined("prnu", uniformity.prnu_percent, uniformity.reason, error=uniformity.prnu_error_percent, unit="%", where=where)
    why = straight.reason if straight is not None else "flats of one exposure time: linearity needs a sweep by exposure"
    yield determined("linearity_error", straight.error_percent if straight else None, why, unit="%", where=where)
    if isinstance(flat.emva, Linear1288):
        yield from _emva(flat.emva, where)
    else:
        yield determined("emva.gain", None, flat.emva, unit="DN/e-", where=where)
    for name, split, unit in (("emva.prnu", uniformity.split, "%"), ("emva.dsnu", uniformity.dark_split, "e-")):
        if split is None:
            yield determined(name, None, uniformity.reason or "one frame alone", unit=unit, where={**where, "part": "total"})
            continue
        for part, value in (("total", split.total), ("row", split.row), ("column", split.column), ("pixel", split.pixel)):
            error = split.error if part == "total" else None
            yield determined(name, value, "below what noise leaves", error=error, unit=unit, where={**where, "part": part})


def _emva(emva: Linear1288, where: Where) -> Iterator[Quantity]:
    no_photons = "no photometric calibration: the relative form"
    values: tuple[tuple[str, float | None, str, str], ...] = (
        ("emva.gain", emva.gain_dn_per_e, "DN/e-", ""),
        ("emva.responsivity", emva.responsivity_dn_per_s, "DN/s", "one exposure time"),
        ("emva.quantum_efficiency", emva.quantum_efficiency, "", no_photons),
        ("emva.dark_noise", emva.dark_noise_e, "e-", ""),
        ("emva.absolute_sensitivity_threshold", emva.threshold_e, "e-", ""),
        ("emva.saturation_capacity", emva.saturation_e, "e-", ""),
        ("emva.snr_max", emva.snr_max_db, "dB", ""),
        ("emva.dynamic_range", emva.dynamic_range_db, "dB", ""),
        ("emva.linearity_error", emva.linearity_error_percent, "%", "fewer than three exposure times between 5 % and 95 % of saturation"),
    )
    for name, value, unit, reason in values:
        yield determined(name, value, reason, unit=unit, where=where)


def _dark(region: RegionResult, where: Where, options: SensorOptions) -> Iterator[Quantity]:
    gain = region.gain
    if not region.darks:
        yield determined("dark_current", None, "no darks", unit="e-/s", where=where)
        yield determined("dsnu", None, "no darks", unit="e-", where=where)
    for series in region.darks:
        here = at(where, series.temperature_c)
        rate, error = dark_rate_e(region, series.rate_adu_per_s, series.rate_error_adu_per_s)
        reason = series.reason or f"no gain: {region.gain_reason}"
        yield determined("dark_current_adu", series.rate_adu_per_s, reason, error=series.rate_error_adu_per_s, unit="adu/s", where=here)
        yield with_note(determined("dark_current", rate, reason, error=error, unit="e-/s", where=here), _gain_note(region))
        typical = None if series.median_rate_adu_per_s is None or gain is None else series.median_rate_adu_per_s * gain.value
        yield determined("dark_current_median", typical, reason, error=error if typical is not None else None, unit="e-/s", where=here)
        for point in series.points:
            value = None if point.dsnu is None or gain is None else point.dsnu * gain.value
            spread = None
            if value is not None and point.dsnu and point.dsnu_error is not None and gain is not None:
                spread = value * math.hypot(point.dsnu_error / point.dsnu, gain.error / gain.value)
            why = point.dsnu_reason or reason
            yield determined("dsnu", value, why, error=spread, unit="e-", where={**here, "exposure_s": point.exposure_s})
        if series.hot is not None:
            yield Quantity(name="hot_pixels", value=int(series.hot.y.size), where=here)
        if options.data_sheet is not None and rate is not None and series.temperature_c is not None:
            sheet = options.data_sheet
            scaled = data_sheet_rate(sheet.rate_e_per_s, sheet.at_c, series.temperature_c, sheet.doubling_k)
            yield Quantity(name="dark_current_data_sheet", value=scaled, unit="e-/s", where=here)
            yield Quantity(name="dark_current_over_data_sheet", value=rate / scaled, unit="", where=here)
    yield from _thermal(region, where)


def dark_rate_e(region: RegionResult, rate_adu: float | None, error_adu: float | None) -> tuple[float | None, float | None]:
    """Dark rate in e-/s with its error; (None, None) without a rate or a gain."""
    gain = region.gain
    if rate_adu is None or gain is None:
        return None, None
    return rate_adu * gain.value, math.hypot((error_adu or 0.0) * gain.value, rate_adu * gain.error)


def growth_quantities(grown: Sequence[HotGrowth]) -> Iterator[Quantity]:
    """Hot pixels against an earlier result."""
    for one in grown:
        here = at({"region": one.region}, one.temperature_c)
        for name, value in (("new", one.new), ("gone", one.gone), ("grown", one.grown), ("shrunk", one.shrunk)):
            yield Quantity(name=f"hot_pixels_{name}", value=value, where=here)


def _thermal(region: RegionResult, where: Where) -> Iterator[Quantity]:
    fit = region.arrhenius
    if isinstance(fit, str):
        yield determined("doubling_temperature", None, fit, unit="K", where=where)
        yield determined("activation_energy", None, fit, unit="eV", where=where)
    else:
        middle: Where = {**where, "at_temperature_c": round(fit.middle_c, 2)}
        yield Quantity(name="doubling_temperature", value=fit.doubling_k, error=fit.doubling_error_k, unit="K", where=middle)
        yield Quantity(name="activation_energy", value=fit.activation_ev, error=fit.activation_error_ev, unit="eV", where=where)
    for residual in region.residuals:
        here: Where = {**at(where, residual.temperature_c), "exposure_s": residual.exposure_s}
        trapped = residual.trapped
        signal = trapped.signal_e if trapped else None
        yield determined("trapped_charge", signal, residual.reason, error=residual.trapped_error_e, unit="e-", where=here)
        yield determined("trapped_fraction", trapped.fraction if trapped else None, residual.reason, where=here)
        yield determined("trapped_noise", trapped.noise_e if trapped else None, residual.reason, unit="e-", where=here)


def _limits(region: RegionResult, where: Where, options: SensorOptions) -> Iterator[Quantity]:
    gain = region.gain
    seen = False
    for series in region.darks:
        noise = region.noise_at(series.temperature_c)
        rate, error = dark_rate_e(region, series.rate_adu_per_s, series.rate_error_adu_per_s)
        here = at(where, series.temperature_c)
        seen = True
        if noise is None or noise.adu is None or gain is None or rate is None or rate <= 0:
            yield determined("max_practical_exposure", None, _no_limit(region, series.reason, rate), unit="s", where=here)
            continue
        read = noise.adu * gain.value
        value = maximum_practical_exposure_s(read, rate)
        relative = math.hypot(2 * (noise.adu_error or 0.0) / noise.adu, (error or 0.0) / rate)
        yield Quantity(name="max_practical_exposure", value=value, error=value * relative, unit="s", where=here)
    if not seen:
        yield determined("max_practical_exposure", None, "no darks", unit="s", where=where)
    yield from _flooded_limits(region, where)
    yield from _minimum(region, where, options)


def _no_limit(region: RegionResult, reason: str, rate: float | None) -> str:
    if region.gain is None:
        return f"no gain: {region.gain_reason}"
    if rate is None:
        return reason or "no dark rate"
    return "no read noise" if rate > 0 else "the dark rate is not above 0"


def _flooded_limits(region: RegionResult, where: Where) -> Iterator[Quantity]:
    for residual in region.residuals:
        noise = region.noise_at(residual.temperature_c)
        if residual.flooded is None or residual.flooded.signal_e <= 0 or noise is None or noise.adu is None or region.gain is None:
            continue
        here: Where = {**at(where, residual.temperature_c), "flooded": True, "exposure_s": residual.exposure_s}
        value = residual.flooded.limit_s(residual.exposure_s, noise.adu * region.gain.value)
        yield Quantity(name="max_practical_exposure", value=value, unit="s", where=here)


def _minimum(region: RegionResult, where: Where, options: SensorOptions) -> Iterator[Quantity]:
    """For the given skies, else for rates of light that stand for them."""
    rates = options.sky_e_per_s or tuple(("", rate) for rate in REFERENCE_RATES_E_PER_S)
    for noise in region.noises:
        for name, rate in rates:
            here: Where = {**at(where, noise.temperature_c), "rate_e_per_s": rate, "times_read_noise": options.times_read_noise}
            if name:
                here["filter"] = name
            if noise.adu is None or region.gain is None:
                yield determined("min_practical_exposure", None, "no read noise in e-", unit="s", where=here)
                continue
            read = noise.adu * region.gain.value
            value = minimum_practical_exposure_s(read, rate, options.times_read_noise)
            relative = 2 * math.hypot((noise.adu_error or 0.0) / noise.adu, region.gain.error / region.gain.value)
            yield Quantity(name="min_practical_exposure", value=value, error=value * relative, unit="s", where=here)
    if not region.noises:
        yield determined("min_practical_exposure", None, "no temperature with two biases", unit="s", where=where)
