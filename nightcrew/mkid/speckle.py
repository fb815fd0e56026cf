"""Speckle statistics of pixels: the rules by which they are measured, what comes out, and where it may be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid.rician import IC, IP, IS
from nightcrew.mkid.rician_fit import Evaluate, Maximum, Prior
from nightcrew.mkid.rician_limits import all_without_bound, profile_limits, widenings, without_bound
from nightcrew.mkid.speckle_goodness import Goodness

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Flags = NDArray[np.uint32]

_ONE_SIDED_95 = 1.644853627  # sigma
POOR = 1e-4
"""Probability below which a fit is poor."""


Errors = Literal["auto", "curvature", "bootstrap"]


def errors_named(name: str) -> Errors:
    """Where errors come from, by its name; ``Refused`` for another name."""
    for known in ("auto", "curvature", "bootstrap"):
        if name == known:
            return known
    raise Refused(f"errors are auto, curvature or bootstrap, not {name!r}")


class SpeckleFlag(IntFlag):
    """Why the numbers of a pixel may not be believed; 0: they may."""

    NO_LIGHT = 1
    FEW_COUNTS = 2
    TOO_SHORT = 4
    BIN_TOO_LONG = 8
    NOT_CONVERGED = 16
    POOR_FIT = 32
    DEAD_TIME = 64
    PIXEL = 128
    NO_SPECKLES = 256
    DECORRELATION_UNKNOWN = 512
    ERRORS_UNSURE = 1024
    TOO_MANY_COUNTS = 2048


DESCRIPTIONS: dict[SpeckleFlag, str] = {
    SpeckleFlag.NO_LIGHT: "fewer than two photons, or no usable time",
    SpeckleFlag.FEW_COUNTS: "too few bins hold two photons or more (without bins: too few photons, or too few between gaps) to tell "
    "speckles from photon noise",
    SpeckleFlag.TOO_SHORT: "the time holds too few decorrelation times",
    SpeckleFlag.BIN_TOO_LONG: "the bin (without bins: the time between photons, when the light is faintest) is not short "
    "against the decorrelation time",
    SpeckleFlag.NOT_CONVERGED: "no maximum of the likelihood was found",
    SpeckleFlag.POOR_FIT: "modified-Rician light does not describe the counts",
    SpeckleFlag.DEAD_TIME: "more than 1 % of the time is dead after photons of any wavelength, which the fit does not know: use intervals "
    "(without a window of wavelength)",
    SpeckleFlag.PIXEL: "the pixel itself is flagged",
    SpeckleFlag.NO_SPECKLES: "Is stands at 0: the light is steady within its noise, and Ic and Ip cannot be told apart",
    SpeckleFlag.DECORRELATION_UNKNOWN: "no correlation from bin to bin is seen, in the pixel or the array, so neither bin nor length "
    "can be judged: where the decorrelation time is known, state it",
    SpeckleFlag.ERRORS_UNSURE: "Ic or Is is within two errors of 0, where the likelihood is no parabola, or Ip stands at 0, as if it were "
    "known, or the pixel decorrelates slowly against the blocks of the bootstrap: errors are a guide only",
    SpeckleFlag.TOO_MANY_COUNTS: "a bin holds too many photons to be fitted: take shorter bins",
}
INFORMATION = SpeckleFlag.NO_SPECKLES | SpeckleFlag.ERRORS_UNSURE
"""Flags that do not make the numbers invalid."""


@dataclass(frozen=True, kw_only=True)
class SpeckleRules:
    """How speckles are measured and judged."""

    bin_s: float = 0.01
    companion: bool = False  # fit Ip as well; otherwise it is 0
    errors: Errors = "auto"  # auto: bootstrap where counts are correlated from bin to bin
    resamples: int = 60
    seed: int = 0
    decorrelation_s: float | None = None  # when it is known; otherwise estimated
    correct_bin: bool = True  # undo the averaging of the intensity over a bin, as far as the decorrelation time tells it
    prior: Prior | None = None  # in photons per second, [3] or [pixel, 3]
    most_cps: float = math.inf  # upper bound of each parameter
    bin_over_decorrelation: float = 0.2  # at most
    least_pairs: int = 25  # bins with two photons or more; without bins four times as many photons
    least_times: float = 30.0  # decorrelation times in the exposure
    dead_time_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.bin_s < math.inf:
            raise Refused(f"{self.bin_s} s is no length of a bin")
        if self.resamples < 2:
            raise Refused("a bootstrap needs two resamples or more")

    def bounds(self, scale: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds [3] of (Ic, Is, Ip) in units of photons per second times ``scale``."""
        upper = np.full(3, self.most_cps * scale)
        if not self.companion:
            upper[IP] = 0.0
        return np.zeros(3), upper

    def with_prior(self, evaluate: Evaluate, scale: float, pixels: NDArray[np.intp]) -> Evaluate:
        """The likelihood of these pixels, times the prior where there is one."""
        if self.prior is None:
            return evaluate
        mean, sigma = ((values[pixels] if values.ndim == 2 else values) * scale for values in (self.prior.mean, self.prior.sigma))
        return Prior(mean, sigma).added(evaluate)

    @property
    def n_free(self) -> int:
        """Parameters that are fitted."""
        return 3 if self.companion else 2


