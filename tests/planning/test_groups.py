"""Groups: functions of the set of frames, never of its order."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.groups import (
    by_key,
    exposure_text,
    in_order,
    median_temperature,
    mid_time,
    plain,
    quiet_since,
    split_at_gaps,
    temperature_text,
)
from nightcrew.planning.lights import field_names
from tests.support.made_nights import header


def frame(number: int, **values: object) -> FrameRow:
    one = header("light", float(number), **values)  # type: ignore[arg-type]  # any header value
    return FrameRow(
        id=number,
        scope_id=1,
        identity=str(number),
        sha256=f"{number:064d}",
        path=b"",
        size=0,
        mtime_ns=0,
        header=one,
        header_hash=str(number),
        arrived_at=f"2026-03-15T00:00:{number % 60:02d}.000",
    )


@given(st.lists(st.floats(-60, 30), min_size=1, max_size=30), st.floats(0.1, 5), st.randoms())
def test_temperature_clusters_are_a_function_of_the_set(values: list[float], gap: float, shuffle: random.Random) -> None:
    clusters = split_at_gaps(values, lambda v: v, gap)
    again = list(values)
    shuffle.shuffle(again)
    assert split_at_gaps(again, lambda v: v, gap) == clusters
    assert sorted(v for cluster in clusters for v in cluster) == sorted(values)
    for cluster in clusters:
        assert all(b - a <= gap * (1 + 1e-6) for a, b in itertools.pairwise(cluster))
    for before, after in itertools.pairwise(clusters):
        assert after[0] - before[-1] > gap


def test_a_gap_as_wide_as_allowed_splits_nothing() -> None:
    tenths = [-20.9, -19.9, -18.9, -17.9, -16.9, 0.1, 1.1, 2.1]  # their differences are not exactly 1.0 in floating point
    assert [len(cluster) for cluster in split_at_gaps(tenths, lambda v: v, 1.0)] == [5, 3]
    assert split_at_gaps([0.7, 0.8], lambda v: v, 0.1) == [[0.7, 0.8]]  # 0.8 - 0.7 is a little more than 0.1


def test_what_has_no_value_is_a_cluster_of_its_own() -> None:
    assert split_at_gaps([None, 1.0, None, 5.0], lambda v: v, 1.0) == [[1.0], [5.0], [None, None]]


def test_relative_gaps_grow_with_the_value() -> None:
    assert split_at_gaps([60.0, 60.05, 0.001, 0.0010005, 0.0], lambda v: v, 0.001, relative=True) == [
        [0.0],
        [0.001, 0.0010005],
        [60.0, 60.05],
    ]


def test_groups_come_in_the_order_of_their_keys() -> None:
    assert by_key("bab", lambda c: c) == [["a"], ["b", "b"]]


def test_medians_and_times_of_a_set() -> None:
    frames = [frame(n, temperature_c=-20.0 + n / 100) for n in (3, 1, 2)]
    assert median_temperature(frames) == -19.98
    assert median_temperature([frame(n, temperature_c=value) for n, value in enumerate((-20.0, -19.9, -15.0))]) == -19.9
    assert mid_time(frames) == frames[2].header.time_utc
    assert mid_time(frames[:2]) == frames[1].header.time_utc  # a frame's own: the lower of two
    assert [f.id for f in in_order(frames)] == [1, 2, 3]
    assert quiet_since(frames, 60.0) == "2026-03-15T00:01:03.000"
    unknown = [f._replace(header=replace(f.header, temperature_c=None, time_utc="")) for f in frames]
    assert (median_temperature(unknown), mid_time(unknown)) == (None, "")


@pytest.mark.parametrize(
    ("text", "expected"), [("H alpha", "H-alpha"), ("../../etc", "etc"), ("B\n", "B"), ("Hα", "H"), ("x" * 60, "x" * 40), ("+1.5", "+1.5")]
)
def test_text_in_file_names_is_harmless(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_texts_for_people() -> None:
    assert [exposure_text(v) for v in (60.0, 3.2e-05, None)] == ["60s", "3.2e-05s", "unknown-exposure"]
    assert [temperature_text(v) for v in (-18.84, 0.01, -0.01, None)] == ["-18.8C", "0.0C", "0.0C", "unknown-temperature"]


def pointed(number: int, ra_deg: float, dec_deg: float) -> FrameRow:
    return frame(number, target="", ra_deg=ra_deg, dec_deg=dec_deg)


def test_a_target_names_the_field() -> None:
    assert field_names([frame(1, target="M 31")]) == {1: "M 31"}


def test_without_target_and_pointing_a_field_has_no_name() -> None:
    assert field_names([frame(1, target="")]) == {1: ""}


def test_dithered_pointings_are_one_field_and_others_are_not() -> None:
    names = field_names([pointed(1, 10.0, 30.0), pointed(2, 10.1, 30.1), pointed(3, 10.0, 30.5), pointed(4, 10.6, 30.0)])
    assert names[1] == names[2] == "field-10.00+30.00"
    assert len(set(names.values())) == 3


@pytest.mark.parametrize("dec_deg", [30.499, 30.5, 89.5, -0.001, -89.9])
def test_a_field_on_the_edge_of_a_whole_degree_is_one(dec_deg: float) -> None:
    assert len(set(field_names([pointed(1, 200.0, dec_deg), pointed(2, 200.0, dec_deg + 0.002)]).values())) == 1


def test_right_ascension_goes_round() -> None:
    names = field_names([pointed(1, 359.95, 0.0), pointed(2, 0.05, 0.0), pointed(3, 180.0, 0.0)])
    assert names[1] == names[2] != names[3]


@pytest.mark.parametrize(("apart_deg", "fields"), [(0.3, 1), (0.5, 2)])
def test_right_ascension_counts_on_the_sky(apart_deg: float, fields: int) -> None:
    """At a declination of 60 degrees half of it."""
    names = field_names([pointed(1, 10.0, 60.0), pointed(2, 10.0 + apart_deg, 60.0)])
    assert len(set(names.values())) == fields


def test_fields_apart_in_one_coordinate_only_by_a_third_are_apart() -> None:
    names = field_names([pointed(1, 10.0, 0.0), pointed(2, 50.0, 0.15), pointed(3, 10.0, 0.3)])
    assert len(set(names.values())) == 3


@given(st.lists(st.tuples(st.floats(0, 359.99), st.floats(-90, 90)), min_size=1, max_size=12), st.randoms())
def test_field_names_are_a_function_of_the_set(places: list[tuple[float, float]], shuffle: random.Random) -> None:
    frames = [pointed(n, ra, dec) for n, (ra, dec) in enumerate(places)]
    names = field_names(frames)
    shuffle.shuffle(frames)
    assert field_names(frames) == names
