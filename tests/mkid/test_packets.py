"""Every photon that was sent comes back, however the stream is torn; every word is counted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.packets import Photons, StreamParser
from tests.mkid.streams import SECOND_US, make, rows_of

SECOND = clock.year_start_us(2021) // SECOND_US + 200 * 86400
START_US = SECOND * SECOND_US
SEEDS = st.integers(0, 2**32)


def parse(parser: StreamParser, words: w.Words, second: int = SECOND, pieces: list[int] | None = None) -> Photons:
    places = [0, *sorted(p % (words.size + 1) for p in pieces or []), words.size]
    parts = [parser.feed(words[a:b].astype(">u8"), second) for a, b in itertools.pairwise(places)]
    photons = Photons.joined([*parts, parser.finish()])
    assert parser.tally.words == words.size == parser.tally.accounted()
    return photons


@given(
    seed=SEEDS, n_photons=st.integers(0, 2000), pieces=st.lists(st.integers(0, 10**6), max_size=12), loss=st.sampled_from([0.0, 0.05, 0.5])
)
@settings(max_examples=60, deadline=None)
def test_every_photon_comes_back_and_every_loss_is_counted(seed: int, n_photons: int, pieces: list[int], loss: float) -> None:
    made = make(seed, start_us=START_US, n_photons=n_photons, loss=loss)
    parser = StreamParser(made.shape)
    photons = parse(parser, made.stretch.words, pieces=pieces)
    assert np.array_equal(rows_of(photons), made.rows())
    assert parser.tally.lost_frames == dict(zip(made.boards, made.stretch.lost.tolist(), strict=True))
    assert parser.tally.frames == made.stretch.frame_at.size
    assert parser.tally.frames_cut == parser.tally.orphan == parser.tally.unknown == 0


@given(seed=SEEDS, window=st.tuples(st.integers(-100, 21_000), st.integers(-100, 21_000)))
@settings(max_examples=40, deadline=None)
def test_windows_are_half_open_and_exact(seed: int, window: tuple[int, int]) -> None:
    made = make(seed, start_us=START_US)
    start_us, stop_us = START_US + min(window), START_US + max(window)
    parser = StreamParser(made.shape, start_us, stop_us)
    photons = parse(parser, made.stretch.words)
    inside = (made.events.time_us >= start_us) & (made.events.time_us < stop_us)
    assert np.array_equal(rows_of(photons), made.rows(inside))
    assert parser.tally.outside == int(np.count_nonzero(~inside))


@given(seed=SEEDS, day=st.integers(0, 380), wraps=st.booleans())
@settings(max_examples=40, deadline=None)
def test_new_year_and_wraps(seed: int, day: int, wraps: bool) -> None:
    # a readout started in 2020 that runs on through the New Year
    epoch_us = clock.year_start_us(2020)
    start_us = epoch_us + day * 86400 * SECOND_US + 5 * SECOND_US
    made = make(seed, start_us=start_us, epoch_us=epoch_us, wraps=wraps, n_photons=300)
    photons = parse(StreamParser(made.shape), made.stretch.words, second=start_us // SECOND_US)
    assert np.array_equal(rows_of(photons), made.rows())


@pytest.mark.parametrize("offset_us", [-10_000, -500, 0])
def test_the_very_moment_of_new_year(offset_us: int) -> None:
    new_year_us = clock.year_start_us(2022)
    for epoch_us in (clock.year_start_us(2021), new_year_us):
        start_us = new_year_us + (offset_us if epoch_us < new_year_us else 0)
        made = make(3, start_us=start_us, epoch_us=epoch_us)
        for second in (new_year_us // SECOND_US - 1, new_year_us // SECOND_US):  # whichever file it was written to
            photons = parse(StreamParser(made.shape), made.stretch.words, second=second)
            assert np.array_equal(rows_of(photons), made.rows())


def test_the_very_moment_of_a_wrap() -> None:
    epoch_us = clock.year_start_us(2020)
    made = make(4, start_us=epoch_us + 3 * clock.WRAP_US - 10_000, epoch_us=epoch_us, wraps=True)
    photons = parse(StreamParser(made.shape), made.stretch.words, second=(made.start_us - 2 * SECOND_US) // SECOND_US)
    assert np.array_equal(rows_of(photons), made.rows())


def test_pixel_zero_is_a_pixel() -> None:
    tick = (START_US - clock.year_start_us(2021)) // w.TICK_US
    stream = np.array(
        [w.header_words(1, 0, tick), w.photon_words(0, 0, 0, 0, 0), w.photon_words(0, 0, 9, -5, 3), w.FILLER], dtype=np.uint64
    )
    photons = parse(StreamParser((2, 2)), stream)
    assert photons.pixel.tolist() == [0, 0]
    assert photons.time_us.tolist() == [START_US, START_US + 9]
    assert (photons.phase.tolist(), photons.baseline.tolist()) == ([0, -5], [0, 3])


def test_words_that_are_no_photons_are_counted() -> None:
    tick = (START_US - clock.year_start_us(2021)) // w.TICK_US
    stream = np.array(
        [
            w.photon_words(1, 1, 1, -1, 1),  # before any header
            w.header_words(1, 0, tick),
            w.photon_words(767, 1023, 1, -1, 1),
            w.photon_words(4, 1, 1, -1, 1),  # columns are 0..3
            w.photon_words(1, 5, 1, -1, 1),  # rows are 0..4
            w.photon_words(1, 1, 500, -1, 1),  # the tick has 500 us
            w.photon_words(1, 1, 499, -1, 1),
            w.FILLER,
            w.photon_words(1, 1, 1, -1, 1),  # after the frame's end
            w.header_words(1, 1, tick + 2000 * 3600),  # an hour off
            w.photon_words(1, 1, 1, -1, 1),
            w.header_words(1, 2, tick + 1),
            w.photon_words(1, 1, 1, -1, 1),
            w.header_words(1, 2, tick + 1),  # the same frame again
            w.photon_words(1, 1, 1, -1, 1),
        ],
        dtype=np.uint64,
    )
    parser = StreamParser((5, 4))
    assert len(parse(parser, stream)) == 2
    tally = parser.tally
    assert (tally.orphan, tally.unmapped, tally.unknown, tally.filler, tally.misdated, tally.repeated) == (2, 1, 3, 1, 1, 1)
    assert (tally.frames, tally.frames_misdated, tally.frames_repeated, tally.frames_cut) == (4, 1, 1, 4)
    assert tally.lost_frames == {1: 1}  # the misdated frame was not used


def test_frames_longer_than_a_frame_and_zero_fill() -> None:
    tick = (START_US - clock.year_start_us(2021)) // w.TICK_US
    photon = w.photon_words(1, 1, 1, -1, 1)
    stream = np.array(
        [w.header_words(1, 0, tick), *[photon] * 130, w.header_words(1, 1, tick), photon, *[np.uint64(0)] * 50], dtype=np.uint64
    )
    for pieces in ([], [60], [120], [131, 140]):
        parser = StreamParser((5, 4))
        assert len(parse(parser, stream, pieces=pieces)) == 101
        assert (parser.tally.orphan, parser.tally.zero) == (30, 50)


def test_counter_wraps_late_frames_and_long_silence() -> None:
    tick = (START_US - clock.year_start_us(2021)) // w.TICK_US

    def lost(frames: list[tuple[int, int]]) -> tuple[int, int]:
        parser = StreamParser((5, 4))
        parse(parser, np.array([w.header_words(3, number, tick + at) for number, at in frames], dtype=np.uint64))
        return parser.tally.lost_frames[3], parser.tally.frames_late

    assert lost([(4094, 0), (4095, 1), (0, 2), (1, 3)]) == (0, 0)
    assert lost([(4094, 0), (1, 3)]) == (2, 0)
    assert lost([(10, 0), (12, 0), (11, 0), (13, 1)]) == (0, 1)  # overtaken, not lost
    assert lost([(10, 0), (4000, 4000)]) == (3989, 0)
    assert lost([(10, 0), (10, 4096)]) == (4095, 0)


def test_random_words_are_no_photons() -> None:
    rng = np.random.default_rng(5)
    parser = StreamParser((140, 146))
    parse(parser, rng.integers(0, 2**64, 50_000, dtype=np.uint64))
    assert parser.tally.photons == 0


@given(
    words=st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**63 - 1, 0xFF << 56]), max_size=300),
    pieces=st.lists(st.integers(0, 300), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_any_words_at_all_add_up(words: list[int], pieces: list[int]) -> None:
    parse(StreamParser((140, 146)), np.array(words, dtype=np.uint64), pieces=pieces)


def test_arrays_that_cannot_be_addressed_are_refused() -> None:
    for shape in ((0, 4), (4, 1021), (1024, 4)):
        with pytest.raises(Refused, match="cannot be read out"):
            StreamParser(shape)
