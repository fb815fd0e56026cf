"""The level of no light and the noise there: from biases, else from darks so short that they are none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.curve_fit import HIDDEN_BELOW
from nightcrew.sensor.frames import SensorFrame
from nightcrew.sensor.groups import Group
from nightcrew.sensor.pairing import combined, frame_levels, mean_covariances, paired
from nightcrew.sensor.pairs import DEFECT_SIGMA, ROUNDING_VARIANCE, Floor, PairOptions, PairStatistics, pair_statistics, step_of
from nightcrew.sensor.regions import Region
from nightcrew.sensor.robust import clipped_moments

F8 = NDArray[np.float64]
LONGEST_STAND_IN_S = 1.0
"""A dark that may stand for a bias: this short, or no longer than the shortest flat."""


@dataclass(frozen=True, kw_only=True)
class BiasNoise:
    """Pairs of biases: level and variance in ADU, with the variance's error; ``drift`` is the scatter of the levels.

    ``rounding`` is the part of the variance that rounding to whole numbers makes (0 for frames that are not of whole numbers).
    """

    level: float
    drift: float
    variance: float
    variance_error: float
    rounding: float
    pairs: tuple[PairStatistics, ...]

    @property
    def covariances(self) -> F8 | None:
        """Mean covariances [lag_y, lag_x]."""
        return mean_covariances(self.pairs)

    @property
    def row_power(self) -> float:
        """What rows that vary as a whole add to the variance, in ADU^2."""
        return float(np.mean([pair.bands.row_rms**2 if pair.bands is not None else 0.0 for pair in self.pairs]))

    @property
    def column_power(self) -> float:
        """What columns that vary as a whole add to the variance, in ADU^2."""
        return float(np.mean([pair.bands.column_rms**2 if pair.bands is not None else 0.0 for pair in self.pairs]))

    @property
    def floor(self) -> Floor:
        """The lowest value of all pairs and how many pixels have it."""
        counted = Floor()
        for pair in self.pairs:
            if pair.floor is not None:
                counted.merge(pair.floor, step_of(self.rounding))
        return counted

    @property
    def cut_off(self) -> bool:
        """Whether the biases' lower values are cut off, so that neither level nor noise is theirs."""
        return self.floor.clipped and (self.floor.lowest == 0 or not self._rounded)

    @property
    def _rounded(self) -> bool:
        return self.variance <= HIDDEN_BELOW / ROUNDING_VARIANCE * self.rounding

    @property
    def hidden(self) -> str:
        """Why there is no read noise, "" when there is."""
        if self.cut_off:
            share, lowest = f"{100 * self.floor.at / self.floor.of:.2g} %", f"{self.floor.lowest:g} ADU"
            return f"{share} of the biases' pixels stand at {lowest}, the lowest: their noise and level are cut off there"
        if self.variance <= 0:
            return "the biases do not vary at all: rounding or clipping hides their noise"
        if self._rounded:
            most = math.sqrt(HIDDEN_BELOW / ROUNDING_VARIANCE - 1) * math.sqrt(self.rounding)
            return f"rounding hides the noise of the biases: it is below {most:.2g} ADU"
        return ""

    @property
    def read_noise_adu(self) -> tuple[float, float] | None:
        """Read noise in ADU and its error, the rounding taken out; None where it is ``hidden``."""
        rest = self.variance - self.rounding
        return (math.sqrt(rest), self.variance_error / (2 * math.sqrt(rest))) if rest > 0 and not self.hidden else None


def bias_noise(frames: Sequence[SensorFrame], region: Region, max_lag: int, threads: int = 1) -> BiasNoise | None:
    """Level and temporal variance of biases (or of darks of one exposure) from the pairs of all of them; None with fewer than two."""
    options = PairOptions(max_lag=max_lag, scale=False, flatten_bands=False)  # what rows do together is read noise, too

    def measured(places: tuple[int, int]) -> PairStatistics:
        return pair_statistics(frames[places[0]], frames[places[1]], region.windows, 0.0, options)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        pairs = tuple(pair for pair in pool.map(measured, paired(len(frames))) if pair.used > 1)
    if not pairs:
        return None
    levels = frame_levels(pairs)
    variance, error = combined(pairs)
    rounding = float(np.mean([pair.rounding for pair in pairs]))
    return BiasNoise(
        level=float(np.mean(levels)), drift=_drift(levels, pairs), variance=variance, variance_error=error, rounding=rounding, pairs=pairs
    )


