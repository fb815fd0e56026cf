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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import calibrate_fallback
from nightcrew.calibration.kernels.library import FRAME, KINDS, POINTER, Kernel, address, library, pointer
from nightcrew.calibration.opened_frame import stored_reader
from nightcrew.errors import Refused, RejectedInput

if TYPE_CHECKING:
    from nightcrew.io.images import ImageFile

Plane = NDArray[Any]
MAX_MASKS = 6
SLAB_PIXELS = 1 << 18  # rows that are given away at once: measured best, with one light and with several side by side
PLANES = ("bias", "bias_uncertainty", "dark", "dark_uncertainty", "dark_zero", "flat", "flat_uncertainty")

# mirrors light_t of kernels/source/calibrate.c
TASK = np.dtype(
    [
        ("raw", FRAME),
        *((name, POINTER) for name in PLANES),
        ("mask_in", POINTER, MAX_MASKS),
        *((name, POINTER) for name in ("pedestal", "science", "uncertainty", "mask")),
        *((name, "i8") for name in ("ny", "nx", "raw_stride", "first_raw", "first_out")),
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


class LightCalibrator:
    """Planes and numbers made ready for lights of one shape; calibrates whole lights or some rows of them."""

    def __init__(
        self, shape: tuple[int, int], planes: LightPlanes, numbers: LightNumbers, *, pedestal: Plane | None = None, kernel: str = "auto"
    ) -> None:
        """``pedestal`` [y] is subtracted from every row.

        Raises ``RejectedInput`` for planes of another shape, ``Refused`` for numbers that make no sense.
        """
        _check(shape, planes, numbers, pedestal)
        self.shape, self.numbers = shape, numbers
        self._given = {name: _as_float32(getattr(planes, name)) for name in PLANES}
        self._masks = [np.ascontiguousarray(mask, np.uint16) for mask in planes.masks]
        self._pedestal = None if pedestal is None else np.ascontiguousarray(pedestal, np.float64)
        self._kernel = library() if kernel != "numpy" and len(self._masks) <= MAX_MASKS else None
        if self._kernel is not None and self._kernel.light_size != TASK.itemsize:
            raise RuntimeError("the compiled kernel and nightcrew.calibration.calibrate disagree about a light")
        self._task = self._common()

    def empty(self, n_rows: int) -> CalibratedLight:
        """Planes of ``n_rows`` rows to fill, which may be used again."""
        nx = self.shape[1]
        return CalibratedLight(np.empty((n_rows, nx), "f4"), np.empty((n_rows, nx), "f4"), np.empty((n_rows, nx), "u2"))

    def rows_needed(self, y0: int, y1: int) -> tuple[int, int]:
        """Raw rows [first, last) that the rows [y0, y1) are made from."""
        half = self.numbers.box // 2
        return max(0, y0 - half), min(self.shape[0], y1 + half)

    def fill(self, raw: Plane, first_row: int, y0: int, y1: int, out: CalibratedLight, *, zero: int = 0, threads: int = 1) -> None:
        """Calibrate rows [y0, y1) into ``out``, which holds as many rows.

        ``raw`` holds the light's rows from ``first_row`` on, at least those of :meth:`rows_needed`; ``zero`` is added to them.
        """
        if raw.dtype.str[1:] not in KINDS:
            raise RejectedInput(f"a light is an image of real numbers, not of {raw.dtype}")
        first, last = self.rows_needed(y0, y1)
        if raw.ndim != 2 or raw.shape[1] != self.shape[1] or not first_row <= first <= last <= first_row + len(raw):
            raise RejectedInput(f"rows {first}:{last} of a light of {self.shape} are needed, {raw.shape} from {first_row} on are there")
        if self._kernel is None:
            planes = (out.science, out.uncertainty, out.mask)
            calibrate_fallback.calibrate(
                raw, first_row, (y0, y1), self.shape[0], zero, self._pedestal, self._given, self._masks, self.numbers, planes
            )
            return
        rows = raw if raw.strides[1] == raw.itemsize and raw.strides[0] % raw.itemsize == 0 else np.ascontiguousarray(raw)
        _run(self._kernel, self._describe(rows, first_row, y0, zero, out), y0, y1, threads)

    def _common(self) -> NDArray[Any]:
        """What all rows of all lights share of the work, as the kernel reads it; the arrays must stay alive."""
        task, numbers = np.zeros((), TASK), self.numbers
        for name, plane in self._given.items():
            task[name] = pointer(plane)
        masks = [pointer(mask) for mask in self._masks[:MAX_MASKS]]
        task["mask_in"][: len(masks)] = masks
        task["n_masks"], task["pedestal"], task["raw"]["saturation"] = len(masks), pointer(self._pedestal), numbers.saturation_adu
        task["ny"], task["nx"] = self.shape
        task["dark_factor"], task["gain"], task["read_variance"] = numbers.dark_factor, numbers.gain_e_per_adu, numbers.read_variance_e2
        task["bias_share"], task["own_sigma2"], task["least"] = numbers.bias_share, numbers.own_value_sigma**2, numbers.least
        task["half"], task["photons"] = numbers.box // 2, numbers.photons
        return task

    def _describe(self, raw: Plane, first_row: int, y0: int, zero: int, out: CalibratedLight) -> NDArray[Any]:
        """The work on some rows as the kernel reads it; the arrays must stay alive."""
        task = self._task.copy()
        frame = task["raw"]
        frame["data"], frame["kind"], frame["swapped"] = pointer(raw), KINDS[raw.dtype.str[1:]], raw.dtype.byteorder == ">"
        frame["zero"] = zero
        task["science"], task["uncertainty"], task["mask"] = pointer(out.science), pointer(out.uncertainty), pointer(out.mask)
        task["raw_stride"], task["first_raw"], task["first_out"] = raw.strides[0] // raw.itemsize, first_row, y0
        return task


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
    if raw.ndim != 2 or raw.dtype.str[1:] not in KINDS:
        raise RejectedInput(f"a light is an image of real numbers, this one has {raw.ndim} axes of {raw.dtype}")
    shape = (int(raw.shape[0]), int(raw.shape[1]))
    calibrator = LightCalibrator(shape, planes, numbers, pedestal=pedestal, kernel=kernel)
    out = calibrator.empty(shape[0])
    calibrator.fill(raw, 0, 0, shape[0], out, zero=zero, threads=threads)
    return out


LightSink = Callable[[int, CalibratedLight], None]


def calibrate_to(sink: LightSink, image: ImageFile, calibrator: LightCalibrator) -> None:
    """Calibrate a light from its file and give rows away as they are done: no plane is ever held whole.

    ``sink(y0, rows)`` is called from the top down; the arrays are used again for the next rows.
    """
    calibrate_many([(image, sink)], calibrator)


def calibrate_many(lights: Sequence[tuple[ImageFile, LightSink]], calibrator: LightCalibrator) -> None:
    """Calibrate several lights side by side, as :func:`calibrate_to` does one: the masters' rows are still in the cache for the next."""
    ny, nx = calibrator.shape
    for image, _ in lights:
        if image.shape != calibrator.shape:
            raise RejectedInput(f"{image.name}: is {image.shape}, the calibration {calibrator.shape}")
    step = max(1, SLAB_PIXELS // nx)
    out = calibrator.empty(min(step, ny))
    readers = [stored_reader(image) for image, _ in lights]
    room: dict[str, Plane] = {}  # the lights are read into the same memory, one after the other
    for y0 in range(0, ny, step):
        y1 = min(ny, y0 + step)
        first, last = calibrator.rows_needed(y0, y1)
        part = CalibratedLight(out.science[: y1 - y0], out.uncertainty[: y1 - y0], out.mask[: y1 - y0])
        for read, (_, sink) in zip(readers, lights, strict=True):
            raw, zero = read(first, last, room)
            calibrator.fill(raw, first, y0, y1, part, zero=zero)
            sink(y0, part)


def _check(shape: tuple[int, int], planes: LightPlanes, numbers: LightNumbers, pedestal: Plane | None) -> None:
    named = [(name, getattr(planes, name)) for name in PLANES] + [("mask", mask) for mask in planes.masks]
    for name, plane in named:
        if plane is not None and plane.shape != shape:
            raise RejectedInput(f"the {name.replace('_', ' ')} is {plane.shape}, the light {shape}")
    if pedestal is not None and pedestal.shape != shape[:1]:
        raise RejectedInput(f"{pedestal.shape} pedestals for {shape[0]} rows")
    if numbers.box < 1 or numbers.box % 2 == 0:
        raise Refused(f"the box for expected counts must have an odd side, not {numbers.box}")
    if not (numbers.gain_e_per_adu > 0 and numbers.read_variance_e2 >= 0):
        raise Refused(f"gain {numbers.gain_e_per_adu} e-/ADU and read variance {numbers.read_variance_e2} e-^2 make no sense")


def _as_float32(plane: Plane | None) -> NDArray[np.float32] | None:
    return None if plane is None else np.ascontiguousarray(plane, np.float32)


def _run(kernel: Kernel, task: NDArray[Any], y0: int, y1: int, threads: int) -> None:
    """Share the rows out among the threads."""

    def work(first: int, last: int) -> int:
        return int(kernel.calibrate(address(task), ctypes.c_long(first), ctypes.c_long(last)))

    if min(threads, y1 - y0) <= 1:
        failed = work(y0, y1)
    else:
        edges = np.linspace(y0, y1, min(threads, y1 - y0) + 1).astype(int).tolist()
        with ThreadPoolExecutor(len(edges) - 1) as pool:
            failed = min(pool.map(work, edges[:-1], edges[1:]))
    if failed:
        raise MemoryError("no memory to calibrate a light")
