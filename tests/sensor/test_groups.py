"""Grouping, regions, and what is said of frames that fit nowhere."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.sensor.frames import SensorFrame, Window, of_array, says_flooded
from nightcrew.sensor.groups import group_frames, temperature_bins
from nightcrew.sensor.regions import amplifier_regions, bayer_regions, centred_crop, crop_of, parse_crop, regions_of
from nightcrew.sensor.words import options_of, parse_data_sheet, parse_sky

PIXELS = np.zeros((8, 8), np.uint16)
LIGHT = Window(0, 300, 0, 200)


def frame(name: str, kind: str, t: float = 0.0, warm: float | None = -10.0, **values: object) -> SensorFrame:
    return of_array(PIXELS, name=name, kind=kind, exposure_s=t, temperature_c=warm, **values)


def test_kinds_filters_exposures_and_floods_stay_apart() -> None:
    frames = [frame(f"{n}", kind, 5.0, filter=f) for n, (kind, f) in enumerate((("dark", ""), ("flat", "V"), ("flat", "B")))]
    frames += [frame("x", "dark", 5.0, flooded=True), frame("y", "dark", 6.0)]
    assert len(group_frames(frames).groups) == 5


def test_mixed_gains_are_two_set_ups() -> None:
    frames = [frame(f"{g}{n}", "bias", gain_setting=g) for g in ("100", "200") for n in range(2)]
    grouping = group_frames(frames)
    assert [s.gain_setting for s in grouping.set_ups] == ["100", "200"]
    assert all(group.verdict == "enough" for group in grouping.groups)


def test_lights_are_left_out_or_taken_for_flats() -> None:
    frames = [frame("a", "light", 5.0)]
    assert "lights-are-flats" in group_frames(frames).left_out[0][1]
    assert group_frames(frames, lights="as flats").groups[0].kind == "flat"


def test_group_of_one_says_how_many_more() -> None:
    assert "needs 1 more" in group_frames([frame("a", "dark", 5.0)]).groups[0].verdict


def test_drifting_temperature_is_remarked() -> None:
    grouping = group_frames([frame(f"{n}", "bias", warm=-10 + 0.3 * n) for n in range(6)])
    assert len(grouping.groups) == 1
    assert "drifted" in grouping.remarks[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-60, 30), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_bins_are_a_function_of_the_set(values: list[float], shuffler: random.Random) -> None:
    mixed = list(values)
    shuffler.shuffle(mixed)
    assert temperature_bins(mixed) == temperature_bins(values)


def test_bins_of_a_quantised_sensor() -> None:
    bins = temperature_bins([-4.818, -5.232, -9.788, -10.203])
    assert len(set(bins.values())) == 2


@pytest.mark.parametrize(("name", "flooded"), [("dark-flooded-300s", True), ("RBI_01", True), ("dark-unflooded", False), ("dark", False)])
def test_floods_by_name(name: str, flooded: bool) -> None:
    assert says_flooded(name) is flooded


def test_crop_as_photonica_but_x_first() -> None:
    assert centred_crop(LIGHT, (100, 50)) == Window(100, 200, 75, 125)
    assert centred_crop(LIGHT, (400, 400)) == LIGHT


@pytest.mark.parametrize(("text", "wanted"), [("100x80", (100, 80)), ("(100, 80)", (100, 80)), ("1:5,2:9", Window(1, 5, 2, 9))])
def test_crops_as_people_write_them(text: str, wanted: object) -> None:
    assert parse_crop(text) == wanted


@pytest.mark.parametrize("text", ["", "100", "a x b", "5:1,2:9", "-3x4"])
def test_crops_that_are_none(text: str) -> None:
    with pytest.raises(Refused, match="no crop"):
        parse_crop(text)


def test_box_outside_the_frame_is_refused() -> None:
    with pytest.raises(Refused, match="outside"):
        crop_of(LIGHT, Window(0, 400, 0, 10))


@given(st.integers(1, 5), st.integers(1, 5))
def test_amplifiers_cover_every_pixel_once(nx: int, ny: int) -> None:
    count = np.zeros((200, 300), int)
    for region in amplifier_regions(LIGHT, (nx, ny)):
        for window in region.windows:
            count[window.y0 : window.y1, window.x0 : window.x1] += 1
    assert (count == 1).all()


def test_colours_cover_every_pixel_once() -> None:
    count = np.zeros((200, 300), int)
    regions = bayer_regions(LIGHT, "RGGB")
    for region in regions:
        for w in region.windows:
            count[w.y0 : w.y1 : w.step, w.x0 : w.x1 : w.step] += 1
    assert (count == 1).all()
    assert {region.name: region.pixels for region in regions} == {"R": 15_000, "G": 30_000, "B": 15_000}


def test_colours_of_each_amplifier() -> None:
    assert len(regions_of(LIGHT, amplifiers=(2, 1), bayer="RGGB")) == 6


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"sky": ["V"]}, "no rate of the sky"),
        ({"data_sheet": "112"}, "no dark rate"),
        ({"amplifiers": "1:2,3:4"}, "no layout"),
        ({"box": "3x4"}, "no box"),
        ({"amplifiers": "0x2"}, "at least one amplifier"),
        ({"bayer": "RGXB"}, "no colour pattern"),
        ({"times_read_noise": 0}, "must be above 0"),
        ({"times_read_noise": "nan"}, "is no number"),
        ({"temperature_tolerance_c": -1}, "at least 0"),
        ({"clip": 2}, "at least 3"),
        ({"bootstrap": -1}, "at least 0"),
        ({"offset_correction": "inf"}, "is no number"),
    ],
)
def test_options_that_cannot_be(values: dict[str, object], match: str) -> None:
    with pytest.raises(Refused, match=match):
        options_of(values)


def test_options_as_written() -> None:
    assert parse_sky("V=0.8") == ("V", 0.8)
    sheet = parse_data_sheet("112@60/11")
    assert (sheet.rate_e_per_s, sheet.at_c, sheet.doubling_k) == (112.0, 60.0, 11.0)
