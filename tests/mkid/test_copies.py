"""Copies of frames count once, however far from the first; a copied file is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.frame_memory import FrameMemory
from nightcrew.mkid.packets import Photons, StreamParser
from nightcrew.mkid.solution_grades import table_grade
from nightcrew.mkid.stream import PhotonStream
from nightcrew.simulate.mkid_frames import Events, Readout
from tests.mkid.streams import SECOND_US, Made, make, rows_of, write

SECOND = clock.year_start_us(2021) // SECOND_US + 200 * 86400
START_US = SECOND * SECOND_US
TICK_US = w.TICK_US


def test_copies_are_seen_however_many_frames_lie_between() -> None:
    """More than a hundred thousand frames, of which the first hundred come once more at the end."""
    made = make(3, start_us=START_US, span_us=28_000_000, n_photons=6000, boards=(3, 4))
    words, starts = made.stretch.words, made.stretch.frame_at
    assert starts.size > 1 << 16
    stream = np.concatenate([words, words[: starts[100]]])
    parser = StreamParser(made.shape)
    found = [parser.feed(part.astype(">u8"), SECOND + 14) for part in np.array_split(stream, 20)]
    rows = np.concatenate([rows_of(part) for part in (*found, parser.finish())])
    assert np.array_equal(rows[np.lexsort(rows.T[::-1])], made.rows())
    assert parser.tally.frames_repeated == 100
    assert parser.tally.lost == 0


@pytest.mark.parametrize(("copied", "name", "missing"), [(0, 1, 1), (0, 3, 3), (2, 1, 1)])
def test_a_file_under_the_name_of_another_second_is_told_and_counts_once(copied: int, name: int, missing: int, tmp_path: Path) -> None:
    made = make(8, start_us=START_US, span_us=4_000_000, n_photons=20_000, boards=(3, 4))
    files = write(tmp_path, made)
    files[SECOND + name].write_bytes(files[SECOND + copied].read_bytes())
    stream = PhotonStream(files, made.shape, made.start_us, made.stop_us)
    photons = Photons.joined(list(stream.blocks()))
    there = made.events.time_us // SECOND_US != SECOND + missing
    assert np.array_equal(rows_of(photons), made.rows(there))
    account = stream.account
    assert account.tally.repeated == np.count_nonzero(made.events.time_us // SECOND_US == SECOND + copied)
    first, second = sorted((SECOND + copied, SECOND + name))
    assert f"{first}.bin and {second}.bin hold the same bytes, which count once: the other second is missing" in account.sentences()
    (gap,) = account.gaps_us or []
    assert gap == pytest.approx(((SECOND + missing) * SECOND_US, (SECOND + missing + 1) * SECOND_US), abs=TICK_US)
    assert table_grade(account.plain())[0] == "C"


def crowded(seconds: int) -> Made:
    """Light in the first and the last two milliseconds of each second only, of 60 photons in each frame there."""
    rng = np.random.default_rng(1)
    tick = rng.integers(-4, 4, 8 * 60 * seconds)
    time_us = START_US + np.repeat(np.arange(seconds) + 0.5, 480).astype(np.int64) * SECOND_US + SECOND_US + tick * TICK_US
    time_us += rng.integers(0, TICK_US, time_us.size)
    pixel = rng.integers(0, 20, time_us.size)
    angles = rng.integers(-1000, 1000, (2, time_us.size))
    events = Events(time_us, np.zeros_like(pixel), pixel % 4, pixel // 4, angles[0], angles[1])
    stop_us = START_US + (seconds + 1) * SECOND_US
    stretch = Readout([3], clock.year_start_us(2021)).stretch(events, START_US, stop_us)
    return Made(events, stretch, (5, 4), (3,), START_US, stop_us)


@pytest.mark.parametrize("tear", [-40, 40])
@pytest.mark.parametrize(("copied", "name", "missing"), [(1, 2, 2), (2, 1, 1)])
def test_words_of_a_torn_frame_do_not_continue_another_one(copied: int, name: int, missing: int, tear: int, tmp_path: Path) -> None:
    """A copied file begins with the end of a frame that began a second before, or after, the one that waits for its end."""
    made = crowded(4)
    files = write(tmp_path, made, tear=tear)
    files[SECOND + name].write_bytes(files[SECOND + copied].read_bytes())
    stream = PhotonStream(files, made.shape, made.start_us, made.stop_us)
    found = set(map(tuple, rows_of(Photons.joined(list(stream.blocks()))).tolist()))
    every = set(map(tuple, made.rows().tolist()))
    there = made.rows(made.events.time_us // SECOND_US != SECOND + missing)
    assert found <= every
    assert len(found) >= len(there) - 2 * 100  # two frames have lost an end


def test_a_copy_behind_a_missing_second_is_one(tmp_path: Path) -> None:
    made = make(8, start_us=START_US, span_us=4_000_000, n_photons=20_000, boards=(3, 4))
    files = write(tmp_path, made, without=[SECOND + 1])
    files[SECOND + 2].write_bytes(files[SECOND].read_bytes())
    stream = PhotonStream(files, made.shape, made.start_us, made.stop_us)
    photons = Photons.joined(list(stream.blocks()))
    there = ~np.isin(made.events.time_us // SECOND_US - SECOND, [1, 2])
    assert np.array_equal(rows_of(photons), made.rows(there))


def test_what_is_forgotten_for_want_of_room_is_not_taken_for_new() -> None:
    memory = FrameMemory(most_frames=20_000)
    times = np.arange(40_000, dtype=np.int64) * TICK_US
    headers = w.header_words(1, np.arange(40_000), np.arange(40_000))
    for part in range(40):
        memory.add(headers[part * 1000 : part * 1000 + 1000], times[part * 1000 : part * 1000 + 1000])
    late = w.header_words(2, 7, [100, 39_990])  # never came
    assert memory.copies(late, np.array([100, 39_990]) * TICK_US).tolist() == [True, False]
    assert memory.copies(headers[[5, 39_990]], times[[5, 39_990]]).all()
    memory.forget(39_995 * TICK_US)
    assert memory.copies(headers[39_996:], times[39_996:]).all()
