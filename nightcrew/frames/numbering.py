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

_NUMBERED = re.compile(rb"(?P<before>(?:.*?[^0-9])?)(?P<number>[0-9]{3,7})(?P<after>(?:\.[A-Za-z][A-Za-z0-9]*)*)", re.DOTALL)
_TIME_OF_DAY = re.compile(rb"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]")
_DATE_BEFORE = re.compile(rb"[0-9]{4}.?[0-9]{2}.?[0-9]{2}[-_ T]?$", re.DOTALL)


def absent_numbers(paths: Iterable[bytes]) -> list[bytes]:
    """Paths that would fill the gaps of series such as ``light-001.fit, light-002.fit ...``, sorted; the order given does not matter.

    The number stands at the end of the name, before its endings, with leading zeros: as many digits in every name.  Times of day are
    no numbers.  A number that another series of the folder has is not absent where both have none in common: they share one counter.
    """
    series: dict[tuple[bytes, bytes, int], set[int]] = defaultdict(set)
    for path in paths:
        found = _NUMBERED.fullmatch(path)
        if found is not None and not _is_time(found["before"], found["number"]):
            series[found["before"], found["after"], len(found["number"])].add(int(found["number"]))
    folders: dict[bytes, list[set[int]]] = defaultdict(list)
    for (before, _, _), numbers in series.items():
        folders[before.rpartition(b"/")[0]].append(numbers)
    absent: list[bytes] = []
    for (before, after, width), numbers in series.items():
        span = max(numbers) - min(numbers) + 1
        if len(numbers) < LEAST_FILES or span - len(numbers) > MOST_ABSENT * span:
            continue  # before the gaps are counted out: two names may lie millions apart
        gaps = set(range(min(numbers), max(numbers) + 1)) - numbers
        for others in folders[before.rpartition(b"/")[0]]:
            if others.isdisjoint(numbers):
                gaps -= others
        absent += [before + b"%0*d" % (width, number) + after for number in gaps]
    return sorted(absent)


def _is_time(before: bytes, number: bytes) -> bool:
    return _TIME_OF_DAY.fullmatch(number) is not None and _DATE_BEFORE.search(before) is not None
