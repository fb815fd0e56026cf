"""Hot, cold and dead pixels per step of time; cosmic rays; what they take from photons and exposure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, RejectedInput
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.cosmic_search import CosmicOptions, find_cosmic_rays
from nightcrew.mkid.live_time import joined
from nightcrew.mkid.mask_solution import COLD, DEAD, HOT, PixelMasks, joined_masks, read_cosmic_rays, read_pixel_masks
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.pixel_masks import METHODS, MaskOptions, find_masks, mask_of
from tests.mkid.made_tables import START_US, beam_map, table

SHAPE = (20, 24)
NOTHING = np.zeros(SHAPE, dtype=np.bool_)


def flat_image(seed: int = 1, level: float = 400.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(seed).poisson(level, SHAPE).astype(np.float64)


@pytest.mark.parametrize("method", METHODS)
def test_planted_pixels_are_found_and_no_other(method: str) -> None:
    image = flat_image()
    image[3, 4], image[10, 10], image[15, 2], image[0, 0] = 4000, 20, 0, 3500
    before = image.copy()
    bits = mask_of(image, 10.0, NOTHING, MaskOptions(method=method))
    assert np.array_equal(image, before)
    assert sorted(map(tuple, np.argwhere(bits == HOT).tolist())) == [(0, 0), (3, 4)]
    assert np.argwhere(bits == COLD).tolist() == [[10, 10]]
    assert np.argwhere(bits == DEAD).tolist() == [[15, 2]]


@pytest.mark.parametrize("method", METHODS)
def test_bad_pixels_are_found_in_bright_and_in_dim_parts_of_the_array(method: str) -> None:
    shape = (40, 60)
    light = np.broadcast_to(40 * np.exp(np.log(100) * np.arange(60) / 59), shape)  # from 40 to 4000
    image = np.random.default_rng(6).poisson(light).astype(np.float64)
    planted = {(20, 3): 200, (30, 2): 0, (7, 56): 9000, (25, 55): 300, (12, 30): 1500}
    for place, counts in planted.items():
        image[place] = counts
    bits = mask_of(image, 10.0, np.zeros(shape, dtype=np.bool_), MaskOptions(method=method))
    assert sorted(map(tuple, np.argwhere(bits == HOT).tolist())) == [(7, 56), (12, 30), (20, 3)]
    assert np.argwhere(bits == COLD).tolist() == [[25, 55]]
    assert np.argwhere(bits == DEAD).tolist() == [[30, 2]]


def test_a_star_is_not_hot() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 3000 * np.exp(-0.5 * ((x - 12) ** 2 + (y - 9) ** 2) / (5 / 2.3548) ** 2)
    image = np.random.default_rng(2).poisson(100 + star).astype(np.float64)
    assert not (mask_of(image, 10.0, NOTHING, MaskOptions()) & HOT).any()


def test_pixels_without_a_tone_are_dead_and_dark_images_have_no_dead_pixels() -> None:
    absent = NOTHING.copy()
    absent[1, 1] = True
    bits = mask_of(flat_image(level=0.5), 10.0, absent, MaskOptions())
    assert np.argwhere(bits & DEAD).tolist() == [[1, 1]]
    assert not mask_of(np.zeros(SHAPE), 10.0, NOTHING, MaskOptions()).any()


def test_a_limit_of_the_rate_holds_whatever_the_neighbours_do() -> None:
    bits = mask_of(flat_image(level=5000), 1.0, NOTHING, MaskOptions(most_cps=2450))
    assert (bits & HOT).all()


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_good_images_have_few_bad_pixels(seed: int) -> None:
    assert np.count_nonzero(mask_of(flat_image(seed), 10.0, NOTHING, MaskOptions())) <= 1


def test_masks_follow_time(tmp_path: Path) -> None:
    placed = beam_map((6, 8))
    rng = np.random.default_rng(1)
    pixel = rng.integers(0, 48, 48 * 600)
    times = rng.integers(0, 60_000_000, pixel.size)
    hot_times = rng.integers(30_000_000, 60_000_000, 20_000)
    path = table(tmp_path / "t.h5", placed, np.append(pixel, np.full(20_000, 9)), np.append(times, hot_times), duration_s=60.0)
    with PhotonTable(path) as opened:
        masks = find_masks(opened, MaskOptions(step_s=15.0))
    assert masks.edges_us.tolist() == [START_US + step * 15_000_000 for step in range(5)]
    assert masks.bits[:, 1, 1].tolist() == [0, 0, HOT, HOT]
    assert np.count_nonzero(masks.bits) == 2
    masks.write(tmp_path / "m.h5")
    read = read_pixel_masks(tmp_path / "m.h5")
    assert np.array_equal(read.bits, masks.bits)
    with open_calibrated(path, Calibrations(masks=read)) as calibrated:
        assert calibrated.exposure_s()[1, 1] == pytest.approx(30.0)
        assert calibrated.photons(range(9, 10)).time_us.max() < 30_000_000


def test_masks_of_several_exposures_are_one() -> None:
    placed = beam_map()

    def made(start_us: int, bad: int) -> PixelMasks:
        bits = np.zeros((2, *placed.shape), dtype=np.uint8)
        bits[1].ravel()[bad] = HOT
        return PixelMasks(edges_us=np.array([0, 10, 20], dtype=np.int64) + start_us, resid=placed.resid, bits=bits)

    found = joined_masks([made(100, 5), made(0, 3)])
    assert found.edges_us.tolist() == [0, 10, 20, 100, 110, 120]
    times = np.array([-5, 5, 15, 50, 105, 115, 500])
    for bad, expected in ((3, [0, 0, HOT, HOT, 0, 0, 0]), (5, [0, 0, 0, 0, 0, HOT, HOT])):
        assert found.bits.reshape(5, -1)[found.step_of(times), bad].tolist() == expected
    assert joined_masks([made(0, 3), made(20, 5)]).edges_us.tolist() == [0, 10, 20, 30, 40]
    other = replace(made(0, 1), resid=beam_map(first=50_000).resid)
    with pytest.raises(RejectedInput, match="different arrays"):
        joined_masks([made(0, 3), other])


def test_masks_and_their_steps_bear_missing_seconds(tmp_path: Path) -> None:
    pixel = np.repeat(np.arange(20), 400)
    times = np.random.default_rng(1).integers(0, 4_000_000, pixel.size)
    missing = [START_US // 10**6 + second for second in range(4, 10)]
    with PhotonTable(table(tmp_path / "t.h5", beam_map(), pixel, times, missing=missing)) as opened:
        masks = find_masks(opened, MaskOptions(step_s=4.0))
    assert masks.bits.shape[0] == 2
    assert not masks.bits.any()


def flashes(tmp_path: Path, at_us: list[int], hits: int = 60) -> Path:
    rng = np.random.default_rng(3)
    placed = beam_map((10, 20))
    quiet = rng.integers(0, 10_000_000, 200 * 10 * 50)  # 0.1 photons in 10 us
    bright = np.concatenate([np.full(hits, time) + rng.integers(0, 10, hits) for time in at_us] or [np.empty(0, np.int64)])
    times = np.concatenate([quiet, bright])
    return table(tmp_path / "t.h5", placed, rng.integers(0, 200, times.size), times)


@pytest.mark.parametrize("method", ["poisson", "signal"])
def test_cosmic_rays_are_found_cut_and_counted(method: str, tmp_path: Path) -> None:
    planted = [30, 1_000_000, 1_000_120, 3_999_990, 9_999_980]  # at the start, two that are one, at the end of a part, the last
    path = flashes(tmp_path, planted)
    with PhotonTable(path) as opened:
        found = find_cosmic_rays(opened, CosmicOptions(method=method))
    assert (found.start_us - START_US).tolist() == [0, 999_950, 3_999_940, 9_999_930]
    assert (found.stop_us - START_US)[:2].tolist() == [130, 1_000_220]
    assert found.stop_us[-1] == START_US + 10_000_000
    assert np.all(found.count >= [60, 120, 60, 60])
    assert np.all(found.peak >= 40)
    found.write(tmp_path / "c.h5")
    read = read_cosmic_rays(tmp_path / "c.h5")
    assert np.array_equal(read.start_us, found.start_us)
    with open_calibrated(path, [tmp_path / "c.h5"]) as calibrated:
        assert len(calibrated.photons()) == 100_060 + 240 - int(found.count.sum())
        assert calibrated.exposure_s()[0, 0] == pytest.approx(10 - found.cut_s)


def test_quiet_tables_have_no_cosmic_rays(tmp_path: Path) -> None:
    with PhotonTable(flashes(tmp_path, [])) as opened:
        found = find_cosmic_rays(opened, CosmicOptions())
    assert len(found) == 0
    found.write(tmp_path / "c.h5")
    assert len(read_cosmic_rays(tmp_path / "c.h5")) == 0
    with open_calibrated(tmp_path / "t.h5", [tmp_path / "c.h5"]) as calibrated:
        assert len(calibrated.photons()) == 100_000


@pytest.mark.parametrize("method", ["poisson", "signal"])
def test_light_that_changes_is_no_cosmic_ray_and_hides_none(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    dim, bright = rng.integers(0, 650_000, 6_500), 650_000 + rng.integers(0, 350_000, 700_000)  # 0.1 and 20 photons in 10 us
    silent = 2_000_000 + rng.integers(0, 200_000, 2_000)  # dim again, after a second without a file
    flash = np.concatenate([np.full(14, time) for time in (200_003, 800_007, 2_100_001)])  # photons of 10 us
    flash = np.append(flash, np.full(45, 800_007))
    times = np.concatenate([dim, bright, silent, flash])
    path = table(
        tmp_path / "t.h5", beam_map((10, 20)), rng.integers(0, 200, times.size), times, duration_s=2.2, missing=[START_US // 10**6 + 1]
    )
    with PhotonTable(path) as opened:
        found = find_cosmic_rays(opened, CosmicOptions(method=method))
    assert (found.start_us - START_US + 50).tolist() == [200_000, 800_000, 2_100_000]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_joined_stretches_cover_the_same_times(parts: list[tuple[int, int]]) -> None:
    rows = np.array([(start, start + length) for start, length in parts], dtype=np.int64).reshape(-1, 2)
    found = joined(rows)
    covered = {time for start, stop in rows.tolist() for time in range(start, stop)}
    assert {time for start, stop in found.tolist() for time in range(start, stop)} == covered
    assert np.all(found[1:, 0] > found[:-1, 1])


@pytest.mark.parametrize("wrong", [{"method": "magic"}, {"box_px": 4}, {"step_s": 0.0}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused, match="pixel masks"):
        MaskOptions(**wrong)  # type: ignore[arg-type]  # what a user may write
    with pytest.raises(Refused, match="cosmic rays"):
        CosmicOptions(method="magic")
