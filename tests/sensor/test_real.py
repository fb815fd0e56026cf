"""The SBIG STL-1001 of ../shared/data: what each honest estimator gives, and why the older figure of 2.00 e-/ADU is another."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.frames.profiles import load_profiles
from nightcrew.sensor.characterise import RegionResult, SensorResult, characterise
from nightcrew.sensor.frames import Scan, Window, scan
from nightcrew.sensor.options import SensorOptions
from nightcrew.simulate.sensor import SensorModel, build_sensor
from reports.sensor import _verdict, grade_of, summary_of
from reports.sensor_gains import table, texts
from reports.sensor_quantities import quantities
from reports.summary import Quantity
from tests.realdata import folder
from tests.sensor.sets import whole

MIDDLE = Window(212, 812, 212, 812)


@lru_cache(maxsize=1)
def frames() -> Scan:
    root = folder("ccd_stl1001")
    return scan(sorted(root.glob("*.gz")), load_profiles(None), root=root)


@lru_cache(maxsize=1)
def result() -> SensorResult:
    return characterise(frames().frames, SensorOptions(box=MIDDLE, max_lag=2, bootstrap=0))


def region() -> RegionResult:
    return whole(result())


def test_flats_are_found_although_labelled_lights() -> None:
    kinds = [frame.header.kind for frame in frames().frames]
    assert kinds.count("flat") == 3
    assert kinds.count("bias") == 6
    assert frames().left_out == ()


def clipped_variance(values: NDArray[Any], sigma: float) -> float:
    """Variance after a clip at ``sigma`` until nothing changes, nothing put back: what many scripts do."""
    kept = values
    while True:
        inside = kept[np.abs(kept - np.median(kept)) < sigma * kept.std()]
        if inside.size == kept.size:
            return float(kept.var())
        kept = inside


def pair(of: int, to: int) -> tuple[float, NDArray[np.float64], float]:
    """Level, difference scaled to one level, and 1 + q^2 of two flats."""
    images: dict[str, list[NDArray[Any]]] = {"bias": [], "flat": []}
    for frame in frames().frames:
        warm = frame.header.temperature_c
        if frame.header.kind in images and warm is not None and warm > -7:
            with frame.opened() as rows:
                images[frame.header.kind].append(MIDDLE.whole(rows).astype(np.float64))
    bias = np.mean(images["bias"], axis=0)
    one, two = images["flat"][of] - bias, images["flat"][to] - bias
    ratio = one.mean() / two.mean()
    return float((one.mean() + ratio**2 * two.mean()) / (1 + ratio**2)), (one - ratio * two).reshape(-1), 1 + ratio**2


@pytest.mark.parametrize("frames_of_pair", [(0, 1), (0, 2), (1, 2)])
def test_clip_at_three_sigma_gives_two_and_honest_estimators_do_not(frames_of_pair: tuple[int, int]) -> None:
    # A clip at 3 sigma until nothing changes takes 3.0 % of a Gaussian's variance; unless it is put back the gain is that much too high.
    level, difference, scale = pair(*frames_of_pair)
    read = 6.70**2
    assert level / (clipped_variance(difference, 3.0) / scale - read) == pytest.approx(2.00, abs=0.012)
    for sigma in (5.0, 6.0):
        assert level / (clipped_variance(difference, sigma) / scale - read) == pytest.approx(1.940, abs=0.012)
    robust = (1.4826 * float(np.median(np.abs(difference - np.median(difference))))) ** 2
    assert level / (robust / scale - read) == pytest.approx(1.940, abs=0.020)
    neighbours = (difference.reshape(600, 600)[:, 1::2] - difference.reshape(600, 600)[:, ::2]).reshape(-1) / math.sqrt(2)
    assert level / (clipped_variance(neighbours, 5.0) / scale - read) == pytest.approx(1.940, abs=0.015)


def test_the_same_clip_is_three_percent_high_on_a_sensor_of_known_gain() -> None:
    sensor = build_sensor(SensorModel(nx=600, ny=600, gain_e_per_adu=1.94, dark_rate_e_per_s=0.0), 1)
    one, two = (sensor.flat(37_000, 1.0, -5.0, n).astype(np.float64) - 1000 for n in range(2))
    read = (8.0 / 1.94) ** 2
    gains = [one.mean() / (clipped_variance((one - two).reshape(-1), sigma) / 2 - read) for sigma in (3.0, 5.0)]
    assert gains[0] / 1.94 == pytest.approx(1.030, abs=0.006)
    assert gains[1] / 1.94 == pytest.approx(1.000, abs=0.006)


@pytest.mark.parametrize("frames_of_pair", [(0, 1), (0, 2), (1, 2)])
def test_neighbours_covariances_make_the_gain_smaller_not_larger(frames_of_pair: tuple[int, int]) -> None:
    # what the brighter-fatter effect takes from the variance stands in the covariances: with them the gain leaves 2.00 further behind
    level, difference, scale = pair(*frames_of_pair)
    kept = difference - np.median(difference)
    variance = clipped_variance(difference, 5.0)
    kept[np.abs(kept) > 5 * math.sqrt(variance)] = 0
    image = kept.reshape(600, 600)
    total = variance + 2 * ((image[:, 1:] * image[:, :-1]).mean() + (image[1:] * image[:-1]).mean())
    total += 2 * ((image[1:, 1:] * image[:-1, :-1]).mean() + (image[1:, :-1] * image[:-1, 1:]).mean())
    gain = level / (total / scale - 6.70**2)
    assert 1.89 < gain < 1.95  # each covariance is known to 0.0017 of the variance, eight of them to 1 % of the gain


def test_hot_pixels_show_a_response_that_bends_down() -> None:
    # a pixel's dark charge of 300 s is twice that of 150 s; what a bend hides of the signal it hides twofold of the noise
    images: dict[float, NDArray[Any]] = {}
    zero: list[NDArray[Any]] = []
    for frame in frames().frames:
        header = frame.header
        if (header.temperature_c or 0.0) > -7 and (header.kind == "bias" or header.exposure_s in (150.0, 300.0)):
            with frame.opened() as rows:
                image = rows.read_rows(0, 1024).astype(np.float64)
            if header.kind == "bias":
                zero.append(image)
            else:
                images[header.exposure_s or 0.0] = image
    long, short = images[300.0] - np.mean(zero, axis=0), images[150.0] - np.mean(zero, axis=0)

    def ratio(low: float, high: float) -> float:
        chosen = (long > low) & (long <= high)
        return float(np.median(2 * short[chosen] / long[chosen]))

    assert ratio(1200, 2500) == pytest.approx(1.000, abs=0.004)
    assert ratio(10_000, 20_000) == pytest.approx(1.008, abs=0.005)  # not below 1, as a gain of 2.00 would need it


def test_gain_and_read_noise() -> None:
    gain = region().gain
    assert gain is not None
    assert gain.source == "measured"
    assert gain.value == pytest.approx(1.940, abs=0.02)  # not 2.00-2.06: see above
    assert gain.error < 0.006
    adu = {round(noise.temperature_c or 0.0): noise.adu for noise in region().noises}
    assert adu[-10] == pytest.approx(6.56, abs=0.02)
    assert adu[-5] == pytest.approx(6.69, abs=0.02)
    noise = region().noises[-1].adu
    assert noise is not None
    assert noise * gain.value == pytest.approx(13.5, rel=0.05)


def test_one_level_of_light_is_grade_b() -> None:
    grade, reasons = grade_of(result())
    assert grade == "B"
    assert reasons == ("the gain rests on one level of light alone: brighter-fatter effect not taken into account",)


def summary() -> dict[tuple[str, object], Quantity]:
    found = [one for one in quantities(result()) if one.name in ("gain", "gain_stated", "read_noise", "dark_current")]
    return {(one.name, one.where.get("source", one.where.get("temperature_c"))): one for one in found}


def test_gain_of_one_level_says_so_wherever_electrons_stand() -> None:
    found = summary()
    for (name, _), one in found.items():
        assert "one level of light alone" in one.note or name == "gain_stated"
    (text, *_) = texts(result().set_ups[0])
    assert "rests on one level of light alone" in text
    assert "3 flats" in text
    _, verdict = _verdict(summary_of(result(), frames().frames), result())
    assert "(from one level of light alone)" in verdict


def test_the_makers_gain_stands_beside_the_measured_one_with_what_it_would_change() -> None:
    found, gain = summary(), region().gain
    assert gain is not None
    header, profile = found["gain_stated", "header"], found["gain_stated", "profile"]
    assert (header.value, profile.value) == (2.06, 2.0)
    assert f"{100 * (2.06 / gain.value - 1):.2g} % above the measured gain" in header.note
    assert "every number in e- would be so much larger" in header.note
    assert any("the header states 2.06 e-/ADU" in text for text in texts(result().set_ups[0]))
    warnings = summary_of(result(), frames().frames).warnings
    assert sum("numbers in e- are by the measured one" in warning for warning in warnings) == 2
    shown = table(result().set_ups[0])
    assert shown is not None
    rows = {(row[1], row[2]): row for row in shown.rows}
    cold = next(row for (warm, what), row in rows.items() if what == "read noise" and isinstance(warm, float) and warm < -9)
    assert cold[3] == pytest.approx(12.73, abs=0.06)  # below the 13.5 e- that were asked for ...
    assert cold[4] == pytest.approx(13.5, abs=0.06)  # ... which is what the header's gain makes of the same 6.56 ADU


def test_all_three_flats_count() -> None:
    (point,) = region().flats[0].curve.points
    assert (point.frames, len(point.pairs)) == (3, 3)
    each = [pair.variance_error / pair.variance for pair in point.pairs]
    assert point.relative_error == pytest.approx(np.mean(each) / math.sqrt(2), rel=0.01)


def test_dark_rates_are_those_of_the_readme() -> None:
    rates = {round(s.temperature_c or 0.0): (s.rate_adu_per_s, s.median_rate_adu_per_s) for s in region().darks}
    for celsius, truth in ((-5, 0.341), (-10, 0.168)):
        mean, typical = rates[celsius]
        assert mean is not None
        assert typical is not None
        assert typical == pytest.approx(truth, rel=0.015)
        assert typical < mean < 1.05 * typical  # warm pixels below the threshold of the hot ones


def test_hot_pixels_and_doubling() -> None:
    series = region().darks[-1]
    assert series.hot is not None
    assert series.hot.y.size > 100
    assert series.hot.y.min() >= MIDDLE.y0
    assert not isinstance(region().arrhenius, str)


def test_customary_gain_stands_beside_the_measured_one_with_its_bias() -> None:
    found = next(one for one in quantities(result()) if one.name == "gain_clipped_3_sigma")
    assert found.value == pytest.approx(2.00, abs=0.012)
    assert "3.1 % too high on Gaussian noise" in found.note
    assert "for comparison with published numbers alone" in found.note
    shown = table(result().set_ups[0])
    assert shown is not None
    (row,) = [row for row in shown.rows if "clipped at 3" in str(row[2])]
    assert (row[3], row[4:6]) == (found.value, (None, None))  # nothing in e- is made of it
    gain = region().gain
    assert gain is not None
    assert gain.value == pytest.approx(1.940, abs=0.02)
