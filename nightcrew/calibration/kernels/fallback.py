"""The combine kernel in plain numpy: always works, and is the definition that the C kernel is held to.

Sums are taken over the *sorted* column, of deviations from its median, in float64 and always in the same order: the
result does not depend on the order of the frames, and for integers every sum is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.network import MAXIMUM_ONLY, MINIMUM_ONLY, comparators
from nightcrew.calibration.kernels.slab import FrameRows, OutRows, needs_frames, sort_type
from nightcrew.calibration.kernels.weighted import FrameSums, frame_sums, weighted_error, weighted_mean
from nightcrew.calibration.methods import DropExtremes, Rule, SigmaClip, error_factors
from nightcrew.frames.flags import PixelFlag

BLOCK_BYTES = 1 << 20  # of the sorted block: measured best between 0.5 and 2 MB (second-level cache)

F8 = NDArray[np.float64]
I8 = NDArray[np.intp]


def physical(frame: FrameRows, part: slice, dtype: str) -> NDArray[Any]:
    """Values of one frame's pixels ``part`` (flat), calibrated, masked pixels as NaN; float32 or float64."""
    raw = frame.data.reshape(-1)[part]
    if frame.plain:
        values: NDArray[Any] = raw.astype(dtype)
        values += values.dtype.type(frame.zero)  # adding 0 turns -0.0 into 0.0, so that ties have one order
        return values
    work = raw.astype(np.float64)
    work += frame.zero
    saturated = work >= frame.saturation
    for plane, factor in frame.subtract:
        work -= plane.reshape(-1)[part].astype(np.float64) * factor
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if frame.divide is not None:
            work /= frame.divide.reshape(-1)[part]
        work *= frame.scale
        work += frame.shift
        values = work.astype(dtype)
        values += values.dtype.type(0)
    values[saturated] = np.nan
    if frame.mask is not None:
        values[(frame.mask.reshape(-1)[part] & frame.exclude) != 0] = np.nan
    if frame.sigma is not None:
        sigma = frame.sigma.reshape(-1)[part]
        values[~(np.isfinite(sigma) & (sigma > 0 if frame.weight_by_sigma else True))] = np.nan
    return values


def sort_rows(rows: list[NDArray[Any]], wanted: frozenset[int] | None) -> list[NDArray[Any]]:
    """Sort across the rows with a network (in place, rows are swapped with a spare one); only ``wanted`` ranks are right."""
    spare = np.empty_like(rows[0])
    for i, j, what in comparators(len(rows), wanted):
        low, high = rows[i], rows[j]
        if what == MINIMUM_ONLY:
            np.minimum(low, high, out=low)
        elif what == MAXIMUM_ONLY:
            np.maximum(low, high, out=high)
        else:
            np.minimum(low, high, out=spare)
            np.maximum(low, high, out=high)
            rows[i], spare = spare, low
    return rows


