"""One light: overscan, trim, bias, dark, flat and gain, with an uncertainty and a mask for every pixel.

In the words of the local-effects equation ``L = (e I + T) t + B``: this module returns ``I t`` in electrons, with

``science = gain (L - overscan - B - k D) / F``

``D`` is a dark with the bias removed (``k`` scales it to the light's exposure) or one that still holds its bias
(then ``B`` is not taken off again and ``k`` must be 1), and ``F`` a flat of unit median.

Variance
--------
With everything in electrons, ``n = F m`` the photoelectrons expected in the pixel and ``T`` the thermal ones,

``variance = [r^2 (1 + o^2) + n + T + c_B u_B^2 + k^2 u_D^2] / F^2 + (m u_F / F)^2``

* ``r`` read noise (never below the quantisation limit ``gain step / sqrt(12)``), ``o`` error of the overscan level in units of it;
* ``u_B``, ``u_D``, ``u_F`` uncertainties of the masters, each from the scatter of its own frames; ``c_B = 1``, or
  ``(1 - k)^2`` where the same bias master was taken off the dark's frames (its error then cancels, for ``k = 1`` wholly),
  or 0 when no bias is taken off;
* ``T = k (D - B)`` from the masters, for a dark with its bias removed ``k D``.

``m`` is **not** the pixel's own count: a variance that rises and falls with the pixel's own noise makes every weighted mean
too faint.  ``m`` is the mean of the reduced frame over 5 x 5 pixels (whose total is unbiased), so a pixel enters its own
variance with 4 %.  Where the pixel differs from that mean by more than 4 sigma - a star's core and flanks, a cosmic ray - the
field is not smooth on 5 pixels; there, and only there, ``m`` is the pixel's own value, whose noise is then small against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.lights.expected_counts import variance_rows
from nightcrew.lights.overscan import OverscanLevel, OverscanMethod, Region, overscan_level, trimmed
from nightcrew.quality.statistics import median_and_sigma, pixel_noise, sample_pixels

Float = NDArray[np.float32]

SLAB_PIXELS = 65_536
"""Pixels handled at once: the working arrays stay within a core's cache."""

HALO = 2
"""Rows above and below a slab that the 5 x 5 mean looks at."""


@dataclass(frozen=True, slots=True)
class Master:
    """A calibration master: ``data`` ``[y, x]``, its 1-sigma ``uncertainty`` in the same unit, ``mask`` of PixelFlag bits.

    Bias and dark are in ADU, the flat is relative (unit median).
    """

    data: NDArray[Any]
    uncertainty: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceParameters:
    """Facts of the frame's header and of the masters chosen for it."""

    gain_e_per_adu: float | None = None
    """``None``: the frame stays in ADU and its uncertainty is the scatter measured in it."""
    read_noise_e: float | None = None
    """``None``: what the frame's scatter has beyond photon noise."""
    saturation_adu: float | None = None
    """Raw values at or above it are flagged; ``None``: the largest value of an integer type."""
    trim: Region | None = None
    overscan: Region | None = None
    overscan_method: OverscanMethod = "rows"
    dark_scale: float = 1.0
    """Exposure of the light over that of the dark (``k``)."""
    dark_includes_bias: bool = False
    dark_shares_bias: bool = False
    """The very bias master given here was taken off the dark's frames, and its error is not in the dark's uncertainty.

    ``False`` is the cautious choice, and the right one for a thermal rate whose uncertainty holds the bias's error."""
    quantisation_step_adu: float = 1.0


@dataclass(frozen=True, slots=True)
class ReducedLight:
    """``science`` and 1-sigma ``uncertainty`` (float32 ``[y, x]``, per exposure, in ``unit``), ``mask`` (uint16 PixelFlag bits).

    ``unit`` is ``"electron"``, or ``"adu"`` when no gain is known.  Pixels without a value are NaN and flagged NO_DATA.
    ``facts`` is JSON-able: numbers used, ``steps`` done and ``notes`` on what was not.
    """

    science: Float
    uncertainty: Float
    mask: NDArray[np.uint16]
    unit: str
    facts: dict[str, Any] = field(default_factory=dict)


