"""What the fits hold in memory does not grow with the number of frames."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.detector.bias_model import fit_bias
from nightcrew.detector.stack import FrameStack
from nightcrew.lab.masters import make_masters
from nightcrew.lab.records import LabFrame
from tests.detector.made import biases

SIDE = 300


def planes(count: int, value: float) -> list[np.ndarray]:
    """Frames of many pixels that take no memory themselves: one row, shown again and again."""
    rng = np.random.default_rng(1)
    row = rng.normal(0, 30, (count, SIDE)) + value
    return [np.broadcast_to(one.astype(np.float32), (SIDE, SIDE)) for one in row]


def peak_mb(work: object) -> float:
    tracemalloc.start()
    try:
        work()  # type: ignore[operator]
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_fit_of_four_times_the_frames_takes_no_more_memory() -> None:
    def bias(count: int) -> object:
        return fit_bias(planes(count, 3000), np.linspace(0, 20, count).tolist(), threads=1, memory_bytes=16 << 20)

    few, many = (peak_mb(partial(bias, n)) for n in (130, 520))
    assert many < 1.2 * few + 10
    assert many < 200


def test_a_sample_of_many_frames_is_no_larger_than_of_few() -> None:
    sizes = []
    for count in (50, 100, 1000):
        with FrameStack(planes(1, 0) * count) as stack:
            sizes.append(stack.sample_rows(1 << 17).size * stack.shape[1] * count)
    assert sizes[1] == pytest.approx(sizes[2], rel=0.2)
    assert sizes[0] <= 1.1 * sizes[1]


def test_masters_of_many_attempts_are_joined_one_by_one(tmp_path: Path) -> None:
    frames = biases(0.0).frames[:1]
    shown = np.tile(frames[0], (4, 4))

    def joined(count: int) -> float:
        some = []
        for n in range(count):
            path = tmp_path / f"{count}-{n}.fits"
            fits.writeto(path, shown)
            size = shown.shape
            some.append(LabFrame(path=path, caltype="BIAS", temperature_c=10.0, attempt=f"attempt{n}", nx=size[1], ny=size[0]))
        return peak_mb(lambda: make_masters(some, tmp_path / f"out{count}"))

    joined(1)
    few, many = joined(3), joined(18)
    assert many < 1.3 * few + 2
