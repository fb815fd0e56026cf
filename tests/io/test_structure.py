"""Completeness from a file's own lengths, kinds by content, hashes that notice change."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import TransientError
from nightcrew.io import structure
from nightcrew.io.structure import check, sha256_file
from tests.io.fitsbytes import BLOCK, card, header, image, padded
from tests.io.fitsbytes import structure as cards_of

GOOD = image(16, (50, 40), bytes(range(200)) * 20)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_whole_file(tmp_path: Path) -> None:
    found = check(write(tmp_path / "a.fits", GOOD))
    assert found.complete
    assert (found.kind, found.reason, found.note) == ("fits", "", "")
    assert found.stored_bytes == found.expected_bytes == len(GOOD)
    assert found.hdus[0].shape == (40, 50)


def test_every_cut_is_incomplete_until_the_data_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    needed = BLOCK + 4000
    for length in [1, 8, 79, 80, 2000, BLOCK, BLOCK + 1, needed - 1, needed, needed + 1, len(GOOD) - 1]:
        found = check(write(path, GOOD[:length]))
        assert found.complete == (length >= needed), length
        assert not found.damaged
        assert bool(found.reason) != found.complete
    assert check(path).note == "the last 1 bytes of padding are missing"


def test_cut_in_an_extension(tmp_path: Path) -> None:
    extension = header(["XTENSION= 'IMAGE'", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 99", "PCOUNT  = 0", "GCOUNT  = 1"])
    whole = GOOD + extension + padded(bytes(99))
    assert check(write(tmp_path / "a.fits", whole)).complete
    cut_header = check(write(tmp_path / "b.fits", whole[: len(GOOD) + 100]))
    assert "inside the header of HDU 1" in cut_header.reason
    assert not cut_header.damaged
    assert "data cut short" in check(write(tmp_path / "c.fits", whole[: len(GOOD) + BLOCK + 98])).reason


def test_bytes_after_the_end_are_noted(tmp_path: Path) -> None:
    found = check(write(tmp_path / "a.fits", GOOD + b"x" * 10))
    assert found.complete
    assert found.note == "10 bytes follow the last HDU"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_whole_and_cut(tmp_path: Path, pack: object) -> None:
    data = gzip.compress(GOOD, mtime=0) if pack is gzip.compress else bz2.compress(GOOD)
    found = check(write(tmp_path / "a.fits.gz", data))
    assert found.complete
    assert found.compression in ("gzip", "bzip2")
    assert found.expected_bytes == len(GOOD)
    for length in (3, len(data) // 2, len(data) - 9, len(data) - 1):
        cut = check(write(tmp_path / "b.fits.gz", data[:length]))
        assert not cut.complete
        assert not cut.damaged, cut.reason
        assert cut.reason.startswith("b.fits.gz: ")


def test_wrong_gzip_checksum_is_damage(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(GOOD, mtime=0))
    data[-6] ^= 1
    found = check(write(tmp_path / "a.fits.gz", bytes(data)))
    assert found.damaged
    assert "damaged" in found.reason


def test_gzip_that_grows_beyond_its_header_is_damage(tmp_path: Path) -> None:
    found = check(write(tmp_path / "a.fits.gz", gzip.compress(GOOD + bytes(64 << 20))))
    assert found.damaged
    assert "own header explains" in found.reason


def test_declared_size_beyond_the_limit_is_damage(tmp_path: Path) -> None:
    found = check(write(tmp_path / "a.fits", header(cards_of(-64, 10**6, 10**6))), max_bytes=10**9)
    assert found.damaged
    assert "more than the limit" in found.reason


@pytest.mark.parametrize(
    ("name", "data", "kind", "complete", "damaged", "text"),
    [
        ("a.fits", b"", "empty", False, False, "empty"),
        ("a.fits", bytes(9000), "fits", False, False, "begins with zeros"),
        ("a.fits", b"SIMP", "fits", False, False, "first card"),
        ("a.fits", b"dear diary " * 900, "foreign", True, True, "not a FITS file although"),
        ("a.fits.gz", gzip.compress(b"dear diary " * 900, mtime=0), "foreign", True, True, "not a FITS file although"),
        ("notes.txt", b"dear diary", "foreign", True, False, ""),
        ("a.tbz2", bz2.compress(b"dear diary"), "foreign", True, False, ""),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "hdf5", True, False, ""),
        ("a.raf", b"FUJIFILMCCD-RAW 0201" + bytes(50), "camera_raw", True, False, ""),
        ("a", GOOD, "fits", True, False, ""),
    ],
)
def test_kinds(tmp_path: Path, name: str, data: bytes, kind: str, complete: bool, damaged: bool, text: str) -> None:
    found = check(write(tmp_path / name, data))
    assert (found.kind, found.complete, found.damaged) == (kind, complete, damaged)
    assert text in found.reason


def test_folder_is_an_answer(tmp_path: Path) -> None:
    assert "not a regular file" in check(tmp_path).reason


def test_end_card_that_is_not_there_yet(tmp_path: Path) -> None:
    found = check(write(tmp_path / "a.fits", b"".join(card(c) for c in cards_of(16, 5, 5))))
    assert "no END card" in found.reason
    assert not found.damaged


def test_tiff_reaches_as_far_as_its_strips(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.tiff"
    Image.fromarray(np.arange(5000, dtype=np.uint16).reshape(50, 100)).save(path)
    whole = path.read_bytes()
    found = check(path)
    assert found.complete
    assert found.kind == "tiff"
    assert found.expected_bytes <= len(whole)
    cut = check(write(tmp_path / "b.tiff", whole[: found.expected_bytes - 1]))
    assert not cut.complete
    assert "data cut short" in cut.reason


def test_tiff_with_directories_in_a_circle(tmp_path: Path) -> None:
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHIII", 1, 273, 4, 1, 8, 8)
    assert check(write(tmp_path / "a.tiff", loop)).kind == "tiff"


def test_hash_and_state(tmp_path: Path) -> None:
    path = write(tmp_path / "a", GOOD * 300)
    found = sha256_file(path, path.stat())
    assert found.sha256 == hashlib.sha256(GOOD * 300).hexdigest()
    assert (found.size, found.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def test_hash_refuses_another_state(tmp_path: Path) -> None:
    path = write(tmp_path / "a", GOOD)
    seen = path.stat()
    os.utime(path, ns=(1, 1))
    with pytest.raises(TransientError, match="changed since it was seen"):
        sha256_file(path, seen)


def test_hash_notices_a_change_under_its_hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a", GOOD)
    real = structure._digest

    def slow(descriptor: int) -> tuple[str, int]:
        with path.open("ab") as file:
            file.write(b"more")
        return real(descriptor)

    monkeypatch.setattr(structure, "_digest", slow)
    with pytest.raises(TransientError, match="changed while it was read"):
        sha256_file(path)


def test_hash_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(TransientError):
        sha256_file(tmp_path / "absent")
