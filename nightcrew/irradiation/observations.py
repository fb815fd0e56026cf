"""Groups of frames as observations of the joint model: level, noise, their errors, and what their doses have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.irradiation.grouping import Group
from nightcrew.irradiation.masters import Master

F8 = NDArray[np.float64]
TOLD = -1  # number of the step of a dose that a log told


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseShape:
    """Of every group: frames, pixels, scatter of the level beyond the noise (adu), third and fourth cumulant of a pixel's noise.

    Few hits make a group's noise and its error small together; weights from each group's own noise would then favour the groups
    with too few hits, and q would come out too small.  With this the errors in the beam are those of the model, its cumulants
    pooled over all groups.
    """

    frames: F8
    pixels: F8
    drift_adu: F8
    third_adu3: F8
    fourth_adu4: F8


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """One entry a group of frames; arrays of one length.

    ``signal_adu`` mean level, bias included; ``variance_adu2`` temporal variance of a pixel (NaN: not measured).
    ``signal_error_adu``, ``variance_error_adu2``: standard errors, ``covariance_adu3`` between the two; ``dose_error_krad``.
    ``nominal_step``: groups whose dose is that of their folder alone bear its number, and their doses are wrong together; ``TOLD`` for
    doses with errors of their own (all, where it is None).  ``shape``: what lets the fit work out the errors of groups in the beam itself.
    """

    dose_krad: F8
    rate_krad_per_s: F8
    exposure_s: F8
    signal_adu: F8
    variance_adu2: F8
    signal_error_adu: F8
    variance_error_adu2: F8
    covariance_adu3: F8
    dose_error_krad: F8
    nominal_step: NDArray[np.int64] | None = None
    shape: NoiseShape | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        columns = [column for name, column in vars(self).items() if name != "shape" and column is not None]
        columns += list(vars(self.shape).values()) if self.shape is not None else []
        if len({len(column) for column in columns}) != 1:
            raise Refused("the columns of the observations differ in length")


def nominal_steps(groups: Sequence[Group]) -> NDArray[np.int64]:
    """Number of the dose step of each group whose dose is its folder's, one for all kinds and exposures; ``TOLD`` for the others."""
    steps = sorted({one.step for one in groups if one.nominal})
    return np.array([steps.index(one.step) if one.nominal else TOLD for one in groups], dtype=np.int64)


def observe(masters: Sequence[Master]) -> Observations:
    """Masters as observations of the joint model: levels and noise with their hits, bias included; a bias has no exposure worth a dose."""

    def column(values: Sequence[float]) -> NDArray[np.float64]:
        return np.array(values, dtype=np.float64)

    stacks = [one.stack for one in masters]
    return Observations(
        dose_krad=column([s.group.dose_krad for s in stacks]),
        rate_krad_per_s=np.nan_to_num(column([s.group.rate_krad_per_s for s in stacks])),
        exposure_s=column([0.0 if s.group.kind == "BIAS" else s.group.mean_exposure_s for s in stacks]),
        signal_adu=column([s.raw_mean for s in stacks]),
        variance_adu2=column([s.noise.variance for s in stacks]),
        # frames that are equal in every pixel have no noise at all: their level is then known to a millionth
        signal_error_adu=column([s.raw_level_error or 1e-6 * max(1.0, abs(s.raw_mean)) for s in stacks]),
        variance_error_adu2=column([s.noise.variance_error for s in stacks]),
        covariance_adu3=column([s.noise.covariance for s in stacks]),
        dose_error_krad=column([s.group.dose_error_krad for s in stacks]),
        nominal_step=nominal_steps([one.group for one in masters]),
        shape=NoiseShape(
            frames=column([len(s.group.frames) for s in stacks]),
            pixels=column([s.shape[0] * s.shape[1] for s in stacks]),
            drift_adu=column([s.drift_adu / math.sqrt(len(s.group.frames)) for s in stacks]),
            third_adu3=column([s.noise.third for s in stacks]),
            fourth_adu4=column([s.noise.fourth for s in stacks]),
        ),
    )
