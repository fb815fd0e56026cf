"""A dither that the observing log names becomes one combined image, or cube, and combined speckle maps where they are asked for.

Columns of the log, beside those of :mod:`nightcrew.mkid.science_products`: ``dither`` (the same name for every position of one dither),
``register`` (data or log), ``star_x`` and ``star_y``, ``ra_deg`` and ``dec_deg``, ``latitude_deg`` and ``longitude_deg`` (then the field
turns), ``position_angle_deg``, ``plate_scale_mas``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.cube_files import Card
from nightcrew.mkid.dither_combine import Dithered, DitherWish, Opener, combine, field_of
from nightcrew.mkid.dither_log import DitherLog, read_logs
from nightcrew.mkid.dither_speckles import PlacedMaps, combine_maps, place_maps, planes_of
from nightcrew.mkid.drizzled import Drizzled
from nightcrew.mkid.drizzled_files import sky_cards, write_dither
from nightcrew.mkid.image import CubeWish
from nightcrew.mkid.speckle import SpeckleRules

DITHER, DITHER_SPECKLES, DITHER_RATIO = "dither.fits", "dither_speckles.fits", "dither_ratio.fits"


@dataclass(frozen=True, kw_only=True)
class DitherProducts:
    """What was made: files in the folder, and the arrays that a report shows."""

    name: str
    files: tuple[tuple[str, str], ...]
    combined: Dithered
    speckles: Drizzled | None  # in order of dither_speckles.planes_of
    ratio: Drizzled | None
    remarks: tuple[str, ...]
    speckles_weighted: bool = False  # by the flat field; rates of maps are as counted otherwise


def dither_of(columns: Mapping[str, str]) -> str:
    """Name of the dither that a line of the log belongs to; empty when to none."""
    return columns.get("dither", "").strip()


def make_dither_products(positions: Sequence[tuple[Path, Calibrations]], out: Path, *, name: str) -> DitherProducts:
    """Combine tables, each with its calibrations, and write ``dither.fits`` and, when a position asks for speckles, maps.

    Raises ``Refused`` when a position is not known or the package ``drizzle`` is absent, and the errors of reading.
    """
    known = dict(positions)

    def opener(path: Path) -> CalibratedTable:
        return open_calibrated(path, known[path])

    logs = []
    for path, _ in positions:
        with opener(path) as table:
            logs.append(_log(table))
    told = read_logs(logs)
    remarks = list(told.problems)
    found = _combined([path for path, _ in positions], opener, told, remarks)

    def sky_of(result: Drizzled) -> list[Card]:
        return sky_cards(result.grid, ra_deg=told.field.ra_deg, dec_deg=told.field.dec_deg, plate_scale_mas=told.plate_scale_mas)

    write_dither(out / DITHER, found, sky=sky_of(found.drizzled))
    files = [(DITHER, "combined dither: rate, error, counts, exposure")]
    weighted = all(calibrations.flat is not None for _, calibrations in positions)
    speckles, ratio = _speckles(positions, told, found, remarks) if told.wishes.speckles else (None, None)
    if speckles is not None and ratio is not None:
        planes = planes_of(speckles)
        note: Card = ("SPECRATE", "flat field" if weighted else "as counted", "sensitivity of the pixels in the rates")
        maps = Dithered(speckles, found.positions, None)
        write_dither(out / DITHER_SPECKLES, maps, sky=sky_of(speckles), cards=[note], planes=planes)
        write_dither(out / DITHER_RATIO, Dithered(ratio, found.positions, None), sky=sky_of(ratio), planes=("Ic / Is",), unit="")
        files += [(DITHER_SPECKLES, f"{', '.join(planes)} of the dither, in this order"), (DITHER_RATIO, "Ic / Is of the dither")]
    return DitherProducts(
        name=name,
        files=tuple(files),
        combined=found,
        speckles=speckles,
        ratio=ratio,
        remarks=tuple(remarks),
        speckles_weighted=weighted,
    )


def _log(table: CalibratedTable) -> dict[str, str]:
    return {key.removeprefix("log_"): str(value) for key, value in table.table.attributes.items() if key.startswith("log_")}


def _combined(paths: Sequence[Path], opener: Opener, told: DitherLog, remarks: list[str]) -> Dithered:
    """In the tables' bins of wavelength where they can be made, else in one."""
    with opener(paths[0]) as first:
        solved = first.calibrations.wavelength is not None
        width = float(first.table.attributes.get("energy_resolution", 0.1)) if solved else None
    wish = DitherWish(cube=CubeWish(energy_width_ev=width), register=told.register, field=told.field)
    try:
        return combine(paths, opener, wish)
    except (Refused, MissingCalibration) as error:
        if width is None:
            raise
        found = combine(paths, opener, replace(wish, cube=CubeWish()))
        remarks.append(f"There is no combined cube in wavelength, only an image: {error}.")
        return found


def _speckles(
    positions: Sequence[tuple[Path, Calibrations]], told: DitherLog, found: Dithered, remarks: list[str]
) -> tuple[Drizzled, Drizzled] | tuple[None, None]:
    wishes = told.wishes
    rules = SpeckleRules(bin_s=wishes.speckle_bin_s, companion=wishes.companion)
    method: Literal["binned", "intervals"] = "intervals" if wishes.speckles == "intervals" else "binned"
    made: list[PlacedMaps] = []
    for (path, calibrations), place in zip(positions, found.positions, strict=True):
        with open_calibrated(path, calibrations) as table:
            try:
                made.append(place_maps(table, rules, place.star_px, field_of(table, told.field), method=method))
            except Refused as error:
                remarks.append(f"{place.name}: no speckle maps, for the field turns by a pixel between two steps: {error}.")
    if not any(one.maps.valid.any() for one in made):
        remarks.append("Speckle maps were asked for, but no pixel of any position has numbers that may be believed.")
        return None, None
    return combine_maps(made)
