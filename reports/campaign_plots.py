"""Drawing for irradiation campaigns: curves with errors and bands, maps with their range, films.  Arrays in, PNG or GIF bytes out."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from reports.figures import LIGHT, plain
from reports.stretch import display_range, shrink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

F8 = NDArray[np.float64]
COLOURS = {"pre": "#0072b2", "radiating": "#d55e00", "post": "#009e73"}
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DPI = 110
_MAP_PX = 480
_FILM_PX = 256


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points (with errors) or a line (``line``; with a band of ``error`` about it), in the axes' units."""

    label: str
    x: Sequence[float] | F8
    y: Sequence[float] | F8
    error: Sequence[float] | F8 | None = None
    line: bool = False
    colour: str = ""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Label with unit, and scale: linear, log or symlog."""

    label: str
    scale: Literal["linear", "log", "symlog"] = "linear"


def curve_png(
    series: Sequence[Series], x: Axis, y: Axis, title: str, *, residuals: Sequence[Series] = (), residual_label: str = ""
) -> bytes:
    """A figure of points and lines; with ``residuals`` a second panel below.  Series without a finite point are left out."""
    canvas = _canvas(3.6 if not residuals else 4.8)
    if residuals:
        upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
        _panel(upper, series, None, y)
        _panel(lower, residuals, x, Axis(label=residual_label))
        lower.axhline(0, color=LIGHT.faint, linewidth=0.7)
    else:
        upper = canvas.add_subplot()
        _panel(upper, series, x, y)
    upper.set_title(plain(title), fontsize=9, color=LIGHT.ink, y=1.02)  # a fixed place spares a search for one
    return _png(canvas)


def panels_png(panels: Sequence[tuple[Sequence[Series], Axis]], x: Axis, title: str) -> bytes:
    """Several panels over one x."""
    canvas = _canvas(1.3 + 1.4 * len(panels))
    axes = np.atleast_1d(canvas.subplots(len(panels), 1, sharex=True))
    for place, (axis, (series, y)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, series, x if place == len(panels) - 1 else None, y)
    axes[0].set_title(plain(title), fontsize=9, color=LIGHT.ink, y=1.02)
    return _png(canvas)


def _canvas(height_in: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(5.6, height_in), dpi=_DPI, facecolor=LIGHT.paper)
    FigureCanvasAgg(canvas)
    # margins in inches, the same for figures of any height
    canvas.subplots_adjust(left=0.15, right=0.97, top=1 - 0.33 / height_in, bottom=0.5 / height_in, hspace=0.12)
    return canvas


def _png(canvas: Any) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", facecolor=LIGHT.paper, metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Axes, series: Sequence[Series], x: Axis | None, y: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(LIGHT.grid)
    axes.tick_params(colors=LIGHT.faint, labelsize=7.5, length=0)
    axes.grid(visible=True, color=LIGHT.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    shown = 0
    for place, one in enumerate(series):
        shown += _draw(axes, one, place)
    if x is not None:
        axes.set_xlabel(plain(x.label), fontsize=8, color=LIGHT.ink)
        axes.set_xscale(x.scale)
    axes.set_ylabel(plain(y.label), fontsize=8, color=LIGHT.ink)
    if shown:
        axes.set_yscale(y.scale)
    for side, scale in ((axes.xaxis, x.scale if x is not None else "linear"), (axes.yaxis, y.scale if shown else "linear")):
        if scale == "linear":
            side.set_major_locator(MaxNLocator(nbins=5))
    if shown > 1 or (shown == 1 and len(series) > 1):
        # bars may run behind it: the best place is chosen by the points alone
        axes.margins(y=0.12)
        axes.legend(fontsize=7, frameon=True, framealpha=0.6, facecolor=LIGHT.paper, edgecolor="none", loc="best", labelcolor=LIGHT.ink)
    if not shown:
        axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axes.transAxes, color=LIGHT.faint, fontsize=8)


def _draw(axes: Axes, one: Series, place: int) -> bool:
    x, y = np.asarray(one.x, dtype=np.float64), np.asarray(one.y, dtype=np.float64)
    error = None if one.error is None else np.asarray(one.error, dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        return False
    colour = one.colour or CYCLE[place % len(CYCLE)]
    x, y = x[good], y[good]
    error = None if error is None else np.where(np.isfinite(error[good]), np.abs(error[good]), 0.0)
    if one.line:
        axes.plot(x, y, color=colour, linewidth=1.2, label=plain(one.label))
        if error is not None and error.any():
            axes.fill_between(x, y - error, y + error, color=colour, alpha=0.18, linewidth=0)
        return True
    marker = MARKERS[place % len(MARKERS)]
    axes.errorbar(x, y, yerr=error, linestyle="", marker=marker, markersize=3.6, color=colour, linewidth=0.8, label=plain(one.label))
    return True


def _colour_map(centred: bool) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    table = colormaps["RdBu_r" if centred else "viridis"](np.linspace(0, 1, 256))
    return np.asarray(table[:, :3] * 255 + 0.5, dtype=np.uint8)


def map_png(
    image: NDArray[np.generic],
    title: str,
    unit: str,
    *,
    centred: bool = False,
    log: bool = False,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A map [y, x], first row at the bottom, with its title and the range of its colours; pixels without a value are grey.

    ``centred``: red above and blue below 0; ``log``: by the sign times log10(1 + |value|).
    """
    from PIL import Image, ImageDraw, ImageFont

    small = shrink(np.asarray(image, dtype=np.float32), _MAP_PX)
    values = np.sign(small) * np.log10(1 + np.abs(small)) if log else small
    found = limits or display_range(values) or (0.0, 0.0)
    low, high = found
    if centred:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    width = high - low if high > low else 1.0
    finite = np.isfinite(values)
    index = np.clip((np.where(finite, values, low) - low) / width, 0, 1) * 255
    rgb = _colour_map(centred)[index.astype(np.uint8)]
    rgb[~finite] = 128
    factor = max(1, _MAP_PX // max(small.shape))
    picture = Image.fromarray(np.ascontiguousarray(rgb[::-1]))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (max(picture.width, 300) + 16, picture.height + 56), (255, 255, 255))
    canvas.paste(picture, (8, 28))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    ends = [math.copysign(10 ** abs(v) - 1, v) if log else v for v in (low, high)]
    draw.text((8, 6), _ascii(title), fill=(31, 35, 40), font=font)
    draw.text(
        (8, picture.height + 34), _ascii(f"{ends[0]:.4g} to {ends[1]:.4g} {unit}{' (log)' if log else ''}"), fill=(80, 90, 100), font=font
    )
    bar = Image.fromarray(np.broadcast_to(_colour_map(centred)[None], (8, 256, 3)).copy()).resize((100, 10))
    canvas.paste(bar, (canvas.width - 108, picture.height + 38))
    return encode(canvas)


