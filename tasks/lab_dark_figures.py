"""Figures and tables of the dark models: dark current against temperature, evaluation of models of one and of two variables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nightcrew.detector.dark_model import DarkModel
from nightcrew.detector.held_out import compare
from nightcrew.detector.stack import F4
from nightcrew.lab.options import LabOptions
from nightcrew.lab.results import Cell, DarkMade
from nightcrew.lab.tables import write_table
from nightcrew.quality.statistics import sample_pixels
from reports import lab_figures as draw
from reports.lab_figures import Course
from tasks.lab_bias import EVALUATION, row_of
from tasks.lab_dark import grid_of

SUMMARY_2D = ("Temperature (°C)", "Exposure (s)", "MAE [ADU/s]", "MAPE [%]")
_BANDS = (("all", 0.0, np.inf), ("mape_less_100", 0.0, 100.0), ("mape_100_200", 100.0, 200.0), ("mape_over_200", 200.0, np.inf))
_LINE_PIXELS = 200


def dark_figures(made: DarkMade, out: Path, options: LabOptions, mode: str) -> None:
    """What the mode asks for; the tables also without figures."""
    if mode in ("full", "evaluate_dark_current"):
        _dark_current(made, out, options)
    if mode in ("full", "evaluation_only"):
        for exposure, model in made.by_exposure.items():
            _one_variable([cell for cell in made.cells if cell.exposure_s == exposure], model, out, options)
    if mode in ("full", "evaluate_2d_model") and made.model is not None:
        _two_variables(made, made.model, out, options)
        table = [row_of(row) for row in made.left_out]
        write_table(out / "evaluation_summary.csv", (EVALUATION[0], "EXPTIME", *EVALUATION[1:]), table)


def _dark_current(made: DarkMade, out: Path, options: LabOptions) -> None:
    """``exp_<e>/dark_current_vs_temperature``: mean and scatter of each mean dark."""
    for folder in sorted({cell.folder for cell in made.cells}):
        cells = sorted((cell for cell in made.cells if cell.folder == folder), key=lambda cell: cell.temperature_c)
        columns = {
            "temperature_c": [cell.temperature_c for cell in cells],
            "rate_adu_per_s": [cell.median for cell in cells],
            "scatter_adu_per_s": [cell.scatter for cell in cells],
        }
        write_table(out / folder / "dark_current_vs_temperature.csv", tuple(columns), _rows(columns))
        if options.save_plots:
            line = Course(label="mean dark", x=columns["temperature_c"], y=columns["rate_adu_per_s"])
            png = draw.courses(f"Dark rate, {cells[0].exposure_s:g} s", "temperature / C", "rate / (adu/s)", [line], log_y=True)
            draw.put(out / folder / "dark_current_vs_temperature.png", png, columns)


def _rows(columns: dict[str, list[float]]) -> list[dict[str, float]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _one_variable(cells: Sequence[Cell], model: DarkModel, out: Path, options: LabOptions) -> None:
    """Mean and scatter of |synthetic - real| of each mean dark, and the same by bands of their percentage."""
    folder = out / "dark_model_evaluation" / cells[0].folder
    table: dict[str, list[dict[str, object]]] = {name: [] for name, _, _ in _BANDS}
    for cell in sorted(cells, key=lambda cell: cell.temperature_c):
        real = cell.rate()
        made = model.signal(cell.temperature_c, cell.exposure_s) / np.float32(cell.exposure_s)
        off = np.abs(made - real)
        share = 100 * off / (np.abs(real) + np.float32(1e-7))
        for name, low, high in _BANDS:
            chosen = np.isfinite(off) & (share >= low) & (share < high)
            values = off[chosen]
            row: dict[str, object] = {"TEMP": cell.temperature_c, "PIXELS": int(chosen.sum())}
            if values.size:
                row |= {"MAE": float(values.mean()), "MAE_STD": float(values.std())}
                row |= {"MAPE": float(share[chosen].mean()), "MAPE_STD": float(share[chosen].std())}
            table[name].append(row)
    for name, rows in table.items():
        columns = ("TEMP", "PIXELS", "MAE", "MAE_STD", "MAPE", "MAPE_STD")
        stem = folder / f"model_evaluation_masks_{name}"
        write_table(stem.with_suffix(".csv"), columns, rows)
        if options.save_plots:
            known = [row for row in rows if "MAE" in row]
            x, y = [float(str(row["TEMP"])) for row in known], [float(str(row["MAE"])) for row in known]
            lines = [Course(label="mean |synthetic - real|", x=x, y=y)]
            title = f"Model of {cells[0].exposure_s:g} s against mean darks: {name.replace('_', ' ')}"
            png = draw.courses(title, "temperature / C", "mean absolute error / (adu/s)", lines)
            draw.put(stem.with_suffix(".png"), png)


def _two_variables(made: DarkMade, model: DarkModel, out: Path, options: LabOptions) -> None:
    numbers = []
    for cell in made.cells:
        real = cell.rate()
        synthetic = model.signal(cell.temperature_c, cell.exposure_s) / np.float32(cell.exposure_s)
        found = compare(real, synthetic)
        numbers.append((cell, found))
        if options.save_plots:
            _comparison(cell, real, synthetic, out / "plots_2d_comparison")
    rows = [
        {SUMMARY_2D[0]: cell.temperature_c, SUMMARY_2D[1]: cell.exposure_s, SUMMARY_2D[2]: found["mae"], SUMMARY_2D[3]: found["mape"]}
        for cell, found in numbers
    ]
    write_table(out / "evaluation_model_2d_summary.csv", SUMMARY_2D, rows)
    if not options.save_plots:
        return
    for name, key, title, unit in (
        ("mae", "mae", "Mean |real - synthetic|", "adu/s"),
        ("mape", "mape", "Median |real - synthetic| / real", "%"),
        ("dark_real", "measured", "Mean darks", "adu/s"),
        ("dark_synthetic", "predicted", "Model", "adu/s"),
    ):
        t, exposures, table = grid_of([(cell.temperature_c, cell.exposure_s, found[key]) for cell, found in numbers], options.gap_k)
        columns = {
            "temperature_c": [row for row in t for _ in exposures],
            "exposure_s": [column for _ in t for column in exposures],
            name: table.reshape(-1).tolist(),
        }
        draw.put(out / f"heatmap_{name}_2d.png", draw.heat_map(title, unit, t, exposures, table), columns)


def _comparison(cell: Cell, real: F4, synthetic: F4, out: Path) -> None:
    tail = cell.name.removeprefix("dark_mask_t").replace("_e", "_E")
    across, up = sample_pixels(real, 4000), sample_pixels(synthetic, 4000)
    title = f"{cell.temperature_c:.1f} C, {cell.exposure_s:g} s"
    columns = {"real_adu_per_s": across.tolist(), "synthetic_adu_per_s": up.tolist()}
    draw.put(
        out / f"scatter_T{tail}.png",
        draw.scatter(title, "mean dark / (adu/s)", "model / (adu/s)", across, up),
        columns,
    )
    middle = real.shape[0] // 2
    y, model = real[middle, :_LINE_PIXELS].tolist(), synthetic[middle, :_LINE_PIXELS].tolist()
    x = list(range(len(y)))
    lines = [Course(label="mean dark", x=x, y=y, points=False), Course(label="model", x=x, y=model, points=False)]
    png = draw.courses(f"{title}, row {middle}", "x / px", "rate / (adu/s)", lines)
    draw.put(out / f"line_compare_T{tail}.png", png, {"x_px": x, "real_adu_per_s": y, "synthetic_adu_per_s": model})
