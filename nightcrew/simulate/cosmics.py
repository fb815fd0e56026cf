"""Cosmic rays as CCDs see them: sharp tracks of a few pixels, each pixel far above the noise."""

from __future__ import annotations

import numpy as np

from nightcrew.simulate.detector import PixelList

CHARGE_PER_PIXEL_E = (500.0, 5000.0)  # log-uniform, for a path of one pixel; each pixel varies by +-30 %
LENGTH_PX = (1.0, 6.0)
# A corner that the track only grazes is left out: nobody could see it, and truth would call it missed.
_SMALLEST_STEP_FRACTION = 0.25
_STEPS_PER_PIXEL = 10


def cosmic_rays(rng: np.random.Generator, shape: tuple[int, int], per_mpx_s: float, exposure_s: float) -> PixelList:
    """Planted tracks on a frame [y, x]: Poisson number, uniform places and directions; values in e-."""
    number = int(rng.poisson(per_mpx_s * exposure_s * shape[0] * shape[1] / 1e6))
    charge: dict[tuple[int, int], float] = {}
    for _ in range(number):
        for (y, x), value in _track(rng, shape).items():
            charge[y, x] = charge.get((y, x), 0.0) + value
    places = np.array(sorted(charge), dtype=np.int64).reshape(-1, 2)
    values = np.array([charge[int(y), int(x)] for y, x in places], dtype=np.float64)
    return PixelList(places[:, 0], places[:, 1], np.round(values, 1))


def _track(rng: np.random.Generator, shape: tuple[int, int]) -> dict[tuple[int, int], float]:
    length, angle = rng.uniform(*LENGTH_PX), rng.uniform(0, 2 * np.pi)
    y0, x0 = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    mean_e = float(np.exp(rng.uniform(*np.log(CHARGE_PER_PIXEL_E))))
    steps = np.arange(0.5, length * _STEPS_PER_PIXEL) / _STEPS_PER_PIXEL
    y = np.floor(y0 + steps * np.sin(angle)).astype(int)
    x = np.floor(x0 + steps * np.cos(angle)).astype(int)
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    pixels, counts = np.unique(np.stack([y[inside], x[inside]], axis=1), axis=0, return_counts=True)
    path = counts / _STEPS_PER_PIXEL
    charge = mean_e * path * rng.uniform(0.7, 1.3, len(pixels))
    kept = path >= _SMALLEST_STEP_FRACTION
    return {(int(y), int(x)): float(value) for (y, x), value in zip(pixels[kept], charge[kept], strict=True)}
