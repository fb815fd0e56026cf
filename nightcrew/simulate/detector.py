"""A simulated CCD whose every property is known: charge in, 16-bit numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.randomness import FloatImage, generator, poisson

ADC_MAX = 65535


@dataclass(frozen=True, kw_only=True)
class CameraModel:
    """Properties of a simulated camera.  Rates hold at ``reference_c``; fractions are of all pixels."""

    nx: int
    ny: int
    serial: str = "NC-0042"
    gain_e_per_adu: float = 1.3
    read_noise_e: float = 7.0
    bias_level_adu: float = 1000.0
    bias_gradient_adu: float = 4.0  # from the first to the last row
    bias_column_rms_adu: float = 1.5  # fixed pattern of the columns
    bias_drift_adu: float = 0.0  # rms of the level between frames; only an overscan can take it out
    overscan_columns: int = 0  # at the end of each row
    dark_rate_e_per_s: float = 0.05
    dark_spread: float = 0.3  # sigma of the logarithm of the dark rate between pixels
    amplifier_glow_e_per_s: float = 0.4  # at the corner x = y = 0, decays over a twelfth of the chip
    reference_c: float = -20.0
    doubling_c: float = 6.3  # the dark rate doubles every so many degrees
    hot_fraction: float = 1e-3
    hot_rates_e_per_s: tuple[float, float] = (8.0, 400.0)  # log-uniform
    cold_fraction: float = 3e-4
    cold_columns: int = 1  # pieces of columns with a response of 0.4
    prnu: float = 0.008
    full_well_e: float = 100_000.0
    nonlinearity_per_e: float = 0.0  # a in n -> n (1 - a n)
    cosmic_rays_per_mpx_s: float = 1.5

    @property
    def saturation_adu(self) -> float:
        """Where numbers stop to follow the light: the converter's end or the full well, whichever comes first."""
        return min(float(ADC_MAX), self.bias_level_adu + self.full_well_e / self.gain_e_per_adu)


@dataclass(frozen=True)
class PixelList:
    """Planted pixels: positions (int, 0-based) and their value (rate in e-/s, response or electrons)."""

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    value: NDArray[np.float64]

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Boolean image [y, x], true at the planted pixels."""
        image = np.zeros(shape, dtype=bool)
        image[self.y, self.x] = True
        return image


@dataclass(frozen=True)
class Detector:
    """A camera with its maps, all [y, x] over the light-sensitive pixels."""

    model: CameraModel
    seed: int
    bias_adu: FloatImage
    dark_e_per_s: FloatImage  # at the model's reference temperature
    response: FloatImage  # pixel response, mean 1: PRNU and cold pixels
    hot: PixelList
    cold: PixelList

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the light-sensitive pixels."""
        return self.model.ny, self.model.nx

    def dark_rate(self, temperature_c: float) -> FloatImage:
        """Dark current [y, x] in e-/s at ``temperature_c``: doubles every ``doubling_c`` degrees."""
        factor = 2.0 ** ((temperature_c - self.model.reference_c) / self.model.doubling_c)
        return self.dark_e_per_s * np.float32(factor)

    def flat(self, filter_name: str, vignetting: float, dust_spots: int) -> FloatImage:
        """Relative response [y, x] through a filter: vignetting, dust and pixel response, with unit median."""
        rng = generator(self.seed, "flat", filter_name)
        shape = _vignette(self.shape, vignetting) * _dust(self.shape, dust_spots, rng) * self.response
        return (shape / np.median(shape)).astype(np.float32)

    def expose(self, rng: np.random.Generator, mean_e: FloatImage, cosmic_rays: PixelList | None = None) -> NDArray[np.uint16]:
        """One raw frame [y, x + overscan] in ADU from the expected charge ``mean_e`` [y, x] of each pixel (e-)."""
        charge = poisson(rng, mean_e)
        if cosmic_rays is not None:
            np.add.at(charge, (cosmic_rays.y, cosmic_rays.x), cosmic_rays.value.astype(np.float32))
        return self.read_out(rng, charge)

    def read_out(self, rng: np.random.Generator, charge_e: FloatImage) -> NDArray[np.uint16]:
        """Charge [y, x] in e- to numbers: full well, non-linearity, gain, bias, read noise, 16-bit converter."""
        model = self.model
        drift = rng.normal(0.0, model.bias_drift_adu) if model.bias_drift_adu else 0.0
        signal = np.minimum(charge_e, np.float32(model.full_well_e))
        if model.nonlinearity_per_e:
            signal *= 1 - np.float32(model.nonlinearity_per_e) * signal
        signal *= np.float32(1 / model.gain_e_per_adu)
        signal += self.bias_adu
        if model.overscan_columns:
            rows = self.bias_adu.mean(axis=1, keepdims=True)
            signal = np.hstack([signal, np.repeat(rows, model.overscan_columns, axis=1)])
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        signal += noise * np.float32(model.read_noise_e / model.gain_e_per_adu)
        signal += np.float32(drift + 0.5)  # the half makes the truncation below a rounding
        return np.clip(signal, 0, ADC_MAX).astype(np.uint16)


