"""Coordinates of the sky for single images: from the observing log, where it tells where the star is and how the field lies."""

from __future__ import annotations

import math

from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.cube_files import Card
from nightcrew.mkid.dither import Field
from nightcrew.mkid.dither_combine import field_of, log_number


def sky_of(table: CalibratedTable) -> list[Card]:
    """World coordinates of x and y at the middle of the table; none when the log lacks what is needed.

    Needed are the columns ``ra_deg``, ``dec_deg``, ``star_x``, ``star_y`` and ``plate_scale_mas``; ``position_angle_deg``, ``latitude_deg``
    and ``longitude_deg`` turn the field as they do in a dither.
    """
    names = ("ra_deg", "dec_deg", "star_x", "star_y", "plate_scale_mas")
    ra, dec, x, y, scale_mas = (log_number(table, name) for name in names)
    if ra is None or dec is None or x is None or y is None or scale_mas is None:
        return []
    field = field_of(table, Field())
    angle = math.radians(float(field.angle_deg((table.start_us + table.stop_us) / 2e6)))
    step_deg = scale_mas / 3.6e6
    return [
        ("CTYPE1", "RA---TAN", ""),
        ("CTYPE2", "DEC--TAN", ""),
        ("CRPIX1", x + 1, "the star, by the observing log"),
        ("CRPIX2", y + 1, "the star, by the observing log"),
        ("CRVAL1", ra, "[deg]"),
        ("CRVAL2", dec, "[deg]"),
        ("CDELT1", step_deg, "[deg]"),
        ("CDELT2", step_deg, "[deg]"),
        ("PC1_1", -math.cos(angle), "east is against x when north is up"),
        ("PC1_2", -math.sin(angle), ""),
        ("PC2_1", -math.sin(angle), ""),
        ("PC2_2", math.cos(angle), ""),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
    ]
