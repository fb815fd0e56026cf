"""Figures of fixed pattern and defects: spectrograms, defect map, hot pixels over temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nightcrew.sensor.characterise import SetUpResult
from reports.sensor_charts import COLOURS, FAINT, Chart, dress, legend
from reports.sensor_charts_transfer import measured, name_of
from reports.stretch import display_range, shrink
from reports.text import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BINS = 512
LEVELS_E_PER_S = np.geomspace(0.1, 1000, 41)
PICTURE_PX = 420


def spectrograms(set_up: SetUpResult, start: str) -> Chart | None:
    """Power spectrum of the fixed pattern along rows and columns; a peak is a periodic pattern."""
    found = [(region, flat) for region, flat in measured(set_up) if flat.uniformity.along_rows is not None]
    if not found:
        return None
    region, flat = found[0]
    both = (("along rows", flat.uniformity.along_rows), ("along columns", flat.uniformity.along_columns))
    rows: list[tuple[Any, ...]] = []
    for way, spectrum in both:
        if spectrum is not None:
            rows += [(way, f, p) for f, p in zip(*(_binned(part) for part in spectrum), strict=True)]

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for place, way in enumerate(("along rows", "along columns")):
            mine = [row for row in rows if row[0] == way and row[1] > 0]
            axes.plot([row[1] for row in mine], [row[2] for row in mine], linewidth=0.8, color=COLOURS[place], label=way)
        if flat.uniformity.prnu_percent is not None:
            axes.axhline(flat.uniformity.prnu_percent**2, color=FAINT, linewidth=0.9, linestyle="--", label="white pattern of this PRNU")
        axes.set_yscale("log")
        dress(axes, "frequency / (cycles/px)", "power / %²")
        legend(axes, "upper right")

    return Chart(
        name=f"{start}spectrogram",
        title="Spectrogram of the fixed pattern",
        caption=f"{name_of(region, flat)}, mean flat less dark at {flat.uniformity.signal_adu:.0f} ADU; shading lies at low frequencies. "
        f"What is left of the noise in {plural(flat.uniformity.frames, 'flat')}, and defects, lie above the dashed line.",
        paint=paint,
        columns=("direction", "frequency / (cycles/px)", "power / %^2"),
        rows=rows,
        size_in=(5.2, 3.0),
    )


def _binned(values: np.ndarray[Any, Any]) -> list[float]:
    """At most ``MOST_BINS`` values: means of equal stretches."""
    step = -(-values.size // MOST_BINS)
    whole = values[: values.size // step * step]
    return [float(v) for v in whole.reshape(-1, step).mean(axis=1)]


def defect_map(set_up: SetUpResult, start: str) -> Chart | None:
    """Where the hot pixels of the warmest darks lie, over the fixed pattern of the flats."""
    series = [(region, s) for region in set_up.regions for s in region.darks if s.hot is not None]
    if not series:
        return None
    warmest = max((s.temperature_c if s.temperature_c is not None else 0.0) for _, s in series)
    chosen = [(region, s) for region, s in series if s.temperature_c in (warmest, None)]
    rows: list[tuple[Any, ...]] = []
    for region, s in chosen:
        if s.hot is not None:
            rows += [
                (region.region.name, y, x, r)
                for y, x, r in zip(s.hot.y.tolist(), s.hot.x.tolist(), s.hot.rate_adu_per_s.tolist(), strict=True)
            ]
    picture = next((f.uniformity.picture for r in set_up.regions for f in r.flats if f.uniformity.picture is not None), None)
    window = set_up.regions[0].region.windows[0]

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        if picture is not None and len(set_up.regions) == 1:
            small = shrink(picture, PICTURE_PX)
            limits = display_range(small) or (0.0, 1.0)
            extent = (window.x0 - 0.5, window.x1 - 0.5, window.y0 - 0.5, window.y1 - 0.5)
            axes.imshow(
                small, origin="lower", cmap="Greys_r", vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest", alpha=0.6
            )
        size = min(6.0, max(0.4, 3000 / max(len(rows), 1)))  # a thousand dots shall not hide the pattern below
        axes.scatter([row[2] for row in rows], [row[1] for row in rows], s=size, color=COLOURS[1], linewidths=0)
        axes.set_aspect("equal")
        dress(axes, "x / px", "y / px")
        axes.grid(visible=False)

    return Chart(
        name=f"{start}defect-map",
        title="Defect map",
        caption=f"{plural(len(rows), 'hot pixel')} at {warmest:.1f} C over the mean flat; all stand in hot_pixels.csv.",
        paint=paint,
        columns=("region", "y", "x", "rate / (adu/s)"),
        rows=rows,
        size_in=(4.6, 4.4),
    )


def growth(set_up: SetUpResult, start: str) -> Chart | None:
    """How many pixels exceed a rate, at each temperature."""
    rows: list[tuple[Any, ...]] = []
    for region in set_up.regions:
        for series in region.darks:
            if series.hot is None or region.gain is None or not series.hot.y.size:
                continue
            rates = series.hot.rate_adu_per_s * region.gain.value
            lowest = series.hot.threshold_adu_per_s * region.gain.value
            for level in LEVELS_E_PER_S[lowest <= LEVELS_E_PER_S]:
                rows.append((region.region.name, series.temperature_c, float(level), int((rates > level).sum())))
    curves = sorted({(row[0], row[1]) for row in rows}, key=lambda key: (key[0], key[1] or 0.0))
    if not any(row[3] for row in rows):  # nothing above any level: no curve on a logarithmic axis
        return None

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for place, (region, warm) in enumerate(curves[:7]):
            mine = [row for row in rows if row[:2] == (region, warm) and row[3] > 0]
            label = region if warm is None else f"{region}, {warm:.1f} C"
            axes.plot([row[2] for row in mine], [row[3] for row in mine], drawstyle="steps-post", color=COLOURS[place % 7], label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        dress(axes, "dark rate / (e-/s)", "pixels above it")
        legend(axes, "lower left")

    return Chart(
        name=f"{start}hot-pixels",
        title="Hot pixels over rate and temperature",
        caption="Pixels whose dark rate exceeds a value; each curve begins at its own threshold.",
        paint=paint,
        columns=("region", "temperature / C", "rate / (e-/s)", "pixels"),
        rows=rows,
        size_in=(5.2, 3.2),
    )
