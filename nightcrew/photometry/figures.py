"""The numbers behind the photometry figures: the finder chart of an image and the sub-frame figure of a star.

What is drawn from them, and how, is :mod:`reports.figures_photometry`'s matter; each can be saved as a table.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.measure import Photometry
from nightcrew.photometry.parameters import FWHM_PER_SIGMA, FitCriteria
from nightcrew.photometry.radial_profile import fit_profiles, radial_profiles
from nightcrew.photometry.sky import accept_fits
from nightcrew.quality.statistics import median_and_sigma, sample_pixels

Float = NDArray[np.float32]
Double = NDArray[np.float64]

MAX_PART = 48
CHART_PX = 1000
"""Longer side of a finder chart's picture: larger images are averaged in blocks."""


@dataclass(frozen=True, slots=True)
class FinderChart:
    """``image`` (float32 ``[y, x]``, averaged over blocks of ``block`` pixels; NaN without data), grey limits ``low`` (sky) and
    ``high``; per source the position in pixels of the full image, number and magnitude (NaN: none).  ``radius_px`` of the aperture.
    """

    image: Float
    block: int
    low: float
    high: float
    ids: NDArray[np.int64]
    x: Double
    y: Double
    magnitude: Double
    magnitude_name: str
    radius_px: float


@dataclass(frozen=True, slots=True)
class SubframeFigure:
    """One star: ``image`` cut-out whose first pixel is (``x0``, ``y0``); centre, aperture; the profile and its fit.

    ``radius_px``, ``value``, ``error`` of the bins; ``pixel_radius_px``, ``pixel_value`` of single pixels; ``fit_radius_px`` and
    ``fit_value`` the curve (empty without a fit).  ``sky`` is what was taken off, ``fit_sky`` G with ``r_squared``; ``accepted``
    whether the fit passed its criteria.
    """

    source_id: int
    image: Float
    x0: int
    y0: int
    x: float
    y: float
    aperture_px: float
    radius_px: Double
    value: Double
    error: Double
    pixel_radius_px: Double
    pixel_value: Double
    fit_radius_px: Double
    fit_value: Double
    sky: float
    fit_sky: float | None
    fit_sigma_px: float | None
    r_squared: float | None
    reduced_chi_squared: float | None
    accepted: bool
    unit: str

    def table(self) -> Any:
        """The profile's bins and the fit at their radii as an astropy Table, for the file beside the figure."""
        from astropy.table import Table

        inside = self.radius_px
        model = np.interp(inside, self.fit_radius_px, self.fit_value) if self.fit_radius_px.size else np.full(inside.size, np.nan)
        table = Table({"radius_px": inside, "value": self.value, "error": self.error, "fit": np.ma.masked_invalid(model)})
        table["radius_px"].unit, table["radius_px"].description = "pix", "mean distance of the bin's pixels from the centroid"
        for name, text in (("value", "mean of the bin's pixels"), ("error", "its standard error"), ("fit", "A exp(-r^2 / 2 sigma^2) + G")):
            table[name].unit, table[name].description = f"{self.unit} / pix", text
        table.meta.update({"id": self.source_id, "sky": self.sky, "fit_sky": self.fit_sky, "r_squared": self.r_squared})
        return table


def safe_part(text: object) -> str:
    """``text`` as a part of a file name: letters, digits, ``+ - .``; where that changes it, six digits of its hash keep it unique."""
    raw = str(text)
    clean = re.sub(r"[^A-Za-z0-9+.-]+", "-", raw).strip(".-")[:MAX_PART]
    if clean == raw:
        return clean
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{clean}-{digest}" if clean else digest


def finder_name(save: str, filter_name: str, gain: object, exposure_s: float | None) -> str:
    """``finder_<save>_master_<filter>_<gain>_<t>.png`` with ``-`` for the decimal point of ``t``; every part made safe."""
    t = "unknown" if exposure_s is None or not math.isfinite(exposure_s) else f"{exposure_s:g}".replace(".", "-").replace("+", "")
    setting = "unknown" if gain in (None, "") else gain
    return f"finder_{safe_part(save)}_master_{safe_part(filter_name)}_{safe_part(setting)}_{t}.png"


def subframe_name(save: str, source_id: int, filter_name: str) -> str:
    """``subframe_<save>_<id>_<filter>.png``; every part made safe."""
    return f"subframe_{safe_part(save)}_{int(source_id)}_{safe_part(filter_name)}.png"


