"""A picture in the terminal: half blocks in 24-bit colours, or letters where colours are not wanted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.tools.show import Look, Panel, Picture, mean_along
from nightcrew.tools.tables import printable

Array = NDArray[Any]

_RAMP = " .:-=+*#%@"
_CELL_ASPECT = 2.0  # a character is twice as high as it is wide


def terminal_text(picture: Picture, look: Look, *, columns: int, colour: bool) -> str:
    """``picture`` as lines of at most ``columns`` characters, first row of the image at the bottom, panels one below the other."""
    lines = [printable(f"{picture.title} {picture.box}".strip())]
    for panel in picture.panels:
        low_high = "; ".join(f"{low:.6g} to {high:.6g}" for low, high in panel.limits)
        plane = "" if panel.plane is None else f"plane {panel.plane}, "
        lines.append(f"{plane}{look.scale}: {low_high}")
        lines += _coloured(panel, look, columns) if colour else _letters(panel, look, columns)
    return "\n".join(lines) + "\n"


def shrunk(plane: Array, ny: int, nx: int) -> Array:
    """``plane`` ``[y, x]`` as ``[ny, nx]`` means of blocks (never enlarged); NaN only where a block has no value at all."""
    ny, nx = min(ny, plane.shape[0]), min(nx, plane.shape[1])
    rows = np.linspace(0, plane.shape[0], ny + 1).astype(int)
    columns = np.linspace(0, plane.shape[1], nx + 1).astype(int)
    bands = np.stack([mean_along(plane[a:b], 0) for a, b in pairwise(rows)])
    return np.stack([mean_along(bands[:, a:b], 1) for a, b in pairwise(columns)], axis=1)


def _small(panel: Panel, look: Look, columns: int, dots_per_cell: float) -> Panel:
    """The panel in as many dots as the terminal has room for."""
    ny, nx = panel.pixels.shape[:2]
    wide = min(columns, nx)
    high = max(1, round(ny * look.yscale * wide / nx / _CELL_ASPECT * dots_per_cell))
    if panel.is_rgb:
        pixels = np.stack([shrunk(panel.pixels[..., i], high, wide) for i in range(3)], axis=-1)
    else:
        pixels = shrunk(panel.pixels, high, wide)
    return Panel(pixels, panel.limits, panel.plane)


def _letters(panel: Panel, look: Look, columns: int) -> list[str]:
    levels = _small(panel, look, columns, 1.0).levels()
    if panel.is_rgb:
        levels = levels.mean(axis=2)
    ramp = _RAMP if look.cmap in ("inv", "Greys", "gist_yarg") else _RAMP[::-1]
    holes = ~np.isfinite(levels)
    letters = np.array(list(ramp))[np.where(holes, 0, np.rint(levels * (len(ramp) - 1))).astype(int)]
    letters[holes] = "?"
    return ["".join(row) for row in letters[::-1]]


def _coloured(panel: Panel, look: Look, columns: int) -> list[str]:
    from nightcrew.tools.picture import colours

    rgb = colours(_small(panel, look, columns, 2.0), look.cmap)[::-1]
    if len(rgb) % 2:
        rgb = np.concatenate([rgb, rgb[-1:]])
    lines = []
    for upper, lower in zip(rgb[::2], rgb[1::2], strict=True):
        cells = [f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m\u2580" for a, b in zip(upper, lower, strict=True)]
        lines.append("".join(cells) + "\x1b[0m")
    return lines
