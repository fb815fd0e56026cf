"""Dithers: the star is found, the field turned back, fluxes are kept, and a companion has the flux that it was given."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import Refused
from nightcrew.mkid.calibrated import CalibratedTable, open_calibrated
from nightcrew.mkid.cube import make_cube
from nightcrew.mkid.dither import Field, Mirror, find_star, parallactic_angle_deg, rotation_edges
from nightcrew.mkid.dither_combine import Dithered, DitherWish, combine, exposures_of
from nightcrew.mkid.drizzled import Shot, drizzle, places_on
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.unheard import UNHEARD
from nightcrew.simulate.speckle_scene import companion_px, photons_of_rates, point_source
from tests.mkid.made_tables import START_US, beam_map, table

SHAPE = (48, 40)
MAP = beam_map(SHAPE)
STAR_CPS, COMPANION_CPS, SKY_CPS, FWHM = 20_000.0, 1200.0, 1.0, 3.2
SEPARATION, ANGLE = 11.0, 70.0
SPAN_US = 4_000_000
SITE = {"latitude_deg": 19.8, "longitude_deg": -155.5}
MIRROR = Mirror(slope_px=(-63.0, 68.0), mirror_reference=(0.0, 0.0), pixel_reference=(18.0, 20.0))
MIRRORS = [(mx / 63.0, my / 68.0) for mx, my in ((0.0, 0.0), (-3.3, 2.2), (-1.7, 5.4), (2.1, 4.6))]


def target() -> Field:
    """A star that passes the meridian near the zenith, so that the field turns fast."""
    start_s = START_US / 1e6
    sidereal = float(parallactic_hour(start_s))
    return Field(device_angle_deg=5.0, ra_deg=(sidereal - 0.05) % 360, dec_deg=19.9, **SITE)


def parallactic_hour(unix_s: float) -> float:
    """Local sidereal time in degrees."""
    return float(Time(unix_s, format="unix").sidereal_time("mean", longitude=SITE["longitude_deg"] * units.deg).deg)


def make_position(path: Path, number: int, seed: int) -> Path:
    rng = np.random.default_rng([seed, number])
    field, star = target(), MIRROR.star_px(MIRRORS[number])
    start = START_US  # every table of made_tables starts then
    pixels, times = [], []
    for low in range(0, SPAN_US, 100_000):
        angle = float(field.angle_deg((start + low + 50_000) / 1e6))
        rate = point_source(SHAPE, star, STAR_CPS, FWHM) + SKY_CPS
        rate += point_source(SHAPE, companion_px(star, SEPARATION, ANGLE, angle), COMPANION_CPS, FWHM)
        pixel, time_us = photons_of_rates(rng, rate, low, low + 100_000)
        pixels.append(pixel)
        times.append(time_us)
    log = {
        "log_mirror_x": MIRRORS[number][0],
        "log_mirror_y": str(MIRRORS[number][1]),
        "log_ra_deg": field.ra_deg,
        "log_dec_deg": field.dec_deg,
    }
    return table(path, MAP, np.concatenate(pixels), np.concatenate(times), duration_s=SPAN_US / 1e6, exposure=log, dead_time_us=0.0)


def opener(path: Path) -> CalibratedTable:
    return open_calibrated(path, [])


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("dither")
    return [make_position(folder / f"p{number}.h5", number, 3) for number in range(len(MIRRORS))]


@pytest.fixture(scope="module")
def combined(tables: list[Path]) -> Dithered:
    return combine(tables, opener, DitherWish(field=Field(device_angle_deg=5.0, **SITE), mirror=MIRROR))


def aperture_flux(found: Dithered, place: tuple[float, float], radius: float) -> tuple[float, float]:
    """Rate above the sky in an aperture, and its error."""
    result = found.drizzled
    yy, xx = np.indices(result.grid.shape)
    inside = np.hypot(xx - place[0], yy - place[1]) <= radius
    rate, variance = result.rate_cps[0][inside], result.variance[0][inside]
    assert np.isfinite(rate).all()
    return float(rate.sum() - inside.sum() * SKY_CPS), math.sqrt(float(variance.sum())) * result.noise_correlation


def test_the_star_is_registered_to_a_tenth_of_a_pixel(combined: Dithered) -> None:
    assert len(combined.positions) == 4
    for place, mirror in zip(combined.positions, MIRRORS, strict=True):
        assert place.star_px == pytest.approx(MIRROR.star_px(mirror), abs=0.1)
        assert place.fwhm_px == pytest.approx(math.hypot(FWHM, 2.3548 / math.sqrt(12)), rel=0.05)
        assert 2 < place.n_steps < 40  # the field turns by some ten degrees


def test_the_star_has_its_flux(combined: Dithered) -> None:
    grid = combined.drizzled.grid
    flux, _ = aperture_flux(combined, grid.centre, 7.0)
    lost = math.exp(-0.5 * (7.0 / (FWHM / 2.3548)) ** 2)
    assert flux == pytest.approx(STAR_CPS * (1 - lost), rel=0.005)
    left = combined.drizzled.exposure_s
    assert left.max() == pytest.approx(4 * SPAN_US / 1e6, rel=0.6)  # drops of half a pixel lie unevenly


SMALL, SMALL_FWHM, SMALL_SEPARATION, RADIUS = (32, 32), 2.6, 9.0, 4.6


def small_dither(folder: Path, seed: int) -> Dithered:
    """Three positions of a second in which the field turns by degrees, with a companion."""
    rng, paths = np.random.default_rng([11, seed]), []
    turns = Field(device_angle_deg=5.0, ra_deg=(parallactic_hour(START_US / 1e6) - 0.01) % 360, dec_deg=19.81, **SITE)
    for number, star in enumerate(((15.6, 15.2), (17.1, 15.8), (16.2, 17.4))):
        pixels, times = [], []
        for low in range(0, 1_000_000, 100_000):
            angle = float(turns.angle_deg((START_US + low + 50_000) / 1e6))
            rate = point_source(SMALL, star, 60_000.0, SMALL_FWHM) + 2.0
            rate += point_source(SMALL, companion_px(star, SMALL_SEPARATION, ANGLE, angle), 2000.0, SMALL_FWHM)
            pixel, time_us = photons_of_rates(rng, rate, low, low + 100_000)
            pixels.append(pixel)
            times.append(time_us)
        log = {"log_ra_deg": turns.ra_deg, "log_dec_deg": turns.dec_deg}
        path = folder / f"{seed}_{number}.h5"
        paths.append(
            table(path, beam_map(SMALL), np.concatenate(pixels), np.concatenate(times), duration_s=1.0, exposure=log, dead_time_us=0.0)
        )
    return combine(paths, opener, DitherWish(field=Field(device_angle_deg=5.0, **SITE)))


def sum_and_variance(found: Dithered, angle_deg: float) -> tuple[float, float]:
    """In an aperture at the companion's separation; variance as the drizzle says."""
    result, turn = found.drizzled, math.radians(angle_deg)
    yy, xx = np.indices(result.grid.shape)
    x, y = result.grid.centre[0] - SMALL_SEPARATION * math.sin(turn), result.grid.centre[1] + SMALL_SEPARATION * math.cos(turn)
    inside = np.hypot(xx - x, yy - y) <= RADIUS
    return float(result.rate_cps[0][inside].sum()), float(result.variance[0][inside].sum()) * result.noise_correlation**2


