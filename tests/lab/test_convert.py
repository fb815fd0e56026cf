"""Conversion of raw frames: keywords, restarts, what is left alone and what is rejected."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.errors import TransientError
from nightcrew.io.atomic import injected_faults
from nightcrew.io.images import read_image
from nightcrew.lab import convert
from nightcrew.lab.attempts import find_attempts
from nightcrew.lab.convert import Section
from nightcrew.lab.raw import RawLayout
from nightcrew.simulate.lab import make_campaign
from nightcrew.simulate.lab_plan import LAYOUTS, lab_plan
from tests.lab.test_raw import attempt

convert_sections = partial(convert.convert_sections, durable=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def campaign(root: Path) -> Path:
    """One attempt a section, two frames of 2 x 2 each."""
    attempt(root / "TestSection1" / "T0" / "attempt0")
    attempt(root / "TestSection2" / "20Frames" / "10s" / "T0" / "attempt0", name="DarkT0_exp10sAt0f{}.raw")
    attempt(root / "TestSection3" / "T0" / "attempt0", name="FlatT0_exp1sAt0f{}.raw")
    return root


def sections(root: Path) -> list[Section]:
    return [Section(root / f"TestSection{n}", kind) for n, kind in enumerate(("BIAS", "DARK", "FLAT"), 1)]


def stored(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: bytes and time."""
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_log_values_become_keywords_of_a_standard_file(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "in" / "TestSection1" / "attempt0")
    (folder / "temperatureLog.csv").write_text(
        "FrameNum,TimeStamp,ExtTemperature,ExpTime,RealExpTime,ExpGain,Temperature,InitialTemp,SetTemp\n0,100,5,12,13,2,-10,-11,77\n"
    )
    before = stored(tmp_path / "in")
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert stored(tmp_path / "in") == before
    with fits.open(made.frames[0].path, checksum=True, memmap=False) as hdus:
        hdus.verify("exception")
        header, data = hdus[0].header, hdus[0].data
    assert {key: header[key] for key in ("FRAMENUM", "TIMESTAMP", "TEMP", "TEMP_0", "EQTEMP", "GAIN", "SETTEMP")} == {
        "FRAMENUM": 0,
        "TIMESTAMP": 100,
        "TEMP": -10,
        "TEMP_0": -11,
        "EQTEMP": 5,
        "GAIN": 2,
        "SETTEMP": 77,
    }
    assert header["EXPTIME"] == pytest.approx(1.2e-5)
    assert header["CALTYPE"] == "BIAS"
    assert header["BITPIX"] == 16
    assert header["BZERO"] == 32768
    assert header["BIT_DEPTH"] == 16
    assert data.dtype == np.uint16
    assert np.all(data == 0)


def test_frames_keep_their_numbers_in_16_and_8_bits(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    pixels = np.array([[0, 65535], [32768, 17]], np.uint16)
    pixels.astype("<u2").tofile(folder / "frames" / "BiasT0_exp0.1sAt0f0.raw")
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    np.testing.assert_array_equal(read_image(made.frames[0].path), pixels)
    (folder / "configFile.txt").write_text("WIDTH=4\nHEIGHT=2\nBIT_DEPTH=8\n")
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out8")
    with fits.open(made.frames[0].path, checksum=True, memmap=False) as hdus:
        assert hdus[0].data.tolist() == np.frombuffer(pixels.astype("<u2").tobytes(), np.uint8).reshape(2, 4).tolist()


@pytest.mark.parametrize("kind", ["BIAS", "DARK", "FLAT"])
def test_a_skipped_kind_is_left_out_everywhere(tmp_path: Path, kind: str) -> None:
    root = campaign(tmp_path / "in")
    made = convert_sections(sections(root), None, skipped=(kind,))
    assert len(made.frames) == 4
    kinds = {row["CALTYPE"] for row in rows_of(root / "fits_index.csv")}
    assert kinds == {"BIAS", "DARK", "FLAT"} - {kind}
    skipped = root / f"TestSection{('BIAS', 'DARK', 'FLAT').index(kind) + 1}"
    assert not list(skipped.rglob("fits"))


def test_no_attempt_folder_and_bias_skipped(tmp_path: Path) -> None:
    for kind in ("Bias", "Dark", "Flat"):
        attempt(tmp_path / kind / "20Frames" / "T20" / "T0" / "0.4s")
    made = convert_sections([Section(tmp_path / k, k.upper()) for k in ("Bias", "Dark", "Flat")], None, skipped=("BIAS",))
    assert [frame.path.parent.name for frame in made.frames] == ["fits"] * 4
    assert not (tmp_path / "Bias/20Frames/T20/T0/0.4s/fits").exists()
    assert (tmp_path / "fits_index.csv").exists()


def test_a_short_raw_is_rejected_and_with_padding_filled_and_marked(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "in" / "TestSection1" / "attempt0")
    np.array([1, 2, 3], "<u2").tofile(folder / "frames" / "BiasT0_exp0.1sAt0f0.raw")
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert len(made.frames) == 1
    assert "BADSIZE" in made.rejected[0][1]
    assert "BADSIZE" in rows_of(tmp_path / "out" / "rejected.csv")[0]["REASON"]
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "padded", layout=RawLayout(pad=True))
    assert read_image(made.frames[0].path).tolist() == [[1, 2], [3, 0]]
    assert fits.getheader(made.frames[0].path)["BADSIZE"] is True
    assert rows_of(tmp_path / "padded" / "fits_index.csv")[0]["BADSIZE"] == "True"


