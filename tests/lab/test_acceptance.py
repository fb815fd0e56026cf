"""A simulated campaign of 65,536 pixels from raw files to models: every number of the acceptance list against the simulated truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from nightcrew.detector.bias_model import BiasModel
from nightcrew.detector.dark_model import DarkModel
from nightcrew.frames.flags import PixelFlag
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import LabFrame, good
from nightcrew.lab.results import DarkMade, FlatMade
from nightcrew.simulate.lab import cells_of, make_campaign
from nightcrew.simulate.lab_plan import LabPlan, lab_plan
from nightcrew.simulate.lab_sensor import SensorMaps, make_sensor
from tasks.lab_bias import bias_step
from tasks.lab_dark import dark_step
from tasks.lab_flats import flat_step
from tasks.lab_run import campaign

QUICK = LabOptions(save_plots=False)
SEED = 11
HALF_STEP_RMS = 16 / math.sqrt(12)  # of 12 bits stored x16


@dataclass(frozen=True, eq=False)
class Whole:
    """A campaign, what was made of it, and the sensor that it was made with."""

    plan: LabPlan
    truth: SensorMaps
    frames: list[LabFrame]
    bias: BiasModel
    dark: DarkMade
    flat: FlatMade

    @property
    def model(self) -> DarkModel:
        assert self.dark.model is not None
        return self.dark.model

    @property
    def noise(self) -> float:
        """Of a bias frame, adu."""
        return float(np.hypot(self.plan.sensor.read_noise_adu, HALF_STEP_RMS))


CASES = {
    "tidy": lab_plan("short", layout="standard"),
    "untidy": replace(lab_plan("short", layout="bare", restarts=False, messy=True), jitter_c=0.2),
}


@pytest.fixture(scope="module", params=["tidy", pytest.param("untidy", marks=pytest.mark.slow)])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    plan = CASES[request.param]
    out = tmp_path_factory.mktemp(request.param)
    make_campaign(out / "sim", plan, SEED)
    made = campaign([out / "sim" / "campaign"], out / "made", durable=False)
    bias = bias_step(made.frames, out / "bias", QUICK).model
    dark = dark_step(made.frames, bias, out / "dark", QUICK, mode="fit_2d_model")
    flat = flat_step(made.frames, out / "flat", QUICK, mode="vignetting_only")
    return Whole(plan, make_sensor(plan.sensor, SEED), made.frames, bias, dark, flat)


def test_every_frame_is_found_once(whole: Whole) -> None:
    for kind in ("BIAS", "DARK", "FLAT"):
        assert len(good(whole.frames, kind)) == sum(cell.frames for cell in cells_of(whole.plan) if cell.kind == kind)
    assert len({frame.path for frame in whole.frames}) == len(whole.frames)


def test_the_mean_bias_slope_within_a_hundredth(whole: Whole) -> None:
    assert abs(float((whole.bias.slope - whole.truth.slope).mean(dtype=np.float64))) < 0.01


def test_the_bias_slope_of_a_pixel_is_as_good_as_the_noise_allows(whole: Whole) -> None:
    t = np.array([frame.temperature_c for frame in good(whole.frames, "BIAS")], float)
    allowed = whole.noise / math.sqrt(np.sum((t - t.mean()) ** 2))
    assert float((whole.bias.slope - whole.truth.slope).std(dtype=np.float64)) < 1.05 * allowed


def test_the_bias_of_a_pixel_and_its_error_at_any_temperature(whole: Whole) -> None:
    for t in (-10.0, 5.0, 30.0):
        pulls = (whole.bias.value(t) - whole.truth.bias(t)) / whole.bias.error(t)
        assert abs(float(pulls.mean(dtype=np.float64))) < 0.05
        assert float(pulls.std(dtype=np.float64)) == pytest.approx(1, abs=0.05)


def test_the_median_dark_rate_of_the_model_within_one_percent_at_every_cell(whole: Whole) -> None:
    for t in whole.plan.dark_temperatures_c:
        for seconds in whole.plan.dark_exposures_s:
            made, truth = whole.model.signal(t, seconds) / seconds, whole.truth.dark(t, seconds) / seconds
            assert float(np.median(made)) == pytest.approx(float(np.median(truth)), rel=0.01), (t, seconds)


def test_the_measured_dark_rate_of_every_cell_against_the_truth(whole: Whole) -> None:
    """The mean frames themselves, so that the model is not compared with data that are wrong in the same way."""
    assert len(whole.dark.cells) == len(whole.plan.dark_temperatures_c) * len(whole.plan.dark_exposures_s)
    quiet = ~whole.truth.hot & ~whole.truth.telegraph
    for cell in whole.dark.cells:
        # Means: noise moves the median of a skew distribution of pixels.
        truth = float(whole.truth.dark(cell.temperature_c, cell.exposure_s)[quiet].mean(dtype=np.float64)) / cell.exposure_s
        noise = whole.noise / cell.exposure_s / math.sqrt(cell.frames) / 256
        assert float(np.nanmean(cell.rate()[quiet], dtype=np.float64)) == pytest.approx(truth, rel=0.01, abs=4 * noise), cell.name


def test_the_dark_of_a_pixel_and_its_error(whole: Whole) -> None:
    quiet = (whole.model.flags == 0) & ~whole.truth.telegraph
    for t, seconds in ((0.0, 20.0), (15.0, 7.0), (30.0, 10.0)):
        pulls = ((whole.model.signal(t, seconds) - whole.truth.dark(t, seconds)) / whole.model.error(t, seconds))[quiet]
        assert abs(float(pulls.mean(dtype=np.float64))) < 0.1
        assert float(pulls.std(dtype=np.float64)) == pytest.approx(1, abs=0.1)


def test_the_temperature_coefficient_within_half_a_percent(whole: Whole) -> None:
    assert whole.model.shape.b == pytest.approx(math.log(2) / whole.plan.sensor.doubling_c, rel=0.005)


def test_gamma_of_a_straight_sensor_within_two_hundredths(whole: Whole) -> None:
    assert whole.model.shape.measured_gamma == pytest.approx(0, abs=0.02)


def test_hot_pixels_are_found_and_few_others(whole: Whole) -> None:
    hot = whole.truth.hot
    assert hot.size == 65_536
    assert (whole.model.hot & hot).sum() >= 0.99 * hot.sum()
    assert (whole.model.hot & ~hot).sum() <= 5


def test_telegraph_pixels_are_told_apart(whole: Whole) -> None:
    unstable = (whole.model.flags & PixelFlag.UNSTABLE) > 0
    assert (unstable & whole.truth.telegraph).sum() >= 0.95 * whole.truth.telegraph.sum()
    assert (unstable & ~whole.truth.telegraph).sum() <= 5


def test_the_shape_of_the_vignetting_within_two_thousandths(whole: Whole) -> None:
    ratio = whole.flat.vignetting[""].plane((256, 256)) / whole.truth.vignetting
    assert float(np.abs(ratio / np.median(ratio) - 1).max()) < 0.002
    assert whole.flat.edges[""] == pytest.approx(float(whole.truth.vignetting.min() / whole.truth.vignetting.max()), rel=0.002)
