"""The GODO reduction as one flow, on a small night of known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.frames.model import FrameHeader
from nightcrew.tools.recipe import NightFrame, by_exposure, disagreements, odd_frames, set_ups
from nightcrew.tools.recipe_night import reduce_night
from nightcrew.tools.recipe_run import Options
from tests.tools.command import Runner
from tests.tools.making import header, values
from tests.tools.small_night import DARK_OFFSET, DARK_SLOPE, Truth, make


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth, list[str]]:
    """The night, reduced once for all tests; what the flow said."""
    folder = tmp_path_factory.mktemp("night")
    truth = make(folder)
    said: list[str] = []
    reduce_night(sorted(folder.glob("*.fit")), folder / "out", Options(), say=said.append)
    return folder / "out", truth, said


Night = tuple[Path, Truth, list[str]]


def main_folder(night: Night) -> Path:
    return night[0] / "setup_1"


def test_groups_by_set_up_and_says_who_disagrees_and_why(night: Night) -> None:
    assert "another set-up: 20210227.0034.fit: gain setting 800 instead of 100" in night[2]
    assert any(line.startswith("set-up 1: Test camera") and "8 bias, 10 dark, 10 flat, 5 light" in line for line in night[2])
    assert {path.name for path in night[0].iterdir()} == {"setup_1", "setup_2", "summary.json"}


def test_odd_dark_is_left_out_and_named(night: Night) -> None:
    assert any("20210227.0009.fit: its level in the box is" in line for line in night[2])
    made = header(main_folder(night) / "dark_60s.fits")
    assert made["NCOMBINE"] == 4
    assert made["IMC_0000"] == "20210227.0010.fit"


def test_mean_bias_is_the_bias(night: Night) -> None:
    difference = values(main_folder(night) / "bias.fits") - night[1].bias
    assert abs(difference.mean()) < 0.05
    assert difference.std() < 1.3


def test_dark_line_is_the_truth_within_its_adopted_error(night: Night) -> None:
    found = {q["name"]: q for q in json.loads((night[0] / "summary.json").read_text())["quantities"]}
    for name, truth in (("dark_offset", DARK_OFFSET), ("dark_slope", DARK_SLOPE)):
        assert abs(found[name]["value"] - truth) < 4 * found[name]["error"]
        assert found[f"{name}_error_unit"]["value"] > found[name]["error"]
        assert found[f"{name}_error_scatter"]["value"] is not None


def test_darks_of_flats_and_odd_lights_are_scaled_at_full_precision(night: Night) -> None:
    content = json.loads((night[0] / "summary.json").read_text())
    factors = {q["where"]["exposure_s"]: q["value"] for q in content["quantities"] if q["name"] == "dark_scale_factor"}
    assert sorted(factors) == [2.0, 10.0, 30.0]
    line = {q["name"]: q["value"] for q in content["quantities"] if q["name"] in ("dark_offset", "dark_slope")}
    for exposure_s, factor in factors.items():
        wanted = (line["dark_offset"] + line["dark_slope"] * exposure_s) / (line["dark_offset"] + line["dark_slope"] * 180)
        assert factor == pytest.approx(wanted, rel=1e-12)
    assert content["grade"] == "C"


@pytest.mark.parametrize("name", ["R", "Ha"])
def test_trailed_flats_leave_at_most_four_per_mille(night: Night, name: str) -> None:
    flat = values(main_folder(night) / f"flat_{name}.fits").astype(np.float64)
    error = flat / night[1].flats[name] - 1
    assert flat.mean() == pytest.approx(1, abs=1e-6)
    assert error.std() <= 0.004
    assert np.abs(error).max() < 0.03
    assert header(main_folder(night) / f"flat_{name}.fits")["IMC_CLIP"] == "max"


def test_a_plain_median_would_be_worse(night: Night, tmp_path: Path) -> None:
    paths = sorted(night[0].parent.glob("*.fit"))
    reduce_night(paths, tmp_path / "plain", Options(flat_drop_highest=0), say=lambda _: None)
    errors = [np.std(values(folder / "setup_1" / "flat_R.fits") / night[1].flats["R"] - 1) for folder in (night[0], tmp_path / "plain")]
    assert errors[0] < errors[1]


def test_lights_are_sky_and_star_with_an_honest_uncertainty(night: Night) -> None:
    ccd = CCDData.read(main_folder(night) / "light_20210227.0029.fits")
    assert str(ccd.unit) == "adu"
    corner = (slice(0, 20), slice(0, 20))
    assert np.median(ccd.data[corner]) == pytest.approx(200, abs=1.5)
    assert ccd.uncertainty is not None
    assert np.median(ccd.uncertainty.array[corner]) == pytest.approx(ccd.data[corner].std(), rel=0.15)


def test_a_mean_per_target_and_filter(night: Night) -> None:
    made = {path.name for path in main_folder(night).glob("mean_*")}
    assert made == {"mean_M-1_R_120s.fits", "mean_M-1_Ha_180s.fits", "mean_NGC-7_R_30s.fits"}
    cards = header(main_folder(night) / "mean_M-1_R_120s.fits")
    assert (cards["NCOMBINE"], cards["EXPTIME"], cards["TEXPTIME"]) == (2, 120.0, 240.0)
    assert cards["OBJECT"] == "M 1"


def test_light_without_a_flat_is_left_out_with_the_reason(night: Night) -> None:
    warnings = json.loads((night[0] / "summary.json").read_text())["warnings"]
    assert "20210227.0033.fit was left out: there is no flat of filter V" in warnings


def test_the_same_night_gives_the_same_bytes(night: Night, tmp_path: Path) -> None:
    paths = sorted(night[0].parent.glob("*.fit"))
    reduce_night(paths[::-1], tmp_path / "again", Options(), say=lambda _: None)
    one, other = ({path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")} for out in (night[0], tmp_path / "again"))
    assert Path("summary.json") in one
    assert [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)] == []


def test_blank_pixels_and_nan_make_no_frame_odd_and_no_value(tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(6), []
    for number in range(10):
        pixels = rng.normal(300 if number < 5 else 320, 3, (20, 24)).round().astype(np.int16)
        hdu = fits.PrimaryHDU(pixels if number < 5 else pixels.astype(np.float32))
        hdu.data[9, 11] = -7 if number < 5 else np.nan
        if number < 5:
            hdu.header["BLANK"] = -7
        hdu.header["IMAGETYP"], hdu.header["EXPTIME"] = ("bias", 0.0) if number < 5 else ("dark", 30.0)
        hdu.header["DATE-OBS"] = f"2021-02-27T00:0{number}:00"
        paths.append(tmp_path / f"n{number}.fits")
        hdu.writeto(paths[-1])
    result = reduce_night(paths, tmp_path / "out", Options(), say=lambda _: None)
    assert result.outcomes[0].left_out == {}
    for name, used in (("bias.fits", 5), ("dark_30s.fits", 5)):
        made = values(tmp_path / "out" / name)
        assert header(tmp_path / "out" / name)["NCOMBINE"] == used
        assert np.argwhere(np.isnan(made)).tolist() == [[9, 11]]
        assert values(tmp_path / "out" / name, "MASK")[9, 11] == PixelFlag.NO_DATA


@pytest.mark.parametrize(
    ("datasec", "data_and_ccd"), [("[5:28,1:20]", (None, "[1:20,3:18]")), ("[9:28,1:20]", ("[5:20,1:16]", "[5:20,3:18]"))]
)
def test_what_is_trimmed_points_at_the_same_sky_and_chip(tmp_path: Path, datasec: str, data_and_ccd: tuple[str | None, str]) -> None:
    cards = {"CRPIX1": 30.0, "CRPIX2": 10.0, "CRVAL1": 83.0, "CRVAL2": 22.0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    cards |= {"TRIMSEC": "[5:24,3:18]", "BIASSEC": "[1:4,1:20]", "DATASEC": datasec, "CCDSEC": f"[{int(datasec[1]) - 4}:24,1:20]"}
    paths = []
    for number in range(5):
        hdu = fits.PrimaryHDU(np.random.default_rng(number).normal(300, 3, (20, 28)).round().astype(np.int16))
        hdu.header.update(cards | {"IMAGETYP": "bias", "EXPTIME": 0.0, "DATE-OBS": f"2021-02-27T00:0{number}:00"})
        paths.append(tmp_path / f"n{number}.fits")
        hdu.writeto(paths[-1])
    reduce_night(paths, tmp_path / "out", Options(), say=lambda _: None)
    made = header(tmp_path / "out" / "bias.fits")
    assert values(tmp_path / "out" / "bias.fits").shape == (16, 20)
    assert (made["CRPIX1"], made["CRPIX2"], made["LTV1"], made["LTV2"]) == (26.0, 8.0, -4.0, -2.0)
    assert (made.get("DATASEC"), made["CCDSEC"]) == data_and_ccd
    assert not {"TRIMSEC", "BIASSEC"} & set(made)


def test_frames_that_are_cut_short_are_left_out_and_named(tmp_path: Path) -> None:
    make(tmp_path)
    for number in (3, 9, 10, 20):  # a bias, two darks of 60 s, a flat
        path = tmp_path / f"20210227.{number:04d}.fit"
        path.write_bytes(path.read_bytes()[:6000])
    paths = sorted(tmp_path.glob("*.fit"))[:23]
    outcome = reduce_night(paths, tmp_path / "out", Options(), say=lambda _: None).outcomes[0]
    assert sorted(outcome.left_out) == [f"20210227.{number:04d}.fit" for number in (3, 9, 10, 20)]
    assert all("cut short" in reason for reason in outcome.left_out.values())
    assert [header(tmp_path / "out" / name)["NCOMBINE"] for name in ("bias.fits", "dark_60s.fits", "flat_R.fits")] == [7, 3, 4]
    spoilt = reduce_night([paths[2], paths[0]], tmp_path / "few", Options(), say=lambda _: None)
    assert spoilt.outcomes[0].written == ["bias.fits"]
    with pytest.raises(RejectedInput, match="cut short"):
        reduce_night([paths[2]], tmp_path / "none", Options(), say=lambda _: None)


def test_recipe_from_the_shell(frames: Runner, folder: Path) -> None:
    make(folder)
    ran = frames("recipe", "*.fit", "-o", "out")
    assert ran.code == 0
    assert "dark counts = offset + slope x exposure, 3 exposures:" in ran.out
    assert "by 1 count a point 1.528" in ran.out
    assert "images and summary.json in out" in ran.out
    assert "exists already" in frames.fails("recipe", "*.fit", "-o", "out")


def test_the_readme_by_hand_gives_the_recipes_images(frames: Runner, folder: Path, night: Night) -> None:
    """The steps of GODO's README typed one by one: bias, subtract, dark, flats less their dark, flat."""
    make(folder)
    assert frames("combine", "20210227.000[1-8].fit", "-m", "mean", "-o", "mean_bias.fit").code == 0
    assert frames("arith", "20210227.001[6-8].fit,20210227.002[4-8].fit", "-", "mean_bias.fit", "-o", "bsub").code == 0
    assert frames("combine", "bsub.001[6-8].fit", "-m", "mean", "-o", "mean_dark180.fit").code == 0
    assert values("mean_dark180.fit") == pytest.approx(values(main_folder(night) / "dark_180s.fits"), abs=1e-3)
    content = json.loads((night[0] / "summary.json").read_text())
    factor = next(q["value"] for q in content["quantities"] if q["name"] == "dark_scale_factor" and q["where"]["exposure_s"] == 10.0)
    assert frames("arith", "mean_dark180.fit", "x", repr(factor), "-o", "dark10sec.fit").code == 0
    assert frames("arith", "bsub.002[4-8].fit", "-", "dark10sec.fit", "-o", "dbsub").code == 0
    assert frames("combine", "-m", "median", "-c", "max", "-d", "1", "-n", "mean", "-u", "dbsub.002[4-8].fit", "-o", "ha.fit").code == 0
    assert values("ha.fit") == pytest.approx(values(main_folder(night) / "flat_Ha.fits"), abs=2e-6)


