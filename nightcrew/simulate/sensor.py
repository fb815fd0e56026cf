"""A simulated sensor on a bench: bias, dark and flat frames of known gain, noise, patterns, dark current and brighter-fatter effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.cosmics import cosmic_rays
from nightcrew.simulate.randomness import FloatImage, generator, poisson

BOLTZMANN_EV_PER_K = 8.617333262e-5
ZERO_C_IN_K = 273.15
_FILL_STEPS = 32  # of the charge's build-up under the brighter-fatter effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplifier:
    """One output: its gain in e-/ADU, read noise in e- and offset in ADU."""

    gain_e_per_adu: float
    read_noise_e: float
    offset_adu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorModel:
    """Truth of a simulated sensor.  Rates hold at ``reference_c``; ``prnu`` and ``flicker`` are fractions."""

    nx: int = 128
    ny: int = 128
    gain_e_per_adu: float = 1.5
    read_noise_e: float = 8.0
    offset_adu: float = 1000.0
    offset_pattern_e: float = 4.0  # rms of the pixels' offsets
    prnu: float = 0.01
    vignetting: float = 0.0  # what the corners lack in flats
    dark_rate_e_per_s: float = 0.5
    dark_spread: float = 0.3  # sigma of the logarithm of the pixels' dark rates
    reference_c: float = -10.0
    activation_ev: float = 0.65
    hot_fraction: float = 0.0
    hot_rates_e_per_s: tuple[float, float] = (20.0, 200.0)  # log-uniform, at the reference temperature
    full_well_e: float = 80_000.0
    adc_max: int = 65_535
    bright_fat_per_e: float = 0.0  # a00 < 0; its neighbours take what it loses
    nonlinearity_per_e: float = 0.0  # a in n -> n (1 - a n)
    flicker: float = 0.0  # amplitude of sine bands over the rows of flats, of another phase in each frame
    flicker_period_rows: float = 17.0
    cosmic_rays_per_mpx_s: float = 0.0
    trapped_e: float = 0.0  # charge that a flood leaves in a later dark
    bayer: str = ""  # pattern such as RGGB
    channel_response: tuple[float, float, float] = (0.6, 1.0, 0.7)  # R, G, B
    amplifiers: tuple[Amplifier, ...] = ()  # side by side; none: one output with the values above

    @property
    def outputs(self) -> tuple[Amplifier, ...]:
        """The outputs from left to right."""
        one = Amplifier(gain_e_per_adu=self.gain_e_per_adu, read_noise_e=self.read_noise_e, offset_adu=self.offset_adu)
        return self.amplifiers or (one,)

    def dark_factor(self, temperature_c: float) -> float:
        """Dark rate at ``temperature_c`` over that at the reference: exp(-E/k (1/T - 1/Tref))."""
        inverse = 1 / (temperature_c + ZERO_C_IN_K) - 1 / (self.reference_c + ZERO_C_IN_K)
        return float(np.exp(-self.activation_ev / BOLTZMANN_EV_PER_K * inverse))

    def doubling_k(self, temperature_c: float) -> float:
        """Warming that doubles the dark rate, from the slope at ``temperature_c``: ln 2 k T^2 / E."""
        return float(np.log(2) * BOLTZMANN_EV_PER_K * (temperature_c + ZERO_C_IN_K) ** 2 / self.activation_ev)

    def bright_fat_kernel(self) -> NDArray[np.float64]:
        """Change of a pixel's area by each electron around it [3, 3] in 1/e-; no light is lost, so the sum is 0."""
        rows, columns, corners = -0.22, -0.13, -0.075  # of a00; 2 rows + 2 columns + 4 corners = -1
        shares = np.array([[corners, rows, corners], [columns, 1.0, columns], [corners, rows, corners]])
        return self.bright_fat_per_e * shares


