"""Stars of a frame for a plate solver: found and centred as for catalogues, without what is no star."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.measure import measure
from nightcrew.photometry.parameters import PhotometryParameters

Double = NDArray[np.float64]

MOST_SOURCES = 500
"""The brightest: a solver looks at a few dozen, and verifies with the rest."""
_NO_STAR = SourceFlag.NARROW | SourceFlag.EDGE | SourceFlag.NO_POSITIVE_SUM | SourceFlag.CENTROID_FALLBACK
_SLAB_ROWS = 512
_SPIKE_SIGMA = 10.0
_SPIKE_FRACTION = 0.12
"""Of a pixel's height, that at least one neighbour of a star of FWHM 1 px on the middle of a pixel shows (0.15 by integration)."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Stars by falling ``flux`` (any linear unit): ``x``, ``y`` in px, 0 is the centre of the first pixel; arrays of one length."""

    x: Double
    y: Double
    flux: Double

    def __len__(self) -> int:
        return int(self.x.size)


def sources_of(image: NDArray[Any], mask: NDArray[np.uint16] | None = None, *, threshold_sigma: float = 5.0) -> Sources:
    """The brightest stars of an image ``[y, x]``, raw or reduced; ``mask`` holds PixelFlag bits.

    Lone hot pixels are taken out first (a raw frame may show more of them than stars), narrow sources and those at the edge left
    out after.

    :raises RejectedInput: no image of two axes.
    """
    if image.ndim != 2:
        raise RejectedInput(f"a plate solution needs an image of two axes, not {image.ndim}")
    clean = _without_spikes(image)
    found = measure(
        clean,
        mask=mask,
        exposure_s=None,
        unit="adu",
        parameters=PhotometryParameters(threshold_sigma=threshold_sigma, radius_fwhm=1.5, max_sources=2 * MOST_SOURCES),
    ).catalogue
    x, y, flux = (np.ma.filled(np.ma.asarray(found[name], np.float64), np.nan) for name in ("x_px", "y_px", "sum"))
    star = (np.asarray(found["flags"], np.int64) & int(_NO_STAR)) == 0
    star &= np.isfinite(x) & np.isfinite(y) & np.isfinite(flux)
    return brightest(Sources(x[star], y[star], flux[star]))


def brightest(sources: Sources, number: int = MOST_SOURCES) -> Sources:
    """The brightest ``number``, ties by y and x: the order that was given does not matter."""
    order = np.lexsort((sources.x, sources.y, -sources.flux))[:number]
    return Sources(sources.x[order], sources.y[order], sources.flux[order])


def _without_spikes(image: NDArray[Any]) -> NDArray[np.float32]:
    """float32 copy with NaN for pixels that stand alone: high above the sky, with no neighbour that shares their light."""
    from scipy.ndimage import maximum_filter

    clean = np.array(image, np.float32)
    finite = np.isfinite(clean)
    if not finite.any():
        return clean
    sample = clean[finite][:: max(1, clean.size // 200_000)]
    sky = np.float32(np.median(sample))
    sigma = np.float32(1.4826 * np.median(np.abs(sample - sky)))
    ring = np.ones((3, 3), np.bool_)
    ring[1, 1] = False
    least = np.float32(_SPIKE_SIGMA * max(float(sigma), 1e-6))
    spikes = np.zeros(clean.shape, np.bool_)
    for y0 in range(0, len(clean), _SLAB_ROWS):  # a large frame has no room for many copies of itself
        y1 = min(y0 + _SLAB_ROWS, len(clean))
        below, above = max(y0 - 1, 0), min(y1 + 1, len(clean))
        height = np.where(finite[below:above], clean[below:above] - sky, np.float32(0.0))
        beside = maximum_filter(height, footprint=ring, mode="constant", cval=-np.inf)
        alone = (height > least) & (beside < _SPIKE_FRACTION * height)
        spikes[y0:y1] = alone[y0 - below : y1 - below]
    clean[spikes] = np.nan
    return clean