def test_the_companion_has_its_flux_within_its_error(tmp_path: Path) -> None:
    """Pulls over many dithers: less what the opposite side of the star holds, which is the star's wings and the sky."""
    pulls, shares = [], []
    for seed in range(16):
        found = small_dither(tmp_path, seed)
        assert found.drizzled.n_shots > 3
        for place, star in zip(found.positions, ((15.6, 15.2), (17.1, 15.8), (16.2, 17.4)), strict=True):
            assert place.star_px == pytest.approx(star, abs=0.1)
        (on, on_variance), (off, off_variance) = sum_and_variance(found, ANGLE), sum_and_variance(found, ANGLE + 180)
        error = math.sqrt(on_variance + off_variance)
        pulls.append((on - off - 2000.0) / error)
        shares.append(error / 2000.0)
    assert abs(np.mean(pulls)) < 3 / math.sqrt(len(pulls))
    assert 0.6 < np.std(pulls) < 1.45  # of 16: 3 sigma
    assert max(shares) < 0.03


@given(seed=st.integers(0, 2**31), angle=st.floats(-180, 180), scale=st.sampled_from([0.5, 1.0, 1.7]), pixfrac=st.sampled_from([0.5, 1.0]))
@settings(max_examples=15, deadline=None)
def test_drizzling_keeps_every_count(seed: int, angle: float, scale: float, pixfrac: float) -> None:
    rng = np.random.default_rng(seed)
    shots = []
    for _ in range(3):
        exposure = np.where(rng.random((12, 9)) < 0.1, 0.0, rng.uniform(1, 5, (12, 9)))
        rate = rng.uniform(0, 100, (2, 12, 9))
        star = (float(rng.uniform(0, 9)), float(rng.uniform(0, 12)))
        shots.append(Shot(rate_cps=rate, variance=rate, exposure_s=exposure, star_px=star, angle_deg=angle))
    found = drizzle(shots, scale=scale, pixfrac=pixfrac)
    for wave in range(2):
        sent = sum(float((shot.rate_cps[wave] * shot.exposure_s).sum()) for shot in shots)
        assert found.counts[wave].sum() == pytest.approx(sent, rel=5e-3)
    assert found.exposure_s.sum() * scale**2 == pytest.approx(sum(float(shot.exposure_s.sum()) for shot in shots), rel=5e-3)


