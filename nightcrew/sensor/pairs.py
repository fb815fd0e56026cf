"""Two equal frames: their level, their temporal variance, and how neighbouring pixels vary together.

The difference of two frames holds no fixed pattern (Janesick, Photon Transfer, SPIE 2007, chapter 5):

    d = f1 - q f2 with q = S1 / S2 (the levels above the bias),  variance of one frame = var(d) / (1 + q^2)

Pixels hit by cosmic rays leave by their difference (``CLIP_SIGMA``), defects by their level; what the clip takes from a
Gaussian is put back.  Frames are read in strips, so memory does not grow with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import clipped_mean_sigma
from nightcrew.sensor.banding import Bands, BandSums
from nightcrew.sensor.covariances import CovarianceSums
from nightcrew.sensor.frames import Rows, SensorFrame, Window

CLIP_SIGMA = 5.0
"""A difference further out is no noise: one in 1.7 million pixels of a Gaussian."""
DEFECT_SIGMA = 8.0
"""A level this far from the pair's typical level (in the scatter of the levels) marks a defect."""
MAX_LAG = 8
ROUNDING_VARIANCE = 1 / 12
"""ADU^2, of rounding to whole numbers (EMVA 1288 R4, eq. 8)."""
MOST_STEP = 256
MOST_AT_FLOOR = 1e-3
"""Of pixels at the lowest number: more, and their noise is cut off there."""
STRIP_BYTES = 1 << 19  # of one strip in float32: its temporaries stay in the second-level cache
_SAMPLE_PIXELS = 1 << 16
_LEAST_SAMPLE_ROWS = 16

Array = NDArray[Any]
Strip = NDArray[np.float32]
Places = NDArray[np.intp]


@dataclass(slots=True)
class Floor:
    """The ``lowest`` value of the good pixels, how many have it, how many lie within a step above it, and of how many."""

    lowest: float = math.inf
    at: int = 0
    above: int = 0
    of: int = 0

    def add(self, values: Array, step: float) -> None:
        """Count ``values`` (finite ones)."""
        if values.size:
            lowest = float(values.min())
            at = int(np.count_nonzero(values <= lowest))
            self.merge(Floor(lowest, at, int(np.count_nonzero(values <= lowest + step)) - at, int(values.size)), step)

    def merge(self, other: Floor, step: float) -> None:
        """Count what ``other`` counted."""
        low, high = (self, other) if self.lowest <= other.lowest else (other, self)
        apart = high.lowest - low.lowest if high.of else math.inf
        at = low.at + (high.at if apart == 0 else 0)
        above = low.above + (high.above if apart == 0 else high.at if apart <= step else 0)
        self.lowest, self.at, self.above, self.of = low.lowest, at, above, low.of + high.of

    @property
    def clipped(self) -> bool:
        """Whether values below the lowest were cut off: more than 0.1 % stand at it, and it is 0 or they pile up there."""
        return self.at > MOST_AT_FLOOR * self.of and (self.lowest == 0 or self.at > 0.5 * self.above)


@dataclass(frozen=True, kw_only=True)
class PairStatistics:
    """What two frames of equal exposure tell of one region, in ADU.

    ``level`` is the mean signal above the offset that belongs to ``variance`` (temporal, of one frame), with its 1-sigma
    ``variance_error``; ``covariances`` [lag_y, lag_x] are those of one frame (element [0, 0] is the variance), None when not asked for.
    ``bands`` tells of rows or columns that vary as a whole.  ``rounding``: what rounding to whole numbers adds to the variance, 0 for
    frames of other numbers.  ``floor`` counts values at the lowest number, None where frames were scaled (flats).
    """

    names: tuple[str, str]
    levels: tuple[float, float]
    level: float
    ratio: float
    variance: float
    variance_error: float
    used: int
    clipped: int
    saturated: int
    defects: int
    covariances: NDArray[np.float64] | None
    bands: Bands | None
    rounding: float
    floor: Floor | None = None

    @property
    def saturated_fraction(self) -> float:
        """Saturated pixels over all."""
        return self.saturated / max(1, self.used + self.clipped + self.defects)


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """How a pair is measured.  ``saturation_adu`` None: unknown; ``max_lag`` 0: no covariances."""

    clip_sigma: float = CLIP_SIGMA
    saturation_adu: float | None = None
    max_lag: int = 0
    flatten_bands: bool = True
    scale: bool = True  # by the ratio of the levels: for flats; biases and darks differ by an offset alone


