"""A small night for the tests, and the plainest possible reduction of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag
from nightcrew.simulate.camera_file import pixels
from nightcrew.simulate.compare_pixels import RecoveredLight
from nightcrew.simulate.detector import CameraModel
from nightcrew.simulate.expected import expected_light
from nightcrew.simulate.night import model_of, simulate_night
from nightcrew.simulate.plan import DarkSeries, NightPlan, short_night
from nightcrew.simulate.truth import FrameTruth, Truth

Image = NDArray[np.float32]


def tiny_plan() -> NightPlan:
    """Two filters, a target and a standard field on 192 x 160 pixels."""
    plan = short_night()
    return replace(
        plan,
        camera=CameraModel(nx=192, ny=160, cosmic_rays_per_mpx_s=8.0, hot_fraction=2e-3, cold_columns=1),
        filters=plan.filters[1:],
        targets=tuple(replace(target, n_stars=14, repeats=2, exposure_s=30.0) for target in plan.targets[1:]),
        darks=(DarkSeries(exposure_s=30.0, count=5), DarkSeries(exposure_s=4.0, count=5)),
    )


@cache
def tiny_night() -> tuple[Path, Truth]:
    """The folder of raw frames and the truth of the tiny night, made once for all tests (read only)."""
    out = Path(tempfile.mkdtemp(prefix="nightcrew-test-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    return out / "raw", simulate_night(out, tiny_plan(), seed=7)


def load(raw: Path, frame: FrameTruth) -> Image:
    return pixels((raw / frame.name).read_bytes()).astype(np.float32)


def master(raw: Path, frames: tuple[FrameTruth, ...]) -> Image:
    return np.asarray(np.median([load(raw, frame) for frame in frames], axis=0), dtype=np.float32)


def flat_master(raw: Path, truth: Truth, filter_name: str) -> Image:
    flats = truth.select("flat", filter_name=filter_name)
    dark = master(raw, truth.select("dark", exposure_s=flats[0].exposure_s))
    levelled = [(load(raw, flat) - dark) / np.median(load(raw, flat) - dark) for flat in flats]
    combined = np.median(levelled, axis=0)
    return np.asarray(combined / np.median(combined), dtype=np.float32)


def defects(truth: Truth) -> NDArray[np.uint16]:
    shape = (truth.plan.camera.ny, truth.plan.camera.nx)
    hot, cold = truth.hot.arrays().mask(shape), truth.cold.arrays().mask(shape)
    return np.asarray(hot * int(PixelFlag.HOT) + cold * int(PixelFlag.COLD), dtype=np.uint16)


def reduced(raw: Path, truth: Truth) -> Iterator[RecoveredLight]:
    """The lights, reduced by numpy alone; flags are copied from truth."""
    model = model_of(truth)
    flats = {one.name: flat_master(raw, truth, one.name) for one in truth.plan.filters}
    for frame in truth.select("light"):
        dark = master(raw, truth.select("dark", exposure_s=frame.exposure_s))
        response = np.maximum(flats[frame.filter], np.float32(1e-3))
        science = np.asarray((load(raw, frame) - dark) / response * truth.gain_e_per_adu, dtype=np.float32)
        mask = defects(truth)
        rays = frame.cosmic_rays.arrays()
        mask[rays.y, rays.x] |= int(PixelFlag.COSMIC_RAY)
        sigma = np.sqrt(expected_light(truth, frame, model=model).variance_e2)
        yield RecoveredLight(name=frame.name, science_e=science, uncertainty_e=sigma, mask=mask)