@dataclass(frozen=True, eq=False)
class SimulatedSensor:
    """A sensor with its maps, all [y, x]: offsets (e-), dark rates (e-/s at the reference), response and illumination (mean 1)."""

    model: SensorModel
    seed: int
    offset_e: FloatImage
    dark_e_per_s: FloatImage
    response: FloatImage
    illumination: FloatImage
    hot: NDArray[np.bool_]

    def bias(self, *key: str | int) -> NDArray[np.uint16]:
        """A frame of no exposure."""
        return self._read_out(self._rng("bias", *key), np.zeros(self.response.shape, np.float32))

    def dark(self, exposure_s: float, temperature_c: float, *key: str | int, flooded: bool = False) -> NDArray[np.uint16]:
        """A dark frame; ``flooded``: with charge of an earlier flood, released from traps."""
        rng = self._rng("dark", *key)
        mean: FloatImage = self.dark_e_per_s * np.float32(self.model.dark_factor(temperature_c) * exposure_s)
        if flooded:
            mean += np.float32(self.model.trapped_e)
        return self._read_out(rng, self._with_rays(rng, poisson(rng, mean), exposure_s))

    def flat(self, level_e: float, exposure_s: float, temperature_c: float, *key: str | int) -> NDArray[np.uint16]:
        """A flat whose light gives ``level_e`` in the mean; the dark current of its exposure comes on top."""
        rng = self._rng("flat", *key)
        light = self.response * self.illumination * np.float32(level_e) * self._bands(rng)
        mean: FloatImage = light + self.dark_e_per_s * np.float32(self.model.dark_factor(temperature_c) * exposure_s)
        charge = self._filled(rng, mean) if self.model.bright_fat_per_e else poisson(rng, mean)
        return self._read_out(rng, self._with_rays(rng, charge, exposure_s))

    def _rng(self, *key: str | int) -> np.random.Generator:
        return generator(self.seed, "sensor", *key)

    def _bands(self, rng: np.random.Generator) -> FloatImage:
        model = self.model
        if not model.flicker:
            return np.ones((1, 1), np.float32)
        phase = rng.uniform(0, 2 * np.pi)
        rows = np.sin(2 * np.pi * np.arange(model.ny) / model.flicker_period_rows + phase)
        return np.asarray(1 + model.flicker * rows, np.float32)[:, None]

    def _with_rays(self, rng: np.random.Generator, charge: FloatImage, exposure_s: float) -> FloatImage:
        if self.model.cosmic_rays_per_mpx_s:
            rays = cosmic_rays(rng, (self.model.ny, self.model.nx), self.model.cosmic_rays_per_mpx_s, exposure_s)
            np.add.at(charge, (rays.y, rays.x), rays.value.astype(np.float32))
        return charge

    def _filled(self, rng: np.random.Generator, mean: FloatImage) -> FloatImage:
        """Charge that gathers while the pixels' areas follow it: area = 1 + sum a_ij Q_ij (Astier et al. 2019, A&A 629, A36, section 2).

        Charge acts from the step after its arrival on, so a share 1/steps of the effect would be missing: the kernel makes it up.
        """
        kernel = self.model.bright_fat_kernel() / (1 - 1 / _FILL_STEPS)
        charge = np.zeros_like(mean)
        for _ in range(_FILL_STEPS):
            area = 1 + _around(charge, kernel)
            charge += poisson(rng, np.asarray(mean / _FILL_STEPS * np.maximum(area, 0), np.float32))
        return charge

    def _read_out(self, rng: np.random.Generator, charge_e: FloatImage) -> NDArray[np.uint16]:
        model = self.model
        signal = np.minimum(charge_e, np.float32(model.full_well_e)).astype(np.float64)
        signal *= 1 - model.nonlinearity_per_e * signal
        signal += self.offset_e
        noise = rng.standard_normal(signal.shape)
        width = -(-model.nx // len(model.outputs))
        for place, output in enumerate(model.outputs):
            part = np.s_[:, place * width : (place + 1) * width]
            signal[part] = (signal[part] + noise[part] * output.read_noise_e) / output.gain_e_per_adu + output.offset_adu
        return np.clip(np.rint(signal), 0, model.adc_max).astype(np.uint16)


def build_sensor(model: SensorModel, seed: int) -> SimulatedSensor:
    """The sensor's maps, fixed by ``model`` and ``seed``."""
    rng = generator(seed, "sensor", "maps")
    shape = (model.ny, model.nx)
    spread = rng.normal(0.0, model.dark_spread, shape) - model.dark_spread**2 / 2
    dark = np.exp(spread) * model.dark_rate_e_per_s
    hot = rng.random(shape) < model.hot_fraction
    low, high = np.log(model.hot_rates_e_per_s)
    dark[hot] = np.exp(rng.uniform(low, high, int(hot.sum())))
    return SimulatedSensor(
        model=model,
        seed=seed,
        offset_e=rng.normal(0.0, model.offset_pattern_e, shape).astype(np.float32),
        dark_e_per_s=dark.astype(np.float32),
        response=(_colours(model) * (1 + rng.normal(0.0, model.prnu, shape))).astype(np.float32),
        illumination=_illumination(model),
        hot=hot,
    )


def _illumination(model: SensorModel) -> FloatImage:
    y, x = np.linspace(-1, 1, model.ny)[:, None], np.linspace(-1, 1, model.nx)[None, :]
    image = 1 - model.vignetting * 0.5 * (x * x + y * y)
    return np.asarray(image / image.mean(), np.float32)


def _colours(model: SensorModel) -> NDArray[np.float64]:
    image = np.ones((model.ny, model.nx))
    for place, letter in enumerate(model.bayer):
        image[place // 2 :: 2, place % 2 :: 2] = model.channel_response["RGB".index(letter)]
    return image


def _around(charge: FloatImage, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of kernel times charge around each pixel; the edges wrap."""
    total = np.zeros(charge.shape)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            total += kernel[dy + 1, dx + 1] * np.roll(charge, (dy, dx), axis=(0, 1))
    return total