def test_nothing_usable_is_one_sentence_and_leaves_nothing(frames: Runner, folder: Path) -> None:
    (folder / "a.fit").write_text("no FITS")
    ran = frames("recipe", "*.fit", "-o", "out")
    assert ran.code == 1
    assert ran.err == "nightcrew: nothing could be made of 1 files: a.fit: is not a FITS file (it does not begin with SIMPLE =)\n"
    assert [path.name for path in folder.iterdir()] == ["a.fit"]


def test_night_without_darks_names_what_is_missing(folder: Path) -> None:
    make(folder)
    said: list[str] = []
    paths = [path for path in sorted(folder.glob("*.fit")) if header(path)["IMAGETYP"] != "Dark Frame"]
    result = reduce_night(paths, folder / "out", Options(), say=said.append)
    assert result.written == 2  # the two mean biases
    assert any("there is no dark frame in its set-up" in line for line in said)


def test_one_dark_exposure_makes_no_line(folder: Path) -> None:
    make(folder)
    paths = [p for p in sorted(folder.glob("*.fit")) if header(p)["IMAGETYP"] != "Dark Frame" or header(p)["EXPTIME"] == 120.0]
    said: list[str] = []
    reduce_night(paths, folder / "out", Options(), say=said.append)
    assert "a dark line needs darks of two exposures or more, there are 1" in said
    assert any("with darks of one exposure none can be scaled" in line for line in said)


