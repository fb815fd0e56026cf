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
from nightcrew.mkid.flat_cubes import Chunk, FlatInput, chunks_of, dark_rate, energy_bins_nm
from nightcrew.mkid.flat_fit import fit_polynomials
from nightcrew.mkid.flat_solution import FlatSolution

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
GOOD, INFINITE, ZERO, BELOW, ABOVE, UNDETERMINED = range(6)
_LEAST_COUNTS = 5.0  # of a pixel in a bin
_LEAST_SIGNIFICANCE = 4.0  # of a sensitivity: below, a weight would be noise, and far from a Gaussian


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
            (0 < self.chunk_s <= self.most_s, "a chunk is longer than nothing and no longer than the whole"),
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


def flat_field(flats: Sequence[FlatInput], calibrations: Calibrations, options: FlatOptions, *, darks: Sequence[Path] = ()) -> FlatSolution:
    """Flat field of one array from white flats, or from laser flats at several wavelengths.

    For each chunk and bin the sensitivity of a pixel is its rate, dead time and dark taken off, over the median of the array.
    Sensitivities, not weights, are averaged over the chunks: their errors are symmetric.  The highest and lowest ``trim_fraction`` of the
    chunks are cut off, bin by bin.  A weight is 1 / sensitivity, normalised so that the median pixel has 1 in every bin.

    Raises ``Refused`` without a wavelength solution or with white and laser flats mixed, :class:`RejectedInput` when every chunk is too
    bright, or the tables are of different arrays.
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
        measured = _measured(flats, tables, bins, options)
        usable = tables[0].flag & f.bits((*f.PROBLEM, "beammap.duplicatePixel")) == 0
        inputs = [_identity(one, "flat") for one in tables] + [_identity(one, "dark") for one in dark_tables]
        resid = tables[0].resid
    flag = np.array([_outside(bins, calibrations)] * resid.size, dtype=np.uint8).T.reshape(-1, *resid.shape)
    combined = _combine(measured, dark, dark_variance, usable, options)
    weight, error, kind = _weights(combined, usable)
    kind = np.where(flag > 0, flag, kind).astype(np.uint8)
    polynomial = fit_polynomials(bins.mean(axis=1), weight, error, kind == GOOD, combined.sensitivity, options.degree)
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
        chunk_start_us=np.array([one.chunk.start_us for one in measured], dtype=np.int64),
        chunk_stop_us=np.array([one.chunk.stop_us for one in measured], dtype=np.int64),
        chunk_used=np.array([one.used for one in measured], dtype=np.bool_),
        chunk_weights=combined.chunk_weights,
        chunk_error=combined.chunk_error,
        chunk_trimmed=combined.trimmed,
        provenance={"parameters": asdict(options), "inputs": inputs, "wavelength_solution": dict(solution.provenance)},
    )


@dataclass(frozen=True)
class _Measured:
    """A chunk, whether its rate is allowed, and the bins that it has light in."""

    chunk: Chunk
    used: bool
    lit: Flags  # [bin]


@dataclass(frozen=True)
class _Combined:
    sensitivity: Floats  # [bin, y, x]; NaN where there is none
    variance: Floats
    spectrum_cps: Floats
    zero: Flags  # [bin, y, x]: no counts
    chunk_weights: NDArray[np.float32]  # [chunk, bin, y, x]
    chunk_error: NDArray[np.float32]
    trimmed: Flags


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


def _identity(table: CalibratedTable, kind: str) -> dict[str, Any]:
    raw = table.table
    seconds = [sha256 for _, _, sha256 in raw.inputs]
    return {"name": shown(raw.path), "type": kind, "start_us": raw.start_us, "stop_us": raw.stop_us, "seconds": seconds}


def _measured(flats: Sequence[FlatInput], tables: Sequence[CalibratedTable], bins: Floats, options: FlatOptions) -> list[_Measured]:
    found = []
    for flat, table in zip(flats, tables, strict=True):
        lit = np.ones(len(bins), dtype=np.bool_)
        if flat.wavelength_nm is not None:
            lit = (bins[:, 0] <= flat.wavelength_nm) & (flat.wavelength_nm < bins[:, 1])
        for chunk in chunks_of(table, bins, options.chunk_s, options.most_s, options.dead_time_s):
            total = np.nansum(chunk.rate_cps, axis=0)
            nonzero = total[total > 0]
            found.append(_Measured(chunk, bool(nonzero.size) and float(np.median(nonzero)) <= options.most_cps, lit))
    if not any(one.used for one in found):
        raise RejectedInput(f"flat field: every chunk is dark, or brighter than {options.most_cps:g} photons a second")
    return found


def _combine(measured: Sequence[_Measured], dark: Floats, dark_variance: Floats, usable: Flags, options: FlatOptions) -> _Combined:
    rates = np.stack([np.where(one.lit[:, None, None], one.chunk.rate_cps - dark, np.nan) for one in measured])
    used = np.array([one.used for one in measured])[:, None, None, None] & np.isfinite(rates)
    lit = np.where(usable & (rates > 0), rates, np.nan)
    average = _nan_median(lit.reshape(*lit.shape[:2], -1))[..., None, None]  # [chunk, bin, 1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity = rates / average
        time_s = np.stack([one.chunk.exposure_s for one in measured])[:, None]
        linearity = np.stack([one.chunk.linearity for one in measured])[:, None]
        used &= np.isfinite(sensitivity)
        first = _mean(sensitivity, used.astype(np.float64))  # what the errors are reckoned from: not the noise of the chunk itself
        expected_cps = np.maximum(first * average + dark, 0.0)
        variance = expected_cps * linearity / time_s / average**2
        common = dark_variance / average**2  # the same dark for all chunks: averaging does not lower its noise
        used &= np.isfinite(variance) & (variance > 0)
        weight = np.where(used, 1 / np.where(used, variance, 1.0), 0.0)
        trimmed, spread = _trim(np.where(used, sensitivity, np.nan), options.trim_fraction)
        combined = _mean(sensitivity, np.where(trimmed, 0.0, weight))
        total = spread / weight.sum(axis=0) + _mean(np.broadcast_to(common, variance.shape), used.astype(np.float64))
        spectrum = _mean(rates, used.astype(np.float64))
        chunk_weights = np.where(used, 1 / sensitivity, np.nan)
        chunk_error = np.where(used, np.sqrt(variance + common) / sensitivity**2, np.nan)
    counts = np.stack([np.where(one.lit[:, None, None] & one.used, one.chunk.counts, 0) for one in measured]).sum(axis=0)
    few = counts < _LEAST_COUNTS
    return _Combined(
        sensitivity=np.where(few, np.nan, combined),
        variance=np.where(few, np.nan, total),
        spectrum_cps=spectrum,
        zero=counts == 0,
        chunk_weights=chunk_weights.astype(np.float32),
        chunk_error=chunk_error.astype(np.float32),
        trimmed=trimmed,
    )


def _nan_median(values: Floats) -> Floats:
    """Median over the last axis, NaN where nothing is finite; without numpy's warning."""
    ordered = np.sort(values, axis=-1)  # NaN last
    number = np.isfinite(values).sum(axis=-1)
    low, high = np.maximum((number - 1) // 2, 0), np.maximum(number // 2, 0)
    high = np.minimum(high, values.shape[-1] - 1)
    pick = [np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0] for place in (low, high)]
    return np.where(number > 0, (pick[0] + pick[1]) / 2, np.nan)


