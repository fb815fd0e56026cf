"""The whole chain on simulated fields: unbiased magnitudes, honest errors, flags, empty fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.measure import Photometry, measure
from nightcrew.photometry.parameters import PhotometryParameters, SkyMode
from tests.photometry.field import StarField, add_star, grid_positions, make_field

EXPOSURE_S, GAIN = 20.0, 1.6
SIGMA_PX = 1.7


def run(field: StarField, mask: np.ndarray | None = None, **choices: Any) -> Photometry:
    return measure(
        field.image,
        field.uncertainty,
        mask,
        exposure_s=EXPOSURE_S,
        gain_e_per_adu=GAIN,
        parameters=PhotometryParameters(**choices),
    )


def matched(field: StarField, result: Photometry) -> tuple[np.ndarray, Any]:
    """Indices of the true stars and their catalogue rows (within 1 px)."""
    table = result.catalogue
    distance = np.hypot(np.asarray(table["x_px"])[:, None] - field.x, np.asarray(table["y_px"])[:, None] - field.y)
    nearest = distance.argmin(axis=1)
    close = distance.min(axis=1) < 1.0
    return nearest[close], table[close]


@pytest.fixture(scope="module")
def bright() -> StarField:
    rng = np.random.default_rng(21)
    x, y = grid_positions(1000, 55, rng)
    return make_field(x, y, np.full(x.size, 60_000.0), size=1000, sigma_px=SIGMA_PX, seed=22)


@pytest.fixture(scope="module")
def faint() -> StarField:
    rng = np.random.default_rng(31)
    x, y = grid_positions(1000, 55, rng)
    return make_field(x, y, np.full(x.size, 6_000.0), size=1000, sigma_px=SIGMA_PX, seed=32)


class TestAcceptance:
    @pytest.mark.parametrize("sky", ["whole", "subframe", "annulus"])
    def test_bright_stars_are_unbiased_to_5_mmag(self, bright: StarField, sky: SkyMode) -> None:
        which, table = matched(bright, run(bright, sky=sky))
        assert len(which) == bright.x.size
        truth = -2.5 * np.log10(bright.electrons[which] / EXPOSURE_S)
        assert abs(np.mean(table["mag"] - truth)) < 0.005
        assert abs(np.mean(table["mag"] - truth)) < 0.0015  # what the aperture of 2 FWHM and this field can show

    @pytest.mark.parametrize("sky", ["whole", "subframe", "annulus"])
    @pytest.mark.parametrize("name", ["bright", "faint"])
    def test_errors_are_right_to_10_percent(self, name: str, sky: SkyMode, request: pytest.FixtureRequest) -> None:
        field = request.getfixturevalue(name)
        which, table = matched(field, run(field, sky=sky))
        pulls = (np.asarray(table["sum"]) - field.electrons[which]) / np.asarray(table["sum_error"])
        assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
        truth = -2.5 * np.log10(field.electrons[which] / EXPOSURE_S)
        assert np.std((table["mag"] - truth) / table["mag_error"]) == pytest.approx(1.0, abs=0.1)

    def test_a_wide_range_of_brightness_in_one_field(self) -> None:
        rng = np.random.default_rng(41)
        x, y = grid_positions(1000, 60, rng)
        field = make_field(x, y, 10 ** rng.uniform(3.3, 5.5, x.size), size=1000, sigma_px=SIGMA_PX, seed=42)
        which, table = matched(field, run(field))
        assert len(which) >= 0.98 * field.x.size
        pulls = (np.asarray(table["sum"]) - field.electrons[which]) / np.asarray(table["sum_error"])
        assert np.std(pulls) == pytest.approx(1.0, abs=0.12)

    def test_positions_and_widths(self, bright: StarField) -> None:
        result = run(bright)
        which, table = matched(bright, result)
        assert np.std(table["x_px"] - bright.x[which]) < 0.02
        assert abs(np.mean(table["y_px"] - bright.y[which])) < 0.002
        true_fwhm = 2.3548 * np.sqrt(SIGMA_PX**2 + 1 / 12)  # the pixel widens the star
        assert result.facts["fwhm_px"] == pytest.approx(true_fwhm, rel=0.01)
        assert result.facts["ellipticity"] < 0.03

    def test_depth_is_where_the_error_is_a_fifth(self, faint: StarField) -> None:
        result = run(faint)
        table = result.catalogue
        quiet = np.sqrt(np.median(np.asarray(table["sum_error"])) ** 2 - 6000.0)  # without the star's own photons
        assert result.facts["depth_5sigma_mag"] == pytest.approx(-2.5 * np.log10(5 * quiet / EXPOSURE_S), abs=0.05)


class TestMagnitudeColumns:
    def test_electrons_adu_and_per_pixel_differ_by_known_constants(self, bright: StarField) -> None:
        table = run(bright, radius_px=15.0).catalogue
        assert np.allclose(table["mag_adu"] - table["mag"], 2.5 * np.log10(GAIN), atol=2e-5)
        assert np.allclose(table["mag_adu_per_pixel"] - table["mag_adu"], 2.5 * np.log10(697), atol=2e-5)
        assert table.meta["pixels_within_radius"] == 697

    def test_frame_in_adu_without_gain_has_adu_magnitudes_only(self, bright: StarField) -> None:
        result = measure(bright.image, bright.uncertainty, exposure_s=EXPOSURE_S, unit="adu")
        assert np.all(result.catalogue["mag"].mask)
        assert not np.any(result.catalogue["mag_adu"].mask)
        assert not np.any(result.catalogue["mag_error"].mask)
        assert str(result.catalogue["sum"].unit) == "adu"

    def test_without_exposure_time_magnitudes_are_masked_sums_are_not(self, bright: StarField) -> None:
        result = measure(bright.image, bright.uncertainty, exposure_s=None)
        assert np.all(result.catalogue["mag"].mask)
        assert not np.any(result.catalogue["sum"].mask)
        assert result.facts["depth_5sigma_mag"] is None

    def test_no_value_is_nan_and_the_table_survives_ecsv(self, faint: StarField) -> None:
        import io

        from astropy.table import Table

        table = run(faint, sky="subframe").catalogue
        for name in table.colnames:
            values = np.ma.filled(table[name], 0)
            assert np.all(np.isfinite(values)), name
            assert table[name].description
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        again = Table.read(text.getvalue(), format="ascii.ecsv")
        assert again["x_px"].unit == table["x_px"].unit
        assert np.array_equal(np.asarray(again["mag"]), np.asarray(table["mag"]))
        assert again.meta["flags"]["SATURATED"].startswith("1: ")


class TestFlags:
    def one(self, x: float, y: float, **choices: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        rng = np.random.default_rng(51)
        positions = np.array([[x, y], [40.3, 40.6], [110.2, 45.5], [60.4, 120.7]])
        field = make_field(positions[:, 0], positions[:, 1], np.full(4, 50_000.0), size=160, seed=int(rng.integers(1000)))
        return field.image.copy(), field.uncertainty, choices

    def row(self, result: Photometry, x: float, y: float) -> Any:
        table = result.catalogue
        distance = np.hypot(table["x_px"] - x, table["y_px"] - y)
        assert distance.min() < 1.5
        return table[int(distance.argmin())]

    def test_saturated_star_is_flagged_and_its_neighbours_are_not(self) -> None:
        image, uncertainty, _ = self.one(100.0, 100.0)
        mask = np.zeros(image.shape, np.uint16)
        mask[100, 100] = PixelFlag.SATURATED
        result = measure(image, uncertainty, mask, exposure_s=1.0)
        assert self.row(result, 100, 100)["flags"] & SourceFlag.SATURATED
        assert not self.row(result, 40.3, 40.6)["flags"] & SourceFlag.SATURATED

    def test_star_at_the_edge_is_flagged_not_fatal(self) -> None:
        image, uncertainty, _ = self.one(3.0, 100.0)
        result = measure(image, uncertainty, exposure_s=1.0, parameters=PhotometryParameters(sky="subframe"))
        flags = self.row(result, 3, 100)["flags"]
        assert flags & SourceFlag.EDGE
        assert flags & SourceFlag.SUBFRAME_CLIPPED
        assert len(result.catalogue) == 4

    def test_bad_pixel_in_the_core_is_replaced_and_costs_little(self) -> None:
        image, uncertainty, _ = self.one(100.0, 100.0)
        clean = self.row(measure(image, uncertainty, exposure_s=1.0), 100, 100)
        mask = np.zeros(image.shape, np.uint16)
        mask[100, 100] = PixelFlag.COSMIC_RAY
        image[100, 100] += 1e5
        mended = self.row(measure(image, uncertainty, mask, exposure_s=1.0), 100, 100)
        assert mended["flags"] & SourceFlag.PIXELS_REPLACED
        assert mended["flags"] & SourceFlag.CORE_REPLACED
        assert mended["mag"] == pytest.approx(clean["mag"], abs=0.01)

    def test_block_of_bad_pixels_is_lost_area(self) -> None:
        image, uncertainty, _ = self.one(100.0, 100.0)
        mask = np.zeros(image.shape, np.uint16)
        mask[103:108, 98:103] = PixelFlag.NO_DATA
        image[103:108, 98:103] = np.nan
        assert self.row(measure(image, uncertainty, mask, exposure_s=1.0), 100, 100)["flags"] & SourceFlag.PIXELS_LOST

    def test_neighbours_are_crowded(self) -> None:
        image, uncertainty, _ = self.one(48.3, 40.6)
        flags = [self.row(measure(image, uncertainty, exposure_s=1.0), x, 40.6)["flags"] for x in (40.3, 48.3)]
        assert all(f & SourceFlag.CROWDED for f in flags)

    def test_unflagged_cosmic_ray_is_narrow(self) -> None:
        image, uncertainty, _ = self.one(100.0, 100.0)
        image[70, 80] += 40_000.0
        result = measure(image, uncertainty, exposure_s=1.0)
        assert self.row(result, 80, 70)["flags"] & (SourceFlag.NARROW | SourceFlag.SHAPE_FAILED)


class TestChoices:
    def test_aperture_fixed_or_by_width(self, bright: StarField) -> None:
        assert run(bright, radius_px=6.0).facts["radius_px"] == 6.0
        assert run(bright, radius_fwhm=1.5).facts["radius_px"] == pytest.approx(1.5 * run(bright).facts["fwhm_px"])

    def test_number_of_sources_can_be_limited_to_the_brightest(self) -> None:
        rng = np.random.default_rng(61)
        x, y = grid_positions(300, 60, rng)
        electrons = np.linspace(5e4, 1e4, x.size)
        field = make_field(x, y, electrons, size=300)
        which, table = matched(field, run(field, max_sources=5))
        assert sorted(which) == [0, 1, 2, 3, 4]
        assert list(table["id"]) == [1, 2, 3, 4, 5]

    def test_whole_sky_returns_the_subtracted_image(self, bright: StarField) -> None:
        result = run(bright, sky="whole")
        assert result.facts["sky_whole"] == pytest.approx(100.0, abs=0.2)
        assert result.sky_subtracted is not None
        assert np.median(result.sky_subtracted) == pytest.approx(0.0, abs=0.5)
        assert run(bright).sky_subtracted is None

    def test_center_overlap_counts_whole_pixels(self, bright: StarField) -> None:
        table = run(bright, radius_px=8.0, overlap="center").catalogue
        assert np.allclose(np.asarray(table["area_px"]) % 1, 0)

    def test_threshold_decides_what_is_found(self) -> None:
        rng = np.random.default_rng(71)
        x, y = grid_positions(500, 40, rng)
        field = make_field(x, y, 10 ** rng.uniform(2.6, 4.5, x.size), size=500)
        numbers = [run(field, threshold_sigma=k).facts["sources"] for k in (2.0, 5.0, 20.0)]
        assert numbers[0] > numbers[1] > numbers[2] > 0

    def test_smoothing_changes_detection_and_profile_but_not_the_sums(self) -> None:
        rng = np.random.default_rng(81)
        x, y = grid_positions(500, 60, rng)
        field = make_field(x, y, np.linspace(500.0, 2500.0, x.size), size=500)
        none, some = (run(field, smoothing_px=s, sky="subframe", radius_px=6.0, threshold_sigma=4.0) for s in (0.0, 2.0))
        assert none.facts["sources"] != some.facts["sources"]
        wide, narrow = (np.median(r.catalogue["fit_sigma_px"].compressed()) for r in (some, none))
        assert wide == pytest.approx(np.hypot(narrow, 2.0), rel=0.1)

    @pytest.mark.parametrize(
        "bad", [{"threshold_sigma": 0.0}, {"sky": "none"}, {"annulus_inner": 3.0}, {"max_sources": 0}, {"smoothing_px": -1.0}]
    )
    def test_impossible_choices_are_refused(self, bad: dict[str, Any]) -> None:
        with pytest.raises(Refused):
            PhotometryParameters(**bad)


class TestEmpty:
    @pytest.mark.parametrize("sky", ["whole", "subframe", "annulus"])
    def test_no_source_gives_an_empty_table_with_columns(self, sky: SkyMode) -> None:
        rng = np.random.default_rng(91)
        image = rng.normal(100, 10, (200, 200)).astype(np.float32)
        parameters = PhotometryParameters(sky=sky, threshold_sigma=8.0)
        result = measure(image, np.full_like(image, 10.0), exposure_s=1.0, parameters=parameters)
        assert len(result.catalogue) == 0
        assert "mag" in result.catalogue.colnames
        assert result.facts["notes"] == ["no source above the threshold"]

    def test_sky_of_zero_without_noise_finds_nothing(self) -> None:
        assert len(measure(np.zeros((100, 100), np.float32), exposure_s=1.0).catalogue) == 0

    def test_frame_without_a_usable_pixel(self) -> None:
        result = measure(np.full((64, 64), np.nan, np.float32), exposure_s=1.0)
        assert result.facts["notes"] == ["no usable pixel"]
        assert "flags" in result.catalogue.colnames

    def test_planes_of_another_shape_are_rejected(self) -> None:
        with pytest.raises(RejectedInput, match="mask has the shape"):
            measure(np.ones((9, 9), np.float32), None, np.zeros((8, 9), np.uint16), exposure_s=1.0)
        with pytest.raises(RejectedInput, match="electron and adu"):
            measure(np.ones((9, 9), np.float32), exposure_s=1.0, unit="Jy")


def test_sky_coordinates_come_from_a_wcs(bright: StarField) -> None:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [120.0, 30.0], [501.0, 501.0], [-3e-4, 3e-4]
    table = measure(bright.image, bright.uncertainty, exposure_s=1.0, wcs=wcs).catalogue
    ra, dec = wcs.all_pix2world(np.asarray(table["x_px"]), np.asarray(table["y_px"]), 0)
    assert np.allclose(table["ra_deg"], ra, atol=1e-6)
    assert np.allclose(table["dec_deg"], dec, atol=1e-6)


def test_elongated_stars_show_their_ellipticity_and_direction() -> None:
    rng = np.random.default_rng(101)
    x, y = grid_positions(300, 60, rng)
    expected = np.full((300, 300), 100.0)
    for star in zip(x, y, strict=True):
        add_star(expected, *star, 60_000.0, 2.4, 1.6)
    image = rng.poisson(expected).astype(np.float32)
    table = measure(image, np.sqrt(expected).astype(np.float32), exposure_s=1.0).catalogue
    assert np.median(np.asarray(table["ellipticity"])) == pytest.approx(1 - np.sqrt((1.6**2 + 1 / 12) / (2.4**2 + 1 / 12)), abs=0.01)
    angle = np.asarray(table["theta_deg"])
    assert np.median(np.minimum(angle, 180 - angle)) < 2.0
