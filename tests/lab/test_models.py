"""Models of a campaign as files: every mode, every listed file, numbers against the truth."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.detector.flat_model import fit_flat
from nightcrew.detector.vignetting import Vignetting, fit_vignetting, read_vignetting
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import read_image
from nightcrew.io.products import read_image_product
from nightcrew.lab.changes import LIKELY_SENSOR, SENSOR_DAMAGE, TEMPERATURE, class_counts, classify
from nightcrew.lab.flats import choose_dark, find_darks, level_of, star_mask
from nightcrew.lab.groups import group_frames
from nightcrew.lab.options import DARK_MODES, FLAT_MODES, LabOptions
from nightcrew.lab.records import LabFrame
from nightcrew.lab.results import LabMade
from reports.lab import lab_page
from reports.summary import as_json
from tasks.lab_bias import bias_step
from tasks.lab_changes import degradation_step, structure_step
from tasks.lab_dark import dark_step
from tasks.lab_dark_figures import dark_figures
from tasks.lab_flats import FlatInputs, flat_step
from tasks.lab_run import models_of
from tests.lab.conftest import Campaign

QUICK = LabOptions(save_plots=False)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def bias(tiny: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bias")
    bias_step(tiny.frames, out, QUICK)
    return out


DARK_FILES = {
    "full": {
        "bias_corrected_darks/exp_1p00/dark_corrected_0000.fits",
        "dark_masks_by_temp/exp_1p00/dark_mask_t10.01_e1.00.fits",
        "dark_model/exp_5p00/A_map.fits",
        "dark_model/exp_5p00/global_params.npz",
        "synthetic_darks/exp_5p00/synthetic_dark_20.00.fits",
        "dark_model_2d/GAMMA_map_2D.fits",
        "dark_model_2d/global_params_2d.npz",
        "synthetic_2d_exp_25.00/synthetic_2d_dark_t20_e25.fits",
        "evaluation_model_2d_summary.csv",
        "evaluation_summary.csv",
        "exp_1p00/dark_current_vs_temperature.csv",
        "dark_model_evaluation/exp_1p00/model_evaluation_masks_all.csv",
        "suspicious_darks.log",
    },
    "synthetic_only": {"dark_model/exp_5p00/B_map.fits", "synthetic_darks/exp_5p00/synthetic_dark_15.00.fits"},
    "evaluation_only": {"dark_model_evaluation/exp_1p00/model_evaluation_masks_mape_over_200.csv", "dark_model/exp_1p00/hot_pixels.fits"},
    "evaluate_dark_current": {"exp_10p00/dark_current_vs_temperature.csv"},
    "fit_2d_model": {"dark_model_2d/A_map_2D.fits", "dark_model_2d/B_map_2D.fits", "dark_model_2d/dark_model.json"},
    "evaluate_2d_model": {"evaluation_model_2d_summary.csv", "evaluation_summary.csv"},
    "synthetic_2d": {"synthetic_2d_exp_1.00/synthetic_2d_dark_t15_e1.fits"},
    "synthetic_2d_single": {"synthetic_2d_dark_T12.5_E7.fits"},
}


@pytest.mark.parametrize("mode", DARK_MODES)
def test_every_mode_of_the_darks(tiny: Campaign, bias: Path, tmp_path: Path, mode: str) -> None:
    from nightcrew.detector.model_files import load_bias

    temps = () if mode == "full" else (15.0,)
    options = replace(QUICK, temps=temps, temp_single=12.5, exptime_single=7.0)
    made = dark_step(tiny.frames, load_bias(bias / "bias_model"), tmp_path, options, mode=mode)
    dark_figures(made, tmp_path, options, mode)
    found = names(tmp_path)
    wanted = {name.replace("t10.01", "t" + _text(tiny)) for name in DARK_FILES[mode]}
    assert wanted <= found
    if mode not in ("full", "fit_2d_model", "evaluate_2d_model", "synthetic_2d", "synthetic_2d_single"):
        assert not any(name.startswith("dark_model_2d") for name in found)


def _text(tiny: Campaign) -> str:
    darks = [frame for frame in tiny.frames if frame.caltype == "DARK"]
    coldest = min(group.cluster_c or 0 for group in group_frames(darks))
    return f"{coldest:.2f}"


def test_a_synthetic_dark_from_a_stored_model_has_the_asked_conditions(tiny: Campaign, bias: Path, tmp_path: Path) -> None:
    from nightcrew.detector.model_files import load_bias

    dark_step(tiny.frames, load_bias(bias / "bias_model"), tmp_path / "one", QUICK, mode="fit_2d_model")
    options = replace(QUICK, temp_single=25.0, exptime_single=4.0)
    dark_step([], None, tmp_path / "two", options, mode="synthetic_2d_single", models=tmp_path / "one")
    product = read_image_product(tmp_path / "two" / "synthetic_2d_dark_T25_E4.fits")
    assert (product.cards["TEMP"], product.cards["EXPTIME"], product.cards["GRADE"]) == (25.0, 4.0, "C")
    truth = tiny.truth["dark_rate"] * 2 ** ((25.0 - 20.0) / 6.5) * 4
    assert float(np.median(product.science)) == pytest.approx(float(np.median(truth)), rel=0.02)
    far = dark_step([], None, tmp_path / "far", replace(options, temp_single=80.0), mode="synthetic_2d_single", models=tmp_path / "one")
    assert "outside" in far.notes[0]
    assert read_image_product(tmp_path / "far" / "synthetic_2d_dark_T80_E4.fits").cards["GRADE"] == "D"


def test_mean_darks_are_not_clipped(tiny: Campaign, bias: Path, tmp_path: Path) -> None:
    from nightcrew.detector.model_files import load_bias

    made = dark_step(tiny.frames, load_bias(bias / "bias_model"), tmp_path, QUICK, mode="evaluate_dark_current")
    cold = min(made.cells, key=lambda cell: (cell.temperature_c, cell.exposure_s))
    assert float(cold.rate().min()) < 0
    assert cold.median == pytest.approx(80 * 2 ** ((cold.temperature_c - 20) / 6.5) * float(np.exp(0.25**2 / 2)), rel=0.1)


FLAT_FILES = {
    "full": {
        "auto_dark_files.json",
        "flat_vignetting/vignetting_all.json",
        "flat_model/flat_A_map.fits",
        "evaluation/evaluation_summary.csv",
    },
    "full_no_vignetting": {"flat_model/flat_C_map.fits", "evaluation/evaluation_summary.csv"},
    "reduce_only": {"auto_dark_files.json"},
    "normalize_only": set(),
    "vignetting_only": {"flat_vignetting/vignetting_all.fits"},
    "make_master": {"master_flat/master_flat_none_T20.0_E0.5.fits"},
    "fit_model": {"flat_model/flat_B_map.fits"},
    "evaluate_model": {"evaluation/evaluation_summary.csv"},
}


@pytest.mark.parametrize("mode", FLAT_MODES)
def test_every_mode_of_the_flats(tiny: Campaign, tmp_path: Path, mode: str) -> None:
    made = flat_step(tiny.frames, tmp_path, QUICK, mode=mode)
    found = names(tmp_path)
    assert FLAT_FILES[mode] <= found
    steps = [folder.name for folder in sorted(tmp_path.iterdir()) if folder.is_dir()]
    assert "flat_reduced" in steps
    assert ("flat_normalized" in steps) == (mode != "reduce_only")
    assert ("flat_vignetting" in steps) == (mode not in ("reduce_only", "normalize_only", "full_no_vignetting"))
    assert ("master_flat" in steps) == (mode not in ("reduce_only", "normalize_only", "vignetting_only"))
    assert ("flat_model" in steps) == (mode in ("full", "full_no_vignetting", "fit_model", "evaluate_model"))
    assert made.skipped == []
    assert made.frames == 12


def test_reduced_flats_say_which_dark_and_masters_what_they_are_made_of(tiny: Campaign, tmp_path: Path) -> None:
    flat_step(tiny.frames, tmp_path, replace(QUICK, master_method="mean"), mode="make_master")
    reduced = sorted((tmp_path / "flat_reduced").glob("*.fits"))[0]
    cards = read_hdus(reduced, first_only=True)[0].cards
    assert {"FLAT_DARK", "FLAT_DARK_TEMP", "FLAT_DARK_EXPT", "FLAT_DARK_DIFF", "FLAT_PIPE_STEP"} <= set(cards)
    master = read_hdus(tmp_path / "master_flat" / "master_flat_none_T20.0_E0.5.fits", first_only=True)[0].cards
    assert (master["N_FILES"], master["COMBMETH"], master["F_SAMP"]) == (3, "mean", "none")


@pytest.mark.parametrize("method", ["robust", "mean", "max"])
def test_normalisations(tiny: Campaign, tmp_path: Path, method: str) -> None:
    flat_step(tiny.frames, tmp_path, replace(QUICK, norm_method=method), mode="normalize_only")  # type: ignore[arg-type]  # one of the words
    flat = read_image(sorted((tmp_path / "flat_normalized").glob("*.fits"))[0])
    if method == "max":
        assert float(flat.max()) == pytest.approx(1)
    else:
        assert float(flat.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("lensfun", {"k1": -0.18, "k2": -0.07, "k3": 0.0}),
        ("radial", {"coefficients": [-0.18, -0.07]}),
        ("empirical", {"r": [0.0, 0.25, 0.5, 0.75, 1.0, 1.2], "value": [1, 0.98848, 0.95063, 0.8766, 0.75, 0.5957]}),
    ],
)
def test_vignetting_from_a_file_is_applied(tiny: Campaign, tmp_path: Path, kind: str, body: dict[str, object]) -> None:
    (tmp_path / "p.json").write_text(json.dumps(body))
    inputs = FlatInputs(**{kind: tmp_path / "p.json"})
    flat_step(tiny.frames, tmp_path / "out", QUICK, mode="vignetting_only", inputs=inputs)
    before = read_image(sorted((tmp_path / "out" / "flat_normalized").glob("*.fits"))[0])
    after = read_image(sorted((tmp_path / "out" / "flat_vignetting").glob("*corrected.fits"))[0])
    plane = read_vignetting(tmp_path / "p.json", kind, (48, 64)).plane((48, 64))
    np.testing.assert_allclose(after, before / plane, rtol=1e-6)
    assert plane.min() < 0.8
    assert plane[24, 32] > 0.999


@pytest.mark.parametrize("body", ["{", "[]", '{"k9": 1}', '{"r": [1, 0], "value": [1, 1]}', '{"coefficients": [-3]}', '{"k1": -9}'])
@pytest.mark.parametrize("kind", ["lensfun", "radial", "empirical"])
def test_vignetting_parameters_that_cannot_be_used_are_rejected(tmp_path: Path, kind: str, body: str) -> None:
    (tmp_path / "p.json").write_text(body)
    with pytest.raises(RejectedInput):
        read_vignetting(tmp_path / "p.json", kind, (48, 64))


def test_vignetting_with_its_centre_is_found_within_two_thousandths() -> None:
    shape = (256, 256)
    true = Vignetting(k=(-0.18, -0.07), centre_y=133.0, centre_x=124.0, half_diagonal_px=float(np.hypot(*shape) / 2))
    rng = np.random.default_rng(1)
    flat = (2e4 * true.plane(shape) * rng.normal(1, 0.012, shape)).astype(np.float32)
    flat[3, 4] = 1e6
    found = fit_vignetting(flat)
    ratio = found.plane(shape) / true.plane(shape)
    assert float(np.abs(ratio / np.median(ratio) - 1).max()) < 0.002
    assert found.centre_y == pytest.approx(133, abs=1)
    for value, error, truth in zip(found.k, found.k_error, true.k, strict=True):
        assert abs(value - truth) < 5 * error


def test_flat_model_of_exact_planes() -> None:
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(1, 0.1, (3, 5, 6)) * np.array([1, 1e-3, 1e-2])[:, None, None]
    conditions = [(0.0, 1.0), (10.0, 1.0), (0.0, 2.0), (10.0, 3.0)]
    planes = [(a + b * (t - 5) + c * (s - 1)).astype(np.float32) for t, s in conditions]
    model = fit_flat(planes, [t for t, _ in conditions], [s for _, s in conditions], reference_c=5.0, reference_s=1.0)
    np.testing.assert_allclose(model.a, a, rtol=1e-5)
    np.testing.assert_allclose(model.value(20.0, 4.0), a + 15 * b + 3 * c, rtol=1e-4)
    alone = fit_flat(planes[:2], [0.0, 10.0], [1.0, 1.0])
    assert alone.c is None
    assert alone.b is not None


def test_sky_flats_lose_their_stars(tiny: Campaign, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(1000, 5, (64, 64)).astype(np.float32)
    flat[30:33, 40:43] += 400
    mask = star_mask(flat)
    assert mask[31, 41]
    assert mask.sum() < 150
    flat_step(tiny.frames, tmp_path, replace(QUICK, flat_type="sky"), mode="make_master")
    assert {"sky_median/master_flat_sky_median.fits", "sky_median/master_flat_sky_median_normalized.fits"} <= names(tmp_path)


def test_darks_for_flats_within_tolerances_only(tiny: Campaign) -> None:
    flat = next(frame for frame in tiny.frames if frame.caltype == "FLAT")
    groups = group_frames(find_darks(tiny.frames))
    choice = choose_dark(flat, groups)
    assert choice is not None
    assert abs(choice.difference_k) < 1
    assert choice.difference_s == pytest.approx(0.5)
    assert choose_dark(replace(flat, temperature_c=-40.0), groups) is None
    assert choose_dark(replace(flat, exposure_s=100.0), groups) is None


def test_darks_from_a_list(tiny: Campaign, tmp_path: Path) -> None:
    darks = [frame for frame in tiny.frames if frame.caltype == "DARK"]
    (tmp_path / "darks.json").write_text(json.dumps([str(frame.path) for frame in darks]))
    flats = [frame for frame in tiny.frames if frame.caltype == "FLAT"]
    made = flat_step(flats, tmp_path / "out", QUICK, mode="reduce_only", inputs=FlatInputs(darks=tmp_path / "darks.json"))
    assert made.frames == len(flats)
    assert not (tmp_path / "out" / "auto_dark_files.json").exists()
    with pytest.raises(RejectedInput, match="need darks"):
        flat_step(flats, tmp_path / "none", QUICK)


def test_a_flat_without_light_is_no_flat() -> None:
    with pytest.raises(RejectedInput, match="no light"):
        level_of(np.zeros((4, 4), np.float32), "robust")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["Pre", "During", "Post"], SENSOR_DAMAGE),
        (["Pre", "Pre", "During"], SENSOR_DAMAGE),
        (["Pre", "Pre"], LIKELY_SENSOR),
        (["Pre"], TEMPERATURE),
    ],
)
def test_classes_of_changed_pixels(labels: list[str], expected: str) -> None:
    assert classify(labels) == expected
    total, distinct = np.array([len(labels)], np.uint16), np.array([len(set(labels))], np.uint16)
    assert class_counts(total, distinct)[expected] == 1


def _damaged(tiny: Campaign, tmp_path: Path) -> list[object]:
    """The campaign with three pixels that lose a third of their light in all flats but the first of each temperature, and a dimmer lamp."""
    frames: list[object] = []
    seen: set[int] = set()
    for frame in sorted(tiny.frames, key=lambda f: f.timestamp_s or 0):
        if frame.caltype != "FLAT":
            frames.append(frame)
            continue
        pixels = read_image(frame.path).astype(np.float64)
        if round(frame.temperature_c or 0) in seen:
            pixels = 3300 + 0.97 * (pixels - 3300)
            pixels[10, 10:13] = 3300 + 0.66 * (pixels[10, 10:13] - 3300)
        seen.add(round(frame.temperature_c or 0))
        path = tmp_path / "damaged" / f"{len(frames)}.fits"
        path.parent.mkdir(exist_ok=True)
        fits.writeto(path, np.rint(pixels).astype(np.uint16))
        frames.append(replace(frame, path=path))
    return frames


def test_damage_is_found_and_a_dimmer_lamp_is_none(tiny: Campaign, tmp_path: Path) -> None:
    frames = _damaged(tiny, tmp_path)
    made = degradation_step(frames, tmp_path / "out", QUICK)  # type: ignore[arg-type]  # a list that was made here
    with (tmp_path / "out" / "analysis_outliers.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["analysis_type"] == "temperature"]
    classes = {row["pixel"]: row["classification"] for row in rows}
    assert {pixel: classes.get(pixel) for pixel in ("(10, 10)", "(10, 11)", "(10, 12)")} == dict.fromkeys(
        ("(10, 10)", "(10, 11)", "(10, 12)"), SENSOR_DAMAGE
    )
    assert made.classes["temperature"][SENSOR_DAMAGE] <= 6
    assert made.classes["temperature"][TEMPERATURE] < 0.02 * 48 * 64
    structure = structure_step(frames, tmp_path / "structure", QUICK)  # type: ignore[arg-type]  # a list that was made here
    assert structure.classes["structure"][SENSOR_DAMAGE] >= 3
    assert {"structure_analysis.csv", "suspicious_bias.log"} <= names(tmp_path / "structure")


def test_parts_that_cannot_be_made_stop_no_other(tiny: Campaign, tmp_path: Path) -> None:
    made = LabMade(title="no darks", frames=[frame for frame in tiny.frames if frame.caltype != "DARK"])
    models_of(made, tmp_path, QUICK)
    assert made.bias is not None
    assert set(made.missing) == {"dark", "flat"}
    page = lab_page(made)
    assert page.status == "attention"
    quantities = {quantity.name: quantity for quantity in page.summary.quantities}
    assert quantities["dark_rate"].value is None
    assert "no usable dark" in quantities["dark_rate"].note
    assert quantities["bias_slope"].value == pytest.approx(6.4, abs=0.2)
    as_json(page.summary)
    empty = LabMade(title="nothing")
    assert lab_page(empty).status == "bad"


def test_darks_without_bias_are_refused(tiny: Campaign, tmp_path: Path) -> None:
    darks = [frame for frame in tiny.frames if frame.caltype == "DARK"]
    with pytest.raises(Refused, match="darks need bias"):
        dark_step(darks, None, tmp_path, QUICK)
    with pytest.raises(Refused, match="there is no mode"):
        dark_step(darks, None, tmp_path, QUICK, mode="other")


def test_bias_of_one_temperature_is_a_level(tiny: Campaign, tmp_path: Path) -> None:
    frames = [frame for frame in tiny.frames if frame.caltype == "BIAS" and abs((frame.temperature_c or 0) - 10) < 1]
    made = bias_step(frames, tmp_path, QUICK)
    assert float(np.abs(made.model.slope).max()) == 0
    assert "no slope" in made.warnings[0]
    assert made.model.outside(20.0)


def _few(frame: LabFrame) -> bool:
    """Enough cells for every figure, and few enough to draw them quickly."""
    if frame.caltype == "DARK":
        return (frame.temperature_c or 0) < 25 and (frame.exposure_s or 0) < 8
    if frame.caltype == "FLAT":
        return frame.exposure_s == 0.5 and (frame.temperature_c or 0) > 15
    return (frame.temperature_c or 0) > 5


def test_no_darks_of_one_second_are_needed(tiny: Campaign, bias: Path, tmp_path: Path) -> None:
    from nightcrew.detector.model_files import load_bias

    frames = [frame for frame in tiny.frames if frame.caltype != "DARK" or (frame.exposure_s or 0) > 2]
    made = dark_step(frames, load_bias(bias / "bias_model"), tmp_path, QUICK)
    assert sorted(made.by_exposure) == [5.0, 10.0]
    assert made.model is not None


def test_frames_without_exposure_are_left_out_and_said(tiny: Campaign, bias: Path, tmp_path: Path) -> None:
    from nightcrew.detector.model_files import load_bias
    from nightcrew.lab.index import what_is_missing

    frames = [replace(frame, exposure_s=None) if frame.exposure_s == 5.0 else frame for frame in tiny.frames]
    assert any("no exposure" in text for text in what_is_missing(frames))
    made = dark_step(frames, load_bias(bias / "bias_model"), tmp_path, QUICK, mode="fit_2d_model")
    assert {frame.exposure_s for frame in made.frames} == {1.0, 10.0}


def test_stages_are_never_mixed_in_a_model(tiny: Campaign, tmp_path: Path) -> None:
    frames = [replace(frame, stage="pre" if number % 2 else "post") for number, frame in enumerate(tiny.frames)]
    made = bias_step(frames, tmp_path, QUICK)
    assert {frame.stage for frame in made.frames} == {"pre"}
    assert "other states were not mixed in" in made.warnings[0]
