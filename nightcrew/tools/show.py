"""Pictures of frames: what is shown, between which limits, and the numbers that go with it.

Drawing is done by :mod:`nightcrew.tools.picture` (PNG, SVG, PDF, GIF) and :mod:`nightcrew.tools.terminal`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.tools.boxes import Box
from nightcrew.tools.frame import Frame, cut, read_frame
from nightcrew.tools.scaling import Limits, limits
from nightcrew.tools.stats import statistics

Array = NDArray[Any]

ENDINGS = (".png", ".svg", ".pdf", ".gif")
COLOUR_MAPS = {"inv": "Greys", "non": "gray"}
MAX_PANELS = 64
_LEAST_STRETCH = 0.01
_STATISTICS = ("num", "bad", "mean", "median", "std", "min", "max")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How frames are shown.

    ``scale``, ``sigmas``, ``fixed``: see :func:`nightcrew.tools.scaling.limits`.  ``title``: ``filename``, ``object`` (the OBJECT card),
    ``sliced`` (OR3DFILE) or a text.  ``yscale`` stretches y, ``zstep`` is the step between the planes of a cube that are shown,
    ``delay_ms`` the time of one picture of an animation (negative: it repeats).
    """

    cmap: str = "inv"
    scale: str = "zscale"
    sigmas: float = 1.0
    fixed: Limits | None = None
    marginals: bool = True
    rgb: bool = False
    title: str = "filename"
    yscale: float = 1.0
    zstep: int = 1
    delay_ms: int = -200
    box: Box | None = None

    def __post_init__(self) -> None:
        """Refuse factors that mean nothing."""
        if not _LEAST_STRETCH <= self.yscale <= 1 / _LEAST_STRETCH:
            raise Refused(f"y cannot be stretched by {self.yscale}: give a number from {_LEAST_STRETCH} to {1 / _LEAST_STRETCH:g}")
        if self.zstep < 1:
            raise Refused(f"planes cannot be taken in steps of {self.zstep}: give 1 or more")
        if not self.sigmas > 0:
            raise Refused(f"{self.sigmas} standard deviations are no range: give a number above 0")


