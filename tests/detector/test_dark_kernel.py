"""The compiled fit of dark pixels and the one in numpy: the same bits, and right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from nightcrew.calibration.kernels import darks as kernel
from nightcrew.detector.dark_model import DarkModel, fit_dark
from nightcrew.detector.dark_pixels import Fitted, fit_rows
from nightcrew.detector.dark_terms import Design
from nightcrew.detector.exponential import exponential
from nightcrew.detector.noise import NoiseLaw
from tests.detector.made import darks
from tests.detector.test_dark_model import bias

PLANES = ("rate", "rate_error", "db", "db_error", "correlation", "chi2", "count", "flags")
needs_kernel = pytest.mark.skipif(not kernel.available(), reason="there is no compiled kernel")


def design(t: np.ndarray, seconds: np.ndarray, b: float = 0.1, rate: float = 90.0, own_b: bool = True) -> Design:
    u = (t - 15).astype(np.float32)
    factor = (np.exp(b * u) * seconds).astype(np.float32)
    return Design(factor, u, t.astype(np.float32), b, NoiseLaw(32.0, 8.0), 65520.0, rate, own_b)


def exposed(law: Design, rate: np.ndarray, db: np.ndarray, seed: int, hits: float = 0.0) -> list[np.ndarray]:
    """Frames of pixels with ``rate`` and ``db`` over a bias of 3200, 12 bits stored x16."""
    rng = np.random.default_rng(seed)
    signal = law.factor[:, None] * rate * np.exp(np.multiply.outer(law.u, db))
    values = 3200 + signal + rng.normal(0, 1, signal.shape) * np.sqrt(32.0**2 + 8 * signal)
    values += 5000 * (rng.random(signal.shape) < hits)
    return list((np.clip(np.round(values / 16), 0, 4095) * 16).astype(np.uint16))


def same(one: Fitted, other: Fitted) -> None:
    for name in one.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@needs_kernel
@settings(max_examples=25)
@given(
    n_frames=st.integers(1, 60),
    n_pixels=st.integers(1, 300),
    seed=st.integers(0, 1 << 16),
    spread=st.sampled_from([0.0, 0.3, 2.0]),
    kind=st.sampled_from(["<u2", ">u2", ">i2", "<f4", "<f8", "<i4", "<i8"]),
    own_b=st.booleans(),
    span=st.sampled_from([0.0, 30.0, 150.0]),
)
def test_both_give_the_same_bits(n_frames: int, n_pixels: int, seed: int, spread: float, kind: str, own_b: bool, span: float) -> None:
    rng = np.random.default_rng(seed)
    law = design(rng.uniform(15 - span / 2, 15 + span / 2, n_frames), rng.choice([1.0, 10.0], n_frames), own_b=own_b)
    rate, db = 90 * np.exp(rng.normal(0, spread, n_pixels)), rng.normal(0, 0.05 * spread, n_pixels)
    frames = [frame.astype(kind, casting="unsafe") for frame in exposed(law, rate, db, seed, hits=0.02)]
    if kind in ("<f4", "<f8"):
        frames[0][rng.random(n_pixels) < 0.3] = np.nan
    level, slope = np.full(n_pixels, 3200, np.float32), rng.normal(0, 0.1, n_pixels).astype(np.float32)
    level[rng.random(n_pixels) < 0.05] = np.nan
    one, other = Fitted.empty(n_pixels), Fitted.empty(n_pixels)
    fit_rows(frames, level, slope, law, one)
    fit_rows(frames, level, slope, law, other, kernel="numpy")
    same(one, other)


def test_a_pixels_fit_is_that_of_a_reference() -> None:
    """Weighted least squares of the same law by scipy, with the noise of the course: rate, B and their errors."""
    rng = np.random.default_rng(4)
    t, seconds = np.repeat([0.0, 10.0, 20.0, 30.0], 10), np.tile([1.0, 10.0], 20)
    law = design(t, seconds)
    rate, db = 90 * np.exp(rng.normal(0, 0.4, 40)), rng.normal(0, 0.01, 40)
    frames = exposed(law, rate, db, 5)
    found = Fitted.empty(40)
    fit_rows(frames, np.full(40, 3200, np.float32), np.zeros(40, np.float32), law, found)
    values = np.array(frames, np.float64) - 3200
    x = law.u.astype(np.float64), law.factor.astype(np.float64)
    for k in np.flatnonzero(np.isfinite(found.db_error) & (found.hits == 0)):
        course = found.rate[k] * x[1] * np.exp(x[0] * found.db[k])
        sigma = np.sqrt(32.0**2 + 8 * course)
        best, covariance = curve_fit(
            lambda x, r, d: r * x[1] * np.exp(x[0] * d), x, values[:, k], (rate[k], 0.0), sigma, absolute_sigma=True
        )
        errors = np.sqrt(np.diag(covariance))
        assert abs(found.rate[k] - best[0]) < 0.05 * errors[0]
        assert abs(found.db[k] - best[1]) < 0.05 * errors[1]
        np.testing.assert_allclose([found.rate_error[k], found.db_error[k]], errors, rtol=0.02)
        np.testing.assert_allclose(found.correlation[k], covariance[0, 1] / errors.prod(), atol=0.02)
    assert np.isfinite(found.db_error).sum() > 30


@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=50))
def test_the_exponential_is_right(x: list[float]) -> None:
    values = np.array(x, np.float32)
    np.testing.assert_allclose(exponential(values), np.exp(values.astype(np.float64)), rtol=2.5e-7)


@needs_kernel
def test_a_model_of_files_of_arrays_and_of_numpy_is_the_same(tmp_path: Path) -> None:
    made = darks()
    paths = []
    for n, frame in enumerate(made.frames):
        paths.append(tmp_path / f"dark{n}.fits")
        fits.writeto(paths[-1], frame)

    def model(frames: Any, **options: Any) -> DarkModel:
        return fit_dark(frames, made.temperatures_c, made.exposures_s, bias(), **options)

    first = model(made.frames)
    for other in (model(paths), model(made.frames, kernel="numpy"), model(made.frames, memory_bytes=1)):
        for name in PLANES:
            np.testing.assert_array_equal(getattr(other, name), getattr(first, name), err_msg=name)


def test_a_pixel_that_is_saturated_in_all_frames_has_no_rate() -> None:
    law = design(np.repeat([0.0, 30.0], 4), np.ones(8))
    for which in ("auto", "numpy"):
        found = Fitted.empty(3)
        frames = [np.array([3300, 65520, 65535], np.uint16)] * 8
        fit_rows(frames, np.full(3, 3200, np.float32), np.zeros(3, np.float32), replace(law, own_b=False), found, kernel=which)
        assert np.isfinite(found.rate[0])
        assert np.isnan(found.rate[1:]).all()
        assert np.isnan(found.rate_error[1:]).all()
        assert found.count.tolist() == [8, 0, 0]
        assert found.saturated.tolist() == [False, True, True]
