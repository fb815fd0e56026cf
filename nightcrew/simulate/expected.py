"""What a perfect reduction of a simulated light would give, and how far noise alone may take a real one from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.night import NightModel, model_of
from nightcrew.simulate.randomness import FloatImage
from nightcrew.simulate.truth import FrameTruth, Truth

CombineMethod = Literal["median", "mean"]
_SMALLEST_RESPONSE = 1e-3  # below it a pixel is dead and its variance without meaning
_CLEAR_OF_SATURATION = 5.0  # sigma


@dataclass(frozen=True)
class ExpectedLight:
    """A light as it should come out of the reduction, all [y, x].

    ``signal_e``: sky and stars in e- of a pixel of unit response, sky not subtracted.  ``variance_e2``: of the reduced
    pixel about it, from the light and from the masters that calibrate it.  ``saturated``: pixels that are, or may be.
    """

    signal_e: FloatImage
    variance_e2: FloatImage
    saturated: NDArray[np.bool_]


@functools.cache
def variance_factor(n: int, method: CombineMethod = "median") -> float:
    """Variance of the mean or median of ``n`` normal deviates of unit variance.

    The median's is integrated numerically from its order statistics (of one middle value, or of the mean of two):
    0.2868 for 5, and pi / (2 n) for many.
    """
    if n < 1:
        raise ValueError("nothing to combine")
    if method == "mean" or n < 3:
        return 1 / n
    if n > 400:
        return float(np.pi / (2 * n))
    from scipy.special import gammaln, ndtr

    z = np.linspace(-7.0, 7.0, 1401)
    step, density, below = z[1] - z[0], np.exp(-z * z / 2) / np.sqrt(2 * np.pi), ndtr(z)
    half = (n - 1) // 2
    if n % 2:
        weight = np.exp(gammaln(n + 1) - 2 * gammaln(half + 1)) * (below * (1 - below)) ** half * density
        return float(np.sum(weight * z * z) * step)
    norm = np.exp(gammaln(n + 1) - 2 * gammaln(half + 1))
    low, high = norm * below**half * density, (1 - below) ** half * density
    pairs = np.triu(np.outer(low, high))
    pairs[np.diag_indices_from(pairs)] /= 2  # the diagonal belongs half to each side
    middle = (z[:, None] + z[None, :]) / 2
    return float(np.sum(pairs * middle * middle) * step * step)


def expected_light(truth: Truth, frame: FrameTruth, *, model: NightModel | None = None, method: CombineMethod = "median") -> ExpectedLight:
    """Expectation of a reduced light: (light - dark of the same exposure) x gain / flat of unit median, in e-.

    With S the scene, F the response, D the dark current and t the time, R^2 = read noise^2 + gain^2/12, and c(n) the
    :func:`variance_factor` of a master of n frames,
    var = [S F t + D t + R^2 + c(n_dark) (D t + R^2)] / F^2 + (S t)^2 c(n_flat) <(L F + R^2 + c(n_flat dark) R^2 n_flat) / (L F)^2>,
    the mean over the flats' levels L.  The bias drops out, for the dark holds it.
    """
    model = model or model_of(truth)
    response = np.maximum(model.flat(frame.filter), np.float32(_SMALLEST_RESPONSE))
    signal = model.scene_e_per_s(truth, frame) * np.float32(frame.exposure_s)
    dark = model.detector.dark_rate(frame.temperature_c) * np.float32(frame.exposure_s)
    read = read_variance_e2(truth)
    n_dark = len(truth.select("dark", exposure_s=frame.exposure_s))
    charge = signal * response + dark
    from_dark = np.float32(variance_factor(n_dark, method)) * (dark + read) if n_dark else np.float32(0)
    variance = (charge + read + from_dark) / response**2 + signal**2 * flat_relative_variance(truth, frame.filter, response, method)
    level_adu = charge / truth.gain_e_per_adu + model.detector.bias_adu
    margin_adu = _CLEAR_OF_SATURATION * np.sqrt(charge + read) / truth.gain_e_per_adu
    saturated = level_adu + margin_adu >= truth.saturation_adu
    return ExpectedLight(signal, variance.astype(np.float32), np.asarray(saturated))


def read_variance_e2(truth: Truth) -> np.float32:
    """Read noise squared and the rounding of the converter, in e-^2."""
    return np.float32(truth.read_noise_e**2 + truth.gain_e_per_adu**2 / 12)


def flat_relative_variance(truth: Truth, filter_name: str, response: FloatImage, method: CombineMethod) -> FloatImage:
    """Relative variance [y, x] of a filter's flat master, from its frames and the dark of their exposure."""
    flats = truth.select("flat", filter_name=filter_name)
    if not flats:
        return np.zeros_like(response)
    read, n = read_variance_e2(truth), len(flats)
    n_dark = len(truth.select("dark", exposure_s=flats[0].exposure_s))
    total = np.zeros_like(response)
    for flat in flats:
        level = response * np.float32(flat.lamp_e_per_s * flat.exposure_s)
        total += (level + read) / level**2
    mean_level = np.float32(np.mean([flat.lamp_e_per_s * flat.exposure_s for flat in flats]))
    common = variance_factor(n_dark, method) * read / (response * mean_level) ** 2 if n_dark else np.float32(0)
    return np.asarray(total / np.float32(n) * np.float32(variance_factor(n, method)) + common, dtype=np.float32)
