"""The frames of a sensor set: their normalised headers, their windows, and their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.frames.electronics import gains_said
from nightcrew.frames.layout import image_of
from nightcrew.frames.lookup import Lookup
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import Profile, choose_profile
from nightcrew.frames.site import Site
from nightcrew.io.images import ImageFile
from nightcrew.io.structure import check, sha256_file
from nightcrew.quality import byte_order, unwritten

Array = NDArray[Any]
# whole words and their beginnings: "orbit" holds no RBI, a floodlight floods no sensor
_FLOODED = re.compile(r"flood(?!li(gh)?t|lamp)|(?<![a-z])rbi(?![a-z])")
_NOT_FLOODED = re.compile(r"(un|non?|not|without|w/o)[\s_.-]*(light[\s_.-]*)?(flood|rbi(?![a-z]))")


class Rows(Protocol):
    """Something whose rows can be read: physical values ``[y1-y0, x]``."""

    def read_rows(self, y0: int, y1: int, plane: int | None = None) -> Array:
        """Rows ``y0`` (first) to ``y1`` (behind the last)."""


@dataclass(frozen=True, slots=True)
class _Held:
    """Rows of an image in memory."""

    image: Array

    def read_rows(self, y0: int, y1: int, plane: int | None = None) -> Array:
        """Rows ``y0:y1``."""
        return self.image[y0:y1] if plane is None else self.image[plane, y0:y1]


@dataclass(frozen=True, eq=False, kw_only=True)
class SensorFrame:
    """One frame of a set: a file, or an array ``[y, x]`` in ADU when ``data`` is given.

    ``name`` tells it in tables; ``flooded`` marks a dark taken after a flood of light; ``compressed``, a file that is decoded whole.
    ``gains_said`` are the gains in e-/ADU that header and profile state, with who does.
    """

    name: str
    header: FrameHeader
    path: Path | None = None
    data: Array | None = field(default=None, repr=False)
    sha256: str = ""
    flooded: bool = False
    compressed: bool = False
    gains_said: tuple[tuple[str, float], ...] = ()

    @contextmanager
    def opened(self) -> Iterator[Rows]:
        """The frame's rows while the block runs.  Compressed files are decoded once and held.

        :class:`UnreadableFrame` with the cause where its pixels cannot be read, in the block, too.  What may pass (a share that is
        away) stays a :class:`TransientError`: the frame is not to be left out for it.
        """
        try:
            with self._rows() as rows:
                yield rows
        except UnreadableFrame:
            raise
        except RejectedInput as error:
            raise UnreadableFrame(self, str(error)) from error

    @contextmanager
    def _rows(self) -> Iterator[Rows]:
        if self.data is not None:
            yield _Held(self.data)
            return
        if self.path is None:
            raise ValueError(f"{self.name} has neither a file nor pixels")
        with ImageFile(self.path, self.header.hdu) as image:
            yield _Held(image.read_rows(0, image.shape[-2])) if image.compressed else image

    @property
    def light_window(self) -> Window:
        """The light-sensitive part of the stored array: without overscan."""
        if self.header.trim is not None:
            x0, x1, y0, y1 = self.header.trim
            return Window(x0, x1, y0, y1)
        return Window(0, self.header.nx, 0, self.header.ny)


class UnreadableFrame(RejectedInput):
    """Pixels that cannot be read although the header could; ``frame`` says whose."""

    def __init__(self, frame: SensorFrame, cause: str) -> None:
        super().__init__(cause)
        self.frame = frame


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Columns ``x0:x1`` and rows ``y0:y1`` of the stored array, 0-based and half-open; every ``step``-th pixel from there."""

    x0: int
    x1: int
    y0: int
    y1: int
    step: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return -(-(self.y1 - self.y0) // self.step), -(-(self.x1 - self.x0) // self.step)

    def holds(self, y: int, x: int) -> bool:
        """Whether the pixel of row ``y`` and column ``x`` of the stored array is one of the window's."""
        inside = self.y0 <= y < self.y1 and self.x0 <= x < self.x1
        return inside and (y - self.y0) % self.step == 0 and (x - self.x0) % self.step == 0

    def rows(self, image: Rows, first: int, last: int) -> Array:
        """Rows ``first:last`` of the window."""
        if self.step == 1:
            return image.read_rows(self.y0 + first, self.y0 + last)[:, self.x0 : self.x1]
        stop = min(self.y1, self.y0 + (last - 1) * self.step + 1)
        return image.read_rows(self.y0 + first * self.step, stop)[:: self.step, self.x0 : self.x1 : self.step]

    def whole(self, image: Rows) -> Array:
        """The window's pixels ``[y, x]``."""
        return self.rows(image, 0, self.shape[0])


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a folder holds: frames in the order of time and name, and why the other files are none (name, reason)."""

    frames: tuple[SensorFrame, ...]
    left_out: tuple[tuple[str, str], ...]


def scan(
    paths: Sequence[Path], profiles: Mapping[str, Profile], *, root: Path | None = None, profile: str | None = None, hashed: bool = True
) -> Scan:
    """Read the headers of ``paths``.  A file that is no usable frame is left out with its reason; the rest goes on.

    Names are relative to ``root``.  Equal content counts once.  ``profile`` names an instrument profile, None lets the header choose.
    """
    frames: list[SensorFrame] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    ordered = sorted(paths)
    names = [path.relative_to(root).as_posix() if root is not None else path.name for path in ordered]

    def attempt(place: int) -> SensorFrame | str:
        try:
            return read_frame(ordered[place], profiles, name=names[place], profile=profile, hashed=hashed)
        except (RejectedInput, TransientError) as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:  # hashing leaves the interpreter to the other thread
        found = list(pool.map(attempt, range(len(ordered))))
    for name, frame in zip(names, found, strict=True):
        if isinstance(frame, str):
            left_out.append((name, frame))
            continue
        if frame.sha256 and frame.sha256 in seen:
            left_out.append((name, f"holds the same bytes as {seen[frame.sha256]}"))
            continue
        seen[frame.sha256] = name
        frames.append(frame)
    return Scan(frames=in_order(frames), left_out=tuple(left_out))


def read_frame(
    path: Path, profiles: Mapping[str, Profile], *, name: str = "", profile: str | None = None, hashed: bool = True
) -> SensorFrame:
    """One file as a frame; :class:`RejectedInput` with the cause when it is none."""
    structure = check(path)
    if structure.kind != "fits":
        raise RejectedInput(structure.reason or "not a file that Nightcrew reads")
    chosen = choose_profile(structure.hdus, profiles, profile)
    header = normalise(structure.hdus, str(path), chosen, Site(), None)
    if not structure.complete:
        raise RejectedInput(structure.reason)
    if header.nx < 1 or header.ny < 1:
        raise RejectedInput("the header tells of no pixels")
    hdu = structure.hdus[header.hdu]
    if reason := byte_order.of_file(path, hdu) or unwritten.of_file(path, hdu, rows=header.trim and header.trim[2:]):
        raise RejectedInput(reason)
    return SensorFrame(
        name=name or path.name,
        header=header,
        path=path,
        sha256=sha256_file(path).sha256 if hashed else "",
        flooded=says_flooded(name or path.name),
        compressed=bool(structure.compression) or any(hdu.kind == "TILE" for hdu in structure.hdus),
        gains_said=gains_said(Lookup.of(structure.hdus, image_of(structure.hdus, chosen.layout.extension)), chosen),
    )


def says_flooded(name: str) -> bool:
    """Whether a name tells of a flood before the exposure: ``flood`` or the word ``RBI`` in it, and no denial."""
    lower = name.lower()
    return _FLOODED.search(lower) is not None and _NOT_FLOODED.search(lower) is None


def in_order(frames: Sequence[SensorFrame]) -> tuple[SensorFrame, ...]:
    """Frames by time, then by name: pairs and tables do not depend on the order in which a folder lists its files."""
    return tuple(sorted(frames, key=lambda frame: (frame.header.time_utc, frame.header.sequence, frame.name)))


def of_array(image: Array, *, name: str, kind: str, exposure_s: float, temperature_c: float | None, **values: Any) -> SensorFrame:
    """A frame from pixels ``[y, x]`` in ADU, for programs and tests; ``values`` are further fields of the header."""
    flooded = bool(values.pop("flooded", False))
    header: dict[str, Any] = {"instrument": "", "profile": "", "ny": image.shape[0], "nx": image.shape[1], **values}
    built = FrameHeader.from_dict({**header, "kind": kind, "exposure_s": exposure_s, "temperature_c": temperature_c})
    return SensorFrame(name=name, header=built, data=np.asarray(image), flooded=flooded)