def _mean(values: Floats, weight: Floats) -> Floats:
    """Weighted mean over chunks; NaN without a weight."""
    total = weight.sum(axis=0)
    return np.where(total > 0, np.where(weight > 0, values * weight, 0.0).sum(axis=0) / np.where(total > 0, total, 1.0), np.nan)


def _trim(values: Floats, fraction: float) -> tuple[Flags, Floats]:
    """Values [chunk, ...] that are cut off at both ends, and by how much the variance of the mean grows.

    Of n chunks int(fraction * n) fall at each end.  The mean of what is left of n normal deviates has the variance of the winsorised
    sample over n (1 - 2 k / n)^2 (Tukey and McLaughlin 1963, Sankhya A 25, 331).
    """
    from scipy.special import ndtri

    number = np.isfinite(values).sum(axis=0)
    cut = np.floor(fraction * number + 1e-9).astype(np.int64)
    order = np.argsort(values, axis=0, kind="stable")  # NaN last
    rank = np.argsort(order, axis=0, kind="stable")
    trimmed: Flags = np.isfinite(values) & ((rank < cut) | (rank >= number - cut))
    share = cut / np.maximum(number, 1)
    z = ndtri(1 - np.clip(share, 1e-12, 0.499))
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    winsorised = (1 - 2 * share) - 2 * z * density + 2 * share * z**2
    return trimmed, np.where(cut > 0, winsorised / (1 - 2 * share) ** 2, 1.0)


def _weights(combined: _Combined, usable: Flags) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Weights [bin, y, x], their errors and flags; the median usable pixel has weight 1."""
    s = combined.sensitivity
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = combined.variance / s**2
        weight = (1 / s) * (1 - np.minimum(relative, 0.5))  # the mean of 1 / s is larger than 1 / mean s
        error = np.sqrt(relative) / s
    kind = np.where(np.isfinite(weight) & (weight > 0), GOOD, UNDETERMINED)
    kind = np.where(~np.isfinite(s) & combined.zero, INFINITE, kind)
    with np.errstate(invalid="ignore"):
        kind = np.where((kind == GOOD) & (s < _LEAST_SIGNIFICANCE * np.sqrt(combined.variance)), UNDETERMINED, kind)
    kind = np.where(np.isfinite(s) & (s <= 0), INFINITE, kind)
    kind = np.where(~usable & (kind == GOOD), UNDETERMINED, kind)
    good = kind == GOOD
    middle = _nan_median(np.where(good & usable, weight, np.nan).reshape(len(weight), -1))[:, None, None]
    weight, error = np.where(good, weight / middle, np.nan), np.where(good, error / middle, np.nan)
    return weight, error, np.where(good & ~np.isfinite(weight), UNDETERMINED, kind).astype(np.uint8)
