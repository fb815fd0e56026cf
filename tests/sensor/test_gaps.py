"""Pixels that are no numbers take no part, wherever they lie; many frames and compressed ones are read in parts."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.frames.profiles import load_profiles
from nightcrew.sensor import emva1288, stacks
from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.frames import SensorFrame, of_array, scan
from nightcrew.sensor.pairs import PairOptions, pair_statistics
from nightcrew.sensor.photon_transfer import difference_variance
from nightcrew.sensor.sensor_data import SensorData
from nightcrew.sensor.stacks import stack
from nightcrew.simulate.camera_file import write_camera_file
from reports.sensor import Standing, write_report
from tests.sensor.sets import QUICK, SMALL, frames_of, small_plan, whole

SHAPE = (64, 64)


def noise(seed: int, level: float = 1000.0, sigma: float = 5.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(level, sigma, SHAPE)


def dark(image: NDArray[Any], name: str) -> SensorFrame:
    return of_array(image, name=name, kind="dark", exposure_s=1.0, temperature_c=0.0)


def holed(frames: list[SensorFrame], share: float, value: float = np.nan) -> list[SensorFrame]:
    """The frames as floats, other pixels of each without a number, one row and one pixel without any in all."""
    made = []
    for number, frame in enumerate(frames):
        image = np.asarray(frame.data, np.float32)
        image[np.random.default_rng(number).random(image.shape) < share] = value
        image[10, :], image[30, 30] = value, value
        made.append(replace(frame, data=image))
    return made


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_masked_pixels_change_no_number_beyond_its_error(value: float) -> None:
    plan = small_plan(dark_exposures_s=(60.0, 180.0, 300.0), flat_levels=(0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.05, 1.2))
    frames = frames_of(plan, 1)
    plain, region = whole(characterise(frames, QUICK)), whole(characterise(holed(frames, 0.01, value), QUICK))
    assert region.gain is not None
    assert plain.gain is not None
    assert region.gain.value == pytest.approx(plain.gain.value, abs=2 * region.gain.error)
    assert region.noises[0].adu == pytest.approx(plain.noises[0].adu, rel=0.03)
    series, full = region.darks[0], plain.darks[0]
    assert series.rate_adu_per_s == pytest.approx(full.rate_adu_per_s, rel=0.02)
    assert series.points[-1].dsnu == pytest.approx(full.points[-1].dsnu, rel=0.1)
    flat, other = region.flats[0], plain.flats[0]
    assert flat.uniformity.prnu_percent == pytest.approx(other.uniformity.prnu_percent, rel=0.1)
    assert flat.uniformity.split is not None
    assert flat.uniformity.split.total == pytest.approx(other.uniformity.split.total if other.uniformity.split else None, rel=0.1)
    assert flat.full_well_e is not None


def test_report_of_masked_frames(tmp_path: Any) -> None:
    frames = holed(frames_of(small_plan(flat_levels=(0.1, 0.3, 0.5), dark_exposures_s=(60.0, 300.0)), 1), 0.01)
    frames.append(dark(np.full(SHAPE, np.nan, np.float32), "empty"))
    page = write_report(characterise(frames, QUICK), frames, Standing(title="x"), tmp_path)
    assert any(one.name == "gain" and one.value is not None for one in page.summary.quantities)
    assert "no finite pixel" in str(page.sections[0].tables)


def test_pair_without_a_number_has_no_variance() -> None:
    nothing = dark(np.full(SHAPE, np.nan), "a")
    found = pair_statistics(nothing, nothing, [nothing.light_window], 0.0, PairOptions())
    assert found.used == 0
    assert np.isnan(found.variance)


def test_frames_of_whole_numbers_have_their_rounding_taken_out_and_others_not() -> None:
    exact = [noise(n, sigma=0.8) for n in range(4)]
    for images in (exact, [np.rint(one).astype(np.uint16) for one in exact]):
        frames = [of_array(np.asarray(one), name=str(n), kind="bias", exposure_s=0.0, temperature_c=0.0) for n, one in enumerate(images)]
        assert whole(characterise(frames, QUICK)).noises[0].adu == pytest.approx(0.8, rel=0.04)


def test_numbers_stored_in_steps_have_the_rounding_of_the_step() -> None:
    # 14 bits in 16: 2 ADU of noise, rounded to multiples of 4
    images = [(4 * np.rint(noise(n, sigma=2.0) / 4)).astype(np.uint16) for n in range(8)]
    frames = [of_array(one, name=str(n), kind="bias", exposure_s=0.0, temperature_c=0.0) for n, one in enumerate(images)]
    found = whole(characterise(frames, QUICK)).noises[0]
    assert found.bias.rounding == pytest.approx(16 / 12)
    assert found.adu == pytest.approx(2.0, rel=0.03)  # 2.3 with the rounding in it


def test_darks_of_hardly_any_noise_have_no_hot_pixels() -> None:
    rng = np.random.default_rng(1)
    images = [np.full(SHAPE, 100, np.uint16) + (rng.random(SHAPE) < 0.2).astype(np.uint16) for _ in range(2)]
    images[1][5, 5] = 900
    frames = [
        of_array(images[0], name="b", kind="bias", exposure_s=0.0, temperature_c=0.0),
        of_array(images[1], name="d", kind="dark", exposure_s=60.0, temperature_c=0.0),
    ]
    hot = whole(characterise(frames, QUICK)).darks[0].hot
    assert hot is not None
    assert (hot.y.tolist(), hot.x.tolist()) == ([5], [5])


def test_tables_of_masked_crops() -> None:
    images = [noise(n) for n in range(2)]
    for image in images:
        image[20:24, 20:30] = np.nan
    variance, pairs = difference_variance(images)
    assert pairs == 1
    assert variance == pytest.approx(np.nanvar(images[1] - images[0]))
    data = SensorData()
    for number, image in enumerate(images):
        data.add(dark(image, str(number)))
    data.calcStats()
    assert data.data_summary.iloc[0]["avg_signal"] == pytest.approx(np.mean([np.nanmean(one) for one in images]))
    assert data.data_set.iloc[0]["std_dev"] == pytest.approx(np.nanstd(images[0]))


def test_stack_of_masked_frames() -> None:
    images = [noise(n) for n in range(4)]
    images[1][5, 5] = np.nan
    for image in images:
        image[7, 7] = np.nan
    found = stack([dark(image, str(n)) for n, image in enumerate(images)], dark(images[0], "").light_window)
    assert found.temporal_variance == pytest.approx(25, rel=0.05)
    assert np.isnan(found.mean[7, 7])
    assert np.isfinite(found.mean).sum() == 64 * 64 - 1
    levels = np.array([np.nanmedian(image) for image in images])
    shifted = [image[5, 5] + levels.mean() - level for image, level in zip(images, levels, strict=True)]
    assert found.mean[5, 5] == pytest.approx(np.nanmean(shifted), abs=0.01)


def test_highpass_around_holes_keeps_the_share() -> None:
    image = np.random.default_rng(4).normal(1000, 10, (200, 200))
    image[np.random.default_rng(5).random(image.shape) < 0.02] = np.nan
    y, x = np.mgrid[:200, :200]
    rough, share = emva1288.highpass(image + 0.5 * x + 1e-3 * y**2)
    inner = rough[20:-20, 20:-20]
    assert np.nanvar(inner) / share == pytest.approx(100, rel=0.03)
    assert np.isnan(inner).any()


@pytest.mark.parametrize("count", [7, 200])
def test_many_frames_are_put_together_from_parts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = np.random.default_rng(99).normal(0, 20, SHAPE)
    images = [noise(n) + pattern + 3 * n / count for n in range(count)]
    images[3][10, 10] += 4000  # a cosmic ray
    frames = [dark(image, str(n)) for n, image in enumerate(images)]
    at_once = stack(frames[:7], frames[0].light_window)
    monkeypatch.setattr(stacks, "MOST_OPEN", 3)
    parts = stack(frames[:count], frames[0].light_window)
    assert parts.temporal_variance == pytest.approx(25, rel=4 * np.sqrt(2 / (64 * 64 * 4)))
    assert parts.variance_of_mean == pytest.approx((parts.temporal_variance or 0) / count)
    assert parts.rays == 1
    if count == 7:
        assert parts.mean == pytest.approx(at_once.mean, abs=4.5 * 5 / np.sqrt(2))
        assert float(np.mean(parts.mean)) == pytest.approx(float(np.mean(at_once.mean)), abs=0.01)


def test_more_frames_than_files_may_be_open(tmp_path: Any) -> None:
    image = np.rint(noise(1)[:16, :16]).astype(np.uint16)
    for number in range(90):
        cards: list[Any] = [("IMAGETYP", "Bias Frame", ""), ("N", number, "")]
        write_camera_file(tmp_path / f"{number:03d}.fits", image + np.uint16(number % 2), cards)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    table = Path("/proc/self/fd")
    free = max(int(entry.name) for entry in table.iterdir()) + 1 if table.is_dir() else 60
    found = scan(sorted(tmp_path.iterdir()), load_profiles(None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + stacks.MOST_OPEN + 10, hard))
    try:
        assert stack(found.frames, found.frames[0].light_window).count == 90  # "too many open files"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_compressed_frames_are_not_all_held(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [replace(dark(noise(n), str(n)), compressed=True) for n in range(20)]
    monkeypatch.setattr(stacks, "HELD_BYTES", 5 * 64 * 64 * 4)
    assert [len(batch) for batch in stacks._batches(frames)] == [5, 5, 5, 5]
    assert len(stacks._batches([replace(frame, compressed=False) for frame in frames])) == 1
    assert SMALL.nx == 64