def _drift(levels: F8, pairs: Sequence[PairStatistics]) -> float:
    """Scatter of the frames' levels beyond what the pixels' noise gives their means."""
    noise = float(np.mean([pair.variance / max(pair.used, 1) for pair in pairs]))
    return math.sqrt(max(float(np.var(levels, ddof=1)) - noise, 0.0))


@dataclass(frozen=True, kw_only=True)
class Zero:
    """What stands for no light: its level in ADU, the noise there (None: unknown), and the ``frames`` that hold its pattern.

    ``remark`` says what stands in for what was missing, "" when nothing does.
    """

    level: float
    noise: BiasNoise | None
    frames: tuple[SensorFrame, ...]
    remark: str = ""


def zero_of(
    flats: Sequence[Group], darks: Sequence[Group], biases: Mapping[Group, BiasNoise | None], region: Region, max_lag: int
) -> Zero | str:
    """The zero level of ``flats`` of one temperature; a sentence when there is none.

    ``biases``: every group of biases with the noise of its pairs.  Those of the flats' temperature come first, even one frame alone;
    then those of the nearest; then darks that are short enough; then nothing, for a flat whose offset is not known tells of no gain.
    """
    found = _zero_of(flats, darks, biases, region, max_lag)
    if isinstance(found, Zero) and not math.isfinite(found.level):
        return "no finite pixel in the biases: the offset is not known"
    return found


def _zero_of(
    flats: Sequence[Group], darks: Sequence[Group], biases: Mapping[Group, BiasNoise | None], region: Region, max_lag: int
) -> Zero | str:
    warm = flats[0].temperature_c
    near = sorted(biases, key=lambda group: (apart(group.temperature_c, warm), biases[group] is None))
    if not near:
        return _without_biases(flats, darks, region, max_lag)
    noise = biases[near[0]]
    if noise is not None:
        return Zero(level=noise.level, noise=noise, frames=near[0].frames)
    noisy = next((group for group in near if biases[group] is not None), None)
    remark = f"one bias alone, {near[0].label}: the offset is its level, {_whose_noise(noisy)}"
    level = mean_level(near[0].frames[0], region)
    return Zero(level=level, noise=None if noisy is None else biases[noisy], frames=near[0].frames, remark=remark)


def _whose_noise(noisy: Group | None) -> str:
    return "the noise is not known" if noisy is None else f"the noise that of {noisy.label}"


def _without_biases(flats: Sequence[Group], darks: Sequence[Group], region: Region, max_lag: int) -> Zero | str:
    if all(frame.header.bias_subtracted for group in flats for frame in group.frames):
        return Zero(level=0.0, noise=None, frames=(), remark="no biases: the camera took the bias out itself")
    shortest = min(group.exposure_s for group in flats)
    short = [group for group in darks if group.exposure_s <= max(LONGEST_STAND_IN_S, shortest)]
    best = min(short, key=lambda group: (len(group.frames) < 2, group.exposure_s), default=None)
    if best is None:
        longer = f", and the darks (from {min(group.exposure_s for group in darks):g} s) are longer than the flats" if darks else ""
        return f"no biases{longer}: the offset is not known"
    remark = f"no biases: {best.label} stands for them"
    noise = bias_noise(best.frames, region, max_lag)
    level = noise.level if noise is not None else mean_level(best.frames[0], region)
    return Zero(level=level, noise=noise, frames=best.frames, remark=remark)


def mean_level(frame: SensorFrame, region: Region) -> float:
    """Mean level of a region of one frame in ADU, without defects and cosmic rays."""
    with frame.opened() as rows:
        found = [clipped_moments(np.asarray(window.whole(rows), np.float32), DEFECT_SIGMA) for window in region.windows]
    n = sum(kept for _, _, kept in found)
    return sum(mean * kept for mean, _, kept in found if kept) / n if n else math.nan


def apart(one: float | None, other: float | None) -> float:
    """How far two temperatures are from each other; far, when one alone is known."""
    return abs(one - other) if one is not None and other is not None else (0.0 if one is other else 1e6)
