"""Simulated star fields of known truth: pixel-integrated Gaussians on a sky, with photon and read noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf


@dataclass(frozen=True)
class StarField:
    """``image`` and ``uncertainty`` in electrons; true centres (0-based) and total electrons of the stars."""

    image: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    electrons: NDArray[np.float64]


def add_star(expected: NDArray[np.float64], x: float, y: float, electrons: float, sigma_x: float, sigma_y: float | None = None) -> None:
    """Add a Gaussian star, integrated over each pixel, to ``expected`` ``[y, x]``."""
    sigma_y = sigma_x if sigma_y is None else sigma_y
    half = int(9 * max(sigma_x, sigma_y)) + 1
    y0, y1 = max(round(y) - half, 0), min(round(y) + half + 1, expected.shape[0])
    x0, x1 = max(round(x) - half, 0), min(round(x) + half + 1, expected.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    line_x = np.diff(0.5 * erf((np.arange(x0, x1 + 1) - 0.5 - x) / (np.sqrt(2) * sigma_x)))
    line_y = np.diff(0.5 * erf((np.arange(y0, y1 + 1) - 0.5 - y) / (np.sqrt(2) * sigma_y)))
    expected[y0:y1, x0:x1] += electrons * np.outer(line_y, line_x)


def grid_positions(size: int, spacing: int, rng: np.random.Generator, margin: int = 40) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions about a grid, each moved by up to half a pixel at random: no two stars disturb each other."""
    line = np.arange(margin, size - margin, spacing, dtype=float)
    yy, xx = np.meshgrid(line, line, indexing="ij")
    return xx.ravel() + rng.uniform(-0.5, 0.5, xx.size), yy.ravel() + rng.uniform(-0.5, 0.5, xx.size)


def make_field(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    electrons: NDArray[np.float64],
    *,
    size: int,
    sigma_px: float = 1.7,
    sky_e: float = 100.0,
    read_noise_e: float = 5.0,
    seed: int = 1,
) -> StarField:
    """A noisy square field of the given stars; the uncertainty is that of the truth."""
    rng = np.random.default_rng(seed)
    expected = np.full((size, size), sky_e)
    for star in zip(x, y, electrons, strict=True):
        add_star(expected, *star, sigma_px)
    image = rng.poisson(expected) + rng.normal(0.0, read_noise_e, expected.shape)
    uncertainty = np.sqrt(expected + read_noise_e**2)
    return StarField(image.astype(np.float32), uncertainty.astype(np.float32), np.asarray(x), np.asarray(y), np.asarray(electrons))
