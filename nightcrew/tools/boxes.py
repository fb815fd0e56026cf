"""Boxes in images: one convention, written down once, for every hand tool.

A box is **0-based and half-open**, x (column) first: ``600 1100 400 700`` holds columns 600..1099 and rows 400..699,
500 x 300 pixels, ``image[400:700, 600:1100]`` in Python.  The FITS (IRAF) convention, 1-based and inclusive, is used
only where the square brackets say so: ``[601:1100,401:700]`` is the same box.  Labels are always printed with
brackets and so in the FITS convention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.errors import Refused, RejectedInput

_SECTION = re.compile(r"^\[([^\[\]]*)\]$")
_SPLIT = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Box:
    """Columns ``x0 <= x < x1``, rows ``y0 <= y < y1``, planes ``z0 <= z < z1``, 0-based; ``None`` is "to the edge"."""

    x0: int = 0
    x1: int | None = None
    y0: int = 0
    y1: int | None = None
    z0: int = 0
    z1: int | None = None

    def within(self, shape: Sequence[int]) -> Region:
        """The part of this box inside an image of ``shape`` ([y, x] or [z, y, x]); :class:`RejectedInput` when there is none."""
        if len(shape) not in (2, 3):
            raise RejectedInput(f"a box needs an image of two or three axes, this one has {len(shape)}")
        planes = shape[0] if len(shape) == 3 else 1
        region = Region(
            *_clip(self.x0, self.x1, shape[-1]), *_clip(self.y0, self.y1, shape[-2]), *_clip(self.z0, self.z1, planes), cube=len(shape) == 3
        )
        if region.x0 >= region.x1 or region.y0 >= region.y1 or region.z0 >= region.z1:
            raise RejectedInput(f"the box {self.label()} lies outside the image of {' x '.join(str(n) for n in reversed(shape))} pixels")
        return region

    def label(self) -> str:
        """The box as it was asked for, in FITS notation; ``*`` is a whole axis."""
        axes = [_axis_label(self.x0, self.x1), _axis_label(self.y0, self.y1)]
        if (self.z0, self.z1) != (0, None):
            axes.append(_axis_label(self.z0, self.z1))
        return "[" + ",".join(axes) + "]"


@dataclass(frozen=True, slots=True)
class Region:
    """A box clipped to one image: all bounds are known, 0-based, half-open, and hold at least one pixel."""

    x0: int
    x1: int
    y0: int
    y1: int
    z0: int = 0
    z1: int = 1
    cube: bool = False

    def slices(self) -> tuple[slice, ...]:
        """Index for an array ``[y, x]`` or ``[z, y, x]``."""
        plane = (slice(self.y0, self.y1), slice(self.x0, self.x1))
        return (slice(self.z0, self.z1), *plane) if self.cube else plane

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the cut array, numpy order."""
        plane = (self.y1 - self.y0, self.x1 - self.x0)
        return (self.z1 - self.z0, *plane) if self.cube else plane

    @property
    def label(self) -> str:
        """FITS notation of what was really used: 1-based, inclusive, x first."""
        axes = [f"{self.x0 + 1}:{self.x1}", f"{self.y0 + 1}:{self.y1}"]
        if self.cube:
            axes.append(f"{self.z0 + 1}:{self.z1}")
        return "[" + ",".join(axes) + "]"


def parse_box(text: str) -> Box:
    """``"x0 x1 y0 y1 [z0 z1]"`` (0-based, half-open) or ``"[x0:x1,y0:y1(,z0:z1)]"`` (FITS, 1-based, inclusive).

    The order of the two bounds of an axis does not matter.  :class:`Refused` for anything else, and for a box without pixels.
    """
    bare = text.strip()
    section = _SECTION.match(bare)
    if section:
        return _from_section(bare, section.group(1))
    words = [word for word in _SPLIT.split(bare) if word]
    if len(words) not in (4, 6) or not all(re.fullmatch(r"[+-]?\d+", word) for word in words):
        raise Refused(f"'{text}' is not a box: write 'x0 x1 y0 y1' (from 0, upper bound not included) or '[x0:x1,y0:y1]' (FITS, from 1)")
    return box_of([int(word) for word in words])


def box_of(bounds: Sequence[int]) -> Box:
    """A box from 4 or 6 numbers ``x0 x1 y0 y1 [z0 z1]``, 0-based half-open, either order on each axis."""
    if len(bounds) not in (4, 6):
        raise Refused(f"a box has 4 or 6 bounds, not {len(bounds)}")
    ordered: list[int] = []
    for name, low, high in zip("xyz", bounds[::2], bounds[1::2], strict=False):
        if min(low, high) < 0:
            raise Refused(f"a box cannot begin at {min(low, high)} in {name}: pixels are counted from 0")
        if low == high:
            raise Refused(f"the box is empty in {name}: the upper bound is not part of it, so one pixel is '{low} {low + 1}'")
        ordered += sorted((low, high))
    return Box(*ordered)


def _from_section(text: str, inner: str) -> Box:
    """A FITS section such as ``601:1100,*``."""
    axes = [axis.strip() for axis in inner.split(",")]
    if len(axes) not in (2, 3):
        raise Refused(f"'{text}' is not a section: two or three axes are expected, as in [601:1100,401:700]")
    bounds: list[int | None] = []
    for axis in axes:
        if axis in ("*", ":"):
            bounds += [0, None]
            continue
        match = re.fullmatch(r"(\d+)(?:\s*:\s*(\d+))?", axis)
        if match is None:
            raise Refused(f"'{axis}' in the section {text} is not understood: write first:last, counted from 1")
        low, high = sorted((int(match.group(1)), int(match.group(2) or match.group(1))))
        if low < 1:
            raise Refused(f"the section {text} counts from 1, not {low}: without brackets a box counts from 0")
        bounds += [low - 1, high]
    x0, x1, y0, y1, z0, z1 = bounds if len(bounds) == 6 else [*bounds, 0, None]
    return Box(x0 or 0, x1, y0 or 0, y1, z0 or 0, z1)


def _clip(low: int, high: int | None, size: int) -> tuple[int, int]:
    return low, size if high is None else min(high, size)


def _axis_label(low: int, high: int | None) -> str:
    return "*" if (low, high) == (0, None) else f"{low + 1}:{'' if high is None else high}"
