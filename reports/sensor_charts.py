"""Drawing for the sensor's figures: one look, fixed bytes, numbers saved beside each."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reports.analysis import AnalysisFigure, Cell
from reports.figures import LIGHT
from reports.sensor_tables import save_table
from reports.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777")
INK, FAINT, GRID, PAPER = LIGHT.ink, LIGHT.faint, LIGHT.grid, LIGHT.paper
Place = Literal["best", "upper left", "upper right", "lower left", "lower right"]
Paint = Callable[["Figure"], None]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure to be drawn: ``paint`` fills a matplotlib figure; ``columns`` and ``rows`` are the numbers that it shows."""

    name: str
    title: str
    caption: str
    paint: Paint
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    size_in: tuple[float, float] = (5.2, 3.6)


def draw(chart: Chart, out: Path) -> AnalysisFigure:
    """Draw a chart and save its numbers as ``out/figures/<name>.csv``."""
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    save_table(folder, chart.name, chart.columns, tuple(chart.rows))
    return AnalysisFigure(
        name=chart.name,
        title=visible(chart.title),
        alt=visible(f"{chart.title}. {chart.caption}"),
        png=_png(chart),
        numbers=f"figures/{chart.name}.csv",
        caption=visible(chart.caption),
    )


def _png(chart: Chart) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=chart.size_in, dpi=150, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(canvas)
    chart.paint(canvas)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Quiet axes with labels."""
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color("#b8bec5")
    axes.tick_params(which="both", colors=FAINT, labelsize=8, length=2)
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, fontsize=8.5, color=INK)
    axes.set_ylabel(y_label, fontsize=8.5, color=INK)


def legend(axes: Axes, place: Place = "best") -> None:
    """A legend without a frame, where there is room; where there is none its paper is below the words and above the curves."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, fontsize=7.5, labelcolor=INK, loc=place, facecolor=PAPER, edgecolor="none", framealpha=0.8)
