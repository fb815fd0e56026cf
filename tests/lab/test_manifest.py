"""Every file that a whole campaign writes is a listed one, with its columns and arrays, finite values, and the points of its figure."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.io.products import read_image_product
from nightcrew.lab.frame_stats import COLUMNS as STATS
from nightcrew.lab.options import LabOptions
from nightcrew.lab.results import LabMade
from reports import lab_figures
from reports.lab_figures import Course
from tasks.lab_bias import EVALUATION as BIAS_EVALUATION
from tasks.lab_changes import FLATS, OUTLIERS, STRUCTURES
from tasks.lab_dark_figures import SUMMARY_2D
from tasks.lab_flats import EVALUATION as FLAT_EVALUATION
from tasks.lab_run import masters_of, models_of
from tests.lab.conftest import Campaign
from tests.lab.test_models import _few

T, E, W = r"T-?\d+\.\d+", r"E[\d.]+", r"exp_\d+p\d+"
MAPE = ("TEMP", "PIXELS", "MAE", "MAE_STD", "MAPE", "MAPE_STD")
MASTERS = r"master_(bias|dark|flat)_"
TABLES: dict[str, tuple[str, ...]] = {
    r"frame_stats": STATS,
    r"bias/evaluation/evaluation_summary": BIAS_EVALUATION,
    rf"bias/detail_{T}": ("temperature_c", "mean_adu"),
    r"bias/mean_vs_temperature": ("temperature_mean", "mean_adu", "std_adu"),
    r"plots/bias_(?P<what>mean|median|std)_vs_temp": ("temperature_c", "{what}_adu"),
    rf"plots/(dark|flat)_(?P<what>mean|median|std)_{T}": ("exposure_s", "{what}_adu"),
    rf"comparisons/bias_{T}|comparisons/(dark|flat)_{T}_{E}": ("frame", "std_adu"),
    rf"dark/{W}/dark_current_vs_temperature": ("temperature_c", "rate_adu_per_s", "scatter_adu_per_s"),
    rf"dark/dark_model_evaluation/{W}/model_evaluation_masks_(all|mape_less_100|mape_100_200|mape_over_200)": MAPE,
    r"dark/evaluation_model_2d_summary": SUMMARY_2D,
    r"dark/evaluation_summary": (BIAS_EVALUATION[0], "EXPTIME", *BIAS_EVALUATION[1:]),
    r"dark/heatmap_(?P<what>mae|mape|dark_real|dark_synthetic)_2d": ("temperature_c", "exposure_s", "{what}"),
    r"dark/plots_2d_comparison/scatter_T[\d.-]+_E[\d.]+": ("real_adu_per_s", "synthetic_adu_per_s"),
    r"dark/plots_2d_comparison/line_compare_T[\d.-]+_E[\d.]+": ("x_px", "real_adu_per_s", "synthetic_adu_per_s"),
    r"flat/evaluation/evaluation_summary": FLAT_EVALUATION,
    r"flat/flat_vignetting/vignetting_all": ("x_px", "flat", "vignetting"),
    r"structure/structure_analysis": STRUCTURES,
    rf"structure/mean_vs_time_{T}": ("filter", "time_s", "level_adu_per_s"),
    r"structure/mean_vs_temperature": ("filter", "temperature_c", "level_adu_per_s"),
    r"outgasing_analysis/analysis_flats": FLATS,
    r"outgasing_analysis/analysis_outliers": OUTLIERS,
    r"outgasing_analysis/summary_plots/outliers_vs_(?P<what>time|temperature)": ("filter", "{what}", "outliers"),
    r"outgasing_analysis/summary_plots/mean_std_vs_time": ("filter", "time", "mean_adu", "std_adu"),
    r"outgasing_analysis/summary_plots/mean_std_vs_temp": ("filter", "temperature", "mean_adu", "std_adu"),
    rf"outgasing_analysis/sensor_plane_outliers/(outliers_{T}|all_outliers_sensor_plane)": ("y", "x", "times"),
}
ARRAYS: dict[str, set[str]] = {
    r"bias/detail_.*": {"frame"},
    rf"bias/evaluation/bias_{T}": {"real", "synthetic", "mae", "mape"},
    r"bias/evaluation/evaluation_summary": {"temperature_c", "mae_adu", "mae_std_adu", "mape", "mape_std"},
    r"comparisons/.*": {"master", "frame"},
    rf"dark/dark_model/{W}/global_params": {"A_g", "B_g", "t_min", "t_ref", "e_ref"},
    r"dark/dark_model_2d/global_params_2d": {"A_g", "B_g", "t_min", "t_ref", "e_ref"},
    rf"flat/evaluation/flat_none_{T}_{E}": {"real", "synthetic", "mae", "mape"},
    r"outgasing_analysis/diff_maps/.*": {"difference"},
}
IMAGES = (
    rf"masters/bias/{MASTERS}(attempt0_|.*attempt0_)?{T}",
    rf"masters/(darks|flats)/{MASTERS}(.*attempt0_)?{T}_{E}",
    r"bias/bias_model/bias_(a|b|chi2)_map",
    r"bias/bias_grouped_by_temp/master_bias_-?[\d.]+C",
    r"bias/bias_masks_by_temp/synthetic_bias_-?[\d.]+C",
    r"bias/evaluation/(mae|mape)_-?[\d.]+C",
    rf"dark/bias_corrected_darks/{W}/dark_corrected_\d{{4}}",
    rf"dark/dark_masks_by_temp/{W}/dark_mask_t[\d.]+_e[\d.]+",
    rf"dark/dark_model/{W}/(A_map|B_map|hot_pixels)",
    rf"dark/synthetic_darks/{W}/synthetic_dark_[\d.]+",
    r"dark/dark_model_2d/(A_map_2D|B_map_2D|GAMMA_map_2D|hot_pixels)",
    r"dark/synthetic_2d_exp_[\d.]+/synthetic_2d_dark_t[\d.]+_e[\d.]+",
    r"flat/flat_reduced/.*_FLAT_REDUCED_WITH_DARK",
    r"flat/flat_normalized/.*_normalized",
    r"flat/flat_vignetting/(vignetting_all|.*_vignetting_corrected)",
    rf"flat/master_flat/master_flat_none_{T}_{E}",
    r"flat/flat_model/flat_(A|B|C)_map",
    rf"flat/evaluation/(diff|mae|mape)_none_{T}_{E}",
    rf"structure/structures_{T}",
    r"outgasing_analysis/flats_norm_reduced/.*_norm",
)
TEXTS = (
    r"bias/bias_model/bias_model\.json",
    r"bias/bias_stats\.json",
    r"dark/dark_model(_2d|/exp_\d+p\d+)/dark_model\.json",
    r"flat/auto_dark_files\.json",
    r"flat/flat_vignetting/vignetting_all\.json",
    r"(bias|structure|outgasing_analysis)/suspicious_bias\.log",
    r"(dark|outgasing_analysis)/suspicious_darks\.log",
)


def rule(name: str, rules: dict[str, Any]) -> tuple[re.Match[str], Any]:
    found = [(match, value) for pattern, value in rules.items() if (match := re.fullmatch(pattern, name))]
    assert len(found) == 1, f"{name} is listed {len(found)} times"
    return found[0]


def check_table(path: Path, name: str) -> None:
    match, wanted = rule(name, TABLES)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == tuple(column.format(**match.groupdict()) for column in wanted), name
        for row in reader:
            for cell in row.values():
                try:
                    assert math.isfinite(float(cell)), (name, row)
                except ValueError:
                    assert cell.lower() not in ("nan", "inf"), (name, row)


def check_file(root: Path, path: Path) -> None:
    name = path.relative_to(root).as_posix()
    stem, _, ending = name.rpartition(".")
    if ending == "csv":
        check_table(path, stem)
    elif ending == "npz":
        with np.load(path) as arrays:
            assert set(arrays.files) == rule(stem, ARRAYS)[1], name
            assert all(np.isfinite(arrays[key]).mean() > 0.99 for key in arrays.files), name
    elif ending == "fits":
        assert sum(bool(re.fullmatch(pattern, stem)) for pattern in IMAGES) == 1, name
        assert np.isfinite(read_image_product(path).science).mean() > 0.99, name
    elif ending == "png":
        assert {path.with_suffix(".csv").exists(), path.with_suffix(".npz").exists()} != {False}, name
        assert path.read_bytes().startswith(b"\x89PNG"), name
    else:
        assert sum(bool(re.fullmatch(pattern, name)) for pattern in TEXTS) == 1, name
        if ending == "json":
            json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{name} holds {word}"))


def saved_tables(path: Path) -> list[np.ndarray]:
    """Tables [row, column] of the numbers beside a figure: of the csv (what is no number is NaN), and of arrays of equal length."""
    found = []
    if path.with_suffix(".csv").exists():
        with path.with_suffix(".csv").open() as file:
            rows = list(csv.reader(file))[1:]
        found.append(np.array([[float(cell) if re.fullmatch(r"[-+\d.e]+", cell) else np.nan for cell in row] for row in rows]))
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as arrays:
            flat = [arrays[key] for key in arrays.files if arrays[key].ndim == 1]
        found += [np.column_stack([one for one in flat if len(one) == n]) for n in sorted({len(one) for one in flat})]
    return [table for table in found if table.size]


def _pairs(table: np.ndarray) -> list[tuple[int, int]]:
    return list(itertools.permutations(range(table.shape[1]), 2))


def together(tables: Sequence[np.ndarray], x: Sequence[float], y: Sequence[float]) -> bool:
    """Whether there are two columns of one table that hold every point (x, y) of a course in one of its rows."""
    points = np.column_stack([x, y]).astype(float)
    for table in tables:
        whole = [len(table) == len(points) and np.allclose(table[:, [i, j]], points, rtol=1e-6, atol=1e-9) for i, j in _pairs(table)]
        if any(whole):
            return True
        near = np.isclose(table[None, :, :, None], points[:, None, None, :], rtol=1e-6, atol=1e-9)  # [point, row, column, x or y]
        for i, j in _pairs(table):
            if (near[:, :, i, 0] & near[:, :, j, 1]).any(axis=1).all():
                return True
    return False


def test_points_are_saved_in_pairs_or_not_at_all() -> None:
    table = np.array([[1.0, 10.0, 7.0], [2.0, 20.0, 7.0], [3.0, 30.0, 7.0]])
    assert together([table], [1, 2, 3], [10, 20, 30])
    assert together([table], [30, 10], [3, 1])
    assert not together([table], [1, 2, 3], [10, 30, 20])  # all the same numbers, in other pairs
    assert not together([table], [1, 2], [10, 7])  # of two columns
    assert not together([table], [1], [1])


def test_every_file_of_a_campaign_is_listed_and_its_figure_shows_what_is_saved(
    tiny: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[bytes, Sequence[Course]] = {}
    shown: list[tuple[Path, Sequence[Course]]] = []
    courses: Callable[..., bytes] = lab_figures.courses
    put: Callable[..., Path] = lab_figures.put

    def drawing(title: str, x: str, y: str, lines: Sequence[Course], **options: Any) -> bytes:
        png = courses(title, x, y, lines, **options)
        drawn[png] = lines
        return png

    def putting(path: Path, png: bytes, *args: Any, **options: Any) -> Path:
        shown.append((path, drawn.get(png, ())))
        return put(path, png, *args, **options)

    def plain_png(canvas: Any) -> bytes:
        canvas.set_layout_engine("none")  # where the parts of a figure lie is not looked at here, and takes half the time
        return png(canvas)

    png: Callable[[Any], bytes] = lab_figures._png
    monkeypatch.setattr(lab_figures, "_png", plain_png)
    monkeypatch.setattr(lab_figures, "courses", drawing)
    monkeypatch.setattr(lab_figures, "put", putting)
    made = LabMade(title="all", frames=[frame for frame in tiny.frames if _few(frame)])
    options = LabOptions(save_eval_fits=True)
    masters_of(made, tmp_path, options)
    models_of(made, tmp_path, options)
    assert made.missing == {}
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    for path in files:
        check_file(tmp_path, path)
    names = [path.relative_to(tmp_path).as_posix() for path in files]
    for pattern in (rf"({one})\.(csv|npz|fits|json|log)" for one in (*TABLES, *ARRAYS, *IMAGES)):
        assert any(re.fullmatch(pattern, name) for name in names), f"nothing is written for {pattern}"
    assert all(any(re.fullmatch(pattern, name) for name in names) for pattern in TEXTS)
    points = 0
    for path, lines in shown:
        tables = saved_tables(path)
        for line in lines:
            assert together(tables, line.x, line.y), (path.name, line)
            points += len(line.x)
    assert points > 500
