"""Celestial coordinates: valid ones measured, others named, leftovers of older solutions ignored."""

from __future__ import annotations

from typing import Any

import pytest

from nightcrew.frames.wcs import moved, of_lost_axes, sky_of
from nightcrew.io.headers import HeaderValue
from tests.frames.made import USUAL, hdu

SCALE_DEG = 1.0 / 3600.0
TAN: dict[str, HeaderValue] = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 310.0,
    "CRVAL2": 30.0,
    "CRPIX1": 60.5,
    "CRPIX2": 50.5,
    "CD1_1": -SCALE_DEG,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": SCALE_DEG,
}


def sky(**changed: Any) -> Any:
    return sky_of(hdu({**USUAL, **{key: value for key, value in {**TAN, **changed}.items() if value is not None}}))


def test_centre_and_scale_of_a_tan_system() -> None:
    found = sky()
    assert found.valid
    assert found.ra_deg == pytest.approx(310.0, abs=1e-9)
    assert found.dec_deg == pytest.approx(30.0, abs=1e-9)
    assert found.scale_arcsec_per_px == pytest.approx(1.0, rel=1e-6)
    assert found.projection == "TAN"
    assert {key: value for key, value, _ in found.cards} == TAN


def test_centre_is_that_of_the_array_not_the_reference_pixel() -> None:
    found = sky(CRPIX1=0.5, CRPIX2=50.5)
    assert found.ra_deg == pytest.approx(310.0 - 60.0 * SCALE_DEG / 0.8660254, abs=1e-5)


def test_distortion_is_kept_only_where_the_type_announces_it() -> None:
    sip = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": 1e-6}
    with_sip = sky(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", **sip)
    assert with_sip.projection == "TAN-SIP"
    assert {"A_ORDER", "A_2_0"} <= {key for key, _, _ in with_sip.cards}
    without = sky(**sip)
    assert without.valid
    assert not any(key.startswith(("A_", "B_")) for key, _, _ in without.cards)


def test_mangled_leftovers_are_not_kept() -> None:
    found = sky(_TYPE1="RA---TAN-SIP", _RVAL1=0.0, __ORDER=2, _D1_1=5.0, IMAGEW=3085)
    assert found == sky()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"CTYPE1": None, "CTYPE2": None}, "no world coordinates"),
        ({"CTYPE1": "LAMBDA", "CTYPE2": "ANGLE"}, "no axes on the sky"),
        ({"CTYPE1": "PIXEL", "CTYPE2": "PIXEL"}, "no axes on the sky"),
        ({"CTYPE2": "RA---TAN"}, "do not belong together"),
        ({"CTYPE2": "DEC--SIN"}, "do not belong together"),
        ({"CRVAL1": None}, "CRVAL1 missing"),
        ({"CRPIX2": "middle"}, "CRPIX2 missing or no number"),
        ({"CRVAL2": 123.0}, "no declination"),
        ({"CRVAL2": float("nan")}, "CRVAL2 missing or no number"),
        ({"CD1_1": 0.0, "CD2_2": 0.0}, ""),
        ({"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None}, "neither a CD matrix"),
        ({"CD1_1": 500.0, "CD2_2": 500.0}, ""),
        ({"CUNIT1": "furlong", "CUNIT2": "furlong"}, "cannot be used"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "cannot be used"),
    ],
)
def test_unusable_systems_say_why(changed: dict[str, Any], reason: str) -> None:
    found = sky(**changed)
    assert not found.valid
    assert reason in found.reason
    assert found.reason
    assert (found.ra_deg, found.cards) == (None, ())


def test_trimming_moves_the_reference_pixel() -> None:
    found = sky()
    cards = {key: value for key, value, _ in moved(found.cards, 10, 4)}
    assert (cards["CRPIX1"], cards["CRPIX2"], cards["CRVAL1"]) == (50.5, 46.5, 310.0)
    again = sky_of(hdu(cards, shape=(92, 100)))  # 10 columns and 4 rows taken off on either side
    assert again.ra_deg == pytest.approx(found.ra_deg, abs=1e-9)
    assert again.dec_deg == pytest.approx(found.dec_deg, abs=1e-9)


def test_galactic_coordinates_become_equatorial() -> None:
    found = sky(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=0.0, CRVAL2=0.0)
    assert found.valid
    assert found.ra_deg == pytest.approx(266.405, abs=0.01)
    assert found.dec_deg == pytest.approx(-28.936, abs=0.01)


def test_keywords_of_axes_that_are_gone() -> None:
    cards: dict[str, HeaderValue] = {
        "WCSAXES": 3,
        "CTYPE1": "RA---TAN",
        "CTYPE3": "FREQ",
        "CD3_3": 1.0,
        "PC1_3": 0.0,
        "PV3_1": 2.0,
        "CRPIX3A": 1.0,
    }
    assert of_lost_axes(cards, 2) == {"WCSAXES", "CTYPE3", "CD3_3", "PC1_3", "PV3_1", "CRPIX3A"}
    assert of_lost_axes(cards, 3) == set()