def pair_statistics(
    first: SensorFrame, second: SensorFrame, windows: Sequence[Window], offset_adu: float, options: PairOptions
) -> PairStatistics:
    """Measure a pair in the ``windows`` of a region (their pixels are put together); ``offset_adu`` is the bias level there.

    Both frames must have the same shape.  When rows or columns vary as a whole (lamp flicker, banding) they are brought to one
    level first, and ``bands`` says so.
    """
    with first.opened() as a, second.opened() as b:
        parts = [_part(a, b, window, offset_adu, options) for window in windows]
    return _together(parts, (first.name, second.name))


def clip_factor(clip_sigma: float) -> float:
    """Variance that a Gaussian keeps when cut at +-``clip_sigma``: 1 - 2 k phi(k) / (1 - 2 Q(k)); 0.9733 for 3, 0.99893 for 4."""
    inside = math.erf(clip_sigma / math.sqrt(2))
    return 1 - 2 * clip_sigma * math.exp(-0.5 * clip_sigma**2) / math.sqrt(2 * math.pi) / inside


@lru_cache(maxsize=64)
def _unclipped(clip_sigma: float) -> float:
    """True over clipped sigma of a Gaussian that is cut at ``clip_sigma`` *clipped* sigmas until nothing changes."""
    return 1 / math.sqrt(kept_by_repeated_clip(clip_sigma))


