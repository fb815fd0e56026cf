"""The measured gain beside those that header and profile state: what it rests on, and what a stated one would do to every number in e-."""

from __future__ import annotations

from collections.abc import Iterator

from nightcrew.sensor.characterise import RegionResult, SetUpResult
from nightcrew.sensor.customary import CUSTOMARY_EXCESS
from nightcrew.sensor.transfer_curve import NO_BRIGHT_FAT
from reports.analysis import AnalysisTable, Cell
from reports.sensor_where import Where, at, dark_rate_e
from reports.summary import Quantity
from reports.text import adaptive, number, plural, quantity

CLIPPED = f"gain when clipped at 3 \N{GREEK SMALL LETTER SIGMA} ({100 * CUSTOMARY_EXCESS:.1f} % high)"
FAR_SIGMA = 5.0
FAR = 0.01
"""A stated gain that is this many errors and this share off the measured one needs a person."""


def stated(region: RegionResult, where: Where) -> Iterator[Quantity]:
    """``gain_stated`` by whoever states one, with its difference to the measured gain."""
    for source, value in region.gains_said:
        measured = region.gain is not None and region.gain.source == "measured"
        note = _difference(region, value) if measured else "not measured here"
        yield Quantity(name="gain_stated", value=value, unit="e-/adu", where={**where, "source": source}, note=note)


def _difference(region: RegionResult, value: float) -> str:
    """``6.2 % above the measured gain (25 of its errors): every number in e- would be so much larger``."""
    if region.gain is None:
        return ""
    excess = value / region.gain.value - 1
    errors = abs(value - region.gain.value) / region.gain.error
    way, size = ("above", "larger") if excess > 0 else ("below", "smaller")
    share = f"{100 * abs(excess):.2g} % {way} the measured gain ({errors:.2g} of its errors)"
    return f"{share}: with it every number in e- would be so much {size}"


def customary(value: float, measured: float, where: Where) -> Quantity:
    """``gain_clipped_3_sigma``: what many scripts state, beside the gain, with its bias."""
    note = (
        f"for comparison with published numbers alone: a clip at 3 sigma with nothing put back makes a gain {100 * CUSTOMARY_EXCESS:.1f} % "
        f"too high on Gaussian noise; here it is {100 * (value / measured - 1):.1f} % above the measured gain"
    )
    return Quantity(name="gain_clipped_3_sigma", value=value, unit="e-/adu", where=where, note=note)


def base_of(region: RegionResult) -> str:
    """What the gain in use rests on, where that is less than a curve: for notes; "" where nothing is to be said."""
    gain = region.gain
    if gain is None:
        return ""
    if gain.source != "measured":
        return f"with the {gain.source}'s gain, which was not measured ({region.gain_reason})"
    return f"with a gain that rests on {levels_of(gain.levels)}" if gain.levels < 2 else ""


def levels_of(levels: int) -> str:
    """``one level of light``, ``3 levels of light``."""
    return "one level of light alone" if levels == 1 else f"{plural(levels, 'level')} of light"


def texts(set_up: SetUpResult) -> tuple[str, ...]:
    """Sentences above the transfer curves: gains that were not measured, that rest on one level, or that others state otherwise."""
    return tuple(text for region in set_up.regions for text in _texts(region))


def _texts(region: RegionResult) -> Iterator[str]:
    gain, name = region.gain, region.region.name
    if gain is None:
        yield f"{name}: no gain, {region.gain_reason}."
    elif gain.source != "measured":
        yield f"{name}: the gain of {gain.value:g} e-/ADU is the {gain.source}'s, it was not measured ({region.gain_reason})."
    elif gain.levels < 2:
        of = "; ".join(
            f"{adaptive(point.signal)} ADU, {plural(point.frames, 'flat')}" for flat in region.flats for point in flat.curve.points
        )
        yield (
            f"{name}: the gain rests on one level of light alone ({of}). Its error is that of the noise; how the variance goes with the "
            f"signal was not seen: {NO_BRIGHT_FAT}, and no curved response."
        )
    if gain is not None and gain.source == "measured":
        for source, value in region.gains_said:
            shown = quantity(gain.value, "e-/ADU", 3, gain.error)
            yield f"{name}: measured {shown}; the {source} states {value:g} e-/ADU, {_difference(region, value)}."


def warnings(region: RegionResult) -> Iterator[str]:
    """Stated gains that the measured one contradicts."""
    gain = region.gain
    for source, value in region.gains_said if gain is not None and gain.source == "measured" else ():
        if gain is not None and abs(value - gain.value) > max(FAR_SIGMA * gain.error, FAR * gain.value):
            excess = number(100 * (value / gain.value - 1), 1)
            yield (
                f"{region.region.name}: the {source}'s gain of {value:g} e-/ADU is {excess} % off the measured "
                f"{quantity(gain.value, 'e-/ADU', 3, gain.error)}: numbers in e- are by the measured one"
            )


def table(set_up: SetUpResult) -> AnalysisTable | None:
    """Quantities in e- by the measured gain and by each stated one; None where nobody states one beside a measured gain."""
    regions = [region for region in set_up.regions if region.gains_said and region.gain is not None and region.gain.source == "measured"]
    if not regions:
        return None
    sources = list(dict.fromkeys(source for region in regions for source, _ in region.gains_said))
    columns = ("region", "temperature / C", "quantity", "by the measured gain", *(f"by the {source}'s" for source in sources), "unit")
    rows = tuple(row for region in regions for row in _rows(region, sources))
    note = "The report's numbers in e- are those of the measured gain. A trapped charge goes with the square of the gain."
    if any(flat.customary_gain is not None for region in regions for flat in region.flats):
        note += (
            " Many scripts clip the difference of two flats at 3 \N{GREEK SMALL LETTER SIGMA} until nothing changes and put nothing back: "
            "that row is for comparison with such numbers alone."
        )
    return AnalysisTable(title="Gain: measured and stated", columns=columns, rows=rows, note=note)


def _rows(region: RegionResult, sources: list[str]) -> Iterator[tuple[Cell, ...]]:
    gain, said = region.gain, dict(region.gains_said)
    if gain is None:
        return
    scales = [said[source] / gain.value if source in said else None for source in sources]
    found: list[tuple[float | None, str, float | None, str]] = [(None, "gain", gain.value, "e-/adu")]
    found += [(noise.temperature_c, "read noise", None if noise.adu is None else noise.adu * gain.value, "e-") for noise in region.noises]
    for series in region.darks:
        found.append((series.temperature_c, "dark rate of a stored pixel", dark_rate_e(region, series.rate_adu_per_s, None)[0], "e-/s"))
    for flat in region.flats:
        found += [(flat.temperature_c, "full well", flat.full_well_e[0], "e-")] if flat.full_well_e is not None else []
    for warm, what, value, unit in found:
        if value is not None:
            place = at({}, warm).get("temperature_c")
            yield region.region.name, place, what, value, *(None if one is None else value * one for one in scales), unit
        if what != "gain":
            continue
        for flat in region.flats:
            if flat.customary_gain is not None:  # no base for electrons: nothing stands under the others' gains
                place = at({}, flat.temperature_c).get("temperature_c")
                yield region.region.name, place, CLIPPED, flat.customary_gain, *(None for _ in scales), unit
