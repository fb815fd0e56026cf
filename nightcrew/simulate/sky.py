"""A simulated sky: star fields with known magnitudes, and images of stars integrated exactly over each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.randomness import FloatImage

Floats = NDArray[np.float64]
PsfShape = Literal["gaussian", "moffat"]

# Three-point Gauss-Legendre rule on a pixel: exact to the fifth order, better than 1e-5 of the peak for FWHM >= 2 px.
_NODES = (-np.sqrt(0.6) / 2, 0.0, np.sqrt(0.6) / 2)
_WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


@dataclass(frozen=True)
class Psf:
    """A round star image of unit flux; ``beta`` is the exponent of the Moffat law (not used by a Gaussian)."""

    shape: PsfShape
    fwhm_px: float
    beta: float = 4.5

    @property
    def sigma_px(self) -> float:
        """Standard deviation of the Gaussian with this width at half maximum."""
        return self.fwhm_px / float(np.sqrt(8 * np.log(2)))

    @property
    def alpha_px(self) -> float:
        """Scale of the Moffat law (1 + r^2/alpha^2)^-beta with this width at half maximum."""
        return self.fwhm_px / (2 * float(np.sqrt(2 ** (1 / self.beta) - 1)))

    @property
    def reach_px(self) -> int:
        """Half width of the stamps: what lies outside is below 1e-5 of the flux."""
        return int(np.ceil((2.7 if self.shape == "gaussian" else 7.0) * self.fwhm_px)) + 1

    def enclosed(self, radius_px: float) -> float:
        """Part of a star's flux that an aperture holds which takes pixels at the rim by their share of area.

        The profile's own encircled flux plus, to second order, the averaging over pixels: once by the detector and once
        by the shares, each a box of variance 1/12 px^2 on both axes.  By the divergence theorem that adds
        2 x 2 pi R I'(R) / 24.  Good to 5e-4 for R >= 1.5 FWHM and FWHM >= 3 px.
        """
        r2 = radius_px * radius_px
        if self.shape == "gaussian":
            s2 = self.sigma_px**2
            inside = 1 - np.exp(-r2 / (2 * s2))
            slope = -radius_px / s2 * np.exp(-r2 / (2 * s2)) / (2 * np.pi * s2)
        else:
            a2, b = self.alpha_px**2, self.beta
            inside = 1 - (1 + r2 / a2) ** (1 - b)
            slope = -2 * b * radius_px / a2 * (b - 1) / (np.pi * a2) * (1 + r2 / a2) ** (-b - 1)
        return float(inside + 2 * np.pi * radius_px * slope / 12)

    def stamp(self, offset_x: float, offset_y: float) -> Floats:
        """Unit star [y, x] about the central pixel's centre + offset (px), integrated over each pixel."""
        grid = np.arange(-self.reach_px, self.reach_px + 1, dtype=np.float64)
        if self.shape == "gaussian":
            return np.outer(_gaussian_bins(grid - offset_y, self.sigma_px), _gaussian_bins(grid - offset_x, self.sigma_px))
        total = np.zeros((grid.size, grid.size))
        y2 = [(grid - offset_y + node) ** 2 for node in _NODES]
        x2 = [(grid - offset_x + node) ** 2 for node in _NODES]
        for row, wy in zip(y2, _WEIGHTS, strict=True):
            for column, wx in zip(x2, _WEIGHTS, strict=True):
                total += wy * wx * np.exp(-self.beta * np.log1p((row[:, None] + column[None, :]) / self.alpha_px**2))
        return total * ((self.beta - 1) / (np.pi * self.alpha_px**2))


def _gaussian_bins(distance: Floats, sigma: float) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr((distance + 0.5) / sigma) - ndtr((distance - 0.5) / sigma))


@dataclass(frozen=True)
class StarField:
    """Truth of a field: tangent-plane offsets in arcsec (east, north), V magnitude and B-V colour of each star."""

    xi_arcsec: Floats
    eta_arcsec: Floats
    v_mag: Floats
    b_minus_v: Floats

    def __len__(self) -> int:
        return len(self.v_mag)

    def magnitude(self, colour_factor: float) -> Floats:
        """Magnitude in a band whose difference to V is ``colour_factor`` x (B-V): 1 for B, 0 for V, -0.56 for R."""
        return self.v_mag + colour_factor * self.b_minus_v


def make_field(
    rng: np.random.Generator, n_stars: int, half_width_arcsec: float, *, separation_arcsec: float, mag_range: tuple[float, float]
) -> StarField:
    """Stars spread over a square, no two closer than ``separation_arcsec``, brightest first.

    Number per magnitude grows as 10^(0.15 m): flatter than the sky, so that enough bright stars are there to judge by.
    Where the square is full before ``n_stars`` are placed, fewer are returned.
    """
    places: list[tuple[float, float]] = []
    for _ in range(n_stars * 30):
        if len(places) == n_stars:
            break
        candidate = rng.uniform(-half_width_arcsec, half_width_arcsec, 2)
        if not places or np.min(np.hypot(*(np.array(places) - candidate).T)) >= separation_arcsec:
            places.append((float(candidate[0]), float(candidate[1])))
    xi, eta = np.round(np.array(places), 4).T
    slope = 0.15
    low, high = 10 ** (slope * mag_range[0]), 10 ** (slope * mag_range[1])
    v_mag = np.sort(np.log10(rng.uniform(low, high, len(places))) / slope)
    b_minus_v = np.clip(rng.normal(0.7, 0.3, len(places)), -0.1, 1.6)
    return StarField(xi, eta, np.round(v_mag, 4), np.round(b_minus_v, 4))


def add_stars(image: FloatImage, x_px: Floats, y_px: Floats, flux: Floats, psf: Psf) -> None:
    """Add stars of total ``flux`` (unit of the image) at 0-based centres to ``image`` [y, x], in place."""
    reach = psf.reach_px
    ny, nx = image.shape
    for x, y, total in zip(x_px.tolist(), y_px.tolist(), flux.tolist(), strict=True):
        column, row = round(x), round(y)
        x0, x1 = max(0, column - reach), min(nx, column + reach + 1)
        y0, y1 = max(0, row - reach), min(ny, row + reach + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        stamp = psf.stamp(x - column, y - row)
        window = stamp[y0 - row + reach : y1 - row + reach, x0 - column + reach : x1 - column + reach]
        image[y0:y1, x0:x1] += (total * window).astype(np.float32)
