"""The dark line: test vectors of the specification, and errors against numpy and Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import MissingCalibration, RejectedInput
from nightcrew.tools.darkline import DarkLine, LineErrors, fit_dark_line

README = fit_dark_line([60.0, 120.0, 180.0], [11.8, 17.8, 23.6])


def test_readme_line_with_both_kinds_of_error() -> None:
    assert README.offset_adu == pytest.approx(5.9333, abs=5e-5)
    assert README.slope_adu_per_s == pytest.approx(0.09833, abs=5e-6)
    assert README.offset_errors.unit == pytest.approx(1.5275, abs=5e-5)
    assert README.slope_errors.unit == pytest.approx(0.01179, abs=5e-6)
    assert README.offset_errors.scatter == pytest.approx(0.125, abs=5e-4)
    assert README.slope_errors.scatter == pytest.approx(0.00096, abs=5e-6)


@pytest.mark.parametrize(
    ("exposure_s", "factor"), [(1, 0.25480), (2, 0.25896), (5, 0.27145), (10, 0.29227), (60, 0.50042), (120, 0.75021), (180, 1.0)]
)
def test_scale_factors_of_the_readme_at_full_precision(exposure_s: float, factor: float) -> None:
    none = LineErrors(unit=0.0, scatter=None, noise=None)
    line = DarkLine(offset_adu=5.9, slope_adu_per_s=0.098, offset_errors=none, slope_errors=none, n_points=3)
    assert line.factor(exposure_s, 180) == pytest.approx(factor, abs=5e-6)


def test_errors_agree_with_numpy() -> None:
    t, y = np.array([1.0, 2.0, 5.0, 9.0]), np.array([3.0, 3.5, 7.0, 9.0])
    line = fit_dark_line(t.tolist(), y.tolist())
    (slope, offset), covariance = np.polyfit(t, y, 1, cov=True)
    assert (line.slope_adu_per_s, line.offset_adu) == pytest.approx((slope, offset))
    assert (line.slope_errors.scatter, line.offset_errors.scatter) == pytest.approx(tuple(np.sqrt(np.diag(covariance))))


def test_noise_errors_agree_with_monte_carlo() -> None:
    t, noise = np.array([10.0, 60.0, 120.0, 300.0]), np.array([0.1, 0.2, 0.1, 0.5])
    drawn = 3 + 0.2 * t + np.random.default_rng(2).normal(0, noise, (20_000, 4))
    fits = np.polyfit(t, drawn.T, 1)
    line = fit_dark_line(t.tolist(), (3 + 0.2 * t).tolist(), noise.tolist())
    assert line.slope_errors.noise == pytest.approx(fits[0].std(), rel=0.03)
    assert line.offset_errors.noise == pytest.approx(fits[1].std(), rel=0.03)
    assert line.slope_errors.adopted == pytest.approx(line.slope_errors.noise)  # an exact line has no scatter


def test_two_points_have_no_scatter() -> None:
    line = fit_dark_line([10, 20], [1, 2])
    assert line.slope_errors.scatter is None
    assert line.slope_errors.adopted is None


def test_what_is_no_line() -> None:
    with pytest.raises(MissingCalibration, match="two exposures or more, there are 1"):
        fit_dark_line([60, 60], [1, 2])
    with pytest.raises(RejectedInput, match="not numbers"):
        fit_dark_line([60, 70], [1, float("nan")])
    with pytest.raises(RejectedInput, match="cannot be scaled"):
        fit_dark_line([60, 120], [-1, 5]).factor(10, 120)


@settings(max_examples=40, deadline=None)
@given(st.floats(-50, 50), st.floats(0.001, 10), st.lists(st.integers(1, 1000), min_size=2, max_size=8, unique=True))
def test_an_exact_line_is_found(offset: float, slope: float, exposures: list[int]) -> None:
    line = fit_dark_line(exposures, [offset + slope * t for t in exposures])
    assert line.slope_adu_per_s == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert line.offset_adu == pytest.approx(offset, rel=1e-6, abs=1e-6)
