"""Drawing pictures with matplotlib, animations with Pillow.  The same numbers give the same bytes."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.cardtext import plain
from nightcrew.tools.show import COLOUR_MAPS, MAX_PANELS, Look, Panel, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

_IMAGE_IN = 5.5  # longer side of a single image
_DPI = 120
_BAD = (0.85, 0.25, 0.2)
_STRIP_COLUMNS = 6
_GIF_SIDE = 480  # small images are enlarged to about this many pixels
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def draw(picture: Picture, look: Look, form: str) -> bytes:
    """``picture`` as a PNG, SVG or PDF: one image with its marginals, or a film strip of panels; or as an animated GIF."""
    if form == "gif":
        return animation(picture, look)
    if len(picture.panels) > MAX_PANELS:
        raise Refused(f"{len(picture.panels)} planes are too many for one picture: take every so-manieth with -z, or an animation (.gif)")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(dpi=_DPI)
    if len(picture.panels) == 1:
        _single(figure, picture, look)
    else:
        _strip(figure, picture, look)
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "nightcrew", "svg.fonttype": "none"}):
        figure.savefig(stream, format=form, metadata=_METADATA[form])
    return stream.getvalue()


def animation(picture: Picture, look: Look) -> bytes:
    """The panels one after the other, with a bar below that tells how far it has come (no pixel is painted over)."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in _gif_frames(picture, look)]
    stream = io.BytesIO()
    options: dict[str, Any] = {"duration": abs(look.delay_ms) or 200, "optimize": False}
    if look.delay_ms < 0:
        options["loop"] = 0
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:]}
    images[0].save(stream, format="GIF", **options)
    return stream.getvalue()


def colours(panel: Panel, cmap: str) -> Array:
    """``panel`` as red, green, blue bytes ``[y, x, 3]``, first row lowest; pixels without a value are red."""
    levels = panel.levels()
    bad: Array = ~np.isfinite(levels)
    steps = np.where(bad, 0, np.rint(levels * 255)).astype(np.uint8)
    if panel.is_rgb:
        rgb, bad = steps, np.asarray(bad.any(axis=2))
    else:
        table = np.rint(_colour_map(cmap)(np.arange(256))[:, :3] * 255).astype(np.uint8)
        rgb = table[steps]
    out: Array = np.where(bad[..., None], np.rint(np.array(_BAD) * 255).astype(np.uint8), rgb)
    return out


def _gif_frames(picture: Picture, look: Look) -> list[Array]:
    frames = []
    for index, panel in enumerate(picture.panels):
        rgb = colours(panel, look.cmap)[::-1]
        factor = max(1, round(_GIF_SIDE / max(rgb.shape[:2])))
        rgb = rgb.repeat(max(1, round(factor * look.yscale)), axis=0).repeat(factor, axis=1)
        bar = np.full((8, rgb.shape[1], 3), 255, np.uint8)
        bar[2:, : math.ceil(rgb.shape[1] * (index + 1) / len(picture.panels))] = (70, 110, 160)
        frames.append(np.ascontiguousarray(np.concatenate([rgb, bar])))
    return frames


def _colour_map(name: str) -> Any:
    import matplotlib as mpl

    try:
        found = mpl.colormaps[COLOUR_MAPS.get(name, name)]
    except KeyError as error:
        raise Refused(f"there is no colour map '{name}': inv, non, Greys, gray, viridis, magma and the others of matplotlib") from error
    return found.with_extremes(bad=_BAD)