def encode(picture: Any) -> bytes:
    """PNG bytes of a Pillow image."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def _ascii(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def film_frames(images: Iterable[NDArray[np.generic]], limits: tuple[float, float]) -> list[NDArray[np.uint8]]:
    """Grey pictures of at most 256 pixels a side, all in one range, first row at the bottom."""
    low, high = limits
    made = []
    for image in images:
        small = shrink(np.asarray(image, dtype=np.float32), _FILM_PX)
        scaled = np.clip((np.nan_to_num(small, nan=low) - low) / max(high - low, 1e-9), 0, 1)
        made.append(np.ascontiguousarray((scaled * 255 + 0.5).astype(np.uint8)[::-1]))
    return made


def gif(frames: Sequence[NDArray[np.uint8]], *, frame_ms: int = 250) -> bytes:
    """An animated GIF that repeats.  Equal neighbours stay frames of their own."""
    from PIL import Image

    pictures = []
    for place, frame in enumerate(frames):
        picture = Image.fromarray(frame).convert("L")
        picture.putpixel((0, 0), place % 2)  # Pillow joins frames that are equal in every pixel
        pictures.append(picture)
    buffer = io.BytesIO()
    pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=frame_ms, loop=0, optimize=False)
    return buffer.getvalue()


def stage_series(rows: Iterable[tuple[str, float, float, float]]) -> list[Series]:
    """One series a stage from (stage, x, y, error)."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for stage, x, y, error in rows:
        found.setdefault(stage, []).append((x, y, error))
    made = []
    for stage, colour in COLOURS.items():
        if stage in found:
            columns = np.array(found[stage], dtype=np.float64).T
            made.append(Series(label=stage, x=columns[0], y=columns[1], error=columns[2], colour=colour))
    return made


Predict = Callable[[F8], tuple[F8, F8]]


def fitted(label: str, x: Sequence[float], predict: Predict, colour: str = "") -> Series:
    """A law with its band over the range of ``x``."""
    at = np.linspace(min(x), max(x), 60)
    y, error = predict(at)
    return Series(label=label, x=at, y=y, error=error, line=True, colour=colour)