def finder_chart(image: NDArray[Any], catalogue: Any, *, max_sources: int | None = None) -> FinderChart:
    """Data of the finder chart of ``image`` ``[y, x]`` with the sources of ``catalogue``, the brightest ``max_sources`` of them."""
    block = max(1, math.ceil(max(image.shape) / CHART_PX))
    small = _block_mean(image, block)
    finite = sample_pixels(small)
    finite = finite[np.isfinite(finite)]
    median, sigma = median_and_sigma(finite) if finite.size else (0.0, 1.0)
    chosen = catalogue[:max_sources] if max_sources else catalogue
    name = next((n for n in ("mag", "mag_adu") if len(chosen) and not np.all(chosen[n].mask)), "mag")
    return FinderChart(
        image=small,
        block=block,
        low=median - 2 * sigma,
        high=median + 10 * (sigma or 1.0),
        ids=np.asarray(chosen["id"], np.int64),
        x=np.asarray(chosen["x_px"], np.float64),
        y=np.asarray(chosen["y_px"], np.float64),
        magnitude=np.asarray(np.ma.filled(np.ma.asarray(chosen[name], np.float64), np.nan)),
        magnitude_name=name,
        radius_px=float(catalogue.meta["radius_px"]),
    )


def _block_mean(image: NDArray[Any], block: int) -> Float:
    """Mean of blocks of pixels (the last rows and columns that fill no block are left off); NaN where a block holds one."""
    ny, nx = image.shape[0] // block * block, image.shape[1] // block * block
    cut = np.asarray(image[:ny, :nx], np.float32)
    return np.asarray(cut.reshape(ny // block, block, nx // block, block).mean(axis=(1, 3)), np.float32)


def subframe_figure(photometry: Photometry, source_id: int, half_length_px: int, criteria: FitCriteria | None = None) -> SubframeFigure:
    """Data of the figure of the source numbered ``source_id``, from the profile within ``half_length_px`` about its centroid.

    The fit is shown whatever sky mode was used; ``sky`` is the catalogue's value.

    :raises KeyError: the catalogue has no such source.
    """
    catalogue, field = photometry.catalogue, photometry.field
    place = np.flatnonzero(np.asarray(catalogue["id"]) == source_id)
    if field is None or place.size == 0:
        raise KeyError(f"no source {source_id} in this catalogue")
    row = catalogue[int(place[0])]
    x, y = float(row["x_px"]), float(row["y_px"])
    found = field.detections
    nearest = int(np.argmin(np.hypot(found.x - x, found.y - y)))
    label = found.label[nearest : nearest + 1]
    profiles = radial_profiles(
        field.image if field.smoothed is None else field.smoothed,
        field.uncertainty,
        np.array([x]),
        np.array([y]),
        half_length_px,
        exclude=field.bad,
        segmentation=field.detections.segmentation,
        label=label,
    )
    stellar_sigma = float(photometry.facts.get("fwhm_sigma_px") or 4.0 / FWHM_PER_SIGMA)
    fit = fit_profiles(profiles, stellar_sigma)
    filled = profiles.count[0] > 0
    curve_radius, curve = _curve(fit, half_length_px)
    x0, y0, cut, pixel_radius, pixel_value = _pixels(field.image, field.bad, x, y, half_length_px)
    converged = bool(fit.converged[0])
    return SubframeFigure(
        source_id=source_id,
        image=cut,
        x0=x0,
        y0=y0,
        x=x,
        y=y,
        aperture_px=float(catalogue.meta["radius_px"]),
        radius_px=profiles.radius_px[0][filled],
        value=profiles.value[0][filled],
        error=profiles.error[0][filled],
        pixel_radius_px=pixel_radius,
        pixel_value=pixel_value,
        fit_radius_px=curve_radius,
        fit_value=curve,
        sky=float(row["sky"]),
        fit_sky=float(fit.sky[0]) if converged else None,
        fit_sigma_px=float(fit.sigma_px[0]) if converged else None,
        r_squared=float(fit.r_squared[0]) if converged else None,
        reduced_chi_squared=float(fit.reduced_chi_squared[0]) if converged else None,
        accepted=bool(accept_fits(fit, stellar_sigma, criteria or FitCriteria())[0]),
        unit=str(photometry.facts["unit"]),
    )


def _curve(fit: Any, half_length_px: int) -> tuple[Double, Double]:
    if not fit.converged[0]:
        return np.empty(0), np.empty(0)
    radius = np.linspace(0.0, half_length_px, 10 * half_length_px + 1)
    return radius, fit.amplitude[0] * np.exp(-0.5 * (radius / fit.sigma_px[0]) ** 2) + fit.sky[0]


def _pixels(image: Float, bad: NDArray[np.bool_], x: float, y: float, half: int) -> tuple[int, int, Float, Double, Double]:
    """Cut-out about (x, y), clipped at the frame's edges, and radius and value of its good pixels within ``half``."""
    ny, nx = image.shape
    x0, x1 = max(0, round(x) - half), min(nx, round(x) + half + 1)
    y0, y1 = max(0, round(y) - half), min(ny, round(y) + half + 1)
    cut, lost = image[y0:y1, x0:x1].copy(), bad[y0:y1, x0:x1]
    radius = np.hypot(np.arange(x0, x1)[None, :] - x, np.arange(y0, y1)[:, None] - y)
    good = ~lost & (radius < half)
    values = cut[good].astype(np.float64)
    cut[lost] = np.nan
    return x0, y0, cut, radius[good], values
