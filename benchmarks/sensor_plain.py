"""The anchor: the same numbers of a sensor as a careful person would script them with numpy and astropy.

Level, variance and covariances to lag 8 (by FFT) of every pair with a 5-sigma clip, row and column means for bands, mean images of
darks and flats for PRNU (highpass) and DSNU, dark rate and hot pixels, statistics of a crop, and the fits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter

LAG = 8
Image = NDArray[Any]


def read(path: Path) -> Image:
    return np.asarray(fits.getdata(path), np.float64)


def pair(one: Image, two: Image, offset: float, *, scale: bool) -> dict[str, Any]:
    ratio = (one.mean() - offset) / (two.mean() - offset) if scale else 1.0
    difference = one - ratio * two
    difference -= np.median(difference)
    sigma = 1.4826 * np.median(np.abs(difference))
    level = one + two
    spread = 1.4826 * np.median(np.abs(level - np.median(level)))
    good = (np.abs(difference) <= 5 * sigma) & (np.abs(level - np.median(level)) <= 8 * spread)
    difference[~good] = 0
    variance = difference[good].var() / (1 + ratio**2)
    rows, columns = difference.mean(axis=1), difference.mean(axis=0)
    padded = np.fft.rfft2(difference, s=[n + LAG for n in difference.shape])
    product = np.fft.irfft2(np.abs(padded) ** 2, s=[n + LAG for n in difference.shape])[: LAG + 1, : LAG + 1] / good.sum()
    return {
        "level": (one[good].mean() + two[good].mean()) / 2 - offset,
        "variance": variance,
        "error": difference[good].var() * np.sqrt(2 / good.sum()),
        "covariances": product / (1 + ratio**2),
        "bands": (rows.var() * one.shape[1] / variance, columns.var() * one.shape[0] / variance),
    }


def highpass(image: Image) -> Image:
    smooth = uniform_filter(uniform_filter(image, 7), 11)
    return np.asarray(image - convolve(smooth, np.outer([1, 2, 1], [1, 2, 1]) / 16))


def main(folder: Path) -> None:
    groups: dict[tuple[str, float], list[Path]] = {}
    crops = []
    for path in sorted(folder.glob("*.fits")):
        header = fits.getheader(path)
        groups.setdefault((header["IMAGETYP"], header["EXPTIME"]), []).append(path)
        image = read(path)
        ny, nx = image.shape
        crop = image[ny // 2 - 50 : ny // 2 + 50, nx // 2 - 50 : nx // 2 + 50]
        crops.append((crop.min(), crop.max(), crop.mean(), crop.std()))
    found: dict[str, Any] = {}
    biases = [read(path) for path in groups["Bias Frame", 0.0]]
    offset = float(np.mean([bias.mean() for bias in biases]))
    noise = [pair(biases[i], biases[i + 1], 0.0, scale=False) for i in range(0, len(biases) - 1, 2)]
    found["read"] = float(np.sqrt(np.mean([one["variance"] for one in noise])))
    bias = np.mean(biases, axis=0)
    del biases
    times = sorted(t for kind, t in groups if kind == "Dark Frame")
    darks = []
    for t in times:
        cube = np.array([read(path) for path in groups["Dark Frame", t]])
        darks.append((np.mean(cube, axis=0), np.var(cube, axis=0, ddof=1).mean()))
        del cube
    rate = sum(t * (dark - bias) for t, (dark, _) in zip(times, darks, strict=True)) / sum(t * t for t in times)
    typical = np.median(rate)
    hot = rate > typical + 8 * 1.4826 * np.median(np.abs(rate - typical))
    found["rate"] = float(np.polyfit(times, [(dark - bias)[~hot].mean() for dark, _ in darks], 1)[0])
    found["dsnu"] = [float(dark[~hot].var() - v / 5) for dark, v in darks]
    points = []
    flats = sorted(t for kind, t in groups if kind == "Flat Field")
    for t in flats:
        one, two = (read(path) for path in groups["Flat Field", t][:2])
        points.append(pair(one, two, offset, scale=True))
        if t == flats[len(flats) // 2]:
            flat = (one + two) / 2 - bias
            found["prnu"] = float(np.sqrt(highpass(flat)[20:-20, 20:-20].var()) / flat.mean())
            spectrum = np.abs(np.fft.rfft(flat - flat.mean(), axis=1)) ** 2
            found["peak"] = float(spectrum.mean(axis=0).max())
    signal, variance, error = (np.array([point[key] for point in points]) for key in ("level", "variance", "error"))
    a00, slope, _ = np.polyfit(signal, variance, 2, w=1 / error)
    found |= {"gain": float(1 / slope), "a00": float(a00), "linear": np.polyfit(flats, signal, 1).tolist()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
