"""How long an exposure may, and how long it should be: limits by dark current and by read noise, and the chain that leads to them.

Chain of "KAF-16200 charge trapping" (R. Crisp 2019) and its work sheet of five sensors; noises are 1-sigma, charges in e- per binned pixel.
Differences of noises are quadratic: the work sheet's linear difference of two shot noises is no noise and is not made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nightcrew.errors import Refused


def maximum_practical_exposure_s(read_noise_e: float, dark_rate_e_per_s: float) -> float:
    """Exposure in s at which the dark current's shot noise equals the read noise: t = read^2 / rate.  Longer ones are dark-limited."""
    _positive(read_noise_e=read_noise_e, dark_rate_e_per_s=dark_rate_e_per_s)
    return read_noise_e**2 / dark_rate_e_per_s


def minimum_practical_exposure_s(read_noise_e: float, rate_e_per_s: float, times: float = 1.0) -> float:
    """Exposure in s from which on the shot noise of sky or signal is ``times`` the read noise: t = n^2 read^2 / rate."""
    _positive(read_noise_e=read_noise_e, rate_e_per_s=rate_e_per_s, times=times)
    return times**2 * read_noise_e**2 / rate_e_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class DarkSignal:
    """Dark signal from temporal noise: total noise, its dark shot noise and the signal (its square), in e- per binned pixel."""

    total_noise_e: float
    shot_noise_e: float
    signal_e: float

    @classmethod
    def of_noise(cls, total_noise_e: float, read_noise_e: float) -> DarkSignal:
        """shot = sqrt(total^2 - read^2), signal = shot^2; :class:`Refused` when the total is below the read noise."""
        excess = total_noise_e**2 - read_noise_e**2
        if not excess >= 0:
            raise Refused(f"the total noise of {total_noise_e:g} e- is below the read noise of {read_noise_e:g} e-: no dark signal")
        return cls(total_noise_e=total_noise_e, shot_noise_e=math.sqrt(excess), signal_e=excess)

    @classmethod
    def of_difference(cls, difference_std_dn: float, gain_e_per_dn: float, read_noise_e: float) -> DarkSignal:
        """From the standard deviation of the difference of two darks in DN: total = std x gain / sqrt(2)."""
        return cls.of_noise(difference_std_dn * gain_e_per_dn / math.sqrt(2), read_noise_e)

    def rate_e_per_s(self, exposure_s: float, binning: tuple[int, int] = (1, 1)) -> float:
        """Dark current of one unbinned pixel in e-/s."""
        _positive(exposure_s=exposure_s)
        return self.signal_e / exposure_s / binning[0] / binning[1]

    def limit_s(self, exposure_s: float, read_noise_e: float, binning: tuple[int, int] = (1, 1)) -> float:
        """Maximum practical exposure of an unbinned pixel in s: t = t_measured x binning x read^2 / signal."""
        return maximum_practical_exposure_s(read_noise_e, self.rate_e_per_s(exposure_s, binning))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrappedCharge:
    """Residual bulk image: what a flood of light leaves in the dark signal, in e- per binned pixel.

    ``noise_e`` is the shot noise of the trapped charge, sqrt(signal): the quadratic difference of the two shot noises.
    """

    signal_e: float
    fraction: float  # of the dark signal without a flood
    noise_e: float

    @classmethod
    def between(cls, flooded: DarkSignal, unflooded: DarkSignal) -> TrappedCharge:
        """From darks with and without a flood; :class:`Refused` when the flooded ones hold less."""
        signal = flooded.signal_e - unflooded.signal_e
        if signal < 0:
            raise Refused("the flooded darks hold less signal than the others: no trapped charge")
        if unflooded.signal_e <= 0:
            raise Refused("the darks without a flood hold no signal to compare with")
        return cls(signal_e=signal, fraction=signal / unflooded.signal_e, noise_e=math.sqrt(signal))


def gain_from_full_well(full_scale_dn: float, offset_dn: float, full_well_e: float) -> float:
    """Gain in e-/DN of a converter that ends where the pixel is full: full well / (full scale - offset)."""
    _positive(full_well_e=full_well_e, range_dn=full_scale_dn - offset_dn)
    return full_well_e / (full_scale_dn - offset_dn)


def data_sheet_rate(rate_e_per_s: float, at_c: float, operating_c: float, doubling_k: float) -> float:
    """A data sheet's dark rate brought to the operating temperature: rate / 2^((at - operating) / doubling)."""
    _positive(doubling_k=doubling_k)
    return float(rate_e_per_s / 2 ** ((at_c - operating_c) / doubling_k))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0 or not math.isfinite(value):
            raise Refused(f"{name} must be above 0, not {value:g}")