def test_flat_light_stays_flat_whatever_the_scale() -> None:
    shots = [
        Shot(
            rate_cps=np.full((1, 20, 20), 7.0),
            variance=np.full((1, 20, 20), 7.0),
            exposure_s=np.full((20, 20), 2.0),
            star_px=(9 + k / 3, 9),
            angle_deg=20.0 * k,
        )
        for k in range(9)
    ]
    for scale in (0.5, 1.0, 2.0):
        found = drizzle(shots, scale=scale)
        yy, xx = np.indices(found.grid.shape)
        near = np.hypot(xx - found.grid.centre[0], yy - found.grid.centre[1]) < 6 / scale
        assert found.rate_cps[0][near] == pytest.approx(np.full(near.sum(), 7.0 * scale**2), rel=1e-5)


def test_the_grid_has_north_up_and_east_left() -> None:
    for angle in (0.0, 33.0, -120.0):
        star = (7.0, 9.0)
        grid = drizzle(
            [
                Shot(
                    rate_cps=np.ones((1, 20, 20)),
                    variance=np.ones((1, 20, 20)),
                    exposure_s=np.ones((20, 20)),
                    star_px=star,
                    angle_deg=angle,
                )
            ]
        ).grid
        places = places_on(grid, (20, 20), star, angle)
        assert places[9, 7] == pytest.approx(grid.centre)
        north, east = (companion_px(star, 1.0, position, angle) for position in (0.0, 90.0))
        linear = np.array([places[9, 8] - places[9, 7], places[10, 7] - places[9, 7]]).T
        assert linear @ (np.array(north) - star) == pytest.approx([0.0, 1.0], abs=1e-9)
        assert linear @ (np.array(east) - star) == pytest.approx([-1.0, 0.0], abs=1e-9)


def test_the_parallactic_angle_is_that_of_astropy() -> None:
    """Position angle of the zenith as seen from the star, with north through east."""
    where = EarthLocation.from_geodetic(SITE["longitude_deg"], SITE["latitude_deg"])
    times = START_US / 1e6 + np.array([0.0, 3000.0, 9000.0])
    for ra, dec in ((20.0, -10.0), (60.0, 45.0)):
        star = SkyCoord(ra, dec, unit="deg", frame="fk5")
        for unix_s in times.tolist():
            moment = Time(unix_s, format="unix")
            frame = AltAz(obstime=moment, location=where)
            apparent = star.transform_to(frame)
            zenith = SkyCoord(alt=90 * units.deg, az=0 * units.deg, frame=frame)
            pole = SkyCoord(ra * units.deg, min(dec + 0.5, 89.0) * units.deg, frame="fk5").transform_to(frame)
            # azimuth grows clockwise on the sky, so this is from the pole to the zenith, counter-clockwise
            expected = (apparent.position_angle(pole) - apparent.position_angle(zenith)).wrap_at(180 * units.deg).deg
            found = parallactic_angle_deg(np.array([unix_s]), ra, dec, SITE["latitude_deg"], SITE["longitude_deg"])[0]
            assert (found - expected + 180) % 360 - 180 == pytest.approx(0.0, abs=0.4)  # of date against J2000


def test_north_is_left_of_the_zenith_while_a_star_rises() -> None:
    field = Field(ra_deg=(parallactic_hour(START_US / 1e6) + 50) % 360, dec_deg=0.0, **SITE)
    assert 20 < float(field.angle_deg(START_US / 1e6)) < 90  # towards -x
    later = Field(ra_deg=(parallactic_hour(START_US / 1e6) - 50) % 360, dec_deg=0.0, **SITE)
    assert -90 < float(later.angle_deg(START_US / 1e6)) < -20


