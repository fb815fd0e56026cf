"""Light curves, spectra and histograms are the sums that brute force gives, with gaps, masks and dead time in the exposure."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.cube_bins import constant_wavelength, time_edges
from nightcrew.mkid.lightcurve import aperture, bad_stretches, exposure_of, light_curve
from nightcrew.mkid.spectra import spectrum
from nightcrew.mkid.timing import binned_counts, count_histogram, interval_histogram
from tests.mkid.made_tables import START_US, beam_map, linear_solution
from tests.mkid.test_image_cube import SPAN_US, brute_force, calibrations, random_table, silences_of

MAP = beam_map()


def opened_with_silences(path: Path, seed: int) -> CalibratedTable:
    """A table of three boards, two of which fall silent in every second one."""
    return open_calibrated(random_table(path, seed, silences=silences_of(seed) if seed % 2 else None), calibrations(seed))


@given(seed=st.integers(0, 2**31), step=st.sampled_from([1_000_000, 333_333]), window=st.sampled_from([None, (800.0, 1200.0)]))
@settings(max_examples=12, deadline=None)
def test_light_curves_and_spectra_are_what_brute_force_gives(seed: int, step: int, window: tuple[float, float] | None) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.choice(20, 3, replace=False).tolist()
    edges, bins = time_edges(500_000, 9_000_000, step), constant_wavelength(800, 1200, 100)
    with tempfile.TemporaryDirectory() as folder, opened_with_silences(Path(folder) / "t.h5", seed) as opened:
        curve = light_curve(opened, pixels, edges, window)
        one_bin = None if window is None else constant_wavelength(window[0], window[1], window[1] - window[0])
        expected = {
            name: values.reshape(*values.shape[: values.ndim - 2], -1) for name, values in brute_force(opened, edges, one_bin).items()
        }
        assert curve.counts.tolist() == expected["counts"][:, 0][:, pixels].sum(axis=1).tolist()
        with np.errstate(invalid="ignore", divide="ignore"):
            exposure = np.where(expected["exposure_s"] > 1e-9, expected["exposure_s"], np.nan)[:, pixels]
            rate = (expected["weighted"][:, 0][:, pixels] / exposure).sum(axis=1)
        assert curve.rate_cps == pytest.approx(rate, rel=1e-9, nan_ok=True)
        assert curve.exposure_s == pytest.approx(expected["exposure_s"][:, pixels].sum(axis=1), abs=1e-9)
        found = spectrum(opened, pixels, 500_000, 9_000_000, bins)
        whole = brute_force(opened, np.array([500_000, 9_000_000]), bins)
        flat = {name: values.reshape(*values.shape[:-2], -1)[..., pixels] for name, values in whole.items()}
        assert found.counts.tolist() == flat["counts"][0].sum(axis=1).tolist()
        seen_s = np.where(flat["exposure_s"][0] > 1e-9, flat["exposure_s"][0], np.nan)  # a pixel that never counted has no rate
        assert found.rate_cps == pytest.approx((flat["weighted"][0] / seen_s).sum(axis=1), rel=1e-9, nan_ok=True)
        assert found.rate_error_cps == pytest.approx(np.sqrt((flat["variance"][0] / seen_s**2).sum(axis=1)), rel=1e-9, nan_ok=True)


@given(stretches=st.lists(st.tuples(st.integers(-50, 300), st.integers(1, 40)), max_size=8), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_exposure_of_steps_is_what_counting_microseconds_gives(stretches: list[tuple[int, int]], seed: int) -> None:
    from nightcrew.mkid.live_time import joined

    bad = joined(np.array([(a, a + b) for a, b in stretches], dtype=np.int64).reshape(-1, 2))
    edges = np.sort(np.random.default_rng(seed).choice(250, 6, replace=False)).astype(np.int64)
    seen = np.ones(500, dtype=bool)
    for low, high in bad.tolist():
        seen[max(low + 100, 0) : high + 100] = False
    expected = [seen[a + 100 : b + 100].sum() for a, b in itertools.pairwise(edges)]
    assert exposure_of(edges, bad) * 1e6 == pytest.approx(expected)


def test_a_step_in_which_a_pixel_did_not_count_has_no_rate(tmp_path: Path) -> None:
    with open_calibrated(random_table(tmp_path / "t.h5", 1), []) as opened:
        curve = light_curve(opened, [0, 1], time_edges(0, SPAN_US, 1_000_000))
    assert np.isnan(curve.rate_cps).tolist() == [False] * 7 + [True] + [False] * 2  # the eighth second is missing
    assert curve.middle_unix_s[0] == START_US / 1e6 + 0.5


def test_binned_counts_are_masked_where_a_stretch_touches(tmp_path: Path) -> None:
    with open_calibrated(random_table(tmp_path / "t.h5", 2), calibrations(4)) as opened:
        bad = [bad_stretches(opened, pixel) for pixel in range(20)]
        photons = opened.photons()
        counts = binned_counts(photons, 20, (0, SPAN_US), 70_000, bad)
        assert counts.shape == (20, SPAN_US // 70_000)
        for pixel, n in itertools.product((0, 7), range(counts.shape[1])):
            low, high = n * 70_000, (n + 1) * 70_000
            touched = any(a < high and b > low for a, b in bad[pixel].tolist())
            inside = (photons.pixel == pixel) & (photons.time_us >= low) & (photons.time_us < high)
            assert counts[pixel, n] == (-1 if touched else int(inside.sum()))


def test_histograms_of_steady_light_are_poisson() -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(4.0, 20_000)
    found = count_histogram(np.append(counts, -1), np.array([4.0, 0.0, 0.0]))
    assert found.bins.sum() == 20_000
    assert (np.abs(found.bins - found.poisson) < 5 * np.sqrt(found.poisson + 1)).all()
    assert found.rician == pytest.approx(found.poisson, rel=0.1, abs=1)
    assert np.isnan(count_histogram(counts, None).rician).all()
    apart = interval_histogram(1e-5 + rng.exponential(0.01, 50_000), 1e-5, np.array([100.0, 0.0, 0.0]))
    assert apart.counts.sum() == 50_000
    assert (np.abs(apart.counts - apart.poisson) < 5 * np.sqrt(apart.poisson + 1)).all()
    assert apart.rician == pytest.approx(apart.poisson, rel=0.05, abs=5)
    assert interval_histogram(np.empty(0), 1e-5, None).counts.sum() == 0


def test_apertures_hold_the_pixels_whose_centres_are_inside() -> None:
    assert aperture((4, 5), 2, 1) == [7]
    assert aperture((4, 5), 2, 1, 1.0) == [2, 6, 7, 8, 12]
    usable = np.ones((4, 5), dtype=bool)
    usable[1, 2] = False
    assert 7 not in aperture((4, 5), 2, 1, 1.0, usable=usable)
    with pytest.raises(Refused, match="flagged"):
        aperture((4, 5), 2, 1, usable=usable)
    with pytest.raises(Refused, match="5 x 4 pixels"):
        aperture((4, 5), 9, 1)


def test_wavelengths_need_a_solution(tmp_path: Path) -> None:
    with open_calibrated(random_table(tmp_path / "t.h5", 1), []) as opened:
        with pytest.raises(MissingCalibration):
            light_curve(opened, [0], time_edges(0, 100), (800.0, 900.0))
        with pytest.raises(MissingCalibration):
            spectrum(opened, [0], 0, 100, constant_wavelength(800, 900, 50))
    with open_calibrated(tmp_path / "t.h5", Calibrations(wavelength=linear_solution(MAP, bad=[0]))) as opened:
        found = spectrum(opened, [0], 0, SPAN_US, constant_wavelength(800, 900, 50))
        assert found.without_wavelength == opened.table.counts()[0, 0]
