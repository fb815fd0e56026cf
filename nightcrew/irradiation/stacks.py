"""One group of frames measured: level and noise with and without hits, every frame's own numbers, and the maps of the master.

Frames are read twice, once for the histogram of each (exact median and percentiles), once in slabs of rows through the whole
stack, so that memory does not grow with the number of frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.images import ImageFile
from nightcrew.irradiation.grouping import Group
from nightcrew.irradiation.hits import StackNoise, hot_from, late_part, mean_without_hits, stack_noise_without_hits
from nightcrew.irradiation.least_squares import improbable, line
from nightcrew.irradiation.moments import Moments, Noise
from nightcrew.irradiation.open_frames import OpenFrames
from nightcrew.irradiation.outliers import SAMPLE

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
DEFAULT_MEMORY_BYTES = 192 << 20
_ROWS = 256
OWN_DRIFT = 4  # frames from which on a group tells a drift of its own
_STEADY = 0.003  # part of the hits that may be lost with pixels that only seem to have become hot
_BYTES_A_VALUE = 28  # a slab's value as float32, its sorted copy, masks and squares
_TRIMMED = (0.01, 0.80)  # part of the histogram that tells the level of a frame: hits are above it


@dataclass(frozen=True, slots=True)
class FrameNumbers:
    """Numbers of one frame in ADU: mean, median, population standard deviation, 16th and 84th percentile, extremes, trimmed level."""

    mean: float
    median: float
    std: float
    p16: float
    p84: float
    lowest: float
    highest: float
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A measured group, without its maps.  ADU; 16-bit as stored.

    ``raw_mean``, ``raw_std``: of all pixels of all frames (population).  ``noise``: temporal, hits included.  ``mean``: of the master (hits
    taken out).  ``variance``: temporal without hits (NaN for one frame).  ``level_error``, ``raw_level_error``: standard errors of both
    means, ``drift_adu``: scatter of the frames' levels beyond the noise; ``drift_chi2``, ``drift_freedom``: what the levels tell of it.
    ``hits``: values taken out, a pixel and frame.  ``late_hot_adu``: what pixels that became hot in the last frames would add to the mean,
    had they not been taken for hits; an estimate by those that became hot before (NaN: none).  ``noise`` is without pixels that became
    hot on the way, which is no noise.
    """

    group: Group
    shape: tuple[int, int]
    numbers: tuple[FrameNumbers, ...]
    raw_mean: float
    raw_std: float
    noise: Noise
    mean: float
    variance: float
    level_error: float
    raw_level_error: float
    drift_adu: float
    hits: float
    late_hot_adu: float = 0.0
    drift_chi2: float = 0.0
    drift_freedom: int = 0


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps ``[y, x]`` of a stack: mean without hits, and population standard deviation of what it was made of (0 for one frame)."""

    mean: F4
    spread: F4


def frame_numbers(path: Path) -> tuple[FrameNumbers, tuple[int, int]]:
    """Exact numbers of a frame and its shape [y, x]."""
    with ImageFile(path) as image:
        ny, nx = image.shape[-2:]
        if image.value_type == np.uint16:
            counts = np.zeros(65536, dtype=np.int64)
            for y in range(0, ny, _ROWS):
                counts += np.bincount(image.read_rows(y, min(y + _ROWS, ny)).reshape(-1), minlength=65536)
            present = np.nonzero(counts)[0]
            return _of_counts(present.astype(np.float64), counts[present]), (ny, nx)
        values = image.read().reshape(-1).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        raise RejectedInput(f"{path.name}: has no finite pixel")
    found, counts = np.unique(values, return_counts=True)
    return _of_counts(found, counts), (ny, nx)


def _of_counts(values: F8, counts: NDArray[np.int64]) -> FrameNumbers:
    total = int(counts.sum())
    mean = float(np.dot(values, counts) / total)
    std = math.sqrt(float(np.dot((values - mean) ** 2, counts) / total))
    edges = np.cumsum(counts)

    def ranked(q: float) -> float:
        """As numpy's percentile: between the two nearest values."""
        place = q * (total - 1)
        low, high = (float(values[np.searchsorted(edges, math.floor(place + d) + 1)]) for d in (0, 1 if place % 1 else 0))
        return low + (high - low) * (place % 1)

    low, high = (q * total for q in _TRIMMED)
    inside = np.clip(edges, low, high) - np.clip(edges - counts, low, high)
    level = float(np.dot(values, inside) / inside.sum()) if inside.sum() > 0 else mean
    return FrameNumbers(mean, ranked(0.5), std, ranked(0.16), ranked(0.84), float(values[0]), float(values[-1]), level)


