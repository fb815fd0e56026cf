"""Curves of the darks: dark transfer, rate against temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nightcrew.sensor.arrhenius import Arrhenius
from nightcrew.sensor.characterise import SetUpResult
from reports.sensor_charts import COLOURS, Chart, dress, legend
from reports.sensor_where import dark_rate_e

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def dark_transfer(summary: pd.DataFrame, start: str) -> Chart | None:
    """Log-log: total, temporal and fixed-pattern noise of darks against the dark signal."""
    darks = summary[(summary["img_type"] == "dark") & (summary["avg_signal-offset"] > 0)].sort_values("avg_signal-offset")
    if darks.empty:
        return None
    names = ("ccd_temp", "exptime", "avg_signal-offset", "total_noise", "shot+read", "FPN", "sig_shot")
    numbers = np.column_stack([np.asarray(darks[name].fillna(np.nan), np.float64) for name in names])

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for place, (label, column) in enumerate(
            (("total", 3), ("temporal (shot + read)", 4), ("fixed pattern (DSNU)", 5), ("dark shot", 6))
        ):
            good = np.isfinite(numbers[:, column]) & (numbers[:, column] > 0)
            if good.any():
                axes.plot(
                    numbers[good, 2],
                    numbers[good, column],
                    marker="os^D"[place],
                    markersize=4,
                    linestyle="",
                    color=COLOURS[place],
                    label=label,
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        dress(axes, "dark signal / ADU", "noise / ADU")
        legend(axes, "upper left")

    return Chart(
        name=f"{start}dark-transfer",
        title="Dark transfer",
        caption="Noises of the crop in darks of all temperatures against their signal; groups of one frame have no temporal noise.",
        paint=paint,
        columns=(
            "temperature / C",
            "exposure / s",
            "signal / adu",
            "total noise / adu",
            "shot+read / adu",
            "fixed pattern / adu",
            "dark shot / adu",
        ),
        rows=[tuple(row) for row in numbers.tolist()],
    )


def rates_over_temperature(set_up: SetUpResult, start: str) -> Chart | None:
    """Dark rate against temperature with the Arrhenius line."""
    rows: list[tuple[Any, ...]] = []
    for region in set_up.regions:
        for series in region.darks:
            if series.rate_adu_per_s is None or series.rate_adu_per_s <= 0 or series.mean_temperature_c is None:
                continue
            rate, error = dark_rate_e(region, series.rate_adu_per_s, series.rate_error_adu_per_s)
            adu = (series.rate_adu_per_s, series.rate_error_adu_per_s)
            warm = round(series.mean_temperature_c, 4)  # of the frames themselves, as in the fit: a bin's middle may lie beside it
            rows.append((region.region.name, warm, *adu, rate, error))
    if len({row[1] for row in rows}) < 2:
        return None
    in_electrons = all(row[4] is not None for row in rows)

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for place, region in enumerate(set_up.regions):
            mine = [row for row in rows if row[0] == region.region.name]
            if not mine:
                continue
            warm = np.array([row[1] for row in mine])
            values, errors = (np.array([row[k + (2 if in_electrons else 0)] for row in mine]) for k in (2, 3))
            colour = COLOURS[place % len(COLOURS)]
            axes.errorbar(warm, values, errors, fmt="o", markersize=4.5, color=colour, label=region.region.name)
            if isinstance(region.arrhenius, Arrhenius):
                fit, line = region.arrhenius, np.linspace(warm.min() - 1, warm.max() + 1, 60)
                scale = region.gain.value if in_electrons and region.gain is not None else 1.0
                digits = 2 if fit.doubling_error_k >= 0.01 else 3
                error_k = max(fit.doubling_error_k, 0.001)
                label = f"doubles every {fit.doubling_k:.{digits}f} ± {error_k:.{digits}f} K, E = {fit.activation_ev:.3f} eV"
                axes.plot(line, [scale * fit.rate_at(float(t)) for t in line], color=colour, linewidth=1, label=label)
        axes.set_yscale("log")
        dress(axes, "temperature / °C", f"dark rate of a stored pixel / ({'e-' if in_electrons else 'ADU'}/s)")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.25)  # room for the words above the line
        legend(axes, "upper left")

    return Chart(
        name=f"{start}dark-rate-temperature",
        title="Dark rate against temperature",
        caption="Hot pixels left out; the line is exp(-E/kT).",
        paint=paint,
        columns=("region", "temperature / C", "rate / (adu/s)", "error / (adu/s)", "rate / (e-/s)", "error / (e-/s)"),
        rows=rows,
    )
