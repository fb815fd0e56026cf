"""Windows over files: torn frames, missing seconds, hostile files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, TransientError
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.seconds import SecondReader, list_seconds, sort_out
from nightcrew.mkid.stream import PhotonStream
from tests.mkid.streams import SECOND_US, Made, make, rows_of, write

SECOND = clock.year_start_us(2021) // SECOND_US + 200 * 86400
START_US = SECOND * SECOND_US


def photons_of(stream: PhotonStream) -> Photons:
    photons = Photons.joined(list(stream.blocks()))
    tally = stream.account.tally
    assert tally.words == tally.accounted()
    assert tally.photons == len(photons)
    return photons


def stream_of(files: dict[int, Path], made: Made, start_us: int | None = None, stop_us: int | None = None) -> PhotonStream:
    return PhotonStream(files, made.shape, made.start_us if start_us is None else start_us, made.stop_us if stop_us is None else stop_us)


@given(
    seed=st.integers(0, 2**32),
    offset_us=st.integers(0, 1999).map(lambda ticks: ticks * 500),
    lag_us=st.integers(-300_000, 300_000),
    tear=st.integers(-150, 150),
    loss=st.sampled_from([0.0, 0.02]),
)
@settings(max_examples=25, deadline=None)
def test_every_photon_comes_back_from_torn_files(seed: int, offset_us: int, lag_us: int, tear: int, loss: float) -> None:
    made = make(seed, start_us=START_US + offset_us, span_us=2_500_000, n_photons=5000, boards=(3, 4), loss=loss)
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), made, lag_us=lag_us, tear=tear)
        stream = stream_of(files, made)
        assert np.array_equal(rows_of(photons_of(stream)), made.rows())
    account = stream.account
    assert account.tally.lost_frames == {3: made.stretch.lost[0], 4: made.stretch.lost[1]}
    assert account.rejected == []
    assert account.tally.orphan == 0
    assert [one.second for one in account.files] == sorted(files)


@given(seed=st.integers(0, 2**32), tear=st.integers(-90, 90), cut=st.integers(0, 2_000_000))
@settings(max_examples=15, deadline=None)
def test_windows_touch_without_gap_or_overlap(seed: int, tear: int, cut: int) -> None:
    made = make(seed, start_us=START_US, span_us=2_000_000, n_photons=3000, boards=(3, 4))
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), made, lag_us=120_000, tear=tear)
        parts = [stream_of(files, made, a, b) for a, b in ((START_US, START_US + cut), (START_US + cut, made.stop_us)) if a < b]
        both = Photons.joined([photons_of(part) for part in parts])
    assert np.array_equal(rows_of(both), made.rows())


@given(seed=st.integers(0, 2**32), tear=st.integers(-90, 90), absent=st.sets(st.integers(0, 4), min_size=1))
@settings(max_examples=20, deadline=None)
def test_missing_seconds_lose_their_own_photons_only(seed: int, tear: int, absent: set[int]) -> None:
    made = make(seed, start_us=START_US, span_us=5_000_000, n_photons=4000, boards=(3, 4))
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), made, tear=tear)
        sizes = {second: path.stat().st_size // 8 for second, path in files.items()}
        for second in absent:
            del files[SECOND + second]
        stream = stream_of(files, made)
        found = rows_of(photons_of(stream))
    account = stream.account
    assert account.missing_seconds == sorted(SECOND + second for second in absent)
    assert account.tally.lost == 0  # a second that is not there is no loss on the way
    assert set(map(tuple, found.tolist())) <= set(map(tuple, made.rows().tolist()))
    # all photons of the seconds that are there came back, but for those without their header
    there = np.isin(made.events.time_us // SECOND_US - SECOND, sorted(set(range(5)) - absent))
    assert len(found) + account.tally.orphan + 100 * len(absent) >= np.count_nonzero(there)
    assert account.tally.words == sum(size for second, size in sizes.items() if second - SECOND not in absent)


def test_a_second_that_comes_after_a_gap_keeps_its_frames(tmp_path: Path) -> None:
    made = make(8, start_us=START_US, span_us=3_000_000, n_photons=9000, boards=(3,))
    files = write(tmp_path, made, without=[SECOND + 1])
    stream = stream_of(files, made)
    kept = (made.events.time_us // SECOND_US) != SECOND + 1
    assert np.array_equal(rows_of(photons_of(stream)), made.rows(kept))
    assert stream.account.tail_missing
    assert "1 second is missing" in stream.account.sentences()[0]


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is empty"),
    "text": (lambda data: (b"the quick brown fox jumps over the lazy dog\n" * 9999)[: len(data)], "no frame header"),
    "zeros": (lambda data: bytes(len(data)), "no frame header"),
    "three bytes": (lambda _: b"\xff\x01\x02", "less than one word"),
    "random": (lambda data: np.random.default_rng(1).bytes(max(len(data), 100_000)), "do not agree with its name"),
    "ones": (lambda data: b"\xff" * len(data), "do not agree with its name"),
    "other day": (lambda data: data_of_another_day(), "do not agree with its name"),
}


def data_of_another_day() -> bytes:
    return make(9, start_us=START_US + 86400 * SECOND_US).stretch.words.astype(">u8").tobytes()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_have_a_reason_and_the_rest_goes_on(kind: str, tmp_path: Path) -> None:
    damage, reason = HOSTILE[kind]
    made = make(8, start_us=START_US, span_us=3_000_000, n_photons=9000, boards=(3,))
    files = write(tmp_path, made)
    files[SECOND + 1].write_bytes(damage(files[SECOND + 1].read_bytes()))
    stream = stream_of(files, made)
    found = rows_of(photons_of(stream))
    assert np.array_equal(found, made.rows((made.events.time_us // SECOND_US) != SECOND + 1))
    (rejected,) = stream.account.rejected
    assert rejected.name == f"{SECOND + 1}.bin"
    assert reason in rejected.reason
    assert stream.account.missing_seconds == [SECOND + 1]


@pytest.mark.parametrize("n_bytes", [4000, 4003])
def test_truncated_files_give_what_they_have(n_bytes: int, tmp_path: Path) -> None:
    made = make(8, start_us=START_US, span_us=2_000_000, n_photons=9000, boards=(3,))
    files = write(tmp_path, made)
    data = files[SECOND].read_bytes()
    files[SECOND].write_bytes(data[:n_bytes])
    stream = stream_of(files, made)
    found = rows_of(photons_of(stream))
    assert set(map(tuple, found.tolist())) <= set(map(tuple, made.rows().tolist()))
    assert stream.account.tally.bytes_over == n_bytes % 8
    assert stream.account.tally.lost > 0  # the frames that are not there


def test_junk_before_the_first_header_does_not_continue_a_frame(tmp_path: Path) -> None:
    made = make(8, start_us=START_US, span_us=2_000_000, n_photons=9000, boards=(3,))
    files = write(tmp_path, made)
    junk = w.photon_words(np.zeros(500), np.ones(500), np.ones(500), np.ones(500), np.ones(500)).astype(">u8").tobytes()
    files[SECOND + 1].write_bytes(junk + files[SECOND + 1].read_bytes())
    stream = stream_of(files, made)
    assert np.array_equal(rows_of(photons_of(stream)), made.rows())
    assert stream.account.tally.orphan == 500


def test_a_file_that_changes_is_not_believed(tmp_path: Path) -> None:
    made = make(8, start_us=START_US)
    (path,) = write(tmp_path, made).values()
    with SecondReader(path, SECOND) as reader:
        list(reader.blocks())
        os.utime(path, ns=(1, 1))
        with pytest.raises(TransientError, match="changed while it was read"):
            reader.identity()
    with SecondReader(path, SECOND) as reader:
        path.write_bytes(b"")
        with pytest.raises(TransientError, match="became shorter"):
            list(reader.blocks())


def test_folders_are_listed_with_their_days(tmp_path: Path) -> None:
    (tmp_path / "20210720").mkdir()
    (tmp_path / "logs").mkdir()
    for name in (
        "20210720/1626739200.bin",
        "1626739201.bin",
        "1626739203.bin",
        "20210720/1626739201.bin",
        "notes.bin",
        "logs/1626739205.bin",
    ):
        (tmp_path / name).write_bytes(b"")
    listing = list_seconds(tmp_path)
    assert sorted(listing.files) == [1626739200, 1626739201, 1626739203]
    assert listing.runs() == [(1626739200, 1626739202), (1626739203, 1626739204)]
    assert {one.name for one in listing.rejected} == {"notes.bin", "1626739201.bin"}
    with pytest.raises(Refused, match="cannot be listed"):
        list_seconds(tmp_path / "nowhere")


def test_a_folder_or_pipe_under_a_second_is_no_file(tmp_path: Path) -> None:
    made = make(8, start_us=START_US, span_us=1_000_000)
    files = write(tmp_path, made)
    (tmp_path / f"{SECOND + 1}.bin").mkdir()
    os.mkfifo(tmp_path / f"{SECOND - 1}.bin")
    stream = stream_of(sort_out(sorted(tmp_path.iterdir())).files, made)
    assert np.array_equal(rows_of(photons_of(stream)), made.rows())
    assert [one.reason.split(": ")[1] for one in stream.account.rejected] == ["is not a regular file"] * 2
    assert files


def test_windows_that_end_before_they_begin_are_refused() -> None:
    with pytest.raises(Refused, match="ends before"):
        PhotonStream({}, (5, 4), 10, 10)
