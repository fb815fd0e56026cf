"""Gaps in the numbers of names: what a camera counted and nobody saw."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.frames.numbering import LEAST_FILES, absent_numbers


@given(
    first=st.integers(0, 900),
    count=st.integers(20, 200),
    width=st.integers(4, 6),
    before=st.sampled_from([b"/raw/light-", b"/raw/2026-05-16/M57_V_60_", b"/raw/\xff\n'", b"/raw/"]),
    after=st.sampled_from([b".fit", b".fits.fz", b".CR2", b""]),
    data=st.data(),
)
def test_what_is_taken_from_a_series_is_named(first: int, count: int, width: int, before: bytes, after: bytes, data: st.DataObject) -> None:
    names = [before + b"%0*d" % (width, number) + after for number in range(first, first + count)]
    inner = names[1:-1]
    gone = data.draw(st.lists(st.sampled_from(inner), unique=True, max_size=count // 10))
    left = data.draw(st.permutations([name for name in names if name not in gone]))
    assert absent_numbers(left) == sorted(gone)


def numbered(*numbers: int, form: str = "light-%03d.fit") -> list[bytes]:
    return [(form % number).encode() for number in numbers]


def test_two_series_in_one_folder_do_not_fill_each_others_gaps() -> None:
    flats, lights = numbered(*range(1, 21), form="flat-%03d.fit"), numbered(*(n for n in range(1, 31) if n != 12))
    assert absent_numbers([*flats, *lights]) == [b"light-012.fit"]


def test_series_that_share_a_counter_fill_each_others_gaps() -> None:
    lights, focus = numbered(*(n for n in range(1, 61) if n not in (30, 31, 44))), numbered(30, 31, form="focus-%03d.fit")
    assert absent_numbers([*lights, *focus]) == [b"light-044.fit"]
    assert absent_numbers([*lights, *(b"/other/" + name for name in focus)]) == numbered(30, 31, 44)


def test_names_whose_numbers_lie_far_apart_take_no_room() -> None:
    names = [b"/raw/x-0000001.fit", b"/raw/x-9999999.fit", *(b"/raw/y-%07d.fit" % number for number in range(0, 10_000_000, 1_000_000))]
    tracemalloc.start()
    try:
        assert absent_numbers(names) == []
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # bytes, where numbers counted out take a thousand times as many
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "names",
    [
        numbered(*range(1, LEAST_FILES - 1), LEAST_FILES),  # too few to be a series
        numbered(*range(0, 400, 60)),  # exposure times, or every other thing
        numbered(*range(1, 30), *range(60, 90)),  # two series of one name
        numbered(*(n for n in range(213000, 213040) if n != 213017), form="20260516_%06d.fit"),  # times of day
        numbered(*(n for n in range(213000, 213040) if n != 213017), form="2026-05-16T%06d.fit"),
        numbered(*(n for n in range(10, 50) if n != 33), form="2026-05-16T21-30-%02d.fit"),
        numbered(1, 2, 3, 4, 5, 6, 7, 8, 9, 11, form="M%d.fit"),
        numbered(*(n for n in range(20260510, 20260530) if n != 20260517), form="bias_%d.fit"),
        [b"a.fit", b"b.fit", b"", b"/"],
    ],
)
def test_other_digits_are_no_gaps(names: list[bytes]) -> None:
    assert absent_numbers(names) == []


def test_frames_that_only_look_like_times_are_counted() -> None:
    assert absent_numbers(numbered(*(n for n in range(120000, 120040) if n != 120017), form="crew-%06d.fit")) == [b"crew-120017.fit"]
