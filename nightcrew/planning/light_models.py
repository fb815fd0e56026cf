"""Where the detector models of a laboratory set may stand in for masters of a night, and what grade that gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightcrew.detector.set_up import differs, not_compared, set_up_of_header
from nightcrew.detector.validity import exposure_extrapolated, exposure_outside, extrapolated, temperature_outside
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.ledger.rows import ProductRow, worst
from nightcrew.planning.associate import hours_between
from nightcrew.planning.groups import known_temperature

MODEL_ROLE = "detector_model"
"""Role of a laboratory set's models among the inputs of a light or a flat master."""
GRADE = "C"
"""Best grade of a light that a model was used for."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Whether a model of bias or dark serves a frame: its fingerprint ("" where it does not), and the grade with its reasons."""

    fingerprint: str
    grade: str
    reasons: tuple[str, ...]


def choose_model(row: ProductRow | None, rules: Rules, header: FrameHeader, what: str) -> ModelChoice:
    """Use the laboratory's model of the bias or dark, grade C or the model's own where that is worse; grade D where there is none.

    Temperatures are judged and told to 0.01 C: lights of one such temperature share the decision, whichever comes first.
    """
    models = {} if row is None else row.metrics.get("models") or {}
    stated = {str(k): v for k, v in rules.laboratory_setup.items()}
    why = "it is not made" if row is None else model_fails(models, header, what, stated) or too_old(models[what], rules, header)
    if row is None or why:
        return ModelChoice(
            "", "D", (f"the {what} model of the laboratory set {rules.laboratory or '(none is named)'} cannot serve: {why}",)
        )
    known = models[what]
    reasons = [f"no {what} fits: made by the model of the laboratory set {rules.laboratory}"]
    reasons.append(not_compared(known["set_up"], set_up_of_header(header), stated))
    reasons += [f"the {what} model: {reason}" for reason in known["reasons"]]
    temperature_c = known_temperature(header)
    if temperature_c is not None:
        reasons.append(extrapolated(what, temperature_c, *known["temperatures_c"]))
    if what == "dark" and header.exposure_s is not None:
        shortest, longest = known["exposures_s"]
        reasons.append(exposure_extrapolated(header.exposure_s, (shortest, longest)))
    grade, age = age_grade(known, rules, header, what)
    return ModelChoice(row.fingerprint, worst(GRADE, str(known["grade"]), grade), tuple(filter(None, (*reasons, age))))


def _days(known: Mapping[str, Any], header: FrameHeader) -> float | None:
    """Days between the frames of a model and a frame; None where one of the times is not known."""
    taken, now = str(known.get("time_utc") or ""), header.time_utc[:13]
    return hours_between(now, taken) / 24 if taken and now else None


def age_grade(known: Mapping[str, Any], rules: Rules, header: FrameHeader, what: str) -> tuple[str, str]:
    """Grade and reason that the age of a model gives: D beyond the first of ``model_age_days``; nothing worse where it is not known."""
    days = _days(known, header)
    if days is None:
        return GRADE, f"the {what} model: its age is not known, a time is missing"
    if days <= rules.model_age_days[0]:
        return GRADE, ""
    return "D", f"the {what} model: its frames were taken {days:.0f} days from this one (limit {rules.model_age_days[0]:g} days)"


def too_old(known: Mapping[str, Any], rules: Rules, header: FrameHeader) -> str:
    """Why a model is too old for a frame: beyond the second of ``model_age_days``; "" where it is not, or its age is not known."""
    days, oldest = _days(known, header), rules.model_age_days[1]
    return f"its frames were taken {days:.0f} days from this one (limit {oldest:g} days)" if days is not None and days > oldest else ""


def model_fails(models: Mapping[str, Any], header: FrameHeader, what: str, stated: Mapping[str, str] | None = None) -> str:
    """Why the laboratory's model of the bias or dark cannot serve a frame; "" when it can.  ``models`` as ``lab_models`` tells them.

    ``stated``: what the profile says of the set-up of the laboratory's frames.
    """
    known = models.get(what)
    if known is None:
        return "the set has no such model"
    if "set_up" not in known or "grade" not in known:
        return "the set does not tell what its frames were taken with; make it again"
    temperature_c = known_temperature(header)
    if temperature_c is None or header.exposure_s is None:
        return "the frame's temperature or exposure is not known"
    if what == "dark" and header.exposure_s <= 0:
        return f"an exposure of {header.exposure_s:g} s has no dark signal"
    if header.overscan is not None:
        return "the frame has an overscan, and laboratory frames keep theirs: its level would be taken off twice"
    if what == "bias" and header.bias_subtracted:
        return "the camera took the bias off already"
    x0, x1, y0, y1 = header.trim or (0, header.nx, 0, header.ny)
    if [y1 - y0, x1 - x0] != list(known["shape"]):
        return f"the frame has {x1 - x0} x {y1 - y0} pixels, the model {known['shape'][1]} x {known['shape'][0]}"
    if other := differs(known["set_up"], set_up_of_header(header), stated or {}):
        return other
    low, high = known["temperatures_c"]
    outside = temperature_outside(what, temperature_c, low, high, no_slope=known.get("no_slope", False))
    return outside or (exposure_outside(header.exposure_s, known["exposures_s"][1]) if what == "dark" else "")
