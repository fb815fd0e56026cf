"""A small simulated night in the manner of the GODO README, with known truth: odd dark, another set-up, star-trailed twilight flats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

Array = NDArray[Any]

SHAPE = (96, 128)
BIAS, DARK_OFFSET, DARK_SLOPE, READ_NOISE, GAIN = 300.0, 5.9, 0.098, 3.0, 2.0
EXPOSURES = {60.0: 5, 120.0: 2, 180.0: 3}
FLAT_S = {"R": 2.0, "Ha": 10.0}


@dataclass(frozen=True)
class Truth:
    """What the night was made from: the bias structure and flats of unit mean by filter."""

    bias: Array
    flats: dict[str, Array]


def make(folder: Path, seed: int = 1) -> Truth:
    """Write the night into ``folder``: 8 bias, 10 darks (the first 60 s one odd), 5 trailed flats a filter, 6 lights, 2 odd fish."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    bias = BIAS + 4 * np.sin(x / 9.0)
    flats = {}
    for number, name in enumerate(FLAT_S):
        flat = (1 + 0.1 * np.cos((x - 64) / 50 + number)) * (1 + rng.normal(0, 0.01, SHAPE))
        flats[name] = flat / flat.mean()
    writer = _Writer(folder, rng, bias)
    for _ in range(8):
        writer.write("Bias Frame", 0.0, 0.0)
    for exposure_s, count in EXPOSURES.items():
        for number in range(count):
            extra = 15.0 if exposure_s == 60.0 and number == 0 else 0.0  # "something is odd with 0051"
            writer.write("Dark Frame", exposure_s, extra)
    for name, exposure_s in FLAT_S.items():
        for number in range(5):
            light = 18_000 * 1.1**number * flats[name] + trails(rng)
            writer.write("Flat Field", exposure_s, light, FILTER=name)
    for target, name, exposure_s in (("M 1", "R", 120.0), ("M 1", "R", 120.0), ("M 1", "Ha", 180.0), ("NGC 7", "R", 30.0)):
        sky = 200.0 + 3000 * np.exp(-((x - 60) ** 2 + (y - 48) ** 2) / 18)
        writer.write("Light Frame", exposure_s, sky * flats[name], FILTER=name, OBJECT=target)
    writer.write("Light Frame", 60.0, 100.0, FILTER="V", OBJECT="M 1")  # there is no flat of V
    writer.write("Bias Frame", 0.0, 0.0, ISOSPEED=800)  # another set-up
    return Truth(bias, flats)


def trails(rng: np.random.Generator) -> Array:
    """Star trails through a twilight flat with the drive off: few bright and many faint ones, elsewhere in every flat."""
    out = np.zeros(SHAPE)
    for _ in range(8):
        row, start, length = rng.integers(0, SHAPE[0]), rng.integers(-20, SHAPE[1]), rng.integers(20, 45)
        out[row : row + 2, max(start, 0) : start + length] += 18_000 * 0.02 * 10 ** rng.uniform(0, 1.6)
    return out


class _Writer:
    def __init__(self, folder: Path, rng: np.random.Generator, bias: Array) -> None:
        self.folder, self.rng, self.bias, self.number = folder, rng, bias, 0

    def write(self, kind: str, exposure_s: float, light: Any, **cards: Any) -> None:
        """One exposure: bias, dark counts, ``light`` [ADU] with photon noise, read noise."""
        self.number += 1
        counts = light + (DARK_OFFSET + DARK_SLOPE * exposure_s if exposure_s else 0.0) + np.zeros(SHAPE)
        noise = self.rng.normal(0, 1, SHAPE) * np.sqrt(READ_NOISE**2 + np.maximum(counts, 0) / GAIN)
        pixels = np.clip(np.rint(self.bias + counts + noise), 0, 65535).astype(np.uint16)
        hdu = fits.PrimaryHDU(pixels)
        header = {"IMAGETYP": kind, "EXPTIME": exposure_s, "DATE-OBS": f"2021-02-27T{self.number // 6:02d}:{self.number % 6}0:00"}
        header |= {
            "ISOSPEED": 100,
            "XBINNING": 1,
            "YBINNING": 1,
            "CCD-TEMP": -10.0 + 0.1 * (self.number % 3),
            "EGAIN": GAIN,
            "RDNOISE": 6.0,
        }
        for key, value in (header | {"INSTRUME": "Test camera", **cards}).items():
            hdu.header[key] = value
        hdu.writeto(self.folder / f"20210227.{self.number:04d}.fit")
