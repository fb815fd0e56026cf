"""The kind of a frame: by its header, by its file name only where the profile says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath

from nightcrew.frames.lookup import Lookup
from nightcrew.frames.model import KINDS, FrameKind
from nightcrew.frames.profiles import NamePattern, Profile, Values, canonical_value
from nightcrew.frames.text import clean_text, parse_number

_SUFFIXES = ("frames", "frame", "images", "image", "exposure", "img")
_BLANK = frozenset({"unknown", "none", "na", "undefined", "unspecified", "notset", "0"})
_LEFT_OUT = ("F", "N", "NO", "NONE", "FALSE", "OFF", "OMIT", "PERFORM", "SKIPPED", "DISABLED", "NOT DONE", "NOT APPLIED", "0")
_NOT_DONE = frozenset((*_LEFT_OUT, "UNKNOWN", "UNDEFINED", "N/A", "NULL", "-"))  # how IRAF and others say that a step was left out
_OUR_PRODUCT = "NCRECIPE"  # no profile can switch this off: products are never inputs of their own kind
UNKNOWN_TYPE = "no frame type"  # stands in the reason of every frame that a profile could make useful
_MADE_ELSEWHERE = ("master", "super", "combined", "stacked")


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of a frame; ``reason`` says why when it is ``other``."""

    kind: FrameKind
    reason: str = ""


def kind_of(lookup: Lookup, profile: Profile, path: str) -> Kind:
    """The kind of the frame at ``path``; conflicts between header and name go to the notes of ``lookup``."""
    header, shown = _by_header(lookup, profile)
    named = _by_name(profile, path)
    if header.kind == "other" and header.reason:
        return header
    if not shown:
        return _without_type(lookup, profile, named)
    if named is None or named.kind == header.kind:
        return header
    if named.use == "replace" and header.kind in named.header:
        lookup.note(f"{shown} in the header, {named.kind} by the {_what(named)}, which profile {profile.name} takes")
        return Kind(named.kind)
    lookup.note(f"the {_what(named)} suggests {named.kind}, the header says {header.kind} ({shown}): the header is taken")
    return header


def _what(named: NamePattern) -> str:
    return "file name" if named.part == "name" else "folder name"


def _by_header(lookup: Lookup, profile: Profile) -> tuple[Kind, str]:
    """Kind and card (``"IMAGETYP 'Dark Frame'"``) of the first type keyword that is understood; the card is "" without one."""
    unknown, chosen, shown = "", Kind("other"), ""
    for found in lookup.all(profile.keywords.kind):
        text = clean_text(found.value)
        kind = spelled_kind(found.keyword, text, profile.values)
        if kind is None and canonical_value(text) in _BLANK:
            continue
        if kind is None:
            unknown = unknown or found.shown
        elif not shown:
            chosen, shown = _described(kind, found.shown), found.shown
        elif kind != chosen.kind and "other" not in (kind, chosen.kind):
            lookup.note(f"{found.shown} contradicts {shown}, which is taken")
    if not shown and unknown:
        return Kind("other", f"{unknown} is {UNKNOWN_TYPE} that profile {profile.name} knows"), unknown
    return chosen, shown


def _described(kind: FrameKind, shown: str) -> Kind:
    return Kind(kind, f"{shown}: not a frame that is reduced here" if kind == "other" else "")


def spelled_kind(keyword: str, text: str, values: Values) -> FrameKind | None:
    """The kind that ``text`` in ``keyword`` means: ``"Bias Frame"``, ``"FLAT-FIELD"``, ``"zero"``, PICTTYPE 3; None when unknown.

    Masters made elsewhere are ``other``: a product is never an input of its own kind.
    """
    spelled = canonical_value(text)
    kinds = values.kinds
    for candidate in (f"{keyword}={spelled}", *_shorter(spelled)):
        if candidate in kinds:
            return kinds[candidate]
    return "other" if spelled.startswith(_MADE_ELSEWHERE) else None


@lru_cache(maxsize=4096)
def _shorter(spelled: str) -> tuple[str, ...]:
    """The spelling and what is left of it without ``frame`` or ``image`` and a plural s."""
    stem = next((spelled.removesuffix(end) for end in _SUFFIXES if spelled.endswith(end) and spelled != end), spelled)
    return tuple(dict.fromkeys((spelled, stem, stem.removesuffix("s"), stem.removesuffix("es"))))


def _by_name(profile: Profile, path: str) -> NamePattern | None:
    """The pattern that the file name (or the name of its folder) fits; None when none does or they contradict each other."""
    name, folder = PurePath(path).name, PurePath(path).parent.name
    fitting = [p for p in profile.filename.kind if _pattern(p.pattern).search(name if p.part == "name" else folder)]
    strong = [p for p in fitting if p.use != "note"] or fitting
    by_file = [p for p in strong if p.part == "name"] or strong
    return by_file[0] if len({p.kind for p in by_file}) == 1 else None


@lru_cache(maxsize=512)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _without_type(lookup: Lookup, profile: Profile, named: NamePattern | None) -> Kind:
    if named is not None and named.use != "note":
        lookup.note(f"no frame type in the header: {named.kind} by the {_what(named)}, which profile {profile.name} allows")
        return Kind(named.kind)
    default = profile.values.default_kind
    if default in KINDS:
        lookup.note(f"no frame type in the header: {default} is the rule of profile {profile.name}")
        return Kind(default)
    hint = f"; the {_what(named)} suggests {named.kind}, but" if named is not None else ", and"
    return Kind("other", f"{UNKNOWN_TYPE} in the header{hint} profile {profile.name} does not take it from the name")


def own_product(lookup: Lookup) -> str:
    """Why the frame is none: Nightcrew made it ("" when it did not); a profile has no say in it."""
    return "a product of Nightcrew itself, not a raw frame" if any(_OUR_PRODUCT in hdu.cards for hdu in lookup.headers) else ""


def not_raw(lookup: Lookup, profile: Profile) -> str:
    """Why the frame has been processed already ("" for a raw frame): it must not be corrected twice, nor combined again.

    MaxIm's CALSTAT names what was done: B bias, D dark, F flat; bias alone leaves a usable frame
    (see :func:`bias_removed`).
    """
    for found in lookup.all(profile.keywords.processed):
        text = clean_text(found.value).upper()
        done = bool(set(text) & set("DFM")) if found.keyword == "CALSTAT" else _is_done(text)
        if done:
            return f"{found.shown}: the frame has been processed already, it is not raw"
    for found in lookup.all(profile.keywords.combined):
        count = parse_number(found.value)
        if count is not None and count.value > 1:
            return f"{found.shown}: combined of several frames, it is not raw"
    return ""


def _is_done(text: str) -> bool:
    """Does the value of a step's keyword, in capitals, say that the step was done?"""
    return text not in _NOT_DONE and not text.startswith(("NO ", "NOT "))


def bias_removed(lookup: Lookup, profile: Profile) -> bool:
    """Whether the camera or its program has taken the bias out."""
    for found in lookup.all(profile.keywords.bias_subtracted):
        text = clean_text(found.value).upper()
        if ("B" in text) if found.keyword == "CALSTAT" else _is_done(text):
            return True
    return False