def measure(
    group: Group,
    *,
    step_adu: float = 0.0,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    known: Sequence[tuple[FrameNumbers, tuple[int, int]]] = (),
) -> tuple[Stack, Maps]:
    """Measure a group of frames of one shape.  ``step_adu``: step of the stored numbers (16 for 12 bits stored x16).

    RejectedInput names the frame that does not fit.
    """
    found = list(known) or [frame_numbers(frame.path) for frame in group.frames]
    shapes = {shape for _, shape in found}
    if len(shapes) > 1:
        raise RejectedInput(
            f"{group.frames[0].folder}: its frames have different sizes: {', '.join(f'{x} x {y}' for y, x in sorted(shapes))}"
        )
    numbers, shape = [one for one, _ in found], found[0][1]
    levels = np.array([one.level for one in numbers])
    offsets = (levels - levels.mean()).astype(np.float32)
    work = _Work(shape, len(numbers))
    law: StackNoise | None = None
    with OpenFrames([frame.path for frame in group.frames]) as images:
        for y0, y1 in _slabs(shape, len(images), memory_bytes, compressed=images.compressed):
            values = images.rows(y0, y1)
            values -= offsets[:, None]
            if law is None and len(images) > 2:
                law = _noise_law(images, offsets, shape, step_adu, memory_bytes)
            work.add(y0, y1, values, law)
    return work.stack(group, numbers, levels), work.maps