class Columns:
    """A block of sorted columns: rows [n_frames][pixels], how many values are good, and which of them survive [a, b)."""

    def __init__(self, rows: list[NDArray[Any]], good: I8 | None, base: float) -> None:
        """``good`` counts the good values of each column (``None``: all of them); ``base`` is added to every value."""
        self.rows, self.base = rows, base
        self.n_frames, self.size = len(rows), rows[0].size
        self.good = np.full(self.size, self.n_frames) if good is None else good
        self.a: I8 = np.zeros(self.size, dtype=np.intp)
        self.b: I8 = self.good.copy()
        self._stack: NDArray[Any] | None = None

    @property
    def n(self) -> I8:
        """Number of survivors of each column."""
        return self.b - self.a

    def at(self, rank: I8) -> F8:
        """The value at each column's ``rank``, without ``base``; rank is clipped into the column."""
        safe = np.clip(rank, 0, self.n_frames - 1)
        if np.all(safe == safe[0]):
            return self.rows[int(safe[0])].astype(np.float64)
        if self._stack is None:
            self._stack = np.stack(self.rows)
        chosen: F8 = np.take_along_axis(self._stack, safe[None], axis=0)[0].astype(np.float64)
        return chosen

    def median(self) -> F8:
        """Median of the survivors, without ``base``."""
        middle = self.at(self.a + (self.n - 1) // 2)
        with np.errstate(invalid="ignore"):
            middle += self.at(self.a + self.n // 2)
        middle *= 0.5
        return middle

    def keep(self, columns: NDArray[np.bool_]) -> Columns:
        """The chosen columns alone."""
        part = Columns([row[columns] for row in self.rows], self.good[columns], self.base)
        part.a, part.b = self.a[columns], self.b[columns]
        return part

    def moments(self, centre: F8) -> tuple[F8, F8]:
        """Sum and sum of squares of the survivors' deviations from ``centre``, added up in sorted order."""
        s1, s2 = np.zeros(self.size), np.zeros(self.size)
        everything = bool(np.all(self.n == self.n_frames))
        for i, row in enumerate(self.rows):
            with np.errstate(invalid="ignore"):
                deviation = row.astype(np.float64) - centre
            if not everything:
                deviation = np.where((i >= self.a) & (i < self.b), deviation, 0.0)
            s1 += deviation
            s2 += deviation * deviation
        return s1, s2


def clip_sigma(columns: Columns, clip: SigmaClip, centre: F8) -> None:
    """Move a and b of every column to what sigma clipping leaves (definition: ``SigmaClip``)."""
    active = np.flatnonzero(columns.n > 1)
    low2, high2 = clip.low * clip.low, clip.high * clip.high
    for _ in range(clip.iterations):
        if active.size == 0:
            return
        chosen = np.zeros(columns.size, dtype=bool)
        chosen[active] = True
        part = columns.keep(chosen)
        s1, s2 = part.moments(centre[active])
        n = part.n.astype(np.float64)
        spread = n * s2 - s1 * s1  # n^2 times the variance
        changed = _trim(part, part.median(), n * n, low2 * spread, high2 * spread)
        columns.a[active], columns.b[active] = part.a, part.b
        active = active[changed & (part.n > 0)]


def _trim(part: Columns, middle: F8, n2: F8, low_limit: F8, high_limit: F8) -> NDArray[np.bool_]:
    """Trim both ends while the squared deviation times n^2 is over the limit; True where something went."""
    before = part.n.copy()
    for end, limit, sign in ((0, low_limit, -1.0), (1, high_limit, 1.0)):
        while True:
            deviation = part.at(part.a if end == 0 else part.b - 1) - middle
            out = (part.n > 0) & (deviation * sign > 0) & (deviation * deviation * n2 > limit)
            if not out.any():
                break
            if end == 0:
                part.a[out] += 1
            else:
                part.b[out] -= 1
    changed: NDArray[np.bool_] = part.n != before
    return changed


def combine_rows(frames: list[FrameRows], rule: Rule, out: OutRows) -> None:
    """Combine the rows of all frames into ``out`` by ``rule``; see ``nightcrew.calibration.combine.combine``."""
    kind = sort_type(frames, rule)
    size = frames[0].data.size
    block = max(1024, BLOCK_BYTES // (len(frames) * int(kind[1])))
    for start in range(0, size, block):
        part = slice(start, min(size, start + block))
        columns, values = _columns(frames, part, kind, rule, out)
        _finish(columns, values, frames, rule, out, part)


def _columns(frames: list[FrameRows], part: slice, kind: str, rule: Rule, out: OutRows) -> tuple[Columns, list[NDArray[Any]]]:
    """Load, mask and sort one block; also the unsorted values where the rule needs to know the frames."""
    if kind == "i2":
        wide = frames[0].kind == "u2"
        rows = [_as_int16(frame, part) for frame in frames]
        wanted = None if out.uncertainty is not None else rule.ranks(len(rows))
        return Columns(sort_rows(rows, wanted), None, 32768.0 if wide else 0.0), []
    rows = [physical(frame, part, kind) for frame in frames]
    values = [row.copy() for row in rows] if needs_frames(frames, rule) else []
    bad = [~np.isfinite(row) for row in rows]
    good: I8 | None = None
    if any(flags.any() for flags in bad):
        for row, flags in zip(rows, bad, strict=True):
            row[flags] = np.inf
        good = np.sum(~np.array(bad), axis=0, dtype=np.intp)
    wanted = None if out.uncertainty is not None or good is not None else rule.ranks(len(rows))
    return Columns(sort_rows(rows, wanted), good, 0.0), values


def _as_int16(frame: FrameRows, part: slice) -> NDArray[np.int16]:
    """Narrow integers as int16 (uint16 less 32768)."""
    raw = frame.data.reshape(-1)[part]
    if raw.dtype.str[1:] == "u2":
        return (raw.astype(np.uint16) ^ np.uint16(0x8000)).view(np.int16)
    return raw.astype(np.int16)


def _finish(columns: Columns, values: list[NDArray[Any]], frames: list[FrameRows], rule: Rule, out: OutRows, part: slice) -> None:
    """Clip, reduce, and write the planes of one block."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centre = np.where(columns.good > 0, columns.median(), 0.0) if rule.ranks(1) is None or out.uncertainty is not None else None
        if isinstance(rule.clip, SigmaClip) and centre is not None:
            clip_sigma(columns, rule.clip, centre)
        elif isinstance(rule.clip, DropExtremes):
            columns.a = np.minimum(columns.a + rule.clip.low, columns.good)
            columns.b = np.maximum(columns.b - rule.clip.high, columns.a)
        moments = columns.moments(centre) if centre is not None and (rule.needs_moments() or out.uncertainty is not None) else None
        n = columns.n.astype(np.float64)
        sums = frame_sums(values, frames, part, columns, centre, rule) if values and centre is not None else None
        result = _result(columns, rule, centre, moments, n, sums)
        result[columns.n == 0] = np.nan
        out.result.reshape(-1)[part] = result
        if out.uncertainty is not None and centre is not None and moments is not None:
            out.uncertainty.reshape(-1)[part] = _uncertainty(columns, rule, centre, moments, n, sums)
    if out.count is not None:
        out.count.reshape(-1)[part] = columns.n
    if out.mask is not None:
        flags = np.where(columns.good == 0, PixelFlag.NO_DATA.value, np.where(columns.n == 0, PixelFlag.REJECTED.value, 0))
        out.mask.reshape(-1)[part] = flags


def _result(columns: Columns, rule: Rule, centre: F8 | None, moments: tuple[F8, F8] | None, n: F8, sums: FrameSums | None) -> F8:
    """The method applied to the survivors."""
    base = columns.base
    if rule.method == "weighted_mean" and sums is not None and centre is not None:
        return weighted_mean(sums, centre)
    if moments is not None and centre is not None and rule.needs_moments():
        s1, s2 = moments
        origin = centre + base
        if rule.method in ("mean", "sum"):
            total = n * origin + s1
            return total if rule.method == "sum" else total / n
        if rule.method == "root_mean_square":
            return np.sqrt((s2 + 2.0 * origin * s1 + n * (origin * origin)) / n)
        variance = np.maximum(n * s2 - s1 * s1, 0.0) / (n * n)
        return variance if rule.method == "var" else np.sqrt(variance)
    if rule.method in ("min", "max"):
        return columns.at(columns.a if rule.method == "min" else columns.b - 1) + base
    if rule.method == "median":
        return columns.median() + base
    rank = rule.quantile * (n - 1.0)
    below = np.floor(rank)
    low = columns.at(columns.a + below.astype(np.intp))
    high = columns.at(columns.a + np.ceil(rank).astype(np.intp))
    return low + (rank - below) * (high - low) + base


def _uncertainty(columns: Columns, rule: Rule, centre: F8, moments: tuple[F8, F8], n: F8, sums: FrameSums | None) -> F8:
    """One standard deviation of the result (formulae: ``Combined.uncertainty``)."""
    s1, s2 = moments
    if sums is not None and (rule.method == "weighted_mean" or sums.propagated is not None):
        own = weighted_error(sums, n)
        if rule.method == "sum":
            own *= n
        elif rule.method != "weighted_mean":
            own *= error_factors(rule, columns.n_frames)[columns.n]
        own[columns.n < (1 if sums.propagated is not None else 2)] = np.nan
        return own
    spread = np.maximum(n * s2 - s1 * s1, 0.0)
    variance = spread / (n * n * (n - 1.0))
    if isinstance(rule.clip, DropExtremes):
        variance = _winsorised(columns, rule.clip, centre, moments, n)
    if rule.method == "sum":
        sigma = np.sqrt(variance) * n
    elif rule.method == "std":
        sigma = np.sqrt(variance / 2.0)
    elif rule.method == "var":
        sigma = variance * np.sqrt(2.0 * (n - 1.0))
    elif rule.method == "root_mean_square":
        origin = centre + columns.base
        square = (s2 + 2.0 * origin * s1 + n * (origin * origin)) / n
        mean = (n * origin + s1) / n
        sample = variance * n
        sigma = np.sqrt((2.0 * sample * sample + 4.0 * mean * mean * sample) / n) / (2.0 * np.sqrt(square))
    else:
        sigma = np.sqrt(variance) * error_factors(rule, columns.n_frames)[columns.n]
    sigma[columns.n < 2] = np.nan
    return sigma


def _winsorised(columns: Columns, clip: DropExtremes, centre: F8, moments: tuple[F8, F8], n: F8) -> F8:
    """Variance of a trimmed mean (Tukey & McLaughlin 1963): dropped values count as their nearest survivors."""
    low = columns.at(columns.a) - centre
    high = columns.at(columns.b - 1) - centre
    s1 = moments[0] + clip.low * low + clip.high * high
    s2 = moments[1] + clip.low * low * low + clip.high * high * high
    whole = n + (clip.low + clip.high)
    return np.maximum(whole * s2 - s1 * s1, 0.0) / (whole * n * (n - 1.0))
