"""The real files of other people: each ends as a list of HDUs or as a rejection that names its cause; nothing is lost silently."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from nightcrew.errors import RejectedInput
from nightcrew.io.headers import choose_image, read_hdus
from nightcrew.io.images import ImageFile, read_image
from nightcrew.io.products import write_image_product
from nightcrew.io.source import open_source
from nightcrew.io.structure import check
from tests import realdata

FOLDERS = ["hard_to_read", "cmos_asi178", "sky", "star_camera_tiff", "ccd_stl1001"]
# astropy cannot open these two; we can
BEYOND_ASTROPY = ["lzw.fits.Z", "nttexample.mt.gz"]
NO_FITS = ["2019-07-29T204726_Alt40_Azi-135_Try1.tiff"]
CUT_SHORT = ["Dark_ASIImg_1sec_frame0001.fit"]


def files(name: str) -> list[Path]:
    found = sorted(p for p in realdata.folder(name).rglob("*") if p.is_file())
    assert found
    return found


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_ends_in_an_answer(name: str) -> None:
    for path in files(name):
        found = check(path)
        assert found.complete == (path.name not in CUT_SHORT), found
        if path.name in NO_FITS:
            assert found.kind == "tiff"
            with pytest.raises(RejectedInput, match="is not a FITS file"):
                read_hdus(path)
            continue
        hdus = read_hdus(path)
        assert found.kind == "fits"
        try:
            image = choose_image(hdus)
        except RejectedInput as error:
            assert "no image of two axes or more" in str(error)  # noqa: PT017  of some of the files, not of all
            assert not any(len(hdu.shape) >= 2 for hdu in hdus)
            continue
        if path.name in CUT_SHORT:
            with pytest.raises(RejectedInput, match="data cut short: 2097152 of 2463360 bytes"):
                read_image(path, image.index)
            continue
        assert read_image(path, image.index).shape == image.shape


@pytest.mark.parametrize("name", FOLDERS)
def test_pixels_are_astropys(name: str) -> None:
    compared = 0
    for path in files(name):
        if path.name in [*BEYOND_ASTROPY, *NO_FITS, *CUT_SHORT]:
            continue
        try:
            with ImageFile(path) as opened:
                got, index = opened.read(), opened.hdu.index
        except RejectedInput:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy's remarks on other people's headers
            expected = fits.getdata(path, index, memmap=False)
        np.testing.assert_array_equal(got, expected)
        compared += 1
    assert compared or name == "star_camera_tiff"


@pytest.mark.parametrize("name", FOLDERS)
def test_header_values_are_astropys(name: str) -> None:
    for path in files(name):
        if path.name in [*BEYOND_ASTROPY, *NO_FITS]:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False, disable_image_compression=True) as opened:
                headers = [hdu.header.copy() for hdu in opened]
            ours = read_hdus(path)
            assert len(ours) == len(headers)
            for hdu, header in zip(ours, headers, strict=True):
                compare(dict(hdu.cards), header, tiled=hdu.kind == "TILE")


def compare(cards: dict[str, object], header: fits.Header, *, tiled: bool) -> None:
    expected: dict[str, object] = {}
    for line in header.cards:
        key = line.keyword.upper()
        if key in ("COMMENT", "HISTORY", "", "CONTINUE") or key in expected:
            continue
        try:
            value = line.value
        except fits.VerifyError:
            assert isinstance(cards[key], str)  # the raw text of what nobody can parse
            value = cards[key]
        expected[key] = None if isinstance(value, fits.card.Undefined) else value
    if tiled:
        for store in (expected, cards):
            for key in [k for k in store if k.startswith(("NAXIS", "BITPIX"))]:
                del store[key]
    assert cards == expected


def test_decimal_comma_is_kept_for_the_normaliser() -> None:
    path = realdata.folder("cmos_asi178") / "Bias_ASIImg_frame0001.fit.gz"
    assert read_hdus(path)[0].cards["EXPTIME"] == "3,2E-05"


def test_compress_and_early_gzip_are_read() -> None:
    lzw = realdata.folder("hard_to_read") / "astropy" / "lzw.fits.Z"
    with open_source(lzw) as source:
        content = source.read_at(0, 1 << 20)
    assert hashlib.sha256(content).hexdigest() == "154e0e69d93f86fb39fae5fe15245892007f3ca479e4b910143e5e8907c6d17b"
    ntt = realdata.folder("hard_to_read") / "midas" / "nttexample.mt.gz"
    assert read_image(ntt).dtype == np.uint16
    assert read_image(ntt).shape == (1024, 1124)


def test_long_string_of_a_real_header() -> None:
    cards = read_hdus(realdata.folder("hard_to_read") / "midas" / "badMPE.fits")[0].cards
    text = str(cards["XPROC0"])
    assert text.startswith("epatplot set='P0135746501PNS009PIEVLI0000.FIT' withflag=yes sigma=3 xaxisadu=no")
    assert text.endswith("[xmmsas_20030110_1802-5.4.1]")


@pytest.mark.parametrize("name", ["hard_to_read", "cmos_asi178", "sky"])
def test_a_product_can_be_made_from_any_header(tmp_path: Path, name: str) -> None:
    """Whatever stands in the source's header, the product is sound and CCDData reads it."""
    for number, path in enumerate(files(name)):
        hdus = read_hdus(path)
        product = write_image_product(
            tmp_path / f"{number}.fits",
            science=np.ones((3, 4), "f4"),
            source_header=hdus[-1].raw,
            cards=[("RECIPE", "test 1", "")],
            unit="electron",
            durable=False,
        )
        with fits.open(product.path, checksum=True) as opened:
            opened.verify("exception")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy.wcs has much to say about these
            assert CCDData.read(product.path).shape == (3, 4)


def test_real_tiff_is_complete_and_a_cut_one_is_not(tmp_path: Path) -> None:
    (path,) = files("star_camera_tiff")
    assert check(path).complete
    cut = tmp_path / "cut.tiff"
    cut.write_bytes(path.read_bytes()[:-5000])
    found = check(cut)
    assert not found.complete
    assert "data cut short" in found.reason
