"""Response of a detector to dose and dose rate: levels and noise of groups of frames, as straight laws with their errors.

All differences have one sign: irradiated minus reference, positive when the irradiated level is higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.least_squares import Fit, fit, line

F8 = NDArray[np.float64]
RATE_TELLS = 0.02  # part of the dose rates that level and dose must leave unexplained: rates are not known better
ROUNDS = 4  # of a line whose weights hold its own slope
NOMINAL = "doses are the folders' nominal ones, spread in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Level and noise of one group of frames; units of the stored samples, kRad, kRad/s, s, Celsius.

    ``mean`` of the group's pixels with its standard error ``mean_error`` (NaN: not known), ``std`` over pixels and frames (population),
    ``noise``: temporal noise of a pixel in one frame (NaN: fewer than two frames), with its error.  ``dose_error_krad``: of the group's
    mean dose; ``nominal``: no log told it, so its error is common to all such groups besides.
    """

    stage: str
    kind: str
    dose_krad: float
    mean: float
    std: float
    rate_krad_per_s: float = 0.0
    exposure_s: float = 0.0
    temperature_c: float = math.nan
    mean_error: float = math.nan
    noise: float = math.nan
    noise_error: float = math.nan
    n_frames: int = 1
    dose_error_krad: float = 0.0
    nominal: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class RateModel:
    """MEAN = a0 + a1 DOSE + a2 DOSE_RATE and STD = b0 + b1 DOSE + b2 DOSE_RATE of one kind and exposure."""

    kind: str
    exposure_s: float | None
    mean: Fit
    std: Fit


def _columns(levels: Sequence[Level]) -> tuple[F8, F8, F8, F8, F8 | None]:
    dose = np.array([one.dose_krad for one in levels])
    rate = np.array([one.rate_krad_per_s for one in levels])
    mean, std = np.array([one.mean for one in levels]), np.array([one.std for one in levels])
    errors = np.array([one.mean_error for one in levels])
    return dose, rate, mean, std, errors if np.all(np.isfinite(errors) & (errors > 0)) and len(errors) else None


def dose_model(levels: Sequence[Level], *, dose_errors: bool = True) -> Fit:
    """MEAN = intercept + slope DOSE; weighted by the groups' errors where all are known, those of their doses included if asked."""
    dose, _, mean, _, errors = _columns(levels)
    if not dose_errors:
        return line(dose, mean, errors)
    return _with_dose_errors(lambda at, sigma: line(at, mean, sigma), "slope", levels, errors)


def _with_dose_errors(law: Callable[[F8, F8 | None], Fit], slope: str, levels: Sequence[Level], errors: F8 | None) -> Fit:
    """A law of the level, made of doses and errors, with the errors of the doses in its weights and errors.

    Each group's own counts through the slope (effective variance).  Nominal doses may besides all be too small or too large together
    (frames taken at the end of every step): what such a shift by one standard error changes is added to the covariance.
    """
    dose = np.array([one.dose_krad for one in levels])
    spread = np.nan_to_num(np.array([one.dose_error_krad for one in levels]))
    found, sigma = law(dose, errors), errors
    if not np.any(spread > 0):
        return found
    if errors is not None:
        for _ in range(ROUNDS):
            if not math.isfinite(found.value(slope)):
                return found
            sigma = np.hypot(errors, found.value(slope) * spread)
            found = law(dose, sigma)
    nominal = np.array([one.nominal for one in levels])
    if not nominal.any():
        return found
    change = np.nan_to_num(law(dose + np.where(nominal, spread, 0.0), sigma).values - found.values)
    return replace(found, covariance=found.covariance + np.outer(change, change))


def rate_model(levels: Sequence[Level], kind: str, exposure_s: float | None) -> RateModel:
    """Both laws over dose and dose rate.

    The term of a rate is undetermined where level and dose explain it up to ``RATE_TELLS`` of its length (a rate that never or hardly
    changes), and where its error times the range of the rates exceeds the range of the levels; a0 then holds its part (``notes``).
    """
    dose, rate, mean, std, errors = _columns(levels)
    return RateModel(
        kind=kind,
        exposure_s=exposure_s,
        mean=_with_dose_errors(lambda at, sigma: _over_dose_and_rate("a", at, rate, mean, sigma), "a1", levels, errors),
        std=_over_dose_and_rate("b", dose, rate, std, None),
    )


