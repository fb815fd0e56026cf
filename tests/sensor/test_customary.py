"""The gain that a clip at 3 sigma makes: too high by what theory says, on sensors of known gain."""

from __future__ import annotations

import numpy as np
import pytest

from nightcrew.sensor.customary import CUSTOMARY_EXCESS, gain_clipped_at_three_sigma
from nightcrew.sensor.frames import SensorFrame, Window, of_array
from nightcrew.sensor.pairs import kept_by_repeated_clip
from nightcrew.sensor.regions import Region
from reports.sensor_quantities import quantities
from tests.sensor.sets import SMALL, measured, small_plan


def flats(gain: float, side: int, seed: int) -> list[SensorFrame]:
    rng = np.random.default_rng(seed)
    frames = [rng.poisson(30_000.0, (side, side)) / gain + rng.normal(1000, 5.0, (side, side)) for _ in range(2)]
    return [
        of_array(np.rint(frame).astype(np.uint16), name=f"f{n}", kind="flat", exposure_s=1.0, temperature_c=None)
        for n, frame in enumerate(frames)
    ]


def region(side: int) -> Region:
    return Region("whole", (Window(0, side, 0, side),))


@pytest.mark.parametrize(("gain", "side"), [(1.94, 600), (0.8, 1300)])  # the larger is sampled
def test_it_is_too_high_by_what_theory_says(gain: float, side: int) -> None:
    one, two = flats(gain, side, 1)
    found = gain_clipped_at_three_sigma(one, two, region(side), 1000.0, 25.0)
    assert found is not None
    error = np.sqrt(2 / min(side**2, 800_000))
    assert found / gain - 1 == pytest.approx(CUSTOMARY_EXCESS, abs=4 * error)


def test_theory_is_that_of_the_repeated_clip() -> None:
    values = np.random.default_rng(2).standard_normal(1_000_000)
    kept = values
    while (inside := kept[np.abs(kept) < 3 * kept.std()]).size < kept.size:
        kept = inside
    assert kept_by_repeated_clip(3.0) == pytest.approx(kept.var(), abs=4 * np.sqrt(2e-6))
    assert kept_by_repeated_clip(3.0) == pytest.approx(0.96992, abs=1e-5)


def test_flats_of_no_noise_or_no_light_have_none() -> None:
    level = of_array(np.full((8, 8), 1000, np.uint16), name="f", kind="flat", exposure_s=1.0, temperature_c=None)
    assert gain_clipped_at_three_sigma(level, level, region(8), 1000.0, 25.0) is None
    assert gain_clipped_at_three_sigma(level, level, region(8), 100.0, 0.0) is None


def test_it_is_no_gain_of_anything_else() -> None:
    found = {one.name: one.value for one in quantities(measured(small_plan(SMALL), 1))}
    gain, clipped = found["gain"], found["gain_clipped_3_sigma"]
    assert gain is not None
    assert clipped is not None
    assert gain < clipped < 1.15 * gain  # 64 x 64 pixels: 2.2 %
