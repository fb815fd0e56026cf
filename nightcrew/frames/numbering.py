"""Which files a camera numbered and nobody ever saw: gaps in the numbers at the end of names.

No observing plan says what a camera was to take, but most cameras count their files.  A number that is absent between others
of the same series was never written, or never copied.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

LEAST_FILES = 8
"""Fewer names of one form are no series."""
MOST_ABSENT = 0.1
"""Of a series from its first to its last number; where more is absent, the digits count something else, such as seconds."""

_NUMBERED = re.compile(rb"(?P<before>(?:.*?[^0-9])?)(?P<number>[0-9]{1,7})(?P<after>(?:\.[A-Za-z][A-Za-z0-9]*)*)", re.DOTALL)
_TIME_OF_DAY = re.compile(rb"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]")
_DATE_BEFORE = re.compile(rb"[0-9]{4}.?[0-9]{2}.?[0-9]{2}[-_ T]?$", re.DOTALL)
_DIGITS_BEFORE = re.compile(rb"[0-9][-_:.hmT]?$")


def absent_numbers(paths: Iterable[bytes]) -> list[bytes]:
    """Paths that would fill the gaps of series such as ``light-001.fit, light-002.fit ...``, sorted; the order given does not matter.

    The number stands at the end of the name, before its endings.  Times of day and other digits are no numbers.
    """
    series: dict[tuple[bytes, bytes], dict[int, int]] = defaultdict(dict)
    for path in paths:
        found = _NUMBERED.fullmatch(path)
        if found is not None and not _is_time(found["before"], found["number"]):
            series[found["before"], found["after"]][int(found["number"])] = len(found["number"])
    absent: list[bytes] = []
    for (before, after), widths in series.items():
        first, last = min(widths), max(widths)
        gaps = last - first + 1 - len(widths)
        if len(widths) < LEAST_FILES or gaps > MOST_ABSENT * (last - first + 1):
            continue
        width = min(widths.values())
        absent += [before + b"%0*d" % (width, number) + after for number in range(first, last + 1) if number not in widths]
    return sorted(absent)


def _is_time(before: bytes, number: bytes) -> bool:
    if len(number) <= 2:  # the seconds of 21-30-45
        return _DIGITS_BEFORE.search(before) is not None
    return _TIME_OF_DAY.fullmatch(number) is not None and _DATE_BEFORE.search(before) is not None
