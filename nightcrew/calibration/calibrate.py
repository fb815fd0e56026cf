"""Calibrate one light: science, uncertainty and mask from one pass over its pixels.

With the raw value L, pedestal o of its row (overscan), bias B, dark D and its factor k, gain g and flat F:

``science = g (L - o - B - k D) / F``

``variance = max(q + F m, least q) / F^2 + (m u_F / F)^2``,  ``q = r^2 + g k (D - Z) + c_B g^2 u_B^2 + k^2 g^2 u_D^2``

q is the part that does not depend on the light: read noise, thermal electrons (Z: the bias that a dark still holds), errors of the
masters.  m is the light that is *expected* in the pixel: the mean of the good science values in a box about it, since a variance
from the pixel's own counts rises and falls with their noise and makes weighted means too faint.  Where the pixel differs from that
mean by more than ``own_value_sigma`` (a star's core, a cosmic ray) the field is not smooth, and m is the pixel's own value.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import calibrate_fallback
from nightcrew.calibration.kernels.library import FRAME, KINDS, POINTER, Kernel, library, pointer
from nightcrew.errors import Refused, RejectedInput

Plane = NDArray[Any]
MAX_MASKS = 6
PLANES = ("bias", "bias_uncertainty", "dark", "dark_uncertainty", "dark_zero", "flat", "flat_uncertainty")

# mirrors light_t of kernels/source/calibrate.c
TASK = np.dtype(
    [
        ("raw", FRAME),
        *((name, POINTER) for name in PLANES),
        ("mask_in", POINTER, MAX_MASKS),
        *((name, POINTER) for name in ("pedestal", "science", "uncertainty", "mask")),
        *((name, "i8") for name in ("ny", "nx", "raw_stride")),
        *((name, "f8") for name in ("dark_factor", "gain", "read_variance", "bias_share", "own_sigma2", "least")),
        *((name, "i4") for name in ("half", "n_masks", "photons", "unused")),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LightPlanes:
    """Planes [y, x] of the light's shape, each or none: masters in ADU (flat: relative), their 1-sigma errors, masks of PixelFlag bits.

    ``dark_zero`` is the bias that the dark still holds: it is not subtracted, it only tells the dark's thermal part.
    """

    bias: Plane | None = None
    bias_uncertainty: Plane | None = None
    dark: Plane | None = None
    dark_uncertainty: Plane | None = None
    dark_zero: Plane | None = None
    flat: Plane | None = None
    flat_uncertainty: Plane | None = None
    masks: Sequence[Plane] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LightNumbers:
    """Numbers of one light; the letters are those of the module's text."""

    gain_e_per_adu: float = 1.0  # g
    read_variance_e2: float = 0.0  # r^2
    dark_factor: float = 1.0  # k
    bias_share: float = 1.0  # c_B: 1 - 2 k where the dark was made with the same bias
    saturation_adu: float = np.inf  # raw values at or above it are flagged
    photons: bool = True  # False leaves F m and the thermal electrons out (gain unknown)
    box: int = 5  # side of the box, odd; 1 takes the pixel's own value
    own_value_sigma: float = 4.0
    least: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedLight:
    """``science`` and 1-sigma ``uncertainty`` float32 [y, x] in electrons (ADU for gain 1), ``mask`` uint16 PixelFlag bits.

    NaN with NO_DATA where there is no value, also with BAD_FLAT where the flat is not above 0; SATURATED by the raw value; all given
    masks by OR.
    """

    science: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    mask: NDArray[np.uint16]


def calibrate_light(
    raw: Plane,
    planes: LightPlanes,
    numbers: LightNumbers,
    *,
    zero: int = 0,
    pedestal: Plane | None = None,
    threads: int = 1,
    kernel: str = "auto",
) -> CalibratedLight:
    """Calibrate ``raw`` [y, x] (ADU; any integer or float type, either byte order, or a window of a larger array).

    ``zero`` is added to ``raw`` (FITS's BZERO for rows as stored); ``pedestal`` [y] is subtracted from every row.
    Raises ``RejectedInput`` for planes of another shape, ``Refused`` for numbers that make no sense.
    """
    _check(raw, planes, numbers, pedestal)
    shape = (int(raw.shape[0]), int(raw.shape[1]))
    out = CalibratedLight(np.empty(shape, "f4"), np.empty(shape, "f4"), np.empty(shape, "u2"))
    given = {name: _as_float32(getattr(planes, name)) for name in PLANES}
    masks = [np.ascontiguousarray(mask, np.uint16) for mask in planes.masks]
    level = None if pedestal is None else np.ascontiguousarray(pedestal, np.float64)
    compiled = library() if kernel != "numpy" and len(masks) <= MAX_MASKS else None
    if compiled is None:
        calibrate_fallback.calibrate(raw, zero, level, given, masks, numbers, (out.science, out.uncertainty, out.mask))
    else:
        rows = raw if raw.strides[1] == raw.itemsize and raw.strides[0] % raw.itemsize == 0 else np.ascontiguousarray(raw)
        _run(compiled, _describe(rows, zero, level, given, masks, numbers, out), shape[0], threads)
    return out