@dataclass(frozen=True)
class SpeckleFits:
    """Results [pixel]; rates in photons per second.  NaN where a number is not determined, with the reason in ``flags``."""

    parameters_cps: Floats  # [pixel, (Ic, Is, Ip)]
    errors_cps: Floats
    limits_cps: Floats  # 95 % limits of parameters that stand at a bound
    covariance_cps2: Floats  # of Ic and Is
    free_cps: Floats  # [pixel, (Ic, Is, Ip)] without the bound of Is or Ip at 0, for averages
    free_errors_cps: Floats
    free_covariance_cps2: Floats  # of the Ic and Is of these
    ratio: Floats  # Ic / Is
    ratio_error: Floats
    log_likelihood: Floats
    chi2: Floats
    dof: NDArray[np.int64]
    probability: Floats  # of a greater chi2
    decorrelation_s: Floats  # its own; NaN where not seen
    mean_cps: Floats
    flags: Flags  # of SpeckleFlag
    array_decorrelation_s: float
    bootstrapped: bool

    @property
    def valid(self) -> Bools:
        """Where the numbers may be believed."""
        barred: Bools = (self.flags & np.uint32(~int(INFORMATION) & 0xFFFFFFFF)) != 0
        return ~barred

    @property
    def n_pixels(self) -> int:
        return self.flags.size


