"""Cosmic rays planted in a star field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.lights import cosmic_rays
from nightcrew.lights.cosmic_rays import count_groups, find_cosmic_rays, flagged
from tests.photometry.field import add_star

SIZE = 400


@pytest.fixture(scope="module")
def frame() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image with rays, planted pixels, star columns and rows."""
    rng = np.random.default_rng(3)
    expected = np.full((SIZE, SIZE), 300.0)
    x, y = rng.uniform(5, SIZE - 5, (2, 60))
    for star in zip(x, y, 10 ** rng.uniform(3, 5.3, 60), strict=True):
        add_star(expected, *star, 3.0 / 2.355)
    image = rng.poisson(expected) + rng.normal(0, 6.0, expected.shape)
    planted = np.zeros(image.shape, np.bool_)
    for _ in range(60):
        row, column, length = *rng.integers(5, SIZE - 12, 2), rng.integers(1, 6)
        steps = np.arange(length)
        where = (row + steps * rng.integers(0, 2), column + steps)
        planted[where] = True
        image[where] += rng.uniform(500, 4000)
    return image.astype(np.float32), planted, x, y


def test_planted_rays_are_found_and_little_else(frame: tuple[np.ndarray, ...]) -> None:
    image, planted, _, _ = frame
    found = find_cosmic_rays(image, read_noise_e=6.0)
    assert np.count_nonzero(found.hit & planted) >= 0.95 * planted.sum()
    assert np.count_nonzero(found.hit & ~planted) <= 1e-3 * planted.size
    assert found.n_pixels == np.count_nonzero(found.hit)
    assert 40 <= found.n_events <= 80


def test_cores_of_stars_stay(frame: tuple[np.ndarray, ...]) -> None:
    image, planted, x, y = frame
    found = find_cosmic_rays(image, read_noise_e=6.0)
    near_ray = np.array(
        [planted[max(round(b) - 3, 0) : round(b) + 4, max(round(a) - 3, 0) : round(a) + 4].any() for a, b in zip(x, y, strict=True)]
    )
    core = found.hit[np.rint(y).astype(int), np.rint(x).astype(int)]
    assert not core[~near_ray].any()


def test_flagged_pixels_are_not_looked_at(frame: tuple[np.ndarray, ...]) -> None:
    image, planted, _, _ = frame
    image = image.copy()
    image[0, 0] = np.nan
    mask = np.where(planted, np.uint16(int(PixelFlag.HOT)), np.uint16(0))
    found = find_cosmic_rays(image, mask, read_noise_e=6.0)
    assert not found.hit[planted].any()
    assert not found.hit[0, 0]


def test_flag_is_added_to_the_others(frame: tuple[np.ndarray, ...]) -> None:
    found = find_cosmic_rays(frame[0], read_noise_e=6.0)
    mask = flagged(np.full(frame[0].shape, int(PixelFlag.SATURATED), np.uint16), found)
    assert set(np.unique(mask)) == {int(PixelFlag.SATURATED), int(PixelFlag.SATURATED | PixelFlag.COSMIC_RAY)}
    assert np.array_equal((mask & PixelFlag.COSMIC_RAY) != 0, found.hit)


def test_groups_touch_by_corners() -> None:
    marked = np.eye(4, dtype=np.bool_)
    marked[0, 3] = True
    assert count_groups(marked) == 2
    assert count_groups(np.zeros((3, 3), np.bool_)) == 0


def test_too_small_a_frame_is_rejected() -> None:
    with pytest.raises(RejectedInput, match="too small"):
        find_cosmic_rays(np.zeros((5, 5), np.float32), read_noise_e=5.0)


def test_rays_at_the_edge_and_beside_bad_pixels_are_found() -> None:
    image = np.random.default_rng(5).normal(300.0, 18.0, (120, 120)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint16)
    image[0, 50], image[60, 119], image[1, 80:83], image[70, 71] = 2000.0, 2000.0, 3000.0, 2000.0
    image[70, 70], mask[70, 70] = 60000.0, PixelFlag.HOT
    image[30, 30], mask[30, 30] = np.nan, PixelFlag.NO_DATA | PixelFlag.SATURATED
    found = find_cosmic_rays(image, mask, read_noise_e=6.0).hit
    assert found[0, 50]
    assert found[60, 119]
    assert found[1, 80:83].all()
    assert found[70, 71]
    assert not found[70, 70]
    assert found.sum() <= 12


def test_masks_are_widened_as_astroscrappy_does_it() -> None:
    from astroscrappy.utils import dilate5

    widen, rng = _widen(), np.random.default_rng(3)
    for share in (0.5, 0.02, 0.001):
        marked = rng.random((67, 81)) < share
        marked[0, 0] = marked[-1, -1] = True
        for times in (1, 2, 3):
            np.testing.assert_array_equal(widen(marked, times), dilate5(marked, times))


def test_the_search_keeps_no_memory() -> None:
    widen, marked = _widen(), np.zeros((2048, 2048), np.bool_)
    widen(marked, 2)
    before = _anonymous_kb()
    for _ in range(8):
        widen(marked, 2)
    assert _anonymous_kb() - before < 8 * 1024  # astroscrappy's own keeps 32 MB of these calls


def _widen() -> Any:
    """What the search widens masks with."""
    from astroscrappy import astroscrappy

    cosmic_rays._detector()
    return astroscrappy.dilate5


def _anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
