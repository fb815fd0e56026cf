"""Beam maps of both kinds, and those that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.mkid import flags as f
from nightcrew.mkid.beam_map import BeamMap, parse_beam_map, read_beam_map

GOOD = "10000 0 0 0\n10001 1 1 0\n10002 2 0 1\n20003 4 1 1\n10004 0 0 2\n20005 3 1 2\n"


def parse(text: str, **options: Any) -> BeamMap:
    return parse_beam_map(text.encode(), "map.txt", **options)


def test_rows_are_placed_y_first() -> None:
    found = parse(GOOD)
    assert found.shape == (3, 2)
    assert found.resid.tolist() == [[10000, 10001], [10002, 20003], [10004, 20005]]
    assert found.pixel_of(20003) == 3
    assert (found.unplaced, found.shared) == (0, 0)


@pytest.mark.parametrize(
    ("enumeration", "names"),
    [
        ("current", ["good", "beammap.noDacTone", "beammap.failed", "beammap.xFailed", "good", "beammap.yFailed"]),
        ("older", ["good", "beammap.failed", "beammap.yFailed", "beammap.wrongFeedline", "good", "beammap.xFailed"]),
    ],
)
def test_both_enumerations_are_flags_by_name(enumeration: str, names: list[str]) -> None:
    assert [f.describe(value) for value in parse(GOOD, enumeration=enumeration).flag.ravel().tolist()] == names


def test_float_coordinates_are_the_nearest_pixel() -> None:
    floats = "".join(f"{a} {b} {float(c) + 0.3:.3f} {float(d) - 0.2:.2e}\n" for a, b, c, d in (line.split() for line in GOOD.splitlines()))
    assert np.array_equal(parse(floats).resid, parse(GOOD).resid)


def test_resonators_without_a_place_and_shared_places() -> None:
    found = parse("1 0 0 0\n2 2 1 0\n3 0 1 0\n4 0 -7 2\n5 2 nan nan\n6 0 1 1\n", shape=(2, 2))
    assert found.resid.tolist() == [[1, 3], [0, 6]]  # the good one has the place
    assert f.describe(int(found.flag[0, 1])) == "beammap.duplicatePixel"
    assert f.describe(int(found.flag[1, 0])) == "beammap.noResonator"
    assert (found.unplaced, found.shared) == (2, 1)


def test_sizes_of_known_arrays() -> None:
    lines = "".join(f"{i} 2 -1 -1\n" for i in range(20_440))
    assert parse(lines).shape == (146, 140)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no resonator"),
        ("# only a comment\n\n", "no resonator"),
        ("1 0 0 0\n2 0 x 0\n", "line 2 is not"),
        ("1 0 0\n", "line 1 is not"),
        ("1.5 0 0 0\n", "1.5 is no resID"),
        ("-1 0 0 0\n", "-1 is no resID"),
        ("1 8 0 0\n", "8 is no flag"),
        ("1 0.5 0 0\n", "0.5 is no flag"),
        ("1 0 0 0\n2 0 5 5\n", "no whole array"),
        ("1 0 inf nan\n", "no whole array"),
    ],
)
def test_what_is_no_beam_map_is_rejected_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(RejectedInput, match=reason):
        parse(text)


def test_older_maps_have_fewer_flags() -> None:
    with pytest.raises(RejectedInput, match="5 is no flag"):
        parse("1 5 0 0\n", enumeration="older")


def test_files_that_are_not_text_absent_or_of_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RejectedInput, match="not text"):
        read_beam_map(tmp_path / "map.txt")
    with pytest.raises(TransientError, match="cannot be read"):
        read_beam_map(tmp_path / "absent.txt")
    with pytest.raises(Refused, match="current or older"):
        parse(GOOD, enumeration="newest")
    with pytest.raises(RejectedInput, match="cannot be read out"):
        parse(GOOD, shape=(2000, 2))
    with pytest.raises(Refused, match="no resonator 77"):
        parse(GOOD).pixel_of(77)


def test_flags_of_files_are_decoded_by_name() -> None:
    stored = ["beammap.failed", "beammap.noDacTone"]  # another order than ours
    ours = f.named(np.array([0, 1, 2, 3], dtype=np.uint32), stored)
    assert [f.describe(value) for value in ours.tolist()] == [
        "good",
        "beammap.failed",
        "beammap.noDacTone",
        "beammap.noDacTone, beammap.failed",
    ]
    with pytest.raises(RejectedInput, match="no flag 'beammap"):
        f.named(np.array([1], dtype=np.uint32), ["beammap.warm"])


def test_a_resonator_with_two_places_is_told_and_belongs_to_neither() -> None:
    found = parse("1 0 0 0\n2 0 1 0\n1 0 0 1\n3 0 1 1\n")
    assert found.doubled == (1,)
    assert [f.describe(value) for value in found.flag.ravel().tolist()] == ["beammap.double", "good", "beammap.double", "good"]
    assert found.sentences() == ["map.txt: 1 resonators have more than one place (1); these pixels are flagged beammap.double"]
    assert parse("0 0 0 0\n0 0 1 0\n2 0 0 1\n3 0 1 1\n").doubled == ()  # 0 is no resonator
