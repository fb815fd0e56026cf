"""Frames in and out: pixels, companions, and coordinates after a box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.tools.arith import Operand
from nightcrew.tools.boxes import parse_box
from nightcrew.tools.frame import cut, extension_of, read_cards, read_frame
from nightcrew.tools.writing import check_output, write_frame, write_report
from tests.tools.making import header, values, write

IMAGE = np.arange(20, dtype=np.uint16).reshape(4, 5)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_every_type_comes_back_and_the_checksums_hold(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    pixels.flat[0] = np.iinfo(dtype).min if pixels.dtype.kind in "iu" else -1.5
    pixels.flat[-1] = np.iinfo(dtype).max if pixels.dtype.kind in "iu" else np.nan
    path = write_frame(tmp_path / "o.fits", Operand(pixels), ())
    with fits.open(path, checksum=True) as opened:
        assert np.array_equal(opened[0].data, pixels, equal_nan=dtype[0] == "f")
    back = read_frame(path).operand.pixels
    assert back.dtype == pixels.dtype
    assert np.array_equal(back, pixels, equal_nan=dtype[0] == "f")


def test_product_with_companions_is_read_by_ccddata(tmp_path: Path) -> None:
    operand = Operand(IMAGE.astype(np.float32), np.full(IMAGE.shape, 2.0, np.float32), np.eye(4, 5, dtype=np.uint16) * 8)
    path = write_frame(tmp_path / "o.fits", operand, (), unit="adu")
    ccd = CCDData.read(path)
    assert str(ccd.unit) == "adu"
    assert ccd.uncertainty is not None
    assert ccd.uncertainty.array[0, 0] == 2.0
    assert bool(ccd.mask[1, 1])
    back = read_frame(path)
    assert back.unit == "adu"
    assert back.operand.uncertainty is not None
    assert back.operand.mask is not None
    assert back.operand.mask[1, 1] == 8


def test_cards_are_kept_and_scaling_is_not(tmp_path: Path) -> None:
    source = write(tmp_path / "a.fits", IMAGE, {"OBJECT": "M 31", "HIERARCH ESO DET ID": "x", "EXPTIME": 0.1, "HISTORY": "before"})
    frame = read_frame(source)
    made = header(write_frame(tmp_path / "o.fits", Operand(IMAGE.astype(np.float32)), frame.header))
    assert (made["OBJECT"], made["ESO DET ID"], made["EXPTIME"]) == ("M 31", "x", 0.1)
    assert "BZERO" not in made
    assert list(made["HISTORY"]) == ["before"]


def test_compressed_output_by_its_name(tmp_path: Path) -> None:
    path = write_frame(tmp_path / "o.fits.gz", Operand(IMAGE), ())
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert np.array_equal(values(path), IMAGE)
    with pytest.raises(Refused, match="not written"):
        write_frame(tmp_path / "o.fits.fz", Operand(IMAGE), ())


def test_existing_and_unwritable_outputs_are_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "o.fits").write_text("mine")
    with pytest.raises(Refused, match="exists already"):
        write_frame(tmp_path / "o.fits", Operand(IMAGE), ())
    assert (tmp_path / "o.fits").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="cannot be written"):
        check_output(tmp_path / "file" / "o.fits")
    check_output(tmp_path / "new folder" / "deeper" / "o.fits")


def test_reports_are_new_or_appended_to(tmp_path: Path) -> None:
    path = write_report(tmp_path / "a.log", "one\n", append=True)
    write_report(path, "two\n", append=True)
    assert path.read_text() == "one\ntwo\n"
    with pytest.raises(Refused, match="exists already"):
        write_report(path, "three\n")


def test_image_in_an_extension_takes_the_primary_cards_along(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", None, {"OBJECT": "M 31", "FILTER": "V"}, CHIP1=IMAGE)
    assert read_cards(path)["OBJECT"] == "M 31"
    assert "EXTNAME" not in read_cards(path, 0)
    with pytest.raises(RejectedInput, match=r"a\.fits: there is no extension 7"):
        read_cards(path, 7)
    frame = read_frame(path)
    assert frame.cards["EXTNAME"] == "CHIP1"
    assert "OBJECT" in {text[:8].strip() for text in frame.header}
    assert read_frame(path, extension_of("chip1")).shape == (4, 5)
    with pytest.raises(RejectedInput, match="no extension"):
        read_frame(path, extension_of("7"))
    assert extension_of("") is None


def test_blank_pixels_are_flagged(tmp_path: Path) -> None:
    pixels = np.array([[1, -5], [3, 4]], np.int16)
    frame = read_frame(write(tmp_path / "a.fits", pixels, {"BLANK": -5}))
    assert frame.operand.mask is not None
    assert frame.operand.mask.tolist() == [[0, int(PixelFlag.NO_DATA)], [0, 0]]


def test_blank_signed_bytes_are_flagged_by_their_stored_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", np.array([[5, 6], [7, 8]], np.uint8), {"BLANK": 6, "SPARE": 0})
    path.write_bytes(path.read_bytes().replace(b"SPARE   =                    0", b"BZERO   =                 -128"))
    frame = read_frame(path)
    assert frame.operand.pixels.tolist() == [[-123, -122], [-121, -120]]
    assert frame.operand.mask is not None
    assert frame.operand.mask.tolist() == [[0, int(PixelFlag.NO_DATA)], [0, 0]]


def test_needless_axes_are_dropped_and_four_real_ones_rejected(tmp_path: Path) -> None:
    flat = read_frame(write(tmp_path / "a.fits", np.zeros((1, 1, 4, 5), np.int16), {"CTYPE3": "FREQ", "CRPIX3": 1.0, "CRPIX2": 2.0}))
    assert flat.shape == (4, 5)
    assert not {"CTYPE3", "CRPIX3"} & {card[:8].strip() for card in flat.header}
    assert flat.cards["CRPIX2"] == 2.0
    assert read_frame(write(tmp_path / "c.fits", np.zeros((1, 3, 4, 5), np.int16))).shape == (3, 4, 5)
    with pytest.raises(RejectedInput, match="has 4 axes"):
        read_frame(write(tmp_path / "b.fits", np.zeros((2, 2, 4, 5), np.int16)))


def test_wcs_and_ltv_point_at_the_same_sky_and_pixel_after_a_box(tmp_path: Path) -> None:
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 310.6, "CRVAL2": 0.14, "CRPIX1": 3.0, "CRPIX2": 2.0}
    cards |= {"CD1_1": -3e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 3e-4, "LTV2": 7.0, "XORGSUBF": 100, "CRPIX1A": 9.0}
    cards |= {"DATASEC": "[1:4,1:4]", "BIASSEC": "[5:5,1:4]", "TRIMSEC": "[2:3,2:4]", "CCDSEC": "[11:18,1:8]", "DETSEC": "[20:17,1:4]"}
    frame = read_frame(write(tmp_path / "a.fits", IMAGE, cards))
    part, label = cut(frame, parse_box("2 4 1 3"))
    made = header(write_frame(tmp_path / "o.fits", part.operand, part.header))
    assert label == "[3:4,2:3]"
    assert np.array_equal(part.operand.pixels, IMAGE[1:3, 2:4])
    sky = [np.array(WCS(cards).pixel_to_world_values(x, y)) for cards, x, y in ((made, 0, 0), (header(frame.path), 2, 1))]
    assert sky[0] == pytest.approx(sky[1], abs=1e-12)
    assert (made["LTV1"], made["LTV2"], made["XORGSUBF"], made["CRPIX1A"]) == (-2.0, 6.0, 102, 7.0)
    assert (made["DATASEC"], made["TRIMSEC"]) == ("[1:2,1:2]", "[1:1,1:2]")
    assert (made["CCDSEC"], made["DETSEC"]) == ("[15:18,3:6]", "[18:17,2:3]")
    assert "BIASSEC" not in made
    assert "BIASSEC [5:5,1:4] left out after a cut to [3:4,2:3]: nothing of it is left" in "".join(made["HISTORY"])


def test_a_box_over_everything_changes_nothing(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path / "a.fits", IMAGE, {"CRPIX1": 3.0}))
    part, label = cut(frame, parse_box("0 99 0 99"))
    assert part.header == frame.header
    assert label == "[1:5,1:4]"