def build_detector(model: CameraModel, seed: int) -> Detector:
    """The camera's maps, fixed by ``model`` and ``seed``."""
    rng = generator(seed, "detector", model.serial)
    shape = (model.ny, model.nx)
    hot, cold = _bad_pixels(model, rng)
    dark = np.exp(rng.normal(0.0, model.dark_spread, shape) - model.dark_spread**2 / 2) * model.dark_rate_e_per_s
    dark += _glow(shape, model.amplifier_glow_e_per_s)
    dark[hot.y, hot.x] = hot.value
    response = 1 + rng.normal(0.0, model.prnu, shape)
    response[cold.y, cold.x] = cold.value
    return Detector(model, seed, _bias(model, rng), dark.astype(np.float32), response.astype(np.float32), hot, cold)


def _bias(model: CameraModel, rng: np.random.Generator) -> FloatImage:
    rows = np.linspace(-0.5, 0.5, model.ny)[:, None] * model.bias_gradient_adu
    columns = rng.normal(0.0, model.bias_column_rms_adu, model.nx)[None, :]
    return (model.bias_level_adu + rows + columns).astype(np.float32)


def _bad_pixels(model: CameraModel, rng: np.random.Generator) -> tuple[PixelList, PixelList]:
    n_pixels = model.nx * model.ny
    n_hot, n_cold = round(model.hot_fraction * n_pixels), round(model.cold_fraction * n_pixels)
    places = rng.choice(n_pixels, n_hot + n_cold, replace=False)
    low, high = np.log(model.hot_rates_e_per_s)
    hot_y, hot_x = np.divmod(places[:n_hot], model.nx)
    hot = PixelList(hot_y, hot_x, np.exp(rng.uniform(low, high, n_hot)))
    cold_y, cold_x = np.divmod(places[n_hot:], model.nx)
    response = rng.uniform(0.0, 0.4, n_cold)
    for _ in range(model.cold_columns):
        length = model.ny // 6
        y0, column = int(rng.integers(0, model.ny - length)), int(rng.integers(0, model.nx))
        cold_y = np.concatenate([cold_y, np.arange(y0, y0 + length)])
        cold_x = np.concatenate([cold_x, np.full(length, column)])
        response = np.concatenate([response, np.full(length, 0.4)])
    unique = np.unique(cold_y * model.nx + cold_x, return_index=True)[1]
    return hot, PixelList(cold_y[unique], cold_x[unique], response[unique])


def _glow(shape: tuple[int, int], rate_e_per_s: float) -> NDArray[np.float64]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    scale = max(shape) / 12
    return np.asarray(rate_e_per_s * np.exp(-np.hypot(y, x) / scale))


def _vignette(shape: tuple[int, int], depth: float) -> NDArray[np.float64]:
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None, :]
    return np.asarray(1 - depth * (0.5 * (x * x + y * y)) - 0.01 * x)


def _dust(shape: tuple[int, int], spots: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shadows of dust: soft rings, as out-of-focus grains under a telescope with a central obstruction make."""
    image = np.ones(shape)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for _ in range(spots):
        centre_y, centre_x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        radius, depth = rng.uniform(0.015, 0.04) * max(shape), rng.uniform(0.02, 0.06)
        r = np.hypot(y - centre_y, x - centre_x) / radius
        image -= depth * np.exp(-(((r - 0.7) / 0.35) ** 2))
    return image
