"""The quantities of a sensor for ``summary.json``: one entry a region and temperature, null with its reason where undetermined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nightcrew.sensor.characterise import Gain, RegionResult, SensorResult, SetUpResult
from nightcrew.sensor.dark_signal import DarkSeries, HotPixels
from nightcrew.sensor.emva1288 import Linear1288
from nightcrew.sensor.exposure_limits import data_sheet_rate
from nightcrew.sensor.flats import FlatResult
from nightcrew.sensor.groups import Group
from nightcrew.sensor.hot_counts import hot_interval
from nightcrew.sensor.hot_growth import HotGrowth
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.transfer_curve import NO_BRIGHT_FAT
from reports.sensor_gains import base_of, customary, levels_of, stated
from reports.sensor_limits import limits
from reports.sensor_tables import growth_remark
from reports.sensor_where import Where, at, dark_rate_e, text_of
from reports.summary import Quantity, determined


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
        place: Where = {**where, "region": region.region.name}
        binned = set_up.binning != (1, 1)
        here: Where = {**place, "binning": text_of(set_up.binning)} if binned else place
        yield from _gains(region, here)
        yield from _noises(region, set_up.groups, here)
        for flat in region.flats:
            yield from _flat(flat, at(here, flat.temperature_c))
        yield from _dark(region, here, options, set_up.binning)
        yield from limits(region, place, options, set_up.binning)
    if not set_up.regions:
        yield determined("gain", None, "; ".join(set_up.remarks) or "nothing could be measured", unit="e-/adu", where=where)


def _gains(region: RegionResult, where: Where) -> Iterator[Quantity]:
    if not region.flats:
        yield determined("gain", None, region.gain_reason or "no flats", unit="e-/adu", where=where)
        yield determined("full_well", None, "no flats", unit="e-", where=where)
    for flat in region.flats:
        fit, here = flat.curve.fit, at(where, flat.temperature_c)
        reason = flat.curve.reason or "no gain"
        found = determined("gain", fit.gain if fit else None, reason, error=flat.curve.gain_error, unit="e-/adu", where=here)
        few = "" if fit is None or fit.a00 is not None else f"{levels_of(int(flat.curve.fitted.sum()))}: {NO_BRIGHT_FAT}"
        yield with_note(found, few)
        if fit is not None and flat.customary_gain is not None:
            yield customary(flat.customary_gain, fit.gain, here)
        a00 = fit.a00 if fit else None
        why = reason if fit is None else "too few levels of light for the brighter-fatter term"
        yield determined("a00", a00, why, error=fit.a00_error if fit else None, unit="1/e-", where=here)
        yield _full_well(flat, here)
    yield from stated(region, where)


def _full_well(flat: FlatResult, where: Where) -> Quantity:
    found = flat.full_well_e
    if found is None or flat.curve.turn_off is None:
        highest = max((point.signal for point in flat.curve.points), default=0.0)
        seen = f" at {highest * flat.curve.fit.gain:.0f} e-" if flat.curve.fit is not None else ""
        reason = flat.curve.reason or f"no fall of the variance beyond 10 % to the end of the sweep{seen}: brighter flats are needed"
        return determined("full_well", None, reason, unit="e-", where=where)
    middle, interval = found
    error = (interval.high - interval.low) / 4
    if flat.curve.turn_off.by_converter:  # where it ends is known, and that the pixels hold so much: no interval of the full well
        note = f"the converter ends there: the pixels hold more than {interval.low:.0f} e-, how much is not known"
        return Quantity(name="full_well", value=middle, error=error, unit="e-", where=where, note=note)
    note = "middle of the interval"
    return Quantity(name="full_well", value=middle, error=error, unit="e-", where=where, note=note, interval=interval)


def _noises(region: RegionResult, groups: Sequence[Group], where: Where) -> Iterator[Quantity]:
    known = {noise.temperature_c for noise in region.noises}
    lonely = [group for group in groups if group.kind == "bias" and group.temperature_c not in known]
    for group in lonely:
        why = group.reason or "the biases hold no finite pixels"
        yield determined("read_noise", None, f"{group.label}: {why}", unit="e-", where=at(where, group.temperature_c))
    if not region.noises and not lonely:
        yield determined("read_noise", None, "no biases", unit="e-", where=where)
    for noise in region.noises:
        here, gain = at(where, noise.temperature_c), region.gain
        hidden = noise.bias.hidden or "the biases do not vary: rounding to whole numbers hides the noise"
        yield determined("read_noise_adu", noise.adu, hidden, error=noise.adu_error, unit="adu", where=here)
        level = None if noise.bias.cut_off else noise.bias.level
        yield determined("bias_level", level, hidden, error=noise.bias.drift, unit="adu", where=here)
        value = error = None
        if noise.adu is not None and gain is not None and noise.adu_error is not None:
            value = noise.adu * gain.value
            error = value * math.hypot(noise.adu_error / noise.adu, gain.error / gain.value)
        reason = hidden if noise.adu is None else f"no gain: {region.gain_reason}"
        quantity = determined("read_noise", value, reason, error=error, unit="e-", where=here)
        yield with_note(quantity, base_of(region))


def with_note(quantity: Quantity, note: str) -> Quantity:
    """The quantity with a note besides what it has."""
    return replace(quantity, note="; ".join(filter(None, (quantity.note, note)))) if quantity.value is not None else quantity


def _flat(flat: FlatResult, where: Where) -> Iterator[Quantity]:
    uniformity, straight = flat.uniformity, flat.linearity

    def light(name: str) -> Where:
        return {**where, "filter": name} if len(flat.filters) > 1 and name else where

    own = light(uniformity.filter)
    pattern = determined("prnu", uniformity.prnu_percent, uniformity.reason, error=uniformity.prnu_error_percent, unit="%", where=own)
    smoothed = f"{100 * (1 - uniformity.kept):.2g} % put back that the brighter-fatter effect smooths" if uniformity.kept != 1 else ""
    yield with_note(pattern, smoothed)
    why = straight.reason if straight is not None else "flats of one exposure time: linearity needs a sweep by exposure"
    measured, interval = (straight.error_percent, straight.error_interval) if straight is not None else (None, None)
    found = determined("linearity_error", measured, why, unit="%", where=light(flat.linearity_filter), interval=interval)
    alone = "" if straight is None or straight.noise_percent is None else f"noise alone makes {straight.noise_percent:.2g} %"
    yield with_note(found, "; ".join(filter(None, (alone, _range_note(flat)))))
    if isinstance(flat.emva, Linear1288):
        yield from _emva(flat.emva, light(flat.emva_filter))
    else:
        yield determined("emva.gain", None, flat.emva, unit="DN/e-", where=light(flat.emva_filter))
    for name, split, unit in (("emva.prnu", uniformity.split, "%"), ("emva.dsnu", uniformity.dark_split, "e-")):
        if split is None:
            yield determined(name, None, uniformity.reason or "one frame alone", unit=unit, where={**own, "part": "total"})
            continue
        for part, value in (("total", split.total), ("row", split.row), ("column", split.column), ("pixel", split.pixel)):
            error = split.error if part == "total" else None
            yield determined(name, value, "below what noise leaves", error=error, unit=unit, where={**own, "part": part})


def _range_note(flat: FlatResult) -> str:
    """Which signals a linearity holds for, when the sweep does not show the full well."""
    straight = flat.linearity
    if straight is None or flat.curve.turn_off is not None or not straight.used.any():
        return ""
    return f"of signals up to {float(straight.signal_adu[straight.used].max()):.0f} ADU: the sweep does not show saturation"


def _emva(emva: Linear1288, where: Where) -> Iterator[Quantity]:
    no_photons = "no photometric calibration: the relative form"
    open_end = f"the variance rises to the end of the sweep: saturation lies above {emva.highest_e:.0f} e-"
    snr, ratio = (10 * math.log10(max(emva.highest_e, 1.0)), 20 * math.log10(max(emva.highest_e / emva.threshold_e, 1.0)))
    few = "fewer than three exposure times between 5 % and 95 % of saturation"
    values: tuple[tuple[str, float | None, str, str], ...] = (
        ("emva.gain", emva.gain_dn_per_e, "DN/e-", ""),
        ("emva.responsivity", emva.responsivity_dn_per_s, "DN/s", "one exposure time"),
        ("emva.quantum_efficiency", emva.quantum_efficiency, "", no_photons),
        ("emva.dark_noise", emva.dark_noise_e, "e-", ""),
        ("emva.absolute_sensitivity_threshold", emva.threshold_e, "e-", ""),
        ("emva.saturation_capacity", emva.saturation_e, "e-", open_end),
        ("emva.snr_max", emva.snr_max_db, "dB", f"{open_end}, so the largest SNR is above {snr:.1f} dB"),
        ("emva.dynamic_range", emva.dynamic_range_db, "dB", f"{open_end}, so the dynamic range is above {ratio:.1f} dB"),
    )
    for name, value, unit, reason in values:
        yield determined(name, value, reason, unit=unit, where=where)
    why = few if emva.saturated else open_end
    between = emva.linearity_interval
    straight = determined("emva.linearity_error", emva.linearity_error_percent, why, unit="%", where=where, interval=between)
    alone = emva.linearity_noise_percent
    yield with_note(straight, "" if alone is None else f"noise alone makes {alone:.2g} %")


def _dark(region: RegionResult, where: Where, options: SensorOptions, binning: tuple[int, int]) -> Iterator[Quantity]:
    """Currents in e-/s are those of an unbinned pixel; everything else is that of a stored one."""
    gain, pixels = region.gain, binning[0] * binning[1]
    if not region.darks:
        yield determined("dark_current", None, "no darks", unit="e-/s", where=where)
        yield determined("dsnu", None, "no darks", unit="e-", where=where)
    for series in region.darks:
        here = at(where, series.temperature_c)
        rate, error = dark_rate_e(region, series.rate_adu_per_s, series.rate_error_adu_per_s)
        reason = series.reason or f"no gain: {region.gain_reason}"
        yield determined("dark_current_adu", series.rate_adu_per_s, reason, error=series.rate_error_adu_per_s, unit="adu/s", where=here)
        note = "" if pixels == 1 or rate is None else f"of an unbinned pixel; one binned {text_of(binning)} has {rate:.4g} e-/s"
        rate, error = (None if value is None else value / pixels for value in (rate, error))
        current = determined("dark_current", rate, reason, error=error, unit="e-/s", where=here)
        yield with_note(current, "; ".join(filter(None, (note, base_of(region)))))
        typical = None if series.median_rate_adu_per_s is None or gain is None else series.median_rate_adu_per_s * gain.value / pixels
        yield determined("dark_current_median", typical, reason, error=error if typical is not None else None, unit="e-/s", where=here)
        for point in series.points:
            value = None if point.dsnu is None or gain is None else point.dsnu * gain.value
            spread = None
            if value is not None and point.dsnu and point.dsnu_error is not None and gain is not None:
                spread = value * math.hypot(point.dsnu_error / point.dsnu, gain.error / gain.value)
            why = point.dsnu_reason or reason
            yield determined("dsnu", value, why, error=spread, unit="e-", where={**here, "exposure_s": point.exposure_s})
        if series.hot is not None:
            yield _hot_pixels(series, series.hot, gain, here)
        if options.data_sheet is not None and rate is not None and series.temperature_c is not None:
            sheet = options.data_sheet
            scaled = data_sheet_rate(sheet.rate_e_per_s, sheet.at_c, series.temperature_c, sheet.doubling_k)
            yield Quantity(name="dark_current_data_sheet", value=scaled, unit="e-/s", where=here)
            yield Quantity(name="dark_current_over_data_sheet", value=rate / scaled, unit="", where=here)
    yield from _thermal(region, where)


def _hot_pixels(series: DarkSeries, hot: HotPixels, gain: Gain | None, where: Where) -> Quantity:
    """The count of the list, and the interval of how many there are: pixels near the threshold may be above it by noise, or below."""
    found = hot_interval(series, None if gain is None else gain.value)
    excess = f"more than {hot.threshold_adu_per_s - hot.typical_adu_per_s:.3g} adu/s above the mean of the others"
    rays = "darks of one frame: cosmic rays count, too" if any(point.frames == 1 for point in series.points) else ""
    why = f"no interval: {found}" if isinstance(found, str) else ""
    note = "; ".join(filter(None, (excess, rays, why)))
    interval = None if isinstance(found, str) else found
    return Quantity(name="hot_pixels", value=int(hot.y.size), where=where, note=note, interval=interval)


def growth_quantities(grown: Sequence[HotGrowth], *, several: bool = False) -> Iterator[Quantity]:
    """Hot pixels against an earlier result; with ``several`` set-ups each is named."""
    for one in grown:
        here = at({**({"set_up": one.set_up} if several else {}), "region": one.region}, one.temperature_c)
        bar = "" if one.excess_adu_per_s is None else f"hot: more than {one.excess_adu_per_s:.3g} adu/s above the mean of the others"
        note = "; ".join(filter(None, (bar, growth_remark(one))))
        for name, value in (("new", one.new), ("gone", one.gone), ("grown", one.grown), ("shrunk", one.shrunk)):
            yield Quantity(name=f"hot_pixels_{name}", value=value, where=here, note=note, interval=one.intervals.get(name))
        found = determined("hot_pixels_median_ratio", one.median_ratio, "no pixel was hot both times", where=here)
        few = "" if "median_ratio" in one.intervals else "no interval: fewer than six pixels"
        apart = growth_remark(replace(one, why=""))
        yield replace(with_note(found, "; ".join(filter(None, (apart, few)))), interval=one.intervals.get("median_ratio"))


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
