"""What the analysis of a campaign finds, as values: slopes, hot pixels, annealing, joint fits, and all of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.annealing import Annealing
from nightcrew.irradiation.discover import Campaign
from nightcrew.irradiation.hot_pixels import Growth, HotLimit, Tail
from nightcrew.irradiation.joint import JointFit
from nightcrew.irradiation.least_squares import Fit
from nightcrew.irradiation.masters import Master
from nightcrew.irradiation.observations import Observations
from nightcrew.irradiation.response import Level, RateModel, Shift

GAIN_TELLS = 5.0  # a fitted gain counts where its inverse is so many standard errors above 0: known to 20 %


@dataclass(frozen=True, kw_only=True, eq=False)
class Slope:
    """Growth of a kind and exposure per kRad; NaN with its reason in ``remark``, which otherwise says what the number holds.

    ``warmth``: what the temperature may have done to it, where it follows the dose (also in ``remark``).
    """

    kind: str
    exposure_s: float
    temperature_c: float
    value: float
    error: float
    remark: str
    warmth: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class HotCount:
    """Hot pixels of a master; ``dose_krad``: of the frame from which on a pixel must be hot to be counted (see ``hits.hot_from``).

    ``count`` is None where hits cannot be told from hot pixels; ``why`` says why.
    """

    stage: str
    dose_krad: float
    count: int | None
    tail: Tail
    master: Master
    why: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class HotPixels:
    """Hot pixels of the darks of one exposure and temperature, by one limit; ``why``: why there are none."""

    limit: HotLimit | None
    exposure_s: float
    counts: tuple[HotCount, ...]
    growth: Growth | None
    why: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Healing:
    """Annealing of a kind and exposure: levels against the time since the end of the beam."""

    kind: str
    exposure_s: float
    since_s: NDArray[np.float64]
    level_adu: NDArray[np.float64]
    error_adu: NDArray[np.float64]
    fit: Annealing
    recovered: float
    recovered_error: float = math.nan
    recovered_why: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Joint:
    """The joint fit of one temperature, its observations and the masters that they are."""

    temperature_c: float
    fit: JointFit | None
    observations: Observations | None
    masters: tuple[Master, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """Results of one campaign.  ``bins``: temperature of each bin; ``main_bin``: the one with most frames, which the page shows.

    ``doubts``: remarks on what makes the numbers less sure than their errors say.
    """

    campaign: Campaign
    masters: tuple[Master, ...]
    bins: Mapping[int, float]
    main_bin: int
    step_adu: float
    gain_e_per_adu: float | None
    slopes: tuple[Slope, ...]
    rate_models: tuple[RateModel, ...]
    dose_models: tuple[tuple[str, float | None, Fit], ...]
    shifts: tuple[Shift, ...]
    joint: Mapping[int, Joint]
    hot: HotPixels
    healing: tuple[Healing, ...]
    left_out: Mapping[str, str]
    remarks: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    def levels(self, *, bin_number: int | None = None) -> list[Level]:
        """Usable groups of a temperature bin (default: the main one) as points of the response, first visit after the beam only."""
        place = self.main_bin if bin_number is None else bin_number
        return levels_of([one for one in self.masters if one.group.temperature_bin == place])

    @property
    def gain(self) -> tuple[float | None, str]:
        """Gain in e-/ADU and where it is from; None with the reason."""
        if self.gain_e_per_adu is not None:
            return self.gain_e_per_adu, "given"
        k, error = (math.nan, math.nan) if (fit := self.main_fit) is None else (fit.values["k"], fit.errors["k"])
        if not k > 0 or not math.isfinite(error):
            return None, "no gain was given, and the noise of the darks does not tell it"
        if k < GAIN_TELLS * error:
            return None, f"no gain was given, and the noise of the darks tells it only to {100 * error / k:.2g} %"
        return 1 / k, "from the noise of the darks"

    @property
    def gain_error_e_per_adu(self) -> float:
        """Standard error of the gain: 0 of one that was given, NaN where there is none."""
        gain, _ = self.gain
        if gain is None or self.gain_e_per_adu is not None:
            return math.nan if gain is None else 0.0
        return self.main_fit.errors["k"] * gain**2 if self.main_fit is not None else math.nan

    @property
    def main_fit(self) -> JointFit | None:
        """The joint fit of the temperature with most frames; None where there is none."""
        joint = self.joint.get(self.main_bin)
        return joint.fit if joint is not None else None


def levels_of(masters: Sequence[Master]) -> list[Level]:
    """Masters that are what their kind should be, as points of the response; later visits after the beam are left to annealing."""
    return [one.level() for one in masters if one.corrected and one.group.visit == 0]
