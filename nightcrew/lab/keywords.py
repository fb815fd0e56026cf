"""What is known about one raw frame, as header keywords: configuration < log < (only where nothing else says it) file name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import RejectedInput
from nightcrew.io.cardtext import Card
from nightcrew.io.headers import HeaderValue
from nightcrew.io.source import shown
from nightcrew.lab.attempts import Attempt
from nightcrew.lab.config import Entry, LabConfig, absent_config, read_config
from nightcrew.lab.logs import ALIASES, COMMENTS, DIMENSIONS, FrameLog, bare, in_keyword_unit, read_log, split_unit
from nightcrew.lab.names import tokens_of

# The file's own structure and what the reader itself says: a configuration cannot set them.
_STRUCTURAL_RE = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|EXTEND|END|XTENSION|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|BUNIT|CHECKSUM|DATASUM|EXTNAME|COMMENT|HISTORY"
    r"|CONTINUE|HIERARCH|CALTYPE|BADSIZE|FILETEMP|FRAMENUM|RAWFILE|BITSHIFT|RAWORDER|RAWSKIP|INHERIT|"
)
_NAME_OF = {alias: keyword for keyword, aliases in ALIASES.items() for alias in aliases}


@dataclass(frozen=True, slots=True)
class AttemptNotes:
    """Configuration and log of an attempt, read; ``log`` is None where there is none that can be used.  ``warnings`` for people."""

    config: LabConfig
    log: FrameLog | None
    warnings: tuple[str, ...]


def read_notes(attempt: Attempt) -> AttemptNotes:
    """Read configuration and log of an attempt; RejectedInput when the configuration cannot be used (without it no pixel can be placed)."""
    config = read_config(attempt.config) if attempt.config else absent_config()
    warnings = list(config.warnings)
    log = None
    if attempt.log is None:
        warnings.append("there is no log; temperature and exposure come from names where they state them")
    else:
        try:
            log = read_log(attempt.log)
            warnings += log.warnings
        except RejectedInput as error:
            warnings.append(f"{error}; the log was not used")
    return AttemptNotes(config, log, tuple(f"{attempt.label}: {warning}" for warning in warnings))


def frame_keywords(raw: Path, notes: AttemptNotes, caltype: str) -> tuple[dict[str, HeaderValue], list[str]]:
    """Keywords of one raw frame (EXPTIME s, TEMP C; None: written in the log, but not a number) and warnings about them."""
    tokens = tokens_of(raw.name)
    values, warnings = config_keywords(notes.config)
    if caltype:
        values["CALTYPE"] = caltype
    if tokens.frame is None:
        warnings.append(f"{shown(raw)}: has no frame number in its name, so the log says nothing about it")
    elif notes.log is not None:
        row = notes.log.by_frame.get(tokens.frame)
        if row is None:
            warnings.append(f"{shown(raw)}: the log has no row for frame {tokens.frame}")
        else:
            values |= {key: value for key, value in row.values.items() if value is not None or key not in values}
    if tokens.frame is not None:
        values.setdefault("FRAMENUM", tokens.frame)
    if values.get("EXPTIME") is None and tokens.exposure_s is not None:
        values["EXPTIME"] = tokens.exposure_s
    if tokens.temperature_c is not None:
        values["FILETEMP"] = tokens.temperature_c
    return values, warnings


def config_keywords(config: LabConfig) -> tuple[dict[str, HeaderValue], list[str]]:
    """Entries of a configuration as keywords; names that FITS keeps for itself become ``CONFIG <NAME>`` (a HIERARCH card)."""
    values: dict[str, HeaderValue] = {}
    warnings = []
    for name, entry in config.entries.items():
        known = _NAME_OF.get(bare(name), "")
        keyword = known or re.sub(r"[^A-Z0-9_-]", "", re.sub(r"\s+", "_", name.upper()))
        value = entry.value
        if keyword in ("EXPTIME", "REXPTIME"):
            seconds = _in_unit(entry, keyword, split_unit(name)[1] or entry.unit or "?")
            if seconds is None:
                warnings.append(f"the configuration's {name} states no unit and was not taken as exposure")
                keyword = f"CONFIG {keyword}"
            else:
                value = seconds
        elif known in DIMENSIONS:
            value = _in_unit(entry, known, split_unit(name)[1] or entry.unit)
            if value is None:
                warnings.append(
                    f"the configuration's {name} = {entry.value!s:.40} {entry.unit} is no number of a unit that is known; undefined"
                )
        elif _STRUCTURAL_RE.fullmatch(keyword):
            warnings.append(f"the configuration's {name!r:.40} is a name that FITS needs itself; kept as CONFIG {keyword}")
            keyword = f"CONFIG {keyword or 'ENTRY'}"
        values[keyword[:40]] = value
    return values, warnings


def _in_unit(entry: Entry, keyword: str, unit: str) -> float | None:
    if isinstance(entry.value, bool) or not isinstance(entry.value, int | float):
        return None
    return in_keyword_unit(float(entry.value), keyword, unit)


def to_cards(values: dict[str, HeaderValue], config: LabConfig) -> list[Card]:
    """Cards in the order of ``values``, numbers as numbers, units in the comments; undefined values stay undefined."""
    units = {re.sub(r"[^A-Z0-9_-]", "", re.sub(r"\s+", "_", name.upper())): entry.unit for name, entry in config.entries.items()}
    cards: list[Card] = []
    for keyword, value in values.items():
        comment = "deg C, by the file's name" if keyword == "FILETEMP" else COMMENTS.get(keyword, "") or units.get(keyword, "")
        if keyword == "CALTYPE":
            comment = "what the frame is for"
        cards.append((keyword, value, comment if value is not None else f"not a finite number in the log; {comment}"))
    return cards
