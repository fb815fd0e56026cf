"""``configFile.txt``: how the raw frames of an attempt are laid out, and what else the camera's program noted.

One entry a line, ``KEY = value`` or ``key: value`` in any case; blank lines and lines that start with ``#`` are skipped, others without a
separator are counted and named.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from nightcrew.errors import RejectedInput
from nightcrew.io.headers import HeaderValue
from nightcrew.io.source import shown

DEFAULT_SIDE = 2048
DEFAULT_BITS = 16
LARGEST_SIDE = 1 << 16
MOST_BYTES = 1 << 20
# What was taken is not given back (++, *+): digits without end that do not fit must not be tried in every way.
_QUANTITY_RE = re.compile(r"([+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?+)\s*+([A-Za-z%°µμ/^0-9()-]*+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a configuration: number where it is one, else text, and its unit ("" when none is written)."""

    value: HeaderValue
    unit: str = ""


@dataclass(frozen=True, slots=True)
class LabConfig:
    """A read configuration: shape of a frame (pixels), stored bits, and every entry by its name as written.

    ``warnings`` are sentences about what was assumed, repeated or not understood.
    """

    height: int = DEFAULT_SIDE
    width: int = DEFAULT_SIDE
    bit_depth: int = DEFAULT_BITS
    entries: dict[str, Entry] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def bytes_per_pixel(self) -> int:
        """2 above 8 bits, else 1."""
        return 2 if self.bit_depth > 8 else 1


def decode_text(data: bytes, name: str) -> tuple[str, list[str]]:
    """Text of a configuration or log: UTF-8 with or without byte-order mark, UTF-16 with one, else Latin-1 with a warning."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16"), []
        except UnicodeDecodeError as error:
            raise RejectedInput(f"{name}: begins as UTF-16 text and is none") from error
    if b"\0" in data:
        raise RejectedInput(f"{name}: is no text, it holds zero bytes")
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return data.decode("latin-1"), [f"{name}: is not UTF-8; read as Latin-1"]


def to_entry(text: str) -> Entry:
    """A number with its unit, ``true``/``false`` as a truth value, or the text itself."""
    found = _QUANTITY_RE.fullmatch(text)
    if found and math.isfinite(float(found[1])):
        return Entry(int(found[1]) if re.fullmatch(r"[+-]?\d{1,18}", found[1]) else float(found[1]), found[2])
    if text.lower() in ("true", "false"):
        return Entry(text.lower() == "true")
    return Entry(text)


def parse_config(text: str, name: str = "configFile.txt") -> LabConfig:
    """Read the text of a configuration; RejectedInput when WIDTH, HEIGHT or BIT_DEPTH are no usable numbers."""
    entries: dict[str, Entry] = {}
    warnings: list[str] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        key, sign, value = line.partition("=" if "=" in line else ":")
        key, value = key.strip(), value.strip()
        if not sign or not key:
            warnings.append(f"{name}: line {number} is no KEY = value and was ignored")
            continue
        if key in entries and entries[key] != to_entry(value):
            warnings.append(f"{name}: {key} stands there twice; the last value counts")
        entries[key] = to_entry(value)
    sizes: dict[str, int] = {}
    for word, default, most in (
        ("width", DEFAULT_SIDE, LARGEST_SIDE),
        ("height", DEFAULT_SIDE, LARGEST_SIDE),
        ("bitdepth", DEFAULT_BITS, 16),
    ):
        sizes[word] = _size(entries, word, default, most, name, warnings)
    return LabConfig(sizes["height"], sizes["width"], sizes["bitdepth"], entries, tuple(warnings))


def _size(entries: dict[str, Entry], word: str, default: int, most: int, name: str, warnings: list[str]) -> int:
    found = [(key, entry.value) for key, entry in entries.items() if re.sub(r"[^a-z0-9]", "", key.lower()) == word]
    if not found:
        warnings.append(f"{name}: says nothing about {word}; {default} is assumed")
        return default
    if len({value for _, value in found}) > 1:
        raise RejectedInput(f"{name}: {' and '.join(key for key, _ in found)} contradict each other")
    key, value = found[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or not 1 <= value <= most:
        raise RejectedInput(f"{name}: {key} = {value!s:.40} is no whole number from 1 to {most}")
    return int(value)


def read_config(path: Path) -> LabConfig:
    """Read a configuration file; RejectedInput when it is no text or too large."""
    name = shown(path)
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise RejectedInput(f"{name}: is larger than {MOST_BYTES} bytes and no configuration")
    text, warnings = decode_text(data, name)
    config = parse_config(text, name)
    return LabConfig(config.height, config.width, config.bit_depth, config.entries, (*warnings, *config.warnings))


def absent_config() -> LabConfig:
    """What is assumed where there is no configuration: 2048 x 2048 of 16 bits, with a warning."""
    return LabConfig(warnings=(f"there is no configFile.txt; {DEFAULT_SIDE} x {DEFAULT_SIDE} pixels of 16 bits are assumed",))
