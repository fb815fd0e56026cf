"""What each flat of a night is corrected with before flats are combined: a dark, bias and rate, a laboratory's models, or a bias alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.rows import FrameRow, worst
from nightcrew.planning.associate import need_of
from nightcrew.planning.builder import Builder
from nightcrew.planning.groups import BIAS_TAKEN_OFF, exposure_text
from nightcrew.planning.light_models import GRADE, ModelChoice, choose_model
from nightcrew.planning.model import Choice

Correction = tuple[dict[str, str], str, tuple[str, ...], str, tuple[Choice, ...]]
_BY_MODEL = "made by the model"  # what the sentence about the flats says already


def correction_of(builder: Builder, frame: FrameRow) -> Correction:
    """(role -> fingerprint, grade, reasons, what is missing, choices) of the dark correction of a flat.

    Exact dark: A or B by temperature and age; where its bias is removed, with the bias or its model.  Otherwise bias and the
    thermal rate scaled to the flat's exposure: B, since a flat's dark signal is small against its light.  With models of a
    laboratory (where the rules allow it), or with a bias alone: C.  Nothing: D.
    """
    header, choose = frame.header, builder.association.choose
    dark = choose(need_of("dark_master", header))
    bias = choose(need_of("bias_master", header))
    text = exposure_text(header.exposure_s)
    if header.bias_subtracted:
        return _bias_is_off(builder, header, dark)
    if dark.found:
        roles = {"dark": dark.fingerprint}
        if builder.facts_of_choice(dark.fingerprint).get("bias") == "kept":
            return roles, dark.grade, dark.reasons, "", (dark,)
        if bias.found:
            return {**roles, "bias": bias.fingerprint}, worst(dark.grade, bias.grade), (*dark.reasons, *bias.reasons), "", (dark, bias)
        model = _model_of(builder, header, "bias")
        if model.fingerprint:
            roles["bias_model"] = model.fingerprint
            return roles, worst(dark.grade, model.grade), (*dark.reasons, *model.reasons), "bias", (dark, bias)
    thermal = choose(need_of("thermal_master", header))
    if bias.found and thermal.found and header.exposure_s is not None:
        grade = worst("B", bias.grade, thermal.grade)
        reasons = (f"flats of {text}: dark scaled from the thermal rate", *bias.reasons, *thermal.reasons)
        return {"bias": bias.fingerprint, "thermal": thermal.fingerprint}, grade, reasons, "", (dark, bias, thermal)
    missing = f"dark {text}" if bias.found else "bias" if dark.found else f"dark {text} or bias"
    return (*_without_dark(builder, header, bias), missing, (dark, bias, thermal))


def _bias_is_off(builder: Builder, header: FrameHeader, dark: Choice) -> Correction:
    """Of a flat whose bias was taken off before it came: a dark without bias, the thermal rate, or nothing."""
    told, text = f"flats of {exposure_text(header.exposure_s)}: {BIAS_TAKEN_OFF}", exposure_text(header.exposure_s)
    if dark.found:
        return {"dark": dark.fingerprint}, worst("B", dark.grade), (told, *dark.reasons), "", (dark,)
    thermal = builder.association.choose(need_of("thermal_master", header))
    if thermal.found and header.exposure_s is not None:
        return {"thermal": thermal.fingerprint}, worst("B", thermal.grade), (told, *thermal.reasons), "", (dark, thermal)
    return {}, "C", (told, f"flats of {text}: no dark"), f"dark {text} without bias", (dark, thermal)


def _model_of(builder: Builder, header: FrameHeader, what: str) -> ModelChoice:
    """The laboratory's model of the bias or dark; none, without a word, where the rules allow none."""
    rules = builder.snapshot.rules
    if (rules.bias_missing if what == "bias" else rules.dark_missing) != "model":
        return ModelChoice("", "D", ())
    return choose_model(builder.snapshot.models, rules, header, what)


def _without_dark(builder: Builder, header: FrameHeader, bias: Choice) -> tuple[dict[str, str], str, tuple[str, ...]]:
    """(roles, grade, reasons) with a bias or its model, and with the dark's model where that makes the grade no worse."""
    said = f"flats of {exposure_text(header.exposure_s)}:"
    if bias.found:
        roles, grade, reasons = {"bias": bias.fingerprint}, bias.grade, bias.reasons
    else:
        model = _model_of(builder, header, "bias")
        if not model.fingerprint:
            return {}, "D", (f"{said} neither dark nor bias", *model.reasons)
        roles, grade, reasons = {"bias_model": model.fingerprint}, model.grade, model.reasons
    dark = _model_of(builder, header, "dark")
    with_model, without = worst(grade, dark.grade), worst(GRADE, grade)
    if dark.fingerprint and with_model <= without:
        told = [reason for reason in (*reasons, *dark.reasons) if _BY_MODEL not in reason]
        return {**roles, "dark_model": dark.fingerprint}, with_model, (f"{said} corrected by models of the laboratory", *told)
    why = "; ".join(reason for reason in dark.reasons if _BY_MODEL not in reason)
    if dark.fingerprint:
        why = f"its model would make the grade {with_model}: {why}"
    elif not why and not bias.found:
        why = "the rules allow no model of it (dark_missing)"
    return roles, without, (f"{said} no dark, bias only", *reasons, *([f"no dark: {why}"] if why else []))


_DISTANCE = re.compile(r"^(.*: )(\d+\.\d) C (from the frame's temperature)$")
_NUMBER = r"-?\d[\d.]*(?:e[+-]?\d+)?"
_ALIKE = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^(flats of )({_NUMBER})(s: .*)$",
        rf"^(.*?)(?<![\w.-])({_NUMBER})( C lies .*)$",
        rf"^(.*?)(?<![\w.-])({_NUMBER})( s is longer .*)$",
    )
)
"""Sentences that differ from flat to flat in its own exposure or temperature."""


def merged_reasons(reasons: Sequence[str]) -> list[str]:
    """One sentence a master instead of one a frame: the largest of temperature distances, the range of exposures and temperatures."""
    farthest: dict[str, tuple[float, int]] = {}
    alike: dict[tuple[str, str], set[str]] = {}
    rest: list[str] = []
    for reason in reasons:
        if found := _DISTANCE.match(reason):
            distance, count = farthest.get(found[1], (0.0, 0))
            farthest[found[1]] = (max(distance, float(found[2])), count + 1)
        elif found := next(filter(None, (pattern.match(reason) for pattern in _ALIKE)), None):
            alike.setdefault((found[1], found[3]), set()).add(found[2])
        else:
            rest.append(reason)
    said = [f"{head}up to {far:.1f} C from the temperature of {n} frames" for head, (far, n) in farthest.items()]
    said += [f"{head}{_range(numbers)}{tail}" for (head, tail), numbers in alike.items()]
    return sorted({*said, *rest})


def _range(numbers: set[str]) -> str:
    lowest, highest = min(numbers, key=float), max(numbers, key=float)
    return lowest if len(numbers) == 1 else f"{lowest} to {highest}"
