"""Silence of the readout is measured from its frames; copies of frames count once; runs of seconds lose nothing at their ends."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import FinalExistsError
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.calibrated import open_calibrated
from nightcrew.mkid.convert import Converted, convert_window
from nightcrew.mkid.gaps import FrameTimes
from nightcrew.mkid.jobs import jobs_of_runs, run_jobs
from nightcrew.mkid.packets import StreamParser
from nightcrew.mkid.phase_histogram import fill
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.seconds import sort_out
from nightcrew.mkid.solution_grades import table_grade
from nightcrew.mkid.stream import Account
from nightcrew.mkid.table_info import describe
from tests.mkid.made_tables import beam_map
from tests.mkid.streams import SECOND_US, make, rows_of, write

SECOND = clock.year_start_us(2021) // SECOND_US + 200 * 86400
START_US = SECOND * SECOND_US
SEEDS = st.integers(0, 2**32)


@given(
    st.lists(st.tuples(st.integers(0, 8000), st.integers(200, 3000)), max_size=4),
    st.lists(st.integers(0, 10_000), max_size=5),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_gaps_are_where_there_was_no_frame(silent: list[tuple[int, int]], pieces: list[int], seed: int) -> None:
    heard = np.ones(10_000, dtype=np.bool_)  # ticks of five seconds
    for start, length in silent:
        heard[start : start + length] = False
    ticks = np.flatnonzero(heard)
    times = START_US + np.repeat(ticks, 2) * 500
    times[::7] += np.random.default_rng(seed).integers(-20, 20)  # boards are not quite in order
    found = FrameTimes(START_US, START_US + 5_000_000)
    for part in np.split(times, sorted(place % (times.size + 1) for place in pieces)):
        found.add(part)
    edges = np.flatnonzero(np.diff(np.concatenate([[1], heard, [1]]).astype(np.int8))).reshape(-1, 2) * 500 + START_US
    gaps = found.gaps()
    if ticks.size < 2000 and gaps is None:
        return  # next to nothing was heard
    assert gaps is not None
    assert len(gaps) <= len(edges)
    for low, high in edges.tolist():
        near = [abs(low - a) + abs(high - b) for a, b in gaps if a < high and low < b]
        assert near == [] if high - low < 50_000 else min(near, default=10**9) <= 100 or high - low < 100_000


def test_a_readout_that_sends_few_frames_tells_nothing() -> None:
    found = FrameTimes(START_US, START_US + 5_000_000)
    found.add(START_US + np.arange(0, 5_000_000, 40_000))
    assert found.gaps() is None


def without_board(words: NDArray[np.uint64], starts: list[int], board: int, at: tuple[int, int]) -> NDArray[np.uint64]:
    """The words of a stream without the frames of one board between two ticks since its begin."""
    frames = [words[a:b] for a, b in itertools.pairwise([*starts, words.size])]
    heads = words[starts]
    ticks = w.ticks(heads).astype(np.int64)
    ticks -= ticks.min()
    gone = (w.boards(heads) == board) & (ticks >= at[0]) & (ticks < at[1])
    return np.concatenate([frame for frame, dropped in zip(frames, gone.tolist(), strict=True) if not dropped])


@pytest.mark.parametrize("at", [(2000, 6096), (2000, 10_192), (2000, 5000), (0, 4096), (7904, 12_000)])
def test_a_board_that_falls_silent_is_told_and_counted_by_time(at: tuple[int, int]) -> None:
    """A counter that went round says that nothing was lost: the frames' own times say how often it did."""
    made = make(2, start_us=START_US, span_us=6_000_000, n_photons=3000, boards=(3, 4))
    kept = without_board(made.stretch.words, made.stretch.frame_at.tolist(), 4, at)
    dropped = made.stretch.frame_at.size - int((kept >= w.FIRST_HEADER).sum())
    assert dropped >= at[1] - at[0]
    parser = StreamParser(made.shape, made.start_us, made.stop_us)
    parser.feed(kept.astype(">u8"), SECOND + 3)
    parser.finish()
    gaps = parser.frame_times.gaps()
    assert gaps == []
    found = parser.by_board(gaps)
    assert parser.tally.lost_frames[3] == 0
    assert parser.tally.lost_frames[4] == pytest.approx(dropped, rel=0.02)
    ((start_us, stop_us),) = found[4].silences_us
    assert (start_us - START_US, stop_us - START_US) == pytest.approx((at[0] * 500, at[1] * 500), abs=500)
    assert found[3].silences_us == ()
    assert found[4].share == pytest.approx((at[1] - at[0]) / 12_000, rel=0.05)
    account = Account(parser.tally, gaps_us=gaps, boards=found, window_us=(made.start_us, made.stop_us))
    assert found[4].share_heard < 0.001
    assert any("board 4 was silent for" in told and "no exposure of its pixels" in told for told in account.sentences())
    assert not any("are low by" in told for told in account.sentences())
    assert table_grade(account.plain())[0] == ("D" if at[1] - at[0] > 6000 else "C")