class Collected:
    """Results of groups of pixels, put together in order of pixel.  Parameters are photons per second times ``scale``."""

    def __init__(self, n_pixels: int, scale: float) -> None:
        self._scale = scale
        self.parameters, self.errors, self.limits = (np.full((n_pixels, 3), np.nan) for _ in range(3))
        self.covariance = np.full((n_pixels, 3, 3), np.nan)
        self.below, self.below_variance = np.full(n_pixels, np.nan), np.full(n_pixels, np.nan)
        self.freed, self.freed_covariance = np.full((n_pixels, 3), np.nan), np.full((n_pixels, 3, 3), np.nan)
        self.at_bound = np.zeros((n_pixels, 3), dtype=np.bool_)
        self.converged = np.zeros(n_pixels, dtype=np.bool_)
        self.log_likelihood, self.chi2, self.probability = (np.full(n_pixels, np.nan) for _ in range(3))
        self.dof = np.zeros(n_pixels, dtype=np.int64)

    def put(self, pixels: NDArray[np.intp], best: Maximum, covariance: Floats, evaluate: Evaluate, bounds: tuple[Floats, Floats]) -> None:
        """Take a group; ``covariance`` [pixel, 3, 3] is what errors come from, ``evaluate`` and ``bounds`` are those of the fit."""
        wide = widenings(best, covariance)
        below, variance = without_bound(best, IS, wide)
        self.below[pixels], self.below_variance[pixels] = below / self._scale, variance / self._scale**2
        freed, freed_covariance = all_without_bound(best, IP, wide)
        self.freed[pixels], self.freed_covariance[pixels] = freed / self._scale, freed_covariance / self._scale**2
        self.parameters[pixels], self.covariance[pixels] = best.parameters / self._scale, covariance / self._scale**2
        self.limits[pixels] = profile_limits(evaluate, best, *bounds, wide) / self._scale
        self.at_bound[pixels] = best.at_bound
        variance = np.diagonal(covariance, axis1=1, axis2=2) / self._scale**2
        known = ~best.at_bound & (variance > 0)
        self.errors[pixels] = np.sqrt(np.where(known, variance, np.nan))
        self.converged[pixels], self.log_likelihood[pixels] = best.converged, best.likelihood.value

    def judge(self, pixels: NDArray[np.intp], goodness: Goodness) -> None:
        """How well the fits of a group describe what was counted."""
        self.chi2[pixels], self.dof[pixels], self.probability[pixels] = goodness.chi2, goodness.dof, goodness.probability

    @property
    def speckles_seen(self) -> Bools:
        """Where Is is above three errors."""
        with np.errstate(invalid="ignore"):
            seen: Bools = self.parameters[:, IS] > 3 * self.errors[:, IS]
        return seen

    def undo_averaging(self, share: Floats, most_cps: float) -> None:
        """Put right what averaging over a bin took from the variance of the intensity, of which it left ``share`` [pixel].

        Ic + Is stays, ``Is^2 + 2 Ic Is`` is divided by the share; the covariance follows to first order.  Limits follow too: that of an
        Is at 0 as Is itself; an Ic that comes to 0 is limited by 1.645 errors of its square, as if that were 0 instead of less.
        """
        is_, mean = self.parameters[:, IS].copy(), self.parameters[:, IC] + self.parameters[:, IS]
        edge = _left(self.parameters, share) <= 0
        by_ic, by_is = 2 * (mean - is_ / share), 2 * mean * (1 - 1 / share)
        variance = by_ic**2 * self.covariance[:, IC, IC] + 2 * by_ic * by_is * self.covariance[:, IC, IS]
        variance += by_is**2 * self.covariance[:, IS, IS]
        newly = edge & ~self.at_bound[:, IC]
        self.limits[newly, IC] = np.sqrt(_ONE_SIDED_95 * np.sqrt(np.maximum(variance[newly], 0)))
        steady = self.at_bound[:, IS] & (is_ <= 0) & np.isfinite(self.limits[:, IS])
        farther = mean**2 - (mean**2 - (mean - np.minimum(self.limits[:, IS], mean)) ** 2) / share
        self.below[steady], self.below_variance[steady] = (
            self.below[steady] / share[steady],
            self.below_variance[steady] / share[steady] ** 2,
        )
        self.limits[steady, IS] = (mean - np.sqrt(np.maximum(farther, 0)))[steady]
        self.parameters, self.covariance = _undone(self.parameters, self.covariance, share)
        self.freed, self.freed_covariance = _freed_undone(self.freed, self.freed_covariance, share)
        self.parameters[edge, IC], self.parameters[edge, IS], self.at_bound[edge, IC] = 0.0, mean[edge], True
        np.minimum(self.parameters, most_cps, out=self.parameters)
        variance = np.diagonal(self.covariance, axis1=1, axis2=2)
        self.errors = np.sqrt(np.where(~self.at_bound & (variance > 0), variance, np.nan))

    def flags(self, judged_s: Floats, usable_s: Floats, rules: SpeckleRules) -> Flags:
        """What can be said without the counts; ``judged_s`` are decorrelation times, NaN where unknown."""
        found = np.zeros(self.converged.size, dtype=np.uint32)
        with np.errstate(invalid="ignore"):
            close = (self.at_bound | (self.parameters < 2 * self.errors))[:, :IP].any(axis=1) | self.at_bound[:, IP]
        conditions = {
            SpeckleFlag.ERRORS_UNSURE: close,
            SpeckleFlag.NOT_CONVERGED: ~self.converged,
            SpeckleFlag.POOR_FIT: self.probability < POOR,
            SpeckleFlag.NO_SPECKLES: self.at_bound[:, IS] & (self.parameters[:, IS] <= 0),
            SpeckleFlag.TOO_SHORT: usable_s < rules.least_times * np.nan_to_num(judged_s, nan=0.0),
            SpeckleFlag.DECORRELATION_UNKNOWN: ~np.isfinite(judged_s),
        }
        for flag, where in conditions.items():
            found[where] |= np.uint32(flag)
        return found

    def fits(self, flags: Flags, own_s: Floats, mean_cps: Floats, array_s: float, bootstrapped: bool) -> SpeckleFits:
        """The results; what is flagged as without light or without a maximum is NaN."""
        nothing = (flags & np.uint32(SpeckleFlag.NO_LIGHT | SpeckleFlag.NOT_CONVERGED | SpeckleFlag.TOO_MANY_COUNTS)) != 0
        for values in (self.parameters, self.errors, self.limits, self.covariance, self.log_likelihood, self.chi2, self.probability):
            values[nothing] = np.nan
        ratio, ratio_error = self._ratio()
        free, free_errors, free_covariance = self._free()
        return SpeckleFits(
            parameters_cps=self.parameters,
            errors_cps=self.errors,
            limits_cps=self.limits,
            covariance_cps2=self.covariance[:, IC, IS],
            free_cps=free,
            free_errors_cps=free_errors,
            free_covariance_cps2=free_covariance,
            ratio=ratio,
            ratio_error=ratio_error,
            log_likelihood=self.log_likelihood,
            chi2=self.chi2,
            dof=self.dof,
            probability=self.probability,
            decorrelation_s=own_s,
            mean_cps=mean_cps,
            flags=flags,
            array_decorrelation_s=array_s,
            bootstrapped=bootstrapped,
        )

    def _free(self) -> tuple[Floats, Floats, Floats]:
        """Parameters without the bound of Is, or else of Ip, their errors, and the covariance of Ic and Is.

        Where Is stands at 0, Ic has what Is lacks: their sum is what is known best.  A parameter that stays at its bound has the error that
        its 95 % limit stands for.
        """
        values, covariance = self.parameters.copy(), self.covariance[:, IC, IS].copy()
        errors = np.where(np.isfinite(self.errors), self.errors, self.limits / _ONE_SIDED_95)
        steady = self.at_bound[:, IS] & (self.parameters[:, IS] <= 0)
        variance = np.where(steady, self.below_variance, 0.0)
        values[steady, IC] += (self.parameters[:, IS] - self.below)[steady]
        values[steady, IS] = self.below[steady]
        own = np.nan_to_num(self.errors[:, IC])
        errors[steady, IC], errors[steady, IS] = np.sqrt(variance + own**2)[steady], np.sqrt(variance)[steady]
        covariance[steady] = -variance[steady]
        freed = np.isfinite(self.freed).all(axis=1) & np.isfinite(self.parameters).all(axis=1)
        values[freed], covariance[freed] = self.freed[freed], self.freed_covariance[freed, IC, IS]
        errors[freed] = np.sqrt(np.diagonal(self.freed_covariance, axis1=1, axis2=2)[freed])
        return values, errors, covariance

    def _ratio(self) -> tuple[Floats, Floats]:
        """Ic / Is and its error; NaN where Is is not above its own error."""
        ic, is_ = self.parameters[:, IC], self.parameters[:, IS]
        with np.errstate(invalid="ignore", divide="ignore"):
            sure = is_ > self.errors[:, IS]
            ratio = np.where(sure, ic / is_, np.nan)
            by_is = -ratio / is_
            variance = self.covariance[:, IC, IC] / is_**2 + by_is**2 * self.covariance[:, IS, IS]
            variance += 2 * by_is / is_ * self.covariance[:, IC, IS]
            return ratio, np.sqrt(np.where(sure & (variance > 0), variance, np.nan))


