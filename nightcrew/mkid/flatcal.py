"""Flat field: how much each pixel counts at each wavelength, against the array, and the weights that even it out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.flat_combine import Combined, Measured, combine
from nightcrew.mkid.flat_cubes import FlatInput, chunk_windows, chunks_of, dark_rate, energy_bins_nm
from nightcrew.mkid.flat_fit import FlatPolynomials, fit_polynomials, without_negative
from nightcrew.mkid.flat_solution import FlatSolution, own_ranges_nm, polynomial_weights

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
GOOD, INFINITE, ZERO, BELOW, ABOVE, UNDETERMINED = range(6)
_LEAST_OWN = 2.0  # significance of a sensitivity where four times as much was expected: below, the pixel did not see
_BYTES_OF_CHUNK, _BYTES_BESIDE = 13, 160  # of each bin and pixel
_SAME_NM = 0.5


@dataclass(frozen=True, kw_only=True)
class FlatOptions:
    """Parameters of the flat field, with the names of the older configuration behind them."""

    chunk_s: float = 5.0  # intTime
    most_s: float = 30.0  # expTime, of each table
    dead_time_s: float | None = None  # deadtime; None: the table's
    energy_bin_ev: float = 0.01  # energyBinWidth
    low_nm: float = 700.0  # wvlStart
    high_nm: float = 1500.0  # wvlStop
    most_cps: float = 20_000.0  # countRateCutoff: of the median pixel of a chunk
    trim_fraction: float = 0.0  # fractionOfChunksToTrim: of all chunks, at each end
    degree: int = 2  # of the polynomial in wavelength

    def __post_init__(self) -> None:
        rules = (
            (1e-3 <= self.chunk_s <= self.most_s <= 1e6, "a chunk is a millisecond or longer, and no longer than the whole"),
            (self.dead_time_s is None or 0 <= self.dead_time_s < 1e-2, "the dead time lies between 0 and 10 ms"),
            (100 <= self.low_nm < self.high_nm <= 10_000, "wavelengths lie between 100 and 10000 nm, the lower before the higher"),
            (self.energy_bin_ev > 0, "energy bins are wider than nothing"),
            (self.most_cps > 0, "the limit of the count rate is above 0"),
            (0 <= self.trim_fraction < 0.5, "less than half of the chunks is trimmed at each end"),
            (0 <= self.degree <= 10, "the polynomial has a degree between 0 and 10"),
        )
        for holds, said in rules:
            if not holds:
                raise Refused(f"flat field: {said}")


def flat_field(
    flats: Sequence[FlatInput],
    calibrations: Calibrations,
    options: FlatOptions,
    *,
    darks: Sequence[Path] = (),
    memory_bytes: int = 2_000_000_000,
) -> FlatSolution:
    """Flat field of one array from white flats, or from laser flats at several wavelengths.

    For each chunk and bin the sensitivity of a pixel is its rate, dead time and dark taken off, over the light of the array.
    Sensitivities, not weights, are averaged over the chunks (:mod:`nightcrew.mkid.flat_combine`).  The highest and lowest
    ``trim_fraction`` of the chunks are cut off, bin by bin.  A weight is 1 / sensitivity, normalised so that the median pixel has 1.

    Raises ``Refused`` without a wavelength solution, with white and laser flats mixed, or when the chunks do not fit ``memory_bytes``,
    :class:`RejectedInput` when every chunk is too bright, or the tables are of different arrays.
    """
    solution = calibrations.wavelength
    if solution is None:
        raise Refused("a flat field needs a wavelength solution")
    if not flats or len({one.wavelength_nm is None for one in flats}) > 1:
        raise Refused("a flat field is made of white flats or of laser flats, and of one at least")
    bins = _bins(flats, calibrations, options)
    with ExitStack() as stack:
        tables = [stack.enter_context(open_calibrated(one.table, calibrations)) for one in flats]
        dark_tables = [stack.enter_context(open_calibrated(path, calibrations)) for path in darks]
        _same_array([*tables, *dark_tables])
        dark, dark_variance = dark_rate(dark_tables, bins)
        _same_light(flats, tables)
        measured = _measured(flats, tables, bins, options, memory_bytes)
        usable = tables[0].flag & f.bits((*f.PROBLEM, "beammap.duplicatePixel", "beammap.double")) == 0
        inputs = [_identity(one, "flat") for one in tables] + [_identity(one, "dark") for one in dark_tables]
        resid = tables[0].resid
    flag = np.array([_outside(bins, calibrations)] * resid.size, dtype=np.uint8).T.reshape(-1, *resid.shape)
    combined = combine(measured, dark, dark_variance, usable, options.trim_fraction)
    weight, error, kind = _weights(combined)
    kind = np.where(flag > 0, flag, kind).astype(np.uint8)
    centres_nm = bins.mean(axis=1)
    rough = fit_polynomials(centres_nm, weight, error, kind == GOOD, combined.sensitivity, options.degree)
    weight, error = _normalised(weight, error, rough, centres_nm)
    polynomial = fit_polynomials(centres_nm, weight, error, kind == GOOD, combined.sensitivity, options.degree)
    polynomial = without_negative(polynomial, own_ranges_nm(centres_nm, kind == GOOD, polynomial.range_nm))
    flags = np.where(polynomial.bad, np.uint32(f.bit("flatcal.bad")), np.uint32(0))
    inside = (flag == 0).any(axis=(1, 2))
    some = ~polynomial.bad & (kind[inside] != GOOD).any(axis=0)
    flags |= np.where(some, np.uint32(f.bit("flatcal.not_all_weights_valid")), np.uint32(0))
    return FlatSolution(
        bins_nm=bins,
        resid=resid,
        flag=flags.astype(np.uint32),
        weights=weight,
        weight_error=error,
        weight_flag=kind,
        spectrum_cps=combined.spectrum_cps,
        coefficients=polynomial.coefficients,
        coefficient_covariance=polynomial.covariance,
        range_nm=polynomial.range_nm,
        chunk_start_us=np.array([one.start_us for one in measured], dtype=np.int64),
        chunk_stop_us=np.array([one.stop_us for one in measured], dtype=np.int64),
        chunk_used=np.array([one.used for one in measured], dtype=np.bool_),
        chunk_weights=combined.chunk_weights,
        chunk_error=combined.chunk_error,
        chunk_trimmed=combined.trimmed,
        provenance={"parameters": asdict(options), "inputs": inputs, "wavelength_solution": dict(solution.provenance)},
    )


def _bins(flats: Sequence[FlatInput], calibrations: Calibrations, options: FlatOptions) -> Floats:
    lasers = sorted(one.wavelength_nm for one in flats if one.wavelength_nm is not None)
    if not lasers:
        return energy_bins_nm(options.low_nm, options.high_nm, options.energy_bin_ev)
    if len(set(lasers)) < len(lasers):
        raise Refused("there is more than one laser flat of one wavelength; name one of each")
    solution = calibrations.wavelength
    if solution is None:
        raise Refused("a flat field needs a wavelength solution")
    known = [(nm, r) for nm, (r, _, _) in zip(solution.wavelengths_nm, solution.resolution_by_laser(), strict=True) if np.isfinite(r)]
    if not known:
        raise RejectedInput("the wavelength solution has no resolution: no window around a laser can be chosen")
    bins = np.array([[nm, nm] for nm in lasers])
    half = bins[:, 0] / (2 * np.interp(bins[:, 0], [nm for nm, _ in known], [r for _, r in known]))
    bins += np.stack([-half, half], axis=1)
    if (bins[1:, 0] < bins[:-1, 1]).any():
        between = (bins[1:, 0] + bins[:-1, 1]) / 2
        bins[1:, 0], bins[:-1, 1] = np.maximum(bins[1:, 0], between), np.minimum(bins[:-1, 1], between)
    return bins


def _outside(bins: Floats, calibrations: Calibrations) -> list[int]:
    """Flag of each bin: beyond the lasers by more than a resolution element the wavelengths themselves are not known."""
    solution = calibrations.wavelength
    if solution is None:
        return [GOOD] * len(bins)
    nm = solution.wavelengths_nm
    resolutions = [r for r, _, _ in solution.resolution_by_laser()]
    low = nm[0] * (1 - 1 / resolutions[0]) if np.isfinite(resolutions[0]) else nm[0]
    high = nm[-1] * (1 + 1 / resolutions[-1]) if np.isfinite(resolutions[-1]) else nm[-1]
    return [BELOW if centre < low else ABOVE if centre > high else GOOD for centre in bins.mean(axis=1)]


def _same_array(tables: Sequence[CalibratedTable]) -> None:
    for one in tables[1:]:
        if not np.array_equal(one.resid, tables[0].resid):
            raise RejectedInput(f"{shown(one.table.path)}: has another beam map than {shown(tables[0].table.path)}")


def _same_light(flats: Sequence[FlatInput], tables: Sequence[CalibratedTable]) -> None:
    """A table that knows its laser is not taken for white light, nor for another laser."""
    for flat, table in zip(flats, tables, strict=True):
        known = table.table.attributes.get("laser_nm")
        if known is not None and (flat.wavelength_nm is None or abs(flat.wavelength_nm - float(known)) > _SAME_NM):
            taken = "white light" if flat.wavelength_nm is None else f"{flat.wavelength_nm:g} nm"
            raise Refused(f"{shown(flat.table)}: is a flat of a laser of {float(known):g} nm, and cannot be taken for one of {taken}")


def _identity(table: CalibratedTable, kind: str) -> dict[str, Any]:
    raw = table.table
    seconds = [sha256 for _, _, sha256 in raw.inputs]
    return {"name": shown(raw.path), "type": kind, "start_us": raw.start_us, "stop_us": raw.stop_us, "seconds": seconds}


def _measured(
    flats: Sequence[FlatInput], tables: Sequence[CalibratedTable], bins: Floats, options: FlatOptions, memory_bytes: int
) -> list[Measured]:
    windows = [chunk_windows(table, options.chunk_s, options.most_s) for table in tables]
    _check_room(sum(map(len, windows)), len(bins), tables[0].n_pixels, memory_bytes)
    found = []
    for flat, table in zip(flats, tables, strict=True):
        lit = np.ones(len(bins), dtype=np.bool_)
        if flat.wavelength_nm is not None:
            lit = (bins[:, 0] <= flat.wavelength_nm) & (flat.wavelength_nm < bins[:, 1])
        for chunk in chunks_of(table, bins, options.chunk_s, options.most_s, options.dead_time_s):
            total = np.nansum(chunk.rate_cps, axis=0)
            nonzero = total[total > 0]
            used = bool(nonzero.size) and float(np.median(nonzero)) <= options.most_cps
            counts = chunk.counts.astype(np.float32)
            found.append(Measured(chunk.start_us, chunk.stop_us, counts, chunk.exposure_s, chunk.linearity, used, lit))
    if not any(one.used for one in found):
        raise RejectedInput(f"flat field: every chunk is dark, or brighter than {options.most_cps:g} photons a second")
    return found


def _check_room(chunks: int, bins: int, pixels: int, memory_bytes: int) -> None:
    """Counts, weights, errors and flags of all chunks are held together, since the solution keeps them."""
    need = bins * pixels * (chunks * _BYTES_OF_CHUNK + _BYTES_BESIDE)
    if need > memory_bytes:
        raise Refused(
            f"flat field: {chunks} chunks of {bins} bins and {pixels} pixels would take {need / 1e6:.0f} MB, and "
            f"{memory_bytes / 1e6:.0f} MB are allowed: choose longer chunks, fewer of them, or wider bins"
        )


def _weights(combined: Combined) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Weights [bin, y, x] before they are normalised, their errors and flags."""
    s = combined.sensitivity
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = combined.variance / s**2
        weight = 1 / (s * (1 + relative))  # the mean of 1 / (counts + 1), not that of 1 / counts, is 1 / mean counts
        error = np.sqrt(relative) / s
        blind = combined.bright & (s < _LEAST_OWN * np.sqrt(combined.variance))
    kind = np.where(np.isfinite(weight) & (weight > 0) & combined.chosen & ~blind, GOOD, UNDETERMINED)
    kind = np.where(combined.zero | (np.isfinite(s) & (s <= 0)), INFINITE, kind)
    good = kind == GOOD
    return np.where(good, weight, np.nan), np.where(good, error, np.nan), kind.astype(np.uint8)


def _normalised(weight: Floats, error: Floats, polynomial: FlatPolynomials, centres_nm: Floats) -> tuple[Floats, Floats]:
    """So that the median pixel has 1 in each bin, by the polynomials, which know a pixel's weight better than one bin does."""
    flat = polynomial.coefficients.reshape(-1, polynomial.coefficients.shape[-1])
    middle = np.ones(len(weight))
    for place, nm in enumerate(centres_nm):
        good = np.isfinite(weight[place]).ravel()
        smooth = polynomial_weights(flat[good], np.full(np.count_nonzero(good), nm), polynomial.range_nm)
        values = smooth[np.isfinite(smooth) & (smooth > 0)]
        values = values if values.size else weight[place].ravel()[good]
        middle[place] = np.median(values) if values.size else 1.0
    return weight / middle[:, None, None], error / middle[:, None, None]
