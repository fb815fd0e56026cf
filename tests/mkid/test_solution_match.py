"""A calibration of another array, or of another time, is refused with its reason; one of the same array under a new map is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.mask_solution import PixelMasks, read_pixel_masks
from nightcrew.mkid.registered import register, register_path
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.test_calibrated import cosmic_of, flat_of

MAP = beam_map()


def masks_of(shape: tuple[int, int] = (4, 5), first: int = 10_000) -> PixelMasks:
    placed = beam_map(shape, first)
    return PixelMasks(edges_us=np.array([START_US, START_US + 10]), resid=placed.resid, bits=np.zeros((1, *shape), np.uint8))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Calibrations(wavelength=linear_solution(beam_map((6, 5)))), "an array of 5 x 4 pixels, the wavelength solution one of 5 x 6"),
        (Calibrations(wavelength=linear_solution(beam_map(first=10_011))), "only 9 of its 20 resonators are in the wavelength solution"),
        (
            Calibrations(flat=replace(flat_of([1.0]), resid=beam_map(first=90_000).resid)),
            "only 0 of .* are in the flat field",
        ),
        (Calibrations(masks=masks_of((5, 4))), "an array of 5 x 4 pixels, the pixel masks one of 4 x 5"),
    ],
)
def test_calibrations_of_another_array_are_refused(wrong: Calibrations, reason: str, tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 1], [10, 20])
    with pytest.raises(RejectedInput, match=reason):
        open_calibrated(path, wrong)


def test_nothing_is_noted_for_a_table_of_another_array(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 1], [10, 20])
    linear_solution(beam_map(first=90_000)).write(tmp_path / "w.h5")
    with pytest.raises(RejectedInput, match=r"are in the wavelength solution w\.h5: that is of another array"):
        register(path, [tmp_path / "w.h5"])
    replace(cosmic_of((5, 10)), window_us=(START_US - 100, START_US)).write(tmp_path / "c.h5")
    with pytest.raises(RejectedInput, match="cosmic rays are of another exposure"):
        register(path, [tmp_path / "c.h5"])
    assert not register_path(path).exists()
    replace(cosmic_of((5, 10)), window_us=(START_US - 100, START_US + 1)).write(tmp_path / "d.h5")
    register(path, [tmp_path / "d.h5"])
    assert register_path(path).exists()


@pytest.mark.parametrize("step_s", [0.0, -1.0, 1e-6, float("nan"), float("inf"), 1e6])
def test_steps_that_are_none_are_refused_before_anything_is_noted(step_s: float, tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 1], [10, 20])
    with pytest.raises(Refused, match="no steps to take a rate in"):
        register(path, [], linearity_step_s=step_s)
    assert not register_path(path).exists()


@pytest.mark.parametrize("edges", [[0, 10, 5], [0, 10], [0, 10, 20, 30]])
def test_masks_without_edges_in_order_are_damaged(edges: list[int], tmp_path: Path) -> None:
    bits = np.zeros((2, *MAP.shape), np.uint8)
    PixelMasks(edges_us=np.array(edges, dtype=np.int64), resid=MAP.resid, bits=bits).write(tmp_path / "m.h5")
    with pytest.raises(RejectedInput, match="no edges in order of time"):
        read_pixel_masks(tmp_path / "m.h5")
