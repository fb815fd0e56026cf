"""The index of converted frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.detector.stack import FrameStack
from nightcrew.errors import RejectedInput
from nightcrew.lab.convert import Section
from nightcrew.lab.frame_stats import stats_of_frames
from nightcrew.lab.index import Given, index_sections, write_frames_index
from nightcrew.lab.records import INDEX_COLUMNS, read_index
from tests.lab.test_convert import stored
from tests.lab.test_raw import attempt


def frame(path: Path, pixels: object = None, **cards: object) -> Path:
    """A FITS frame with keywords."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(1, 101, dtype=np.uint16).reshape(10, 10) if pixels is None else np.asarray(pixels)
    header = fits.Header()
    for key, value in cards.items():
        header[key] = value
    fits.writeto(path, data, header)
    return path


@pytest.mark.parametrize(("zeros", "bad"), [(1, False), (2, True)])
def test_more_than_one_percent_of_zeros_is_bad(tmp_path: Path, zeros: int, bad: bool) -> None:
    pixels = np.full((10, 10), 7, np.uint16)
    pixels.flat[0] = 8
    pixels.flat[1 : 1 + zeros] = 0
    frame(tmp_path / "Bias" / "attempt0" / "fits" / "a.fits", pixels, TEMP=1.0)
    before = stored(tmp_path)
    (row,) = index_sections([Section(tmp_path / "Bias", "BIAS")]).frames
    assert row.zero_fraction == zeros / 100
    assert row.bad is bad
    assert stored(tmp_path) == before


@pytest.mark.parametrize(
    ("pixels", "cards", "said"),
    [
        (np.full((10, 10), np.nan, np.float32), {}, "undefined"),
        (np.full((10, 10), 65520, np.uint16), {}, "saturated"),
        (np.full((10, 10), 9, np.uint16), {}, "every pixel"),
        (None, {"BADSIZE": True}, "BADSIZE"),
        (None, {"NCOMBINE": 20}, "NCOMBINE 20: combined of several frames"),
        (None, {"IMC_NFIL": 5}, "combined of several frames"),
        (None, {"NCRECIPE": "dark_master"}, "a product of Nightcrew itself"),
    ],
)
def test_other_unusable_frames(tmp_path: Path, pixels: object, cards: dict[str, object], said: str) -> None:
    frame(tmp_path / "Bias" / "a.fits", pixels, TEMP=1.0, **cards)
    (row,) = index_sections([Section(tmp_path / "Bias", "BIAS")]).frames
    assert row.bad
    assert said in row.reason


