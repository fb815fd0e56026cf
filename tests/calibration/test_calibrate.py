"""Calibrating a light: the formula, its flags, its variance, and both kernels alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.calibration import calibrate
from nightcrew.calibration.calibrate import LightNumbers, LightPlanes, calibrate_light
from nightcrew.calibration.kernels.library import library
from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.images import ImageFile

KERNELS = ["numpy", pytest.param("c", marks=pytest.mark.skipif(library() is None, reason="no C compiler here"))]
SHAPE = (50, 60)


def plane(value: float) -> Any:
    return np.full(SHAPE, value, np.float32)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_algebra(kernel: str) -> None:
    """(5000 - 10 - 300 - 2 * 45) * 1.5 / 0.8, and its variance from the same numbers."""
    planes = LightPlanes(
        bias=plane(300), bias_uncertainty=plane(2), dark=plane(45), dark_uncertainty=plane(3), flat=plane(0.8), flat_uncertainty=plane(0.01)
    )
    numbers = LightNumbers(gain_e_per_adu=1.5, read_variance_e2=49, dark_factor=2, bias_share=0.5)
    raw = np.full(SHAPE, 5000, np.uint16)
    got = calibrate_light(raw, planes, numbers, pedestal=np.full(SHAPE[0], 10.0), kernel=kernel)
    light = 4600 * 1.5 / 0.8
    np.testing.assert_allclose(got.science, light, rtol=1e-6)
    fixed = 49 + 1.5 * 2 * 45 + 0.5 * 2.25 * 4 + 4 * 2.25 * 9
    np.testing.assert_allclose(got.uncertainty**2, (fixed + 0.8 * light) / 0.64 + (light * 0.01 / 0.8) ** 2, rtol=1e-6)
    assert not got.mask.any()


def test_blank_integers_of_a_file_are_no_data(tmp_path: Path) -> None:
    raw = fits.PrimaryHDU(np.full(SHAPE, 1000, np.int16))
    raw.data[3, 4], raw.header["BLANK"] = -1, -1
    raw.writeto(tmp_path / "blank.fits")
    rows: dict[int, Any] = {}
    calibrator = calibrate.LightCalibrator(SHAPE, LightPlanes(bias=plane(100)), LightNumbers(read_variance_e2=25))
    with ImageFile(tmp_path / "blank.fits") as image:
        calibrate.calibrate_to(lambda y0, part: rows.update({y0: (part.science.copy(), part.mask.copy())}), image, calibrator)
    science, mask = (np.concatenate([rows[y0][i] for y0 in sorted(rows)]) for i in range(2))
    assert int(mask[3, 4]) == PixelFlag.NO_DATA
    assert np.isnan(science[3, 4])
    assert np.count_nonzero(mask) == 1
    assert (np.delete(science.ravel(), 3 * SHAPE[1] + 4) == 900).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_flags_say_what_is_wrong(kernel: str) -> None:
    raw, flat, bias = np.full(SHAPE, 1000.0, np.float32), plane(1), plane(100)
    hot = np.zeros(SHAPE, np.uint16)
    raw[1, 1], raw[2, 2], flat[3, 3], flat[4, 4], bias[5, 5], hot[6, 6] = 60000, np.nan, 0, np.nan, np.nan, PixelFlag.HOT
    cold = hot[::-1].copy()
    numbers = LightNumbers(read_variance_e2=25, saturation_adu=60000)
    got = calibrate_light(raw, LightPlanes(bias=bias, flat=flat, masks=[hot, cold]), numbers, kernel=kernel)
    bad_flat, none = PixelFlag.BAD_FLAT | PixelFlag.NO_DATA, PixelFlag.NO_DATA
    places = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (43, 6))
    assert [int(got.mask[p]) for p in places] == [PixelFlag.SATURATED, none, bad_flat, bad_flat, none, PixelFlag.HOT, PixelFlag.HOT]
    assert (got.mask != 0).sum() == 7
    lost = (got.mask & none) != 0
    assert np.isnan(got.science[lost]).all()
    assert np.isnan(got.uncertainty[lost]).all()
    assert np.isfinite(got.uncertainty[~lost]).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_variance_comes_from_expected_counts(kernel: str) -> None:
    """Pulls do not correlate with the pixel's own noise, and the mean variance is the true one."""
    rng = np.random.default_rng(6)
    truth = np.linspace(15, 60, 400)[None, :] * np.ones((400, 1))
    raw = (rng.poisson(truth) + rng.normal(0, 3, truth.shape)) / 2.0 + 200
    got = calibrate_light(
        raw.astype(np.float32),
        LightPlanes(bias=np.full(truth.shape, 200)),
        LightNumbers(gain_e_per_adu=2, read_variance_e2=9),
        kernel=kernel,
    )
    variance = got.uncertainty.astype(float) ** 2
    assert variance.mean() == pytest.approx((truth + 9).mean(), rel=0.01)
    weights = 1 / variance
    pull = (got.science - truth) / got.uncertainty
    assert abs(float((weights * (got.science - truth)).sum() / weights.sum())) < 0.1
    assert float(pull.std()) == pytest.approx(1, abs=0.02)
    own = calibrate_light(
        raw.astype(np.float32),
        LightPlanes(bias=np.full(truth.shape, 200)),
        LightNumbers(gain_e_per_adu=2, read_variance_e2=9, box=1),
        kernel=kernel,
    )
    biased = 1 / own.uncertainty.astype(float) ** 2
    assert float((biased * (own.science - truth)).sum() / biased.sum()) < -0.5


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_star_keeps_its_own_variance(kernel: str) -> None:
    raw = np.full(SHAPE, 100.0, np.float32)
    raw[20, 20] = 50000
    got = calibrate_light(raw, LightPlanes(), LightNumbers(read_variance_e2=10), kernel=kernel)
    assert got.uncertainty[20, 20] ** 2 == pytest.approx(50010, rel=1e-6)
    assert got.uncertainty[40, 40] ** 2 == pytest.approx(110, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["u2", ">u2", ">i2", "i4", "f4", ">f4", "f8"]),
    box=st.sampled_from([1, 3, 5, 9]),
    threads=st.sampled_from([1, 2, 3]),
)
@pytest.mark.skipif(library() is None, reason="no C compiler here")
def test_both_kernels_and_any_number_of_threads_give_the_same_bytes(seed: int, dtype: str, box: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    big = (int(rng.integers(1, 50)), int(rng.integers(1, 60)))
    raw = rng.normal(3000, 60, big).astype(dtype)[big[0] // 4 :, big[1] // 5 :]
    some: dict[str, Any] = {}
    for name, level in (
        ("bias", 300),
        ("dark", 20),
        ("flat", 1),
        ("bias_uncertainty", 2),
        ("dark_uncertainty", 1),
        ("flat_uncertainty", 0.01),
    ):
        if rng.random() < 0.7:
            some[name] = rng.normal(level, 0.2 * level, raw.shape)
            some[name][rng.random(raw.shape) < 0.02] = rng.choice([0, np.nan])
    masks = [(rng.random(raw.shape) < 0.05).astype(np.uint16) * 4 for _ in range(int(rng.integers(0, 7)))]
    planes = LightPlanes(**some, dark_zero=some.get("bias"), masks=masks)
    numbers = LightNumbers(gain_e_per_adu=1.7, read_variance_e2=30, dark_factor=0.3, box=box, saturation_adu=3150, photons=bool(seed % 3))
    pedestal = rng.normal(5, 1, (raw.shape[0],))
    plain = calibrate_light(raw, planes, numbers, zero=seed % 2, pedestal=pedestal, kernel="numpy")
    compiled = calibrate_light(raw, planes, numbers, zero=seed % 2, pedestal=pedestal, threads=threads, kernel="c")
    for name in ("science", "uncertainty", "mask"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(compiled, name))


def test_what_does_not_fit_is_refused() -> None:
    raw = np.zeros(SHAPE, np.uint16)
    with pytest.raises(RejectedInput, match="dark uncertainty"):
        calibrate_light(raw, LightPlanes(dark_uncertainty=np.zeros((2, 2))), LightNumbers())
    with pytest.raises(RejectedInput, match="real numbers"):
        calibrate_light(raw[None], LightPlanes(), LightNumbers())
    with pytest.raises(RejectedInput, match="pedestals"):
        calibrate_light(raw, LightPlanes(), LightNumbers(), pedestal=np.zeros(3))
    with pytest.raises(Refused, match="odd side"):
        calibrate_light(raw, LightPlanes(), LightNumbers(box=4))
    with pytest.raises(Refused, match="make no sense"):
        calibrate_light(raw, LightPlanes(), LightNumbers(gain_e_per_adu=0))


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_given_away_equal_the_whole(kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "SLAB_PIXELS", 7 * SHAPE[1])
    rng = np.random.default_rng(1)
    raw = rng.normal(3000, 50, SHAPE).astype(np.uint16)
    fits.PrimaryHDU(raw).writeto(tmp_path / "light.fits")
    planes, numbers = LightPlanes(bias=rng.normal(300, 2, SHAPE), flat=rng.normal(1, 0.01, SHAPE)), LightNumbers(read_variance_e2=9)
    want = calibrate_light(raw, planes, numbers, kernel=kernel, pedestal=np.arange(float(SHAPE[0])))
    seen: dict[int, list[Any]] = {}
    calibrator = calibrate.LightCalibrator(SHAPE, planes, numbers, kernel=kernel, pedestal=np.arange(float(SHAPE[0])))

    def sink(y0: int, rows: calibrate.CalibratedLight) -> None:
        seen[y0] = [rows.science.copy(), rows.uncertainty.copy(), rows.mask.copy()]

    with ImageFile(tmp_path / "light.fits") as image:
        calibrate.calibrate_to(sink, image, calibrator)
    assert len(seen) == 8
    for i, plane in enumerate((want.science, want.uncertainty, want.mask)):
        np.testing.assert_array_equal(np.concatenate([seen[y0][i] for y0 in sorted(seen)]), plane)
    with pytest.raises(RejectedInput, match="are needed"):
        calibrator.fill(raw[:10], 0, 5, 10, calibrator.empty(5))


@pytest.mark.parametrize("kernel", KERNELS)
def test_where_the_light_is_negative_a_quarter_of_the_fixed_variance_is_left(kernel: str) -> None:
    """-20 electrons and a read noise of 4: 16 - 20 would be no variance."""
    got = calibrate_light(np.full(SHAPE, 80, np.uint16), LightPlanes(bias=plane(100)), LightNumbers(read_variance_e2=16), kernel=kernel)
    np.testing.assert_allclose(got.uncertainty, np.sqrt(0.25 * 16), rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"gain_e_per_adu": 0.0}, {"gain_e_per_adu": np.nan}, {"read_variance_e2": -0.5}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refused, match="make no sense"):
        calibrate_light(plane(1), LightPlanes(), LightNumbers(**wrong))  # type: ignore[arg-type]  # some of the numbers
