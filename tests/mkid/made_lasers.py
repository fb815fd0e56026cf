"""Laser tables of an array whose response is known, quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.wavecal import LaserInput
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from tests.mkid.made_tables import beam_map, table

Floats = NDArray[np.float64]
LASERS_NM = (850.0, 950.0, 1100.0, 1250.0, 1375.0)
DURATION_S = 20.0


@dataclass(frozen=True)
class Response:
    """Truth [pixel]: phase = -slope E (1 - curve E)."""

    slope: Floats
    curve: Floats
    resolution: Floats

    def phase_deg(self, energy_ev: Floats | float, pixel: NDArray[np.int64] | slice = slice(None)) -> Floats:
        value: Floats = -self.slope[pixel] * energy_ev * (1 - self.curve[pixel] * energy_ev)
        return value


def response(n: int, seed: int = 1) -> Response:
    """Like a real array's: slopes of 75 degrees per eV, R about 8."""
    rng = np.random.default_rng(seed)
    return Response(rng.normal(75, 5, n), rng.uniform(0.05, 0.11, n), 8 * rng.uniform(0.85, 1.15, n))


def laser_tables(
    folder: Path,
    truth: Response,
    shape: tuple[int, int],
    photons: float,
    *,
    seed: int = 1,
    noise: float = 0.04,
    dark: bool = False,
    factor: Floats | None = None,
    in_phase: bool = False,
) -> list[LaserInput]:
    """A table for each laser, its line Gaussian in energy or ``in_phase``.

    There are ``photons`` in the line on average, times ``factor`` [pixel], and trigger noise besides.
    """
    rng = np.random.default_rng(seed)
    n, placed = truth.slope.size, beam_map(shape)
    share = np.ones(n) if factor is None else factor
    dark_path = folder / "dark.h5" if dark else None
    for nm in (*LASERS_NM, *([0.0] if dark else [])):
        light = np.repeat(np.arange(n), rng.poisson(photons * share if nm else np.zeros(n)))
        trigger = np.repeat(np.arange(n), rng.poisson(photons * noise, n))
        energy = np.concatenate([np.full(light.size, HC_EV_NM / nm if nm else 0.0), 0.3 + rng.exponential(0.25, trigger.size)])
        pixel = np.concatenate([light, trigger])
        measured = energy * (1 + rng.standard_normal(pixel.size) / (2.354820045 * truth.resolution[pixel]))
        time_us = rng.integers(0, round(DURATION_S * 1e6), pixel.size)
        phase_deg = truth.phase_deg(measured, pixel)
        if in_phase:  # as broad, but Gaussian in phase
            slope = truth.slope[pixel] * (1 - 2 * truth.curve[pixel] * energy)
            phase_deg = truth.phase_deg(energy, pixel) - slope * (measured - energy)
        path = folder / (f"laser_{nm:.0f}.h5" if nm else "dark.h5")
        table(path, placed, pixel, time_us, phase_deg, duration_s=DURATION_S)
    return [LaserInput(table=folder / f"laser_{nm:.0f}.h5", wavelength_nm=nm, dark=dark_path) for nm in LASERS_NM]
