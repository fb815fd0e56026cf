"""Reduced pixels and their flags against the planted scene and the planted defects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag
from nightcrew.simulate.compare_stars import StarTable
from nightcrew.simulate.comparison import FALSE_MOST, Item, flagged_items
from nightcrew.simulate.expected import ExpectedLight
from nightcrew.simulate.truth import FrameTruth, Truth

PULL_MEAN_TOLERANCE = 0.02
PULL_WIDTH_TOLERANCE = 0.05
VARIANCE_TOLERANCE = 0.02
OUTLIER_SIGMA = 6.0
VISIBLE_SIGMA = 5.0  # a planted cosmic ray below this is not there for anybody
HOT_BITS = PixelFlag.HOT | PixelFlag.UNSTABLE | PixelFlag.SATURATED
COLD_BITS = PixelFlag.COLD | PixelFlag.BAD_FLAT


@dataclass(frozen=True, kw_only=True)
class RecoveredLight:
    """A reduced light: arrays [y, x] in e- (sky not subtracted), mask bits of PixelFlag, its catalogue if there is one."""

    name: str  # of the raw file
    science_e: NDArray[np.float32]
    uncertainty_e: NDArray[np.float32]
    mask: NDArray[np.uint16]
    stars: StarTable | None = None


def bad_pixel_items(truth: Truth, bad_pixels: NDArray[np.uint16] | None) -> list[Item]:
    """Share of planted hot and cold pixels in the bad-pixel mask, and of good pixels in it."""
    if bad_pixels is None:
        return [Item(name="bad-pixel mask", recovered=None, truth=None, unit="", rule="exists", passed=False, note="none was made")]
    shape = (truth.plan.camera.ny, truth.plan.camera.nx)
    hot, cold = truth.hot.arrays().mask(shape), truth.cold.arrays().mask(shape)
    items: list[Item] = []
    for name, planted, bits in (("hot pixels", hot, HOT_BITS), ("cold pixels", cold, COLD_BITS)):
        found = (bad_pixels & int(bits)) != 0
        false = found & ~(hot | cold)
        items += flagged_items(name, int((found & planted).sum()), int(planted.sum()), int(false.sum()), int((~(hot | cold)).sum()))
    return items


@dataclass(frozen=True)
class PullStatistics:
    """(reduced - truth) / predicted sigma over unmasked pixels: mean and standard deviation within 6 sigma, the rest as a share."""

    mean: float
    width: float
    n_pixels: int
    outlier_fraction: float


def pixel_pulls(light: RecoveredLight, expected: ExpectedLight) -> PullStatistics:
    """Pulls of a light's unmasked pixels, with the sigma predicted from truth."""
    good = (light.mask == 0) & ~expected.saturated & np.isfinite(light.science_e)
    pull = (light.science_e[good] - expected.signal_e[good]) / np.sqrt(expected.variance_e2[good])
    inside = np.abs(pull) < OUTLIER_SIGMA
    kept = pull[inside].astype(np.float64)
    if kept.size == 0:
        return PullStatistics(float("nan"), float("nan"), 0, 1.0)
    return PullStatistics(float(kept.mean()), float(kept.std()), int(kept.size), 1 - kept.size / pull.size)


def variance_ratio(light: RecoveredLight, expected: ExpectedLight) -> float:
    """Mean of the uncertainty plane squared over the mean predicted variance, over unmasked pixels."""
    good = (light.mask == 0) & ~expected.saturated
    claimed = np.square(light.uncertainty_e[good], dtype=np.float64)
    return float(claimed.mean() / expected.variance_e2[good].mean(dtype=np.float64))


def light_items(pulls: Sequence[PullStatistics], ratios: Sequence[float]) -> list[Item]:
    """The worst light of the night for each rule of the pixels."""
    if not pulls:
        return [Item(name="pulls of reduced pixels", recovered=None, truth=None, unit="", rule="measured", passed=False, note="no lights")]
    mean = max((pull.mean for pull in pulls), key=abs)
    width = max((pull.width for pull in pulls), key=lambda value: abs(value - 1))
    ratio = max(ratios, key=lambda value: abs(value - 1))
    outliers = max(pull.outlier_fraction for pull in pulls)
    return [
        Item(
            name="pixel pulls, mean",
            recovered=mean,
            truth=0.0,
            unit="sigma",
            passed=abs(mean) < PULL_MEAN_TOLERANCE,
            rule=f"|mean| < {PULL_MEAN_TOLERANCE} in the worst light",
        ),
        Item(
            name="pixel pulls, width",
            recovered=width,
            truth=1.0,
            unit="sigma",
            passed=abs(width - 1) <= PULL_WIDTH_TOLERANCE,
            rule=f"within {PULL_WIDTH_TOLERANCE:.0%} in the worst light",
        ),
        Item(
            name="pixel pulls beyond 6 sigma",
            recovered=outliers,
            truth=0.0,
            unit="",
            passed=outliers <= FALSE_MOST,
            rule=f"at most {FALSE_MOST:.1%} in the worst light",
        ),
        Item(
            name="variance of the uncertainty plane over truth",
            recovered=ratio,
            truth=1.0,
            unit="",
            passed=abs(ratio - 1) <= VARIANCE_TOLERANCE,
            rule=f"within {VARIANCE_TOLERANCE:.0%} in the worst light",
        ),
    ]


def cosmic_counts(truth: Truth, frame: FrameTruth, mask: NDArray[np.uint16], expected: ExpectedLight) -> tuple[int, int, int, int]:
    """(flagged, visible, false, others) pixels of a light; a hit that is flagged for another reason counts as flagged."""
    rays = frame.cosmic_rays.arrays()
    charge = np.zeros(mask.shape)
    charge[rays.y, rays.x] = rays.value
    visible = (charge > VISIBLE_SIGMA * np.sqrt(expected.variance_e2)) & ~expected.saturated
    others = ~rays.mask(mask.shape) & ~truth.hot.arrays().mask(mask.shape)
    false = others & ((mask & int(PixelFlag.COSMIC_RAY)) != 0)
    return int((visible & (mask != 0)).sum()), int(visible.sum()), int(false.sum()), int(others.sum())


def cosmic_items(counts: Sequence[tuple[int, int, int, int]]) -> list[Item]:
    """Planted cosmic-ray pixels above 5 sigma that are flagged, and other pixels flagged as such, over all lights."""
    hits, planted, false, others = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0, 0, 0)
    return flagged_items("cosmic-ray pixels", hits, planted, false, others)
