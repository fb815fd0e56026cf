"""``nightcrew lab`` and ``nightcrew simulate lab``: each option does something, mistakes are told in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import build
from nightcrew.errors import NightcrewError, Refused
from nightcrew.io.products import read_image_product
from tests.lab.test_raw import attempt

pytestmark = pytest.mark.usefixtures("undrawn_figures")


def call(*arguments: object, fails: int = 0) -> str:
    """What a command prints; its error is raised."""
    words = [str(word) for word in arguments]
    result: Result = CliRunner().invoke(build(words[0]), words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == fails, result.output
    return result.output


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "sim"
    call("simulate", "lab", out, "--seed", 5, "--layout", "bare", "--runs-on")
    return out


@pytest.fixture(scope="module")
def made(sim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    call("lab", "convert", sim / "campaign", "--out", out)
    call("lab", "index", "--discover", out, "--out", out)
    return out


def test_simulated_layouts_and_presets(sim: Path, tmp_path: Path) -> None:
    assert (sim / "campaign" / "Bias" / "20Frames" / "T0" / "1.2e-05s" / "configFile.txt").exists()
    with pytest.raises(Refused, match="not empty"):
        call("simulate", "lab", sim)
    with pytest.raises(Refused, match="no layout"):
        call("simulate", "lab", tmp_path / "x", "--layout", "other")
    with pytest.raises(Refused, match="no preset"):
        call("simulate", "lab", tmp_path / "x", "--preset", "other")


def test_convert_options(tmp_path: Path) -> None:
    attempt(tmp_path / "in" / "TestSection1" / "T0" / "attempt0")
    attempt(tmp_path / "in" / "TestSection2" / "a" / "b" / "attempt0", name="DarkT0_exp1sAt0f{}.raw")
    roots = ("--bias", tmp_path / "in" / "TestSection1", "--dark", tmp_path / "in" / "TestSection2", "--flat", tmp_path / "none")
    text = call("lab", "convert", *roots, "--out", tmp_path / "out", "--verbose")
    assert "none: is no folder" in text
    assert "2 attempts: 4 frames converted" in text
    assert "a/b/attempt0: 2 converted" in text
    assert "1 attempts: 2" in call("lab", "convert", *roots, "--out", tmp_path / "one", "--skip-dark")
    assert "1 attempts: 2" in call("lab", "convert", *roots, "--out", tmp_path / "two", "--skip-bias")
    shallow = call("lab", "convert", *roots[:4], "--out", tmp_path / "three", "--search-depth", 2)
    assert "try --search-depth 4" in shallow
    body = json.loads(call("lab", "convert", *roots, "--out", tmp_path / "out", "--json"))
    assert (body["converted"], body["kept"]) == (0, 4)
    swapped = call("lab", "convert", *roots[:2], "--out", tmp_path / "four", "--byte-order", "big", "--shift-bits", 4, "--skip-flat")
    assert "2 frames converted" in swapped
    rejected = call("lab", "convert", *roots[:2], "--out", tmp_path / "five", "--header-bytes", 4, fails=1)
    assert "BADSIZE" in rejected
    assert "2 frames converted" in call("lab", "convert", *roots[:2], "--out", tmp_path / "six", "--header-bytes", 4, "--pad")
    call("lab", "convert", *roots[:2], "--in-place")
    assert (tmp_path / "in" / "TestSection1" / "T0" / "attempt0" / "fits").is_dir()


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="at least one folder"):
        call("lab", "convert", "--out", tmp_path)
    with pytest.raises(Refused, match="--out FOLDER or --in-place"):
        call("lab", "convert", tmp_path)
    with pytest.raises(Refused, match="little or big"):
        call("lab", "convert", tmp_path, "--out", tmp_path / "o", "--byte-order", "middle")
    with pytest.raises(Refused, match="--stage"):
        call("lab", "index", tmp_path, "--out", tmp_path, "--stage", "later")
    with pytest.raises(Refused, match="--vacuum"):
        call("lab", "index", tmp_path, "--out", tmp_path, "--vacuum", "some")
    with pytest.raises(NightcrewError, match="no frame was found"):
        call("lab", "run", tmp_path, "--out", tmp_path / "o")
    with pytest.raises(Refused, match="--only dark"):
        call("lab", "models", tmp_path, "--out", tmp_path / "o", "--mode", "synthetic_2d")
    with pytest.raises(Refused, match="--temps"):
        call("lab", "models", tmp_path, "--out", tmp_path / "o", "--temps", "warm")
    with pytest.raises(Refused, match="holds no bias_model"):
        call("lab", "synthesize", "bias", "--temperature", 5, "--model", tmp_path, "--out", tmp_path / "o")
    assert "there is no index" in call("lab", "index", tmp_path, "--out", tmp_path / "o", fails=1)


def test_index_options(made: Path, tmp_path: Path) -> None:
    call("lab", "index", "--bias", made / "Bias", "--out", tmp_path / "x.csv", "--stage", "pre", "--vacuum", "air")
    rows = (tmp_path / "x.csv").read_text().splitlines()
    assert len(rows) == 1 + 12
    assert ",BIAS,pre,air," in rows[1]
    assert "holds BIAS, DARK, FLAT" in call("lab", "index", "--bias", made, "--out", tmp_path)


def test_masters_of_an_index(made: Path, tmp_path: Path) -> None:
    text = call("lab", "masters", made / "index.csv", "--out", tmp_path, "--no-save-plots", "--gap", 0.4)
    assert "42 frames, 13 masters" in text
    assert not (tmp_path / "plots").exists()


def test_models_and_synthetic_frames(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    text = call("lab", "models", made, "--out", out, "--only", "bias", "--only", "dark", "--no-save-plots")
    assert "doubling every 6." in text
    assert (out / "report.html").exists()
    call("lab", "synthesize", "bias", "--temperature", 5, "--model", out, "--out", tmp_path / "b.fits")
    assert read_image_product(tmp_path / "b.fits").cards["TEMP"] == 5.0
    call("lab", "synthesize", "dark", "-T", 15, "-t", 3, "--model", out / "dark" / "dark_model_2d", "--out", tmp_path)
    assert read_image_product(tmp_path / "synthetic_2d_dark_T15_E3.fits").cards["EXPTIME"] == 3.0
    assert "grade D" in call("lab", "synthesize", "dark", "-T", 90, "-t", 3, "--model", out, "--out", tmp_path)
    with pytest.raises(Refused, match="needs --exposure"):
        call("lab", "synthesize", "dark", "-T", 15, "--model", out, "--out", tmp_path)
    single = ("--only", "dark", "--mode", "synthetic_2d_single", "--temp-single", 12, "--exptime-single", 6)
    call("lab", "models", made, "--out", tmp_path / "single", *single, "--model-dir", out / "dark")
    assert (tmp_path / "single" / "synthetic_2d_dark_T12_E6.fits").exists()
    stored = ("--bias-model", out / "bias" / "bias_model", "--law", "arrhenius", "--no-gamma", "--t-ref", 15, "--exp-ref", 2)
    call("lab", "models", made, "--out", tmp_path / "law", "--only", "dark", "--mode", "fit_2d_model", *stored, "--no-save-plots")
    model = json.loads((tmp_path / "law" / "dark" / "dark_model_2d" / "dark_model.json").read_text())["shape"]
    assert (model["law"], model["reference_c"], model["reference_s"], model["gamma_error"]) == ("arrhenius", 15.0, 2.0, None)


def test_flat_options(made: Path, tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text('{"k1": -0.18, "k2": -0.07}')
    options = ("--flat-type", "sky", "--norm-method", "mean", "--master-method", "mean", "--lensfun-json", tmp_path / "k.json")
    call("lab", "models", made, "--out", tmp_path / "o", "--only", "flat", "--mode", "make_master", *options, "--no-save-plots")
    assert (tmp_path / "o" / "flat" / "sky_median" / "master_flat_sky_median.fits").exists()
    both = ("--lensfun-json", tmp_path / "k.json", "--radial-json", tmp_path / "k.json")
    text = call("lab", "models", made, "--out", tmp_path / "p", "--only", "flat", *both, "--no-save-plots", fails=1)
    assert "one file of vignetting parameters" in text


def test_masks_and_unreduced_flats(made: Path, tmp_path: Path) -> None:
    import numpy as np
    from astropy.io import fits

    mask = np.zeros((48, 64), np.uint8)
    mask[5, 6] = 1
    fits.writeto(tmp_path / "mask.fits", mask)
    parts = ("--only", "bias", "--only", "degradation", "--hot-pixel-mask", tmp_path / "mask.fits", "--no-reduce", "--save-eval-fits")
    call("lab", "models", made, "--out", tmp_path / "o", *parts, "--no-save-plots")
    assert np.isnan(read_image_product(tmp_path / "o" / "bias" / "bias_model" / "bias_a_map.fits").science[5, 6])
    assert (tmp_path / "o" / "outgasing_analysis" / "flats_norm").is_dir()
    assert list((tmp_path / "o" / "bias" / "evaluation").glob("mae_*.fits"))


def test_all_in_one_go(sim: Path, tmp_path: Path) -> None:
    text = call("lab", "run", sim / "campaign", "--out", tmp_path, "--no-save-plots")
    assert "4 master flats" in text
    summary = json.loads((tmp_path / "summary.json").read_text())
    names = {one["name"] for one in summary["quantities"]}
    assert {
        "bias_level",
        "bias_slope",
        "dark_rate",
        "dark_coefficient_b",
        "doubling_temperature",
        "gamma",
        "hot_pixels",
        "vignetting_edge",
    } <= names


REACHED: dict[str, tuple[tuple[object, ...], str, object]] = {
    "only": (("--only", "dark"), "only", ["dark"]),
    "mode": (("--only", "dark", "--mode", "fit_2d_model"), "dark_mode", "fit_2d_model"),
    "temps": (("--temps", "15.0 20.5"), "options.temps", (15.0, 20.5)),
    "temp_single": (("--temp-single", 12), "options.temp_single", 12.0),
    "exptime_single": (("--exptime-single", 6), "options.exptime_single", 6.0),
    "bias_model": (("--bias-model", "b"), "bias_model", Path("b")),
    "law": (("--law", "arrhenius"), "options.law", "arrhenius"),
    "gamma": (("--no-gamma",), "options.free_gamma", False),
    "flat_type": (("--flat-type", "satellite"), "options.flat_type", "satellite"),
    "norm_method": (("--norm-method", "max"), "options.norm_method", "max"),
    "master_method": (("--master-method", "mean"), "options.master_method", "mean"),
    "lensfun_json": (("--lensfun-json", "l.json"), "inputs.lensfun", Path("l.json")),
    "radial_json": (("--radial-json", "r.json"), "inputs.radial", Path("r.json")),
    "empirical_json": (("--empirical-json", "e.json"), "inputs.empirical", Path("e.json")),
    "t_ref": (("--t-ref", -5), "options.t_ref", -5.0),
    "exp_ref": (("--exp-ref", 2), "options.exp_ref", 2.0),
    "dark_files_json": (("--dark-files-json", "d.json"), "inputs.darks", Path("d.json")),
    "hot_pixel_mask": (("--hot-pixel-mask", "h.fits"), "hot_pixel_mask", Path("h.fits")),
    "reduce": (("--no-reduce",), "options.reduce", False),
    "save_eval_fits": (("--save-eval-fits",), "options.save_eval_fits", True),
    "plots": (("--no-save-plots",), "options.save_plots", False),
    "saturation": (("--saturation", 4095), "options.saturation_adu", 4095.0),
    "hot_sigma": (("--hot-sigma", 7), "options.hot_sigma", 7.0),
    "gap": (("--gap", 0.3), "options.gap_k", 0.3),
    "search_depth": (("--search-depth", 4), "search_depth", 4),
    "verbose": (("--verbose",), "verbose", True),
}
"""Of each option of ``lab models``: what is typed, and where the work finds it."""


def test_every_option_of_the_models_reaches_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    from deployments.cli import lab, lab_models
    from tasks import lab_run

    given: dict[str, object] = {}

    def work(made: object, out: Path, options: object, **others: object) -> None:
        given.update(others, options=options)

    monkeypatch.setattr(lab_run, "campaign", lambda roots, out, search_depth: given.update(search_depth=search_depth))
    monkeypatch.setattr(lab_run, "models_of", work)
    monkeypatch.setattr(lab, "finish", lambda made, out, verbose: given.update(verbose=verbose))
    assert set(inspect.signature(lab_models.models).parameters) == {"roots", "out", "model_dir", *REACHED}

    def found(place: str) -> object:
        head, _, tail = place.partition(".")
        return getattr(given[head], tail) if tail else given[head]

    call("lab", "models", tmp_path, "--out", tmp_path / "o")
    usual = {name: found(place) for name, (_, place, _) in REACHED.items()}
    for name, (typed, place, value) in REACHED.items():
        call("lab", "models", tmp_path, "--out", tmp_path / "o", *typed)
        assert found(place) == value, name
        assert usual[name] != value, name
