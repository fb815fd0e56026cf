"""The header record of a combination: GODO's keywords, and times and exposures that mean something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nightcrew.io.cardtext import Card
from nightcrew.io.headers import HeaderValue
from nightcrew.tools.times import exposure_s, iso_utc, mjd, number_of, start_time

STALE = frozenset(
    {"DATE-OBS", "DATEOBS", "DATE_OBS", "DATE-BEG", "DATE-END", "DATE-AVG", "DATE", "MJD-OBS", "MJD-BEG", "MJD-END", "MJD-AVG", "MJD"}
    | {"JD", "JD-OBS", "JD-HELIO", "HJD", "BJD", "TIME-OBS", "TIME_OBS", "UT-OBS", "UTC-OBS", "UTSTART", "UT-START", "UT", "UTC"}
    | {"TIME-BEG", "TIME-END", "LST", "ST", "AIRMASS", "SECZ", "HA", "ZD", "ALT-OBS", "AZ-OBS"}
    | {"EXPTIME", "EXPOSURE", "EXP_TIME", "EXPOS", "TEXPTIME", "NCOMBINE", "SWCREATE"}
)
"""Cards of the first frame that would be wrong for the whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """How the frames were combined, in GODO's words."""

    name: str
    argument: str = ""
    clip: str = "none"
    clip_argument: str = ""
    normalisation: str = "none"
    bit_shift: int = 0
    unit_level: float | None = None
    frames_of_cube: int | None = None


def record(
    frames: Sequence[tuple[str, Mapping[str, HeaderValue]]],
    method: Method,
    *,
    weights: Sequence[float] | None = None,
    n_frames: int | None = None,
) -> list[Card]:
    """Cards of a combination of ``frames`` (file name, header), in order; ``n_frames`` where a file holds several of them.

    GODO's: ``IMC_nnnn`` the file and ``IMCDnnnn`` its own date (counted from 0), ``IMC_NFIL``, ``IMC_MTHD``, ``IMC_MARG``,
    ``IM_BSHFT``, ``IMC_CLIP``, ``IMC_CARG``, ``IMC_UNIT`` (the mean that was divided out), ``IMCF0000`` (frames of a cube).
    And ``NCOMBINE``, the frames (planes) combined; ``EXPTIME``, the exposure that a pixel stands for: (weighted) mean, total for a sum;
    ``TEXPTIME``, the total; ``DATE-OBS`` and ``DATE-END``, first start and last end; ``DATE-AVG`` and ``MJD-AVG``, the mean of the
    mid-times weighted by exposure (and weight).
    """
    cards: list[Card] = []
    for number, (name, header) in enumerate(frames):
        start = start_time(header)
        cards.append((f"IMC_{number:04d}", name, "file combined"))
        cards.append((f"IMCD{number:04d}", iso_utc(start) if start else "UNKNOWN", "its start (UTC)"))
    cards += [*_method_cards(method, len(frames)), ("NCOMBINE", n_frames or len(frames), "number of frames combined")]
    weight = list(weights) if weights is not None else [1.0] * len(frames)
    headers = [header for _, header in frames]
    return cards + _exposure_cards(headers, weight, is_sum=method.name == "sum") + _time_cards(headers, weight) + _airmass(headers)


def _method_cards(method: Method, count: int) -> list[Card]:
    cards: list[Card] = [("IMC_NFIL", count, "number of files combined"), ("IMC_MTHD", method.name, "method")]
    optional: list[tuple[str, HeaderValue, str, bool]] = [
        ("IMC_MARG", method.argument, "argument of the method", bool(method.argument)),
        ("IM_BSHFT", method.bit_shift, "bits shifted before all else (x 2^n)", bool(method.bit_shift)),
        ("IMC_NORM", method.normalisation, "frames brought to the first one's", method.normalisation != "none"),
        ("IMC_CLIP", method.clip, "values left out", method.clip != "none"),
        ("IMC_CARG", method.clip_argument, "argument of the clip", method.clip != "none"),
        ("IMC_UNIT", method.unit_level, "mean that was divided out", method.unit_level is not None),
        ("IMCF0000", method.frames_of_cube, "frames of the cube combined", method.frames_of_cube is not None),
    ]
    return cards + [(key, value, comment) for key, value, comment, wanted in optional if wanted]


def _exposure_cards(headers: Sequence[Mapping[str, HeaderValue]], weights: Sequence[float], *, is_sum: bool) -> list[Card]:
    known = [exposure_s(header) for header in headers]
    exposures = [value for value in known if value is not None]
    if len(exposures) < len(known):
        return []
    total = sum(exposures)
    mean = sum(w * t for w, t in zip(weights, exposures, strict=True)) / sum(weights) if sum(weights) else total / len(exposures)
    kind = "total" if is_sum else "mean"
    return [("EXPTIME", total if is_sum else mean, f"[s] {kind} exposure"), ("TEXPTIME", total, "[s] total exposure")]


def _time_cards(headers: Sequence[Mapping[str, HeaderValue]], weights: Sequence[float]) -> list[Card]:
    starts = [start_time(header) for header in headers]
    exposures = [exposure_s(header) for header in headers]
    times = [start for start in starts if start is not None]
    if not times:
        return []
    cards: list[Card] = [("DATE-OBS", iso_utc(min(times)), "first start (UTC)")]
    spans = [(start, span) for start, span in zip(starts, exposures, strict=True) if start is not None and span is not None]
    if len(spans) < len(headers):
        return cards
    cards.append(("DATE-END", iso_utc(max(start + timedelta(seconds=span) for start, span in spans)), "last end (UTC)"))
    middle = _middle(spans, weights)
    return [*cards, ("DATE-AVG", iso_utc(middle), "mean mid-time (UTC)"), ("MJD-AVG", round(mjd(middle), 9), "[d] mean mid-time")]


def _middle(spans: Sequence[tuple[datetime, float]], weights: Sequence[float]) -> datetime:
    """Mean of the mid-times weighted by weight x exposure (by weight alone where all exposures are 0)."""
    shares = [w * span for w, (_, span) in zip(weights, spans, strict=True)]
    if not sum(shares):
        shares = list(weights) if sum(weights) else [1.0] * len(spans)
    first = min(start for start, _ in spans)
    offsets = [(start - first).total_seconds() + span / 2 for start, span in spans]
    return first + timedelta(seconds=sum(share * s for share, s in zip(shares, offsets, strict=True)) / sum(shares))


def _airmass(headers: Sequence[Mapping[str, HeaderValue]]) -> list[Card]:
    known = [number_of(header.get("AIRMASS")) for header in headers]
    values = [value for value in known if value is not None]
    return [("AIRMASS", sum(values) / len(values), "mean of the frames")] if len(values) == len(known) else []