def _slabs(shape: tuple[int, int], n: int, memory_bytes: int, *, compressed: bool) -> Iterator[tuple[int, int]]:
    rows = max(1, min(shape[0], memory_bytes // max(1, n * shape[1] * _BYTES_A_VALUE)))
    rows = shape[0] if compressed and n == 1 else rows
    for y in range(0, shape[0], rows):
        yield y, min(y + rows, shape[0])


def _noise_law(images: OpenFrames, offsets: F4, shape: tuple[int, int], step_adu: float, memory_bytes: int) -> StackNoise:
    """Noise without hits from some 16 blocks of rows spread over the frame; fewer pixels of many frames."""
    pixels = min(SAMPLE, memory_bytes // (len(images) * _BYTES_A_VALUE))
    block = max(1, min(shape[0], pixels // max(shape[1], 1)) // 16)
    n_blocks = min(16, max(1, pixels // (block * shape[1])))
    starts = np.unique(np.linspace(0, shape[0] - block, n_blocks).astype(int)).tolist()
    values = np.concatenate([images.rows(y, y + block) for y in starts], axis=1) - offsets[:, None]
    values = values[:, np.isfinite(values).all(axis=0)]
    return stack_noise_without_hits(np.sort(values, axis=0), step_adu=step_adu) if values.size else StackNoise(1.0, 0.0)


class _Work:
    def __init__(self, shape: tuple[int, int], n: int) -> None:
        self.shape, self.n = shape, n
        self.maps = Maps(np.empty(shape, np.float32), np.empty(shape, np.float32))
        self._moments, self._risen_moments, self._risen = Moments(n), Moments(n), 0.0
        self._sum, self._variance, self._hits = 0.0, 0.0, 0
        self._left = np.zeros(n)  # of each frame, over all pixels: its values less their pixel's mean, without hits
        self._variance_pixels = 0
        self._pixels = 0  # with a value in every frame

    def add(self, y0: int, y1: int, values: F4, law: StackNoise | None) -> None:
        """A slab; pixels without a value in some frame have none in the maps and are in no sum."""
        whole = np.isfinite(values).all(axis=0)
        if whole.all():
            clean, spread = self._sums(values, law)
        else:
            clean, spread = (np.full(values.shape[1], np.nan, np.float32) for _ in range(2))
            clean[whole], spread[whole] = self._sums(values[:, whole], law)
        self.maps.mean[y0:y1] = clean.reshape(y1 - y0, -1)
        self.maps.spread[y0:y1] = spread.reshape(y1 - y0, -1)

    def _sums(self, values: F4, law: StackNoise | None) -> tuple[F4, F4]:
        self._moments.add(values)
        found = mean_without_hits(values, noise=law)
        clean, hits = found.mean, found.hits
        if found.became_hot.any():
            self._risen_moments.add(values[:, found.became_hot])
            self._risen += found.risen * values.shape[1]
        left = values - clean
        left[hits] = 0
        self._left += left.sum(axis=1, dtype=np.float64)
        self._left -= left[:, found.became_hot].sum(axis=1, dtype=np.float64)
        square = np.einsum("ij,ij->j", left, left, dtype=np.float64)
        count = self.n - hits.sum(axis=0)
        good = (count > 1) & ~found.became_hot
        self._variance += float((square[good] / (count[good] - 1)).sum())
        self._variance_pixels += int(good.sum())
        self._sum += float(clean.sum(dtype=np.float64))
        self._hits += int(hits.sum())
        self._pixels += values.shape[1]
        return clean, np.sqrt(square / np.maximum(count, 1)).astype(np.float32)

    def stack(self, group: Group, numbers: list[FrameNumbers], levels: F8) -> Stack:
        pixels = max(self._pixels, 1)
        hits = self._hits / (pixels * self.n)
        by_chance = hits ** max(self.n - hot_from(self.n) - 1, 0)
        if by_chance < _STEADY:  # else hits that come one after the other would be taken out of the noise
            self._moments.take_out(self._risen_moments)
        noise = self._moments.noise()
        variance = self._variance / self._variance_pixels if self._variance_pixels else math.nan
        means = np.array([one.mean for one in numbers])
        raw_mean = float(means.mean())
        raw_variance = float(np.mean([one.std**2 for one in numbers]) + means.var())
        # one frame tells no noise: its scatter over the pixels, fixed pattern included, is the safe side
        formal = (variance if variance >= 0 else raw_variance) / (self.n * pixels)
        raw_formal = noise.level_variance if noise.level_variance >= 0 else formal
        # levels of all pixels without hits: a trimmed level scatters more than the noise of all of them says
        chi2, freedom = _scatter(group, levels + self._left / pixels, variance / pixels)
        drift = _drift(chi2, freedom, variance / pixels) if self.n >= OWN_DRIFT else 0.0
        return Stack(
            group=group,
            shape=self.shape,
            numbers=tuple(numbers),
            raw_mean=raw_mean,
            raw_std=math.sqrt(raw_variance),
            noise=noise,
            mean=self._sum / pixels,
            variance=variance,
            level_error=math.sqrt(formal + drift**2 / self.n),
            raw_level_error=math.sqrt(raw_formal + drift**2 / self.n),
            drift_adu=drift,
            hits=hits,
            late_hot_adu=self._risen / pixels * late_part(self.n) if self._risen and by_chance < _STEADY else 0.0,
            drift_chi2=chi2,
            drift_freedom=freedom,
        )


def _scatter(group: Group, levels: F8, variance: float) -> tuple[float, int]:
    """Chi-square of the frames' levels about their line over dose, and its degrees of freedom (0: nothing told)."""
    if len(levels) < 2 or not variance > 0:
        return 0.0, 0
    found = line(np.array([one.dose_krad for one in group.doses]), levels, np.full(len(levels), math.sqrt(variance)))
    return (found.chi2, found.freedom) if found.freedom > 0 else (0.0, 0)


def _drift(chi2: float, freedom: int, variance: float) -> float:
    """Scatter beyond that of the noise, where it is more than chance explains (else 0)."""
    if freedom < 1 or not improbable(chi2, freedom):
        return 0.0
    return math.sqrt(max(chi2 / freedom - 1, 0.0) * variance)


def pooled_drift(stacks: Sequence[Stack]) -> list[Stack]:
    """Stacks with the larger of their own drift and that of all of their kind together, in their errors, too.

    A group of a few frames cannot tell its drift, but many such groups can: their chi-squares are added up.
    """
    pooled = {kind: _pooled([one for one in stacks if one.group.kind == kind]) for kind in {one.group.kind for one in stacks}}
    return [_widened(one, pooled[one.group.kind]) for one in stacks]


def _pooled(stacks: Sequence[Stack]) -> float:
    """Drift that the frames of all groups show, each group weighted by what it tells."""
    told = [one for one in stacks if one.drift_freedom > 0]
    freedom = sum(one.drift_freedom for one in told)
    if not freedom or not improbable(sum(one.drift_chi2 for one in told), freedom):
        return 0.0
    excess = sum((one.drift_chi2 - one.drift_freedom) * one.variance / (one.shape[0] * one.shape[1]) for one in told)
    return math.sqrt(max(excess / freedom, 0.0))


def _widened(one: Stack, drift_adu: float) -> Stack:
    if drift_adu <= one.drift_adu:
        return one
    more = (drift_adu**2 - one.drift_adu**2) / len(one.group.frames)
    level, raw = math.sqrt(one.level_error**2 + more), math.sqrt(one.raw_level_error**2 + more)
    return replace(one, drift_adu=drift_adu, level_error=level, raw_level_error=raw)


def stored_step(paths: Sequence[Path]) -> float:
    """Step of the stored numbers: the largest power of two that divides every value of the first frame (16 for 12 bits stored x16)."""
    for path in paths[:1]:
        with ImageFile(path) as image:
            rows = image.read_rows(0, min(64, image.shape[-2]))
            if image.dtype.kind not in "iu":
                return 0.0
            bits = int(np.bitwise_or.reduce(rows[np.isfinite(rows)].astype(np.int64)))
            return float(bits & -bits) if bits else 1.0
    return 0.0
