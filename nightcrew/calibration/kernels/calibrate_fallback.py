"""Calibration of a light in plain numpy, operation by operation as the C kernel (formulae: :mod:`nightcrew.calibration.calibrate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag

if TYPE_CHECKING:
    from nightcrew.calibration.calibrate import LightNumbers

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Given = dict[str, NDArray[np.float32] | None]
LARGEST = float(np.finfo(np.float32).max)
PIXELS_AT_ONCE = 1 << 16  # the working arrays of a slab stay in the cache


def calibrate(
    raw: NDArray[Any],
    first_row: int,
    rows: tuple[int, int],
    ny: int,
    zero: int,
    pedestal: F8 | None,
    given: Given,
    masks: list[NDArray[np.uint16]],
    numbers: LightNumbers,
    out: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]],
) -> None:
    """Fill science, uncertainty and mask of ``rows``, slab by slab; rows beside a slab are read again for the box.

    ``raw`` holds the light's rows from ``first_row`` on, with those that the box needs; ``out`` holds ``rows`` alone.
    """
    half, step = numbers.box // 2, max(16, PIXELS_AT_ONCE // max(raw.shape[1], 1))
    science, uncertainty, mask = out
    for y0 in range(*rows, step):
        y1 = min(rows[1], y0 + step)
        top, bottom = max(0, y0 - half), min(ny, y1 + half)
        level = None if pedestal is None else pedestal[top:bottom]
        part = raw[top - first_row : bottom - first_row]
        value, flags = _science(part, zero, level, _cut(given, top, bottom), [m[top:bottom] for m in masks], numbers)
        inner, target = slice(y0 - top, y1 - top), slice(y0 - rows[0], y1 - rows[0])
        science[target], mask[target] = value[inner], flags[inner]
        mean = box_mean(value, flags == 0, half, inner)
        uncertainty[target] = _sigma(value[inner], mean, _cut(given, y0, y1), numbers)


def _cut(given: Given, y0: int, y1: int) -> Given:
    return {name: None if plane is None else plane[y0:y1] for name, plane in given.items()}


def _science(
    raw: NDArray[Any], zero: int, pedestal: F8 | None, given: Given, masks: list[NDArray[np.uint16]], numbers: LightNumbers
) -> tuple[F4, NDArray[np.uint16]]:
    """Science values (NaN where there are none) and flags.  Differences in float64, then float32."""
    work = raw.astype(np.float64)
    work += zero
    flags = np.where(work >= numbers.saturation_adu, PixelFlag.SATURATED.value, 0).astype(np.uint16)
    work -= 0.0 if pedestal is None else pedestal[:, None]
    for mask in masks:
        flags |= mask
    bias, dark, flat = given["bias"], given["dark"], given["flat"]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if bias is not None:
            work -= bias.astype(np.float64)
        if dark is not None:
            work -= numbers.dark_factor * dark.astype(np.float64)
        work *= numbers.gain_e_per_adu
        value = work.astype(np.float32)
        if flat is not None:
            fine = (flat > 0) & (flat <= LARGEST)
            value = np.where(fine, value / flat, np.float32(np.nan))
            flags[~fine] |= PixelFlag.BAD_FLAT.value
        missing = ~(np.abs(value) <= LARGEST)
    flags[missing] |= PixelFlag.NO_DATA.value
    value[missing] = np.nan
    return value, flags


def box_mean(value: F4, good: NDArray[np.bool_], half: int, inner: slice) -> F4:
    """Mean of the good values in a box of side 2 half + 1, for the rows ``inner``; the value itself where none is good."""
    side, nx = 2 * half + 1, value.shape[1]
    rows = inner.stop - inner.start
    above, below = half - inner.start, half - (value.shape[0] - inner.stop)
    margin = ((max(above, 0), max(below, 0)), (half, half))
    totals = []
    for plane in (np.where(good, value, np.float32(0)), good.astype(np.float32)):
        padded = np.pad(plane, margin)
        across = padded[:, :nx].copy()
        for d in range(1, side):
            across += padded[:, d : d + nx]
        total = np.zeros((rows, nx), np.float32)
        for d in range(side):
            total += across[d : d + rows]
        totals.append(total)
    with np.errstate(invalid="ignore"):
        return np.where(totals[1] > 0, totals[0] / totals[1], value[inner])


def _sigma(value: F4, mean: F4, given: Given, numbers: LightNumbers) -> F4:
    """One standard deviation of the science values."""
    fixed = _fixed_variance(value.shape, given, numbers)
    flat, sigma_flat = given["flat"], given["flat_uncertainty"]
    lowest = np.float32(numbers.least) * fixed
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):

        def variance_at(level: F4) -> F4:
            light = (level if flat is None else flat * level) if numbers.photons else None
            return _at_least(fixed if light is None else fixed + light, lowest)

        difference = value - mean if flat is None else (value - mean) * flat
        own = difference * difference > np.float32(numbers.own_value_sigma**2) * variance_at(mean)
        level = np.where(own, value, mean)
        variance = variance_at(level)
        if flat is not None:
            inverse = np.float32(1) / flat
            variance = variance * (inverse * inverse)
            if sigma_flat is not None:
                part = level * (sigma_flat * inverse)
                variance += part * part
        sigma: F4 = np.sqrt(variance)
    sigma[np.isnan(value)] = np.nan
    return sigma


def _at_least(variance: F4, lowest: F4) -> F4:
    """The larger, and ``lowest`` where the variance is not a number (as the C kernel compares)."""
    return np.where(variance > lowest, variance, lowest)


def _fixed_variance(shape: tuple[int, ...], given: Given, numbers: LightNumbers) -> F4:
    """q of the formula."""
    gain, k = numbers.gain_e_per_adu, numbers.dark_factor
    gain2 = gain * gain
    fixed = np.full(shape, np.float32(numbers.read_variance_e2))
    dark, zero = given["dark"], given["dark_zero"]
    with np.errstate(invalid="ignore", over="ignore"):
        if dark is not None and numbers.photons:
            fixed += np.float32(gain * k) * (dark if zero is None else dark - zero)
        for name, share in (("bias_uncertainty", numbers.bias_share * gain2), ("dark_uncertainty", k * k * gain2)):
            error = given[name]
            if error is not None:
                fixed += np.float32(share) * (error * error)
    return fixed
