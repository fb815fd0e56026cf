"""``frames combine``: GODO's order of operations and header record (the defects of combine_fits, section 3.5)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.units import Unit

from nightcrew.frames.flags import PixelFlag
from tests.tools.command import Runner
from tests.tools.making import header, values, write

SHAPE = (12, 15)


@pytest.fixture
def stack(folder: Path) -> np.ndarray[Any, Any]:
    """Five frames f0..f4.fits of uint16 and what they hold, as float64."""
    rng = np.random.default_rng(4)
    frames = rng.integers(900, 1100, (5, *SHAPE)).astype(np.uint16) * np.arange(1, 6, dtype=np.uint16)[:, None, None]
    for number, pixels in enumerate(frames):
        cards = {"DATE-OBS": f"2021-02-27T0{number}:00:00", "EXPTIME": 60.0 * (number + 1), "OBJECT": "M 31", "AIRMASS": 1.0 + number}
        write(folder / f"f{number}.fits", pixels, cards)
    return frames.astype(np.float64)


def made(name: str = "o.fits") -> Any:
    return values(name).astype(np.float64)


@pytest.mark.parametrize(
    ("words", "truth"),
    [
        (["-m", "median"], lambda s: np.median(s, axis=0)),
        (["-m", "mean"], lambda s: s.mean(axis=0)),
        (["-m", "average"], lambda s: s.mean(axis=0)),
        (["-m", "sum"], lambda s: s.sum(axis=0)),
        (["-m", "min"], lambda s: s.min(axis=0)),
        (["-m", "max"], lambda s: s.max(axis=0)),
        (["-m", "std"], lambda s: s.std(axis=0)),
        (["-m", "rms"], lambda s: s.std(axis=0)),
        (["-m", "var"], lambda s: s.var(axis=0)),
        (["-m", "root_mean_square"], lambda s: np.sqrt((s**2).mean(axis=0))),
        (["-m", "quantile", "-a", "0.25"], lambda s: np.quantile(s, 0.25, axis=0)),
        (["-m", "percentile", "-a", "25"], lambda s: np.quantile(s, 0.25, axis=0)),
        (["-m", "average", "-a", "1,2,3,4,5"], lambda s: np.average(s, axis=0, weights=[1, 2, 3, 4, 5])),
        (["-m", "average", "-a", "mean"], lambda s: np.average(s, axis=0, weights=s.mean(axis=(1, 2)))),
        (["-m", "average", "-a", "median"], lambda s: np.average(s, axis=0, weights=np.median(s, axis=(1, 2)))),
        (["-m", "average", "-a", "sum"], lambda s: np.average(s, axis=0, weights=s.sum(axis=(1, 2)))),
        (["-m", "average", "-a", "exposure"], lambda s: np.average(s, axis=0, weights=[1, 2, 3, 4, 5])),
        (["-m", "mean", "-c", "max", "-d", "1"], lambda s: np.sort(s, axis=0)[:-1].mean(axis=0)),
        (["-m", "mean", "-c", "min", "-d", "2"], lambda s: np.sort(s, axis=0)[2:].mean(axis=0)),
        (["-m", "mean", "-c", "minmax", "-d", "1"], lambda s: np.sort(s, axis=0)[1:-1].mean(axis=0)),
        (["-m", "mean", "-c", "minmax", "-d", "1,0"], lambda s: np.sort(s, axis=0)[1:].mean(axis=0)),
        (["-m", "mean", "-c", "max", "-d", "0"], lambda s: s.mean(axis=0)),
        (["-m", "mean", "-n", "mean"], lambda s: (s * (s[0].mean() / s.mean(axis=(1, 2)))[:, None, None]).mean(axis=0)),
        (["-m", "mean", "-n", "median"], lambda s: (s * (np.median(s[0]) / np.median(s, axis=(1, 2)))[:, None, None]).mean(axis=0)),
        (["-m", "mean", "-n", "sum"], lambda s: (s * (s[0].sum() / s.sum(axis=(1, 2)))[:, None, None]).mean(axis=0)),
        (["-m", "max", "-n", "mean", "--additive"], lambda s: (s + (s[0].mean() - s.mean(axis=(1, 2)))[:, None, None]).max(axis=0)),
        (
            ["-m", "mean", "-n", "mean", "-b", "2", "6", "1", "4"],
            lambda s: (s * (s[0, 1:4, 2:6].mean() / s[:, 1:4, 2:6].mean(axis=(1, 2)))[:, None, None]).mean(axis=0),
        ),
        (["-m", "median", "-u"], lambda s: np.median(s, axis=0) / np.median(s, axis=0).mean()),
        (["-m", "mean", "-s", "14"], lambda s: s.mean(axis=0) * 2.0**14),
        (["-m", "mean", "-s", "-2"], lambda s: s.mean(axis=0) / 4),
        (["-m", "mean", "--dtype", "float64"], lambda s: s.mean(axis=0)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_result_is_that_of_plain_numpy(frames: Runner, stack: Any, words: list[str], truth: Any) -> None:
    assert frames("combine", "f?.fits", *words, "-o", "o.fits").code == 0
    assert made() == pytest.approx(truth(stack), rel=1e-6)


def test_order_of_operations_is_shift_normalise_clip_combine_unit(frames: Runner, stack: Any) -> None:
    assert frames("combine", "f?.fits", "-m", "median", "-c", "max", "-d", "1", "-n", "mean", "-u", "-s", "1", "-o", "o.fits").code == 0
    level = stack * 2
    level = level * (level[0].mean() / level.mean(axis=(1, 2)))[:, None, None]
    wanted = np.median(np.sort(level, axis=0)[:-1], axis=0)
    assert made() == pytest.approx(wanted / wanted.mean(), rel=1e-6)
    assert header("o.fits")["IMC_UNIT"] == pytest.approx(wanted.mean(), rel=1e-6)


@pytest.mark.usefixtures("stack")
def test_header_record_with_each_frames_own_date(frames: Runner) -> None:
    frames("combine", "f?.fits", "-m", "average", "-a", "exposure", "-c", "minmax", "-d", "1,1", "-s", "1", "-o", "o.fits")
    cards = header("o.fits")
    assert [cards[f"IMCD{i:04d}"] for i in range(5)] == [f"2021-02-27T0{i}:00:00.000" for i in range(5)]
    assert [cards[f"IMC_{i:04d}"] for i in range(5)] == [f"f{i}.fits" for i in range(5)]
    found = {key: cards[key] for key in ("IMC_NFIL", "IMC_MTHD", "IMC_MARG", "IM_BSHFT", "IMC_CLIP", "IMC_CARG", "NCOMBINE", "OBJECT")}
    wanted = {"IMC_NFIL": 5, "IMC_MTHD": "average", "IMC_MARG": "exposure", "IM_BSHFT": 1, "IMC_CLIP": "minmax", "IMC_CARG": "1,1"}
    assert found == {**wanted, "NCOMBINE": 5, "OBJECT": "M 31"}


@pytest.mark.usefixtures("stack")
def test_exposure_and_times_mean_something(frames: Runner) -> None:
    frames("combine", "f0.fits,f1.fits", "-m", "mean", "-o", "mean.fits")
    cards = header("mean.fits")
    assert (cards["EXPTIME"], cards["TEXPTIME"], cards["AIRMASS"]) == (90.0, 180.0, 1.5)
    assert (cards["DATE-OBS"], cards["DATE-END"]) == ("2021-02-27T00:00:00.000", "2021-02-27T01:02:00.000")
    # mid-times 00:00:30 (60 s) and 01:01:00 (120 s), weighted by exposure
    assert cards["DATE-AVG"] == "2021-02-27T00:40:50.000"
    frames("combine", "f0.fits,f1.fits", "-m", "sum", "-o", "sum.fits")
    assert header("sum.fits")["EXPTIME"] == 180.0
    frames("combine", "f0.fits,f1.fits", "-m", "average", "-a", "1,3", "-o", "w.fits")
    assert header("w.fits")["EXPTIME"] == 105.0


@pytest.mark.usefixtures("stack")
def test_all_planes_in_a_product(frames: Runner, stack: Any) -> None:
    assert frames("combine", "f?.fits", "-m", "mean", "--planes", "all", "-o", "o.fits").code == 0
    ccd = CCDData.read("o.fits")
    assert ccd.uncertainty is not None
    assert ccd.uncertainty.array == pytest.approx(stack.std(axis=0, ddof=1) / np.sqrt(5), rel=1e-5)
    assert (values("o.fits", "COUNT") == 5).all()
    assert (values("o.fits", "MASK") == 0).all()


def test_masks_and_nan_of_products_are_honoured(frames: Runner, folder: Path) -> None:
    mask = np.zeros(SHAPE, np.int16)
    mask[0, 0] = int(PixelFlag.COSMIC_RAY)
    write(folder / "a.fits", np.full(SHAPE, 9.0, np.float32), {"EXTNAME": "SCI"}, MASK=mask)
    second = np.full(SHAPE, 5.0, np.float32)
    second[1, 1] = np.nan
    write(folder / "b.fits", second)
    assert frames("combine", "a.fits", "b.fits", "-m", "mean", "-o", "o.fits").code == 0
    assert (made()[0, 0], made()[1, 1], made()[2, 2]) == (5.0, 9.0, 7.0)


def test_sigma_clipping_drops_the_cosmic_ray(frames: Runner, folder: Path) -> None:
    rng = np.random.default_rng(8)
    stack = rng.normal(100, 3, (15, *SHAPE)).astype(np.float32)
    clean = stack[1:].mean(axis=0)
    stack[0] += 5000
    for number, pixels in enumerate(stack):
        write(folder / f"s{number:02d}.fits", pixels)
    for words in (["-m", "sigclip"], ["-m", "mean", "-c", "sigma", "-d", "3"]):
        Path("o.fits").unlink(missing_ok=True)
        frames("combine", "s*.fits", *words, "-o", "o.fits")
        assert np.abs(made() - clean).max() < 1.0
    assert header("o.fits")["IMC_CARG"] == "3,3"
    assert frames("combine", "s*.fits", "-m", "sigclipmedian", "-d", "2.5,4", "-o", "m.fits").code == 0


def test_float_frames_can_be_shifted(frames: Runner, folder: Path) -> None:
    write(folder / "a.fits", np.full(SHAPE, 1.5, np.float32))
    assert frames("combine", "a.fits", "-s", "2", "-o", "o.fits").code == 0
    assert (made() == 6).all()


def test_one_frame_is_brought_to_unit_mean_too(frames: Runner, stack: Any) -> None:
    assert frames("combine", "f0.fits", "-u", "-o", "o.fits").code == 0
    assert made() == pytest.approx(stack[0] / stack[0].mean(), rel=1e-6)


def test_cubes_plane_by_plane_and_along_the_first_axis(frames: Runner, folder: Path) -> None:
    cubes = np.random.default_rng(9).integers(1, 1000, (3, 4, *SHAPE)).astype(np.int16)
    third = {
        "WCSAXES": 3,
        "CTYPE3": "TIME",
        "CRPIX3": 1.0,
        "CRVAL3": 5.0,
        "CD3_3": 2.0,
        "PC1_3": 0.0,
        "LTV3": -1.0,
        "CRPIX1": 4.0,
        "CD1_1": 1.0,
    }
    for number, cube in enumerate(cubes):
        write(folder / f"c{number}.fits", cube, third)
    assert frames("combine", "c?.fits", "-m", "median", "-o", "o.fits").code == 0
    assert np.array_equal(made(), np.median(cubes, axis=0))
    assert set(third) <= set(header("o.fits"))
    assert frames("combine", "c0.fits", "-r", "-m", "mean", "-o", "r.fits").code == 0
    assert made("r.fits") == pytest.approx(cubes[0].mean(axis=0), rel=1e-6)
    assert header("r.fits")["IMCF0000"] == 4
    assert set(third) & set(header("r.fits")) == {"CRPIX1", "CD1_1"}
    assert frames("combine", "c?.fits", "-r", "-m", "sum", "-o", "s.fits").code == 0
    assert np.array_equal(made("s.fits"), cubes.sum(axis=(0, 1)))
    assert frames("combine", "c0.fits", "-m", "median", "-o", "same.fits").code == 0
    assert np.array_equal(made("same.fits"), cubes[0])
    assert frames("combine", "c?.fits", "-m", "mean", "-n", "mean", "-o", "n.fits").code == 0
    assert frames("combine", "c?.fits", "--planes", "all", "-o", "all.fits").code == 0
    assert (values("all.fits", "COUNT") == 3).all()
    factors = cubes[0].mean() / cubes.mean(axis=(1, 2, 3))
    assert made("n.fits") == pytest.approx((cubes * factors[:, None, None, None]).mean(axis=0), rel=1e-5)


def test_sums_keep_every_digit(frames: Runner, folder: Path) -> None:
    for number in range(3):
        write(folder / f"i{number}.fits", np.full(SHAPE, 2**26 + 1, np.int32))
    assert frames("combine", "i?.fits", "-m", "sum", "-o", "o.fits").code == 0
    assert (made() == 3 * (2**26 + 1)).all()


@pytest.mark.parametrize(
    ("words", "unit", "made_of"),
    [
        (["-m", "mean"], "MJy/sr", "MJy/sr"),
        (["-m", "var"], "ADU", "adu2"),
        (["-m", "var"], "electron / s", "electron2 / s2"),
        ([], None, "adu"),
    ],
)
def test_the_unit_keeps_its_meaning(frames: Runner, folder: Path, words: list[str], unit: str | None, made_of: str) -> None:
    for number in range(2):
        write(folder / f"u{number}.fits", np.full(SHAPE, number, np.float32), {"BUNIT": unit} if unit else {})
    assert frames("combine", "u?.fits", *words, "-o", "o.fits").code == 0
    assert header("o.fits")["BUNIT"] == made_of
    assert Unit(made_of) == Unit((unit or "adu").replace("ADU", "adu")) ** (2 if "var" in words else 1)


def test_units_that_differ_by_their_case_are_not_mixed(frames: Runner, folder: Path) -> None:
    for name, unit in (("a", "mJy"), ("b", "MJy")):
        write(folder / f"{name}.fits", np.ones(SHAPE, np.float32), {"BUNIT": unit})
    assert "do not agree in unit" in frames.fails("combine", "a.fits", "b.fits", "-o", "o.fits")
    assert "different units: mJy and MJy" in frames("arith", "a.fits", "+", "b.fits", "-o", "o.fits").err


CHIP = {"XORGSUBF": 100, "YORGSUBF": 20, "DATASEC": "[1:15,1:12]", "CCDSEC": "[101:115,21:32]"}


@pytest.mark.parametrize("words", [[], ["-u"], ["--dtype", "float64"]])
@pytest.mark.parametrize(
    ("key", "value"),
    [("XORGSUBF", 101), ("YORGSUBF", 0), ("CCDSEC", "[91:105,21:32]"), ("DATASEC", "[3:15,1:12]"), ("DETSEC", "[1:2,3:4]")],
)
def test_frames_of_other_parts_of_the_chip_are_named(frames: Runner, folder: Path, words: list[str], key: str, value: int | str) -> None:
    usual = {**CHIP, "DETSEC": "[115:101, 21:32]", "HISTORY": "as it was"}
    for number in range(4):
        write(folder / f"p{number}.fits", np.full(SHAPE, 5 + number, np.int16), usual if number != 2 else {**usual, key: value})
    ran = frames("combine", "p?.fits", *words, "-o", "o.fits")
    assert ran.code == 0
    said = f"the frames do not agree in {key}: p2.fits has {value}, 3 of 4 have {str(usual[key]).replace(' ', '')}"
    assert [line.partition(";")[0] for line in ran.err.splitlines()] == [said]
    cards = header("o.fits")
    assert key not in cards  # what holds for one frame only does not hold for the whole
    assert said.replace(" ", "") in "".join(str(line) for line in cards["HISTORY"]).replace(" ", "")
    assert cards["HISTORY"][0] == "as it was"


def test_a_frame_that_was_cut_elsewhere_is_named(frames: Runner, folder: Path) -> None:
    """Without an origin of the sub-frame by LTV, which is 0 where it is not given; with one that moved along, by that alone."""
    write(folder / "a.fits", np.ones(SHAPE, np.int16))
    write(folder / "b.fits", np.ones(SHAPE, np.int16), {"LTV1": -10.0})
    assert "do not agree in LTV1: b.fits has -10, 1 of 2 have 0" in frames("combine", "a.fits", "b.fits", "-o", "o.fits").err
    write(folder / "c.fits", np.ones(SHAPE, np.int16), CHIP)
    write(folder / "d.fits", np.ones(SHAPE, np.int16), {**CHIP, "LTV1": -10.0})
    assert frames("combine", "c.fits", "d.fits", "-o", "p.fits").err == ""
    assert [header("p.fits")[key] for key in CHIP] == list(CHIP.values())
    write(folder / "e.fits", np.ones(SHAPE, np.int16), {"XORGSUBF": 7})
    assert frames("combine", "a.fits", "e.fits", "-o", "q.fits").err == ""


@pytest.mark.usefixtures("stack")
def test_a_file_named_twice_counts_once(frames: Runner) -> None:
    ran = frames("combine", "f0.fits,f?.fits", "-o", "o.fits")
    assert (ran.code, header("o.fits")["IMC_NFIL"]) == (0, 5)
    assert "counts once" in ran.err


def test_planes_of_a_cube_have_their_own_masks_and_uncertainties(frames: Runner, folder: Path) -> None:
    cube = np.stack([np.full(SHAPE, value, np.float32) for value in (1, 2, 30)])
    mask, sigma = np.zeros(cube.shape, np.uint16), np.stack([np.full(SHAPE, value, np.float32) for value in (3, 4, 9)])
    mask[2] = int(PixelFlag.COSMIC_RAY)
    write(folder / "c.fits", cube, MASK=mask, UNCERT=sigma)
    (folder / "c.fits.gz").write_bytes(gzip.compress((folder / "c.fits").read_bytes()))
    for name in ("c.fits", "c.fits.gz"):
        assert frames("combine", name, "-r", "-m", "mean", "--planes", "all", "-o", f"reduced.{name}").code == 0
        found = [values(f"reduced.{name}", hdu)[0, 0] for hdu in ("SCI", "UNCERT", "COUNT")]
        assert found == [1.5, 2.5, 2]
        assert header(f"reduced.{name}")["NCOMBINE"] == 3
    assert frames("combine", "c.fits", "-m", "mean", "--planes", "all", "-o", "planes.fits").code == 0
    found = [values("planes.fits", hdu)[:2, 0, 0].tolist() for hdu in ("UNCERT", "COUNT")]
    assert found == [[3, 4], [1, 1]]
    assert np.isnan(values("planes.fits", "SCI")[2]).all()


def test_cards_of_the_primary_header_go_on(frames: Runner, folder: Path) -> None:
    write(folder / "m.fits", None, {"OBJECT": "M 42", "FILTER": "R", "EXPTIME": 30.0}, SCI=np.ones(SHAPE, np.int16))
    assert frames("combine", "m.fits", "-o", "o.fits").code == 0
    assert frames("combine", "m.fits", "-u", "-o", "unit.fits").code == 0
    for name in ("o.fits", "unit.fits"):
        assert [header(name)[key] for key in ("OBJECT", "FILTER", "EXPTIME")] == ["M 42", "R", 30.0]


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["q*.fits"], "no file matches"),
        (["f0.fits", "none.fits"], "the file 'none.fits' does not exist"),
        (["f?.fits", "other.fits"], r"do not agree in size: other.fits has 4 x 4 pixels, 5 of 6 have 15 x 12"),
        (["f?.fits", "bad.fits"], "bad.fits: is not a FITS file"),
        (["f?.fits", "cut.fits"], "cut.fits: data cut short"),
        (["f?.fits", "cube.fits"], "cube.fits has 2 planes, f0.fits has 1"),
        (["f?.fits", "-c", "max", "-d", "5"], "leaving out 0 lowest and 5 highest of 5 frames leaves nothing"),
        (["f?.fits", "-c", "minmax", "-d", "3,2"], "leaves nothing"),
        (["f?.fits", "-c", "max", "-d", "x"], "nothing to clip by"),
        (["f?.fits", "-c", "max", "-d", "1.5"], "a whole number"),
        (["f?.fits", "-c", "median"], "no clip 'median'"),
        (["f?.fits", "-c", "max"], "-c max needs the number of values to leave out"),
        (["f?.fits", "-c", "max", "-d", "nan"], "nothing to clip by"),
        (["f?.fits", "-c", "minmax", "-d", "1,inf"], "nothing to clip by"),
        (["f?.fits", "-m", "average", "-a", "1,2,nan,4,5"], "is no weight"),
        (["f?.fits", "-s", "2000"], "cannot be shifted by 2000 bits"),
        (["f?.fits", "-m", "mean", "-d", "2"], "-d 2 leaves out nothing by itself"),
        (["negative.fits", "f0.fits", "-n", "mean"], "so it cannot be scaled to -5"),
        (["f?.fits", "-n", "max"], "cannot be normalised by 'max'"),
        (["f?.fits", "-m", "mode"], "no method 'mode'"),
        (["f?.fits", "-m", "quantile", "-a", "1.5"], "from 0 to 1"),
        (["f?.fits", "-m", "quantile", "-a", "q"], "no number for -a"),
        (["f?.fits", "-m", "mean", "-a", "median"], "weights go with -m average"),
        (["f?.fits", "-m", "average", "-a", "1,2"], "2 weights for 5 frames"),
        (["f?.fits", "-m", "average", "-a", "flux"], "'flux' is no weight"),
        (["f?.fits", "-m", "sigclip", "-c", "max"], "leave out -c max"),
        (["f?.fits", "--planes", "sky"], "no plane 'sky'"),
        (["f?.fits", "-b", "0", "5", "0", "5"], "choose by what with -n"),
        (["zero.fits", "-u"], "mean of the result is 0"),
        (["nan.fits"], "no pixel of the 1 frames combined has a value"),
        (["f?.fits", "--dtype", "int16"], "float32 or float64"),
        (["f?.fits", "-o", "f0.fits"], "exists already"),
        (["f?.fits", "-o", "bad.fits/o.fits"], "cannot be written"),
        (["f?.fits", "-o", "o.fits.fz"], "not written"),
    ],
)
def test_what_cannot_be_combined_is_one_sentence_and_leaves_nothing(frames: Runner, folder: Path, words: list[str], sentence: str) -> None:
    write("other.fits", np.zeros((4, 4), np.int16))
    write("cube.fits", np.zeros((2, *SHAPE), np.int16))
    write("zero.fits", np.zeros(SHAPE, np.int16))
    write("negative.fits", np.full(SHAPE, -5, np.int16))
    write("nan.fits", np.full(SHAPE, np.nan, np.float32))
    Path("bad.fits").write_text("no FITS")
    Path("cut.fits").write_bytes(Path("f0.fits").read_bytes()[:3000])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    output = [] if "-o" in words else ["-o", "o.fits"]
    told = frames.fails("combine", *words, *output)
    assert sentence.replace("\\", "") in told
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
