"""Figures of the laboratory: courses, maps, pairs of frames and tables of cells, as PNG of fixed bytes with their numbers beside them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.io.atomic import replace
from nightcrew.lab.tables import write_table
from nightcrew.quality.statistics import sample_pixels
from reports.figures import LIGHT, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Image = NDArray[Any]
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LARGEST_PX = 700  # a side of a map in a figure; larger ones are thinned out


@dataclass(frozen=True, kw_only=True)
class Course:
    """Points to draw: ``x`` and ``y`` with errors where they are known; ``joined`` draws a line."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    joined: bool = True
    points: bool = True
    size: float = 4.0
    hollow: bool = False


def _canvas(size_in: tuple[float, float]) -> Canvas:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=size_in, dpi=110, facecolor=LIGHT.paper, layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def _png(canvas: Canvas) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", facecolor=LIGHT.paper, metadata={"Software": None})
    return buffer.getvalue()


def _dress(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    axes.set_title(plain(title), fontsize=9, color=LIGHT.ink, loc="left")
    axes.set_xlabel(plain(x), fontsize=8, color=LIGHT.ink)
    axes.set_ylabel(plain(y), fontsize=8, color=LIGHT.ink)
    axes.tick_params(colors=LIGHT.faint, labelsize=7.5)
    for spine in axes.spines.values():
        spine.set_color(LIGHT.grid)


def courses(title: str, x: str, y: str, lines: Sequence[Course], *, log_y: bool = False) -> bytes:
    """One or more courses in one figure, with a legend where there are several."""
    canvas = _canvas((5.2, 3.2))
    axes = canvas.add_subplot()
    for number, line in enumerate(lines):
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)] if line.points else ""
        style = "-" if line.joined else ""
        label = plain(line.label)
        face = "none" if line.hollow else colour
        if line.error is not None:
            errors = np.nan_to_num(np.asarray(line.error, np.float64))
            axes.errorbar(line.x, line.y, yerr=errors, color=colour, marker=marker, ms=4, linestyle=style, lw=1.1, capsize=2, label=label)
        else:
            axes.plot(line.x, line.y, color=colour, marker=marker, ms=line.size, mfc=face, linestyle=style, lw=1.1, label=label)
    _dress(axes, title, x, y)
    axes.grid(visible=True, color=LIGHT.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    if log_y and any(value > 0 for line in lines for value in line.y):
        axes.set_yscale("log")
    if 1 < len(lines) <= 12:
        axes.legend(fontsize=7, frameon=False, labelcolor=LIGHT.ink)
    return _png(canvas)


def thinned(image: Image) -> Image:
    """Every n-th pixel, so that no side is longer than a figure shows."""
    step = max(1, -(-max(image.shape) // _LARGEST_PX))
    return np.asarray(image[::step, ::step], np.float32)


def limits(image: Image, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Percentiles of the finite pixels, never equal."""
    values = sample_pixels(np.asarray(image, np.float32))
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    a, b = (float(v) for v in np.percentile(values, (low, high)))
    return (a, b) if b > a else (a - 0.5, a + 0.5)


def _show(canvas: Canvas, axes: Axes, image: Image, title: str, unit: str, range_: tuple[float, float], colours: str) -> None:
    extent = (-0.5, image.shape[1] - 0.5, -0.5, image.shape[0] - 0.5)
    drawn = axes.imshow(
        thinned(image), origin="lower", cmap=colours, vmin=range_[0], vmax=range_[1], extent=extent, interpolation="nearest"
    )
    _dress(axes, title, "x / px", "y / px")
    bar = canvas.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=LIGHT.faint)
    bar.set_label(plain(unit), fontsize=7.5, color=LIGHT.ink)


def maps(
    panels: Sequence[tuple[str, str, Image]], *, ranges: Mapping[int, tuple[float, float]] | None = None, colours: str = "viridis"
) -> bytes:
    """Images [y, x] side by side: (title, unit, image); each with its own scale (0.5 to 99.5 %) unless ``ranges`` gives one."""
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    canvas = _canvas((4.3 * columns, 3.4 * rows))
    for number, (title, unit, image) in enumerate(panels):
        axes = canvas.add_subplot(rows, columns, number + 1)
        range_ = (ranges or {}).get(number) or limits(image)
        _show(canvas, axes, image, title, unit, range_, colours)
    return _png(canvas)


def heat_map(title: str, unit: str, rows: Sequence[float], columns: Sequence[float], values: NDArray[np.float64]) -> bytes:
    """Cells by temperature (rows, C) and exposure (columns, s) with their values written in; cells without one are grey."""
    canvas = _canvas((1.6 + 0.75 * len(columns), 1.4 + 0.42 * len(rows)))
    axes = canvas.add_subplot()
    finite = values[np.isfinite(values)]
    axes.set_facecolor(LIGHT.grid)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    axes.imshow(np.ma.masked_invalid(values), origin="lower", aspect="auto", cmap="viridis", vmin=low, vmax=high if high > low else low + 1)
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            bright = value > low + 0.6 * (high - low)
            axes.text(x, y, f"{value:.3g}", ha="center", va="center", fontsize=7, color="#000000" if bright else "#ffffff")
    axes.set_xticks(range(len(columns)), [f"{value:.6g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{round(value, 1) + 0.0:.1f}" for value in rows])
    _dress(axes, f"{title} ({unit})" if unit else title, "exposure / s", "temperature / C")
    return _png(canvas)


def scatter(title: str, x: str, y: str, across: Image, up: Image) -> bytes:
    """Two values of many pixels against each other, with the line of equality."""
    canvas = _canvas((4.0, 3.6))
    axes = canvas.add_subplot()
    axes.plot(across, up, linestyle="", marker=".", ms=1.6, color=_COLOURS[0], alpha=0.35, rasterized=True)
    good = np.concatenate([across[np.isfinite(across)], up[np.isfinite(up)]])
    ends = (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)
    axes.plot(ends, ends, color=LIGHT.alarm, lw=0.8)
    _dress(axes, title, x, y)
    return _png(canvas)


def put(path: Path, png: bytes, numbers: Mapping[str, Sequence[Any]] | None = None, arrays: Mapping[str, Image] | None = None) -> Path:
    """Write a figure and beside it what it shows: ``numbers`` as CSV columns, ``arrays`` as ``.npz``."""
    replace(path, _bytes(png), durable=False)
    if numbers is not None:
        length = max((len(column) for column in numbers.values()), default=0)
        rows = [{name: column[i] if i < len(column) else None for name, column in numbers.items()} for i in range(length)]
        write_table(path.with_suffix(".csv"), tuple(numbers), rows)
    if arrays is not None:
        saved: dict[str, Any] = dict(arrays)
        replace(path.with_suffix(".npz"), lambda file: np.savez(file, **saved), durable=False)
    return path


def _bytes(data: bytes) -> Callable[[Any], None]:
    def write(file: Any) -> None:
        file.write(data)

    return write