def test_existing_fits_are_used_and_nothing_is_converted_again(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "attempt0")
    (folder / "fits").mkdir()
    fits.writeto(folder / "fits" / "old.fits", np.zeros((2, 2), np.uint16))
    made = convert_sections([Section(tmp_path)], None)
    assert [frame.path.name for frame in made.frames] == ["old.fits"]
    assert "not converted again" in made.attempts[0].warnings[0]


def test_our_own_unfinished_conversion_in_place_is_completed(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "attempt0")
    convert_sections([Section(tmp_path)], None)
    whole = stored(tmp_path)
    (folder / "fits" / "BiasT0_exp0.1sAt0f1.fits").unlink()
    made = convert_sections([Section(tmp_path)], None)
    assert sorted(frame.made for frame in made.frames) == [False, True]
    assert {name: data for name, (data, _) in stored(tmp_path).items()} == {name: data for name, (data, _) in whole.items()}


def test_a_second_run_writes_nothing_and_a_corrected_log_does(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    first = {name: value for name, value in stored(tmp_path / "out").items() if name.endswith(".fits")}
    again = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert not any(frame.made for frame in again.frames)
    assert {name: value for name, value in stored(tmp_path / "out").items() if name.endswith(".fits")} == first
    (folder / "temperatureLog.csv").write_text("FrameNum,TimeStamp,ExpTime,Temperature\n0,100,12,-7\n1,110,12,-0.5\n")
    corrected = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert [frame.made for frame in corrected.frames] == [True, False]


def test_missing_sections_and_empty_ones_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = convert_sections([Section(tmp_path / "absent"), Section(tmp_path / "empty")], tmp_path / "out", search_depth=3)
    assert "left out" in made.warnings[0]
    assert "--search-depth 5" in made.warnings[1]
    assert not (tmp_path / "out").exists()


def test_a_full_disk_passes_and_leaves_no_half_file(tmp_path: Path) -> None:
    attempt(tmp_path / "in" / "attempt0")

    def full(stage: str, _final: Path) -> None:
        if stage == "write":
            raise OSError(28, "No space left on device")

    with injected_faults(full), pytest.raises(TransientError):
        convert_sections([Section(tmp_path / "in")], tmp_path / "out", threads=1)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "configFile.txt").write_text("WIDTH=2\nHEIGHT=two\n"), "HEIGHT"),
        (lambda f: (f / "configFile.txt").write_bytes(b"\0\0"), "no text"),
        (lambda f: (f / "configFile.txt").unlink(), "BADSIZE"),
    ],
)
def test_an_unusable_configuration_rejects_the_attempt_with_its_reason(
    tmp_path: Path, break_it: Callable[[Path], object], said: str
) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    break_it(folder)
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert made.frames == []
    assert [said in reason for _, reason in made.rejected] == [True, True]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("restarts", [True, False])
def test_simulated_campaigns_are_found_whole_in_every_layout(tmp_path: Path, layout: str, restarts: bool) -> None:
    make_campaign(tmp_path / "sim", lab_plan("tiny", layout=layout, restarts=restarts, messy=True), 3)
    truth = json.loads((tmp_path / "sim" / "truth.json").read_text())
    made = convert_sections([Section(tmp_path / "sim" / "campaign")], tmp_path / "out")
    assert len(made.frames) == len(truth["frames"]) == 42
    found = {frame.path.relative_to(tmp_path / "out").as_posix(): frame.keywords for frame in made.frames}
    for one in truth["frames"]:
        keywords = found[one["file"].replace("/frames/", "/fits/").replace(".raw", ".fits")]
        assert keywords["TEMP"] == one["temperature_c"]
        assert keywords["CALTYPE"] == one["kind"]


