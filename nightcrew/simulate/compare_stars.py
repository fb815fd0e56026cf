"""Stars of a recovered catalogue against the planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.flags import SourceFlag
from nightcrew.simulate.comparison import Item
from nightcrew.simulate.expected import ExpectedLight
from nightcrew.simulate.truth import FrameTruth, Truth

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MATCH_PX = 1.5
MAGNITUDE_TOLERANCE = 0.005
MAGNITUDE_ERROR_TOLERANCE = 0.10
BRIGHT_ERROR_MAG = 0.01  # a star is bright when noise alone moves its magnitude by less
MEASURABLE_ERROR_MAG = 0.1  # below S/N 10 magnitudes are no longer normally distributed

# what makes a measured magnitude incomparable, whatever its cause
SPOILING_FLAGS = (
    SourceFlag.SATURATED
    | SourceFlag.EDGE
    | SourceFlag.PIXELS_REPLACED
    | SourceFlag.CORE_REPLACED
    | SourceFlag.PIXELS_LOST
    | SourceFlag.CROWDED
    | SourceFlag.NO_POSITIVE_SUM
)


@dataclass(frozen=True, kw_only=True)
class StarTable:
    """The columns of a catalogue that are compared; ``magnitude`` is -2.5 log10(e-/s in the aperture), ``flagged`` true to leave out."""

    x_px: Floats
    y_px: Floats
    magnitude: Floats
    magnitude_error: Floats
    radius_px: Floats
    flagged: Mask


def star_table(catalogue: Any) -> StarTable:
    """From a catalogue of :func:`nightcrew.photometry.catalogue.build_catalogue` (or its ECSV read back), sky subtracted, in e-.

    Masked values become NaN and are left out; so are sources with a flag of ``SPOILING_FLAGS``.
    """
    columns = {
        name: np.ma.filled(np.ma.asarray(catalogue[name], dtype=np.float64), np.nan) for name in ("x_px", "y_px", "mag", "mag_error")
    }
    flags = np.ma.filled(np.ma.asarray(catalogue["flags"]), 0).astype(np.int64)
    return StarTable(
        x_px=columns["x_px"],
        y_px=columns["y_px"],
        magnitude=columns["mag"],
        magnitude_error=columns["mag_error"],
        radius_px=np.full(flags.size, float(catalogue.meta["radius_px"])),
        flagged=(flags & int(SPOILING_FLAGS)) != 0,
    )


@dataclass(frozen=True)
class StarResiduals:
    """Differences recovered - truth of matched, clean stars (1-d, one length), and how many bright ones there were."""

    delta_mag: Floats
    pull: Floats
    predicted_error_mag: Floats
    bright: Mask
    distance_px: Floats
    n_bright: int
    n_bright_found: int


def residuals(truth: Truth, frame: FrameTruth, table: StarTable, expected: ExpectedLight) -> StarResiduals:
    """Match a light's catalogue with the planted stars and take the differences.

    Truth is the flux that the aperture of each measurement should hold.  Stars with a planted defect or cosmic ray, a
    saturated pixel or the frame's edge inside the aperture are left out: they are not wrong, only not comparable.
    """
    x, y = truth.star_positions(frame)
    typical = float(np.nanmedian(table.radius_px)) if table.radius_px.size else 2 * frame.fwhm_px
    clean = _clean(truth, frame, expected, x, y, typical)
    error = predicted_error_mag(truth, frame, expected, x, y, typical)
    match, distance = _nearest(table, x, y)
    found = clean & (match >= 0)
    star, row = np.flatnonzero(found), match[found]
    usable = ~table.flagged[row] & np.isfinite(table.magnitude[row]) & (error[star] < MEASURABLE_ERROR_MAG)
    star, row = star[usable], row[usable]
    psf = truth.plan.psf(frame.fwhm_px)
    part = np.array([psf.enclosed(float(radius)) for radius in table.radius_px[row]])
    true_mag = -2.5 * np.log10(truth.star_flux_e_per_s(frame)[star] * part)
    delta = table.magnitude[row] - true_mag
    bright = error < BRIGHT_ERROR_MAG
    return StarResiduals(
        delta_mag=delta,
        pull=delta / table.magnitude_error[row],
        predicted_error_mag=error[star],
        bright=bright[star],
        distance_px=distance[star],
        n_bright=int((clean & bright).sum()),
        n_bright_found=int((found & bright).sum()),
    )


def predicted_error_mag(truth: Truth, frame: FrameTruth, expected: ExpectedLight, x: Floats, y: Floats, radius_px: float) -> Floats:
    """Standard error of each star's aperture magnitude from the pixels' predicted variance (sky known perfectly)."""
    flux = truth.star_flux_e_per_s(frame) * frame.exposure_s * truth.plan.psf(frame.fwhm_px).enclosed(radius_px)
    variance = np.array([_aperture(expected.variance_e2, a, b, radius_px).sum(dtype=np.float64) for a, b in zip(x, y, strict=True)])
    return np.asarray(1.0857 * np.sqrt(variance) / flux)


def _aperture(image: NDArray[np.float32] | Mask, x: float, y: float, radius_px: float) -> NDArray[np.float32] | Mask:
    """Pixels of ``image`` whose centre lies within the radius (empty outside the frame)."""
    ny, nx = image.shape
    x0, x1 = max(0, int(np.floor(x - radius_px))), min(nx, int(np.ceil(x + radius_px)) + 1)
    y0, y1 = max(0, int(np.floor(y - radius_px))), min(ny, int(np.ceil(y + radius_px)) + 1)
    if x0 >= x1 or y0 >= y1:
        return image[:0, :0].ravel()
    rows, columns = np.ogrid[y0:y1, x0:x1]
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius_px**2
    return image[y0:y1, x0:x1][inside]


def _clean(truth: Truth, frame: FrameTruth, expected: ExpectedLight, x: Floats, y: Floats, radius_px: float) -> Mask:
    shape = expected.signal_e.shape
    ny, nx = shape
    spoiled = expected.saturated.copy()
    for planted in (truth.hot, truth.cold, frame.cosmic_rays):
        pixels = planted.arrays()
        spoiled[pixels.y, pixels.x] = True
    margin = radius_px + 1
    inside = (x >= margin) & (x < nx - margin) & (y >= margin) & (y < ny - margin)
    free = [not _aperture(spoiled, a, b, margin).any() for a, b in zip(x, y, strict=True)]
    return np.asarray(inside & np.array(free, dtype=bool))


def _nearest(table: StarTable, x: Floats, y: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Row of the nearest measurement within 1.5 px for each star (-1 for none), and its distance in px."""
    if table.x_px.size == 0:
        return np.full(x.size, -1), np.full(x.size, np.inf)
    from scipy.spatial import cKDTree

    tree = cKDTree(np.column_stack([table.x_px, table.y_px]))
    distance, row = tree.query(np.column_stack([x, y]), distance_upper_bound=MATCH_PX)
    return np.where(np.isfinite(distance), row, -1), np.asarray(distance)