def _left(parameters: Floats, share: Floats) -> Floats:
    """Square of the Ic [pixel] that makes up for an averaging that left ``share`` of the variance."""
    ic, is_ = parameters[:, IC], parameters[:, IS]
    left: Floats = (ic + is_) ** 2 - (is_**2 + 2 * ic * is_) / share
    return left


def _undone(parameters: Floats, covariance: Floats, share: Floats, *, below_0: bool = False) -> tuple[Floats, Floats]:
    """Parameters and covariance with ``Is^2 + 2 Ic Is`` divided by the share, where that leaves something to Ic.

    An Is at 0 stays as it is, and so does one below, unless it is to follow (``below_0``).
    """
    is_, mean, left = parameters[:, IS], parameters[:, IC] + parameters[:, IS], _left(parameters, share)
    with np.errstate(invalid="ignore"):
        inside = np.isfinite(left) & (left > 0) & ((is_ > 0) | below_0) & (parameters[:, IC] > 0) & (share < 1)
    new_ic = np.sqrt(np.where(inside, left, 1.0))
    slope = np.tile(np.eye(3), (is_.size, 1, 1))
    slope[:, IC, IC], slope[:, IC, IS] = (mean - is_ / share) / new_ic, mean * (1 - 1 / share) / new_ic
    slope[:, IS, IC], slope[:, IS, IS] = 1 - slope[:, IC, IC], 1 - slope[:, IC, IS]
    slope[~inside] = np.eye(3)
    found = parameters.copy()
    found[inside, IC], found[inside, IS] = new_ic[inside], (mean - new_ic)[inside]
    return found, np.einsum("pij,pjk,plk->pil", slope, covariance, slope)


