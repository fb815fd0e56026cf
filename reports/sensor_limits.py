"""Exposure limits of a sensor for ``summary.json``: by dark current, after a flood, by read noise against the light."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nightcrew.sensor.characterise import RegionResult
from nightcrew.sensor.exposure_limits import maximum_practical_exposure_s, minimum_practical_exposure_s
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.residual import Residual
from reports.sensor_where import Where, at, dark_rate_e, text_of
from reports.summary import Quantity, determined

REFERENCE_RATES_E_PER_S = (0.1, 1.0, 10.0)
"""Rates of light for which the minimum exposure is stated when no sky is given."""
Binning = tuple[int, int]


def limits(region: RegionResult, where: Where, options: SensorOptions, binning: Binning) -> Iterator[Quantity]:
    """Maximum and minimum practical exposures of a region.

    Where pixels were binned each maximum stands twice: for a pixel as it was binned, and, with ``binning`` "1x1", for one that is not,
    whose dark current is that of one pixel: t = binning x read^2 / dark rate of the binned pixel.
    """
    for series in region.darks:
        rate, error = dark_rate_e(region, series.rate_adu_per_s, series.rate_error_adu_per_s)
        yield from _maxima(region, series.temperature_c, rate, error, series.reason, where, binning)
    if not region.darks:
        yield determined("max_practical_exposure", None, "no darks", unit="s", where=where)
    for residual in region.residuals:
        yield from _flooded(region, residual, where, binning)
    yield from _minimum(region, where, options, binning)


def _binned(where: Where, binning: Binning) -> list[tuple[Where, int]]:
    """The place, and how many pixels' dark current one has there, for every binning of interest."""
    pixels = binning[0] * binning[1]
    return [(where, pixels)] if pixels == 1 else [({**where, "binning": text_of(binning)}, pixels), ({**where, "binning": "1x1"}, 1)]


def _maxima(
    region: RegionResult, warm: float | None, rate: float | None, error: float | None, reason: str, where: Where, binning: Binning
) -> Iterator[Quantity]:
    """``rate`` in e-/s of a stored pixel."""
    read = _read_noise_e(region, warm)
    for here, pixels in _binned(at(where, warm), binning):
        share = pixels / (binning[0] * binning[1])
        if read is None or rate is None:
            missing = "" if rate is not None else reason or "no dark rate"
            yield determined("max_practical_exposure", None, _no_limit(region, warm, missing), unit="s", where=here)
            continue
        if rate <= (error or 0.0):
            yield determined("max_practical_exposure", None, _at_least(read[0], rate, error, share), unit="s", where=here)
            continue
        value = maximum_practical_exposure_s(read[0], rate * share)
        relative = math.hypot(2 * read[1] / read[0], (error or 0.0) / rate)
        yield Quantity(name="max_practical_exposure", value=value, error=value * relative, unit="s", where=here)


def _read_noise_e(region: RegionResult, warm: float | None) -> tuple[float, float] | None:
    """Read noise in e-, and its error without that of the gain."""
    noise = region.noise_at(warm)
    if noise is None or noise.adu is None or region.gain is None:
        return None
    return noise.adu * region.gain.value, (noise.adu_error or 0.0) * region.gain.value


def _no_limit(region: RegionResult, warm: float | None, no_rate: str) -> str:
    if region.gain is None:
        return f"no gain: {region.gain_reason}"
    if no_rate:
        return no_rate
    noise = region.noise_at(warm)
    return f"no read noise: {noise.bias.hidden}" if noise is not None and noise.bias.hidden else "no read noise"


def _at_least(read_noise_e: float, rate: float, error: float | None, share: float) -> str:
    """Why a rate that is not above its error gives no limit, and what it still tells."""
    most = (max(rate, 0.0) + 2 * (error or 0.0)) * share
    longer = f": the limit lies above {maximum_practical_exposure_s(read_noise_e, most):.0f} s (two errors)" if most > 0 else ""
    return f"the dark rate is not above its error{longer}"


def _flooded(region: RegionResult, residual: Residual, where: Where, binning: Binning) -> Iterator[Quantity]:
    read, signal = _read_noise_e(region, residual.temperature_c), residual.flooded
    place: Where = {**at(where, residual.temperature_c), "flooded": True, "exposure_s": residual.exposure_s}
    for here, pixels in _binned(place, binning):
        if read is None or signal is None or signal.signal_e <= 0 or residual.exposure_s <= 0:
            why = residual.reason or "the flooded darks hold no signal"
            yield determined("max_practical_exposure", None, why, unit="s", where=here)
            continue
        rate, share = signal.signal_e / residual.exposure_s, pixels / (binning[0] * binning[1])
        error = (residual.flooded_error_e or 0.0) / residual.exposure_s
        if rate <= error:
            yield determined("max_practical_exposure", None, _at_least(read[0], rate, error, share), unit="s", where=here)
            continue
        value = maximum_practical_exposure_s(read[0], rate * share)
        relative = math.hypot(2 * read[1] / read[0], (residual.flooded_error_e or 0.0) / signal.signal_e)
        yield Quantity(name="max_practical_exposure", value=value, error=value * relative, unit="s", where=here)


def _minimum(region: RegionResult, where: Where, options: SensorOptions, binning: Binning) -> Iterator[Quantity]:
    """For the given skies, else for rates of light that stand for them; rates are of an unbinned pixel."""
    rates = options.sky_e_per_s or tuple(("", rate) for rate in REFERENCE_RATES_E_PER_S)
    pixels = binning[0] * binning[1]
    for noise in region.noises:
        for name, rate in rates:
            here: Where = {**at(where, noise.temperature_c), "rate_e_per_s": rate, "times_read_noise": options.times_read_noise}
            if pixels > 1:
                here["binning"] = text_of(binning)
            if name:
                here["filter"] = name
            if noise.adu is None or region.gain is None:
                yield determined("min_practical_exposure", None, "no read noise in e-", unit="s", where=here)
                continue
            value = minimum_practical_exposure_s(noise.adu * region.gain.value, rate * pixels, options.times_read_noise)
            relative = 2 * math.hypot((noise.adu_error or 0.0) / noise.adu, region.gain.error / region.gain.value)
            yield Quantity(name="min_practical_exposure", value=value, error=value * relative, unit="s", where=here)
    if not region.noises:
        yield determined("min_practical_exposure", None, "no temperature with two biases", unit="s", where=where)
