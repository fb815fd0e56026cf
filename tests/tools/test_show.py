"""Pictures: what is drawn, with which numbers (the defects of display_fits, section 3.6)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nightcrew.errors import Refused, RejectedInput
from nightcrew.tools.boxes import parse_box
from nightcrew.tools.frame import read_frame
from nightcrew.tools.picture import animation, colours, draw
from nightcrew.tools.show import Look, Panel, numbers_of, picture_names, picture_of, pictures
from nightcrew.tools.terminal import shrunk, terminal_text
from tests.tools.command import Runner
from tests.tools.making import write

STAR = np.full((30, 40), 100.0, np.float32)
STAR[20, 5] = 900.0  # upper left: y grows upwards
FIXED = Look(scale="limits", fixed=(100.0, 900.0), marginals=False)


def rgb_of(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.fixture
def star(folder: Path) -> Path:
    return write(folder / "star.fits", STAR, {"OBJECT": "M $31$"})


@pytest.mark.parametrize("marginals", [True, False])
def test_the_image_is_drawn_with_and_without_marginals(star: Path, marginals: bool) -> None:
    """display_fits drew no image at all without marginals."""
    look = Look(scale="limits", fixed=(100.0, 900.0), marginals=marginals, cmap="non")
    drawn = rgb_of(draw(picture_of(read_frame(star), look), look, "png"))
    black = (drawn.sum(axis=2) == 0).mean()
    assert black > 0.3  # the sky, at the lower limit
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 3


def test_first_row_is_at_the_bottom(star: Path) -> None:
    picture = picture_of(read_frame(star), FIXED)
    frame = rgb_of(animation(picture, FIXED))
    y, x = np.argwhere(frame[:-8].sum(axis=2) < 100).mean(axis=0)
    assert x / frame.shape[1] == pytest.approx(5.5 / 40, abs=0.02)
    assert y / (frame.shape[0] - 8) == pytest.approx(1 - 20.5 / 30, abs=0.03)


def test_rgb_is_scaled_once() -> None:
    panel = Panel(np.array([[[10.0, 0.0, 5.0], [20.0, 100.0, 10.0]]]), ((10.0, 20.0), (0.0, 200.0), (0.0, 10.0)))
    assert panel.levels().tolist() == [[[0.0, 0.0, 0.5], [1.0, 0.5, 1.0]]]
    assert colours(panel, "inv").tolist() == [[[0, 0, 128], [255, 128, 255]]]


def test_rgb_from_three_images_or_a_cube(folder: Path) -> None:
    for name, value in zip("abc", (1, 2, 3), strict=True):
        write(folder / f"{name}.fits", np.full((4, 5), value, np.int16))
    write(folder / "cube.fits", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    look = Look(rgb=True, scale="minmax")
    made = pictures([folder / f"{name}.fits" for name in "abc"], look)
    assert len(made) == 1
    assert made[0][1].panels[0].pixels.shape == (4, 5, 3)
    assert made[0][1].panels[0].pixels[0, 0].tolist() == [1, 2, 3]
    assert pictures([folder / "cube.fits"], look)[0][1].panels[0].limits == ((0.0, 19.0), (20.0, 39.0), (40.0, 59.0))
    with pytest.raises(RejectedInput, match="three planes"):
        pictures([folder / "a.fits"], look)
    write(folder / "d.fits", np.zeros((4, 6), np.int16))
    with pytest.raises(RejectedInput, match="of one size"):
        pictures([folder / "a.fits", folder / "b.fits", folder / "d.fits"], look)


def test_planes_of_a_cube_share_limits_and_steps(folder: Path) -> None:
    path = write(folder / "cube.fits", np.arange(6 * 12, dtype=np.float32).reshape(6, 3, 4))
    picture = picture_of(read_frame(path), Look(scale="minmax", zstep=2, box=parse_box("0 4 0 3 1 6")))
    assert [panel.plane for panel in picture.panels] == [1, 3, 5]
    assert {panel.limits for panel in picture.panels} == {((12.0, 71.0),)}


def test_animation_needs_no_outside_program_and_paints_over_no_pixel(folder: Path) -> None:
    path = write(folder / "cube.fits", np.zeros((3, 10, 10), np.float32))
    look = Look(scale="limits", fixed=(0.0, 1.0), delay_ms=-150)
    with Image.open(io.BytesIO(animation(picture_of(read_frame(path), look), look))) as opened:
        assert (getattr(opened, "n_frames", 1), opened.info["duration"], opened.info.get("loop")) == (1, 150, 0) or opened.info["loop"] == 0
        first = np.asarray(opened.convert("RGB"))
    assert (first[:-8] == 255).all()


def test_pixels_without_a_value_are_red(star: Path) -> None:
    panel = Panel(np.array([[np.nan, 0.0]]), ((0.0, 1.0),))
    assert colours(panel, "non")[0].tolist() == [[217, 64, 51], [0, 0, 0]]


def test_blank_integers_have_no_part_in_limits_and_numbers(folder: Path) -> None:
    path = write(folder / "blank.fits", np.array([[-99, 10], [20, 30]], np.int16), {"BLANK": -99})
    look = Look(scale="minmax")
    picture = picture_of(read_frame(path), look)
    assert picture.panels[0].limits == ((10.0, 30.0),)
    found = json.loads(numbers_of(picture, look))["panels"][0]
    assert (found["statistics"]["num"], found["statistics"]["bad"], found["mean_of_rows"]) == (3, 1, [10.0, 25.0])


def test_the_same_numbers_give_the_same_bytes(star: Path) -> None:
    picture = picture_of(read_frame(star), Look())
    for form in ("png", "svg", "pdf"):
        assert draw(picture, Look(), form) == draw(picture, Look(), form)


def test_names_of_several_pictures_are_all_different() -> None:
    """With one fixed name display_fits overwrote all but the last."""
    paths = [Path("n/a.1.fits"), Path("n/a.2.fits.gz")]
    assert picture_names(paths, "out.png") == [Path("out.a.1.png"), Path("out.a.2.png")]
    assert picture_names(paths, "filename") == [Path("n/a.1.fits.png"), Path("n/a.2.fits.gz.png")]
    assert picture_names(paths, "x.pdf,y.pdf") == [Path("x.pdf"), Path("y.pdf")]
    for wrong, sentence in (("out.jpg", "must end with"), ("a.png,b.png,c.png", "3 names for 2"), ("a.png,a.png", "one name")):
        with pytest.raises(Refused, match=sentence):
            picture_names(paths, wrong)


def test_terminal_letters(star: Path) -> None:
    lines = terminal_text(picture_of(read_frame(star), FIXED), FIXED, columns=40, colour=False).splitlines()
    assert lines[:2] == ["star.fits", "limits: 100 to 900"]
    assert len(lines) == 2 + 15
    assert [index for index, line in enumerate(lines[2:]) if line.strip()] == [4]
    assert lines[2 + 4].index("=") == 5


def test_terminal_colours_use_half_blocks(star: Path) -> None:
    text = terminal_text(picture_of(read_frame(star), FIXED), FIXED, columns=20, colour=True)
    assert text.count("\u2580") == 20 * (text.count("\x1b[0m"))


def test_shrinking_takes_means_of_what_is_there() -> None:
    plane = np.array([[1.0, 3.0, np.nan, np.nan], [5.0, 7.0, np.nan, np.nan]])
    assert shrunk(plane, 1, 2)[0, 0] == 4.0
    assert np.isnan(shrunk(plane, 1, 2)[0, 1])
    assert shrunk(plane, 9, 9).shape == (2, 4)


@pytest.mark.usefixtures("star")
def test_picture_and_numbers_lie_side_by_side(frames: Runner, folder: Path) -> None:
    assert frames("show", "star.fits", "-o", "s.png", "-b", 0, 10, 15, 25, "-m", 100, 900, "-t", "object").code == 0
    numbers = json.loads((folder / "s.png.json").read_text())
    panel = numbers["panels"][0]
    assert (numbers["box"], numbers["origin"], panel["limits"]) == ("[1:10,16:25]", [0, 15], [[100.0, 900.0]])
    assert panel["mean_of_columns"][5] == pytest.approx(180.0)
    assert len(panel["mean_of_rows"]) == 10
    assert panel["statistics"]["max"] == 900.0


@pytest.mark.usefixtures("star")
def test_show_from_the_shell_in_all_forms(frames: Runner, folder: Path) -> None:
    write(folder / "cube.fits", np.arange(36, dtype=np.float32).reshape(3, 3, 4))
    for words in (["-o", "c.gif", "-a", "-100"], ["-o", "c.png"], ["-o", "c.svg", "-s", "-"], ["-o", "c.pdf", "-z", "2", "-c", "viridis"]):
        assert frames("show", "cube.fits", *words).code == 0
    heads = [(folder / f"c.{form}").read_bytes()[:5] for form in ("gif", "png", "svg", "pdf")]
    assert heads == [b"GIF89", b"\x89PNG\r", b"<?xml", b"%PDF-"]
    assert json.loads(frames("show", "star.fits", "-o", "skip").out)["scale"] == "zscale"
    assert "sigma: " in frames("show", "star.fits", "-r", "2").out
    assert frames("show", "cube.fits", "-R", "+", "-l", "minmax").code == 0


@pytest.mark.usefixtures("star")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.fits"], "does not exist"),
        (["star.fits", "-c", "mauve", "-o", "s.png"], "no colour map 'mauve'"),
        (["star.fits", "-m", "5", "5"], "two different numbers"),
        (["star.fits", "-m", "5"], "two numbers"),
        (["star.fits", "-l", "log"], "no scale 'log'"),
        (["star.fits", "-o", "s.jpg"], "must end with"),
        (["star.fits", "-o", "s.png", "-a", "100"], "written as a GIF"),
        (["star.fits", "-y", "0"], "cannot be stretched by 0"),
        (["star.fits", "-y", "inf", "-o", "s.png"], "cannot be stretched by inf"),
        (["star.fits", "-z", "0"], "1 or more"),
        (["star.fits", "-R", "maybe"], "-R takes"),
        (["star.fits", "-b", "50", "60", "0", "5"], "outside"),
        (["star.fits", "-o", "star.fits/x.png"], "cannot be written"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(frames: Runner, folder: Path, words: list[str], sentence: str) -> None:
    assert sentence in frames.fails("show", *words)
    assert {path.name for path in folder.iterdir()} == {"star.fits"}


def test_too_many_planes_are_refused_but_animated(frames: Runner, folder: Path) -> None:
    write(folder / "cube.fits", np.zeros((65, 2, 2), np.int16))
    assert "65 planes are too many" in frames.fails("show", "cube.fits", "-o", "c.png")
    assert frames("show", "cube.fits", "-o", "c.gif").code == 0
