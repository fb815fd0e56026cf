"""What names of files and folders say: frame number, exposure, temperature, kind, stage, vacuum and dose.

Every pattern is anchored: ``FLAT3`` is no temperature, ``off3`` no frame, ``pressure`` no stage.  Folders count only below the
root of the data set, and the deepest one that says something wins.  Names are a fall-back; headers and logs come first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FRAME_RE = re.compile(r"(?<![A-Za-z])frame_?(\d{1,9})(?!\d)", re.IGNORECASE)
_SHORT_FRAME_RE = re.compile(r"(?<![A-Za-z])f(\d{1,9})(?![\d.]*[A-Za-z])", re.IGNORECASE)
_EXPOSURE_RE = re.compile(rf"(?<![A-Za-z])exp_?({_NUMBER})s(?![a-z])")
_TEMPERATURE_RE = re.compile(r"(?:^|[^A-Za-z]|Bias|BIAS|bias|[Dd]arks?|DARK|[Ff]lats?)T([+-]?\d+(?:\.\d+)?)(?![0-9.]*[a-z])")
_FOLDER_TEMPERATURE_RE = re.compile(r"[Tt](?:emp)?_?([+-]?\d+(?:\.\d+)?)(?:C|degC)?")
_FOLDER_EXPOSURE_RE = re.compile(rf"(?:exp_?)?({_NUMBER})\s?s", re.IGNORECASE)
_DOSE_RE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?(?:e[+-]?\d+)?)_?kR(?:ads?)?(?![A-Za-z])", re.IGNORECASE)
_KINDS = {
    "BIAS": {"bias", "biases", "zero", "testsection1"},
    "DARK": {"dark", "darks", "testsection2"},
    "FLAT": {"flat", "flats", "testsection3"},
    "OPER": {"operation", "oper"},
}
_STAGES = (
    ("pre", re.compile(r"(?:^|[^a-z])pre(?=$|[^a-z]|irr|rad)")),
    ("post", re.compile(r"(?:^|[^a-z])post(?=$|[^a-z]|irr|rad)")),
    ("radiating", re.compile(r"(?:^|[^a-z])(?:during(?=$|[^a-z]|irr|rad)|(?:ir)?radiat(?:ing|ion)(?=$|[^a-z]))")),
)
_AIR_RE = re.compile(r"(?:^|[^a-z])(?:no[-_ ]?vac(?:uum)?|atm(?:osphere)?|air)(?=$|[^a-z])")
_VACUUM_RE = re.compile(r"(?:^|[^a-z])vac(?:uum)?(?=$|[^a-z])")


@dataclass(frozen=True, slots=True)
class NameTokens:
    """Frame number, exposure (s) and temperature (C) that a file name states; None where it does not."""

    frame: int | None
    exposure_s: float | None
    temperature_c: float | None


def tokens_of(name: str) -> NameTokens:
    """Tokens of a raw frame's name, with or without its ``.raw`` or ``.fits``."""
    stem = re.sub(r"\.(raw|fits?|fit)$", "", name, flags=re.IGNORECASE)
    frame = _FRAME_RE.search(stem) or _SHORT_FRAME_RE.search(stem)
    exposure = _EXPOSURE_RE.search(stem)
    temperature = _TEMPERATURE_RE.search(stem)
    seconds = float(exposure[1]) if exposure else None
    return NameTokens(
        int(frame[1]) if frame else None,
        seconds if seconds is not None and seconds >= 0 else None,
        float(temperature[1]) if temperature else None,
    )


def _deepest(parts: Sequence[str], pattern: re.Pattern[str], *, whole: bool = True) -> float | None:
    for part in reversed(parts):
        found = [pattern.fullmatch(part)] if whole else list(pattern.finditer(part))
        if found and found[-1]:
            return float(found[-1][1])
    return None


def folder_temperature_c(parts: Sequence[str]) -> float | None:
    """Temperature of the deepest folder called ``T<number>``; ``parts`` are the folders below the root."""
    return _deepest(parts, _FOLDER_TEMPERATURE_RE)


def folder_exposure_s(parts: Sequence[str]) -> float | None:
    """Exposure of the deepest folder called ``<number>s``."""
    return _deepest(parts, _FOLDER_EXPOSURE_RE)


def folder_dose_krad(parts: Sequence[str]) -> float | None:
    """Dose of the deepest folder with ``<number>kRads`` in its name (``kRad``, ``kRads``, any case)."""
    return _deepest(parts, _DOSE_RE, whole=False)


def kind_of(parts: Sequence[str]) -> str:
    """BIAS, DARK, FLAT or OPER by the deepest folder that bears such a word; "" when none does."""
    for part in reversed(parts):
        words = {word.lower() for word in re.split(r"[^A-Za-z0-9]+", part)} | {re.sub(r"[^a-z]", "", part.lower().split("_")[0])}
        for kind, names in _KINDS.items():
            if words & names:
                return kind
    return ""


def kind_of_name(name: str) -> str:
    """BIAS, DARK or FLAT by the word that a frame's name begins with; "" when it does not."""
    for kind in ("BIAS", "DARK", "FLAT"):
        if re.match(rf"{kind}s?(?![a-z])", name, re.IGNORECASE) or re.match(rf"{kind.title()}s?T", name):
            return kind
    return ""


def stage_of(parts: Sequence[str]) -> str:
    """``pre``, ``radiating`` or ``post`` by the deepest folder that says so; "" when none does."""
    for part in reversed(parts):
        for stage, pattern in _STAGES:
            if pattern.search(part.lower()):
                return stage
    return ""


def vacuum_of(parts: Sequence[str]) -> str:
    """``vacuum`` or ``air`` by the deepest folder that says so; "" when none does."""
    for part in reversed(parts):
        if _AIR_RE.search(part.lower()):
            return "air"
        if _VACUUM_RE.search(part.lower()):
            return "vacuum"
    return ""
