"""Hot, cold and dead pixels, step of time by step of time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.live_time import overlap_us, seen_s
from nightcrew.mkid.mask_solution import COLD, DEAD, HOT, PixelMasks
from nightcrew.mkid.neighbours import box_median, box_sigma, lower_level
from nightcrew.mkid.photon_table import PhotonTable

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
METHODS = ("threshold", "median", "laplacian")
LEAST_STEP_S, LONGEST_STEP_S = 1e-3, 86_400.0
_MOST_BITS = 1 << 28  # of masks over all steps
_NOT_THERE = ("beammap.noDacTone", "beammap.noResonator")
_FWHM_PER_SIGMA = 2.354820045
_MAD_TO_SIGMA = 1.482602218505602
_LEAST_SHARE = 0.02  # of a step that a pixel's board was heard, below which the pixel is not judged
_MOST_POISSON = 0.95  # upper limit of the neighbourhood's expectation
_LAPLACE = np.array([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """Parameters of the search."""

    method: str = "threshold"
    step_s: float = 30.0
    box_px: int = 5
    fwhm_px: float = 4.0  # of a star: nothing real is sharper
    n_sigma: float = 5.0
    most_rounds: int = 5
    most_cps: float = 0.0  # above: hot whatever the neighbours do; 0 for no limit
    dead_sigma: float = 5.0  # a pixel without a photon is dead where its neighbours let expect so many that none is this unlikely

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise Refused(f"pixel masks are made by {', '.join(METHODS)}, not by {self.method!r}")
        whole = self.box_px >= 3 and self.box_px % 2 and self.most_rounds >= 1
        if not (LEAST_STEP_S <= self.step_s <= LONGEST_STEP_S and whole and self.n_sigma > 0 and self.fwhm_px > 0):
            raise Refused("pixel masks need steps of a millisecond to a day, an odd box of 3 pixels or more, and a threshold above 0")


def find_masks(table: PhotonTable, options: MaskOptions) -> PixelMasks:
    """Masks of a table, one for each step of time.

    A pixel whose board was silent for a part of a step is judged by what it counted in the rest of it, and as in the step before where
    there is no rest.  Pixels without a tone or resonator are dead.
    """
    edges = _edges(table, options.step_s)
    lost = table.lost
    absent = (table.flag & f.bits(_NOT_THERE)) > 0
    bits = np.zeros((edges.size - 1, *table.shape), dtype=np.uint8)
    for step in range(edges.size - 1):
        low, high = int(edges[step]), int(edges[step + 1])
        live_s = (high - low - overlap_us(lost, low, high)) / 1e6
        before = bits[step - 1] if step else np.where(absent, DEAD, np.uint8(0))
        if live_s > 0:
            share = seen_s((low, high), lost, table.silences) / live_s
            bits[step] = mask_of(_counts(table, low, high), live_s, absent, options, share)
            bits[step] = np.where(share < _LEAST_SHARE, before, bits[step])
        else:
            bits[step] = before
    what = {"name": shown(table.path), "start_us": table.start_us, "stop_us": table.stop_us}
    what["seconds"] = [sha256 for _, _, sha256 in table.inputs]
    provenance: dict[str, Any] = {"parameters": asdict(options), "inputs": [what]}
    return PixelMasks(edges_us=edges, resid=table.resid, bits=bits, provenance=provenance)


def _edges(table: PhotonTable, step_s: float) -> NDArray[np.int64]:
    """Steps of equal length from the start; a rest shorter than half a step joins the last."""
    step_us = round(step_s * 1e6)
    number = max(round((table.stop_us - table.start_us) / step_us), 1)
    if number * table.n_pixels > _MOST_BITS:
        raise Refused(f"pixel masks in {number} steps of {table.n_pixels} pixels are too many: choose longer steps")
    edges = table.start_us + np.arange(number + 1, dtype=np.int64) * step_us
    edges[-1] = table.stop_us
    return edges


def _counts(table: PhotonTable, start_us: int, stop_us: int) -> Floats:
    return table.counts(start_us - table.start_us, stop_us - table.start_us).astype(np.float64)


def mask_of(counts: Floats, live_s: float, absent: Flags, options: MaskOptions, share: Floats | None = None) -> NDArray[np.uint8]:
    """Bits [y, x] of :data:`~nightcrew.mkid.mask_solution.REASONS` for one image of ``counts``, taken in ``live_s`` seconds.

    ``absent`` pixels are dead whatever they count.  The image is not changed.  ``share`` [y, x] is how much of the time each pixel was
    heard: its counts are those of so much, with the noise of so many.
    """
    share = np.ones_like(counts) if share is None else share
    heard = share >= _LEAST_SHARE
    counts = np.where(heard, counts / np.where(heard, share, 1.0), 0.0)
    silent = ~absent & (counts == 0)
    ignored = absent | silent
    hot, cold = np.zeros_like(absent), np.zeros_like(absent)
    if options.most_cps > 0:
        hot = ~ignored & (counts / live_s > options.most_cps)
    for _ in range(options.most_rounds):
        values = np.where(ignored | hot | cold, np.nan, counts)
        more_hot, more_cold = _judged(counts, values, options, 1 / np.where(heard, share, 1.0))
        more_hot, more_cold = more_hot & ~ignored & ~hot & ~cold, more_cold & ~ignored & ~hot & ~cold
        if not (more_hot.any() or more_cold.any()):
            break
        hot, cold = hot | more_hot, cold | more_cold
    expected = box_median(np.where(ignored | hot | cold, np.nan, counts), options.box_px) * share
    dead = absent | (silent & (np.nan_to_num(expected) >= options.dead_sigma**2))
    cold |= silent & ~dead & (np.nan_to_num(expected) >= 1) & (np.nan_to_num(expected) > options.n_sigma * np.sqrt(np.nan_to_num(expected)))
    bits: NDArray[np.uint8] = (hot * HOT | (cold & ~dead) * COLD | dead * DEAD).astype(np.uint8)
    return bits


def _judged(counts: Floats, values: Floats, options: MaskOptions, per_count: Floats) -> tuple[Flags, Flags]:
    """Hot and cold pixels among the finite ``values``, of which one photon is ``per_count`` [y, x]."""
    if options.method == "laplacian":
        return _by_laplacian(counts, values, options, per_count)
    median = box_median(values, options.box_px)
    spread = box_sigma(values, median, options.box_px)
    sigma = np.maximum(spread, np.sqrt(np.maximum(median, 1.0) * per_count))  # at least the photon noise
    with np.errstate(invalid="ignore"):
        cold: Flags = counts - median < -options.n_sigma * sigma
        if options.method == "median":
            hot: Flags = counts - median > options.n_sigma * sigma
        else:
            hot = counts - _threshold(values, median, options) > options.n_sigma * sigma
    return hot, cold


def _threshold(values: Floats, median: Floats, options: MaskOptions) -> Floats:
    """What a star on the background could bring at most: above the median by the ratio of a Gaussian's peak to its median in the box.

    The background is the lower quartile of a wide neighbourhood, as an array is seldom lit evenly; the threshold is at least that, and at
    least the upper limit of 95 % that the neighbours' counts allow.
    """
    from scipy.special import gammaincinv

    ratio = _peak_ratio(options.box_px, options.fwhm_px)
    background = lower_level(values)
    star = ratio * median - (ratio - 1) * np.minimum(background, median)
    upper = np.asarray(gammaincinv(np.nan_to_num(median) + 1, _MOST_POISSON), dtype=np.float64)
    return np.maximum(np.maximum(star, background), upper)


def _peak_ratio(box_px: int, fwhm_px: float) -> float:
    """Peak over median of a Gaussian star in the middle of the box."""
    half = box_px // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return float(1 / np.median(np.exp(-0.5 * (x**2 + y**2) / (fwhm_px / _FWHM_PER_SIGMA) ** 2)))


def _by_laplacian(counts: Floats, values: Floats, options: MaskOptions, per_count: Floats) -> tuple[Flags, Flags]:
    """Pixels that stick out of the plane of their four neighbours, against the photon noise and what the array scatters beyond it."""
    from scipy.ndimage import convolve, maximum_filter

    median = box_median(values, options.box_px)
    filled = np.where(np.isfinite(values), values, np.where(np.isfinite(median), median, 0.0))
    curved = convolve(filled, _LAPLACE, mode="nearest") / 4
    noise = np.sqrt(np.maximum(np.nan_to_num(median), 1.0) * (per_count + 0.25))  # own noise and a quarter of four neighbours'
    pulls = (curved / noise)[np.isfinite(values)]
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(pulls - np.median(pulls)))) if pulls.size else 0.0
    sigma = noise * max(spread, 1.0)
    significance = np.abs(curved) / sigma
    first = significance >= maximum_filter(significance, size=3)  # the neighbours of a bad pixel stick out the other way
    with np.errstate(invalid="ignore"):
        hot: Flags = first & (curved > options.n_sigma * sigma) & (counts > median)
        cold: Flags = first & (curved < -options.n_sigma * sigma) & (counts < median)
    return hot, cold
