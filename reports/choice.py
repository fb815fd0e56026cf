"""Which lights a page shows when there are more than anybody looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def chosen(items: Sequence[T], most: int, first: Callable[[T], bool]) -> list[T]:
    """At most ``most`` of ``items``, in their order and spread evenly over them; all where they are so few.

    Those for which ``first`` holds get half of the places, or all that the others leave.
    """
    if len(items) <= most:
        return list(items)
    urgent = [place for place, item in enumerate(items) if first(item)]
    others = [place for place, item in enumerate(items) if not first(item)]
    room = min(len(urgent), max(most // 2, most - len(others)))
    return [items[place] for place in sorted([*_spread(urgent, room), *_spread(others, most - room)])]


def _spread(places: Sequence[int], most: int) -> list[int]:
    count = min(most, len(places))
    return [places[number * len(places) // count] for number in range(count)]