class _Layout:
    """Places on the page in inches, turned into the fractions that matplotlib wants; the page fits what is on it."""

    left, bottom, top, right, gap, marginal = 0.75, 0.6, 0.55, 0.25, 0.08, 0.9

    def __init__(self, ny: int, nx: int, yscale: float, *, marginals: bool) -> None:
        high = ny * yscale
        longest = max(high, nx)
        self.width, self.height = max(_IMAGE_IN * nx / longest, 0.8), max(_IMAGE_IN * high / longest, 0.8)
        extra = self.gap + self.marginal if marginals else 0.0
        self.page = (max(self.left + self.width + extra + self.right, 4.5), self.bottom + self.height + extra + self.top)

    def place(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """A rectangle whose lower left corner is ``x``, ``y`` inches from that of the image."""
        return (self.left + x) / self.page[0], (self.bottom + y) / self.page[1], width / self.page[0], height / self.page[1]


def _single(figure: Figure, picture: Picture, look: Look) -> None:
    panel = picture.panels[0]
    ny, nx = panel.pixels.shape[:2]
    layout = _Layout(ny, nx, look.yscale, marginals=look.marginals)
    figure.set_size_inches(*layout.page)
    image = figure.add_axes(layout.place(0, 0, layout.width, layout.height))
    _image(image, panel, picture, look)
    image.set_aspect("auto")  # the layout has the proportions already
    image.set_xlabel("x [pixel, from 0]", fontsize="small")
    image.set_ylabel("y [pixel, from 0]" if layout.height > 1.4 else "y", fontsize="small")
    top = _marginals(figure, image, panel, picture, layout) if look.marginals else image
    top.set_title(_heading(picture, look), fontsize="small", loc="left", parse_math=False)


def _marginals(figure: Figure, image: Axes, panel: Panel, picture: Picture, layout: _Layout) -> Axes:
    along_x, along_y = panel.marginals()
    line: dict[str, Any] = {"linewidth": 0.8, "color": "0.2"}
    above = figure.add_axes(layout.place(0, layout.height + layout.gap, layout.width, layout.marginal), sharex=image)
    above.plot(picture.origin[0] + np.arange(along_x.size), along_x, drawstyle="steps-mid", **line)
    above.tick_params(labelbottom=False, labelsize="x-small", direction="in")
    above.set_ylabel("column mean", fontsize="x-small")
    beside = figure.add_axes(layout.place(layout.width + layout.gap, 0, layout.marginal, layout.height), sharey=image)
    beside.plot(along_y, picture.origin[1] + np.arange(along_y.size), **line)
    beside.tick_params(labelleft=False, labelsize="x-small", direction="in")
    beside.tick_params(axis="x", labelrotation=90)
    beside.set_xlabel("row mean", fontsize="x-small")
    return above


def _strip(figure: Figure, picture: Picture, look: Look) -> None:
    count = len(picture.panels)
    ny, nx = picture.panels[0].pixels.shape[:2]
    columns = min(count, _STRIP_COLUMNS)
    rows = -(-count // columns)
    cell_in = 2.0
    height_in = cell_in * min(max(ny * look.yscale / nx, 0.2), 4.0) + 0.3
    figure.set_size_inches(columns * (cell_in + 0.1) + 0.2, rows * height_in + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    top = 1 - 0.45 / figure.get_figheight()
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=top - 0.2 / figure.get_figheight(), wspace=0.05, hspace=0.18)
    for axes, panel in zip(grid.flat, picture.panels, strict=False):
        _image(axes, panel, picture, look)
        axes.set_title(f"plane {panel.plane}", fontsize="x-small", pad=2)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    figure.text(0.02, top + 0.1 / figure.get_figheight(), _heading(picture, look), fontsize="small", parse_math=False)


def _image(axes: Axes, panel: Panel, picture: Picture, look: Look) -> None:
    ny, nx = panel.pixels.shape[:2]
    x0, y0 = picture.origin
    extent = (x0 - 0.5, x0 + nx - 0.5, y0 - 0.5, y0 + ny - 0.5)
    shown = colours(panel, look.cmap) if panel.is_rgb else np.ma.masked_invalid(panel.pixels)
    low, high = panel.limits[0]
    options: dict[str, Any] = {} if panel.is_rgb else {"cmap": _colour_map(look.cmap), "vmin": low, "vmax": high}
    axes.imshow(shown, origin="lower", extent=extent, aspect=look.yscale, **options)
    axes.tick_params(labelsize="x-small", direction="in")


def _heading(picture: Picture, look: Look) -> str:
    """Title, box and limits in one or two lines of plain ASCII."""
    pairs = picture.panels[0].limits
    words = "; ".join(f"{low:.6g} to {high:.6g}" for low, high in pairs)
    return plain(f"{picture.title} {picture.box}".strip())[:100] + f"\n{look.scale}: {words}"
