"""BLANK integers of raw frames are no values in gain, read noise and bad pixels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.errors import RejectedInput
from nightcrew.io.images import ImageFile
from nightcrew.quality import camera_numbers
from nightcrew.quality.bad_pixels import unstable_pixels
from tasks.bad_pixels import TrimmedRows
from tasks.camera import _middle

SHAPE = (120, 140)
BLANK = -32768


def raw_frame(path: Path, level: float, sigma: float, seed: int, missing: float) -> Any:
    """A frame of normal noise, a share of whose pixels has no value, as the ledger knows it."""
    rng = np.random.default_rng(seed)
    pixels = np.rint(rng.normal(level, sigma, SHAPE)).astype(np.int16)
    pixels[rng.random(SHAPE) < missing] = BLANK
    hdu = fits.PrimaryHDU(pixels)
    hdu.header["BLANK"] = BLANK
    hdu.writeto(path)
    stat = path.stat()
    return SimpleNamespace(
        path=bytes(path), size=stat.st_size, mtime_ns=stat.st_mtime_ns, ctime_ns=0, header=SimpleNamespace(hdu=0, trim=(10, 130, 10, 110))
    )


def test_gain_and_read_noise(tmp_path: Path) -> None:
    """Shot noise of 10,000 e- at 2 e-/adu, read noise 10 adu."""
    biases = [_middle(raw_frame(tmp_path / f"b{k}.fits", 1000, 10, k, 0.2)) for k in range(2)]
    flats = [_middle(raw_frame(tmp_path / f"f{k}.fits", 6000, np.sqrt(2600), 9 + k, 0.2)) for k in range(2)]
    noise, gain = camera_numbers.read_noise(biases), camera_numbers.gain(flats, biases)
    assert noise.value is not None
    assert noise.error is not None
    assert abs(noise.value - 10) < 4 * noise.error
    assert gain.value is not None
    assert gain.error is not None
    assert abs(gain.value - 2) < 4 * gain.error


def test_a_frame_without_half_of_its_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RejectedInput, match="half of the pixels in its middle have no value"):
        _middle(raw_frame(tmp_path / "b.fits", 1000, 10, 1, 0.6))


def test_a_pixel_without_a_value_is_bad_and_changes_no_other(tmp_path: Path) -> None:
    plain, holed = [], []
    for k in range(5):
        frame = raw_frame(tmp_path / f"d{k}.fits", 1000, 10, k, 0.0)
        with ImageFile(tmp_path / f"d{k}.fits") as image:
            pixels = image.numbers()
            plain.append(TrimmedRows(image, frame.header.trim).read_rows(0, 100))
        pixels[30, 40 + k] = BLANK
        header = fits.Header([("BLANK", BLANK)])
        fits.writeto(tmp_path / f"h{k}.fits", pixels, header)
        with ImageFile(tmp_path / f"h{k}.fits") as image:
            holed.append(TrimmedRows(image, frame.header.trim).read_rows(0, 100))
    expected = unstable_pixels(plain)
    assert not expected[20, 30:35].any()
    expected[20, 30:35] = True
    np.testing.assert_array_equal(unstable_pixels(holed), expected)
