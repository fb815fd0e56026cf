"""Small FITS files for the tests of the hand tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits


def write(path: Path | str, pixels: Any, cards: dict[str, Any] | None = None, **extensions: Any) -> Path:
    """A FITS file by astropy: ``pixels`` in the primary HDU with ``cards``, then image extensions by name."""
    made = fits.HDUList([fits.PrimaryHDU(None if pixels is None else np.asarray(pixels))])
    for key, value in (cards or {}).items():
        made[0].header[key] = value
    for name, plane in extensions.items():
        made.append(fits.ImageHDU(np.asarray(plane), name=name))
    made.writeto(path)
    return Path(path)


def values(path: Path | str, hdu: int | str = 0) -> Any:
    """Pixels as astropy reads them."""
    with fits.open(path, memmap=False) as opened:
        return opened[hdu].data


def header(path: Path | str, hdu: int | str = 0) -> Any:
    """Header as astropy reads it."""
    with fits.open(path, memmap=False) as opened:
        return opened[hdu].header
