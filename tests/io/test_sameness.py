"""Whether a file is still the one that was hashed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nightcrew.errors import TransientError
from nightcrew.io import sameness
from nightcrew.io.sameness import has_hash, is_unchanged, was_written

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


@dataclass(frozen=True)
class Row:
    """What the ledger has of a file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


def known(path: Path, **changed: Any) -> Row:
    status = path.stat()
    return replace(Row(status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest(path.read_bytes())), **changed)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"ctime_ns": 0}, True),  # not known
        ({"ctime_ns": 1, "sha256": ""}, True),  # nothing to compare with
        ({"size": 99}, False),
        ({"mtime_ns": 1}, False),
    ],
)
def test_size_and_times_tell_without_a_look_at_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], same: bool
) -> None:
    path = tmp_path / "light.fits"
    path.write_bytes(DATA)
    monkeypatch.setattr(sameness, "sha256_file", None)
    assert is_unchanged(path, path.lstat(), known(path, **changed)) is same


def test_another_change_time_asks_for_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "light.fits"
    path.write_bytes(DATA)
    row = known(path, ctime_ns=1)
    assert is_unchanged(path, path.lstat(), row)
    put_back(path, OTHER, path.stat())
    for _ in range(2):  # what was found different is not taken for the same when it is asked for again
        assert not is_unchanged(path, path.lstat(), row)


def test_what_is_remembered_is_of_one_path_and_one_hash(tmp_path: Path) -> None:
    path, other = tmp_path / "light.fits", tmp_path / "other.fits"
    path.write_bytes(DATA)
    other.write_bytes(OTHER)
    was_written(path, digest(DATA))
    assert not has_hash(path, path.stat(), digest(OTHER))
    with pytest.raises(TransientError):  # another file's status: it changed
        has_hash(other, path.stat(), digest(DATA))
