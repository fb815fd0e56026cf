"""Every file that the older suite listed, by name and folder: columns, array keys, finite values; and plans from end to end."""

from __future__ import annotations

import csv
import html
import importlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from nightcrew.errors import Refused
from nightcrew.io.images import read_image
from nightcrew.irradiation.discover import parse_stages
from nightcrew.simulate.campaign import make_irradiation
from nightcrew.simulate.campaign_plan import CampaignPlan, DamagedSensor
from nightcrew.simulate.campaign_sensor import make_damage
from reports import campaign_plots
from reports.analysis import write_analysis
from reports.campaign_plots import Axis, Series
from reports.summary import parse
from tasks.campaign import PLANS, CampaignRequest, CampaignResult, run_campaign

PLAN = CampaignPlan(
    sensor=DamagedSensor(ny=32, nx=40, hot_per_krad=1e-3),
    doses_krad=(5.0, 20.0, 40.0),
    dark_exposures_s=(1.0, 10.0),
    frames=4,
    flats=2,
    operation_frames=5,
)
STAGES = ("pre", "radiating", "post")
METRICS = ("NOISE16_DIFF", "NOISE12_DIFF", "MAG16_DIFF", "MAG12_DIFF")


DRAWN: dict[bytes, list[Series]] = {}
"""What was plotted, by the bytes of the figure."""