def reduce_light(
    raw: NDArray[Any],
    *,
    parameters: ReduceParameters | None = None,
    bias: Master | None = None,
    dark: Master | None = None,
    flat: Master | None = None,
    bad_pixels: NDArray[Any] | None = None,
) -> ReducedLight:
    """Reduce the raw light ``raw`` (ADU, ``[y, x]``, any real type) to electrons; see the module's text for the formulas.

    Masters and ``bad_pixels`` (PixelFlag bits) have the shape of the trimmed frame, and overscan was taken off the masters'
    frames as it is off this one.  A step whose master is ``None`` is skipped and named in ``facts["notes"]``.  With
    ``dark_includes_bias`` a bias may be given as well: it is not subtracted, it only tells the dark's thermal part.

    :raises RejectedInput: frame and masters do not fit onto each other.
    :raises ValueError: parameters that would take the bias off twice or scale it.
    """
    parameters = parameters or ReduceParameters()
    _check_algebra(parameters, dark)
    if raw.ndim != 2:
        raise RejectedInput(f"a light has two axes, this one has {raw.ndim}")
    frame = trimmed(raw, parameters.trim)
    for name, master in (("bias", bias), ("dark", dark), ("flat", flat)):
        if master is not None:
            _check_shape(name, master.data, frame)
    if bad_pixels is not None:
        _check_shape("bad-pixel mask", bad_pixels, frame)
    overscan = overscan_level(raw, parameters.overscan, parameters.trim, parameters.overscan_method)
    job = _Job(frame, parameters, bias, dark, flat, bad_pixels, overscan)
    return job.run()


def _check_algebra(parameters: ReduceParameters, dark: Master | None) -> None:
    if dark is None:
        return
    if parameters.dark_includes_bias and parameters.dark_scale != 1.0:
        raise ValueError("a dark that still holds its bias cannot be scaled in exposure: remove the bias first")
    if parameters.dark_includes_bias and parameters.dark_shares_bias:
        raise ValueError("a dark either holds its bias or had it removed, not both")
    if not (math.isfinite(parameters.dark_scale) and parameters.dark_scale >= 0.0):
        raise ValueError(f"dark_scale must be a finite number >= 0, not {parameters.dark_scale}")


def _check_shape(name: str, array: NDArray[Any], frame: NDArray[Any]) -> None:
    if array.shape != frame.shape:
        have, want = (" x ".join(str(n) for n in reversed(a.shape)) for a in (array, frame))
        raise RejectedInput(f"the {name} has {have} pixels, the light {want} after trimming")


