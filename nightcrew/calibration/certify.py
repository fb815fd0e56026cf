"""May a master be used?  Decided by its own numbers; only these may bar it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A frame is outlying when its level or noise lies so many robust sigmas (and so much) from its siblings'.
_OUTLYING_SIGMA = 6.0
_LEAST_LEVEL_FRACTION = 0.25  # of the frame noise
_LEAST_NOISE_FRACTION = 0.2  # of the median noise
# Light falls on a bias through a shutter that leaks: stars, a satellite.  It makes compact spots; unsteady pixels and cosmic rays are thin.
_LIT_SIGMA = 10.0
_LEAST_LIT = 5  # pixels whose eight neighbours are bright as well
# A row or column that is bright over a fifth of its length, and further than a star reaches: the camera's electronics, not light.
_LINE_FRACTION, _LEAST_LINE = 0.2, 32
# Read noise in the header is a maker's number; a master is barred only when its frames contradict it grossly.
_NOISE_FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether a master may be used, and why not."""

    passed: bool
    reason: str = ""


def outlying(levels: Sequence[float], sigmas: Sequence[float]) -> dict[int, str]:
    """Places of frames that do not belong: their level or spatial scatter is far from their siblings'.

    Needs three frames to tell which one is odd.  The scale is the robust scatter of the siblings, never less than a
    quarter of a frame's own noise for levels and a fifth of the median for scatter.
    """
    if len(levels) < 3:
        return {}
    found: dict[int, str] = {}
    typical = float(np.median(sigmas))
    for name, values, least in (("level", levels, _LEAST_LEVEL_FRACTION * typical), ("scatter", sigmas, _LEAST_NOISE_FRACTION * typical)):
        array = np.asarray(values, np.float64)
        middle = float(np.median(array))
        scale = max(1.4826 * float(np.median(np.abs(array - middle))), least, 0.2)
        for place in np.flatnonzero(np.abs(array - middle) > _OUTLYING_SIGMA * scale):
            found.setdefault(int(place), f"its {name} of {array[place]:.1f} ADU is far from the others' {middle:.1f} ADU")
    return found


def lit_pixels(frame: NDArray[Any], darkest: NDArray[np.floating], noise_adu: float) -> int:
    """How many pixels of ``frame`` [y, x], with all their eight neighbours, stand 10 times a frame's noise above ``darkest`` [y, x].

    ``darkest`` is the minimum of the series pixel by pixel, so that light is seen even where most frames have it.  All in ADU; the
    frame is brought to its level first.  Rows and columns that are bright over a fifth of their length, and 32 pixels (banding, the
    drift of an amplifier), count as dark, and so do pixels without a value.
    """
    above = np.subtract(frame, darkest, dtype=np.float32)
    some = above[::3, ::3]
    some = some[np.isfinite(some)]
    level = float(np.median(some)) if some.size else 0.0
    with np.errstate(invalid="ignore"):
        bright = above > level + _LIT_SIGMA * noise_adu
    rows, columns = (np.count_nonzero(bright, axis=a) > max(_LINE_FRACTION * bright.shape[a], _LEAST_LINE) for a in (1, 0))
    bright[rows] = False
    bright[:, columns] = False
    beside = bright[:, :-2] & bright[:, 1:-1] & bright[:, 2:]
    return int(np.count_nonzero(beside[:-2] & beside[1:-1] & beside[2:]))


def lit(counts: Sequence[int]) -> dict[int, str]:
    """Places of frames of a series without light that light fell on, by their ``lit_pixels``."""
    above = f"stand more than {_LIT_SIGMA:.0f} times the noise above the darkest frames"
    return {
        place: f"light fell on it: spots of bright pixels ({count} within them) {above}"
        for place, count in enumerate(counts)
        if count >= _LEAST_LIT
    }


def certify(*, used: int, minimum: int, noise_adu: float | None, expected_noise_adu: float | None) -> Certificate:
    """Certify a master made of ``used`` frames whose single-frame noise is ``noise_adu``.

    ``expected_noise_adu`` is the read noise that the camera should have, already not below step / sqrt(12); None when
    unknown.  A noise of 0 is what quantisation leaves and passes.
    """
    if used < minimum:
        return Certificate(passed=False, reason=f"too few frames: {used} usable, {minimum} are needed")
    if noise_adu and expected_noise_adu and noise_adu > _NOISE_FACTOR * expected_noise_adu:
        reason = f"its frames scatter by {noise_adu:.2f} ADU, the read noise is {expected_noise_adu:.2f} ADU"
        return Certificate(passed=False, reason=reason)
    return Certificate(passed=True)