def kept_by_repeated_clip(clip_sigma: float) -> float:
    """Variance that a Gaussian keeps when cut at ``clip_sigma`` of its own clipped sigmas until nothing changes: 0.9699 for 3."""
    cut = clip_sigma
    for _ in range(60):
        cut = clip_sigma * math.sqrt(clip_factor(cut))
    return (cut / clip_sigma) ** 2


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a sample of rows tells: typical levels and the bounds that pixels have to keep."""

    levels: tuple[float, float]
    ratio: float
    centre: float
    reach: float
    sum_bounds: tuple[float, float]
    rounding: float


@dataclass(slots=True)
class _Sums:
    """Sums over the good pixels of a part."""

    n: int = 0
    first: float = 0.0
    second: float = 0.0
    d: float = 0.0
    d2: float = 0.0
    d4: float = 0.0
    clipped: int = 0
    saturated: int = 0
    defects: int = 0
    floor: Floor = field(default_factory=Floor)


@dataclass(frozen=True, slots=True)
class _Part:
    sums: _Sums
    limits: _Limits
    freedom: float  # what flattening of bands leaves of the variance
    covariances: CovarianceSums | None
    bands: Bands | None
    offset_adu: float
    clip_sigma: float
    flattened: bool


def _part(a: Rows, b: Rows, window: Window, offset_adu: float, options: PairOptions) -> _Part:
    limits = _limits(a, b, window, offset_adu, options)
    sums, covariances, profile = _passed(a, b, window, limits, options, None)
    bands = None if profile is None else profile.judged(limits.ratio)
    freedom = 1.0
    if options.flatten_bands and bands is not None and bands.found:  # rare: everything once more, without them
        sums, covariances, _ = _passed(a, b, window, limits, options, bands)
        freedom = bands.freedom(*window.shape)
    return _Part(sums, limits, freedom, covariances, bands, offset_adu, options.clip_sigma, options.flatten_bands)


def _passed(
    a: Rows, b: Rows, window: Window, limits: _Limits, options: PairOptions, bands: Bands | None
) -> tuple[_Sums, CovarianceSums | None, BandSums | None]:
    """One pass over the window in strips."""
    ny, nx = window.shape
    sums, profile = _Sums(), BandSums.empty(window.shape)
    covariances = CovarianceSums.empty(options.max_lag, nx) if options.max_lag else None
    step = max(1, STRIP_BYTES // (4 * nx))
    for y0 in range(0, ny, step):
        y1 = min(ny, y0 + step)
        flatten = None if bands is None else bands.of_rows(y0, y1)
        difference, bad = _strip(window.rows(a, y0, y1), window.rows(b, y0, y1), limits, sums, options, flatten)
        if covariances is not None:
            covariances.add(difference)
        if profile is not None:
            profile.add(y0, difference, bad)
    return sums, covariances, profile


def _limits(a: Rows, b: Rows, window: Window, offset_adu: float, options: PairOptions) -> _Limits:
    """From a few rows spread over the window."""
    ny = window.shape[0]
    count = min(ny, max(_LEAST_SAMPLE_ROWS, _SAMPLE_PIXELS // window.shape[1]))
    rows = sorted({min(ny - 1, round((place + 0.5) * ny / count)) for place in range(count)})
    stored = [np.concatenate([window.rows(image, y, y + 1) for y in rows]).reshape(-1) for image in (a, b)]
    one, two = (values.astype(np.float64) for values in stored)
    finite = np.isfinite(one) & np.isfinite(two)
    one, two = (one[finite], two[finite]) if finite.any() else (np.zeros(1), np.zeros(1))
    middle = (clipped_mean_sigma(one)[0], clipped_mean_sigma(two)[0])
    signal = (middle[0] - offset_adu, middle[1] - offset_adu)
    ratio = signal[0] / signal[1] if options.scale and min(signal) > 0 else 1.0
    centre, sigma, _ = clipped_mean_sigma(one - ratio * two, clip_sigma=options.clip_sigma)
    total, scatter, _ = clipped_mean_sigma(one + two, clip_sigma=options.clip_sigma)
    wide = DEFECT_SIGMA * max(scatter, 1.0)
    # where bands move whole rows the typical scatter of the sample holds them already, so nothing good is cut
    reach = options.clip_sigma * max(sigma * _unclipped(options.clip_sigma), 0.5)
    return _Limits(middle, ratio, centre, reach, (total - wide, total + wide), min(_rounding(values) for values in stored))


def _rounding(stored: Array) -> float:
    """Variance of rounding, ADU^2: of whole numbers, or of their multiples of a power of two, as 14 bits stored in 16 are; else 0."""
    if stored.dtype.kind not in "ui":
        return 0.0
    values = stored.astype(np.int64)
    common = int(np.gcd.reduce(values - values[0])) if values.size else 0
    step = min(common & -common, MOST_STEP) if common else 1
    return ROUNDING_VARIANCE * step**2


def step_of(rounding: float) -> float:
    """The step of numbers that were rounded so; 1 for those that were not."""
    return round(math.sqrt(rounding / ROUNDING_VARIANCE)) if rounding > 0 else 1.0


def _strip(one: Array, two: Array, limits: _Limits, sums: _Sums, options: PairOptions, bands: Strip | None) -> tuple[Strip, Places]:
    """The strip's difference about its centre, 0 where a pixel is not good, and the places of those; the sums grow."""
    with np.errstate(invalid="ignore", over="ignore"):  # pixels without a number are looked for below
        first, second = one.astype(np.float32), two.astype(np.float32)
        difference = first - np.float32(limits.ratio) * second
        difference -= np.float32(limits.centre)
        if bands is not None:
            difference -= bands
        total = first + second
    size = np.abs(difference)
    bad = ~(size <= limits.reach)  # also where it is NaN
    _grow(bad)
    level_bad = ~((total >= limits.sum_bounds[0]) & (total <= limits.sum_bounds[1]))
    sums.saturated += _saturated(one, two, options.saturation_adu)
    sums.defects += int(np.count_nonzero(level_bad))
    sums.clipped += int(np.count_nonzero(bad & ~level_bad))
    bad |= level_bad
    places = np.flatnonzero(bad)
    difference.reshape(-1)[places] = 0.0
    if not options.scale:
        good = ~bad
        for image in (one, two):
            sums.floor.add(image[good], step_of(limits.rounding))
    sums.n += difference.size - places.size
    sums.first += _sum_of_good(one, places)
    sums.second += _sum_of_good(two, places)
    flat = difference.reshape(-1)
    square = flat * flat
    sums.d += float(np.add.reduce(flat, dtype=np.float64))
    sums.d2 += float(np.add.reduce(square, dtype=np.float64))
    sums.d4 += float(np.dot(square, square))
    return difference, places


def _grow(bad: NDArray[np.bool_]) -> None:
    """Take the neighbours along: a cosmic ray's faint ends would pass for noise."""
    places = np.flatnonzero(bad)
    if places.size:
        y, x = np.divmod(places, bad.shape[1])
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            inside = (y + dy >= 0) & (y + dy < bad.shape[0]) & (x + dx >= 0) & (x + dx < bad.shape[1])
            bad[y[inside] + dy, x[inside] + dx] = True


