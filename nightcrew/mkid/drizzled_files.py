"""Combined dithers as files, in the form of images and cubes, with the sky's coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nightcrew.io.atomic import NewFile
from nightcrew.io.cardtext import format_card
from nightcrew.mkid.cube_files import STAMP, Card
from nightcrew.mkid.dither_combine import Dithered
from nightcrew.mkid.drizzled import Grid


def sky_cards(grid: Grid, *, ra_deg: float | None, dec_deg: float | None, plate_scale_mas: float | None) -> list[Card]:
    """World coordinates of the grid: the sky's where target and plate scale are known, else pixels of the array from the star."""
    centre: list[Card] = [("CRPIX1", grid.centre[0] + 1, "the star"), ("CRPIX2", grid.centre[1] + 1, "the star")]
    if ra_deg is None or dec_deg is None or plate_scale_mas is None:
        more: list[Card] = [
            ("CTYPE1", "", "offset to the west, in pixels of the array"),
            ("CTYPE2", "", "offset to the north, in pixels of the array"),
        ]
        return [*more, *centre, *((f"CRVAL{n}", 0.0, "") for n in (1, 2)), *((f"CDELT{n}", grid.scale, "") for n in (1, 2))]
    step_deg = plate_scale_mas * grid.scale / 3.6e6
    return [
        ("CTYPE1", "RA---TAN", "east is left"),
        ("CTYPE2", "DEC--TAN", "north is up"),
        *centre,
        ("CRVAL1", ra_deg, "[deg]"),
        ("CRVAL2", dec_deg, "[deg]"),
        ("CDELT1", -step_deg, "[deg]"),
        ("CDELT2", step_deg, "[deg]"),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
    ]


def write_dither(
    path: Path,
    found: Dithered,
    *,
    sky: Sequence[Card],
    cards: Sequence[Card] = (),
    planes: Sequence[str] = (),
    unit: str = "ct / s",
    overwrite: bool = False,
) -> Path:
    """FITS: ``SCI`` (rate), ``UNCERT``, ``COUNTS``, ``EXPOSURE`` and ``WAVE_EDGES``; the positions stand in the header.

    ``planes`` names those of ``SCI`` where they are no bins of wavelength, and there are no ``COUNTS`` then; ``unit`` is that of ``SCI``.
    """
    from astropy.io import fits

    def header(parts: Sequence[Card]) -> Any:
        return fits.Header.fromstring("".join(format_card(*card) for card in parts))

    result = found.drizzled
    one = result.rate_cps.shape[0] == 1
    arrays = {"SCI": (result.rate_cps, unit), "UNCERT": (np.sqrt(result.variance), unit)}
    if not planes:
        arrays["COUNTS"] = (result.counts, "ct")
    named: list[Card] = [(f"PLANE{number}", name, "what the plane holds") for number, name in enumerate(planes, 1)]
    hdus = fits.HDUList()
    for name, (values, its_unit) in arrays.items():
        own = [
            *([("BUNIT", its_unit, "")] if its_unit else []),
            *named,
            *sky,
            *([("UTYPE", "StdDevUncertainty", "one standard deviation")] if name == "UNCERT" else []),
        ]
        data = (values[0] if one else values).astype(np.float32)
        if hdus:
            hdus.append(fits.ImageHDU(data, header(own), name=name))
        else:
            hdus.append(fits.PrimaryHDU(data, header([*own, ("EXTNAME", name, ""), *_head(found), *cards])))
    hdus.append(fits.ImageHDU(result.exposure_s.astype(np.float32), header([("BUNIT", "s", ""), *sky]), name="EXPOSURE"))
    if found.bins is not None:
        hdus.append(fits.ImageHDU(found.bins.edges_nm, header([("BUNIT", "nm", "")]), name="WAVE_EDGES"))
    for hdu in hdus:
        hdu.add_checksum(when=STAMP)
    with NewFile(path, overwrite=overwrite) as new:
        hdus.writeto(new.file)
    return path


def _head(found: Dithered) -> list[Card]:
    result = found.drizzled
    cards: list[Card] = [
        ("NPOS", len(found.positions), "positions"),
        ("NSHOTS", result.n_shots, "images added: positions times steps of rotation"),
        ("PIXFRAC", result.pixfrac, "side of a drop against a pixel"),
        ("SCALE", result.grid.scale, "pixels of the array a pixel of the grid"),
        ("NOISECOR", result.noise_correlation, "errors of sums over many pixels are greater by it"),
    ]
    for number, place in enumerate(found.positions, 1):
        cards += [(f"POS{number}", place.name[:60], "photon table"), (f"STARX{number}", place.star_px[0], "[px]")]
        cards += [(f"STARY{number}", place.star_px[1], "[px]"), (f"STEPS{number}", place.n_steps, "steps of rotation")]
    return cards
