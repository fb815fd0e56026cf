"""A night without darks, reduced with the dark model of a laboratory set: grade C within its domain, D outside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.detector.set_up import SetUp
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.light_models import choose_model, model_fails
from nightcrew.settings import FolderSettings, InstrumentsSettings
from nightcrew.settings_sets import LabSettings
from nightcrew.simulate.detector import CameraModel, Detector
from nightcrew.simulate.expected import expected_light
from nightcrew.simulate.night import model_of
from nightcrew.simulate.randomness import generator
from nightcrew.simulate.truth import Truth
from tests.support.small_nights import Bench, make_raw, small_plan

pytestmark = pytest.mark.usefixtures("undrawn_figures")

PROFILE = """extends = "nightcrew_simulated"
[rules]
dark_missing = "model"
bias_missing = "model"
laboratory = "bench"
"""
SET_UP: dict[str, Any] = {"INSTRUME": "NCSIM", "SERIALNO": CameraModel(nx=1, ny=1).serial, "GAIN": 100, "READOUTM": "Raw 1 MHz"}


def laboratory(
    folder: Path, detector: Detector, temperatures_c: Sequence[float], exposures_s: Sequence[float], cards: Mapping[str, object]
) -> None:
    """Bias frames and darks of the night's camera, converted already, in a set called ``bench``; ``cards``: their set-up."""
    rng = generator(9, "laboratory of the night's camera")
    for t in temperatures_c:
        for exposure, kind, count in ((0.0, "Bias", 6), *((s, "Darks", 4) for s in exposures_s)):
            place = folder / "bench" / kind / f"T{t:g}" / f"{exposure:g}s" / "fits"
            place.mkdir(parents=True)
            for n in range(count):
                pixels = detector.expose(rng, detector.dark_rate(t) * np.float32(exposure))
                header = fits.Header(
                    {"CALTYPE": "BIAS" if kind == "Bias" else "DARK", "TEMP": t, "EXPTIME": exposure, "FRAMENUM": n, **cards}
                )
                fits.writeto(place / f"{kind}_f{n}.fits", pixels, header)


def make(
    tmp_path: Path,
    temperatures_c: Sequence[float],
    *,
    without: Sequence[str] = ("dark",),
    cards: Mapping[str, object] | None = None,
    profile: str = PROFILE,
) -> tuple[Bench, Truth]:
    """The night and the laboratory taken in and made; frames of the kinds ``without`` never came."""
    truth = make_raw(tmp_path, small_plan(), 3)
    for path in (tmp_path / "raw").iterdir():
        if path.name.startswith(tuple(without)):
            path.unlink()
    laboratory(tmp_path / "lab", model_of(truth).detector, temperatures_c, (10.0, 20.0, 30.0), SET_UP if cards is None else cards)
    (tmp_path / "instruments").mkdir()
    (tmp_path / "instruments" / "ours.toml").write_text(profile)
    folders = (FolderSettings(path=tmp_path / "raw", instrument="ours"), FolderSettings(path=tmp_path / "lab", kind="lab"))
    instruments = InstrumentsSettings(folder=tmp_path / "instruments")
    bench = Bench(tmp_path / "raw", tmp_path / "out", folders=folders, instruments=instruments, lab=LabSettings(save_plots=False))
    bench.night()
    bench.folder = tmp_path / "lab"
    bench.night()
    bench.run()
    return bench, truth


def lights(bench: Bench) -> list[ProductRow]:
    return [row for row in bench.products() if row.recipe == "reduce_light"]


def pulls_of(bench: Bench, truth: Truth) -> np.ndarray:
    found = []
    for row in lights(bench):
        product = read_image_product(bench.settings.products.root / row.file("image").path)
        frame = next(one for one in truth.frames if one.kind == "light" and one.filter == row.facts["filter"] and abs_time(one, row))
        expected = expected_light(truth, frame)
        assert product.uncertainty is not None
        assert product.mask is not None
        good = (product.mask == 0) & ~expected.saturated
        found.append(((product.science - expected.signal_e) / product.uncertainty)[good])
    return np.concatenate(found)