def test_one_file_a_section_and_two_data_sets(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for kind in ("Bias", "Darks", "Flats"):
            frame(tmp_path / name / kind / "attempt0" / "fits" / "a.fits", TEMP=1.0, EXPTIME=1.0)
    explicit = [Section(tmp_path / n / d, k) for n in ("one", "two") for d, k in (("Bias", "BIAS"), ("Darks", "DARK"), ("Flats", "FLAT"))]
    rows = index_sections(explicit).frames
    assert len(rows) == 6
    assert {row.caltype for row in rows} == {"BIAS", "DARK", "FLAT"}
    found = index_sections([Section(tmp_path / "one")]).frames
    assert sorted(row.caltype for row in found) == ["BIAS", "DARK", "FLAT"]


def test_a_root_given_as_a_section_is_warned_of(tmp_path: Path) -> None:
    for kind in ("Bias", "Darks"):
        frame(tmp_path / kind / "attempt0" / "fits" / "a.fits")
    warnings = index_sections([Section(tmp_path, "BIAS")]).warnings
    assert any("--discover" in warning for warning in warnings)


def test_stage_and_vacuum_from_the_deepest_folder_or_as_given(tmp_path: Path) -> None:
    root = tmp_path / "duringradiation_novacuum"
    for stage in ("PreIrradiation", "PostIrradiation", "DuringIrradiation"):
        frame(root / stage / "Bias" / "attempt0" / "fits" / "a.fits", TEMP=1.0)
    rows = index_sections([Section(root)]).frames
    assert {row.stage for row in rows} == {"pre", "post", "radiating"}
    assert {row.vacuum for row in rows} == {"air"}
    rows = index_sections([Section(root)], given=Given("post", "vacuum")).frames
    assert {(row.stage, row.vacuum) for row in rows} == {("post", "vacuum")}


def test_header_first_names_only_where_it_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "Darks" / "T40" / "99s" / "attempt3" / "fits"
    frame(folder / "a.fits", TEMP=1.5, EXPTIME=2.0)
    frame(folder / "b.fits", EQTEMP=7.0)
    frame(folder / "DarkT5_exp4sAt0f0.fits")
    frame(folder / "c.fits")
    rows = {row.path.name: row for row in index_sections([Section(tmp_path)]).frames}
    assert (rows["a.fits"].temperature_c, rows["a.fits"].exposure_s) == (1.5, 2.0)
    assert (rows["b.fits"].temperature_c, rows["b.fits"].temperature_from) == (7.0, "EQTEMP")
    assert (rows["DarkT5_exp4sAt0f0.fits"].temperature_c, rows["DarkT5_exp4sAt0f0.fits"].exposure_s) == (5.0, 4.0)
    assert (rows["c.fits"].temperature_c, rows["c.fits"].exposure_s, rows["c.fits"].temperature_from) == (40.0, 99.0, "folder")


def test_a_corrupt_file_is_a_bad_frame_and_ends_nothing(tmp_path: Path) -> None:
    frame(tmp_path / "Bias" / "attempt0" / "fits" / "a.fits", TEMP=1.0)
    (tmp_path / "Bias" / "attempt0" / "fits" / "b.fits").write_bytes(b"SIMPLE  =  T")
    rows = index_sections([Section(tmp_path)]).frames
    assert [row.bad for row in rows] == [False, True]
    assert "ends inside the header" in rows[1].reason


def test_the_table_reads_back(tmp_path: Path) -> None:
    frame(tmp_path / "in" / "Darks" / "20kRads_campaign" / "5kRads" / "fits" / "a.fits", TEMP=1.25, EXPTIME=2.0, FRAMENUM=4)
    rows = index_sections([Section(tmp_path / "in")]).frames
    path = write_frames_index(tmp_path / "out" / "index.csv", rows)
    assert path.read_text().splitlines()[0] == ",".join(INDEX_COLUMNS)
    (back,) = read_index(path)
    assert back.path.resolve() == rows[0].path.resolve()
    assert back.dose_krad == 5.0
    assert (back.temperature_c, back.exposure_s, back.frame, back.nx, back.bad) == (1.25, 2.0, 4, 10, False)


def test_a_table_that_is_no_index_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("A,B\n1,2\n")
    with pytest.raises(RejectedInput, match="no column PATH"):
        read_index(tmp_path / "x.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(RejectedInput, match="is empty"):
        read_index(tmp_path / "empty.csv")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    frame(tmp_path / "Darks" / "attempt0" / "fits" / "a.fits")
    warnings = index_sections([Section(tmp_path)]).warnings
    assert any("no temperature" in text for text in warnings)
    assert any("no exposure" in text for text in warnings)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"TEMP": (263.15, "[K] of the detector"), "EXPTIME": (250.0, "[ms]")}, (-10.0, 0.25)),
        ({"TEMP": (-10.0, "deg C, of the detector"), "EXPTIME": (2.0, "s, exposure")}, (-10.0, 2.0)),
        ({"EQTEMP": (14.0, "(F)"), "EXPTIME": 3.0}, (-10.0, 3.0)),
    ],
)
def test_units_in_the_comments_of_a_header_count(tmp_path: Path, cards: dict[str, object], expected: tuple[float, float]) -> None:
    frame(tmp_path / "Darks" / "a.fits", **cards)
    (row,) = index_sections([Section(tmp_path / "Darks", "DARK")]).frames
    assert (row.temperature_c, row.exposure_s) == pytest.approx(expected)


def test_raws_that_no_fits_stands_for_are_named(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "Bias" / "attempt0")
    frame(folder / "fits" / "BiasT0_exp0.1sAt0f0.fits", TEMP=1.0)
    assert any("1 raws are not converted yet" in text for text in index_sections([Section(tmp_path)]).warnings)


def test_blank_integers_are_undefined_pixels(tmp_path: Path) -> None:
    pixels = 4 * np.arange(1, 401, dtype=np.int16).reshape(20, 20)
    pixels[3, 4:7] = -32767
    path = frame(tmp_path / "Bias" / "a.fits", pixels, TEMP=1.0, BLANK=-32767)
    (row,) = index_sections([Section(tmp_path / "Bias", "BIAS")]).frames
    assert row.undefined_fraction == 3 / 400
    assert (row.step_adu, row.highest_adu, row.bad) == (4, 1600, False)
    (stats,) = stats_of_frames([row])
    known = pixels[pixels > 0].astype(float)
    assert [stats.lowest, stats.mean, stats.std] == pytest.approx([4, known.mean(), known.std()])
    with FrameStack([path]) as stack:
        assert np.isnan(stack.rows(3, 4)[0]).nonzero()[0].tolist() == [4, 5, 6]
    pixels[3] = -32767
    frame(tmp_path / "Dark" / "b.fits", pixels, TEMP=1.0, BLANK=-32767)
    (row,) = index_sections([Section(tmp_path / "Dark", "DARK")]).frames
    assert row.reason == "5 % of the pixels are undefined"
