"""A frame that is open: its shape and type, and its rows for the kernels.

Files are opened once, read with ``pread`` into buffers that are used again, and closed by ``close``; of very many frames most are
closed in between (parked).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nightcrew.calibration.kernels.slab import PARKED, FrameRows
from nightcrew.calibration.sources import Array, ArraySource, Window
from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.frames.units import unit_of_pixels

if TYPE_CHECKING:
    from nightcrew.io.images import ImageFile

GAIN_KEYS = ("GAIN", "ISOSPEED", "ISO", "GAINRAW", "EGAIN")
DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8")
Reader = Callable[[int, int, dict[str, Array]], tuple[Array, int]]


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells that a file is still the same when it is opened again."""

    size: int
    mtime_ns: int
    place: tuple[Array, int, int] | None  # type, BZERO and offset of stored rows

    def check(self, descriptor: int, name: str) -> None:
        """Raise ``TransientError`` when the open file is another."""
        status = os.fstat(descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise TransientError(f"{name}: changed while it was being combined")


class OpenedFrame:
    """One source, open: shape, type and rows.  ``window`` is already applied to ``shape`` and to the rows."""

    def __init__(self, source: ArraySource, number: int) -> None:
        self.source = source
        self._files: list[ImageFile] = []
        self._main: ImageFile | None = None
        self._number = number
        self._parked: Identity | None = None
        try:
            self._open(number)
        except BaseException:
            self.close()
            raise

    def _open(self, number: int) -> None:
        source = self.source
        data = source.data
        self.unit, self.gain_setting, self.exposure_s = source.unit, source.gain_setting, source.exposure_s
        if isinstance(data, np.ndarray):
            self.name = source.name or f"frame {number + 1}"
            full = data if source.plane is None else data[source.plane]
            self._read, self.dtype, self.compressed = _array_reader(full, self.name), full.dtype, False
            shape = full.shape
        else:
            image = self._main = self._image(data, source.hdu)
            self.name = source.name or image.name
            self._describe(image)
            plane = _plane(image, source.plane, self.name)
            self._read, self.dtype, self.compressed = stored_reader(image, plane), image.value_type, image.compressed
            shape = image.shape[-2:]
        if self.dtype.str[1:] not in DTYPES:
            raise RejectedInput(f"{self.name}: pixels of type {self.dtype} cannot be combined")
        self._window = _checked_window(source.window, shape, self.name)
        x0, x1, y0, y1 = self._window
        self.shape = (y1 - y0, x1 - x0)
        self._full_width, self._stored_width = x0 == 0 and x1 == shape[1], shape[1]
        self._mask = self._extra(source.mask, shape, "mask")
        self._sigma = self._extra(source.uncertainty, shape, "uncertainty")

    def _image(self, data: Path | str | ImageFile, hdu: int | str | None) -> ImageFile:
        from nightcrew.io.images import ImageFile

        if isinstance(data, ImageFile):
            return data
        image = ImageFile(data, hdu)
        self._files.append(image)
        return image

    def _describe(self, image: ImageFile) -> None:
        """Unit, gain setting and exposure as the header states them, unless the source does."""
        cards = image.cards
        self.unit = self.unit or unit_of_pixels(str(cards.get("BUNIT") or ""))
        if not self.gain_setting:
            self.gain_setting = ", ".join(f"{key} {str(cards[key]).removesuffix('.0')}" for key in GAIN_KEYS if cards.get(key) is not None)
        exposure = cards.get("EXPTIME", cards.get("EXPOSURE"))
        if self.exposure_s is None and isinstance(exposure, int | float) and not isinstance(exposure, bool):
            self.exposure_s = float(exposure)

    def _extra(self, value: Array | str | int | None, shape: tuple[int, ...], what: str) -> Reader | None:
        """Reader of a mask or uncertainty plane."""
        if value is None:
            return None
        if isinstance(value, np.ndarray):
            if value.shape != tuple(shape):
                raise RejectedInput(f"{self.name}: its {what} is {value.shape}, the image {tuple(shape)}")
            return _array_reader(value, self.name)
        if isinstance(self.source.data, np.ndarray):
            raise Refused(f"{self.name}: the {what} of an array must be an array, not an extension")
        path = self.source.data if isinstance(self.source.data, Path | str) else self.source.data.path
        image = self._image(path, value)
        whole = tuple(shape) if self._main is None else self._main.shape
        if image.shape not in (whole, tuple(shape)):
            raise RejectedInput(f"{self.name}: its {what} is {image.shape}, the image {whole}")
        plane = (self.source.plane or 0) if image.n_planes > 1 else 0
        return _physical_reader(image, plane) if what == "mask" else _sigma_reader(image, plane, self.name)

    @property
    def has_uncertainty(self) -> bool:
        """Whether the frame has an uncertainty of its own."""
        return self._sigma is not None

    @property
    def row_bytes(self) -> int:
        """Bytes that ``rows`` holds of one row: the whole stored row, and what is cut out of it for a narrower window."""
        pixel = int(self.dtype.itemsize) + 2 * (self._mask is not None) + 4 * (self._sigma is not None)
        return pixel * (int(self._stored_width) + (0 if self._full_width else int(self.shape[1])))

    def park(self) -> None:
        """Close a plainly stored file for now; it is opened again whenever rows are asked for."""
        image = self._main
        if image is None or image.descriptor is None or not isinstance(self.source.data, Path | str):
            return
        status = os.fstat(image.descriptor)
        place = self._stored_place()
        self._parked = Identity(status.st_size, status.st_mtime_ns, None if place is None else (place[0], place[1], place[3]))
        self.close()

    def rows(self, y0: int, y1: int, buffers: dict[str, Array]) -> FrameRows:
        """Rows y0..y1 of the window; ``buffers`` keeps arrays between calls (one dictionary a thread and frame)."""
        if self._parked is not None:
            again = OpenedFrame(self.source, self._number)
            try:
                if again._main is not None and again._main.descriptor is not None:
                    self._parked.check(again._main.descriptor, self.name)
                return again.rows(y0, y1, buffers)
            finally:
                again.close()
        wx0, wx1, wy0, _ = self._window
        first, last = wy0 + y0, wy0 + y1
        data, zero = self._read(first, last, buffers)
        mask = None if self._mask is None else self._mask(first, last, buffers)[0]
        sigma = None if self._sigma is None else self._sigma(first, last, buffers)[0]
        if not self._full_width:
            data = np.ascontiguousarray(data[:, wx0:wx1])
            mask = None if mask is None else mask[:, wx0:wx1]
            sigma = None if sigma is None else sigma[:, wx0:wx1]
        return FrameRows(
            data=data,
            zero=zero,
            mask=None if mask is None else np.ascontiguousarray(mask, dtype=np.uint16),
            sigma=None if sigma is None else np.ascontiguousarray(sigma, dtype=np.float32),
            saturation=self.source.saturation,
            exclude=self.source.exclude,
        )

    def whole(self) -> FrameRows | None:
        """The frame for a kernel that reads it by itself: in memory, or in a plainly stored file; ``None`` where that cannot be."""
        x0, _, y0, y1 = self._window
        mask, sigma = self.source.mask, self.source.uncertainty
        if not (_ready(mask, "u2") and _ready(sigma, "f4") and (self._full_width or (mask is None and sigma is None))):
            return None
        stored = self._stored_place()
        if stored is None:
            return None
        data, zero, descriptor, offset = stored
        return FrameRows(
            row_pixels=0 if self._full_width else data.shape[1],
            first_column=x0,
            data=data,
            zero=zero,
            mask=mask[y0:y1] if isinstance(mask, np.ndarray) else None,
            sigma=sigma[y0:y1] if isinstance(sigma, np.ndarray) else None,
            saturation=self.source.saturation,
            exclude=self.source.exclude,
            descriptor=descriptor,
            offset=offset,
            path=b"" if self._parked is None else os.fsencode(str(self.source.data)),
            identity=(0, 0) if self._parked is None else (self._parked.size, self._parked.mtime_ns),
        )

    def _stored_place(self) -> tuple[Array, int, int, int] | None:
        """The array, or the type, BZERO, descriptor and offset of stored rows."""
        data, (_, _, y0, y1) = self.source.data, self._window
        if isinstance(data, np.ndarray):
            rows = (data if self.source.plane is None else data[self.source.plane])[y0:y1]
            return (rows, 0, -1, 0) if rows.flags.c_contiguous and rows.flags.aligned else None
        if self._parked is not None:
            place = self._parked.place
            return None if place is None else (place[0], place[1], PARKED, place[2])
        image = self._main
        zero = None if image is None else image.stored_zero
        if image is None or zero is None or image.descriptor is None:
            return None
        ny, nx = image.shape[-2:]
        kind = _stored_kind(image)
        first = ((self.source.plane or 0) * ny + y0) * nx
        return np.empty((0, nx), kind), zero, image.descriptor, image.hdu.data_offset + first * image.dtype.itemsize

    def close(self) -> None:
        """Close the files that this frame opened."""
        for image in self._files:
            image.close()
        self._files.clear()


def _plane(image: ImageFile, wanted: int | None, name: str) -> int:
    if wanted is None:
        if image.n_planes > 1:
            raise RejectedInput(f"{name}: is a cube of {image.n_planes} planes; say which plane, or combine it along an axis")
        return 0
    if not 0 <= wanted < image.n_planes:
        raise RejectedInput(f"{name}: has no plane {wanted}, only {image.n_planes}")
    return wanted


def _checked_window(window: Window | None, shape: tuple[int, ...], name: str) -> Window:
    if len(shape) != 2:
        raise RejectedInput(f"{name}: has {len(shape)} axes; an image has two")
    ny, nx = shape
    x0, x1, y0, y1 = window or (0, nx, 0, ny)
    if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
        raise Refused(f"{name}: the window x {x0}:{x1}, y {y0}:{y1} does not fit into {nx} x {ny} pixels")
    return x0, x1, y0, y1


def _array_reader(array: Array, name: str) -> Reader:
    if array.ndim != 2:
        raise RejectedInput(f"{name}: has {array.ndim} axes; an image has two")

    def read(y0: int, y1: int, _buffers: dict[str, Array]) -> tuple[Array, int]:
        return np.ascontiguousarray(array[y0:y1]), 0

    return read


def _ready(plane: Array | str | int | None, kind: str) -> bool:
    """Whether the kernel can take a plane as it is."""
    if plane is None:
        return True
    return isinstance(plane, np.ndarray) and plane.dtype == np.dtype(kind) and plane.flags.c_contiguous and plane.flags.aligned


def _stored_kind(image: ImageFile) -> str:
    """Type of the stored numbers."""
    size = image.dtype.itemsize
    return f">f{size}" if image.dtype.kind == "f" else "u1" if size == 1 else f">i{size}"


def _physical_reader(image: ImageFile, plane: int) -> Reader:
    cube_plane = plane if image.n_planes > 1 else None

    def read(y0: int, y1: int, _buffers: dict[str, Array]) -> tuple[Array, int]:
        return image.read_rows(y0, y1, cube_plane), 0

    return read


def _sigma_reader(image: ImageFile, plane: int, name: str) -> Reader:
    """One standard deviation, whichever of the two forms (UTYPE) the extension has."""
    form, read = str(image.hdu.cards.get("UTYPE") or "StdDevUncertainty").strip(), _physical_reader(image, plane)
    if form == "StdDevUncertainty":
        return read
    if form != "VarianceUncertainty":
        raise RejectedInput(f"{name}: its uncertainty is a {form}; only standard deviations and variances are understood")

    def root(y0: int, y1: int, buffers: dict[str, Array]) -> tuple[Array, int]:
        with np.errstate(invalid="ignore"):
            return np.sqrt(read(y0, y1, buffers)[0]), 0

    return root


def stored_reader(image: ImageFile, plane: int = 0) -> Reader:
    """Rows as stored, into a buffer that is used again, wherever the kernel can take them so."""
    ny, nx = image.shape[-2:]
    decoded, stored = image.decoded, image.stored_zero
    if decoded is None and stored is None:
        return _physical_reader(image, plane)
    kind, zero = decoded or (np.dtype(_stored_kind(image)), stored or 0)

    def read(y0: int, y1: int, buffers: dict[str, Array]) -> tuple[Array, int]:
        room = buffers.get("data")
        if room is None or len(room) < y1 - y0 or room.dtype != kind:
            room = buffers["data"] = np.empty((y1 - y0, nx), kind)
        out = room[: y1 - y0]
        if decoded is None:
            image.raw_into(out, (plane * ny + y0) * nx)
        else:
            image.decoded_into(out, y0, plane)
        return out, zero

    return read
