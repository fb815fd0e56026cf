"""Cosmic rays in a single frame, by astroscrappy's L.A.Cosmic (van Dokkum 2001, doi:10.1086/323894)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.photometry.cleaning import replace_bad_pixels
from nightcrew.quality.statistics import sample_pixels

Bool = NDArray[np.bool_]

PAD_PX = 4
"""astroscrappy's filters leave the outermost pixels alone: the frame is mirrored this far beyond its edges."""

NOT_LOOKED_AT = ~(PixelFlag.COSMIC_RAY | PixelFlag.EDGE)
"""Pixels with another flag are known already and would only be found again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CosmicRayParameters:
    """Settings of the search; the defaults were chosen on simulated frames with stars of 2.5 to 4 px FWHM."""

    sigma: float = 4.5
    """A cosmic ray's Laplacian above its noise."""
    neighbour_fraction: float = 0.5
    """Neighbours of one need only this fraction of ``sigma``."""
    contrast: float = 5.0
    """Least ratio of Laplacian to fine structure: higher protects the cores of sharp stars."""
    iterations: int = 2
    cleaning: Literal["median", "medmask", "meanmask", "idw"] = "meanmask"
    separable_median: bool = True


@dataclass(frozen=True, slots=True)
class CosmicRays:
    """``hit`` (bool ``[y, x]``) marks the pixels; ``n_pixels`` their number and ``n_events`` how many touching groups they form."""

    hit: NDArray[np.bool_]
    n_pixels: int
    n_events: int


def find_cosmic_rays(
    science_e: NDArray[np.float32],
    mask: NDArray[np.uint16] | None = None,
    *,
    read_noise_e: float,
    gain_e: float = 1.0,
    parameters: CosmicRayParameters | None = None,
) -> CosmicRays:
    """Cosmic rays of a reduced frame ``science_e`` ``[y, x]`` in electrons, sky included (its noise is judged by it).

    Pixels flagged in ``mask`` (PixelFlag bits), or not finite, are not looked at.  A frame in ADU is turned to electrons by
    ``gain_e``.  Nothing is cleaned: pixels are only named.

    :raises RejectedInput: the frame is smaller than the filters.
    """
    parameters = parameters or CosmicRayParameters()
    if min(science_e.shape) < 7:
        raise RejectedInput(f"a frame of {science_e.shape[1]} x {science_e.shape[0]} pixels is too small for a search for cosmic rays")
    work, ignored, unseen = _prepared(science_e, mask)
    hit, _ = _detector()(
        np.pad(work, PAD_PX, mode="reflect"),
        inmask=np.pad(unseen, PAD_PX, mode="reflect"),
        gain=gain_e,
        readnoise=read_noise_e,
        satlevel=np.inf,  # saturated pixels are in the mask, judged by their raw value
        sigclip=parameters.sigma,
        sigfrac=parameters.neighbour_fraction,
        objlim=parameters.contrast,
        niter=parameters.iterations,
        cleantype=parameters.cleaning,
        sepmed=parameters.separable_median,
    )
    inner = slice(PAD_PX, -PAD_PX)
    found = np.asarray(hit, np.bool_)[inner, inner] & ~ignored
    return CosmicRays(found, int(np.count_nonzero(found)), count_groups(found))


@lru_cache(maxsize=1)
def _detector() -> Callable[..., tuple[Bool, NDArray[np.float32]]]:
    """``detect_cosmics`` without its leak.

    astroscrappy up to 1.3.0 takes a byte for every pixel when it widens a mask more than once, and never gives it back: 4 MB for each
    frame of 2048^2, in a worker that lives for many nights.  Widened once it takes none, and twice once is the same.
    """
    from astroscrappy import astroscrappy

    once = getattr(astroscrappy, "dilate5", None)
    if once is not None:

        def dilate5(marked: Bool, times: int) -> Bool:
            for _ in range(times):
                marked = once(marked, 1)
            return marked

        astroscrappy.dilate5 = dilate5
    detect: Callable[..., tuple[Bool, NDArray[np.float32]]] = astroscrappy.detect_cosmics
    return detect


def _prepared(science_e: NDArray[np.float32], mask: NDArray[np.uint16] | None) -> tuple[NDArray[np.float32], Bool, Bool]:
    """The frame to search, the pixels that are known already, and those of them that the search must not see.

    Lone bad pixels are filled from their neighbours instead of being hidden: astroscrappy overlooks rays beside hidden ones.
    """
    missing: Bool = ~np.isfinite(science_e)
    ignored = missing.copy()
    saturated = np.zeros(science_e.shape, np.bool_)
    if mask is not None:
        ignored |= (mask & np.uint16(int(NOT_LOOKED_AT) & 0xFFFF)) != 0
        saturated = ((mask & np.uint16(int(PixelFlag.SATURATED))) != 0) & ~missing
    work, holes, _ = replace_bad_pixels(science_e, ignored & ~saturated)
    if holes.any():
        sample = sample_pixels(science_e)
        sample = sample[np.isfinite(sample)]
        work[holes] = np.float32(np.median(sample)) if sample.size else np.float32(0)
    return work, ignored, holes | saturated


def count_groups(marked: NDArray[np.bool_]) -> int:
    """Number of groups of marked pixels that touch, corners included."""
    from scipy.ndimage import label

    if not marked.any():
        return 0
    return int(label(marked, structure=np.ones((3, 3), np.int8))[1])


def flagged(mask: NDArray[np.uint16], rays: CosmicRays) -> NDArray[np.uint16]:
    """Copy of ``mask`` with COSMIC_RAY set where they hit."""
    return np.where(rays.hit, mask | np.uint16(int(PixelFlag.COSMIC_RAY)), mask).astype(np.uint16, copy=False)
