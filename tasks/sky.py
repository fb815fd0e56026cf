"""World coordinates of products, for catalogues and as a first guess of registration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.io.headers import HeaderValue, read_hdus


def wcs_of(cards: Mapping[str, HeaderValue], raw_header: bytes) -> Any:
    """The celestial WCS of a product's header as an astropy object, None without one."""
    if "CTYPE1" not in cards:
        return None
    from astropy.io.fits import Header
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # dates and names of units that it puts into today's words
        wcs = WCS(Header.fromstring(raw_header), relax=True)
    return wcs if wcs.has_celestial else None


def product_wcs(path: Path) -> Any:
    """The celestial WCS of an image product, with the frame's shape; None without one."""
    hdu = read_hdus(path, first_only=True)[0]
    wcs = wcs_of(hdu.cards, hdu.raw)
    return None if wcs is None else (wcs, hdu.shape)


def between(frame: Any, reference: Any) -> NDArray[np.float64] | None:
    """The affine transform (2, 3) from a frame's pixels to the reference's by their WCS, from a 5 x 5 grid; None without both."""
    if frame is None or reference is None:
        return None
    (wcs, shape), (other, _) = frame, reference
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(0, shape[0] - 1, 5), np.linspace(0, shape[1] - 1, 5), indexing="ij"))
    ra, dec = wcs.all_pix2world(x, y, 0)
    try:
        there_x, there_y = other.all_world2pix(ra, dec, 0, quiet=True)
    except ValueError:
        return None
    if not (np.isfinite(there_x).all() and np.isfinite(there_y).all()):
        return None
    design = np.column_stack([x, y, np.ones_like(x)])
    return np.asarray(np.linalg.lstsq(design, np.column_stack([there_x, there_y]), rcond=None)[0].T, np.float64)
