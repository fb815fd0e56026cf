"""What a level and its noise leave of the dynamic range, and what they cost in magnitudes, by the formulas of the older suite.

16-bit ADU (full scale 65536; 12-bit samples are stored times 16).  sigma_m = (2.5 / ln 10) N / S, with N^2 = S + sigma_bias^2 +
sigma_dark^2 at half of the head-room S = (65536 - bias) / 2, electrons counted as ADU.  For electrons and a star see ``star_noise``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
FULL_16 = 65536.0
STORED_STEP = 16.0  # 12-bit samples are stored times 16
MAG_PER_RELATIVE = 1.0857  # 2.5 / ln 10 as the older suite rounds it


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicRange:
    """Head-room above bias and dark, in 16- and 12-bit ADU, and what is lost of it."""

    base_level_16: float
    dynamic_range_16: float
    dynamic_range_12: float
    reduction_percent: float
    noise_adu: float
    noise_mag: float
    magnitude_loss: float
    magnitude_loss_error: float

    @property
    def base_level_12(self) -> float:
        """Bias and dark together in 12-bit ADU."""
        return self.base_level_16 / STORED_STEP


def dynamic_range(bias_mean: float, dark_mean: float, bias_std: float, dark_std: float) -> DynamicRange:
    """From level and noise of bias and (bias-subtracted) dark of one exposure, in 16-bit ADU.

    Loss of the magnitude limit: -2.5 log10(DR / 65536), its error (2.5 / ln 10) noise / DR; infinite where nothing is left.
    """
    base = bias_mean + dark_mean
    room = FULL_16 - base
    noise = math.hypot(bias_std, dark_std)
    return DynamicRange(
        base_level_16=base,
        dynamic_range_16=room,
        dynamic_range_12=FULL_16 / STORED_STEP - base / STORED_STEP,
        reduction_percent=100 * base / FULL_16,
        noise_adu=noise,
        noise_mag=MAG_PER_RELATIVE * noise / room if room > 0 else math.inf,
        magnitude_loss=-2.5 * math.log10(max(room, 1e-9) / FULL_16),
        magnitude_loss_error=2.5 / math.log(10) * noise / room if room > 0 else math.inf,
    )


def magnitude_error(bias_mean: float, bias_std: float, dark_std: float) -> float:
    """Magnitude error at half of the head-room; 0.00604783 for 1000, 4 and 5.  NaN where the bias leaves no head-room."""
    signal = (FULL_16 - bias_mean) / 2
    if signal <= 0:
        return math.nan
    return MAG_PER_RELATIVE * math.sqrt(signal + bias_std**2 + dark_std**2) / signal


@dataclass(frozen=True, slots=True)
class MeanStd:
    """Mean and population standard deviation over the combinations."""

    mean: float
    std: float


def precision_at(biases: Sequence[tuple[float, float]], darks: Sequence[tuple[float, float]]) -> MeanStd:
    """Magnitude error over all pairs of a bias (mean, std) and a dark (mean, std) of one dose; NaN without either."""
    values = [magnitude_error(bias, bias_std, dark_std) for bias, bias_std in biases for _, dark_std in darks]
    if not values:
        return MeanStd(math.nan, math.nan)
    return MeanStd(float(np.mean(values)), float(np.std(values)))


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionMaps:
    """Per pixel ``[y, x]``: magnitude error, and the error of a count in 16- and 12-bit ADU."""

    magnitude: F8
    adu_16: F8
    adu_12: F8


def precision_maps(bias_mean: NDArray[np.generic], bias_std: NDArray[np.generic], dark_std: NDArray[np.generic]) -> PrecisionMaps:
    """The same per pixel, from the bias' mean and the temporal noise of bias and dark (0 where one frame alone was taken)."""
    signal = (FULL_16 - bias_mean.astype(np.float64)) / 2
    noise = np.sqrt(np.maximum(signal, 0) + bias_std.astype(np.float64) ** 2 + dark_std.astype(np.float64) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(signal > 0, MAG_PER_RELATIVE * noise / signal, np.nan)
    return PrecisionMaps(magnitude, noise, noise / STORED_STEP)


def zones(image: NDArray[np.generic]) -> tuple[float, float, float, float]:
    """Means of the four quadrants Q1..Q4: rows first, from the origin (0, 0), (0, 1), (1, 0), (1, 1)."""
    y, x = image.shape[0] // 2, image.shape[1] // 2
    parts = (image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:])
    q1, q2, q3, q4 = (
        float(np.nanmean(part.astype(np.float64))) if np.isfinite(part.astype(np.float64)).any() else math.nan for part in parts
    )
    return q1, q2, q3, q4


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """Noise and magnitude error of a (stage, dose), and their change against the mean of the stage pre (NaN without one)."""

    stage: str
    dose_krad: float
    noise16: float
    noise12: float
    mag16: float
    mag12: float
    noise16_diff: float
    noise12_diff: float
    mag16_diff: float
    mag12_diff: float


METRICS = ("noise16_diff", "noise12_diff", "mag16_diff", "mag12_diff")


def relative_precision(rows: Sequence[tuple[str, float, DynamicRange]]) -> list[Relative]:
    """Noise and magnitude error of (stage, dose, dynamic range) against the mean over the stage pre.

    MAG12 equals MAG16 by construction, since noise and range scale alike; other bit depths see :mod:`nightcrew.irradiation.bit_depth`.
    """
    values = [(stage, dose, r.noise_adu, r.noise_adu / 16, r.noise_mag, _mag12(r)) for stage, dose, r in rows]
    before = np.array([value[2:] for value in values if value[0] == "pre"], dtype=np.float64)
    base = before.mean(axis=0) if len(before) else np.full(4, np.nan)
    return [
        Relative(
            stage=stage,
            dose_krad=dose,
            noise16=n16,
            noise12=n12,
            mag16=m16,
            mag12=m12,
            noise16_diff=float(n16 - base[0]),
            noise12_diff=float(n12 - base[1]),
            mag16_diff=float(m16 - base[2]),
            mag12_diff=float(m12 - base[3]),
        )
        for stage, dose, n16, n12, m16, m12 in values
    ]


def _mag12(found: DynamicRange) -> float:
    return MAG_PER_RELATIVE * (found.noise_adu / 16) / found.dynamic_range_12 if found.dynamic_range_12 > 0 else math.inf
