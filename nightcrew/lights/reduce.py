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
too faint.  ``m`` is the mean of the good pixels of the reduced frame within 5 x 5 (whose total is unbiased), so a pixel enters
its own variance with 4 %.  Where the pixel differs from that mean by more than 4 sigma - a star's core and flanks, a cosmic
ray - the field is not smooth on 5 pixels; there, and only there, ``m`` is the pixel's own value, whose noise is then small
against it.  The work is done in one pass by :func:`nightcrew.calibration.calibrate.calibrate_light`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.calibrate import LightNumbers, LightPlanes, calibrate_light
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.lights.overscan import OverscanLevel, OverscanMethod, Region, overscan_level, trimmed
from nightcrew.quality.statistics import median_and_sigma, pixel_noise, sample_pixels

Float = NDArray[np.float32]


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
    bias_taken_off: bool = False
    """The frame came without its bias: none may be given, and there is no pedestal to look for."""
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
    threads: int = 1,
) -> ReducedLight:
    """Reduce the raw light ``raw`` (ADU, ``[y, x]``, any real type) to electrons; see the module's text for the formulas.

    Masters and ``bad_pixels`` (PixelFlag bits) have the shape of the trimmed frame, and overscan was taken off the masters'
    frames as it is off this one.  A step whose master is ``None`` is skipped and named in ``facts["notes"]``.  With
    ``dark_includes_bias`` a bias may be given as well: it is not subtracted, it only tells the dark's thermal part.

    :raises RejectedInput: frame and masters do not fit onto each other.
    :raises ValueError: parameters that would take the bias off twice or scale it.
    """
    parameters = parameters or ReduceParameters()
    _check_algebra(parameters, bias, dark)
    if raw.ndim != 2:
        raise RejectedInput(f"a light has two axes, this one has {raw.ndim}")
    frame = trimmed(raw, parameters.trim)
    masters = {"bias": bias, "dark": dark, "flat": flat}
    _check_shapes(frame, masters, bad_pixels)
    overscan = overscan_level(raw, parameters.overscan, parameters.trim, parameters.overscan_method)
    read_variance, notes = _read_variance(frame, parameters, overscan, bias, dark)
    saturation_adu = _saturation(parameters.saturation_adu, frame)
    numbers = LightNumbers(
        gain_e_per_adu=parameters.gain_e_per_adu or 1.0,
        read_variance_e2=read_variance,
        dark_factor=parameters.dark_scale,
        bias_share=(1.0 - parameters.dark_scale) ** 2 if dark is not None and parameters.dark_shares_bias else 1.0,
        saturation_adu=math.inf if saturation_adu is None else saturation_adu,
        photons=bool(parameters.gain_e_per_adu),
    )
    planes = _planes(parameters, bias, dark, flat, bad_pixels)
    unknown_adu = _unknown_pedestal(frame, parameters, overscan, planes, read_variance)
    pedestal = overscan.level_adu if unknown_adu == 0.0 else np.full(frame.shape[0], unknown_adu)
    done = calibrate_light(frame, planes, numbers, pedestal=pedestal, threads=threads)
    if unknown_adu:
        np.add(done.science, np.float32(unknown_adu * numbers.gain_e_per_adu) / _divisor(flat), out=done.science)
    notes += _missing(parameters, masters)
    facts = _numbers(parameters, done.science, done.mask, read_variance, saturation_adu, overscan)
    facts |= {"steps": _steps(parameters, overscan, masters), "notes": notes}
    return ReducedLight(done.science, done.uncertainty, done.mask, str(facts["unit"]), facts)


def _check_algebra(parameters: ReduceParameters, bias: Master | None, dark: Master | None) -> None:
    if parameters.bias_taken_off and (bias is not None or (dark is not None and parameters.dark_includes_bias)):
        raise ValueError("the bias was taken off the frame before it came: it must not be taken off again")
    if dark is None:
        return
    if parameters.dark_includes_bias and parameters.dark_scale != 1.0:
        raise ValueError("a dark that still holds its bias cannot be scaled in exposure: remove the bias first")
    if parameters.dark_includes_bias and parameters.dark_shares_bias:
        raise ValueError("a dark either holds its bias or had it removed, not both")
    if not (math.isfinite(parameters.dark_scale) and parameters.dark_scale >= 0.0):
        raise ValueError(f"dark_scale must be a finite number >= 0, not {parameters.dark_scale}")


def _check_shapes(frame: NDArray[Any], masters: dict[str, Master | None], bad_pixels: NDArray[Any] | None) -> None:
    planes: list[tuple[str, NDArray[Any] | None]] = [("bad-pixel mask", bad_pixels)]
    for name, master in masters.items():
        if master is not None:
            planes += [(name, master.data), (f"{name}'s uncertainty", master.uncertainty), (f"{name}'s mask", master.mask)]
    for name, array in planes:
        if array is not None and array.shape != frame.shape:
            have, want = (" x ".join(str(n) for n in reversed(a.shape)) for a in (array, frame))
            raise RejectedInput(f"the {name} has {have} pixels, the light {want} after trimming")


def _planes(
    parameters: ReduceParameters, bias: Master | None, dark: Master | None, flat: Master | None, bad_pixels: NDArray[Any] | None
) -> LightPlanes:
    """Which plane is subtracted and which only tells the dark's bias."""
    held = dark is not None and parameters.dark_includes_bias
    taken = None if held else bias
    zero = None
    if held and dark is not None:
        zero = dark.data if bias is None else bias.data  # without a bias the thermal part is unknown: none is counted
    masks = [bad_pixels, *(master.mask for master in (taken, dark, flat) if master is not None)]
    return LightPlanes(
        bias=_data(taken),
        bias_uncertainty=_error(taken),
        dark=_data(dark),
        dark_uncertainty=_error(dark),
        dark_zero=zero,
        flat=_data(flat),
        flat_uncertainty=_error(flat),
        masks=[mask for mask in masks if mask is not None],
    )