class _Job:
    """One reduction: the arrays, the numbers decided before the pixels are touched, and the loop over slabs of rows."""

    def __init__(
        self,
        frame: NDArray[Any],
        parameters: ReduceParameters,
        bias: Master | None,
        dark: Master | None,
        flat: Master | None,
        bad_pixels: NDArray[Any] | None,
        overscan: OverscanLevel,
    ) -> None:
        self.frame, self.parameters, self.overscan = frame, parameters, overscan
        self.bias, self.dark, self.flat, self.bad_pixels = bias, dark, flat, bad_pixels
        self.bias_taken_off = None if dark is not None and parameters.dark_includes_bias else bias
        self.gain = parameters.gain_e_per_adu or 1.0
        self.notes: list[str] = []
        self.saturation_adu = _saturation(parameters.saturation_adu, frame)
        self.level = self._sky_level()
        self.read_variance = self._read_variance()

    def run(self) -> ReducedLight:
        ny, nx = self.frame.shape
        science, uncertainty = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
        mask = np.zeros((ny, nx), np.uint16)
        rows = max(8, SLAB_PIXELS // max(nx, 1))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for y0 in range(0, ny, rows):
                y1 = min(y0 + rows, ny)
                self._slab(y0, y1, science[y0:y1], uncertainty[y0:y1], mask[y0:y1])
        unit = "electron" if self.parameters.gain_e_per_adu else "adu"
        return ReducedLight(science, uncertainty, mask, unit, self._facts(science, mask))

    def _slab(self, y0: int, y1: int, science: Float, uncertainty: Float, mask: NDArray[np.uint16]) -> None:
        """Reduce rows y0:y1 into the three outputs (views of those rows)."""
        top, bottom = max(0, y0 - HALO), min(self.frame.shape[0], y1 + HALO)
        value = self._calibrated(top, bottom)
        inner = slice(y0 - top, y1 - top)
        science[...] = value[inner]
        self._flags(y0, y1, science, mask)
        np.copyto(value, self.level, where=~np.isfinite(value))
        variance = variance_rows(
            value, inner, fixed=self._fixed_variance(y0, y1), flat=self._flat(y0, y1), photons=bool(self.parameters.gain_e_per_adu)
        )
        level, total = variance
        if self.flat is not None:
            divisor = self._flat(y0, y1)
            if self.flat.uncertainty is not None and divisor is not None:
                relative = self.flat.uncertainty[y0:y1] / divisor
                total += (level * relative) ** 2
        np.sqrt(total, out=uncertainty)
        np.copyto(uncertainty, np.float32(np.nan), where=(mask & int(PixelFlag.NO_DATA)) != 0)

    def _calibrated(self, y0: int, y1: int) -> Float:
        """Rows y0:y1 after overscan, bias, dark, gain and flat (electrons)."""
        value = self.frame[y0:y1].astype(np.float32)
        if self.overscan.level_adu is not None:
            value -= self.overscan.level_adu[y0:y1, None]
        if self.bias_taken_off is not None:
            value -= self.bias_taken_off.data[y0:y1]
        if self.dark is not None:
            value -= self.dark.data[y0:y1] if self.parameters.dark_scale == 1.0 else self._scaled_dark(y0, y1)
        if self.gain != 1.0:
            value *= np.float32(self.gain)
        divisor = self._flat(y0, y1)
        if divisor is not None:
            value /= divisor
            np.copyto(value, np.float32(np.nan), where=~(divisor > 0))
        return value

    def _flat(self, y0: int, y1: int) -> Float | None:
        return None if self.flat is None else self.flat.data[y0:y1].astype(np.float32, copy=False)

    def _scaled_dark(self, y0: int, y1: int) -> Float:
        if self.dark is None:
            raise ValueError("no dark to scale")
        return np.asarray(self.dark.data[y0:y1] * np.float32(self.parameters.dark_scale), np.float32)

    def _fixed_variance(self, y0: int, y1: int) -> Float | float:
        """Variance in e^2 before the division by the flat, that does not depend on the light: read noise, thermal, masters."""
        gain2 = self.gain * self.gain
        total: Any = np.float32(self.read_variance)
        if self.parameters.gain_e_per_adu:
            total = total + self._thermal(y0, y1)
        k2 = self.parameters.dark_scale**2
        if self.dark is not None and self.dark.uncertainty is not None:
            total = total + np.float32(k2 * gain2) * np.square(self.dark.uncertainty[y0:y1], dtype=np.float32)
        if self.bias_taken_off is not None and self.bias_taken_off.uncertainty is not None:
            share = (1.0 - self.parameters.dark_scale) ** 2 if self.dark is not None and self.parameters.dark_shares_bias else 1.0
            total = total + np.float32(share * gain2) * np.square(self.bias_taken_off.uncertainty[y0:y1], dtype=np.float32)
        return total  # type: ignore[no-any-return]

    def _thermal(self, y0: int, y1: int) -> Float | float:
        """Thermal electrons expected in rows y0:y1."""
        if self.dark is None:
            return 0.0
        scale = np.float32(self.gain * self.parameters.dark_scale)
        if not self.parameters.dark_includes_bias:
            return np.asarray(self.dark.data[y0:y1] * scale, np.float32)
        if self.bias is None:
            return 0.0
        return np.asarray((self.dark.data[y0:y1] - self.bias.data[y0:y1]) * scale, np.float32)

    def _flags(self, y0: int, y1: int, science: Float, mask: NDArray[np.uint16]) -> None:
        """Flag rows y0:y1: masks of the masters by OR, saturation from the raw values, missing values and a bad flat."""
        for plane in (self.bad_pixels, *(m.mask for m in (self.bias_taken_off, self.dark, self.flat) if m is not None)):
            if plane is not None:
                mask |= plane[y0:y1].astype(np.uint16, copy=False)
        if self.saturation_adu is not None:
            _set(mask, self.frame[y0:y1] >= self.saturation_adu, PixelFlag.SATURATED)
        divisor = self._flat(y0, y1)
        if divisor is not None:
            _set(mask, ~(divisor > 0), PixelFlag.BAD_FLAT)
        _set(mask, ~np.isfinite(science), PixelFlag.NO_DATA)

    def _sky_level(self) -> np.float32:
        """Median of the calibrated frame (every n-th row): stands in for missing pixels in the 5 x 5 mean."""
        ny, nx = self.frame.shape
        step = max(1, ny * nx // 100_000)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = [self._calibrated(y, y + 1) for y in range(step // 2 if step < ny else 0, ny, step)]
        sample = np.concatenate(rows)
        sample = sample[np.isfinite(sample)]
        return np.float32(np.median(sample)) if sample.size else np.float32(0.0)

    def _read_variance(self) -> float:
        """Read-noise variance in e^2 (ADU^2 without gain), with the overscan level's share, never below the quantisation limit."""
        limit = (self.gain * self.parameters.quantisation_step_adu) ** 2 / 12.0
        scatter = None
        if not self.parameters.gain_e_per_adu:
            scatter = pixel_noise(self.frame) ** 2
            self.notes.append("gain unknown: left in ADU, uncertainty is the frame's own pixel-to-pixel scatter without photon noise")
        elif self.parameters.read_noise_e is not None:
            scatter = self.parameters.read_noise_e**2
        else:
            scatter = (pixel_noise(self.frame) * self.gain) ** 2 - max(float(self.level), 0.0)
            self.notes.append("read noise unknown: taken from the frame's scatter beyond photon noise")
        return max(scatter, limit) * (1.0 + self.overscan.noise_factor**2)

    def _facts(self, science: Float, mask: NDArray[np.uint16]) -> dict[str, Any]:
        sample = sample_pixels(science)
        sample = sample[np.isfinite(sample)]
        median, sigma = median_and_sigma(sample) if sample.size else (None, None)
        steps = _steps(self.parameters, self.overscan, self.bias_taken_off, self.dark, self.flat)
        missing = [name for name, master in (("bias", self.bias), ("dark", self.dark), ("flat", self.flat)) if master is None]
        if self.dark is not None and self.parameters.dark_includes_bias and self.bias is None:
            missing.remove("bias")
            self.notes.append("bias level of the dark unknown: its thermal electrons do not enter the uncertainty")
        return {
            "unit": "electron" if self.parameters.gain_e_per_adu else "adu",
            "steps": steps,
            "notes": self.notes + [f"no {name}: step skipped" for name in missing],
            "gain_e_per_adu": self.parameters.gain_e_per_adu,
            "read_noise": math.sqrt(self.read_variance),
            "read_noise_e": math.sqrt(self.read_variance) if self.parameters.gain_e_per_adu else None,
            "saturation_adu": self.saturation_adu,
            "median": median,
            "sigma": sigma,
            "overscan_adu": None if self.overscan.level_adu is None else float(np.median(self.overscan.level_adu)),
            "saturated_pixels": int(np.count_nonzero(mask & int(PixelFlag.SATURATED))),
            "flagged_pixels": int(np.count_nonzero(mask)),
        }


def _steps(
    parameters: ReduceParameters, overscan: OverscanLevel, bias: Master | None, dark: Master | None, flat: Master | None
) -> list[str]:
    steps = []
    if overscan.level_adu is not None:
        steps.append(f"overscan ({parameters.overscan_method})")
    if parameters.trim is not None:
        steps.append("trim")
    if bias is not None:
        steps.append("bias")
    if dark is not None:
        held = "with its bias" if parameters.dark_includes_bias else f"bias removed, x {parameters.dark_scale:.6g}"
        steps.append(f"dark ({held})")
    if flat is not None:
        steps.append("flat")
    if parameters.gain_e_per_adu:
        steps.append("gain")
    return steps


def _saturation(given_adu: float | None, frame: NDArray[Any]) -> float | None:
    if given_adu is not None:
        return given_adu
    return float(np.iinfo(frame.dtype).max) if np.issubdtype(frame.dtype, np.integer) else None


def _set(mask: NDArray[np.uint16], where: NDArray[np.bool_], flag: PixelFlag) -> None:
    if where.any():
        mask |= where.astype(np.uint16) * np.uint16(int(flag))
