"""Weighted means, and uncertainties that the frames bring along."""

from __future__ import annotations

from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from nightcrew.calibration.combine import combine
from nightcrew.calibration.kernels import native
from nightcrew.calibration.kernels.library import library
from nightcrew.calibration.kernels.weighted import exact_sum
from nightcrew.calibration.methods import Clip, DropExtremes, SigmaClip, error_factors, median_variance, rule
from nightcrew.calibration.normalisation import FrameCalibration, Normalise
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag

KERNELS = ["numpy", pytest.param("c", marks=pytest.mark.skipif(library() is None, reason="no C compiler here"))]


def noisy(n: int, shape: tuple[int, int] = (7, 9), seed: int = 0) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    frames = [rng.normal(100, 10, shape).astype(np.float32) for _ in range(n)]
    for frame in frames:
        frame[rng.random(shape) < 0.1] = np.nan
    return frames, [rng.uniform(1, 3, shape).astype(np.float32) for _ in range(n)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_given_weights(kernel: Any) -> None:
    frames, _ = noisy(6)
    weights = [1.0, 2.0, 0.5, 0.0, 4.0, 1.5]
    got = combine(frames, method="mean", weights=weights, kernel=kernel)
    x, w = np.ma.masked_invalid(np.stack(frames).astype(float)), np.array(weights)[:, None, None]
    x[weights.index(0.0)] = np.ma.masked  # takes no part, not even in the number of values
    w = np.ma.array(np.broadcast_to(w, x.shape), mask=x.mask)
    mean = (w * x).sum(0) / w.sum(0)
    n = x.count(0)
    error = np.sqrt(n / (n - 1) * (w**2 * (x - mean) ** 2).sum(0)) / w.sum(0)
    np.testing.assert_allclose(got.result, mean.filled(np.nan), rtol=1e-6)
    assert got.uncertainty is not None
    np.testing.assert_allclose(got.uncertainty, error.filled(np.nan), rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_frames_of_weight_0_are_no_values(kernel: Any) -> None:
    frames = [np.ones((2, 3), np.float32), np.full((2, 3), 5, np.float32)]
    frames[1][0, 0] = np.nan
    got = combine(frames, method="mean", weights=[0.0, 1.0], kernel=kernel)
    assert got.count is not None
    assert got.mask is not None
    assert got.count.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert got.mask.tolist() == [[int(PixelFlag.NO_DATA), 0, 0], [0, 0, 0]]
    assert got.uncertainty is not None
    assert np.isnan(got.uncertainty).all()  # one value has no scatter
    np.testing.assert_array_equal(got.result, [[np.nan, 5, 5], [5, 5, 5]])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", ["mean", "median", "sum"])
def test_own_uncertainties_are_propagated(method: str, kernel: Any) -> None:
    frames, sigmas = noisy(5)
    sources = [ArraySource(data=f, uncertainty=s) for f, s in zip(frames, sigmas, strict=True)]
    got = combine(sources, method=method, kernel=kernel)
    good = np.isfinite(np.stack(frames))
    total = np.sqrt(np.where(good, np.stack(sigmas).astype(float) ** 2, 0).sum(0))
    n = good.sum(0)
    factor = {"mean": 1 / n, "sum": np.ones(n.shape), "median": np.sqrt(np.vectorize(median_variance)(n)) / n}[method]
    assert got.uncertainty is not None
    np.testing.assert_allclose(got.uncertainty, total * factor, rtol=1e-6)
    plain = combine(frames, method=method, kernel=kernel)
    np.testing.assert_array_equal(got.result, plain.result)


@pytest.mark.parametrize("kernel", KERNELS)
def test_inverse_variance_by_pixel_and_by_frame(kernel: Any) -> None:
    frames, sigmas = noisy(4)
    sigmas[2][0, 0], sigmas[1][1, 1] = 0, np.nan
    sources = [ArraySource(data=f, uncertainty=s) for f, s in zip(frames, sigmas, strict=True)]
    got = combine(sources, method="weighted_mean", weights="inverse_variance", kernel=kernel)
    good = np.isfinite(np.stack(frames)) & (np.nan_to_num(np.stack(sigmas)) > 0)
    w = np.where(good, 1 / np.where(good, np.stack(sigmas).astype(float), 1) ** 2, 0)
    mean = (w * np.nan_to_num(np.stack(frames))).sum(0) / w.sum(0)
    np.testing.assert_allclose(got.result, mean, rtol=1e-6)
    assert got.uncertainty is not None
    np.testing.assert_allclose(got.uncertainty, 1 / np.sqrt(w.sum(0)), rtol=1e-6)
    by_frame = combine(frames, method="mean", weights="inverse_variance")
    assert by_frame.frames[1].weight == pytest.approx(1 / np.nanvar(frames[1].astype(float)))


def test_weights_by_level_and_exposure() -> None:
    frames = [np.full((3, 4), value, np.uint16) for value in (10, 30)]
    for name in ("mean", "median", "sum"):
        assert combine(frames, method="mean", weights=name).result[0, 0] == pytest.approx((100 + 900) / 40)
    timed = [ArraySource(data=f, exposure_s=t) for f, t in zip(frames, (1.0, 4.0), strict=True)]
    assert combine(timed, method="mean", weights="exposure").result[0, 0] == pytest.approx((10 + 120) / 5)


def test_ties_at_a_bound_share_what_is_left() -> None:
    """Of 5, 5, 7, 9 the lowest goes: either of the fives, so each counts half, and with its own weight."""
    frames = [np.full((1, 1), value, np.float32) for value in (5, 5, 7, 9)]
    got = combine(frames, method="mean", weights=[1, 3, 1, 1], clip=DropExtremes(low=1))
    assert got.result[0, 0] == pytest.approx((0.5 * 1 * 5 + 0.5 * 3 * 5 + 7 + 9) / (0.5 * 1 + 0.5 * 3 + 2))
    assert got.count is not None
    assert got.count[0, 0] == 3


@given(values=st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=60), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_exact_sums_do_not_depend_on_order(values: list[float], seed: int) -> None:
    terms = [np.array([value]) for value in values]
    shuffled = [terms[i] for i in np.random.default_rng(seed).permutation(len(terms))]
    assert exact_sum(terms)[0] == exact_sum(shuffled)[0]
    true = float(sum(map(Fraction, values), Fraction(0)))
    assert exact_sum(terms)[0] == pytest.approx(true, abs=max(map(abs, values)) * len(values) ** 2 * 2.0**-50)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    clip=st.sampled_from([None, SigmaClip(low=1.5, high=2), DropExtremes(low=1, high=2)]),
    weights=st.sampled_from([None, "inverse_variance", "given"]),
)
def test_order_and_kernel_do_not_matter(seed: int, clip: Clip | None, weights: str | None) -> None:
    rng = np.random.default_rng(seed)
    frames, sigmas = noisy(8, (11, 90), seed)
    frames = [np.round(frame / 8) for frame in frames] if seed % 2 else frames
    sources = [ArraySource(data=f, uncertainty=s) for f, s in zip(frames, sigmas, strict=True)]
    given_weights = rng.uniform(0, 2, 8).tolist()
    order = rng.permutation(8).tolist()
    some: Any = given_weights if weights == "given" else weights
    other: Any = [given_weights[i] for i in order] if weights == "given" else weights
    one = combine(sources, method="mean", clip=clip, weights=some, threads=1, kernel="numpy")
    two = combine([sources[i] for i in order], method="mean", clip=clip, weights=other, memory_bytes=1 << 14)
    for plane in ("result", "uncertainty", "count", "mask"):
        np.testing.assert_array_equal(getattr(one, plane), getattr(two, plane))


@pytest.mark.skipif(library() is None, reason="no C compiler here")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["u1", ">i2", "u2", "i4", "f4", ">f4", "f8"]),
    method=st.sampled_from(["mean", "median", "sum", "min", "std", "inverse_variance", "given"]),
    clip=st.sampled_from([None, SigmaClip(low=1.5, high=2), SigmaClip(iterations=1), DropExtremes(low=1), DropExtremes(low=1, high=1)]),
    n=st.integers(3, 40),
)
def test_frames_with_errors_of_their_own_and_weights_go_through_the_kernel(
    seed: int, dtype: str, method: str, clip: Clip | None, n: int
) -> None:
    rng = np.random.default_rng(seed)
    shape, sources = (int(rng.integers(1, 12)), int(rng.integers(1, 80))), []
    for _ in range(n):
        data = np.clip(np.round(rng.normal(100, 8, shape) * 10.0 ** int(rng.integers(0, 2))), 0, 250).astype(dtype)
        if data.dtype.kind == "f":
            data[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -1e30, 3e38, 0.0])
        sigma = rng.uniform(0.5, 3, shape).astype(np.float32)
        sigma[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, 0.0, -1.0, 1e-20])
        mask = (rng.random(shape) < rng.choice([0.0, 0.3, 0.9])).astype(np.uint16)
        sources.append(ArraySource(data=data, uncertainty=None if method == "given" else sigma, mask=mask, saturation=240))
    weights: Any = {"given": rng.uniform(0.1, 2, n).tolist(), "inverse_variance": "inverse_variance"}.get(method)
    options: dict[str, Any] = {"method": "mean" if weights is not None else method, "clip": clip, "weights": weights}
    options |= {"dtype": "f8" if seed % 2 else "f4", "memory_bytes": 1 << 16, "threads": 1 + seed % 2}
    with patch.object(native, "combine_images", wraps=native.combine_images) as kernel:
        usual = combine(sources, **options)
    assert kernel.called
    plain = combine(sources, kernel="numpy", **options)
    for plane in ("result", "uncertainty", "count", "mask"):
        np.testing.assert_array_equal(getattr(plain, plane), getattr(usual, plane))