def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves and panels are drawn as ever, and their points are kept in ``DRAWN``."""

    def curve(series: Sequence[Series], *rest: Any, residuals: Sequence[Series] = (), **options: Any) -> bytes:
        made = campaign_plots.curve_png(series, *rest, residuals=residuals, **options)
        DRAWN[made] = [*series, *residuals]
        return made

    def panels(some: Sequence[tuple[Sequence[Series], Axis]], *rest: Any) -> bytes:
        made = campaign_plots.panels_png(some, *rest)
        DRAWN[made] = [one for series, _ in some for one in series]
        return made

    for name in ("dose", "model", "operation", "precision", "radiation", "tables"):
        module = importlib.import_module(f"tasks.campaign_{name}")
        for what, wrapped in (("curve_png", curve), ("panels_png", panels)):
            if hasattr(module, what):
                monkeypatch.setattr(module, what, wrapped)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CampaignResult]:
    root = tmp_path_factory.mktemp("full")
    make_irradiation(root / "sim", PLAN, 2)
    before = {path: path.stat().st_mtime_ns for path in (root / "sim").rglob("*")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        remembered(monkeypatch)
        result = run_campaign(CampaignRequest(root=root / "sim" / "campaign", out=root / "out", predict_krad=(60.0,)))
    write_analysis(result.page, root / "out")
    assert {path: path.stat().st_mtime_ns for path in (root / "sim").rglob("*")} == before  # the campaign is only read
    return root / "out", result


def columns(path: Path) -> dict[str, list[str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
        assert rows, path
    return {name: [row[name] for row in rows] for name in rows[0]}


TABLES = {
    "frame_info.csv": ("PATH", "CALTYPE", "STAGE", "FRAME", "TIMESTAMP", "EXPTIME", "DOSE", "DOSE_RATE"),
    "frame_stats.csv": ("PATH", "CALTYPE", "TEMP", "EXPTIME", "MEAN", "MEDIAN", "STD", "P16", "P84"),
    "index.csv": ("PATH", "CALTYPE", "STAGE", "VACUUM", "TEMP", "ZEROFRACTION", "BADFITS"),
    **{f"{stage}/stats_bias.csv": ("PATH", "FRAME", "GROUP", "TEMP", "MEAN", "STD") for stage in STAGES},
    **{f"{stage}/stats_dark.csv": ("PATH", "FRAME", "GROUP", "TEMP", "MEAN", "STD", "T_EXP") for stage in STAGES},
    **{f"{stage}/group_summary.csv": ("STAGE", "CALTYPE", "GROUP", "MEAN_RAD", "MEAN_VAL", "STD_VAL") for stage in STAGES},
    **{f"{stage}/plots/{name}_intensity.csv": ("time", "mean", "std") for stage in STAGES for name in ("bias", "dark")},
    "radiation_model/fit_results.csv": ("param", "value", "err", "R2"),
    "precision/dose_summary.csv": ("STAGE", "CALTYPE", "DOSE", "EXPTIME", "MEAN", "STD", "DOSE_RATE", "DOSE_RATE_STD"),
    "precision/photometric_precision.csv": ("DOSE", "MAG_ERR", "MAG_ERR_STD"),
    "precision/pixel_precision/pixel_precision_stats.csv": ("DOSE", "MAG_MEAN", "MAG_STD", "ADU_MEAN", "ADU_STD"),
    "precision/analysis/dose_model.csv": ("CALTYPE", "SLOPE", "INTERCEPT", "EXPTIME"),
    "precision/analysis/dose_rate_model.csv": ("CALTYPE", "A0", "A1", "A2", "B0", "B1", "B2", "EXPTIME"),
    "precision/analysis/base_level_trend.csv": ("CALTYPE", "SLOPE", "INTERCEPT"),
    "precision/analysis/stage_differences.csv": ("CALTYPE", "CMP", "DIFF"),
    "precision/analysis/bit_depth.csv": ("DOSE_KRAD", "BITS", "MAGNITUDE_ERROR"),
    "precision/analysis/star_forecast.csv": ("DOSE_KRAD", "MAGNITUDE_ERROR", "LIMITING_MAGNITUDE"),
    "damage/hot_pixels.csv": ("STAGE", "DOSE", "HOT_PIXELS", "LIMIT"),
    "damage/annealing.csv": ("CALTYPE", "SINCE_END", "MEAN"),
    "operation/5kRads/series.csv": ("PATH", "FRAME", "TIME", "DOSE", "DOSE_RATE", "OUTLIERS", "MEAN", "STD", "CURRENT_A", "VOLTAGE_V"),
}
ARRAYS = {
    **{
        f"{stage}/plots/{name}.npz": ("time", "mean", "std")
        for stage in STAGES
        for name in ("bias_intensity", "dark_intensity", "dark_intensity_1.0s", "dark_intensity_10.0s")
    },
    "precision/plots/bias_mean_vs_dose.npz": tuple(f"{stage}_{what}" for stage in STAGES for what in ("dose", "mean", "std")),
    "precision/plots/dark_mean_vs_dose_E10s.npz": tuple(f"{stage}_{what}" for stage in STAGES for what in ("dose", "mean", "std")),
    "precision/plots/flat_mean_vs_dose.npz": ("radiating_dose", "radiating_mean", "radiating_std"),
    "precision/plots/bias_mean_std_vs_dose.npz": (
        "dose",
        "mean",
        "std",
        "fit_ir",
        "fit_no",
        "slope_ir",
        "intercept_ir",
        "slope_no",
        "intercept_no",
    ),
    "precision/plots/dark_mean_std_vs_dose_E1s.npz": ("dose", "mean", "std", "fit_ir", "fit_no"),
    "precision/plots/std_model_dark_E10s.npz": ("mean_ir", "std_ir"),
    "precision/plots/dose_rate_effect_bias.npz": (
        "rate_ir",
        "mean_ir",
        "std_ir",
        "rate_no",
        "mean_no",
        "std_no",
        *(f"{a}_{b}_ir" for a in ("slope", "intercept") for b in ("mean", "std")),
    ),
    "precision/plots/dose_rate_effect_dark.npz": ("rate_ir", "mean_ir", "std_ir"),
    "precision/plots/photometric_precision_vs_dose.npz": ("dose", "mag_err", "mag_err_std"),
    "precision/plots/mag_err_vs_dose.npz": ("dose", "mag_mean", "mag_std"),
    "precision/plots/adu_err_vs_dose.npz": ("dose", "adu_mean", "adu_std"),
    "precision/pixel_precision/mag_err_vs_dose.npz": ("dose", "mag_mean", "mag_std"),
    "precision/pixel_precision/zone_mag_error.npz": ("dose", "Q1", "Q2", "Q3", "Q4"),
    "precision/analysis/stage_base_diff.npz": ("dose", "bias_diff", "dark_diff"),
    "precision/analysis/dynamic_range.npz": (
        "dose",
        "bias_mean",
        "dark_mean",
        "dynamic_range_16",
        "dynamic_range_12",
        "noise_adu",
        "noise_mag",
        "reduction_16",
        "reduction_12",
        "base_level_16",
        "base_level_12",
    ),
    "precision/analysis/relative_precision.npz": ("stage", "dose", "noise16_diff", "noise12_diff", "mag16_diff", "mag12_diff"),
    "precision/analysis/relative_noise_vs_dose_16.npz": tuple(f"{s}_{w}" for s in STAGES for w in ("dose", "NOISE16_DIFF")),
    "precision/analysis/relative_mag_err_vs_dose_12.npz": tuple(f"{s}_{w}" for s in STAGES for w in ("dose", "MAG12_DIFF")),
    "precision/analysis/pre_vs_post_relative_precision.npz": tuple(f"{s}_{m}" for s in ("pre", "post") for m in METRICS),
    "radiation_model/variance_residuals.npz": ("dose", "residual", "error"),
    "operation/5kRads/rad_vs_outliers.npz": ("x", "outliers", "model"),
    "operation/40kRads/maps.npz": ("cumulative", "persistent", "transient"),
}
PICTURES = (
    *(f"{stage}/mean_std_{kind}_vs_time" for stage in STAGES for kind in ("bias", "dark")),
    *(f"master_{kind}_T20.0{exposed}_post_minus_pre" for kind, exposed in (("bias", ""), ("dark", "_E1"), ("dark", "_E10"))),
    "radiation_model/bias_residuals",
    "radiation_model/dark_current_residuals",
    "radiation_model/qq_plot",
    "radiation_model/variance_residuals",
    "precision/plots/std_model_bias",
    "precision/analysis/dose_model_bias",
    "precision/analysis/dose_model_dark_E10s",
    "precision/analysis/dose_model_flat",
    "precision/analysis/dose_rate_model_bias",
    "precision/analysis/dose_rate_model_dark_E1s",
    "precision/analysis/base_level_trend_bias",
    "precision/analysis/base_level_trend_dark",
    "precision/analysis/stage_base_diff_bias",
    "precision/analysis/stage_base_diff_dark",
    *(
        f"precision/analysis/{kind}_{what}{log}"
        for kind in ("bias", "dark")
        for what in ("first_vs_pre", "post_vs_last")
        for log in ("", "_log")
    ),
    *(
        f"precision/analysis/{what}_vs_dose_{bits}"
        for what in ("dynamic_range", "baseline", "relative_noise", "relative_mag_err")
        for bits in (16, 12)
    ),
    "precision/analysis/magnitude_vs_dose",
    "precision/pixel_precision/zone_mag_error",
    "precision/pixel_precision/zone_adu_error",
    *(f"operation/20kRads/{name}" for name in ("cumulative_outliers", "metrics", "rad_vs_outliers", "intensity_stats", "first_last")),
    "damage/hot_pixels",
)


def test_the_full_plan_is_complete(full: tuple[Path, CampaignResult]) -> None:
    check_complete(*full)


def test_every_table_has_its_columns(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    for name, wanted in TABLES.items():
        found = columns(out / name)
        assert set(wanted) <= set(found), name
    info = columns(out / "frame_info.csv")
    assert all(math.isfinite(float(dose)) for dose in info["DOSE"])
    assert set(info["DOSE_SOURCE"]) <= {"time", "stage"}


def test_every_array_has_its_keys_and_finite_values(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    for name, wanted in ARRAYS.items():
        with np.load(out / name) as arrays:
            assert set(wanted) <= set(arrays.files), name
            for key in arrays.files:
                values = arrays[key]
                lines = ("slope", "intercept", "fit_no", "model", "rest")  # NaN where two points or a constant rate fix nothing
                if values.dtype.kind == "f" and not key.startswith(lines):
                    assert np.isfinite(values).all(), (name, key)


def test_every_picture_is_there(full: tuple[Path, CampaignResult]) -> None:
    out, result = full
    missing = [name for name in PICTURES if not (out / f"{name}.png").is_file()]
    assert missing == []
    drawn = [name for name in result.files if name.endswith(".png")]
    assert all((out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for name in drawn)
    for name in ("frames.gif", "outliers.gif"):
        assert (out / "operation/5kRads" / name).read_bytes()[:6] == b"GIF89a"


def holds_pairs(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether every (x, y) is a pair of saved numbers: elements of two arrays at one place."""
    if a.shape != b.shape:
        return False
    near = np.isclose(a[:, None], x, rtol=1e-9, atol=1e-12) & np.isclose(b[:, None], y, rtol=1e-9, atol=1e-12)
    return bool(near.any(axis=0).all())


