"""For how long each pixel of an array counted: gaps of the readout, cosmic rays and pixel masks taken off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.mask_solution import PixelMasks
from nightcrew.mkid.silences import Silences

Stretches = NDArray[np.int64]
"""[n, 2]: half-open stretches of Unix microseconds."""


def lost_stretches(missing_seconds: Sequence[int]) -> Stretches:
    """Seconds without a file as stretches in order; contiguous ones are one."""
    seconds = np.unique(np.array(list(missing_seconds), dtype=np.int64))
    return joined(np.stack([seconds, seconds + 1], axis=1) * 1_000_000)


def lost_of(report: Mapping[str, Any]) -> Stretches:
    """Stretches of a table that the readout did not see, from the table's report: measured gaps, or else its missing seconds."""
    gaps = report.get("gaps_us")
    if gaps is None:
        return lost_stretches(report.get("missing_seconds", []))
    return joined(np.array(gaps, dtype=np.int64).reshape(-1, 2))


def joined(*parts: Stretches) -> Stretches:
    """Union of stretches, in order and apart from each other."""
    rows = np.concatenate([part.reshape(-1, 2) for part in parts])
    rows = rows[rows[:, 1] > rows[:, 0]]
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    reach = np.maximum.accumulate(rows[:, 1])
    begins = np.concatenate([[True], rows[1:, 0] > reach[:-1]])
    return np.stack([rows[begins, 0], np.maximum.reduceat(rows[:, 1], np.flatnonzero(begins))], axis=1)


def overlap_us(stretches: Stretches, start_us: int, stop_us: int) -> int:
    """How much of a window the stretches take."""
    return int(np.maximum(np.minimum(stretches[:, 1], stop_us) - np.maximum(stretches[:, 0], start_us), 0).sum())


def overlaps_us(stretches: Stretches, edges_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much of each of contiguous windows, whose ``edges_us`` [n + 1] ascend, stretches in order take."""
    if not len(stretches):
        return np.zeros(max(edges_us.size - 1, 0), dtype=np.int64)
    lengths = stretches[:, 1] - stretches[:, 0]
    whole = np.concatenate([[0], np.cumsum(lengths)])
    at = np.searchsorted(stretches[:, 0], edges_us, side="right") - 1
    begun = np.maximum(at, 0)
    before = np.where(at >= 0, whole[begun] + np.minimum(edges_us - stretches[begun, 0], lengths[begun]), 0)
    result: NDArray[np.int64] = np.diff(before)
    return result


def seen_s(window_us: tuple[int, int], lost: Stretches, silences: Silences) -> NDArray[np.float64]:
    """Seconds [y, x] of a window of Unix time in which the readout saw each pixel: ``lost`` and the silences of its board taken off."""
    return exposure_s(window_us, lost, silences, None, np.empty(0, dtype=np.intp))


def lost_by_board(lost: Stretches, silences: Silences) -> dict[int, Stretches]:
    """``lost`` with the silences of each board that had any."""
    return {board: joined(lost, silences.of_board(board)) for board in silences.boards}


def lost_by_pixel(lost: Stretches, silences: Silences, pixels: Iterable[int]) -> list[Stretches]:
    """For each of some pixels (y * columns + x): ``lost``, and the silences of the board that reads it."""
    own, boards = lost_by_board(lost, silences), silences.board.ravel()
    return [own.get(int(boards[pixel]), lost) for pixel in pixels]


def exposure_s(
    window_us: tuple[int, int], lost: Stretches, silences: Silences, masks: PixelMasks | None, places: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Seconds [y, x] of a window of Unix time that count for each pixel: the gaps of every pixel, and those of one board's, taken off.

    ``places`` are the flat places of the pixels in the masks, -1 for those that the masks do not know.
    """
    shape = (silences.board.shape[0], silences.board.shape[1])
    total = _exposure_s(window_us, lost, masks, places, shape)
    for pixels, silent in silences.within(*window_us):
        total[pixels] = _exposure_s(window_us, joined(lost, silent), masks, places, shape)[pixels]
    return total


def _exposure_s(
    window_us: tuple[int, int], lost: Stretches, masks: PixelMasks | None, places: NDArray[np.intp], shape: tuple[int, int]
) -> NDArray[np.float64]:
    start_us, stop_us = window_us
    if masks is None:
        return np.full(shape, max(stop_us - start_us - overlap_us(lost, start_us, stop_us), 0) / 1e6)
    edges = masks.edges_us.astype(np.int64).copy()
    edges[0], edges[-1] = min(edges[0], start_us), max(edges[-1], stop_us)  # the first and the last step hold beyond the ends
    total = np.zeros(places.size)
    for step in range(masks.bits.shape[0]):
        a, b = max(int(edges[step]), start_us), min(int(edges[step + 1]), stop_us)
        if b > a:
            good = (places < 0) | (masks.bits[step].ravel()[places] == 0)
            total += good * (b - a - overlap_us(lost, a, b)) / 1e6
    return total.reshape(shape)
