"""Frames for the benchmarks: ``python -m benchmarks.data FOLDER`` makes what is not there yet (3 GB)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

N_LARGE, N_SMALL, N_RICE, N_FIT = 50, 100, 30, 40


def noise_frame(rng: np.random.Generator, side: int) -> NDArray[np.uint16]:
    """A level of 1000, noise of about 15 and some cosmic rays."""
    frame = rng.integers(0, 52, (side, side), dtype=np.uint16)
    frame += rng.integers(975, 1000, (side, side), dtype=np.uint16)
    hits = rng.integers(0, side * side, side * side // 8000)
    frame.reshape(-1)[hits] += rng.integers(200, 20000, hits.size, dtype=np.uint16)
    return frame


def header(number: int) -> Any:
    """Some 80 cards, as a camera writes them."""
    cards = fits.Header()
    cards["EXPTIME"], cards["IMAGETYP"] = 60.0, "Dark Frame"
    for k in range(70):
        cards[f"KEY{k}"] = (number * 100 + k, "a card")
    return cards


def write(path: Path, hdus: Any) -> None:
    """Write under the final name only when complete."""
    part = path.with_suffix(".part")
    fits.HDUList(hdus).writeto(part, overwrite=True)
    part.replace(path)


def make(folder: Path) -> None:
    """Make all frames that are missing."""
    for name, side, count in (("large", 4096, N_LARGE), ("small", 2048, N_SMALL)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            path = folder / name / f"f_{number:05d}.fits"
            if not path.exists():
                rng = np.random.default_rng([side, number])
                write(path, [fits.PrimaryHDU(noise_frame(rng, side), header(number))])
    _rice(folder)
    _masters(folder / "masters")


def _rice(folder: Path) -> None:
    (folder / "rice").mkdir(exist_ok=True)
    for number in range(1, N_RICE + 1):
        path = folder / "rice" / f"f_{number:05d}.fits.fz"
        if not path.exists():
            data = fits.getdata(folder / "small" / f"f_{number:05d}.fits")
            write(path, [fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="RICE_1")])


def _masters(folder: Path) -> None:
    """Bias, dark and flat as image products."""
    from nightcrew.io.products import write_image_product

    folder.mkdir(exist_ok=True)
    for number, (name, level, noise) in enumerate((("bias", 300.0, 2.0), ("dark", 20.0, 1.0), ("flat", 1.0, 0.01))):
        path = folder / f"{name}.fits"
        if not path.exists():
            rng = np.random.default_rng(number)
            science = rng.normal(level, noise, (2048, 2048)).astype(np.float32)
            mask = (rng.random(science.shape) < 1e-3).astype(np.uint16)
            unit = "" if name == "flat" else "adu"
            write_image_product(path, science=science, uncertainty=np.full_like(science, noise / 3), mask=mask, unit=unit)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