def test_every_plotted_point_is_a_saved_number(full: tuple[Path, CampaignResult]) -> None:
    out, result = full
    checked = 0
    for name in (name for name in result.files if name.endswith(".png")):
        series = DRAWN.get((out / name).read_bytes(), [])
        stem = name.removesuffix(".png")
        numbers = out / f"{stem}.npz"
        if "stage_base_diff" in stem:
            numbers = out / f"{stem.rpartition('_')[0]}.npz"
        assert numbers.is_file() or (out / f"{stem.removesuffix('_log')}.npz").is_file() or (out / f"{stem}.fits").is_file(), name
        if not series:
            continue
        with np.load(numbers) as arrays:
            saved = [
                np.atleast_1d(arrays[key]).astype(float) for key in arrays.files if arrays[key].dtype.kind in "fiu" and arrays[key].ndim < 2
            ]
        for one in series:
            if not one.line:
                x, y = np.asarray(one.x, dtype=np.float64), np.asarray(one.y, dtype=np.float64)
                good = np.isfinite(x) & np.isfinite(y)
                if "pre_vs_post" in name:  # its abscissa are the metrics, one number each
                    assert all(np.isclose(np.concatenate(saved), value, rtol=1e-9, atol=1e-12).any() for value in y[good]), one.label
                else:
                    assert any(holds_pairs(a, b, x[good], y[good]) for a in saved for b in saved), (name, one.label)
                checked += int(good.sum())
    assert checked > 500


