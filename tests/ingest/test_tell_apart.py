"""Telling exposures apart that look alike, on real frames and on files made from them: the pixels decide."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.tell_apart import UNTOLD, pixel_hash
from tests import realdata
from tests.support.small_nights import Bench

FIRST, SECOND = "bias-Neg10-Vis.00000000.BIAS.FIT.gz", "bias-Neg10-Vis.00000001.BIAS.FIT.gz"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real bias frames and files made from the first; all of them by name."""
    source, out = realdata.folder("ccd_stl1001"), tmp_path_factory.mktemp("real")
    for name in (FIRST, SECOND):
        shutil.copyfile(source / name, out / name)
    plain = out / "unpacked.FIT"
    plain.write_bytes(gzip.decompress((out / FIRST).read_bytes()))
    with fits.open(plain) as hdus, fits.open(out / SECOND) as other:
        hdus[0].header["OBJECT"] = "edited afterwards"
        hdus.writeto(out / "edited.FIT")
        fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type="RICE_1").writeto(out / "packed.fit.fz")
        fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type="HCOMPRESS_1", hcomp_scale=4.0).writeto(out / "lossy.fit.fz")
        hdus[0].data = other[0].data
        hdus.writeto(out / "other-pixels.FIT")
    for second, path in enumerate(sorted(out.iterdir())):
        os.utime(path, (1_700_000_000 + second, 1_700_000_000 + second))
    return out


def taken_in(real: Path, root: Path, *bursts: Sequence[str]) -> tuple[int, Counter[str], set[str]]:
    """(exposures, files by state, reasons of what was set aside) after these bursts of files."""
    bench = Bench(real, root)
    for names in bursts:
        bench.see(real / name for name in names)
        bench.ingest()
    rows = bench.files()
    frames = {row.frame_id for row in rows if row.frame_id is not None}
    bench.space.database.close()
    aside = {row.reason.partition(":")[0] for row in rows if row.state == "set_aside"}
    return len(frames), Counter("set_aside" if row.state == "set_aside" else "frame" for row in rows), aside


def test_equal_pixels_have_one_hash_whatever_holds_them(real: Path) -> None:
    one = {pixel_hash(os.fsencode(real / name)) for name in (FIRST, "unpacked.FIT", "edited.FIT", "packed.fit.fz")}
    assert len(one) == 1
    assert pixel_hash(os.fsencode(real / "other-pixels.FIT")) not in one
    assert pixel_hash(os.fsencode(real / SECOND)) not in one


def test_pixels_that_tell_nothing_have_no_hash(real: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.fit").write_bytes((real / "unpacked.FIT").read_bytes()[:100_000])
    for path in (real / "lossy.fit.fz", tmp_path / "cut.fit", tmp_path / "absent.fit"):
        assert pixel_hash(os.fsencode(path)) == UNTOLD


def test_one_exposure_under_other_bytes_is_one(real: Path, tmp_path: Path) -> None:
    names = (FIRST, "unpacked.FIT", "edited.FIT", "packed.fit.fz")
    frames, states, reasons = taken_in(real, tmp_path, names)
    assert (frames, states) == (1, {"frame": 1, "set_aside": 3})
    assert all(reason.startswith(("duplicate", "the same exposure")) for reason in reasons), reasons


def test_the_same_start_with_other_pixels_is_another_exposure(real: Path, tmp_path: Path) -> None:
    assert taken_in(real, tmp_path, (FIRST, "other-pixels.FIT"))[:2] == (2, {"frame": 2})


def test_a_lossy_copy_joins_the_only_exposure(real: Path, tmp_path: Path) -> None:
    assert taken_in(real, tmp_path, (FIRST, "lossy.fit.fz"))[:2] == (1, {"frame": 1, "set_aside": 1})


def test_a_lossy_copy_of_one_of_several_is_set_aside_with_its_reason(real: Path, tmp_path: Path) -> None:
    frames, states, reasons = taken_in(real, tmp_path, (FIRST, "other-pixels.FIT"), ("lossy.fit.fz",))
    assert (frames, states) == (2, {"frame": 2, "set_aside": 1})
    assert any("cannot be compared" in reason for reason in reasons)


def test_neither_order_nor_bursts_matter(real: Path, tmp_path: Path) -> None:
    names = (FIRST, "edited.FIT", "other-pixels.FIT")
    found = []
    for number, order in enumerate(itertools.permutations(names)):
        for split in (3, 1) if number in (0, 3) else (2,):
            bursts = [order[start : start + split] for start in range(0, len(order), split)]
            found.append(taken_in(real, tmp_path / f"{number}-{split}", *bursts))
    assert found == [found[0]] * len(found)
    assert found[0][0] == 2


def test_frames_of_a_fast_series_within_one_second_are_as_many_as_their_pixels(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    cards = {"IMAGETYP": "Light Frame", "DATE-OBS": "2026-05-16T23:00:00", "EXPTIME": 0.05, "INSTRUME": "Fast camera", "OBJECT": "Moon"}
    rng = np.random.default_rng(11)
    for number in range(4):
        pixels = rng.integers(900, 1100, (32, 32)).astype(np.uint16)
        fits.PrimaryHDU(pixels, fits.Header(cards)).writeto(folder / f"fast-{number}.fit")
    shutil.copyfile(folder / "fast-0.fit", folder / "copy of fast-0.fit")
    assert taken_in(folder, tmp_path / "out", sorted(path.name for path in folder.iterdir()))[:2] == (4, {"frame": 4, "set_aside": 1})