def _convert_and_die(root: Path, out: Path, after: int) -> None:
    """Convert until ``after`` frames are made, and be killed in the middle of the next one."""
    left = [after]

    def deadly(stage: str, final: Path) -> None:
        if stage == "publish" and final.suffix == ".fits":
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with injected_faults(deadly):
        convert_sections([Section(root)], out)


def test_killed_in_the_middle_of_300_raws_and_started_again(tmp_path: Path) -> None:
    for a in range(15):
        folder = attempt(tmp_path / "in" / "TestSection1" / f"T{a}" / "attempt0")
        for n in range(2, 20):
            np.full((2, 2), 16 * n, "<u2").tofile(folder / "frames" / f"BiasT{a}_exp0.1sAt0f{n}.raw")
    whole = convert_sections([Section(tmp_path / "in")], tmp_path / "whole")
    assert len(whole.frames) == 300
    for after in (140, 60):
        process = multiprocessing.get_context("fork").Process(target=_convert_and_die, args=(tmp_path / "in", tmp_path / "out", after))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert sum(frame.made for frame in made.frames) < 110
    one, other = ({name: data for name, (data, _) in stored(tmp_path / folder).items()} for folder in ("whole", "out"))
    assert one == other
    assert len(rows_of(tmp_path / "out" / "fits_index.csv")) == 300


def test_attempts_named_twice_are_converted_once(tmp_path: Path) -> None:
    root = campaign(tmp_path / "in")
    made = convert_sections([Section(root), Section(root / "TestSection1")], tmp_path / "out")
    assert len(made.frames) == 6
    assert len(find_attempts(root)) == 3


def frames_of(made: convert.Conversion) -> dict[str, tuple[bool, list[list[int]]]]:
    return {frame.path.name: (frame.made, read_image(frame.path).tolist()) for frame in made.frames}


@pytest.mark.parametrize(
    "layout", [RawLayout(byte_order="big"), RawLayout(shift_bits=4), RawLayout(header_bytes=2, pad=True), RawLayout()], ids=str
)
def test_other_options_convert_again_and_going_back_does_too(tmp_path: Path, layout: RawLayout) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    np.array([[16, 32], [48, 4112]], "<u2").tofile(folder / "frames" / "BiasT0_exp0.1sAt0f0.raw")
    usual = frames_of(convert_sections([Section(tmp_path / "in")], tmp_path / "out"))
    other = frames_of(convert_sections([Section(tmp_path / "in")], tmp_path / "out", layout=layout))
    fresh = frames_of(convert_sections([Section(tmp_path / "in")], tmp_path / "fresh", layout=layout))
    assert {name: pixels for name, (_, pixels) in other.items()} == {name: pixels for name, (_, pixels) in fresh.items()}
    assert all(made is (layout != RawLayout()) for made, _ in other.values())
    back = frames_of(convert_sections([Section(tmp_path / "in")], tmp_path / "out"))
    assert {name: pixels for name, (_, pixels) in back.items()} == {name: pixels for name, (_, pixels) in usual.items()}


@pytest.mark.parametrize(("stored", "told"), [("<u2", "little"), (">u2", "big")])
def test_raws_of_the_other_byte_order_are_named_not_converted(tmp_path: Path, stored: str, told: Literal["little", "big"]) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    (folder / "configFile.txt").write_text("WIDTH=64\nHEIGHT=48\nBIT_DEPTH=16\n")
    rng = np.random.default_rng(1)
    for raw in (folder / "frames").iterdir():
        rng.normal(900, 7, (48, 64)).astype(stored).tofile(raw)
    other: Literal["little", "big"] = "big" if told == "little" else "little"
    wrong = convert_sections([Section(tmp_path / "in")], tmp_path / "wrong", layout=RawLayout(byte_order=other))
    assert not wrong.frames
    assert len(wrong.rejected) == 2
    assert all(f"say byte_order = {told}" in reason for _, reason in wrong.rejected)
    assert len(convert_sections([Section(tmp_path / "in")], tmp_path / "right", layout=RawLayout(byte_order=told)).frames) == 2