@given(radius=st.floats(1, 100), span_s=st.integers(1, 1500))
@settings(max_examples=40, deadline=None)
def test_no_step_smears_by_more_than_a_pixel(radius: float, span_s: int) -> None:
    field = target()
    edges = rotation_edges(field, START_US, (0, span_s * 1_000_000), radius)
    angles = np.unwrap(field.angle_deg(START_US / 1e6 + edges / 1e6), period=360.0)
    assert (edges[0], edges[-1]) == (0, span_s * 1_000_000)
    assert (np.abs(np.diff(angles)) <= math.degrees(math.atan(1 / radius)) * 1.02 + 1e-9).all()
    assert rotation_edges(Field(), START_US, (5, 10), 30.0).tolist() == [5, 10]


def test_a_halo_moves_the_star_little() -> None:
    """A halo that is brighter on one side, as speckles make it: the core is what counts."""
    rng = np.random.default_rng(12)
    yy, xx = np.indices((24, 28))
    truth = (13.4, 11.7)
    halo = 400 / (1 + (np.hypot(xx - truth[0], yy - truth[1]) / 5) ** 2) * (1 + 0.03 * (xx - truth[0]))
    image: NDArray[np.float64] = rng.poisson((point_source((24, 28), truth, 9000.0, 3.0) + halo) * 8) / 8
    star = find_star(image, np.sqrt(image / 8), np.zeros(image.shape, dtype=bool))
    assert math.hypot(star.x - truth[0], star.y - truth[1]) < 0.1
    assert abs(star.x - truth[0]) < 4 * star.x_error


def test_a_hot_pixel_is_no_star_and_noise_is_none() -> None:
    rng = np.random.default_rng(1)
    rate = point_source(SHAPE, (12.3, 30.6), 400.0, 3.0) + 1.0
    image: NDArray[np.float64] = rng.poisson(rate * 10) / 10
    image[5, 5] = 5000.0
    star = find_star(image, np.sqrt(image / 10), np.zeros(SHAPE, dtype=bool))
    assert (star.x, star.y) == pytest.approx((12.3, 30.6), abs=0.1)
    assert abs(star.x - 12.3) < 4 * star.x_error
    flat = rng.poisson(np.full(SHAPE, 10.0)) / 10
    with pytest.raises(Refused, match="no star"):
        find_star(flat, np.sqrt(flat / 10), np.zeros(SHAPE, dtype=bool))
    with pytest.raises(Refused, match="every pixel is bad"):
        find_star(flat, flat, np.ones(SHAPE, dtype=bool))


def test_the_command_writes_coordinates_of_the_sky(tables: list[Path], tmp_path: Path) -> None:
    mirror = "-63,68,0,0,18,20"
    words = ["dither", *map(str, tables), "-o", str(tmp_path / "d.fits"), "--mirror", mirror, "--site", "19.8,-155.5", "--angle", "5"]
    result = CliRunner().invoke(app, [*words, "--register", "mirror", "--plate-scale", "10.4", "--json"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.output)
    assert len(values["positions"]) == 4
    with fits.open(tmp_path / "d.fits", checksum=True) as hdus:
        assert hdus[0].header["NPOS"] == 4
        assert hdus[0].data.shape == hdus["EXPOSURE"].data.shape
        sky = WCS(hdus[0].header)
        x, y = hdus[0].header["CRPIX1"] - 1, hdus[0].header["CRPIX2"] - 1
        here, north, east = (sky.wcs_pix2world([[a, b]], 0)[0] for a, b in ((x, y), (x, y + 10), (x - 10, y)))
        assert here == pytest.approx([target().ra_deg, 19.9])
        assert north[1] - here[1] == pytest.approx(104e-3 / 3600, rel=1e-6)
        assert east[0] > here[0]
    for more, sentence in ((["--register", "log"], "star_x"), (["--mirror", "1,2"], "6 numbers"), (["--pixfrac", "0"], "pixfrac")):
        found = CliRunner().invoke(app, [*words, "--overwrite", *more])
        assert isinstance(found.exception, Refused)
        assert sentence in str(found.exception)


@pytest.mark.parametrize("silent", [0, 600, 1000])
def test_the_exposure_of_a_position_is_that_of_pixels_that_were_read_out(silent: int, tmp_path: Path) -> None:
    placed = beam_map(SHAPE)
    n = SHAPE[0] * SHAPE[1]
    board = np.where(np.arange(n) < n * silent // 1000, UNHEARD, 0).astype(np.int16).reshape(SHAPE)
    silences = Silences.of(board, {UNHEARD: [(START_US, START_US + 10_000_000)]})
    path = table(tmp_path / "t.h5", placed, [n - 1], [5], silences=silences, dead_time_us=0.0)
    with open_calibrated(path, []) as opened:
        found = exposures_of(make_cube(opened, np.array([0, 10_000_000])))
    assert found == (0.0 if silent == 1000 else 10.0, n * silent // 1000)