def _check(raw: Plane, planes: LightPlanes, numbers: LightNumbers, pedestal: Plane | None) -> None:
    if raw.ndim != 2 or raw.dtype.str[1:] not in KINDS:
        raise RejectedInput(f"a light is an image of real numbers, this one has {raw.ndim} axes of {raw.dtype}")
    named = [(name, getattr(planes, name)) for name in PLANES] + [("mask", mask) for mask in planes.masks]
    for name, plane in named:
        if plane is not None and plane.shape != raw.shape:
            raise RejectedInput(f"the {name.replace('_', ' ')} is {plane.shape}, the light {raw.shape}")
    if pedestal is not None and pedestal.shape != raw.shape[:1]:
        raise RejectedInput(f"{pedestal.shape} pedestals for {raw.shape[0]} rows")
    if numbers.box < 1 or numbers.box % 2 == 0:
        raise Refused(f"the box for expected counts must have an odd side, not {numbers.box}")
    if not (numbers.gain_e_per_adu > 0 and numbers.read_variance_e2 >= 0):
        raise Refused(f"gain {numbers.gain_e_per_adu} e-/ADU and read variance {numbers.read_variance_e2} e-^2 make no sense")


def _as_float32(plane: Plane | None) -> NDArray[np.float32] | None:
    return None if plane is None else np.ascontiguousarray(plane, np.float32)


def _describe(
    raw: Plane,
    zero: int,
    pedestal: NDArray[np.float64] | None,
    given: dict[str, NDArray[np.float32] | None],
    masks: list[NDArray[np.uint16]],
    numbers: LightNumbers,
    out: CalibratedLight,
) -> NDArray[Any]:
    """The work as the kernel reads it; the arrays must stay alive."""
    task = np.zeros((), TASK)
    frame = task["raw"]
    frame["data"], frame["kind"], frame["swapped"] = pointer(raw), KINDS[raw.dtype.str[1:]], raw.dtype.byteorder == ">"
    frame["zero"], frame["saturation"] = zero, numbers.saturation_adu
    for name, plane in given.items():
        task[name] = pointer(plane)
    task["mask_in"][: len(masks)] = [pointer(mask) for mask in masks]
    task["n_masks"], task["pedestal"] = len(masks), pointer(pedestal)
    task["science"], task["uncertainty"], task["mask"] = pointer(out.science), pointer(out.uncertainty), pointer(out.mask)
    task["ny"], task["nx"], task["raw_stride"] = *raw.shape, raw.strides[0] // raw.itemsize
    task["dark_factor"], task["gain"], task["read_variance"] = numbers.dark_factor, numbers.gain_e_per_adu, numbers.read_variance_e2
    task["bias_share"], task["own_sigma2"], task["least"] = numbers.bias_share, numbers.own_value_sigma**2, numbers.least
    task["half"], task["photons"] = numbers.box // 2, numbers.photons
    return task


def _run(kernel: Kernel, task: NDArray[Any], ny: int, threads: int) -> None:
    """Share the rows out among the threads."""
    if kernel.light_size != TASK.itemsize:
        raise RuntimeError("the compiled kernel and nightcrew.calibration.calibrate disagree about a light")
    edges = np.linspace(0, ny, max(1, min(threads, ny)) + 1).astype(int).tolist()

    def work(y0: int, y1: int) -> int:
        return int(kernel.calibrate(ctypes.c_void_p(pointer(task)), ctypes.c_long(y0), ctypes.c_long(y1)))

    if len(edges) == 2:
        failed = work(0, ny)
    else:
        with ThreadPoolExecutor(len(edges) - 1) as pool:
            failed = min(pool.map(work, edges[:-1], edges[1:]))
    if failed:
        raise MemoryError("no memory to calibrate a light")
