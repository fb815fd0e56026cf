"""Which lights are held out as changed copies: a function of the set of frames."""

from __future__ import annotations

import itertools
from dataclasses import replace

from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.copies import changed_copies
from tests.support.made_nights import header

ONE, OTHER = "0123456789abcdef", "f0e1d2c3b4a59687"
NEAR = "0123456789abcdee"  # a sign of 64 differs


def frame(number: int, name: str, sketch: str, *, mtime_ns: int = 1, absent: str = "", exposure_s: float = 60.0) -> FrameRow:
    one = replace(header("light", 0.0), exposure_s=exposure_s)
    path, pixels = f"/raw/{name}".encode(), f"{number:016x}{sketch}"
    return FrameRow(number, 1, f"same#{number}", "f" * 64, path, 1, mtime_ns, one, "", "", absent, 0, pixels)


def test_of_copies_that_counts_which_was_changed_first() -> None:
    frames = [frame(1, "a.fit", ONE, mtime_ns=5), frame(2, "b.fit", NEAR, mtime_ns=3), frame(3, "c.fit", OTHER, mtime_ns=9)]
    for order in itertools.permutations(frames):
        held = changed_copies(order)
        assert list(held) == [1]
        assert held[1].startswith("duplicate: a changed copy of b.fit, ")


def test_of_one_time_the_shorter_name_counts() -> None:
    assert list(changed_copies([frame(1, "a-corrected.fit", ONE), frame(2, "z.fit", ONE)])) == [1]


def test_one_that_is_gone_leaves_its_copy_to_count() -> None:
    assert list(changed_copies([frame(1, "a.fit", ONE, absent="gone"), frame(2, "a-corrected.fit", NEAR, mtime_ns=9)])) == [1]


def test_other_noise_a_fast_series_and_frames_without_a_sketch_are_no_copies() -> None:
    assert changed_copies([frame(1, "a.fit", ONE), frame(2, "b.fit", OTHER)]) == {}
    assert changed_copies([frame(1, "a.fit", ONE, exposure_s=0.5), frame(2, "b.fit", NEAR, exposure_s=0.5)]) == {}
    assert changed_copies([frame(1, "a.fit", "-"), frame(2, "b.fit", "-"), frame(3, "c.fit", ""), frame(4, "d.fit", "")]) == {}


def test_only_lights_of_one_camera_and_start_are_compared() -> None:
    elsewhere = frame(2, "b.fit", ONE)._replace(identity="another")
    assert changed_copies([frame(1, "a.fit", ONE), elsewhere]) == {}


def test_of_a_clock_that_stands_still_nothing_is_held_out() -> None:
    assert changed_copies([frame(number, f"{number}.fit", ONE) for number in range(5)]) == {}
