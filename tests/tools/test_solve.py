"""``nightcrew frames solve``: copies with world coordinates, and frames that are never touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightcrew.astrometry.hints import ARCSEC_PER_RAD
from nightcrew.astrometry.sources import brightest, sources_of
from nightcrew.frames.wcs import sky_of
from nightcrew.io.cardtext import Card
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from tests.astrometry.fakes import DEC_DEG, RA_DEG, SCALE, answer, script
from tests.tools.command import Runner


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """A frame of 20 stars with a mangled WCS, and beside it a solver that knows it."""
    rng = np.random.default_rng(3)
    image = rng.normal(500.0, 5.0, (200, 260))
    yy, xx = np.mgrid[:200, :260]
    for x, y, peak in zip(rng.uniform(15, 245, 20), rng.uniform(15, 185, 20), rng.uniform(300, 3000, 20), strict=True):
        image += peak * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / 1.3**2)
    cards: list[Card] = [("OBJECT", "a field", ""), ("RA", RA_DEG, ""), ("DEC", DEC_DEG, ""), ("CTYPE1", "mangled", ""), ("CD1_1", 9.0, "")]
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "light.fits"
    write_image_product(path, science=image.astype(np.float32), cards=cards)
    stars = brightest(sources_of(read_image(path)))
    answer(tmp_path / "bin" / "answer", stars, (200, 260))
    script(tmp_path / "bin", f"cp {tmp_path}/bin/answer/* .")
    return path


def options(frame: Path) -> list[object]:
    solver = frame.parent.parent / "bin"
    return ["--program", solver / "solve-field", "--index-folder", solver]


def test_a_copy_gets_the_coordinates_and_the_frame_stays(frame: Path, tmp_path: Path, frames: Runner) -> None:
    before = frame.read_bytes()
    ran = frames("solve", frame, "-o", tmp_path / "out", *options(frame), "--format", "csv")
    assert ran.code == 0, ran.err
    assert f"light.fits,{RA_DEG},{DEC_DEG},{SCALE},20,0.0,with hints" in ran.out
    assert frame.read_bytes() == before
    assert [path.name for path in frame.parent.iterdir()] == ["light.fits"]
    hdu = read_hdus(tmp_path / "out" / "light.fits")[0]
    sky = sky_of(hdu)
    assert (sky.ra_deg, sky.dec_deg) == pytest.approx((RA_DEG, DEC_DEG), abs=1e-8)
    assert hdu.cards["OBJECT"] == "a field"
    assert hdu.cards["NCWCS"] == "solve-field, with hints"
    assert hdu.duplicates == ()
    assert np.array_equal(read_image(tmp_path / "out" / "light.fits"), read_image(frame))


def test_a_binned_frame_is_asked_about_with_the_scale_of_its_own_pixels(frame: Path, tmp_path: Path, frames: Runner) -> None:
    size_um = 1000.0 * SCALE / 2 / ARCSEC_PER_RAD * 1000.0  # at 1 m: half of SCALE without the binning
    cards: list[Card] = [("FOCALLEN", 1000.0, ""), ("XPIXSZ", size_um, ""), ("XBINNING", 2, ""), ("YBINNING", 2, "")]
    binned = tmp_path / "raw" / "binned.fits"
    write_image_product(binned, science=read_image(frame), cards=cards)
    ran = frames("solve", binned, "-o", tmp_path / "out", *options(frame), "--format", "csv")
    assert ran.out.strip().endswith(",with hints"), ran.out + ran.err


def test_nothing_is_written_beside_or_over_a_frame(frame: Path, tmp_path: Path, frames: Runner) -> None:
    assert "is the folder of light.fits itself" in frames.fails("solve", frame, "-o", frame.parent, *options(frame))
    frames("solve", frame, "-o", tmp_path / "out", *options(frame))
    assert "exists already" in frames.fails("solve", frame, "-o", tmp_path / "out", *options(frame))


def test_what_has_coordinates_is_solved_only_when_asked(frame: Path, tmp_path: Path, frames: Runner) -> None:
    frames("solve", frame, "-o", tmp_path / "out", *options(frame))
    solved = tmp_path / "out" / "light.fits"
    assert "has a valid WCS already" in frames.fails("solve", solved, "-o", tmp_path / "more", *options(frame))
    assert frames("solve", solved, "-o", tmp_path / "more", "--again", *options(frame)).code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scale", "2"], "two numbers with a comma"),
        (["--scale", "3,2"], "must be above 0 and below the second"),
        (["--position", "a,b"], "two numbers with a comma"),
        (["--position", "10,95"], "a declination lies between -90 and 90"),
        (["--program", "no-such-solver"], "is not installed"),
        (["--scale", "5,6"], "outside the range from 5 to 6"),
        (["--position", "10,10"], "degrees from where the header points"),
    ],
)
def test_wrong_words_and_wrong_answers_are_sentences(frame: Path, tmp_path: Path, frames: Runner, words: list[str], told: str) -> None:
    if words[0] == "--position":
        answer(tmp_path / "bin" / "answer", brightest(sources_of(read_image(frame))), (200, 260), odds=25.0)
    assert told in frames.fails("solve", frame, "-o", tmp_path / "out", *options(frame), *words)
    assert not (tmp_path / "out").exists()
