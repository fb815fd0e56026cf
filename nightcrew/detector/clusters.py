"""Temperatures (and other numbers) that belong together: cut at gaps, and chains of small steps (a ramp) cut where they get too wide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

GAP_K = 0.5
WIDEST = 3.0  # gaps: no cluster spans more; a temperature that is held to 0.2 K (rms) is one


def clusters(temperatures_c: Sequence[float] | NDArray[np.float64], *, gap_k: float = GAP_K) -> list[NDArray[np.int64]]:
    """Places of the frames of each cluster of temperature, from cold to warm.

    Split where neighbours lie further apart than ``gap_k``, and where a chain of neighbours spans more than three of it.
    """
    t = np.asarray(temperatures_c, np.float64)
    order = np.argsort(t, kind="stable")
    found = []
    for chain in np.split(order, np.flatnonzero(np.diff(t[order]) > gap_k) + 1):
        found += [np.sort(chain[part]) for part in narrow_parts(t[chain].tolist(), within(WIDEST * gap_k))]
    return found


def within(width: float) -> Callable[[Sequence[float]], bool]:
    """Whether ascending values span no more than a width."""
    return lambda values: values[-1] - values[0] <= width * (1 + 1e-9)


def narrow_parts(values: Sequence[float], fits: Callable[[Sequence[float]], bool]) -> list[slice]:
    """Parts of ascending values, in order: halved at the widest step of their middle half until each one ``fits``."""
    found: list[slice] = []
    waiting = [(0, len(values))] if values else []
    while waiting:
        start, stop = waiting.pop()
        if stop - start < 2 or values[start] == values[stop - 1] or fits(values[start:stop]):
            found.append(slice(start, stop))
            continue
        cut = _cut(values, start, stop)
        waiting += [(cut, stop), (start, cut)]
    return found


def _cut(values: Sequence[float], start: int, stop: int) -> int:
    low, high = values[start], values[stop - 1]

    def rank(place: int) -> tuple[bool, float, float]:
        step, off = values[place] - values[place - 1], abs(values[place] + values[place - 1] - low - high) / 2
        return step > 0 and off <= (high - low) / 4, round(step / (high - low), 6), -off

    return max(range(start + 1, stop), key=rank)
