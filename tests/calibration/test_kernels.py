"""The C kernel and numpy give the same bytes; the kernel is found, built and refused as it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.calibration.combine import combine
from nightcrew.calibration.kernels import build, native
from nightcrew.calibration.kernels.library import library
from nightcrew.calibration.kernels.network import comparators
from nightcrew.calibration.kernels.values import median
from nightcrew.calibration.methods import METHODS, Clip, DropExtremes, SigmaClip
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.calibration.sources import ArraySource

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
needs_compiler = pytest.mark.skipif(library() is None, reason="no C compiler here")
CLIPS: list[Clip | None] = [None, SigmaClip(low=2, high=2.5), SigmaClip(iterations=2), DropExtremes(low=1, high=1), DropExtremes(low=2)]


def frames_and_steps(rng: np.random.Generator, dtype: str, n: int, what: str) -> tuple[list[ArraySource], list[FrameCalibration]]:
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 60)))
    dark, flat = (rng.normal(level, 0.2, shape).astype(np.float32) for level in (5, 1))
    sources, steps = [], []
    for _ in range(n):
        values = np.abs(rng.normal(120, 30, shape) + (rng.random(shape) < 0.05) * 100)
        data = np.clip(values, 0, 255).astype(dtype) if np.dtype(dtype).kind != "f" else values.astype(dtype)
        mask = (rng.random(shape) < 0.1).astype(np.uint16) if "mask" in what else None
        sources.append(ArraySource(data=data, mask=mask, saturation=240.0 if "mask" in what else np.inf))
        steps.append(
            FrameCalibration(subtract=[(dark, float(rng.random()))], divide=flat, scale=1.1) if "steps" in what else FrameCalibration()
        )
    return sources, steps


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["u1", "i1", "i2", ">i2", "u2", ">u2", "i4", ">u4", "f4", ">f4", "f8", ">f8"]),
    method=st.sampled_from([m for m in METHODS if m != "weighted_mean"]),
    clip=st.sampled_from(CLIPS),
    what=st.sampled_from(["", "mask", "steps", "mask steps"]),
    n=st.integers(4, 40),
)
def test_both_kernels_give_the_same_bytes(seed: int, dtype: str, method: str, clip: Clip | None, what: str, n: int) -> None:
    sources, steps = frames_and_steps(np.random.default_rng(seed), dtype, n, what)
    options: dict[str, Any] = {"method": method, "clip": clip, "quantile": 0.37, "per_frame": steps, "dtype": "f8" if seed % 2 else "f4"}
    plain, compiled = combine(sources, kernel="numpy", **options), combine(sources, kernel="c", **options)
    for plane in ("result", "uncertainty", "count", "mask"):
        np.testing.assert_array_equal(getattr(plain, plane), getattr(compiled, plane))


@given(n=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_networks_sort_and_pruned_ones_give_their_ranks(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    column = rng.integers(0, n, n)
    wanted = frozenset(int(rank) for rank in rng.integers(0, n, 2))
    for ranks in (None, wanted):
        values = column.copy()
        for i, j, what in comparators(n, ranks):
            low, high = min(values[i], values[j]), max(values[i], values[j])
            values[i] = low if what != 2 else values[i]
            values[j] = high if what != 1 else values[j]
        for rank in range(n) if ranks is None else ranks:
            assert values[rank] == np.sort(column)[rank]


@needs_compiler
def test_both_sides_mean_the_same_structures() -> None:
    kernel = library()
    assert kernel is not None
    assert kernel.task_size == native.TASK.itemsize


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([1.0, 1.0, -0.0, 2.5]), min_size=1, max_size=50
    ),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_median_of_a_frame(values: list[float], dtype: str) -> None:
    array = np.array(values, dtype)
    ordered = np.sort(array.astype(np.float64))
    assert median(array) == (ordered[(len(array) - 1) // 2] + ordered[len(array) // 2]) / 2


def test_without_a_compiler_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "")
    with pytest.raises(build.BuildError, match="no C compiler"):
        build.build(tmp_path)


def test_a_cache_that_others_can_write_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "BESIDE", tmp_path / "nothing")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "nightcrew"
    folder.mkdir(mode=0o755)
    (folder / build.file_name()).write_bytes(b"not mine")
    folder.chmod(0o777)
    with pytest.raises(build.BuildError, match="written by others"):
        build.find_or_build()
    folder.chmod(0o700)
    (folder / build.file_name()).chmod(0o666)
    with pytest.raises(build.BuildError, match="written by others"):
        build.find_or_build()


@needs_compiler
@pytest.mark.parametrize("level", ["base", "v3", "v4"])
def test_levels_are_compiled_apart(level: str) -> None:
    assert build.file_name(level).endswith(f"-{level}.so")
    assert len({build.file_name(name) for name in build.LEVELS}) == 3
    assert build.processor_level() in build.LEVELS


def test_the_environment_switches_the_kernel_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCREW_KERNEL", "numpy")
    assert library.__wrapped__() is None
    assert os.environ["NIGHTCREW_KERNEL"] == "numpy"
