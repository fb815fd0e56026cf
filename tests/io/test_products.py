"""Products: astropy reads them and finds their checksums right; the same inputs give the same bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable, Table
from astropy.utils.exceptions import AstropyUserWarning

from nightcrew.calibration.kernels.library import library
from nightcrew.calibration.kernels.store import WORTH_IT, store
from nightcrew.errors import RejectedInput, TransientError
from nightcrew.frames.flags import PixelFlag
from nightcrew.io import products
from nightcrew.io.atomic import FinalExistsError, injected_faults, part_files
from nightcrew.io.cardtext import Card
from nightcrew.io.planes import Plane
from nightcrew.io.products import ProductWriter, read_image_product, write_image_product, write_table_product
from tests.io.fitsbytes import card

RNG = np.random.default_rng(8)
SCIENCE = RNG.normal(1000, 30, (37, 53)).astype("f4")
SCIENCE[3, 4] = np.nan
UNCERTAINTY = np.sqrt(np.abs(SCIENCE))
MASK = RNG.choice([0, 0, 0, 1, 17, 0xFFFF], (37, 53)).astype("u2")
CARDS: list[Card] = [
    ("RECIPE", "reduce_light 3", ""),
    ("GRADE", "B", "worst input"),
    ("PARENTS", "abcdef " * 20, ""),
    ("HISTORY", "made", ""),
]


def write(path: Path) -> Path:
    return write_image_product(
        path, science=SCIENCE, uncertainty=UNCERTAINTY, mask=MASK, cards=CARDS, unit="electron/s", durable=False
    ).path


def test_ccddata_reads_it(tmp_path: Path) -> None:
    found = CCDData.read(write(tmp_path / "a.fits"))
    np.testing.assert_array_equal(found.data, SCIENCE)
    assert isinstance(found.uncertainty, StdDevUncertainty)
    np.testing.assert_array_equal(found.uncertainty.array, UNCERTAINTY)
    np.testing.assert_array_equal(found.mask, MASK != 0)
    assert found.unit == units.electron / units.s
    assert found.header["GRADE"] == "B"
    assert found.header["PARENTS"] == ("abcdef " * 20).rstrip()


def test_checksums_and_form_hold_in_astropy(tmp_path: Path) -> None:
    extras = {"COUNT": np.arange(37 * 53, dtype="u2").reshape(37, 53), "N": MASK.astype("i4"), "B": MASK.astype("u1"), "F": MASK > 0}
    path = write_image_product(
        tmp_path / "a.fits", science=SCIENCE, uncertainty=UNCERTAINTY, mask=MASK, cards=CARDS, extras=extras, durable=False
    ).path
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus] == ["SCI", "UNCERT", "MASK", *extras]
            np.testing.assert_array_equal(hdus["MASK"].data, MASK)
            np.testing.assert_array_equal(hdus["COUNT"].data, extras["COUNT"])
            assert hdus["MASK"].header["BIT04"] == PixelFlag.COSMIC_RAY.name.lower()
            for hdu in hdus:
                assert "20" not in hdu.header.comments["CHECKSUM"]


def test_wrong_bits_are_noticed(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.fits").read_bytes())
    data[-3000] ^= 1
    (tmp_path / "b.fits").write_bytes(data)
    with pytest.warns(AstropyUserWarning) as caught, fits.open(tmp_path / "b.fits", checksum=True) as hdus:
        len(hdus)
    assert all("verification failed for HDU ('MASK', 1)" in str(warning.message) for warning in caught)


def test_round_trip(tmp_path: Path) -> None:
    extras = {"COUNT": MASK}
    path = write_image_product(tmp_path / "a.fits", science=SCIENCE, mask=MASK, unit="adu", extras=extras, durable=False).path
    found = read_image_product(path)
    np.testing.assert_array_equal(found.science, SCIENCE)
    assert found.uncertainty is None
    assert found.mask is not None
    np.testing.assert_array_equal(found.mask, MASK)
    np.testing.assert_array_equal(found.extras["COUNT"], MASK)
    assert found.unit == "adu"
    assert found.science.dtype == np.float32
    assert found.mask.dtype == np.uint16


def test_same_inputs_same_bytes_and_their_hash(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.fits"), write(tmp_path / "deeper" / "b.fits")
    assert one.read_bytes() == two.read_bytes()
    written = write_image_product(tmp_path / "c.fits", science=SCIENCE, durable=False)
    assert written.sha256 == hashlib.sha256(written.path.read_bytes()).hexdigest()
    assert written.size == written.path.stat().st_size
    assert written.size % 2880 == 0


def test_writing_again_is_success_but_not_with_other_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits")
    write(path)
    with pytest.raises(FinalExistsError):
        write_image_product(path, science=SCIENCE + 1, durable=False)


@pytest.mark.parametrize("threads", [1, 2])
def test_slabs_in_any_order_give_the_same_file(tmp_path: Path, threads: int) -> None:
    whole = write(tmp_path / "a.fits")
    jobs = [
        (name, y, array[y : y + 5]) for name, array in [("MASK", MASK), ("SCI", SCIENCE), ("UNCERT", UNCERTAINTY)] for y in range(0, 37, 5)
    ]
    order = [jobs[i] for i in np.random.default_rng(2).permutation(len(jobs))]
    with ProductWriter(tmp_path / "b.fits", SCIENCE.shape, unit="electron/s", cards=CARDS, durable=False) as writer:

        def work(start: int) -> None:
            for name, y, rows in order[start::threads]:
                writer.write_rows(name, y, rows)

        workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert writer.written is not None
    assert writer.written.path.read_bytes() == whole.read_bytes()


def test_cards_known_only_at_the_end(tmp_path: Path) -> None:
    with ProductWriter(tmp_path / "a.fits", (4, 5), unit="adu", planes={"SCI": "f4"}, room_for_cards=40, durable=False) as writer:
        writer.write_rows("SCI", 0, np.ones((4, 5)))
        writer.add_cards([("LEVEL", 1.0, "adu"), ("NFRAMES", 12, "")])
    found = read_image_product(tmp_path / "a.fits")
    assert (found.cards["LEVEL"], found.cards["NFRAMES"]) == (1.0, 12)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")


def test_too_many_late_cards(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="room_for_cards=1"),
        ProductWriter(tmp_path / "a.fits", (1, 1), unit="adu", planes={"SCI": "f4"}, room_for_cards=1) as writer,
    ):
        writer.add_cards([("A", 1, ""), ("B", 1, "")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("jobs", "cause"),
    [
        ([(0, 2)], "2 of 4 rows were never written"),
        ([(0, 2), (1, 2)], "written already"),
        ([(3, 2)], "do not fit"),
        ([(-1, 2)], "do not fit"),
    ],
)
def test_missing_and_repeated_rows_are_bugs(tmp_path: Path, jobs: list[tuple[int, int]], cause: str) -> None:
    def attempt() -> None:
        with ProductWriter(tmp_path / "a.fits", (4, 5), unit="adu", planes={"SCI": "f4"}) as writer:
            for y, n in jobs:
                writer.write_rows("SCI", y, np.ones((n, 5)))

    with pytest.raises(ValueError, match=cause):
        attempt()
    assert list(tmp_path.iterdir()) == []


def test_shapes_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MASK has shape"):
        write_image_product(tmp_path / "a.fits", science=SCIENCE, mask=MASK[1:])


def test_full_disk(tmp_path: Path) -> None:
    def hook(stage: str, _: Path) -> None:
        if stage == "fsync":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with injected_faults(hook), pytest.raises(TransientError, match="No space left"):
        write(tmp_path / "a.fits")
    assert part_files(tmp_path) == []


def test_source_header_is_carried_on_and_own_cards_win(tmp_path: Path) -> None:
    texts = [
        "SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 5", "NAXIS2  = 4", "BZERO   = 32768", "BUNIT   = 'adu'",
        "OBJECT  = 'M 13'", "EXPTIME = 3,2E-05", "GRADE   = 'A'", "CRPIX1  = 5.0", "HISTORY old", "HIERARCH ESO DET ID = 5", "END",
    ]  # fmt: skip  # read as a table
    source = b"".join(card(text) for text in texts)
    path = tmp_path / "a.fits"
    write_image_product(path, science=SCIENCE, cards=CARDS, source_header=source, unit="electron", drop=["crpix1"], durable=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            header = hdus[0].header
            assert (header["OBJECT"], header["EXPTIME"], header["GRADE"], header["BUNIT"]) == ("M 13", "3,2E-05", "B", "electron")
            assert header["ESO DET ID"] == 5
            assert "CRPIX1" not in header
            assert "BZERO" not in header
            assert list(header["HISTORY"]) == ["old", "made"]
    assert CCDData.read(path).unit == units.electron


def test_other_fits_files_are_no_products(tmp_path: Path) -> None:
    fits.PrimaryHDU(SCIENCE).writeto(tmp_path / "a.fits")
    with pytest.raises(RejectedInput, match="is not an image product"):
        read_image_product(tmp_path / "a.fits")


def test_table_reads_back_with_units(tmp_path: Path) -> None:
    table = QTable({"x": [1.0, 2.5] * units.pix, "name": ["a", "b,'"]})
    table["x"].info.description = "column position"
    table.meta["recipe"] = "photometry 1"
    written = write_table_product(tmp_path / "a.ecsv", table, durable=False)
    again = write_table_product(tmp_path / "b.ecsv", table, durable=False)
    assert written.sha256 == again.sha256 == hashlib.sha256(written.path.read_bytes()).hexdigest()
    found = Table.read(written.path)
    assert found["x"].unit == units.pix
    assert found["x"].description == "column position"
    assert list(found["name"]) == ["a", "b,'"]
    assert found.meta["recipe"] == "photometry 1"


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(products, "reserve", full)
    with (
        pytest.raises(TransientError, match=r"a\.fits: cannot be written now \(No space left"),
        ProductWriter(tmp_path / "a.fits", (3, 4), unit="adu"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_a_hash_the_same_bytes(tmp_path: Path) -> None:
    for name, hashed in (("a.fits", True), ("b.fits", False)):
        with ProductWriter(tmp_path / name, (3, 4), unit="adu", planes={"SCI": "f4"}, hashed=hashed) as writer:
            writer.write_rows("SCI", 0, np.ones((3, 4), "f4"))
        assert writer.written is not None
        assert bool(writer.written.sha256) == hashed
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


@pytest.mark.skipif(library() is None, reason="no C compiler here")
@pytest.mark.parametrize("code", ["f4", "u2", "i4"])
@pytest.mark.parametrize("first_pixel", [0, 1, 2, 3])
@pytest.mark.parametrize("n_pixels", [WORTH_IT, WORTH_IT + 1, WORTH_IT + 3])
def test_the_kernel_packs_rows_as_numpy_does(code: str, first_pixel: int, n_pixels: int) -> None:
    rows = np.random.default_rng(n_pixels + first_pixel).integers(0, 1 << 32, (1, n_pixels), np.uint32).astype(f"u{code[1]}").view(code)
    plane = Plane("X", code, rows.shape, 0, 2880)
    room = np.zeros(rows.nbytes, np.uint8)
    expected = plane.stored(rows).tobytes(), plane.sum_of(rows, first_pixel)
    assert store(rows, first_pixel, room) == expected[1]
    assert room.tobytes() == expected[0]
    packed, total = plane.pack(rows, first_pixel, room)
    assert (bytes(packed), total) == expected
