from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.site import Site
from nightcrew.simulate.pointing import (
    Pointing,
    airmass,
    altitude_deg,
    julian_date,
    night_start_utc,
    sexagesimal,
    sidereal_time_deg,
    to_pixels,
    to_sky,
    wcs_cards,
)

SITE = Site(longitude_deg=-70.4042, latitude_deg=-24.6272, elevation_m=2635.0, timezone="America/Santiago")


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 359.9), st.floats(-80, 80), st.floats(-40, 40), st.floats(-40, 40), st.floats(-180, 180))
def test_header_solution_and_planted_pixels_agree(ra: float, dec: float, dx: float, dy: float, rotation: float) -> None:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    at = Pointing(shift_x_px=dx, shift_y_px=dy, rotation_deg=rotation)
    xi, eta = np.array([0.0, 120.0, -300.0, 50.0]), np.array([0.0, 10.0, 200.0, -400.0])
    x, y = to_pixels(xi, eta, (255.5, 199.5), 1.2, at)
    header = Header([*wcs_cards(ra, dec, (255.5, 199.5), 1.2, at)])
    header["NAXIS"] = 2
    sky = WCS(header).all_pix2world(np.column_stack([x, y]), 0)
    own_ra, own_dec = to_sky(xi, eta, ra, dec)
    assert np.allclose((sky[:, 0] - own_ra + 180) % 360 - 180, 0, atol=1e-7 / np.cos(np.radians(85)))
    assert np.allclose(sky[:, 1], own_dec, atol=1e-7)


def test_sidereal_time_at_the_epoch() -> None:
    assert julian_date(datetime(2000, 1, 1, 12, tzinfo=UTC)) == 2451545.0
    assert sidereal_time_deg(datetime(2000, 1, 1, 12, tzinfo=UTC), 0.0) == pytest.approx(280.46062, abs=1e-4)


def test_star_culminates_at_colatitude_plus_declination() -> None:
    time = datetime(2026, 5, 17, 2, tzinfo=UTC)
    ra = sidereal_time_deg(time, SITE.longitude_deg)
    assert altitude_deg(ra, -60.0, time, SITE) == pytest.approx(90 - (60 - 24.6272), abs=1e-6)
    assert altitude_deg(ra, -60.0, time + timedelta(hours=3), SITE) < 50


def test_airmass_is_one_overhead_and_two_at_thirty_degrees() -> None:
    assert airmass(90.0) == pytest.approx(1.0, abs=1e-3)
    assert airmass(30.0) == pytest.approx(1.995, abs=5e-3)


def test_night_begins_at_mean_local_noon() -> None:
    start = night_start_utc(date(2026, 5, 16), SITE.longitude_deg)
    assert start.isoformat(timespec="minutes") == "2026-05-16T16:41+00:00"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(-24.6272, 0, "-24 37 38"), (10.95, 2, "+10 57 00.00"), (59.99999, 1, "+60 00 00.0"), (-0.25, 1, "-00 15 00.0")],
)
def test_sexagesimal_carries_and_keeps_its_sign(value: float, decimals: int, text: str) -> None:
    assert sexagesimal(value, decimals) == text
