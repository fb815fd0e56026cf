"""Does a frame hold its bias?  What its pixels tell of it, whatever its header says.

Three signs, none of which an honest frame under a bright sky can give by itself:

* **level**: most of a frame's darkest parts lie below half of the bias's level: the bias cannot be in them;
* **noise**: photons bear noise.  Neighbouring pixels that scatter by ``s`` (ADU) hold light and dark signal of at most
  ``gain (s^2 - r^2)`` ADU (photon transfer: Janesick 2001, Scientific Charge-Coupled Devices, ch. 2).  Stars and the response of
  the pixels only add to the scatter.  A level that stands above what the noise shows by more than half of the bias is no light,
  unless the noise was smoothed (which the scatter of pixels further apart shows) or the gain is wrong;
* **pattern**: the fixed pattern of the bias frames stands in a frame that holds its bias once, in another one not at all.  The
  regression of differences between neighbouring columns on those of the bias master tells how often, with its error from the
  scatter of the columns among each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.grid import block_medians
from nightcrew.quality.statistics import clipped_mean_sigma, median_and_sigma, pixel_noise, sample_pixels

Image = NDArray[Any]
Told = Literal["in", "off", "unknown"]

_GAIN_MARGIN = 1.2  # gains of headers are wrong by some per cent, photon transfer by a few more
_LEAST_PEDESTAL = 0.4  # of the level: a smaller bias is not told from a gain that is wrong by a fifth
_SMOOTHED = 0.85  # neighbours of a smoothed frame scatter less than this part of what pixels four apart do
_LEAST_NOISE_ADU = 1.0  # less is hardly resolved by whole numbers, and that of numbers that were divided, for which no gain holds
_DARK_PARTS = 5.0  # per cent of the frame's parts
_MOST_PIXELS = 500_000  # of the pattern
_GLANCE = 30_000  # pixels of a first glance
_LEAST_COLUMNS = 32
_CLIP = 5.0
_CHANNELS = 16  # columns that share a converter may share a level and a response: no column stands for itself there
_SURE = 3.0  # errors of the pattern's share
_CLOSEST = 0.15  # largest error of a share that tells something


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How often the pattern of a bias stands in a frame (1: as in the bias, 0: not at all), with its error."""

    share: float
    error: float

    @property
    def told(self) -> Told:
        """Whether that says something; a share that is neither 0 nor 1 is that of another bias."""
        if self.error > _CLOSEST:
            return "unknown"
        reach = _SURE * self.error
        if self.share - reach > 0.5 and self.share - reach < 1.3:
            return "in"
        return "off" if abs(self.share) + reach < 0.5 else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What the pixels of a frame tell of its bias; levels in ADU."""

    level_adu: float
    dark_parts_adu: float
    pedestal_adu: float | None  # of the bias frames; None: there are none to compare with
    shown_adu: float | None  # light and dark signal that the noise shows; None: no gain, or the noise was smoothed
    pattern: Pattern | None  # None: there is none that could be looked for

    @property
    def level(self) -> Told:
        """Is more than half of the bias's level in the frame?"""
        half = (self.level_adu if self.pedestal_adu is None else self.pedestal_adu) / 2.0
        if half <= 0.0:
            return "unknown"
        large = 2.0 * half > _LEAST_PEDESTAL * self.level_adu
        if large and self.shown_adu is not None and _GAIN_MARGIN * self.shown_adu < self.level_adu - half:
            return "in"
        return "off" if self.pedestal_adu is not None and self.dark_parts_adu < half else "unknown"

    def told_of(self, *, has_overscan: bool = False) -> tuple[str, str]:
        """Grade and sentence for a frame whose header says that its bias was taken off ("A" and "": its pixels say so, too).

        ``has_overscan``: the level of its overscan is taken off in any case, so its level is right whatever the header says.
        """
        pattern = self.pattern.told if self.pattern is not None else "unknown"
        level = "off" if has_overscan else self.level
        if level == "in":
            return ("C" if pattern == "off" else "D"), f"its header says that its bias was taken off, {self._level_told(pattern)}"
        if pattern == "in" and self.pattern is not None:
            found = f"the pattern of the bias frames stands in it {self.pattern.share:.2f} +- {self.pattern.error:.2f} times"
            if level == "off":
                return "C", f"its header says that its bias was taken off, but only a level was: {found}"
            return "D", f"its header says that its bias was taken off, its pixels that it holds it: {found}"
        return "A", "" if "off" in (level, pattern) else "its pixels do not tell whether that is so"

    def _level_told(self, pattern: Told) -> str:
        shown = f"its level is {self.level_adu:.4g} ADU, and its noise shows light of {self.shown_adu:.4g} ADU"
        if self.pedestal_adu is None:
            return f"but {shown}: it still holds its bias, or its gain is wrong"
        if pattern == "off":
            return f"and their pattern is not in it; but {shown}: a level was added, or its gain is wrong"
        doubt = "" if pattern == "in" else ", or its gain is wrong"
        return f"but {shown}; that of the bias frames is {self.pedestal_adu:.4g} ADU: it still holds its bias{doubt}"


