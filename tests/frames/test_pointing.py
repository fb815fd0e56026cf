"""Positions and airmass as headers write them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.frames.made import frame, noted


@pytest.mark.parametrize(
    ("ra", "dec", "found"),
    [
        ("20:42:25", "+00:08:12", (310.6041667, 0.1366667)),
        ("20 42 25", "-00 08 12", (310.6041667, -0.1366667)),
        (" 03:02:30.1", "-34:23:35.9", (45.6254167, -34.3933056)),
        ("20h42m25s", "+0d08m12s", (310.6041667, 0.1366667)),
        (31.312099, 46.769087, (31.312099, 46.769087)),
        ("31.312099", "46.769087", (31.312099, 46.769087)),
        (0.0, 0.0, (None, None)),
        (400.0, 10.0, (None, None)),
        (10.0, 100.0, (None, None)),
        ("20:72:25", "+00:08:12", (None, None)),
        (10.0, None, (None, None)),
        (float("nan"), 1.0, (None, None)),
    ],
)
def test_positions(ra: Any, dec: Any, found: tuple[float | None, float | None]) -> None:
    header = frame(RA=ra, DEC=dec)
    assert (header.ra_deg, header.dec_deg) == found


def test_hours_by_the_comment() -> None:
    assert frame(RA=2.0, DEC=10.0, comments={"RA": "[h] right ascension"}).ra_deg == 30.0


def test_the_next_keyword_is_asked() -> None:
    header = frame(RA="unknown", OBJCTRA="01 00 00", DEC=5.0)
    assert header.ra_deg == 15.0
    assert noted(header, "RA 'unknown' is no right ascension")


@pytest.mark.parametrize(("cards", "airmass"), [({"AIRMASS": 1.88}, 1.88), ({"AIRMASS": -1, "SECZ": "1.2"}, 1.2), ({"AIRMASS": 0.0}, None)])
def test_airmass(cards: dict[str, Any], airmass: float | None) -> None:
    assert frame(**cards).airmass == airmass
