"""Calibration of a light in plain numpy, operation by operation as the C kernel (formulae: :mod:`nightcrew.calibration.calibrate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag

if TYPE_CHECKING:
    from nightcrew.calibration.calibrate import LightNumbers

F8 = NDArray[np.float64]
Given = dict[str, NDArray[np.float32] | None]
LARGEST = float(np.finfo(np.float32).max)
PIXELS_AT_ONCE = 1 << 16  # the working arrays of a slab stay in the cache


def calibrate(
    raw: NDArray[Any],
    zero: int,
    pedestal: F8 | None,
    given: Given,
    masks: list[NDArray[np.uint16]],
    numbers: LightNumbers,
    out: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]],
) -> None:
    """Fill science, uncertainty and mask, slab by slab; rows beside a slab are read again for the box."""
    ny, nx = raw.shape
    half, step = numbers.box // 2, max(16, PIXELS_AT_ONCE // max(nx, 1))
    science, uncertainty, mask = out
    for y0 in range(0, ny, step):
        y1 = min(ny, y0 + step)
        top, bottom = max(0, y0 - half), min(ny, y1 + half)
        level = None if pedestal is None else pedestal[top:bottom]
        value, flags = _science(raw[top:bottom], zero, level, _cut(given, top, bottom), [m[top:bottom] for m in masks], numbers)
        inner = slice(y0 - top, y1 - top)
        science[y0:y1], mask[y0:y1] = value[inner], flags[inner]
        mean = box_mean(value, flags == 0, half, inner)
        uncertainty[y0:y1] = _sigma(value[inner], mean, _cut(given, y0, y1), numbers)


def _cut(given: Given, y0: int, y1: int) -> Given:
    return {name: None if plane is None else plane[y0:y1] for name, plane in given.items()}


def _science(
    raw: NDArray[Any], zero: int, pedestal: F8 | None, given: Given, masks: list[NDArray[np.uint16]], numbers: LightNumbers
) -> tuple[F8, NDArray[np.uint16]]:
    """Science values (NaN where there are none) and flags."""
    value = raw.astype(np.float64)
    value += zero
    flags = np.where(value >= numbers.saturation_adu, PixelFlag.SATURATED.value, 0).astype(np.uint16)
    value -= 0.0 if pedestal is None else pedestal[:, None]
    for mask in masks:
        flags |= mask
    bias, dark, flat = given["bias"], given["dark"], given["flat"]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if bias is not None:
            value -= bias.astype(np.float64)
        if dark is not None:
            value -= numbers.dark_factor * dark.astype(np.float64)
        value *= numbers.gain_e_per_adu
        if flat is not None:
            fine = (flat > 0) & (flat <= LARGEST)
            value = np.where(fine, value / flat.astype(np.float64), np.nan)
            flags[~fine] |= PixelFlag.BAD_FLAT.value
        missing = ~((value <= LARGEST) & (value >= -LARGEST))
    flags[missing] |= PixelFlag.NO_DATA.value
    value[missing] = np.nan
    return value, flags


def box_mean(value: F8, good: NDArray[np.bool_], half: int, inner: slice) -> F8:
    """Mean of the good values in a box of side 2 half + 1, for the rows ``inner``; the value itself where none is good."""
    side, nx = 2 * half + 1, value.shape[1]
    rows = inner.stop - inner.start
    above, below = half - inner.start, half - (value.shape[0] - inner.stop)
    margin = ((max(above, 0), max(below, 0)), (half, half))
    totals = []
    for plane in (np.where(good, value, 0.0), good.astype(np.float64)):
        padded = np.pad(plane, margin)
        across = padded[:, :nx].copy()
        for d in range(1, side):
            across += padded[:, d : d + nx]
        total = np.zeros((rows, nx))
        for d in range(side):
            total += across[d : d + rows]
        totals.append(total)
    with np.errstate(invalid="ignore"):
        return np.where(totals[1] > 0, totals[0] / totals[1], value[inner])


def _sigma(value: F8, mean: F8, given: Given, numbers: LightNumbers) -> F8:
    """One standard deviation of the science values."""
    gain2, light = numbers.gain_e_per_adu * numbers.gain_e_per_adu, 1.0 if numbers.photons else 0.0
    fixed = _fixed_variance(value.shape, given, numbers, gain2)
    flat = given["flat"]
    f = np.ones(value.shape) if flat is None else flat.astype(np.float64)
    f2, lowest = f * f, numbers.least * fixed
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        variance = _at_least(fixed + light * (f * mean), lowest)
        difference = value - mean
        own = difference * difference * f2 > (numbers.own_value_sigma**2) * variance
        level = np.where(own, value, mean)
        variance = _at_least(fixed + light * (f * level), lowest) / f2
        sigma_flat = given["flat_uncertainty"]
        if sigma_flat is not None:
            part = level * sigma_flat.astype(np.float64) / f
            variance += part * part
        sigma = np.sqrt(variance)
    sigma[np.isnan(value)] = np.nan
    return sigma


def _at_least(variance: F8, lowest: F8) -> F8:
    """The larger, and ``lowest`` where the variance is not a number (as the C kernel compares)."""
    return np.where(variance > lowest, variance, lowest)


def _fixed_variance(shape: tuple[int, ...], given: Given, numbers: LightNumbers, gain2: float) -> F8:
    """q of the module's text."""
    fixed = np.full(shape, float(numbers.read_variance_e2))
    dark, zero, k = given["dark"], given["dark_zero"], numbers.dark_factor
    with np.errstate(invalid="ignore", over="ignore"):
        if dark is not None and numbers.photons:
            thermal = dark.astype(np.float64) - (0.0 if zero is None else zero.astype(np.float64))
            fixed += (numbers.gain_e_per_adu * k) * thermal
        for name, share in (("bias_uncertainty", numbers.bias_share * gain2), ("dark_uncertainty", k * k * gain2)):
            plane = given[name]
            if plane is not None:
                error = plane.astype(np.float64)
                fixed += share * (error * error)
    return fixed
