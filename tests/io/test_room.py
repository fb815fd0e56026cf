"""Room on a disk, in words that a person can act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.io.room import Room, room_of, shown_bytes


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_600_000, "1.6 MB"), (2_000_000_000, "2.0 GB"), (4_500_000_000_000, "4.5 TB")],
)
def test_bytes_are_shown_in_the_unit_that_tells_most(count: int, shown: str) -> None:
    assert shown_bytes(count) == shown


def test_room_names_its_place_and_what_is_kept_free(tmp_path: Path) -> None:
    room = room_of(tmp_path / "not" / "there", 10)
    assert room.place == tmp_path
    assert room.enough
    full = Room(tmp_path, 1_600_000, 4_000_000)
    assert not full.enough
    assert full.words == f"1.6 MB free at {tmp_path}, the reserve is 4.0 MB"
