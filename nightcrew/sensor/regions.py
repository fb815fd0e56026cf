"""Parts of a sensor that are measured by themselves: the whole, a crop, the amplifiers, the colours of a Bayer sensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.errors import Refused
from nightcrew.sensor.frames import Window

CROP = (100, 100)


@dataclass(frozen=True, slots=True)
class Region:
    """A named window, or several whose pixels belong together (the two greens)."""

    name: str
    windows: tuple[Window, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return sum(window.shape[0] * window.shape[1] for window in self.windows)


def centred_crop(light: Window, size: tuple[int, int] = CROP) -> Window:
    """The window of ``size`` = (columns, rows), x first, about the middle of ``light``; trimmed where the image is smaller.

    As photonica: 100 of 300 pixels are the indices 100..199.
    """
    nx, ny = size
    if nx < 1 or ny < 1:
        raise Refused(f"a crop of {nx} x {ny} pixels holds nothing: give columns x rows, as 100x100")
    width, height = light.x1 - light.x0, light.y1 - light.y0
    x0, y0 = max(0, width // 2 - nx // 2), max(0, height // 2 - ny // 2)
    return Window(light.x0 + x0, light.x0 + min(width, x0 + nx), light.y0 + y0, light.y0 + min(height, y0 + ny))


def parse_crop(text: str) -> tuple[int, int] | Window:
    """``100x80`` (columns x rows), ``100,80``, or a box ``x0:x1,y0:y1`` (0-based, half-open); :class:`Refused` otherwise."""
    clean = text.replace(" ", "").strip("()")
    if found := re.fullmatch(r"(\d+)[x,](\d+)", clean):
        return int(found[1]), int(found[2])
    if found := re.fullmatch(r"(\d+):(\d+),(\d+):(\d+)", clean):
        x0, x1, y0, y1 = (int(part) for part in found.groups())
        if x0 < x1 and y0 < y1:
            return Window(x0, x1, y0, y1)
    raise Refused(f"{text!r} is no crop: give columns x rows, as 100x80, or a box x0:x1,y0:y1")


def crop_of(light: Window, wanted: tuple[int, int] | Window) -> Window:
    """The window that a crop means in a frame; :class:`Refused` when a box lies outside the light-sensitive part."""
    if not isinstance(wanted, Window):
        return centred_crop(light, wanted)
    if wanted.x1 > light.x1 or wanted.y1 > light.y1 or wanted.x0 < light.x0 or wanted.y0 < light.y0:
        raise Refused(
            f"the box x {wanted.x0}:{wanted.x1}, y {wanted.y0}:{wanted.y1} lies outside x {light.x0}:{light.x1}, y {light.y0}:{light.y1}"
        )
    return wanted


def amplifier_regions(light: Window, layout: tuple[int, int]) -> tuple[Region, ...]:
    """Equal parts of ``light``, ``layout`` = (columns, rows) of amplifiers, x first; named ``amp00``, ``amp01`` from the lower left."""
    nx, ny = layout
    if nx < 1 or ny < 1:
        raise Refused(f"{nx} x {ny} amplifiers cannot be")
    xs = _cuts(light.x0, light.x1, nx)
    ys = _cuts(light.y0, light.y1, ny)
    windows = [Window(xs[i], xs[i + 1], ys[j], ys[j + 1]) for j in range(ny) for i in range(nx)]
    return tuple(Region(f"amp{place:02d}", (window,)) for place, window in enumerate(windows))


def _cuts(first: int, last: int, parts: int) -> list[int]:
    # ceil, as a sensor of odd width has its wider part first
    width = -(-(last - first) // parts)
    return [min(last, first + place * width) for place in range(parts + 1)]


def bayer_regions(light: Window, pattern: str) -> tuple[Region, ...]:
    """The colours of a 2 x 2 pattern such as ``RGGB`` (row by row, of the stored array's first pixel): R, G (both) and B.

    Differences and covariances are taken within each of the four lattices, so neighbours are pixels of one colour.
    """
    if not re.fullmatch(r"[RGBCMYW]{4}", pattern):
        raise Refused(f"{pattern!r} is no 2 x 2 colour pattern")
    x0, y0 = light.x0 + light.x0 % 2, light.y0 + light.y0 % 2
    windows: dict[str, list[Window]] = {}
    for place, letter in enumerate(pattern):
        windows.setdefault(letter, []).append(Window(x0 + place % 2, light.x1, y0 + place // 2, light.y1, 2))
    return tuple(Region(letter, tuple(found)) for letter, found in sorted(windows.items()))


def regions_of(
    light: Window, *, amplifiers: tuple[int, int] = (1, 1), bayer: str = "", windows: Sequence[Region] = ()
) -> tuple[Region, ...]:
    """The regions to be measured: the whole frame, or each amplifier, or each colour of each amplifier; and ``windows`` besides."""
    parts = amplifier_regions(light, amplifiers) if amplifiers != (1, 1) else (Region("whole", (light,)),)
    if bayer:
        coloured = [(part, colour) for part in parts for colour in bayer_regions(part.windows[0], bayer)]
        named = [Region(colour.name if part.name == "whole" else f"{part.name} {colour.name}", colour.windows) for part, colour in coloured]
        parts = tuple(named)
    return (*parts, *windows)