def magnitude_items(stars: Sequence[StarResiduals]) -> list[Item]:
    """Magnitudes of bright stars without bias, all errors of the right size, bright stars found."""
    if not stars:
        return [Item(name="magnitudes", recovered=None, truth=None, unit="mag", rule="measured", passed=False, note="no catalogues")]
    delta = np.concatenate([one.delta_mag[one.bright] for one in stars])
    error = np.concatenate([one.predicted_error_mag[one.bright] for one in stars])
    pull = np.concatenate([one.pull for one in stars])
    found, present = sum(one.n_bright_found for one in stars), sum(one.n_bright for one in stars)
    weight = 1 / error**2
    offset = float(np.sum(weight * delta) / np.sum(weight)) if delta.size else None
    width = float(np.percentile(pull, 84.13) - np.percentile(pull, 15.87)) / 2 if pull.size else None
    # a width from n values is uncertain by about 1.25 / sqrt(2 n) when taken from percentiles
    allowed = max(MAGNITUDE_ERROR_TOLERANCE, 3 * 1.25 / float(np.sqrt(2 * max(1, pull.size))))
    return [
        Item(
            name="bright stars found",
            recovered=found / present if present else None,
            truth=1.0,
            unit="",
            rule="at least 95 %",
            passed=bool(present) and found >= 0.95 * present,
            note=f"{found} of {present}",
        ),
        Item(
            name="magnitudes of bright stars, mean difference",
            recovered=offset,
            truth=0.0,
            unit="mag",
            rule=f"within {MAGNITUDE_TOLERANCE} mag",
            passed=offset is not None and abs(offset) <= MAGNITUDE_TOLERANCE,
            note=f"{delta.size} measurements",
        ),
        Item(
            name="magnitudes, width of the pulls",
            recovered=width,
            truth=1.0,
            unit="sigma",
            rule=f"within {allowed:.0%}",
            passed=width is not None and abs(width - 1) <= allowed,
            note=f"{pull.size} measurements, central 68 %",
        ),
    ]
