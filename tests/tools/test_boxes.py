"""The one convention of boxes, and the ways to write one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, RejectedInput
from nightcrew.tools.boxes import Box, box_of, parse_box


def test_box_is_zero_based_and_half_open_with_x_first() -> None:
    region = parse_box("1 3 0 2").within((20, 30))
    image = np.arange(600).reshape(20, 30)
    assert image[region.slices()].tolist() == [[1, 2], [31, 32]]
    assert region.label == "[2:3,1:2]"


def test_readme_box_holds_500_by_300_pixels() -> None:
    assert parse_box("600 1100 400 700").within((1000, 1500)).shape == (300, 500)


@pytest.mark.parametrize(
    "text", ["600 1100 400 700", "1100 600 700 400", "600,1100,400,700", " 600, 1100 ,400 700 ", "[601:1100,401:700]", "[1100:601,401:700]"]
)
def test_all_ways_to_write_the_same_box(text: str) -> None:
    assert parse_box(text) == Box(600, 1100, 400, 700)


def test_fits_section_with_whole_axis_single_pixel_and_planes() -> None:
    assert parse_box("[*,5]").within((10, 20)).slices() == (slice(4, 5), slice(0, 20))
    assert parse_box("[1:2,3:4,5:6]").within((9, 9, 9)).slices() == (slice(4, 6), slice(2, 4), slice(0, 2))


def test_box_of_two_axes_on_a_cube_keeps_all_planes() -> None:
    assert parse_box("1 3 0 2").within((4, 10, 10)).shape == (4, 2, 2)


def test_label_is_clipped_to_the_image() -> None:
    assert parse_box("1 30 0 20").within((20, 10)).label == "[2:10,1:20]"


@pytest.mark.parametrize("text", ["5 5 0 10", "0 10 7 7", "-1 5 0 5", "1 2 3", "a b c d", "[0:5,1:5]", "[1:5]", "[1:5,a]", "1.5 2 3 4", ""])
def test_nonsense_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(Refused, match=r"\w+ \w+ \w+"):
        parse_box(text)


def test_box_outside_the_image_is_rejected_with_both() -> None:
    with pytest.raises(RejectedInput, match=r"\[31:40,1:5\] lies outside the image of 30 x 20"):
        box_of([30, 40, 0, 5]).within((20, 30))


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.integers(0, 40)] * 4).filter(lambda b: b[0] != b[1] and b[2] != b[3]))
def test_label_read_back_as_a_section_is_the_same_region(bounds: tuple[int, int, int, int]) -> None:
    shape = (25, 33)
    try:
        region = box_of(bounds).within(shape)
    except RejectedInput:
        return
    assert parse_box(region.label).within(shape) == region
