"""What a wavelength calibration is made from: tables that know their laser, or a list of stretches; frequencies of resonators."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.source import shown
from nightcrew.mkid.observing_log import time_us
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.wavecal import LaserInput

COLUMNS = ("table", "wavelength_nm", "start", "stop", "dark")
_MOST_BYTES = 4 << 20
_HERTZ = 1e6  # from here on a frequency is in Hz, below in GHz


def inputs_of_tables(paths: Sequence[Path]) -> list[LaserInput]:
    """Lasers and darks among photon tables, each by what its observing log said; a laser's dark is the nearest in time.

    ``Refused`` when a table is neither, or knows no wavelength: then a list of inputs is needed.
    """
    lasers: list[tuple[Path, float, int]] = []
    darks: list[tuple[Path, int]] = []
    for path in paths:
        with PhotonTable(path) as table:
            kind, nm, middle_us = table.attributes.get("type"), table.attributes.get("laser_nm"), (table.start_us + table.stop_us) // 2
        if kind == "dark":
            darks.append((path, middle_us))
        elif kind == "laser" and isinstance(nm, int | float):
            lasers.append((path, float(nm), middle_us))
        else:
            raise Refused(f"{shown(path)}: does not say that it is a laser or a dark exposure; name its wavelength in a list (--inputs)")
    found = []
    for path, nm, middle_us in lasers:
        dark = min(darks, key=lambda one: (abs(one[1] - middle_us), one[0]), default=None)
        found.append(LaserInput(table=path, wavelength_nm=nm, dark=dark[0] if dark else None))
    return found


def read_inputs(path: Path) -> list[LaserInput]:
    """Read a list of inputs: comma-separated, heading ``table,wavelength_nm,start,stop,dark``.

    ``table`` and ``dark`` are photon tables, relative to the list; ``start`` and ``stop`` (Unix seconds or ISO 8601 in UTC, optional) are
    the part of the table in which the laser was on.  Raises :class:`RejectedInput` with the line that is wrong.
    """
    reader = csv.DictReader(io.StringIO(_text(path)), skipinitialspace=True)
    try:
        absent = [word for word in COLUMNS[:2] if word not in (reader.fieldnames or ())]
        if absent:
            raise RejectedInput(f"{shown(path)}: is no list of laser exposures, its first line has no {', '.join(absent)}")
        unknown = sorted(set(reader.fieldnames or ()) - set(COLUMNS))
        if unknown:
            raise RejectedInput(f"{shown(path)}: {unknown[0]!r} is no column of a list of laser exposures ({', '.join(COLUMNS)})")
        return [_input(row, path, reader.line_num) for row in reader]
    except csv.Error as error:
        raise RejectedInput(f"{shown(path)}: is no list of laser exposures ({error})") from error


def _input(row: Mapping[str | None, object], path: Path, line: int) -> LaserInput:
    values = {key: value.strip() for key, value in row.items() if isinstance(key, str) and isinstance(value, str)}
    where = f"{shown(path)} line {line}"
    try:
        nm = float(values["wavelength_nm"])
    except (KeyError, ValueError):
        nm = 0.0
    if not values.get("table") or not 100 <= nm <= 10_000:
        raise RejectedInput(f"{where}: needs a table and a wavelength_nm between 100 and 10000")
    table, dark = path.parent / values["table"], values.get("dark")
    within = _within(table, values, where) if values.get("start") or values.get("stop") else None
    return LaserInput(table=table, wavelength_nm=nm, within_us=within, dark=path.parent / dark if dark else None)


def _within(table: Path, values: Mapping[str, str], where: str) -> tuple[int, int]:
    try:
        start_us, stop_us = time_us(values.get("start", "")), time_us(values.get("stop", ""))
    except (ValueError, OverflowError) as error:
        raise RejectedInput(f"{where}: start and stop are both Unix seconds or ISO 8601") from error
    with PhotonTable(table) as opened:
        low, high = opened.start_us, opened.stop_us
    if not low <= start_us < stop_us <= high:
        raise RejectedInput(f"{where}: start and stop do not lie in {shown(table)}, which is from {low / 1e6:.6f} to {high / 1e6:.6f}")
    return start_us - low, stop_us - low


def read_frequencies(path: Path) -> dict[int, float]:
    """Frequencies in GHz by resonator, from lines ``resID frequency ...``; frequencies in Hz or GHz.  ``RejectedInput`` with the line."""
    found: dict[int, float] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            resid, frequency = float(words[0]), float(words[1])
        except (ValueError, IndexError) as error:
            raise RejectedInput(f"{shown(path)}: line {number} is not `resID frequency`") from error
        if resid != math.floor(resid) or not 0 < frequency < 1e12:
            raise RejectedInput(f"{shown(path)}: line {number} has no frequency in Hz or GHz")
        found[int(resid)] = frequency / 1e9 if frequency >= _HERTZ else frequency
    if not found:
        raise RejectedInput(f"{shown(path)}: holds no frequency")
    return found


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RejectedInput(f"{shown(path)}: is too long")
        return path.read_bytes().decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RejectedInput(f"{shown(path)}: is not text") from error
