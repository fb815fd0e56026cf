"""Drawing for the pages of photon lists: PNG bytes that are the same each time, with the numbers that they show."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nightcrew.io import atomic
from reports.analysis import AnalysisFigure
from reports.figures import LIGHT, EmptyFigureError
from reports.names import NUMBERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

DPI = 130
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
Numbers = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure and the arrays that it shows, by name."""

    name: str
    title: str
    caption: str
    png: bytes
    numbers: Numbers = field(default_factory=dict)

    def figure(self) -> AnalysisFigure:
        """For a page; :func:`write_numbers` puts the numbers where it says."""
        alt = f"{self.title}. {self.caption}"
        return AnalysisFigure(
            name=self.name, title=self.title, alt=alt, png=self.png, numbers=f"{NUMBERS}/{self.name}.npz", caption=self.caption
        )


def write_numbers(plots: Iterable[Plot], out: Path) -> None:
    """Save the arrays of each plot as ``out/numbers/<name>.npz``."""
    for plot in plots:
        atomic.replace(out / NUMBERS / f"{plot.name}.npz", partial(_put_numbers, plot.numbers), durable=False)


def _put_numbers(numbers: Numbers, file: BinaryIO) -> None:
    arrays: dict[str, Any] = {name: np.asarray(numbers[name]) for name in sorted(numbers)}
    np.savez_compressed(file, **arrays)


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def write_plots(plots: Iterable[Plot], out: Path) -> list[Path]:
    """Save plots as ``out/<name>.png`` and their arrays as ``out/<name>.npz``; the pictures' paths."""
    made = []
    for plot in plots:
        made.append(atomic.replace(out / f"{plot.name}.png", partial(_put, plot.png), durable=False))
        atomic.replace(out / f"{plot.name}.npz", partial(_put_numbers, plot.numbers), durable=False)
    return made


def canvas(size_in: tuple[float, float]) -> Canvas:
    """An empty figure that draws without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, dpi=DPI, facecolor=LIGHT.paper, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Canvas) -> bytes:
    """The picture; :class:`EmptyFigureError` when one of its axes shows nothing."""
    for axes in figure.axes:
        if not (axes.lines or axes.patches or axes.collections or axes.images or axes.texts):
            raise EmptyFigureError("a part of the figure has nothing to show")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=LIGHT.paper, metadata={"Software": None})
    return buffer.getvalue()


def dress(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Quiet axes with labels."""
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(LIGHT.grid)
    axes.tick_params(colors=LIGHT.faint, labelsize=8, length=0, pad=4)
    axes.grid(visible=True, color=LIGHT.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=9, color=LIGHT.ink, loc="left")
    axes.set_xlabel(x, fontsize=8, color=LIGHT.faint)
    axes.set_ylabel(y, fontsize=8, color=LIGHT.faint)


def grid(count: int, *, columns: int = 3, size_in: tuple[float, float] = (2.6, 2.0)) -> tuple[Canvas, list[Axes]]:
    """A figure with ``count`` axes in rows."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = canvas((size_in[0] * columns, size_in[1] * rows))
    made = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, made


def map_size(shape: tuple[int, ...], width_in: float) -> tuple[float, float]:
    """Size in inches of a map [..., y, x] with its scale, so that no paper stays empty about it."""
    rows, columns = shape[-2:]
    return width_in, min(max(0.76 * width_in * rows / columns, 0.25 * width_in), 2 * width_in) + 0.75


def image(axes: Axes, values: NDArray[Any], title: str, *, low: float | None = None, high: float | None = None, label: str = "") -> None:
    """A map [y, x] with its scale; pixels without a value stay grey."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise EmptyFigureError(f"{title}: no pixel has a value")
    bottom, top = np.percentile(finite, [2, 95]).tolist() if low is None or high is None else (low, high)
    axes.set_facecolor("#c9ced4")
    if top - bottom <= 1e-4 * max(abs(top), abs(bottom)):  # the same everywhere: rounding is no picture
        margin = 0.05 * abs(top) or 0.5
        bottom, top = bottom - margin, top + margin
    shown = axes.imshow(values, origin="lower", interpolation="nearest", cmap="viridis", vmin=bottom, vmax=top)
    dress(axes, title, "x / px", "y / px")
    axes.locator_params(integer=True)
    axes.grid(visible=False)
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = beyond[bool(finite.min() < bottom), bool(finite.max() > top)]  # an arrow where values lie beyond the colours
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02, extend=extend)
    bar.ax.ticklabel_format(useOffset=False)
    bar.ax.tick_params(labelsize=7, colors=LIGHT.faint, length=0)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=7, color=LIGHT.faint)


def histogram(axes: Axes, sets: Sequence[tuple[str, NDArray[Any]]], bins: int = 40) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outlines of distributions on common bins: edges [bin + 1] and counts [set, bin]."""
    finite = np.concatenate([values[np.isfinite(values)] for _, values in sets])
    if not finite.size:
        raise EmptyFigureError("no pixel has a value")
    low, high = np.percentile(finite, [0.5, 99.5])
    edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
    counts = np.stack([np.histogram(values[np.isfinite(values)], edges)[0] for _, values in sets])
    for place, (label, _) in enumerate(sets):
        axes.stairs(counts[place], edges, color=COLOURS[place % len(COLOURS)], linewidth=1.3, label=label)
    return edges, counts


def legend(axes: Axes, *, outside: bool = False) -> None:
    """A small legend, in the axes or above the figure."""
    style = {"fontsize": 7, "frameon": False, "labelcolor": LIGHT.ink, "handlelength": 1.2}
    if outside:
        handles, labels = axes.get_legend_handles_labels()
        axes.figure.legend(handles, labels, loc="outside upper right", ncols=min(len(labels), 6), markerscale=4, **style)
    else:
        axes.legend(**style)


def build(painter: Callable[[Canvas], None], size_in: tuple[float, float]) -> bytes:
    """A picture that ``painter`` draws."""
    figure = canvas(size_in)
    painter(figure)
    return png_of(figure)