def _freed_undone(freed: Floats, covariance: Floats, share: Floats) -> tuple[Floats, Floats]:
    """As :func:`_undone`, for parameters that may be below 0: no pixel keeps values of averaged light beside those of others.

    Where nothing is left to Ic, it is 0 and Is has all, with the error that Ic has by that of its square; where there is no light at all,
    NaN.
    """
    values, variances = _undone(freed, covariance, share, below_0=True)
    mean = freed[:, IC] + freed[:, IS]
    with np.errstate(invalid="ignore"):
        averaged = np.isfinite(freed).all(axis=1) & (share < 1)
        edge = averaged & ((_left(freed, share) <= 0) | (freed[:, IC] <= 0))
        nothing = averaged & (mean <= 0)
    slope = np.zeros((np.count_nonzero(edge), 3, 3))
    slope[:, IS, IC] = slope[:, IS, IS] = slope[:, IP, IP] = 1.0
    of_square = np.zeros((len(slope), 3))
    of_square[:, IC] = 2 * (mean - freed[:, IS] / share)[edge]
    of_square[:, IS] = (2 * mean * (1 - 1 / share))[edge]
    square = np.sqrt(np.maximum(np.einsum("pi,pij,pj->p", of_square, covariance[edge], of_square), 0))
    values[edge, IC], values[edge, IS] = 0.0, mean[edge]
    moved = np.zeros((3, 3))
    moved[IC, IC] = moved[IS, IS] = 1.0
    moved[IC, IS] = moved[IS, IC] = -1.0
    kept = np.einsum("pij,pjk,plk->pil", slope, covariance[edge], slope)
    variances[edge] = kept + (square / _ONE_SIDED_95)[:, None, None] * moved
    values[nothing], variances[nothing] = np.nan, np.nan
    return values, variances