def abs_time(frame: Any, row: ProductRow) -> bool:
    return str(row.facts["time_utc"])[:19] == str(frame.time_utc)[:19]


def test_lights_without_darks_are_reduced_by_the_model(tmp_path: Path) -> None:
    bench, truth = make(tmp_path, (-26.0, -20.0, -14.0))
    rows = lights(bench)
    assert len(rows) == 4
    assert {row.grade for row in rows} == {"C"}
    assert all(any("model of the laboratory set bench" in reason for reason in row.grade_reasons) for row in rows)
    cards = read_image_product(bench.settings.products.root / rows[0].file("image").path).cards
    assert (cards["NCDARK"], cards["NCGRADE"]) == ("modelled", "C")
    pulls = pulls_of(bench, truth)
    inside = pulls[np.abs(pulls) < 6]
    assert abs(float(inside.mean())) < 0.1
    assert float(inside.std()) == pytest.approx(1, abs=0.1)
    assert inside.size > 0.999 * pulls.size


@pytest.mark.slow
def test_a_night_without_bias_and_darks_is_reduced_by_the_models_alone_flats_included(tmp_path: Path) -> None:
    bench, truth = make(tmp_path, (-26.0, -20.0, -14.0), without=("dark", "bias"))
    flats = [row for row in bench.products() if row.recipe == "flat_master"]
    assert {row.grade for row in flats} == {"C"}
    assert all(any("corrected by models of the laboratory" in reason for reason in row.grade_reasons) for row in flats)
    for row in lights(bench):
        assert row.grade == "C"
        assert any(reason.startswith("no bias fits: made by the model") for reason in row.grade_reasons)
    pulls = pulls_of(bench, truth)
    inside = pulls[np.abs(pulls) < 6]
    assert abs(float(inside.mean())) < 0.15
    assert float(inside.std()) == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_outside_of_its_domain_the_model_is_not_used(tmp_path: Path) -> None:
    bench, _ = make(tmp_path, (-2.0, 4.0, 10.0))
    rows = lights(bench)
    assert {row.grade for row in rows} == {"D"}
    assert any("lies outside the -2 to 10 C" in reason for reason in rows[0].grade_reasons)


def light(**changed: Any) -> FrameHeader:
    values: dict[str, Any] = {
        "kind": "light",
        "instrument": "a",
        "profile": "b",
        "nx": 64,
        "ny": 64,
        "temperature_c": -20.0,
        "exposure_s": 60.0,
        "time_utc": "2026-03-14T22:00:00.000",
    }
    return FrameHeader(**{**values, **changed})


SERVES: dict[str, Any] = {"set_up": SetUp().as_dict(), "grade": "A", "reasons": [], "time_utc": "2026-03-01T12"}


def test_a_shifted_or_untold_set_up_serves_only_when_somebody_states_it() -> None:
    models = {"bias": {"shape": [64, 64], "temperatures_c": [-30.0, -10.0], **SERVES}}
    assert model_fails(models, light(), "bias") == ""
    models["bias"]["set_up"] = SetUp(shift_bits="4").as_dict()
    assert "shift of the stored bits differs" in model_fails(models, light(), "bias")
    assert model_fails(models, light(), "bias", {"shift_bits": "0"}) == ""
    assert "do not state their gain setting" in model_fails({"bias": {**models["bias"], **SERVES}}, light(gain_setting="7"), "bias")
    assert model_fails({"bias": {**models["bias"], **SERVES}}, light(gain_setting="7"), "bias", {"gain_setting": "7"}) == ""
    assert "took the bias off" in model_fails({"bias": {**models["bias"], **SERVES}}, light(bias_subtracted=True), "bias")
    del models["bias"]["set_up"]
    assert "make it again" in model_fails(models, light(), "bias")