def _over_dose_and_rate(letter: str, dose: F8, rate: F8, values: F8, errors: F8 | None) -> Fit:
    name = f"{letter}2"
    columns = {f"{letter}0": np.ones_like(dose), f"{letter}1": dose, name: rate}
    found = fit(columns, values, errors, least={name: RATE_TELLS})
    spread = found.error(name) * float(np.ptp(rate)) if math.isfinite(found.error(name)) else 0.0
    range_ = float(np.ptp(values)) if len(values) else 0.0
    if spread <= range_ or not math.isfinite(found.value(name)):
        return found
    why = f"{name}: over the range of the dose rates it is known to {spread:.3g} only, the values differ by {range_:.3g}"
    return fit(columns, values, errors, without={name: why})


def std_on_mean(levels: Sequence[Level]) -> Fit:
    """STD = intercept + slope MEAN."""
    _, _, mean, std, _ = _columns(levels)
    return line(mean, std)


def on_rate(levels: Sequence[Level]) -> tuple[Fit, Fit]:
    """MEAN and STD against dose rate alone: two lines."""
    _, rate, mean, std, errors = _columns(levels)
    return line(rate, mean, errors), line(rate, std)


def dose_slope(levels: Sequence[Level]) -> tuple[float, float, str]:
    """Change of the level per kRad with its error: from the law with the rate where that is determined, else from the line.

    Returns (NaN, NaN, reason) when it is not determined.  Where a rate is unknown the line over dose is taken, and the remark says so, as
    it does where doses are nominal.
    """
    value, error, remark = _dose_slope(levels)
    if math.isfinite(value) and any(one.nominal for one in levels):
        remark = "; ".join(filter(None, (remark, NOMINAL)))
    return value, error, remark


def _dose_slope(levels: Sequence[Level]) -> tuple[float, float, str]:
    if any(math.isnan(one.rate_krad_per_s) for one in levels):
        found = dose_model(levels)
        why = "the dose rate is not known everywhere, so its part is in the slope"
        return found.value("slope"), found.error("slope"), found.why.get("slope", why)
    model = rate_model(levels, "", None).mean
    if math.isfinite(model.value("a1")):
        return model.value("a1"), model.error("a1"), model.notes.get("a1", "")
    return math.nan, math.nan, model.why.get("a1", "too few doses")


def exposures(levels: Sequence[Level]) -> list[float]:
    """The different exposures of the groups, sorted."""
    return sorted({one.exposure_s for one in levels})


def chosen(levels: Sequence[Level], *, kind: str, stage: str | None = None, exposure_s: float | None = None) -> list[Level]:
    """Groups of a kind, and of a stage and exposure where given, by dose."""
    found = [one for one in levels if one.kind == kind and stage in (None, one.stage) and exposure_s in (None, one.exposure_s)]
    return sorted(found, key=lambda one: (one.dose_krad, one.stage, one.exposure_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A level's change at the begin (``first_pre``) or end (``last_post``) of the irradiation: irradiated minus reference."""

    transition: str
    kind: str
    exposure_s: float
    value: float
    error: float
    why: str = ""


def shifts(levels: Sequence[Level], kind: str, exposure_s: float) -> tuple[Shift, Shift]:
    """First irradiated minus pre, and last irradiated minus post, for one kind and exposure (in the unit of the levels)."""
    made = []
    for transition, reference, place in (("first_pre", "pre", 0), ("last_post", "post", -1)):
        beam = chosen(levels, kind=kind, stage="radiating", exposure_s=exposure_s)
        quiet = chosen(levels, kind=kind, stage=reference, exposure_s=exposure_s)
        why = f"no {kind.lower()} of the stage {'radiating' if not beam else reference}" if not beam or not quiet else ""
        value, error = math.nan, math.nan
        if not why:
            level, level_error = _mean_of(quiet)
            value, error = beam[place].mean - level, math.hypot(beam[place].mean_error, level_error)
        made.append(Shift(transition=transition, kind=kind, exposure_s=exposure_s, value=value, error=error, why=why))
    return made[0], made[1]


def _mean_of(levels: Sequence[Level]) -> tuple[float, float]:
    """Mean level of groups, each frame counting alike, and its error."""
    n = np.array([one.n_frames for one in levels], dtype=np.float64)
    mean = np.array([one.mean for one in levels])
    errors = np.array([one.mean_error for one in levels])
    return float(np.sum(n * mean) / n.sum()), float(np.sqrt(np.sum((n * errors) ** 2)) / n.sum())


def frame_rates(dose_krad: Sequence[float], time_s: Sequence[float]) -> list[float | None]:
    """Rate of each frame against the one before it, in the order given (the older suite's definition; None for the first).

    Frames at equal times have none.  A group's mean of these is 0 after a jump and needs care: see ``dose.FrameDose.rate_krad_per_s``.
    """
    rates: list[float | None] = [None] if len(dose_krad) else []
    for place in range(1, len(dose_krad)):
        step = time_s[place] - time_s[place - 1]
        rates.append((dose_krad[place] - dose_krad[place - 1]) / step if step > 0 else None)
    return rates