def bias_signs(
    frame: Image,
    *,
    gain_e_per_adu: float | None,
    read_noise_adu: float | None,
    bias: Image | None = None,
    bias_uncertainty: Image | None = None,
    zero_adu: float = 0.0,
) -> Signs | None:
    """The signs in ``frame`` ``[y, x]`` (ADU, trimmed; levels count from ``zero_adu``, its overscan's); None without a finite pixel.

    ``bias`` and its 1-sigma ``bias_uncertainty`` are the master of the same set-up, in ADU above the overscan.
    """
    parts = [value for value in block_medians(frame) if value is not None]
    if not parts:
        return None
    return Signs(
        level_adu=float(np.median(parts)) - zero_adu,
        dark_parts_adu=float(np.percentile(parts, _DARK_PARTS)) - zero_adu,
        pedestal_adu=None if bias is None else float(np.nanmedian(bias[::3, ::3])),
        shown_adu=light_shown(frame, gain_e_per_adu, read_noise_adu),
        pattern=None if bias is None else bias_pattern(frame, bias, bias_uncertainty),
    )


def is_without(
    frame: Image,
    bias: Image,
    bias_uncertainty: Image | None,
    *,
    gain_e_per_adu: float | None,
    read_noise_adu: float | None,
    zero_adu: float = 0.0,
) -> str:
    """What tells that a frame, of which ``bias`` (or a dark with its bias) is to be taken, does not hold it; "" where nothing does.

    Noise and pattern must say so both: stars and the response of the pixels scatter, too, and a pattern may have changed.
    """
    shown = light_shown(frame, gain_e_per_adu, read_noise_adu, max_pixels=_GLANCE)
    pedestal, level = (float(np.nanmedian(sample_pixels(image, _GLANCE))) for image in (bias, frame))
    if shown is None or pedestal <= 0.0 or not shown > _GAIN_MARGIN * (level - zero_adu - pedestal / 2.0):
        return ""
    pattern = bias_pattern(frame, bias, bias_uncertainty)
    if pattern is None or pattern.told != "off":
        return ""
    return (
        f"its noise shows light of {shown:.4g} ADU in a level of {level - zero_adu:.4g} ADU, and the pattern of its bias stands in it "
        f"{pattern.share:.2f} +- {pattern.error:.2f} times: its bias of {pedestal:.4g} ADU was taken off before it came, "
        "which its header does not say, and once more"
    )


def light_shown(frame: Image, gain_e_per_adu: float | None, read_noise_adu: float | None, *, max_pixels: int = 60_000) -> float | None:
    """Light and dark signal in ADU that the noise of ``frame`` shows; None where that is not known.

    Without a gain, and where the noise was smoothed or is not resolved.
    """
    if not gain_e_per_adu or gain_e_per_adu <= 0 or frame.shape[-1] < 16:
        return None
    beside = pixel_noise(frame, max_pixels)
    apart = pixel_noise(_apart(frame, max_pixels), max_pixels)
    if beside < max(_SMOOTHED * apart, _LEAST_NOISE_ADU):
        return None
    return max(gain_e_per_adu * (beside**2 - (read_noise_adu or 0.0) ** 2), 0.0)