def _data(master: Master | None) -> NDArray[Any] | None:
    return None if master is None else master.data


def _error(master: Master | None) -> NDArray[Any] | None:
    return None if master is None else master.uncertainty


def _read_variance(
    frame: NDArray[Any], parameters: ReduceParameters, overscan: OverscanLevel, bias: Master | None, dark: Master | None
) -> tuple[float, list[str]]:
    """Read-noise variance in e^2 (ADU^2 without gain) with the overscan level's share, never below the quantisation; notes on it."""
    gain, notes = parameters.gain_e_per_adu or 1.0, []
    limit = (gain * parameters.quantisation_step_adu) ** 2 / 12.0
    if not parameters.gain_e_per_adu:
        scatter = pixel_noise(frame) ** 2
        notes.append("gain unknown: left in ADU, uncertainty is the frame's own pixel-to-pixel scatter without photon noise")
    elif parameters.read_noise_e is not None:
        scatter = parameters.read_noise_e**2
    else:
        pedestal = overscan.level_adu if overscan.level_adu is not None else np.zeros(1)
        held = dark is not None and parameters.dark_includes_bias
        level_adu = _typical(frame) - float(np.median(pedestal)) - _typical(_data(dark if held and bias is None else bias))
        scatter = (pixel_noise(frame) * gain) ** 2 - max(level_adu, 0.0) * gain
        notes.append("read noise unknown: taken from the frame's scatter beyond photon noise")
    return max(scatter, limit) * (1.0 + overscan.noise_factor**2), notes


def _unknown_pedestal(
    frame: NDArray[Any], parameters: ReduceParameters, overscan: OverscanLevel, planes: LightPlanes, read_variance: float
) -> float:
    """Level in ADU that is no light, in a frame from which nothing removes the bias: what the frame's scatter does not show as photons.

    It is taken out for the uncertainty only and put back into the science.  0 where the bias is removed or the gain unknown.
    """
    held = planes.dark is not None and parameters.dark_includes_bias
    if planes.bias is not None or held or parameters.bias_taken_off or overscan.level_adu is not None or not parameters.gain_e_per_adu:
        return 0.0
    photons_e = max((pixel_noise(frame) * parameters.gain_e_per_adu) ** 2 - read_variance, 0.0)
    return max(_typical(frame) - photons_e / parameters.gain_e_per_adu, 0.0)


def _divisor(flat: Master | None) -> NDArray[Any]:
    return np.ones(1, np.float32) if flat is None else np.where(flat.data > 0, flat.data, np.float32(1))


def _typical(plane: NDArray[Any] | None) -> float:
    """Median of a sample of the finite pixels; 0 without any."""
    if plane is None:
        return 0.0
    sample = sample_pixels(plane, 50_000)
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else 0.0


def _missing(parameters: ReduceParameters, masters: dict[str, Master | None]) -> list[str]:
    """Notes on steps that were not done."""
    absent = [name for name, master in masters.items() if master is None and (name != "bias" or not parameters.bias_taken_off)]
    notes = []
    if masters["dark"] is not None and parameters.dark_includes_bias and "bias" in absent:
        absent.remove("bias")
        notes.append("bias level of the dark unknown: its thermal electrons do not enter the uncertainty")
    notes += [f"no {name}: step skipped" for name in absent]
    if "bias" in absent and parameters.gain_e_per_adu:
        notes.append("the bias is still in: photon noise is what the frame's scatter shows beyond the read noise")
    return notes


def _numbers(
    parameters: ReduceParameters,
    science: Float,
    mask: NDArray[np.uint16],
    read_variance: float,
    saturation_adu: float | None,
    overscan: OverscanLevel,
) -> dict[str, Any]:
    sample = sample_pixels(science)
    sample = sample[np.isfinite(sample)]
    median, sigma = median_and_sigma(sample) if sample.size else (None, None)
    return {
        "unit": "electron" if parameters.gain_e_per_adu else "adu",
        "gain_e_per_adu": parameters.gain_e_per_adu,
        "read_noise": math.sqrt(read_variance),
        "read_noise_e": math.sqrt(read_variance) if parameters.gain_e_per_adu else None,
        "saturation_adu": saturation_adu,
        "median": median,
        "sigma": sigma,
        "overscan_adu": None if overscan.level_adu is None else float(np.median(overscan.level_adu)),
        "saturated_pixels": int(np.count_nonzero(mask & int(PixelFlag.SATURATED))),
        "flagged_pixels": int(np.count_nonzero(mask)),
    }


def _steps(parameters: ReduceParameters, overscan: OverscanLevel, masters: dict[str, Master | None]) -> list[str]:
    steps = []
    if overscan.level_adu is not None:
        steps.append(f"overscan ({parameters.overscan_method})")
    if parameters.trim is not None:
        steps.append("trim")
    held = masters["dark"] is not None and parameters.dark_includes_bias
    if masters["bias"] is not None and not held:
        steps.append("bias")
    if parameters.bias_taken_off:
        steps.append("bias (before it came)")
    if masters["dark"] is not None:
        steps.append("dark (with its bias)" if held else f"dark (bias removed, x {parameters.dark_scale:.6g})")
    if masters["flat"] is not None:
        steps.append("flat")
    if parameters.gain_e_per_adu:
        steps.append("gain")
    return steps


def _saturation(given_adu: float | None, frame: NDArray[Any]) -> float | None:
    if given_adu is not None:
        return given_adu
    return float(np.iinfo(frame.dtype).max) if np.issubdtype(frame.dtype, np.integer) else None