def test_a_raw_that_was_replaced_under_an_old_time_is_converted_again(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    raw = folder / "frames" / "BiasT0_exp0.1sAt0f0.raw"
    convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    np.full((2, 2), 4000, "<u2").tofile(raw)
    os.utime(raw, (1e9, 1e9))
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    assert frames_of(made)[raw.stem + ".fits"] == (True, [[4000, 4000], [4000, 4000]])
    os.utime(raw, (1e9, 1e9))  # touched, but the same
    assert not any(frame.made for frame in convert_sections([Section(tmp_path / "in")], tmp_path / "out").frames)


def test_raws_beside_a_folder_of_frames_are_converted_too(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "in" / "attempt0")
    np.full((2, 2), 4000, "<u2").tofile(folder / "BiasT0_exp0.1sAt0f7.raw")
    np.full((2, 2), 5000, "<u2").tofile(folder / "BiasT0_exp0.1sAt0f1.raw")
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out")
    found = frames_of(made)
    assert {name[-7:-5]: pixels[0][0] for name, (_, pixels) in found.items()} == {"f0": 0, "f1": 16, "f7": 4000}
    ((path, reason),) = made.rejected
    assert path == folder / "BiasT0_exp0.1sAt0f1.raw"
    assert "another raw of this name" in reason


def test_raws_that_no_existing_fits_stands_for_are_converted(tmp_path: Path) -> None:
    folder = attempt(tmp_path / "attempt0")
    (folder / "fits").mkdir()
    fits.writeto(folder / "fits" / "BiasT0_exp0.1sAt0f0.fits", np.full((2, 2), 9, np.uint16))
    before = (folder / "fits" / "BiasT0_exp0.1sAt0f0.fits").read_bytes()
    for out in (tmp_path / "out", None):
        made = convert_sections([Section(tmp_path)], out)
        assert {name: pixels[0][0] for name, (_, pixels) in frames_of(made).items()} == {
            "BiasT0_exp0.1sAt0f0.fits": 9,
            "BiasT0_exp0.1sAt0f1.fits": 16,
        }
        assert "1 of its 2 raws" in made.attempts[0].warnings[0]
    assert (folder / "fits" / "BiasT0_exp0.1sAt0f0.fits").read_bytes() == before


@pytest.mark.parametrize("ending", [".fits", ".FIT", ".fits.gz", ".fts"])
def test_a_fits_stands_for_its_raw_whatever_its_ending(ending: str) -> None:
    raws = [Path("a/x.1.raw"), Path("a/y.RAW")]
    assert convert.covered(raws, [Path(f"a/fits/X.1{ending}")]) == raws[:1]
    assert convert.covered(raws, [Path("a/fits/other.fits")]) == raws
    assert convert.covered(raws, []) == []


def test_what_a_former_run_wrote_below_its_own_input_is_no_input(tmp_path: Path) -> None:
    from tasks.lab_run import campaign as whole

    attempt(tmp_path / "TestSection1" / "attempt0")
    for _ in range(2):
        assert len(whole([tmp_path], tmp_path / "out").frames) == 2


@pytest.mark.parametrize(("order", "header"), [("little", 0), ("big", 512)])
def test_a_raw_frame_that_was_never_written_to_its_end_is_rejected(tmp_path: Path, order: Literal["little", "big"], header: int) -> None:
    """A copy that allocates first and broke off leaves zeros at the end; darks may hold zeros of their own."""
    folder = attempt(tmp_path / "in" / "TestSection1" / "attempt0")
    (folder / "configFile.txt").write_text("WIDTH=600\nHEIGHT=40\nBIT_DEPTH=16\n")
    rng = np.random.default_rng(1)
    whole = rng.normal(1000.0, 5.0, (40, 600)).round().astype("<u2" if order == "little" else ">u2")
    cut, dark = whole.copy(), rng.normal(0.0, 1.0, (40, 600)).clip(0).round().astype(whole.dtype)
    cut[25:] = 0
    for number, pixels in enumerate((whole, cut, dark)):
        (folder / "frames" / f"BiasT0_exp0.1sAt0f{number}.raw").write_bytes(bytes(header) + pixels.tobytes())
    layout = RawLayout(byte_order=order, header_bytes=header)
    made = convert_sections([Section(tmp_path / "in")], tmp_path / "out", layout=layout)
    assert sorted(str(frame.keywords["RAWFILE"]) for frame in made.frames) == ["BiasT0_exp0.1sAt0f0.raw", "BiasT0_exp0.1sAt0f2.raw"]
    (rejected,) = made.rejected
    assert "9000 of its 24000 pixels were never written" in str(rejected)
