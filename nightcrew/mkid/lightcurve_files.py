"""Light curves, spectra and histograms as tables (ECSV) with units and descriptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.atomic import NewFile
from nightcrew.io.ecsv import ecsv_bytes
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.cube_bins import time_edges
from nightcrew.mkid.cube_files import Card
from nightcrew.mkid.image import CubeWish, bins_of, window_us
from nightcrew.mkid.lightcurve import bad_stretches, light_curve
from nightcrew.mkid.speckle import SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts
from nightcrew.mkid.speckle_intervals import intervals_of
from nightcrew.mkid.spectra import spectrum
from nightcrew.mkid.timing import binned_counts, count_histogram, interval_histogram

if TYPE_CHECKING:
    from astropy.table import Table

Column = tuple[NDArray[Any], str, str]
_MOST_SAMPLES = 1 << 24


def _table(columns: dict[str, Column], meta: dict[str, Any]) -> Table:
    from astropy.table import Column as AstropyColumn
    from astropy.table import Table

    made = [AstropyColumn(values, name=name, unit=unit or None, description=about) for name, (values, unit, about) in columns.items()]
    return Table(made, meta=meta)


def _curve(table: CalibratedTable, pixels: list[int], wish: CubeWish) -> Table:
    first, last = window_us(table, wish.start, wish.stop)
    bins = bins_of(table, wish)
    window = None if bins is None else (float(bins.edges_nm[0]), float(bins.edges_nm[-1]))
    found = light_curve(table, pixels, time_edges(first, last, _step_us(wish)), window, dead_time=wish.dead_time)
    edges_s = found.edges_us / 1e6
    return _table(
        {
            "start": (edges_s[:-1], "s", "since the start of the photon table"),
            "stop": (edges_s[1:], "s", "not included"),
            "middle_unix": (found.middle_unix_s, "s", "UTC of the readout's clock as Unix time; not barycentric"),
            "photons": (found.counts, "ct", "as counted"),
            "exposure": (found.exposure_s, "s", "of all pixels together"),
            "rate": (found.rate_cps, "ct / s", "sum of the pixels' weighted rates; NaN where one did not count"),
            "rate_error": (found.rate_error_cps, "ct / s", "one sigma from the counts"),
        },
        _meta(table, pixels),
    )


def _spectrum(table: CalibratedTable, pixels: list[int], wish: CubeWish) -> Table:
    bins = bins_of(table, wish)
    if bins is None or bins.n < 2:
        raise Refused("a spectrum needs --energy-width or --wavelength-width")
    found = spectrum(table, pixels, *window_us(table, wish.start, wish.stop), bins, dead_time=wish.dead_time)
    meta = {**_meta(table, pixels), "photons_without_wavelength_or_outside": found.without_wavelength}
    return _table(
        {
            "start": (bins.edges_nm[:-1], "nm", "shortest wavelength"),
            "stop": (bins.edges_nm[1:], "nm", "longest wavelength, not included"),
            "photons": (found.counts, "ct", "as counted"),
            "rate": (found.rate_cps, "ct / s", "sum of the pixels' weighted rates in the bin"),
            "rate_error": (found.rate_error_cps, "ct / s", "one sigma from the counts"),
            "density": (found.density_cps_per_nm, "ct / (s nm)", "rate by wavelength"),
        },
        meta,
    )


def _one(pixels: list[int], what: str) -> int:
    if len(pixels) != 1:
        raise Refused(f"the {what} is that of one pixel: leave out --radius")
    return pixels[0]


def samples(table: CalibratedTable, pixel: int, window: tuple[int, int], bin_us: int) -> NDArray[np.int32]:
    """Counts [bin] of one pixel; ``Refused`` for bins that are too many."""
    if bin_us < 1 or not 1 <= (window[1] - window[0]) // bin_us <= _MOST_SAMPLES:
        raise Refused(f"bins of {bin_us / 1e6} s do not divide the window")
    photons = table.photons(range(pixel, pixel + 1), *window)
    counts: NDArray[np.int32] = binned_counts(photons, 1, window, bin_us, [bad_stretches(table, pixel)])[0]
    return counts


def _histogram(table: CalibratedTable, pixels: list[int], wish: CubeWish) -> Table:
    pixel, step_us = _one(pixels, "histogram"), _step_us(wish)
    counts = samples(table, pixel, window_us(table, wish.start, wish.stop), step_us)
    rules = SpeckleRules(bin_s=step_us / 1e6, correct_bin=False, errors="curvature")
    parameters = fit_counts(counts[None], rules).parameters_cps[0] * rules.bin_s
    found = count_histogram(counts, parameters)
    names = ("ic", "is", "ip")
    meta = {**_meta(table, pixels), **{f"{name}_per_bin": _known(value) for name, value in zip(names, parameters, strict=True)}}
    return _table(
        {
            "counts": (np.arange(found.bins.size), "ct", "in a bin"),
            "bins": (found.bins.astype(np.int64), "", "that have so many"),
            "poisson": (found.poisson, "", "bins expected of steady light of the same mean"),
            "rician": (found.rician, "", "bins expected of the fitted modified-Rician light"),
        },
        {**meta, "bin_s": rules.bin_s},
    )


def _intervals(table: CalibratedTable, pixels: list[int], wish: CubeWish) -> Table:
    pixel = _one(pixels, "distribution of intervals")
    window = window_us(table, wish.start, wish.stop)
    photons = table.photons(range(pixel, pixel + 1), *window)
    breaks = bad_stretches(table, pixel)[:, 0]
    timed = intervals_of(photons.first, photons.time_us, window[1] - window[0], table.dead_time_us, breaks)
    found = interval_histogram(timed.intervals.seconds, timed.intervals.dead_time_s, None)
    return _table(
        {
            "start": (found.edges_s[:-1], "s", "shortest interval"),
            "stop": (found.edges_s[1:], "s", "not included"),
            "intervals": (found.counts, "", "between successive photons"),
            "poisson": (found.poisson, "", "intervals expected of steady light of the same rate"),
        },
        {**_meta(table, pixels), "dead_time_s": timed.intervals.dead_time_s},
    )


def _step_us(wish: CubeWish) -> int:
    return round((wish.step_s or 1.0) * 1e6)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _meta(table: CalibratedTable, pixels: list[int]) -> dict[str, Any]:
    columns = table.shape[1]
    return {
        "pixels": [[pixel % columns, pixel // columns] for pixel in pixels],
        "start_unix_us": table.start_us,
        "times": "UTC, not barycentric",
    }


MAKERS: dict[str, Callable[[CalibratedTable, list[int], CubeWish], Table]] = {
    "curve": _curve,
    "spectrum": _spectrum,
    "histogram": _histogram,
    "intervals": _intervals,
}
"""What a pixel or an aperture can be asked for."""


def make_light(what: str, table: CalibratedTable, pixels: list[int], wish: CubeWish) -> Table:
    """One of :data:`MAKERS` as a table; ``Refused`` for a name that is none."""
    if what not in MAKERS:
        raise Refused(f"{what!r} is none of {', '.join(MAKERS)}")
    return MAKERS[what](table, pixels, wish)


def write_light(path: Path, made: Table, cards: Sequence[Card] = (), *, overwrite: bool = False) -> Path:
    """Write a table as ECSV; ``cards`` (keyword, value, comment) join its meta."""
    made.meta.update({key.lower(): value for key, value, _ in cards})
    with NewFile(path, overwrite=overwrite) as new:
        new.file.write(ecsv_bytes(made))
    return path
