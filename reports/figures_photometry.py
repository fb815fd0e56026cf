"""Finder charts and sub-frame figures, drawn without a display; their numbers come from :mod:`nightcrew.photometry.figures`.

Text from files is shown as text: no formula, no control characters.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from nightcrew.photometry.figures import FinderChart, SubframeFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
INK, FAINT, ACCENT, ALARM = "#1f2328", "#6a737d", "#0072b2", "#d55e00"
MAX_LABELS = 60
"""More labels than this hide the stars; every source keeps its circle."""


def plain(text: str, limit: int = 120) -> str:
    """``text`` on one line, without control characters, at most ``limit`` long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def finder_figure(chart: FinderChart, title: str) -> Figure:
    """Inverted grey image with a circle, number and magnitude at each source (numbers for the brightest 60)."""
    canvas = _canvas(8.0, 8.0 * chart.image.shape[0] / max(chart.image.shape[1], 1) + 0.6)
    axes = canvas.add_subplot()
    b, (ny, nx) = chart.block, chart.image.shape
    extent = (-0.5, nx * b - 0.5, -0.5, ny * b - 0.5)
    axes.imshow(chart.image, cmap="gray_r", vmin=chart.low, vmax=chart.high, origin="lower", extent=extent, interpolation="nearest")
    _circles(axes, chart)
    _labels(axes, chart, extent)
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])
    axes.set_title(plain(title), fontsize=9, color=INK, loc="left", parse_math=False)
    axes.set_xlabel("x (px)", fontsize=8, color=FAINT)
    axes.set_ylabel("y (px)", fontsize=8, color=FAINT)
    axes.tick_params(labelsize=7, colors=FAINT)
    return canvas


def _circles(axes: Axes, chart: FinderChart) -> None:
    from matplotlib.collections import EllipseCollection

    if chart.x.size == 0:
        return
    size = np.full(chart.x.size, 2 * max(chart.radius_px, 4.0 * chart.block))
    rings = EllipseCollection(
        size,
        size,
        np.zeros(size.size),
        units="x",
        offsets=np.column_stack([chart.x, chart.y]),
        transOffset=axes.transData,
        facecolors="none",
        edgecolors=ACCENT,
        linewidths=0.8,
    )
    axes.add_collection(rings)


def _labels(axes: Axes, chart: FinderChart, extent: tuple[float, float, float, float]) -> None:
    from matplotlib import patheffects

    halo = [patheffects.withStroke(linewidth=2.0, foreground="white")]
    away = max(chart.radius_px, 4.0 * chart.block)
    for i in range(min(chart.ids.size, MAX_LABELS)):
        text = f"{chart.ids[i]}" + (f"  {chart.magnitude[i]:.2f}" if np.isfinite(chart.magnitude[i]) else "")
        left = chart.x[i] > extent[0] + 0.86 * (extent[1] - extent[0])
        x = chart.x[i] - away if left else chart.x[i] + away
        axes.text(
            x, chart.y[i], text, fontsize=6, color=ACCENT, va="center", ha="right" if left else "left", path_effects=halo, clip_on=True
        )


def subframe_figure(data: SubframeFigure, title: str) -> Figure:
    """Left the star with its aperture, right its radial profile with the fit, ``G`` and ``R^2``."""
    canvas = _canvas(8.0, 3.7, top_in=0.5)
    left, right = canvas.subplots(1, 2, width_ratios=(1.0, 1.45))
    _star(left, data)
    _profile(right, data)
    canvas.suptitle(plain(title), fontsize=9, color=INK, x=0.01, ha="left", parse_math=False)
    return canvas


def _star(axes: Axes, data: SubframeFigure) -> None:
    from matplotlib.patches import Circle

    ny, nx = data.image.shape
    finite = data.image[np.isfinite(data.image)]
    low, high = (float(v) for v in np.percentile(finite, (1.0, 99.7))) if finite.size else (0.0, 1.0)
    extent = (data.x0 - 0.5, data.x0 + nx - 0.5, data.y0 - 0.5, data.y0 + ny - 0.5)
    axes.imshow(data.image, cmap="gray_r", vmin=low, vmax=high, origin="lower", extent=extent, interpolation="nearest")
    axes.add_patch(Circle((data.x, data.y), data.aperture_px, fill=False, edgecolor=ACCENT, linewidth=1.2))
    axes.plot(data.x, data.y, marker="+", color=ALARM, markersize=7, markeredgewidth=1.0)
    axes.set_xlabel("x (px)", fontsize=8, color=FAINT)
    axes.set_ylabel("y (px)", fontsize=8, color=FAINT)
    axes.tick_params(labelsize=7, colors=FAINT)


def _profile(axes: Axes, data: SubframeFigure) -> None:
    axes.plot(data.pixel_radius_px, data.pixel_value, ".", color="#b8c0c8", markersize=2.0, label="pixels", zorder=1)
    axes.errorbar(
        data.radius_px, data.value, data.error, fmt="o", color=INK, markersize=3.2, elinewidth=0.8, label="mean of 1 px", zorder=3
    )
    if data.fit_radius_px.size:
        used = "fit" if data.accepted else "fit, rejected"
        axes.plot(
            data.fit_radius_px, data.fit_value, color=ACCENT, linewidth=1.3, linestyle="-" if data.accepted else "--", label=used, zorder=4
        )
    axes.axhline(data.sky, color=ALARM, linewidth=0.9, label=f"sky taken off {data.sky:.6g}", zorder=2)
    axes.axvline(data.aperture_px, color=FAINT, linewidth=0.8, linestyle=":", label=f"aperture {data.aperture_px:.4g} px", zorder=2)
    axes.set_xlim(0, None)
    axes.set_title(_numbers(data), fontsize=8, color=INK, loc="right", parse_math=False)
    axes.set_xlabel("distance from the centroid (px)", fontsize=8, color=FAINT)
    axes.set_ylabel(f"{data.unit} per pixel", fontsize=8, color=FAINT)
    axes.tick_params(labelsize=7, colors=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper right", labelcolor=INK)


def _numbers(data: SubframeFigure) -> str:
    if data.fit_sky is None or data.r_squared is None or data.fit_sigma_px is None or data.reduced_chi_squared is None:
        return "no fit"
    return (
        f"G = {data.fit_sky:.6g}   sigma = {data.fit_sigma_px:.3g} px   R² = {data.r_squared:.4f}   chi² = {data.reduced_chi_squared:.3g}"
    )


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes (no making time, no program's name)."""
    buffer = io.BytesIO()
    # Packed half as tightly in a third of the time; a page makes a JPEG of a large chart anyway.
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None}, pil_kwargs={"compress_level": 2})
    return buffer.getvalue()


def _canvas(width_in: float, height_in: float, top_in: float = 0.3) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    # Margins in inches: a layout engine would draw every figure twice more, and a night has dozens of them.
    canvas = Canvas(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    canvas.subplots_adjust(left=0.72 / width_in, right=1 - 0.1 / width_in, bottom=0.48 / height_in, top=1 - top_in / height_in, wspace=0.24)
    FigureCanvasAgg(canvas)
    return canvas