def _saturated(one: Array, two: Array, saturation_adu: float | None) -> int:
    """Pixels at or above saturation in either frame.  They are counted and kept: without them a saturated pair would look good."""
    if saturation_adu is None:
        return 0
    most = np.inf if one.dtype.kind == "f" or two.dtype.kind == "f" else None  # infinite is not full: it is no number
    over = [(image >= saturation_adu) if most is None else (image >= saturation_adu) & (image < most) for image in (one, two)]
    return int(np.count_nonzero(over[0] | over[1]))


def _sum_of_good(values: Array, bad: Places) -> float:
    """Sum without the places ``bad``."""
    if values.dtype.kind in "ui":
        lost = values[np.divmod(bad, values.shape[1])]
        return float(values.sum(dtype=np.int64)) - float(lost.sum(dtype=np.int64))
    good = values.astype(np.float64).reshape(-1)  # a copy; nothing may be taken from a sum that is not finite
    good[bad] = 0
    return float(good.sum())


@lru_cache(maxsize=64)
def _put_back(clip_sigma: float) -> float:
    return 1 / clip_factor(clip_sigma)


def _together(parts: Sequence[_Part], names: tuple[str, str]) -> PairStatistics:
    """Parts weigh by their good pixels."""
    n = sum(part.sums.n for part in parts)
    first, second = sum(part.sums.first for part in parts), sum(part.sums.second for part in parts)
    offset = sum(part.offset_adu * part.sums.n for part in parts) / max(n, 1)
    variances = [_variance(part) for part in parts]
    variance = sum(v * part.sums.n for (v, _), part in zip(variances, parts, strict=True)) / max(n, 1)
    error = math.sqrt(sum((e * part.sums.n) ** 2 for (_, e), part in zip(variances, parts, strict=True))) / max(n, 1)
    ratio = sum(part.limits.ratio * part.sums.n for part in parts) / max(n, 1)
    levels = (first / max(n, 1) - offset, second / max(n, 1) - offset)
    return PairStatistics(
        names=names,
        levels=levels,
        level=(levels[0] + ratio**2 * levels[1]) / (1 + ratio**2),
        ratio=ratio,
        variance=variance if n > 1 else math.nan,
        variance_error=error if n > 1 else math.nan,
        used=n,
        clipped=sum(part.sums.clipped for part in parts),
        saturated=sum(part.sums.saturated for part in parts),
        defects=sum(part.sums.defects for part in parts),
        covariances=_covariances(parts),
        bands=max((part.bands for part in parts if part.bands is not None), key=lambda bands: bands.strength, default=None),
        rounding=min(part.limits.rounding for part in parts),
        floor=_floor(parts),
    )


def _floor(parts: Sequence[_Part]) -> Floor | None:
    counted, step = Floor(), step_of(min(part.limits.rounding for part in parts))
    for part in parts:
        counted.merge(part.sums.floor, step)
    return counted if counted.of else None


def _scale(part: _Part) -> float:
    """From the clipped mean square of the difference to the variance of one frame."""
    return _put_back(part.clip_sigma) / (1 + part.limits.ratio**2) / part.freedom


def _variance(part: _Part) -> tuple[float, float]:
    """Variance of one frame and its error, from the second and fourth moment of the difference."""
    sums = part.sums
    if sums.n < 2:
        return 0.0, 0.0
    mean, mean_square = sums.d / sums.n, sums.d2 / sums.n
    variance = (mean_square - mean**2) * sums.n / (sums.n - 1)
    spread = math.sqrt(max(sums.d4 / sums.n - mean_square**2, 0.0) / sums.n)
    error = spread * _scale(part)
    if part.bands is not None and part.bands.found and not part.flattened:  # whole rows vary: of them there are few
        few = [(part.bands.row_rms, part.bands.rows.size), (part.bands.column_rms, part.bands.columns.size)]
        error = math.hypot(error, *(rms**2 * math.sqrt(2 / count) for rms, count in few))
    return variance * _scale(part), error


def _covariances(parts: Sequence[_Part]) -> NDArray[np.float64] | None:
    total = sum(part.sums.n for part in parts)
    planes = []
    for part in parts:
        if part.covariances is None:
            return None
        mean = part.sums.d / max(part.sums.n, 1)
        planes.append(part.covariances.mean(part.sums.n, mean) * (_scale(part) * part.sums.n / max(total, 1)))
    return np.asarray(np.sum(planes, axis=0))
