"""A simulated campaign of 65,536 pixels from raw files to models: every number of the acceptance list."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightcrew.detector.bias_model import fit_bias
from nightcrew.detector.dark_model import fit_dark
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import good
from nightcrew.simulate.lab import cells_of, make_campaign
from nightcrew.simulate.lab_plan import lab_plan
from tasks.lab_flats import flat_step
from tasks.lab_run import campaign


@pytest.mark.parametrize(
    ("layout", "restarts", "messy", "jitter_c"), [("standard", True, False, 0.05), ("bare", False, True, 0.2)], ids=["tidy", "untidy"]
)
def test_a_campaign_of_known_truth(tmp_path: Path, layout: str, restarts: bool, messy: bool, jitter_c: float) -> None:
    plan = replace(lab_plan("short", layout=layout, restarts=restarts, messy=messy), jitter_c=jitter_c)
    make_campaign(tmp_path / "sim", plan, 11)
    made = campaign([tmp_path / "sim" / "campaign"], tmp_path / "out")
    with np.load(tmp_path / "sim" / "truth.npz") as arrays:
        truth = {name: arrays[name] for name in arrays}
    for kind in ("BIAS", "DARK", "FLAT"):
        assert len(good(made.frames, kind)) == sum(cell.frames for cell in cells_of(plan) if cell.kind == kind)

    bias_frames = good(made.frames, "BIAS")
    t = np.array([frame.temperature_c for frame in bias_frames], float)
    bias = fit_bias([frame.path for frame in bias_frames], t.tolist())
    off = bias.slope - truth["slope"]
    allowed = np.hypot(plan.sensor.read_noise_adu, 16 / math.sqrt(12)) / math.sqrt(np.sum((t - t.mean()) ** 2))
    assert abs(float(off.mean())) < 0.01
    assert float(off.std()) < 1.05 * allowed

    darks = good(made.frames, "DARK")
    conditions = [float(f.temperature_c or 0) for f in darks], [float(f.exposure_s or 0) for f in darks]
    model = fit_dark([frame.path for frame in darks], *conditions, bias)
    assert model.shape.b == pytest.approx(math.log(2) / plan.sensor.doubling_c, rel=0.005)
    assert model.shape.measured_gamma == pytest.approx(0, abs=0.02)
    for temperature in plan.dark_temperatures_c:
        factor = 2 ** ((temperature - plan.sensor.reference_c) / plan.sensor.doubling_c)
        for seconds in plan.dark_exposures_s:
            rate = float(np.median(model.signal(temperature, seconds))) / seconds
            assert rate == pytest.approx(float(np.median(truth["dark_rate"])) * factor, rel=0.01)
    hot = truth["hot"]
    assert (model.hot & hot).sum() >= 0.99 * hot.sum()
    assert (model.hot & ~hot).sum() <= 5

    flats = flat_step(made.frames, tmp_path / "flat", LabOptions(save_plots=False), mode="vignetting_only")
    ratio = flats.vignetting[""].plane((256, 256)) / truth["vignetting"]
    assert float(np.abs(ratio / np.median(ratio) - 1).max()) < 0.002