def frame(name: str, **facts: object) -> NightFrame:
    return NightFrame(Path(name), FrameHeader.from_dict({"kind": "dark", "instrument": "i", "profile": "p", **facts}))


def test_temperatures_split_at_gaps_and_unknown_ones_join_the_largest() -> None:
    made = [frame(f"a{t}", temperature_c=t) for t in (-10.2, -9.8, -10.0, -5.1)] + [frame("u")]
    groups = set_ups(made)
    assert [len(group.frames) for group in groups] == [4, 1]
    assert disagreements(groups) == ["a-5.1: temperature -5.1 C instead of -10.0 C"]


def test_exposures_group_within_a_per_mille() -> None:
    assert {k: len(v) for k, v in by_exposure([frame("a", exposure_s=t) for t in (60.0, 60.01, 60.0, 61.0)]).items()} == {60.0: 3, 61.0: 1}


def test_odd_frames_need_three_and_name_level_or_scatter() -> None:
    assert odd_frames([1.0, 90.0], [3.0, 3.0]) == {}
    assert list(odd_frames([12.0, 11.9, 12.1, 27.0], [3.0] * 4)) == [3]
    assert "scatter" in odd_frames([12.0, 11.9, 12.1, 12.0], [3.0, 3.0, 3.0, 9.0])[3]
    assert odd_frames([12.0, 12.05, 11.97], [3.0, 3.05, 2.97]) == {}


def test_existing_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "out").mkdir()
    reduce_night(sorted(tmp_path.glob("*.fit")), tmp_path / "out", Options(), say=lambda _: None)
    assert (tmp_path / "out" / "summary.json").exists()
    with pytest.raises(RejectedInput, match="nothing could be made"):
        reduce_night([tmp_path / "20210227.0020.fit"], tmp_path / "out2", Options(), say=lambda _: None)
    assert not (tmp_path / "out2").exists()
    assert not list(tmp_path.glob(".nightcrew*"))