def _row(models: dict[str, Any]) -> ProductRow:
    return cast(ProductRow, SimpleNamespace(fingerprint="f" * 64, metrics={"models": models}))


def test_the_grade_of_a_model_reaches_the_light() -> None:
    known = {"shape": [64, 64], "temperatures_c": [-30.0, -10.0], "exposures_s": [1.0, 60.0], **SERVES}
    rules = Rules(laboratory="bench")
    chosen = choose_model(_row({"dark": known}), rules, light(), "dark")
    assert (chosen.fingerprint, chosen.grade) == ("f" * 64, "C")
    poor = {**known, "grade": "D", "reasons": ["the median pixel's reduced chi^2 is 4"]}
    chosen = choose_model(_row({"dark": poor}), rules, light(), "dark")
    assert chosen.grade == "D"
    assert "the dark model: the median pixel's reduced chi^2 is 4" in chosen.reasons
    beyond = choose_model(_row({"dark": known}), rules, light(temperature_c=-9.5), "dark")
    assert beyond.grade == "C"
    assert "a little beyond" in beyond.reasons[-1]
    assert choose_model(None, rules, light(), "dark").reasons == (
        "the dark model of the laboratory set bench cannot serve: it is not made",
    )


@pytest.mark.slow
def test_models_of_another_gain_are_refused_with_the_reason(tmp_path: Path) -> None:
    bench, _ = make(tmp_path, (-26.0, -20.0, -14.0), cards={**SET_UP, "GAIN": 120})
    made = lights(bench)
    assert made
    for row in made:
        assert row.grade == "D"
        assert any("gain setting differs: the light has '100', the model's frames '120'" in reason for reason in row.grade_reasons)


@pytest.mark.slow
def test_a_profile_may_state_what_the_laboratory_did_not(tmp_path: Path) -> None:
    stated = f'camera = "NCSIM {SET_UP["SERIALNO"]}", gain_setting = 100, readout_mode = "Raw 1 MHz"'
    bench, _ = make(tmp_path, (-26.0, -20.0, -14.0), cards={}, profile=f"{PROFILE}laboratory_setup = {{ {stated} }}\n")
    assert {row.grade for row in lights(bench)} == {"C"}


def test_a_bias_model_that_the_plan_refused_is_not_used(tmp_path: Path) -> None:
    """Without the rule for the bias only the dark is modelled: the light keeps its bias, and says so."""
    profile = PROFILE.replace('bias_missing = "model"\n', "")
    bench, truth = make(tmp_path, (-26.0, -20.0, -14.0), without=("dark", "bias", "flat"), profile=profile)
    level = truth.bias_level_adu * truth.plan.camera.gain_e_per_adu
    made = lights(bench)
    assert made
    for row in made:
        product = read_image_product(bench.settings.products.root / row.file("image").path)
        assert float(np.median(product.science)) > level
        assert any(reason == "no bias: the step was skipped" for reason in row.grade_reasons)


def test_why_a_model_fails() -> None:
    models = {"dark": {"shape": [64, 64], "temperatures_c": [-30.0, -10.0], "exposures_s": [1.0, 60.0], **SERVES}}
    header = light()
    assert model_fails(models, header, "dark") == ""
    assert "no such model" in model_fails(models, header, "bias")
    for changed, said in (
        ({"temperature_c": 0.0}, "outside"),
        ({"exposure_s": 100.0}, "longer"),
        ({"nx": 32}, "pixels"),
        ({"temperature_c": None}, "known"),
        ({"overscan": (64, 68, 0, 64)}, "overscan"),
        ({"camera": "other"}, "camera"),
        ({"gain_setting": "120"}, "gain setting"),
        ({"offset_setting": "50"}, "offset setting"),
        ({"readout_mode": "fast"}, "readout mode"),
        ({"binning_x": 2}, "binning differs: the light has '2x1', the model's frames '1x1'"),
        ({"window_x0": 8}, "window"),
    ):
        assert said in model_fails(models, light(**changed), "dark")
