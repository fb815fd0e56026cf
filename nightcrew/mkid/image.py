"""What images and cubes are asked for: windows in words, and the file that they become."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.cube import Cube, make_cube
from nightcrew.mkid.cube_bins import WavelengthBins, constant_energy, constant_wavelength, one_window, resolution_matched, time_edges
from nightcrew.mkid.cube_files import Card, write_cube
from nightcrew.mkid.observing_log import time_us
from nightcrew.mkid.spectra_response import Response


@dataclass(frozen=True, kw_only=True)
class CubeWish:
    """A cube in words.  At most one of the widths may be given; without one there is one bin of wavelength."""

    start: str = ""  # seconds since the start of the table, or beyond its end Unix seconds, or ISO 8601 in UTC
    stop: str = ""
    step_s: float | None = None  # of time; None: one step
    min_nm: float | None = None
    max_nm: float | None = None
    energy_width_ev: float | None = None
    wavelength_width_nm: float | None = None
    resolution_bins: bool = False  # two bins an element of resolution
    dead_time: bool = True


def window_us(table: CalibratedTable, start: str, stop: str) -> tuple[int, int]:
    """A half-open window in microseconds since the start of the table; ``Refused`` where it is none.

    Numbers up to the length of the table are seconds since its start, greater ones Unix seconds.
    """
    first, last = (_moment(table, text) if text else edge for text, edge in ((start, 0), (stop, table.stop_us - table.start_us)))
    if not 0 <= first < last <= table.stop_us - table.start_us:
        raise Refused(f"the window {first / 1e6} to {last / 1e6} s is not within the table, 0 to {table.duration_s} s")
    return first, last


def _moment(table: CalibratedTable, text: str) -> int:
    try:
        moment = time_us(text)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{text!r} is no time: give seconds since the start, Unix seconds, or ISO 8601") from error
    return moment if moment <= table.stop_us - table.start_us else moment - table.start_us


def bins_of(table: CalibratedTable, wish: CubeWish) -> WavelengthBins | None:
    """Bins in wavelength as they are wished, None when wavelengths do not matter.

    A window without limits is that of the table (``min_wavelength`` and ``max_wavelength``).
    """
    widths = [wish.energy_width_ev is not None, wish.wavelength_width_nm is not None, wish.resolution_bins]
    if sum(widths) > 1:
        raise Refused("bins have one width: in energy, in wavelength, or by the resolution")
    if not any(widths) and wish.min_nm is None and wish.max_nm is None:
        return None
    attributes = table.table.attributes
    low = float(attributes["min_wavelength"]) if wish.min_nm is None else wish.min_nm
    high = float(attributes["max_wavelength"]) if wish.max_nm is None else wish.max_nm
    if wish.energy_width_ev is not None:
        return constant_energy(low, high, wish.energy_width_ev)
    if wish.wavelength_width_nm is not None:
        return constant_wavelength(low, high, wish.wavelength_width_nm)
    return _by_resolution(table, low, high) if wish.resolution_bins else one_window(low, high)


def _by_resolution(table: CalibratedTable, low: float, high: float) -> WavelengthBins:
    solution = table.calibrations.wavelength
    if solution is None:
        raise MissingCalibration("bins by the resolution need a wavelength solution, and the table is read without one")
    resolution = np.array([middle for middle, _, _ in solution.resolution_by_laser()])
    return resolution_matched(low, high, solution.wavelengths_nm, resolution)


def cube_of(table: CalibratedTable, wish: CubeWish) -> Cube:
    """The cube that is wished."""
    first, last = window_us(table, wish.start, wish.stop)
    step_us = None if wish.step_s is None else round(wish.step_s * 1e6)
    return make_cube(table, time_edges(first, last, step_us), bins_of(table, wish), dead_time=wish.dead_time)


def provenance_cards(table_path: Path, solutions: Sequence[Path]) -> list[Card]:
    """What a file was made from: names and the beginnings of hashes."""
    cards: list[Card] = [("PHOTONS", table_path.name[:60], "photon table"), ("PHOTSHA", _digest(table_path), "its SHA-256 begins so")]
    for number, path in enumerate(solutions, 1):
        cards += [(f"CALIB{number}", path.name[:60], "calibration"), (f"CALSHA{number}", _digest(path), "its SHA-256 begins so")]
    return cards


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def make_file(
    table: CalibratedTable,
    wish: CubeWish,
    out: Path,
    *,
    cards: Sequence[Card] = (),
    sky: Sequence[Card] = (),
    response: Response | None = None,
    overwrite: bool = False,
) -> Cube:
    """Make a cube and write it, with its flux where there is a response; an axis that was asked for is there, even with one bin."""
    cube = cube_of(table, wish)
    several = wish.energy_width_ev is not None or wish.wavelength_width_nm is not None or wish.resolution_bins
    axes = (*(("time",) if wish.step_s is not None else ()), *(("wavelength",) if several else ()))
    write_cube(out, cube, axes=axes, cards=cards, sky=sky, response=response, overwrite=overwrite)
    return cube