def test_weights_that_cannot_be_are_refused() -> None:
    frames = [np.zeros((2, 2), np.uint16)] * 2
    mistakes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"weights": [1]}, Refused, "1 weights for 2 frames"),
        ({"weights": [0, 0]}, Refused, "not all 0"),
        ({"weights": [1, -1]}, Refused, "at least 0"),
        ({"weights": "size"}, Refused, "no weights by 'size'"),
        ({"weights": "exposure"}, RejectedInput, "no exposure time"),
        ({"weights": "inverse_variance"}, RejectedInput, "all its pixels are equal"),
        ({"weights": [1, 1], "method": "median"}, Refused, "go with a mean"),
        ({"method": "weighted_mean"}, Refused, "needs weights"),
    ]
    for options, kind, words in mistakes:
        with pytest.raises(kind, match=words):
            combine(frames, **{"method": "mean", **options})
    with pytest.raises(Refused, match="frame 2: has no uncertainty"):
        combine([ArraySource(data=frames[0], uncertainty=np.ones((2, 2))), frames[1]])


@pytest.mark.parametrize("kernel", KERNELS)
def test_own_uncertainties_are_scaled_with_their_frames(kernel: Any) -> None:
    levels, errors, flat = (10.0, 20.0), (1.0, 2.0), np.full((4, 5), -0.5, np.float32)
    planes = [[np.full((4, 5), value, np.float32) for value in pair] for pair in zip(levels, errors, strict=True)]
    sources = [ArraySource(data=data, uncertainty=sigma) for data, sigma in planes]
    level = combine(sources, method="mean", normalise=Normalise(statistic="mean", reference="first"), kernel=kernel)
    assert level.uncertainty is not None
    np.testing.assert_allclose(level.uncertainty, np.sqrt(1 + 1) / 2, rtol=1e-6)
    given = [FrameCalibration(scale=4.0, shift=3.0), FrameCalibration(divide=flat)]
    for method, truth in (("mean", np.sqrt(16 + 16) / 2), ("sum", np.sqrt(32))):
        got = combine(sources, method=method, per_frame=given, kernel=kernel)
        assert got.uncertainty is not None
        np.testing.assert_allclose(got.uncertainty, truth, rtol=1e-6)
    by_sigma = combine(sources, method="mean", weights="inverse_variance", per_frame=[FrameCalibration(scale=4.0), None], kernel=kernel)
    np.testing.assert_allclose(by_sigma.result, (40 / 16 + 20 / 4) / (1 / 16 + 1 / 4), rtol=1e-6)
    np.testing.assert_array_equal(planes[0][1], 1.0)  # what was given stays as it is


def test_frames_that_give_no_weight_are_named() -> None:
    plain, dark = np.full((3, 4), 5.0, np.float32), np.full((3, 4), -5.0, np.float32)
    with pytest.raises(RejectedInput, match="frame 2: its mean is -5, and a weight cannot be below 0"):
        combine([plain, dark], method="mean", weights="mean")
    with pytest.raises(RejectedInput, match="frame 2: has no exposure time"):
        combine([ArraySource(data=plain, exposure_s=1.0), ArraySource(data=plain, exposure_s=0.0)], method="mean", weights="exposure")


@pytest.mark.parametrize("q", [0.1, 0.2, 0.75])
def test_the_error_of_a_quantile_is_that_of_normal_noise(q: float) -> None:
    factors = error_factors(rule("quantile", quantile=q), 6)
    assert factors[6] == pytest.approx(np.sqrt(q * (1 - q)) / norm.pdf(norm.ppf(q)))
