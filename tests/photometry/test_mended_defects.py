"""The defects of the older reduction program (specification 2.5), mended: one test for each that concerns lights and photometry.

| # | the older program | here |
|---|---|---|
| 1 | crashed at the bad-pixel map | ``test_01`` |
| 2 | joined good maps by XOR | ``test_02``, and tests/quality/test_bad_pixels.py |
| 3 | summed the whole sub-frame | ``test_03`` |
| 4 | magnitude per pixel instead of the sum's | ``test_04`` |
| 5, 6, 7, 9 | grouping by gain and filter, darks with a FILTER, exit status | planning, frames and command line: their tests |
| 8 | exit when no dark has the light's exposure | ``test_08`` |
| 10 | a star near an edge lost the run | ``test_10`` |
| 11 | no source at all crashed | ``test_11`` |
| 12 | dead options (smoothing, no flat, no dark) | ``test_12`` |
| 13 | sky too low, the more so the brighter the star | ``test_13`` |
| 14 | fixed width, threshold = median of the image | ``test_14`` |
| 15 | no shape check, all frames in memory | ``test_15`` |
| 16 | saturation unmarked | ``test_16`` |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.lights.reduce import Master, ReduceParameters, reduce_light
from nightcrew.lights.stack import ArrayRows, StackInput, stack
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.measure import measure
from nightcrew.photometry.parameters import PhotometryParameters
from nightcrew.quality.bad_pixels import bad_pixel_mask
from tests.photometry.field import StarField, make_field

KNOWN = ReduceParameters(gain_e_per_adu=1.5, read_noise_e=5.0)


def one_star(electrons: float = 80_000.0, x: float = 150.0, y: float = 150.0, sky_e: float = 250.0) -> StarField:
    return make_field(np.array([x]), np.array([y]), np.array([electrons]), size=300, sky_e=sky_e, seed=17)


def test_01_every_kind_of_frame_may_be_without_a_mask() -> None:
    plane = np.full((9, 9), 2.0, np.float32)
    light = reduce_light(plane * 50, parameters=KNOWN, bias=Master(plane), dark=Master(plane), flat=Master(plane))
    assert not light.mask.any()


def test_02_pixel_bad_in_two_masks_stays_bad() -> None:
    dark = np.random.default_rng(1).normal(10, 1, (64, 64))
    dark[5, 6] = 500.0
    assert bad_pixel_mask(darks=[dark, dark])[5, 6] & PixelFlag.HOT


def test_03_sum_does_not_depend_on_the_subframe_but_on_the_aperture() -> None:
    field = one_star()
    magnitudes = [
        float(
            measure(
                field.image,
                field.uncertainty,
                exposure_s=1.0,
                parameters=PhotometryParameters(sky="subframe", radius_px=15.0, subframe_half_length_px=half),
            ).catalogue["mag"][0]
        )
        for half in (25, 100)
    ]
    assert magnitudes[0] == pytest.approx(magnitudes[1], abs=0.01)  # was -4.862 and -5.768


def test_04_magnitude_is_of_the_sum_and_the_old_one_a_column() -> None:
    field = one_star()
    row = measure(
        field.image, field.uncertainty, exposure_s=10.0, gain_e_per_adu=1.0, parameters=PhotometryParameters(radius_px=15.0)
    ).catalogue[0]
    assert row["mag"] == pytest.approx(-2.5 * np.log10(8000.0), abs=0.02)
    assert row["mag_adu_per_pixel"] - row["mag_adu"] == pytest.approx(7.108, abs=1e-3)


def test_08_dark_of_another_exposure_is_scaled_without_its_bias() -> None:
    plane = np.ones((9, 9), np.float32)
    parameters = ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, dark_scale=3.0)
    light = reduce_light(plane * 430, parameters=parameters, bias=Master(plane * 300), dark=Master(plane * 10))
    assert np.all(light.science == 100.0)
    assert "dark (bias removed, x 3)" in light.facts["steps"]


def test_10_star_near_the_edge_is_flagged_and_the_others_go_on() -> None:
    field = make_field(np.array([4.0, 150.0]), np.array([150.0, 150.0]), np.array([5e4, 5e4]), size=300)
    table = measure(
        field.image, field.uncertainty, exposure_s=1.0, parameters=PhotometryParameters(sky="subframe", subframe_half_length_px=100)
    ).catalogue
    assert len(table) == 2
    flags = {round(float(x)): int(f) for x, f in zip(table["x_px"], table["flags"], strict=True)}
    assert flags[4] & SourceFlag.EDGE
    assert not flags[150] & SourceFlag.EDGE


def test_11_no_source_gives_an_empty_catalogue() -> None:
    image = np.random.default_rng(2).normal(100.0, 10.0, (200, 200)).astype(np.float32)
    assert len(measure(image, exposure_s=1.0, parameters=PhotometryParameters(threshold_sigma=8.0)).catalogue) == 0


def test_12_options_do_something() -> None:
    field = one_star()
    raw = field.image + 100
    assert reduce_light(raw, parameters=KNOWN, flat=None).facts["notes"][2] == "no flat: step skipped"
    assert not np.array_equal(
        reduce_light(raw, parameters=KNOWN).science, reduce_light(raw, parameters=KNOWN, dark=Master(np.full((300, 300), 7.0))).science
    )
    widths = [
        float(
            measure(
                field.image, field.uncertainty, exposure_s=1.0, parameters=PhotometryParameters(sky="subframe", smoothing_px=s)
            ).catalogue["fit_sigma_px"][0]
        )
        for s in (0.0, 3.0)
    ]
    assert widths[1] == pytest.approx(np.hypot(widths[0], 3.0), rel=0.1)


@pytest.mark.parametrize("electrons", [5_000.0, 50_000.0, 2_000_000.0])
def test_13_sky_does_not_fall_with_the_brightness_of_the_star(electrons: float) -> None:
    field = one_star(electrons, 150.499, 149.501)
    row = measure(field.image, field.uncertainty, exposure_s=1.0, parameters=PhotometryParameters(sky="subframe")).catalogue[0]
    assert row["sky"] == pytest.approx(250.0, abs=1.0)  # was low by up to 3.5
    assert row["sum"] == pytest.approx(electrons, rel=0.005, abs=4 * row["sum_error"])


def test_14_a_sky_of_zero_has_no_threshold_of_zero_and_the_width_can_be_chosen() -> None:
    field = one_star(sky_e=0.0)
    assert len(measure(field.image, field.uncertainty, exposure_s=1.0).catalogue) == 1
    assert len(measure(np.zeros((300, 300), np.float32), exposure_s=1.0).catalogue) == 0
    assert len(measure(field.image, field.uncertainty, exposure_s=1.0, parameters=PhotometryParameters(fwhm_px=8.0)).catalogue) == 1


def test_15_shapes_are_checked() -> None:
    plane = np.ones((9, 9), np.float32)
    with pytest.raises(RejectedInput, match="the dark has 8 x 9 pixels, the light 9 x 9"):
        reduce_light(plane, dark=Master(np.ones((9, 8), np.float32)))
    rows = [ArrayRows(np.ones(s, np.float32), np.ones(s, np.float32), np.zeros(s, np.uint16)) for s in ((9, 9), (9, 8))]
    with pytest.raises(RejectedInput, match="one shape"):
        stack([StackInput(rows=r) for r in rows])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_16_saturation_is_marked_from_raw_frame_to_catalogue(kind: Any) -> None:
    field = one_star(500_000.0)
    full = float(np.iinfo(kind).max)
    raw = np.rint(field.image * full / 8000).clip(0, full).astype(kind)
    light = reduce_light(raw, parameters=KNOWN)
    assert light.mask[150, 150] & PixelFlag.SATURATED
    table = measure(light.science, light.uncertainty, light.mask, exposure_s=1.0).catalogue
    assert table["flags"][0] & SourceFlag.SATURATED
