"""Names of sets: readable, safe, and never two folders under one name."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.planning.set_names import relative_name, root_of, safe_part, scope_name, set_of

folder_names = st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b".."))


@pytest.mark.parametrize("name", ["set1", "Messung_3.b", "2026-05-17", "ä"])
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert scope_name(name.encode()) == name
    if name.isascii():
        assert safe_part(name) == name


@given(folder_names, folder_names)
def test_both_steps_are_injective(one: bytes, other: bytes) -> None:
    names = scope_name(one), scope_name(other)
    assert (names[0] == names[1]) == (one == other)
    assert (safe_part(names[0]) == safe_part(names[1])) == (one == other)


@given(folder_names)
def test_names_are_storable_short_and_safe(raw: bytes) -> None:
    name = scope_name(raw)
    name.encode("utf-8")
    assert 0 < len(name) <= 200
    part = safe_part(name)
    assert re.fullmatch(r"[A-Za-z0-9_~][A-Za-z0-9._~-]*", part)
    assert len(part) <= 120


def test_what_cannot_be_seen_is_written_out() -> None:
    assert scope_name(b"a\x1b\xff\xe2\x80\xae%") == "a%1B%FF%E2%80%AE%25"
    assert safe_part("..") == "~2e."
    assert safe_part("") == "~"


@pytest.mark.parametrize(
    ("path", "name", "root", "relative"),
    [
        ("/data/lab/set1/a.fits", "set1", "/data/lab/set1", "a.fits"),
        ("/data/lab/set1/deep/a.fits", "set1", "/data/lab/set1", "deep/a.fits"),
        ("/data/lab/loose.fits", "lab", "/data/lab", "loose.fits"),
        ("/data/lab/lab/a.fits", "lab", "/data/lab", "lab/a.fits"),
    ],
)
def test_a_file_belongs_to_its_first_folder(path: str, name: str, root: str, relative: str) -> None:
    raw = path.encode()
    assert set_of(raw, "/data/lab") == set_of(raw, "/data/lab/") == name
    assert set_of(raw, "/data/lab", "second") == f"second/{name}"
    assert root_of(raw, "/data/lab") == root.encode()
    assert relative_name(raw, root.encode()) == relative


def test_bytes_that_are_no_text_survive() -> None:
    raw = b"/data/lab/s\xff/f\xfe.dat"
    assert set_of(raw, "/data/lab") == "s%FF"
    assert relative_name(raw, root_of(raw, "/data/lab")) == os.fsdecode(PurePosixPath("f\udcfe.dat"))