@dataclass(frozen=True, slots=True)
class Panel:
    """One image of a picture: ``pixels`` ``[y, x]`` with one pair of limits, or ``[y, x, 3]`` with three; ``plane`` counts from 0."""

    pixels: Array
    limits: tuple[Limits, ...]
    plane: int | None = None

    @property
    def is_rgb(self) -> bool:
        """Whether the last axis is red, green and blue."""
        return self.pixels.ndim == 3

    def levels(self) -> Array:
        """Pixels between 0 (lower limit) and 1 (upper limit), scaled once and clipped; NaN stays."""
        low = np.array([pair[0] for pair in self.limits])
        high = np.array([pair[1] for pair in self.limits])
        width = np.where(high > low, high - low, 1.0)
        values = (self.pixels.astype(np.float64) - (low if self.is_rgb else low[0])) / (width if self.is_rgb else width[0])
        clipped: Array = np.clip(values, 0.0, 1.0)
        return clipped

    def marginals(self) -> tuple[Array, Array]:
        """Mean of every column (along x) and of every row (along y) over the finite pixels; NaN where there is none."""
        plane = self.pixels.mean(axis=2) if self.is_rgb else self.pixels
        return mean_along(plane, 0), mean_along(plane, 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn from one input: panels in order, a title, and where the first pixel lies in the file (x, y, from 0)."""

    title: str
    source: str
    panels: tuple[Panel, ...]
    origin: tuple[int, int] = (0, 0)
    box: str = ""


def pictures(paths: Sequence[Path], look: Look, extension: int | str | None = None) -> list[tuple[Path, Picture]]:
    """One picture for each file; with ``look.rgb`` three images together make one, and a cube of three planes is one."""
    if look.rgb and len(paths) == 3 and all(len(read_frame(path, extension).shape) == 2 for path in paths):
        return [(paths[0], rgb_picture([read_frame(path, extension) for path in paths], look))]
    return [(path, picture_of(read_frame(path, extension), look)) for path in paths]


def picture_of(frame: Frame, look: Look) -> Picture:
    """The picture of one image or cube; planes of a cube share their limits, so that they can be compared."""
    part, label = cut(frame, look.box)
    pixels = _values(part)
    if look.rgb:
        if pixels.ndim != 3 or pixels.shape[0] != 3:
            raise RejectedInput(f"{frame.path.name}: a colour picture needs a cube of three planes, or three images of one size")
        panels: tuple[Panel, ...] = (_rgb_panel(list(pixels), look),)
    else:
        first = look.box.within(frame.shape).z0 if look.box else 0
        planes = range(0, pixels.shape[0], look.zstep) if pixels.ndim == 3 else range(1)
        both = limits(pixels if pixels.ndim == 2 else pixels[:: look.zstep], look.scale, sigmas=look.sigmas, fixed=look.fixed)
        panels = tuple(Panel(pixels[z] if pixels.ndim == 3 else pixels, (both,), first + z if pixels.ndim == 3 else None) for z in planes)
    return Picture(_title(frame, look), frame.path.name, panels, _origin(frame, look), label)


def rgb_picture(frames: Sequence[Frame], look: Look) -> Picture:
    """Three images as red, green and blue of one picture."""
    parts = [cut(frame, look.box) for frame in frames]
    if len({part.shape for part, _ in parts}) != 1:
        raise RejectedInput("a colour picture needs three images of one size: " + ", ".join(f"{f.path.name} {f.shape}" for f in frames))
    names = ", ".join(frame.path.name for frame in frames)
    title = names if look.title == "filename" else _title(frames[0], look)
    return Picture(title, names, (_rgb_panel([_values(part) for part, _ in parts], look),), _origin(frames[0], look), parts[0][1])


def numbers_of(picture: Picture, look: Look) -> str:
    """The numbers behind a picture as JSON: limits, statistics and marginals of every panel."""
    panels = []
    for panel in picture.panels:
        along_x, along_y = panel.marginals()
        entry: dict[str, Any] = {"limits": [list(pair) for pair in panel.limits], "statistics": statistics(panel.pixels, _STATISTICS)}
        if panel.plane is not None:
            entry["plane"] = panel.plane
        entry |= {"mean_of_columns": _plain(along_x), "mean_of_rows": _plain(along_y)}
        panels.append(entry)
    head: Mapping[str, Any] = {"format": 1, "source": picture.source, "box": picture.box or None, "origin": list(picture.origin)}
    return json.dumps({**head, "scale": look.scale, "panels": panels}, indent=1, allow_nan=False) + "\n"


def picture_names(paths: Sequence[Path], wanted: str) -> list[Path]:
    """Names of the pictures of ``paths``: ``filename`` is the input's with .png; one name for several becomes ``name.<input>.png``."""
    pieces = [piece.strip() for piece in wanted.split(",") if piece.strip()]
    if pieces == ["filename"]:
        return [path.with_name(path.name + ".png") for path in paths]
    for piece in pieces:
        if not piece.lower().endswith(ENDINGS):
            raise Refused(f"'{piece}' is no name of a picture: it must end with {', '.join(ENDINGS)} (or be screen, skip or filename)")
    if len(pieces) == len(paths):
        names = [Path(piece) for piece in pieces]
    elif len(pieces) == 1:
        root = Path(pieces[0])
        names = [root.with_name(f"{root.stem}.{path.name.split('.fit')[0]}{root.suffix}") for path in paths]
    else:
        raise Refused(f"{len(pieces)} names for {len(paths)} pictures: give one, or as many")
    if len(set(names)) < len(names):
        raise Refused("two pictures would get one name: give a name for each")
    return names


def mean_along(plane: Array, axis: int) -> Array:
    """Mean of the finite pixels along ``axis``, NaN where there is none, without a warning."""
    values = plane.astype(np.float64)
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    means: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def _values(frame: Frame) -> Array:
    """The pixels, NaN where the mask says that there is no value (BLANK)."""
    pixels, mask = frame.operand.pixels, frame.operand.mask
    missing = None if mask is None else (mask & np.uint16(PixelFlag.NO_DATA)) != 0
    return pixels if missing is None or not missing.any() else np.where(missing, np.nan, pixels)


def _rgb_panel(planes: Sequence[Array], look: Look) -> Panel:
    """Each colour between its own limits (or all between the fixed ones)."""
    pairs = tuple(limits(plane, look.scale, sigmas=look.sigmas, fixed=look.fixed) for plane in planes)
    return Panel(np.stack([plane.astype(np.float64) for plane in planes], axis=-1), pairs)


def _title(frame: Frame, look: Look) -> str:
    key = {"object": "OBJECT", "sliced": "OR3DFILE"}.get(look.title)
    if key is not None:
        return str(frame.cards.get(key) or frame.path.name)
    return frame.path.name if look.title == "filename" else look.title


def _origin(frame: Frame, look: Look) -> tuple[int, int]:
    region = look.box.within(frame.shape) if look.box else None
    return (region.x0, region.y0) if region else (0, 0)


def _plain(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
