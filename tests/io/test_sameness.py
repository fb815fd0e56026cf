"""Whether a file is still the one that was hashed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from nightcrew.io import sameness
from nightcrew.io.sameness import has_hash, was_written

DATA, OTHER = b"a" * 100, b"b" * 100


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put_back(path: Path, data: bytes, times: os.stat_result) -> None:
    """Other bytes of the same number, and the old modification time; after a moment that the file system's clock can tell."""
    while path.stat().st_ctime_ns == times.st_ctime_ns:
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_was_just_written_is_not_read_for_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "light.fits"
    path.write_bytes(DATA)
    was_written(path, digest(DATA))
    monkeypatch.setattr(sameness, "sha256_file", None)
    assert has_hash(path, path.stat(), digest(DATA))


def test_what_was_put_in_its_place_is_read(tmp_path: Path) -> None:
    path = tmp_path / "light.fits"
    path.write_bytes(DATA)
    was_written(path, digest(DATA))
    put_back(path, OTHER, path.stat())
    assert not has_hash(path, path.stat(), digest(DATA))
    assert has_hash(path, path.stat(), digest(OTHER))


def test_what_is_gone_already_was_not_written(tmp_path: Path) -> None:
    was_written(tmp_path / "light.fits", digest(DATA))
    path = tmp_path / "light.fits"
    path.write_bytes(OTHER)
    assert not has_hash(path, path.stat(), digest(DATA))
