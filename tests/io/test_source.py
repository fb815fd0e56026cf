"""Bytes at offsets: compressed streams give the same bytes as plain files, and bombs are stopped."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.lzw import LzwDecoder
from nightcrew.io.source import CompressedSource, compression_of, open_source, shown
from tests.io.lzwbytes import lzw_compress

MEGABYTES = random.Random(3).randbytes(1 << 20) + bytes(3 << 20) + random.Random(4).randbytes(1 << 19)


def compressed(kind: str, data: bytes) -> bytes:
    if kind == "gzip":
        return gzip.compress(data, 1)
    if kind == "bzip2":
        return bz2.compress(data, 1)
    half = len(data) // 2
    return gzip.compress(data[:half], 1) + gzip.compress(data[half:], 1)  # two members


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "two members"])
def test_any_order_of_reading_gives_the_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(compressed(kind, MEGABYTES))
    with open_source(path) as source:
        for offset, count in [(0, 10), (3_000_000, 100), (5, 70_000), (0, len(MEGABYTES)), (len(MEGABYTES) - 3, 10), (9_999_999, 4)]:
            assert source.read_at(offset, count) == MEGABYTES[offset : offset + count]
        assert source.size == len(MEGABYTES)


def test_readinto_of_plain_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MEGABYTES)
    (tmp_path / "b").write_bytes(gzip.compress(MEGABYTES, 1))
    for name in "ab":
        out = bytearray(2_000_000)
        with open_source(tmp_path / name) as source:
            assert source.readinto_at(500_000, memoryview(out)) == len(out)
            assert source.readinto_at(len(MEGABYTES) - 7, memoryview(out)) == 7
        assert out[7:] == MEGABYTES[500_007:2_500_000]


def test_padding_after_the_stream_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(b"hello") + bytes(1000))
    with open_source(path) as source:
        assert isinstance(source, CompressedSource)
        assert source.read_at(0, 100) == b"hello"
        assert source.ended_cleanly


def test_cut_stream_gives_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(MEGABYTES, 1)[:-5])
    with open_source(path) as source:
        assert isinstance(source, CompressedSource)
        assert source.drain(len(MEGABYTES)) == len(MEGABYTES)
        assert not source.ended_cleanly


@pytest.mark.parametrize("kind", ["gzip", "bzip2"])
def test_wrong_bits_are_rejected(tmp_path: Path, kind: str) -> None:
    data = bytearray(compressed(kind, MEGABYTES))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "a.gz"
    path.write_bytes(bytes(data))
    with open_source(path) as source, pytest.raises(RejectedInput, match=f"the {kind} stream is damaged"):
        source.read_at(0, len(MEGABYTES) + 1)


def test_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    with open_source(path, max_bytes=8 << 20) as source, pytest.raises(RejectedInput, match="expands beyond the limit"):
        source.read_at(40 << 20, 10)


def test_drain_stops_at_its_own_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    with open_source(path) as source:
        assert isinstance(source, CompressedSource)
        with pytest.raises(RejectedInput, match="expands to more than"):
            source.drain(1 << 20)


@pytest.mark.skipif(shutil.which("compress") is None, reason="the compress program is absent")
def test_against_the_compress_program(tmp_path: Path) -> None:
    data = MEGABYTES[: 3 << 20]
    packed = subprocess.run(["compress", "-c"], input=data, capture_output=True, check=False).stdout
    (tmp_path / "a.Z").write_bytes(packed)
    with open_source(tmp_path / "a.Z") as source:
        assert source.read_at(0, len(data) + 1) == data


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"\0" * 50, b"abc", b"FITS", b"\xff", b"0123456789" * 9]), max_size=400),
    st.integers(9, 12),
    st.integers(1, 999),
)
def test_lzw_round_trip_in_any_pieces(parts: list[bytes], max_bits: int, piece: int) -> None:
    data = b"".join(parts)
    packed = lzw_compress(data, max_bits)
    decoder = LzwDecoder()
    out = b""
    for i in range(0, len(packed), piece):
        out += decoder.decode(packed[i : i + piece], 100)
        while more := decoder.decode(b"", 100):
            out += more
    assert out == data
    assert decoder.complete


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_lzw_of_anything_ends_in_bytes_or_value_error(junk: bytes) -> None:
    decoder = LzwDecoder()
    with contextlib.suppress(ValueError):
        assert len(decoder.decode(b"\x1f\x9d\x90" + junk, 10_000)) <= 10_000


def test_compress_has_a_limit_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.Z").write_bytes(lzw_compress(b"abc"))
    with open_source(tmp_path / "a.Z") as source:
        assert isinstance(source, CompressedSource)
        assert source.max_bytes == 1 << 28


def test_kinds_by_magic() -> None:
    kinds = [compression_of(h) for h in (b"\x1f\x8b\x08", b"BZh9", b"BZx9", b"\x1f\x9d\x90", b"SIMP", b"")]
    assert kinds == ["gzip", "bzip2", "", "compress", "", ""]


def test_shown_escapes_what_a_terminal_would_obey() -> None:
    assert shown("/x/a\x1b[2J\u202eb.fits") == "a\\x1b[2J\\x202eb.fits"
    assert shown("/x/b\udcffa.fits") == "b\\xffa.fits"


def test_pipes_and_closed_files(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RejectedInput, match="not a regular file"):
        open_source(tmp_path / "pipe")
    with pytest.raises(TransientError):
        open_source("with\0zero")
