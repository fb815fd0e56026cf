"""``frames arith`` from the shell; the defects of the specification, section 3.4, at this level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import Refused
from nightcrew.tools.names import output_names, rooted
from tests.support.small_nights import Bench
from tests.tools.command import Runner
from tests.tools.making import header, values, write

U16 = np.array([[10, 20], [300, 65535]], np.uint16)


@pytest.fixture
def images(folder: Path) -> Path:
    write("fl-0007.r.fits", U16, {"OBJECT": "flat"})
    write("fl-0008.r.fits", U16 // 2)
    write("bias.fits", np.full((2, 2), 12, np.uint16))
    return folder


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("fl-0007.r.fits", "root.0007.r.fits"),
        ("20210227.0051.fit", "root.0051.fit"),
        ("bsub.0051.fit", "root.0051.fit"),
        ("sub/x.3.y-44.fits.gz", "root.44.fits"),
        ("u16.fits", "root..u16.fits"),
    ],
)
def test_names_from_a_root(name: str, made: str) -> None:
    assert rooted(Path(name), Path("root")) == Path(made)
    assert rooted(Path(name), Path("out/root")) == Path("out") / made


def test_names_from_nothing_a_list_and_one_name() -> None:
    two = [Path("night/a.1.fits"), Path("night/b.2.fits.gz")]
    assert output_names(two, "") == [Path("night/imar_a.1.fits"), Path("night/imar_b.2.fits")]
    assert output_names(two, "x.fits, y.fits") == [Path("x.fits"), Path("y.fits")]
    assert output_names(two, "o") == [Path("o.1.fits"), Path("o.2.fits")]
    assert output_names(two[:1], "o.fits") == [Path("o.fits")]
    with pytest.raises(Refused, match="3 output names for 2 images"):
        output_names(two, "x,y,z")
    with pytest.raises(Refused, match="would both be written as"):
        output_names([Path("a/x.1.fits"), Path("b/x.1.fits")], "o")


@pytest.mark.usefixtures("images")
def test_list_minus_one_image(frames: Runner, images: Path) -> None:
    ran = frames("arith", "fl*.fits", "-", "bias.fits", "-o", "bsub")
    assert (ran.code, ran.out) == (0, "2 of 2 images written\n")
    made = values(images / "bsub.0007.r.fits")
    assert made.dtype == np.dtype(">i4")
    assert np.array_equal(made, U16.astype(int) - 12)
    cards = header(images / "bsub.0007.r.fits")
    assert cards["OBJECT"] == "flat"
    assert list(cards["HISTORY"]) == ["nightcrew frames arith: fl-0007.r.fits - bias.fits"]


def test_what_was_computed_is_never_taken_for_a_raw_frame(frames: Runner, folder: Path, tmp_path: Path) -> None:
    """Its cards are those of the raw frame, kind, start and all: in a watched folder it is set aside."""
    night = tmp_path / "night"
    night.mkdir()
    for second in (1, 2):
        cards = {"IMAGETYP": "BIAS", "EXPTIME": 0.0, "DATE-OBS": f"2026-05-16T23:00:0{second}.123", "INSTRUME": "CAM"}
        write(night / f"raw{second}.fits", np.random.default_rng(second).integers(900, 1100, (32, 32), np.uint16), cards)
    raw = [night / f"raw{number}.fits" for number in (1, 2)]
    assert frames("arith", raw[0], "-", "100", "-o", night / "less.fits").code == 0
    assert frames("combine", *raw, "-o", night / "mean.fits").code == 0
    bench = Bench(night, tmp_path / "out")
    bench.night()
    (master,) = bench.products()
    assert (master.recipe, master.facts["n_frames"]) == ("bias_master", 2)
    for name in ("less.fits", "mean.fits"):
        assert bench.state_of(name) == ("set_aside", "a product of Nightcrew itself, not a raw frame")


@pytest.mark.usefixtures("images")
def test_pairs_numbers_and_separate_words(frames: Runner, images: Path) -> None:
    assert frames("arith", "fl*", "-", "fl-0008.r.fits,fl-0007.r.fits", "-o", "d").code == 0
    assert np.array_equal(values(images / "d.0008.r.fits"), U16.astype(int) // 2 - U16)
    assert frames("arith", "fl-0007.r.fits", "fl-0008.r.fits", "x", "0.5", "-o", "h").code == 0
    assert values(images / "h.0007.r.fits").dtype == np.dtype(">f4")
    assert frames("arith", "bias.fits", "-", "-4", "-o", "m.fits").code == 0
    assert (values(images / "m.fits") == 16).all()
    assert frames("arith", "bias.fits", "*", "-1.5e1", "-o", "n.fits").code == 0
    assert (values(images / "n.fits") == -180).all()


@pytest.mark.usefixtures("images")
def test_assignment_of_number_and_image(frames: Runner, images: Path) -> None:
    frames("arith", "bias.fits", "=", "307", "-o", "c.fits")
    assert (values(images / "c.fits") == 307).all()
    frames("arith", "bias.fits", "=", "fl-0007.r.fits", "-o", "k.fits")
    assert np.array_equal(values(images / "k.fits"), U16)
    frames("arith", "bias.fits", "=", "0.25", "-o", "f.fits")
    assert (values(images / "f.fits") == 0.25).all()


@pytest.mark.usefixtures("images")
def test_default_name_of_a_file_in_a_folder(frames: Runner, images: Path) -> None:
    (images / "sub").mkdir()
    write("sub/a.fits", U16)
    assert frames("arith", "sub/a.fits", "+", "0").code == 0
    assert np.array_equal(values(images / "sub" / "imar_a.fits"), U16)


@pytest.mark.usefixtures("images")
def test_missing_operand_is_not_a_number(frames: Runner) -> None:
    assert frames.fails("arith", "bias.fits", "-", "none.fits") == "the file 'none.fits' does not exist"
    assert "no file matches" in frames.fails("arith", "q*.fits", "-", "1")


@pytest.mark.usefixtures("images")
def test_invalid_operator_and_half_an_expression_have_an_exit_code(frames: Runner) -> None:
    assert "'%' is no operator" in frames.fails("arith", "bias.fits", "%", "2")
    for number in ("nan", "inf", "1e400", "1" + 400 * "0"):
        assert f"'{number}' is no finite number" in frames.fails("arith", "bias.fits", "x", number)
    assert "IMAGES OPERATOR" in frames.fails("arith", "bias.fits", "-")
    assert "IMAGES OPERATOR" in frames.fails("arith", "bias.fits", "-", "2", "+", "3")
    assert "3 images cannot be paired with 2" in frames.fails("arith", "*.fits", "-", "fl*.fits")
    assert "no pixel type 'float16'" in frames.fails("arith", "bias.fits", "+", "1", "--dtype", "float16")


@pytest.mark.usefixtures("images")
def test_box_applies_to_both_images_and_to_cubes(frames: Runner, images: Path) -> None:
    write("cube.fits", np.arange(24, dtype=np.int16).reshape(2, 3, 4), {"CRPIX1": 2.0, "CRPIX2": 2.0})
    write("plane.fits", np.ones((3, 4), np.int16))
    assert frames("arith", "cube.fits", "-", "plane.fits", "-b", 1, 3, 0, 2, "-o", "o.fits").code == 0
    assert np.array_equal(values(images / "o.fits"), np.arange(24).reshape(2, 3, 4)[:, :2, 1:3] - 1)
    assert header(images / "o.fits")["CRPIX1"] == 1.0
    assert "cube.fits[2:3,1:2,1:2] - plane.fits[2:3,1:2]" in str(header(images / "o.fits")["HISTORY"])


@pytest.mark.usefixtures("images")
def test_existing_output_is_left_and_told_the_others_are_written(frames: Runner, images: Path) -> None:
    (images / "o.0007.r.fits").write_text("mine")
    ran = frames("arith", "fl*", "+", "1", "-o", "o")
    assert (ran.code, ran.out) == (1, "1 of 2 images written\n")
    assert "o.0007.r.fits exists already" in ran.err
    assert (images / "o.0007.r.fits").read_text() == "mine"


@pytest.mark.usefixtures("images")
def test_dry_run_writes_nothing(frames: Runner, images: Path) -> None:
    ran = frames("arith", "fl*", "+", "1", "-o", "o", "-s")
    assert ran.out.splitlines()[0] == "fl-0007.r.fits + 1 -> o.0007.r.fits"
    assert not list(images.glob("o.*"))


@pytest.mark.usefixtures("images")
def test_other_shape_is_one_sentence_and_leaves_nothing(frames: Runner, images: Path) -> None:
    write("big.fits", np.zeros((3, 3), np.int16))
    write("cube.fits", np.zeros((2, 2, 2), np.int16))
    assert "big.fits: the images differ in size: 3 x 3 and 2 x 2 pixels" in frames.fails(
        "arith", "big.fits", "-", "bias.fits", "-o", "o.fits"
    )
    assert "differ in size" in frames.fails("arith", "bias.fits", "-", "cube.fits", "-o", "o.fits")
    assert not (images / "o.fits").exists()


@pytest.mark.usefixtures("images")
def test_wrap_is_refused_and_float64_kept(frames: Runner, images: Path) -> None:
    assert "do not fit uint16" in frames.fails("arith", "fl-0007.r.fits", "+", "1", "--dtype", "uint16", "-o", "o.fits")
    write("d.fits", np.array([[1.0 + 1e-12]]))
    frames("arith", "d.fits", "/", "3", "-o", "o.fits")
    assert values(images / "o.fits")[0, 0] == (1.0 + 1e-12) / 3


@pytest.mark.usefixtures("images")
def test_units_uncertainties_and_masks(frames: Runner, images: Path) -> None:
    pixels = np.full((2, 2), 8.0, np.float32)
    write("s.fits", pixels, {"BUNIT": "adu"}, UNCERT=np.full((2, 2), 0.5, np.float32), MASK=np.eye(2, dtype=np.int16))
    write("e.fits", pixels, {"BUNIT": "electron"})
    assert "different units: adu and electron" in frames.fails("arith", "s.fits", "-", "e.fits", "-o", "o.fits")
    assert frames("arith", "s.fits", "/", "bias.fits", "-o", "o.fits").code == 0
    assert header(images / "o.fits")["BUNIT"] == "adu"
    assert values(images / "o.fits", "UNCERT") == pytest.approx(np.full((2, 2), 0.5 / 12))
    assert np.array_equal(values(images / "o.fits", "MASK"), np.eye(2))
    frames("arith", "s.fits", "/", "s.fits", "-o", "one.fits")
    assert "BUNIT" not in header(images / "one.fits")
    assert (values(images / "one.fits", "UNCERT") == 0).all()


@pytest.mark.usefixtures("images")
def test_division_by_zero_is_told(frames: Runner, images: Path) -> None:
    write("z.fits", np.array([[0, 1], [1, 1]], np.int16))
    ran = frames("arith", "bias.fits", "/", "z.fits", "-o", "o.fits")
    assert "o.fits: 1 pixels divided by zero are NaN" in ran.err
    assert "1 pixels divided by zero are NaN" in str(header(images / "o.fits")["HISTORY"])
