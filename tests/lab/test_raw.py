"""Raw frames: bytes, sizes, keywords; attempts in every layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.cardtext import Card
from nightcrew.io.images import read_image
from nightcrew.lab.attempts import find_attempts, natural
from nightcrew.lab.config import LabConfig
from nightcrew.lab.fast_copy import can_copy, copy_frame
from nightcrew.lab.fits_frame import write_frame
from nightcrew.lab.keywords import frame_keywords, read_notes, to_cards
from nightcrew.lab.raw import RawLayout, read_raw

SMALL = LabConfig(height=2, width=2, bit_depth=16)


def attempt(folder: Path, *, frames: str = "frames", log: str = "temperatureLog.csv", name: str = "BiasT0_exp0.1sAt0f{}.raw") -> Path:
    """A folder with two raw frames of 2 x 2."""
    (folder / frames).mkdir(parents=True)
    for n in range(2):
        np.full((2, 2), 16 * n, "<u2").tofile(folder / frames / name.format(n))
    (folder / "configFile.txt").write_text("WIDTH=2\nHEIGHT=2\nBIT_DEPTH=16\n")
    (folder / log).write_text("FrameNum,TimeStamp,ExpTime,Temperature\n0,100,12,-0.5\n1,110,12,-0.5\n")
    return folder


def test_byte_order_header_and_shift(tmp_path: Path) -> None:
    path = tmp_path / "f0.raw"
    path.write_bytes(b"HEAD" + np.arange(4, dtype=">u2").tobytes())
    layout = RawLayout(byte_order="big", header_bytes=4)
    assert read_raw(path, SMALL, layout).pixels.tolist() == [[0, 1], [2, 3]]
    np.array([16, 32, 48, 65520], "<u2").tofile(path)
    assert read_raw(path, SMALL, RawLayout(shift_bits=4)).pixels.tolist() == [[1, 2], [3, 4095]]
    np.arange(4, dtype=np.uint8).tofile(path)
    assert read_raw(path, LabConfig(2, 2, 8)).pixels.dtype == np.uint8


@pytest.mark.parametrize("count", [5, 6, 7, 9, 10])
def test_a_size_that_does_not_fit_is_rejected(tmp_path: Path, count: int) -> None:
    path = tmp_path / "f0.raw"
    path.write_bytes(b"\1" * count)
    with pytest.raises(RejectedInput, match="BADSIZE"):
        read_raw(path, SMALL)


def test_padding_fills_with_zeros_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "f0.raw"
    np.array([1, 2, 3], "<u2").tofile(path)
    frame = read_raw(path, SMALL, RawLayout(pad=True))
    assert frame.pixels.tolist() == [[1, 2], [3, 0]]
    assert "6 bytes" in frame.badsize
    path.write_bytes(np.array([1, 2, 3, 4, 5], "<u2").tobytes() + b"\7")
    assert read_raw(path, SMALL, RawLayout(pad=True)).pixels.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (1, 1), (300, 701)])
@pytest.mark.parametrize("order", ["little", "big"])
def test_the_fast_way_writes_the_same_file(tmp_path: Path, shape: tuple[int, int], order: Literal["little", "big"]) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, shape, np.uint16)
    raw = tmp_path / "f0.raw"
    raw.write_bytes(b"HEAD" + pixels.astype("<u2" if order == "little" else ">u2").tobytes())
    config, layout = LabConfig(shape[0], shape[1], 16), RawLayout(byte_order=order, header_bytes=4)
    assert can_copy(raw.stat().st_size, config, layout)
    cards: list[Card] = [("TEMP", 1.5, "deg C")]
    copy_frame(raw, tmp_path / "a.fits", config, layout, cards, durable=False, overwrite=False)
    write_frame(tmp_path / "b.fits", read_raw(raw, config, layout).pixels, cards, durable=False)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits"), pixels)


def test_log_beats_file_name(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "TestSection1" / "T0" / "attempt0")
    (found,) = find_attempts(tmp_path)
    assert found.folder == folder
    values, warnings = frame_keywords(found.raws[0], read_notes(found), found.caltype)
    assert warnings == []
    assert values["FRAMENUM"] == 0
    assert values["TIMESTAMP"] == 100
    assert values["EXPTIME"] == pytest.approx(1.2e-5)
    assert values["TEMP"] == -0.5
    assert values["FILETEMP"] == 0
    assert values["CALTYPE"] == "BIAS"


def test_a_configuration_cannot_change_the_files_structure_or_kind(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "Darks" / "attempt0")
    (folder / "configFile.txt").write_text("WIDTH=2\nHEIGHT=2\nBIT_DEPTH=16\nCALTYPE=FLAT\nNAXIS=7\nExpTime=5\nTemperature=3\nGain=4 dB\n")
    (found,) = find_attempts(tmp_path)
    notes = read_notes(found)
    values, warnings = frame_keywords(found.raws[0], notes, found.caltype)
    assert values["CALTYPE"] == "DARK"
    assert values["CONFIG CALTYPE"] == "FLAT"
    assert values["CONFIG NAXIS"] == 7
    assert values["TEMP"] == -0.5
    assert values["EXPTIME"] == pytest.approx(1.2e-5)
    assert len(warnings) == 3
    comments = {keyword: comment for keyword, _, comment in to_cards(values, notes.config)}
    assert comments["EXPTIME"] == "s, exposure"


def test_missing_configuration_and_log_are_named(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "attempt0")
    (folder / "configFile.txt").unlink()
    (folder / "temperatureLog.csv").unlink()
    (found,) = find_attempts(tmp_path)
    notes = read_notes(found)
    assert len(notes.warnings) == 2
    values, _ = frame_keywords(found.raws[1], notes, found.caltype)
    assert values == {"CALTYPE": "BIAS", "FRAMENUM": 1, "EXPTIME": 0.1, "FILETEMP": 0.0}


@pytest.mark.parametrize(
    "parts",
    [
        ("TestSection1", "T0", "attempt0"),
        ("TestSection2", "20Frames", "10s", "T20", "Attempt1"),
        ("TestSection2", "ContinuousFrames", "T20", "10s", "a", "attempt1"),
        ("20Frames", "T20", "T0", "0.4s"),
        ("Irradiation", "run", "Bias", "5kRads"),
    ],
)
def test_every_layout_is_found_exactly_once(tmp_path: Path, parts: tuple[str, ...]) -> None:
    folder = attempt(tmp_path.joinpath(*parts))
    assert [one.folder for one in find_attempts(tmp_path)] == [folder]
    assert [one.folder for one in find_attempts(tmp_path, search_depth=len(parts))] == [folder]
    assert find_attempts(tmp_path, search_depth=len(parts) - 1) == []


def test_other_log_names_and_upper_case(tmp_path: Path) -> None:
    attempt(tmp_path / "x", log="radiationLogCompleto.csv")
    attempt(tmp_path / "y", log="RADIATIONLOG.CSV", frames="Frames")
    assert [one.log.name for one in find_attempts(tmp_path) if one.log] == ["radiationLogCompleto.csv", "RADIATIONLOG.CSV"]


def test_raws_directly_in_the_attempt_and_existing_fits(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "attempt0", frames=".")
    (found,) = find_attempts(tmp_path)
    assert len(found.raws) == 2
    (folder / "fits").mkdir()
    (folder / "fits" / "a.fits").write_bytes(b"x")
    (found,) = find_attempts(tmp_path)
    assert [path.name for path in found.fits] == ["a.fits"]


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is no folder"):
        find_attempts(tmp_path / "absent")


def test_natural_order() -> None:
    assert sorted(["f10", "f2", "f1"], key=natural) == ["f1", "f2", "f10"]
