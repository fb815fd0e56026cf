"""A night without darks, reduced with the dark model of a laboratory set: grade C within its domain, D outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.frames.model import FrameHeader
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.lights import model_fails
from nightcrew.settings import FolderSettings, InstrumentsSettings, LabSettings
from nightcrew.simulate.detector import Detector
from nightcrew.simulate.expected import expected_light
from nightcrew.simulate.night import model_of
from nightcrew.simulate.randomness import generator
from nightcrew.simulate.truth import Truth
from tests.support.small_nights import Bench, make_raw, small_plan

PROFILE = """extends = "nightcrew_simulated"
[rules]
dark_missing = "model"
bias_missing = "model"
laboratory = "bench"
"""


def laboratory(folder: Path, detector: Detector, temperatures_c: Sequence[float], exposures_s: Sequence[float]) -> None:
    """Bias frames and darks of the night's camera, converted already, in a set called ``bench``."""
    rng = generator(9, "laboratory of the night's camera")
    for t in temperatures_c:
        for exposure, kind, count in ((0.0, "Bias", 6), *((s, "Darks", 4) for s in exposures_s)):
            place = folder / "bench" / kind / f"T{t:g}" / f"{exposure:g}s" / "fits"
            place.mkdir(parents=True)
            for n in range(count):
                pixels = detector.expose(rng, detector.dark_rate(t) * np.float32(exposure))
                header = fits.Header({"CALTYPE": "BIAS" if kind == "Bias" else "DARK", "TEMP": t, "EXPTIME": exposure, "FRAMENUM": n})
                fits.writeto(place / f"{kind}_f{n}.fits", pixels, header)


def make(tmp_path: Path, temperatures_c: Sequence[float], *, without: Sequence[str] = ("dark",)) -> tuple[Bench, Truth]:
    """The night and the laboratory taken in and made; frames of the kinds ``without`` never came."""
    truth = make_raw(tmp_path, small_plan(), 3)
    for path in (tmp_path / "raw").iterdir():
        if path.name.startswith(tuple(without)):
            path.unlink()
    laboratory(tmp_path / "lab", model_of(truth).detector, temperatures_c, (10.0, 20.0, 30.0))
    (tmp_path / "instruments").mkdir()
    (tmp_path / "instruments" / "ours.toml").write_text(PROFILE)
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


def abs_time(frame: object, row: ProductRow) -> bool:
    return str(row.facts["time_utc"])[:19] == str(frame.time_utc)[:19]  # type: ignore[attr-defined]


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
def test_lights_without_bias_get_it_from_the_model_but_flats_do_not(tmp_path: Path) -> None:
    bench, _ = make(tmp_path, (-26.0, -20.0, -14.0), without=("dark", "bias"))
    for row in lights(bench):
        assert any(reason.startswith("no bias fits: made by the model") for reason in row.grade_reasons)
        others = [reason for reason in row.grade_reasons if "model" not in reason]
        assert all("neither dark nor bias" in reason for reason in others)
        assert row.grade == "D"  # for its flat


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
    }
    return FrameHeader(**{**values, **changed})


def test_why_a_model_fails() -> None:
    models = {"dark": {"shape": [64, 64], "temperatures_c": [-30.0, -10.0], "exposures_s": [1.0, 60.0]}}
    header = light()
    assert model_fails(models, header, "dark") == ""
    assert "no such model" in model_fails(models, header, "bias")
    for changed, said in (
        ({"temperature_c": 0.0}, "outside"),
        ({"exposure_s": 100.0}, "longer"),
        ({"nx": 32}, "pixels"),
        ({"temperature_c": None}, "known"),
        ({"overscan": (64, 68, 0, 64)}, "overscan"),
    ):
        assert said in model_fails(models, light(**changed), "dark")