def test_silence_of_all_boards_counts_against_none() -> None:
    made = make(2, start_us=START_US, span_us=6_000_000, n_photons=3000, boards=(3, 4))
    kept = without_board(made.stretch.words, made.stretch.frame_at.tolist(), 4, (3000, 7096))
    starts = np.flatnonzero(kept >= w.FIRST_HEADER).tolist()
    parser = StreamParser(made.shape, made.start_us, made.stop_us)
    parser.feed(without_board(kept, starts, 3, (3000, 7096)).astype(">u8"), SECOND + 3)
    parser.finish()
    gaps = parser.frame_times.gaps()
    assert gaps is not None
    assert len(gaps) == 1
    found = parser.by_board(gaps)
    assert parser.tally.lost >= 2 * 4096
    assert [(one.silences_us, one.share < 0.01) for one in found.values()] == [((), True)] * 2


def converted(folder: Path, *, lag_us: int, without: tuple[int, ...] = ()) -> Converted:
    made = make(1, start_us=START_US, span_us=5_000_000, n_photons=6000, boards=(3, 4))
    files = write(folder, made, lag_us=lag_us, without=[SECOND + second for second in without])
    return convert_window(files, beam_map((5, 4)), START_US, made.stop_us, folder / "t.h5")


@pytest.mark.parametrize("lag_us", [0, 130_000, -250_000])
def test_a_missing_second_is_taken_off_where_it_was(lag_us: int, tmp_path: Path) -> None:
    made = converted(tmp_path, lag_us=lag_us, without=(2,))
    assert made.account.missing_seconds == [SECOND + 2]
    assert any("no frame came for 1.00" in sentence for sentence in made.account.sentences())
    with PhotonTable(tmp_path / "t.h5") as table:
        ((start_us, stop_us),) = table.lost.tolist()
        assert start_us == pytest.approx(START_US + 2_000_000 + lag_us, abs=500)
        assert stop_us == pytest.approx(START_US + 3_000_000 + lag_us, abs=500)
        assert table.live_s == describe(table)["seen_s"] == pytest.approx(4.0, abs=2e-3)
        assert fill(table, within_us=(2_000_000, 3_000_000)).duration_s == pytest.approx(abs(lag_us) / 1e6, abs=2e-3)
    with open_calibrated(tmp_path / "t.h5", []) as opened:
        assert opened.exposure_s()[0, 0] == pytest.approx(4.0, abs=2e-3)
        assert opened.exposure_s(0, 2_200_000)[0, 0] == pytest.approx(2 + max(lag_us, min(lag_us, 0)) / 1e6, abs=2e-3)


def test_the_last_words_that_never_came_are_no_exposure(tmp_path: Path) -> None:
    made = converted(tmp_path, lag_us=-250_000, without=(5,))  # what was written late would be in the file after the last second
    assert made.account.missing_seconds == []
    assert made.account.tail_missing
    with PhotonTable(tmp_path / "t.h5") as table:
        assert table.live_s == pytest.approx(4.75, abs=2e-3)


