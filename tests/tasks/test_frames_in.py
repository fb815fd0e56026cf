"""Raw frames as units of work get them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from tasks.frames_in import look, pixels_of


@pytest.mark.parametrize(("known", "level"), [(None, 32767.0), (4000.0, 4000.0)])
def test_blank_integers_are_no_values_and_the_saturation_level_stays(tmp_path: Path, known: float | None, level: float) -> None:
    pixels = np.full((4, 5), 1000, np.int16)
    pixels[1, 2], pixels[3, 0] = -1, 32767
    hdu = fits.PrimaryHDU(pixels)
    hdu.header["BLANK"] = -1
    hdu.writeto(tmp_path / "light.fits")
    stat = (tmp_path / "light.fits").stat()
    header = SimpleNamespace(hdu=0, trim=None, overscan=None, saturation_adu=known)
    frame: Any = SimpleNamespace(
        path=bytes(tmp_path / "light.fits"), size=stat.st_size, mtime_ns=stat.st_mtime_ns, ctime_ns=0, header=header
    )
    found, saturation, _ = pixels_of(frame)
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2]]
    assert found[3, 0] == 32767
    assert saturation == level
    seen = look(frame)
    assert seen.level_adu == 1000
    assert seen.saturated_fraction == 1 / 19


def test_infinite_and_absurd_numbers_are_no_values(tmp_path: Path) -> None:
    """A pixel of 1e38 has an infinite square: photometry of its light was a fault of ours."""
    pixels = np.full((4, 5), 1000.0, np.float32)
    pixels[0, :4] = 1e38, -1e38, np.inf, -np.inf
    pixels[1, 0], pixels[1, 1] = 1e15, 9e14
    fits.PrimaryHDU(pixels).writeto(tmp_path / "light.fits")
    stat = (tmp_path / "light.fits").stat()
    header = SimpleNamespace(hdu=0, saturation_adu=None)
    frame: Any = SimpleNamespace(
        path=bytes(tmp_path / "light.fits"), size=stat.st_size, mtime_ns=stat.st_mtime_ns, ctime_ns=0, header=header
    )
    found = pixels_of(frame)[0]
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