def test_the_joint_model_has_all_its_parameters(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    wanted = ["B0", "alpha_D", "DC0", "beta_D", "q_mean", "sigma_q", "sigma_read"]
    assert columns(out / "radiation_model/fit_results.csv")["param"] == wanted
    assert [row["param"] for row in json.loads((out / "radiation_model/fit_results.json").read_text())] == wanted


def test_maps_of_the_precision_at_every_dose(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    doses = columns(out / "precision/pixel_precision/pixel_precision_stats.csv")["DOSE"]
    for what in ("mag_err", "adu_err16", "adu_err12"):
        maps = sorted((out / "precision/pixel_precision").glob(f"{what}_*kR*.fits"))
        assert len(maps) == len(doses) == 5
        assert all(path.with_suffix(".png").is_file() and np.isfinite(read_image(path)).all() for path in maps)
    table = columns(out / "precision/dose_summary.csv")
    assert len(list((out / "precision/masters").glob("master_*.fits"))) == len(table["DOSE"])


def test_masters_differences_and_reconstructions(full: tuple[Path, CampaignResult]) -> None:
    out, result = full
    (part,) = result.parts
    assert part.analysis is not None
    pre, post = read_image(out / "pre/master_bias_T20.0.fits"), read_image(out / "post/master_bias_T20.0.fits")
    with np.load(out / "master_bias_T20.0_post_minus_pre.npz") as arrays:
        assert arrays["diff"] == pytest.approx(post - pre)
    for one in part.analysis.masters:
        if one.group.kind in ("BIAS", "DARK"):
            name = f"reconstruction/{one.path.stem}_diff"
            with np.load(out / f"{name}.npz") as arrays:
                assert np.array_equal(arrays["diff"], read_image(out / f"{name}.fits"))
                if one.group.kind == "BIAS":  # in so few pixels hot ones make darks no straight line
                    assert abs(arrays["diff"].mean()) < 6 * one.error
    with np.load(out / "pre/master_bias_T20.0.npz") as arrays:
        assert {"image_data", "frame_type", "t_exp", "dose_rate", "dose_total", "temperature"} <= set(arrays.files)
        assert np.array_equal(arrays["image_data"], pre)


def test_maps_of_the_model(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    truth = make_damage(PLAN.sensor, 2)
    for name, expected in (("B0", truth.bias), ("alpha", truth.alpha)):
        found, error = read_image(out / f"radiation_model/{name}_map.fits"), read_image(out / f"radiation_model/{name}_error_map.fits")
        pulls = (found - expected) / error
        assert abs(pulls.mean()) < 0.15
        assert pulls.std() == pytest.approx(1.0, abs=0.1)
    beta = read_image(out / "radiation_model/beta_map.fits")
    assert np.median(beta) == pytest.approx(PLAN.sensor.beta_adu_per_s_krad, rel=0.03)


def test_plotted_points_are_the_saved_numbers(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    summary = columns(out / "precision/dose_summary.csv")
    rows = list(zip(summary["STAGE"], summary["CALTYPE"], summary["DOSE"], summary["MEAN"], summary["STD"], strict=True))
    with np.load(out / "precision/plots/bias_mean_vs_dose.npz") as arrays:
        for stage in STAGES:
            mine = sorted((float(d), float(m), float(s)) for st, kind, d, m, s in rows if (st, kind) == (stage, "BIAS"))
            assert list(zip(*(arrays[f"{stage}_{w}"].tolist() for w in ("dose", "mean", "std")), strict=True)) == [
                pytest.approx(row, rel=1e-9) for row in mine
            ]
    table = Table.read(out / "campaign.ecsv")
    assert len(table) == len(rows)
    assert {"dose", "mean", "noise", "hits"} <= set(table.colnames)
    assert str(table["mean"].unit) == "adu"


def test_the_summary_names_everything(full: tuple[Path, CampaignResult]) -> None:
    out, _ = full
    found = parse((out / "summary.json").read_text())
    names = {quantity.name for quantity in found.quantities}
    wanted = {"bias_dose_slope", "dark_dose_slope", "base_shift", "hot_pixels", "alpha", "beta", "dc0", "b0", "q", "sigma_q", "read_noise"}
    assert wanted | {"magnitude_error", "star_limit", "gain", "operation_outliers"} <= names
    shifts = [q for q in found.quantities if q.name == "base_shift"]
    assert {(q.where["transition"], q.where["kind"]) for q in shifts} == {
        (t, k) for t in ("first_pre", "last_post") for k in ("bias", "dark")
    }
    assert {q.where["dose_krad"] for q in found.quantities if q.name == "star_limit"} == {0.0, 60.0}
    assert all(q.error is None and "no error" in q.note for q in found.quantities if q.name == "magnitude_error")
    page = (out / "report.html").read_text()
    assert "What is absent" in page
    assert "adu/kRad" in page


def check_complete(out: Path, result: CampaignResult) -> None:
    """Every file that is named is there, every figure has its numbers, every number or its reason, every absent part its sentence."""
    page, text = result.page, (out / "report.html").read_text()
    assert [name for name in result.files if not (out / name).is_file()] == []
    written = {
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and path.suffix in (".png", ".gif", ".csv", ".npz")
    }
    assert {name for name in written if not name.startswith(("figures/", "numbers/", "converted/"))} <= {*result.files, *KNOWN}
    assert page.verdict.endswith(".")
    figures = [figure for section in page.sections for figure in section.figures]
    assert figures
    for figure in figures:
        assert figure.png[:4] == b"\x89PNG"
        assert (out / figure.numbers).is_file(), figure.name
        assert f"figures/{figure.name}.png" in text or figure.title in text, figure.name
    for quantity in page.summary.quantities:
        assert quantity.note if quantity.value is None else math.isfinite(quantity.value), quantity.name
    absent = [sentence for part in result.parts for sentence in part.absent]
    assert len(set(absent)) == len(absent)
    for sentence in absent:
        assert sentence.endswith("."), sentence
        assert ". " not in sentence, sentence
        assert html.escape(sentence, quote=False) in text or html.escape(sentence) in text, sentence


KNOWN = ("files.json", "report.html", "page.json", "summary.json")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import dataclasses

    root = tmp_path_factory.mktemp("small")
    plan = dataclasses.replace(PLAN, doses_krad=(5.0, 10.0), frames=3, flats=0, operation_frames=3, dark_exposures_s=(10.0,))
    make_irradiation(root, plan, 3)
    return root / "campaign"


@pytest.mark.usefixtures("undrawn_figures")  # the full plan draws all of them, above
@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan not in ("full", "krad")])
def test_each_plan_ends_with_a_report(small: Path, tmp_path: Path, plan: str) -> None:
    result = run_campaign(CampaignRequest(root=small, out=tmp_path, plan=plan))
    write_analysis(result.page, tmp_path)
    check_complete(tmp_path, result)
    assert (tmp_path / "report.html").stat().st_size > 5000
    assert parse((tmp_path / "summary.json").read_text()).recipe == "campaign_analysis"
    made = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert ("pre" in made) == (plan in ("radiation", "variation"))
    assert ("operation" in made) == (plan == "operation")
    assert ("masters" in made) == (plan != "operation")
    if plan in ("standard", "irradiation"):
        assert sorted((tmp_path / "masters" / "bias").glob("master_bias_*.fits"))
        assert {"plots", "comparisons", "frame_stats.csv"} <= made


@pytest.mark.usefixtures("undrawn_figures")
def test_the_plan_of_dose_folders(tmp_path: Path) -> None:
    import dataclasses

    plan = dataclasses.replace(
        PLAN,
        layout="krad",
        logs="none",
        doses_krad=(5.0, 10.0),
        frames=2,
        flats=0,
        operation_frames=0,
        dark_exposures_s=(1.0,),
        stages=("radiating",),
    )
    make_irradiation(tmp_path / "sim", plan, 3)
    result = run_campaign(CampaignRequest(root=tmp_path / "sim" / "campaign", out=tmp_path / "out"))
    assert [part.plan for part in result.parts] == ["krad"]
    out = tmp_path / "out"
    log = columns(out / "radiationLogCompleto.csv")
    assert [float(dose) for dose in log["Dose"]] == pytest.approx([5 * n / 4 for n in range(1, 9)])
    for name in ("radiation_analysis/radiating/stats_bias.csv", "dose_analysis/dose_summary.csv", "plots/bias_mean_vs_dose.png"):
        assert (out / name).is_file(), name
    assert (out / "plots/dark_mean_vs_dose_E1s.png").is_file()
    assert any("stage pre" in text for text in result.parts[0].absent)
    write_analysis(result.page, out)
    check_complete(out, result)


@pytest.mark.usefixtures("undrawn_figures")
def test_datasets_and_stages_choose(small: Path, tmp_path: Path) -> None:
    found = run_campaign(CampaignRequest(root=small, out=tmp_path / "a", plan="operation", datasets=("10kRads",)))
    assert [one.name for one in found.parts[0].operation] == ["Operation/10kRads"]
    found = run_campaign(CampaignRequest(root=small, out=tmp_path / "b", plan="irradiation", stages=("pre",)))
    assert found.parts[0].analysis is not None
    assert {one.group.stage for one in found.parts[0].analysis.masters} == {"pre"}
    with pytest.raises(Refused, match="none of the datasets"):
        run_campaign(CampaignRequest(root=small, out=tmp_path / "c", datasets=("99kRads",)))
    assert parse_stages(["during", "pre"]) == ("pre", "radiating")
    with pytest.raises(Refused, match="no stage"):
        parse_stages(["while"])


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="holds no frame"):
        run_campaign(CampaignRequest(root=tmp_path / "empty", out=tmp_path / "out"))
    with pytest.raises(Refused, match="no plan"):
        run_campaign(CampaignRequest(root=tmp_path / "empty", out=tmp_path / "out", plan="all"))


def test_the_same_campaign_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        result = run_campaign(CampaignRequest(root=small, out=tmp_path / name, plan="radiation"))
        write_analysis(result.page, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        digests.append({path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in files})
    assert digests[0].keys() == digests[1].keys()
    assert [name for name in digests[0] if digests[0][name] != digests[1][name]] == []
    assert json.loads(digests[0]["summary.json"])["format"] == 1