@pytest.mark.parametrize("lag_us", [0, 130_000, -250_000])
def test_a_run_without_a_log_loses_nothing_at_its_ends(lag_us: int, tmp_path: Path) -> None:
    made = make(1, start_us=START_US + 600_000, span_us=2_500_000, n_photons=6000, boards=(3, 4))
    listing = sort_out(write(tmp_path, made, lag_us=lag_us).values())
    ((job, done),) = run_jobs(jobs_of_runs(listing, tmp_path / "out"), listing, beam_map((5, 4)), "")
    assert isinstance(done, Converted)
    assert (done.start_us, done.stop_us) == (made.start_us, made.stop_us)
    assert done.account.sentences() == []
    with PhotonTable(job.out) as table:
        photons = table.read()
        rows = np.stack([photons.time_us + table.start_us, photons.pixel, photons.phase, photons.baseline], axis=1)
        assert np.array_equal(rows[np.lexsort(rows.T[::-1])], made.rows())
        assert table.live_s == pytest.approx(2.5)


@given(seed=SEEDS, n_copies=st.integers(0, 8), pieces=st.lists(st.integers(0, 10**6), max_size=4), loss=st.sampled_from([0.0, 0.1]))
@settings(max_examples=30, deadline=None)
def test_copies_of_frames_count_once_wherever_they_are(seed: int, n_copies: int, pieces: list[int], loss: float) -> None:
    made = make(seed, start_us=START_US, n_photons=800, loss=loss)
    words, starts = made.stretch.words, [*made.stretch.frame_at.tolist(), made.stretch.words.size]
    frames = [words[a:b] for a, b in itertools.pairwise(starts)]
    rng = np.random.default_rng(seed)
    for _ in range(n_copies):
        one = int(rng.integers(len(frames)))
        length = int(rng.integers(1, 4))
        at = min(one + length + int(rng.integers(0, 60)), len(frames))
        frames[at:at] = frames[one : one + length]
    parser = StreamParser(made.shape)
    stream = np.concatenate(frames)
    places = [0, *sorted(place % (stream.size + 1) for place in pieces), stream.size]
    found = [parser.feed(stream[a:b].astype(">u8"), SECOND) for a, b in itertools.pairwise(places)]
    rows = np.concatenate([rows_of(part) for part in (*found, parser.finish())])
    assert np.array_equal(rows[np.lexsort(rows.T[::-1])], made.rows())
    assert parser.tally.lost_frames == dict(zip(made.boards, made.stretch.lost.tolist(), strict=True))
    assert parser.tally.frames_repeated == len(frames) - (len(starts) - 1)


@pytest.mark.parametrize(("data", "reason"), [(b"text, no stream" * 100, "no frame header"), (b"text, no stream", "no frame in the files")])
def test_a_run_without_a_frame_is_no_table(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / f"{SECOND}.bin"
    path.write_bytes(data)
    listing = sort_out([path])
    ((_, done),) = run_jobs(jobs_of_runs(listing, tmp_path / "out"), listing, beam_map((5, 4)), "")
    assert isinstance(done, RejectedInput)
    assert reason in str(done)


def test_a_table_may_be_built_on_another_file_system(tmp_path: Path) -> None:
    made = make(1, start_us=START_US, span_us=1_000_000, n_photons=2000, boards=(3, 4))
    files = write(tmp_path, made)
    plain = convert_window(files, beam_map((5, 4)), START_US, made.stop_us, tmp_path / "plain" / "t.h5")
    memory = Path("/dev/shm")  # noqa: S108  another file system than that of the test
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        there = convert_window(files, beam_map((5, 4)), START_US, made.stop_us, tmp_path / "there" / "t.h5", work=Path(scratch))
        assert list(Path(scratch).iterdir()) == []
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "t.h5").write_text("another table")
        with pytest.raises(FinalExistsError):
            convert_window(files, beam_map((5, 4)), START_US, made.stop_us, tmp_path / "other" / "t.h5", work=Path(scratch))
        assert list(Path(scratch).iterdir()) == []
    assert there.path.read_bytes() == plain.path.read_bytes()
    assert (tmp_path / "other" / "t.h5").read_text() == "another table"
