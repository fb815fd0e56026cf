"""A dither that the observing log names becomes one combined image, or cube, and combined speckle maps where they are asked for.

Columns of the log, beside those of :mod:`nightcrew.mkid.science_products`: ``dither`` (the same name for every position of one dither),
``register`` (data or log), ``star_x`` and ``star_y``, ``ra_deg`` and ``dec_deg``, ``latitude_deg`` and ``longitude_deg`` (then the field
turns), ``position_angle_deg``, ``plate_scale_mas``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.cube_bins import time_edges
from nightcrew.mkid.dither import Field
from nightcrew.mkid.dither_combine import Dithered, DitherWish, combine, combine_speckles, field_of, log_number
from nightcrew.mkid.drizzled import Drizzled
from nightcrew.mkid.drizzled_files import sky_cards, write_dither
from nightcrew.mkid.image import CubeWish
from nightcrew.mkid.science_products import ScienceWishes
from nightcrew.mkid.speckle import SpeckleRules
from nightcrew.mkid.speckle_maps import SpeckleMaps, make_maps

DITHER, DITHER_SPECKLES, DITHER_RATIO = "dither.fits", "dither_speckles.fits", "dither_ratio.fits"


@dataclass(frozen=True, kw_only=True)
class DitherProducts:
    """What was made: files in the folder, and the arrays that a report shows."""

    name: str
    files: tuple[tuple[str, str], ...]
    combined: Dithered
    speckles: Drizzled | None  # Ic, Is (and Ip)
    ratio: Drizzled | None
    remarks: tuple[str, ...]


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

    with opener(positions[0][0]) as first:
        wish, remarks = _wish(first)
        target = field_of(first, wish.field)
        scale = log_number(first, "plate_scale_mas")
        wishes = ScienceWishes.from_log(_log(first))
    found = combine([path for path, _ in positions], opener, wish)
    sky = sky_cards(found.drizzled.grid, ra_deg=target.ra_deg, dec_deg=target.dec_deg, plate_scale_mas=scale)
    write_dither(out / DITHER, found, sky=sky)
    files = [(DITHER, "combined dither: rate, error, counts, exposure")]
    speckles, ratio = _speckles(positions, wishes, found, wish.field) if wishes.speckles else (None, None)
    if wishes.speckles and speckles is None:
        remarks.append("Speckle maps were asked for, but no pixel of any position has numbers that may be believed.")
    for part, file, about in ((speckles, DITHER_SPECKLES, "Ic, Is of the dither"), (ratio, DITHER_RATIO, "Ic / Is of the dither")):
        if part is not None:
            write_dither(out / file, Dithered(part, found.positions, None), sky=sky)
            files.append((file, about))
    return DitherProducts(name=name, files=tuple(files), combined=found, speckles=speckles, ratio=ratio, remarks=tuple(remarks))


def _log(table: CalibratedTable) -> dict[str, str]:
    return {key.removeprefix("log_"): str(value) for key, value in table.table.attributes.items() if key.startswith("log_")}


def _wish(table: CalibratedTable) -> tuple[DitherWish, list[str]]:
    columns, remarks = _log(table), []
    register = columns.get("register", "").strip() or "data"
    if register not in ("data", "log"):
        remarks.append(f"register = {register[:60]!r} is not understood (data or log): the star was searched for in the data.")
        register = "data"
    latitude, longitude = log_number(table, "latitude_deg"), log_number(table, "longitude_deg")
    width = float(table.table.attributes.get("energy_resolution", 0.1)) if table.calibrations.wavelength is not None else None
    field = Field(latitude_deg=latitude, longitude_deg=longitude)
    return DitherWish(cube=CubeWish(energy_width_ev=width), register=register, field=field), remarks


def _speckles(
    positions: Sequence[tuple[Path, Calibrations]], wishes: ScienceWishes, found: Dithered, field: Field
) -> tuple[Drizzled, Drizzled] | tuple[None, None]:
    maps: list[SpeckleMaps] = []
    angles: list[float] = []
    for path, calibrations in positions:
        with open_calibrated(path, calibrations) as table:
            rules = SpeckleRules(bin_s=wishes.speckle_bin_s, companion=wishes.companion)
            span_us = table.stop_us - table.start_us
            method: Literal["binned", "intervals"] = "intervals" if wishes.speckles == "intervals" else "binned"
            maps.append(make_maps(table, rules, time_edges(0, span_us), method=method))
            middle_s = (table.start_us + span_us / 2) / 1e6
            angles.append(float(field_of(table, field).angle_deg(middle_s)))
    usable = [one.valid & np.isfinite(one.errors_cps[:2]).all(axis=0) for one in maps]
    if not any(mask.any() for mask in usable):
        return None, None
    return combine_speckles(maps, [place.star_px for place in found.positions], angles)