def _apart(frame: Image, max_pixels: int) -> Image:
    """Rows of ``frame`` in which pixels four apart stand side by side, in pairs."""
    rows = max(1, min(frame.shape[0], max_pixels // frame.shape[1]))
    chosen = frame[:: max(1, frame.shape[0] // rows)]
    eights = chosen[:, : chosen.shape[1] // 8 * 8].reshape(chosen.shape[0], -1, 2, 4)
    return eights.swapaxes(-1, -2).reshape(chosen.shape[0], -1)


def bias_pattern(frame: Image, bias: Image, bias_uncertainty: Image | None) -> Pattern | None:
    """How often the pattern of ``bias`` stands in ``frame``; None where the bias shows no pattern beyond its noise.

    Its columns are tried first, then its single pixels.  Differences between neighbouring columns leave out sky and stars' wings;
    what pixels have in common that lie a multiple of 16 columns apart, or in rows of the same parity, is taken out: the colours
    of a mosaic and the channels of a read-out have levels *and* responses of their own.
    """
    ny, nx = frame.shape
    if nx <= _LEAST_COLUMNS or bias_uncertainty is None:
        return None
    rows = np.unique(np.linspace(0, ny - 1, min(ny, max(1, _MOST_PIXELS // nx))).astype(np.intp))
    ours, theirs = (_steps(image, rows) for image in (frame, bias))
    squared = np.square(bias_uncertainty[rows].astype(np.float64))
    noise = squared[:, 1:] + squared[:, :-1]
    good = ~(np.isnan(ours) | np.isnan(theirs) | ~np.isfinite(noise))
    n = good.sum(axis=0)
    if np.count_nonzero(n) < _LEAST_COLUMNS:
        return None
    ours, theirs, noise = (np.where(good, plane, 0.0) for plane in (ours, theirs, noise))
    n = np.maximum(n, 1)
    columns = [plane.sum(axis=0) / n for plane in (ours, theirs)]
    found = _share(columns[0] * columns[1], columns[1] ** 2, noise.sum(axis=0) / n**2)
    if found is None or found.told == "unknown":
        single = _share((ours * theirs).sum(axis=0), (theirs**2).sum(axis=0), noise.sum(axis=0))
        found = min((one for one in (found, single) if one is not None), key=lambda one: one.error, default=None)
    return found


def _steps(image: Image, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Differences between neighbouring columns in some rows, each channel about 0, NaN where they stick out (stars, hot pixels)."""
    steps = np.diff(image[rows].astype(np.float64), axis=1)
    steps[~np.isfinite(steps)] = np.nan
    channels = _CHANNELS if steps.shape[1] >= 2 * _LEAST_COLUMNS * _CHANNELS else 2
    for parity in (0, 1):
        of_parity = rows % 2 == parity
        for channel in range(channels):
            some = steps[of_parity, channel::channels]
            finite = some[np.isfinite(some)]
            if finite.size:
                steps[of_parity, channel::channels] = some - np.median(finite)
    finite = steps[np.isfinite(steps)]
    if finite.size:
        sigma = median_and_sigma(finite)[1] or clipped_mean_sigma(finite)[1]
        with np.errstate(invalid="ignore"):
            steps[np.abs(steps) > _CLIP * sigma] = np.nan
    return steps


def _share(products: NDArray[np.float64], squares: NDArray[np.float64], noise: NDArray[np.float64]) -> Pattern | None:
    """Regression through 0 over columns, without the squares that the master's own noise gives; None where these are most of it.

    The error is the scatter of the columns about it, with the correlation of neighbours, which share a column.
    """
    pattern = float(np.sum(squares - noise))
    if pattern <= float(np.sum(noise)):
        return None
    share = float(np.sum(products)) / pattern
    rest = products - share * (squares - noise)
    variance = max(float(np.sum(rest**2)) + 2.0 * float(np.sum(rest[1:] * rest[:-1])), float(np.sum(rest**2)))
    return Pattern(share=share, error=math.sqrt(variance) / pattern)
