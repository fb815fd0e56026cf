"""Flat fields against known sensitivities: pulls, trimming, masks, dark, rate cut, laser flats, and flat on flat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.flat_cubes import FlatInput, chunks_of, energy_bins_nm
from nightcrew.mkid.flat_fit import FlatPolynomials, without_negative
from nightcrew.mkid.flat_solution import own_ranges_nm, read_flat_solution
from nightcrew.mkid.flatcal import BELOW, INFINITE, FlatOptions, flat_field
from nightcrew.mkid.mask_solution import DEAD, PixelMasks
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table

SHAPE = (6, 10)
N = 60
MAP = beam_map(SHAPE)
OPTIONS = FlatOptions(chunk_s=5, most_s=30, energy_bin_ev=0.05, low_nm=850, high_nm=1350, degree=2)
Floats = NDArray[np.float64]


def calibrations() -> Calibrations:
    solution = linear_solution(MAP)
    lasers = solution.wavelengths_nm.size
    known = np.full((lasers, *SHAPE), 8.0)
    solution = replace(solution, wavelengths_nm=np.array([850.0, 1100.0, 1375.0]), resolution=known, resolution_error=known * 0.01)
    return Calibrations(wavelength=solution)


def sensitivity(seed: int = 3) -> tuple[Floats, Floats]:
    """Sensitivity of pixel p at wavelength nm: a_p + b_p (nm - 1100) / 250; pixel 7 is blind."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 1.0, N)
    level[7] = 0.0
    return level, level * rng.normal(0, 0.1, N)


def at(nm: Floats) -> Floats:
    """[pixel, wavelength]."""
    level, tilt = sensitivity()
    value: Floats = level[:, None] + tilt[:, None] * (nm - 1100) / 250
    return value


def white(path: Path, *, rate_cps: float = 400.0, seed: int = 1, dark_cps: float = 0.0, burst: tuple[int, int, int] | None = None) -> Path:
    """30 s of light that is even in energy; ``burst`` (pixel, second, photons) are more photons in one pixel."""
    rng = np.random.default_rng(seed)
    pixel = np.repeat(np.arange(N), rng.poisson(rate_cps * 30, N))
    energy = rng.uniform(HC_EV_NM / 1400, HC_EV_NM / 800, pixel.size)
    level, tilt = sensitivity()
    keep = rng.random(pixel.size) < level[pixel] + tilt[pixel] * (HC_EV_NM / energy - 1100) / 250
    dark = np.repeat(np.arange(N), rng.poisson(dark_cps * 30, N))
    pixel, energy = np.concatenate([pixel[keep], dark]), np.concatenate([energy[keep], rng.uniform(0.9, 1.5, dark.size)])
    time_us = rng.integers(0, 30_000_000, pixel.size)
    if burst is not None:
        pixel = np.append(pixel, np.full(burst[2], burst[0]))
        energy = np.append(energy, rng.uniform(0.92, 1.45, burst[2]))
        time_us = np.append(time_us, burst[1] * 1_000_000 + rng.integers(0, 1_000_000, burst[2]))
    return table(path, MAP, pixel, time_us, -energy / 0.02, duration_s=30.0, dead_time_us=0.0)


def test_a_board_that_is_silent_for_a_part_of_a_flat_costs_photons_only(tmp_path: Path) -> None:
    """Half of the array is read by board 2, silent for a chunk of 5 s and a part of the next."""
    whole = white(tmp_path / "whole.h5", rate_cps=200.0)
    with PhotonTable(whole) as opened:
        photons = opened.read()
    silent = (photons.pixel >= 30) & (photons.time_us >= 10_000_000) & (photons.time_us < 17_000_000)
    board = np.where(np.arange(N) >= 30, 2, 1).astype(np.int16).reshape(SHAPE)
    rows = [(START_US + 10_000_000, START_US + 17_000_000)]
    part = table(
        tmp_path / "part.h5",
        MAP,
        photons.pixel[~silent].astype(np.int64),
        photons.time_us[~silent],
        photons.phase_deg[~silent].astype(np.float64),
        duration_s=30.0,
        silences=Silences.of(board, {2: rows}),
        dead_time_us=0.0,
    )
    edges = START_US + np.array([0, 10_000_000, 17_000_000, 30_000_000])
    bits = np.stack([np.zeros(SHAPE, np.uint8), np.where(board == 2, DEAD, np.uint8(0)), np.zeros(SHAPE, np.uint8)]).astype(np.uint8)
    masked = replace(calibrations(), masks=PixelMasks(edges_us=edges, resid=MAP.resid, bits=bits))
    found = flat_field([FlatInput(table=part)], calibrations(), OPTIONS)
    expected = flat_field([FlatInput(table=whole)], masked, OPTIONS)  # the same photons and exposures
    assert np.array_equal(found.weights, expected.weights, equal_nan=True)
    assert np.array_equal(found.weight_error, expected.weight_error, equal_nan=True)
    every = flat_field([FlatInput(table=whole)], calibrations(), OPTIONS)
    ratio = (found.weight_error / every.weight_error).reshape(len(found.bins_nm), N)
    assert np.nanmedian(ratio[:, 30:]) == pytest.approx(np.sqrt(30 / 23), rel=0.05)
    assert np.nanmedian(found.weights / every.weights) == pytest.approx(1, abs=0.01)


def truth(bins: Floats) -> Floats:
    """Weights [bin, pixel] with the median of the pixels that see at 1."""
    value = at(bins.mean(axis=1)).T
    seeing = np.delete(1 / np.where(value > 0, value, np.nan), 7, axis=1)
    weight: Floats = 1 / np.where(value > 0, value, np.nan) / np.median(seeing, axis=1)[:, None]
    return weight


def test_weights_lie_within_their_errors(tmp_path: Path) -> None:
    found = flat_field([FlatInput(table=white(tmp_path / "a.h5"))], calibrations(), OPTIONS)
    expected = truth(found.bins_nm)
    good = found.good.reshape(len(expected), N)
    pulls = ((found.weights.reshape(-1, N) - expected) / found.weight_error.reshape(-1, N))[good]
    assert pulls.std() == pytest.approx(1, abs=0.1)
    assert abs(pulls.mean()) < 0.3  # the median itself is uncertain by a part of a pixel's error
    assert np.flatnonzero((found.flag.ravel() & f.bit("flatcal.bad")) > 0).tolist() == [7]
    assert (found.weight_flag.reshape(-1, N)[:, 7] == INFINITE).all()
    assert np.isnan(found.weights.reshape(-1, N)[:, 7]).all()
    smooth = found.coefficients.reshape(N, -1)[:, 0]
    assert np.delete(smooth, 7) == pytest.approx(np.delete(np.median(expected, axis=0), 7), rel=0.1)


def test_flat_applied_to_a_flat_is_flat_to_the_photon_noise(tmp_path: Path) -> None:
    flat_field([FlatInput(table=white(tmp_path / "a.h5", rate_cps=1500))], calibrations(), OPTIONS).write(tmp_path / "flat.h5")
    other = white(tmp_path / "b.h5", seed=2)
    flat = read_flat_solution(tmp_path / "flat.h5")
    with open_calibrated(other, replace(calibrations(), flat=flat)) as opened:
        photons = opened.photons()
    inside = (photons.wavelength_nm > 850) & (photons.wavelength_nm < 1350)
    weighted = np.bincount(photons.pixel[inside], photons.weight[inside], N)
    noise = np.sqrt(np.bincount(photons.pixel[inside], photons.weight[inside] ** 2.0, N))
    seeing = np.delete(np.arange(N), 7)
    weighted, noise = weighted[seeing], noise[seeing]
    pulls = (weighted - np.average(weighted, weights=1 / noise**2)) / noise
    assert np.mean(pulls**2) < (1 + 400 / 1500) * (1 + 3 * np.sqrt(2 / seeing.size))


def test_trimmed_outliers_do_not_matter_and_errors_stay_right(tmp_path: Path) -> None:
    options = replace(OPTIONS, trim_fraction=0.2)
    clean = flat_field([FlatInput(table=white(tmp_path / "a.h5"))], calibrations(), options)
    burst = flat_field([FlatInput(table=white(tmp_path / "b.h5", burst=(11, 12, 40_000)))], calibrations(), options)
    assert clean.chunk_trimmed.sum(axis=0)[clean.good].tolist() == [2] * int(clean.good.sum())
    one, other = (found.weights.reshape(-1, N)[:, 11] for found in (clean, burst))
    error = clean.weight_error.reshape(-1, N)[:, 11]
    assert np.abs((one - other) / error).max() < 2.5
    assert burst.chunk_trimmed.reshape(6, -1, N)[2, :, 11].all()
    pulls = ((clean.weights.reshape(-1, N) - truth(clean.bins_nm)) / clean.weight_error.reshape(-1, N))[clean.good.reshape(-1, N)]
    assert pulls.std() == pytest.approx(1, abs=0.1)
    untrimmed = flat_field([FlatInput(table=tmp_path / "b.h5")], calibrations(), OPTIONS)
    assert np.abs((one - untrimmed.weights.reshape(-1, N)[:, 11]) / error).max() > 10


def test_darks_are_taken_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    dark_pixel = np.repeat(np.arange(N), rng.poisson(200.0 * 30, N))
    energy = rng.uniform(0.9, 1.5, dark_pixel.size)
    dark = table(tmp_path / "d.h5", MAP, dark_pixel, rng.integers(0, 30_000_000, dark_pixel.size), -energy / 0.02, duration_s=30.0)
    flat = [FlatInput(table=white(tmp_path / "a.h5", dark_cps=200.0))]
    found = flat_field(flat, calibrations(), OPTIONS, darks=[dark])
    expected = truth(found.bins_nm)
    good = found.good.reshape(-1, N)
    pulls = ((found.weights.reshape(-1, N) - expected) / found.weight_error.reshape(-1, N))[good]
    assert pulls.std() == pytest.approx(1, abs=0.15)
    wrong = flat_field(flat, calibrations(), OPTIONS)
    offset = ((wrong.weights.reshape(-1, N) - expected) / wrong.weight_error.reshape(-1, N))[good]
    assert offset.std() > 2


def test_chunks_that_are_too_bright_are_left_out(tmp_path: Path) -> None:
    path = white(tmp_path / "a.h5")
    with pytest.raises(RejectedInput, match="brighter than 10 photons"):
        flat_field([FlatInput(table=path)], calibrations(), replace(OPTIONS, most_cps=10.0))
    bright = white(tmp_path / "b.h5", rate_cps=1000.0, seed=4)
    found = flat_field([FlatInput(table=path), FlatInput(table=bright)], calibrations(), replace(OPTIONS, most_cps=400.0))
    assert found.chunk_used.tolist() == [True] * 6 + [False] * 6
    alone = flat_field([FlatInput(table=path)], calibrations(), OPTIONS)
    assert np.allclose(found.weights, alone.weights, equal_nan=True)


def test_laser_flats_have_one_bin_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    flats = []
    for nm in (900.0, 1100.0, 1300.0):
        pixel = np.repeat(np.arange(N), rng.poisson(200.0 * 10 * at(np.array([nm]))[:, 0]))
        energy = HC_EV_NM / nm * (1 + 0.01 * rng.standard_normal(pixel.size))
        path = table(tmp_path / f"{nm:g}.h5", MAP, pixel, rng.integers(0, 10_000_000, pixel.size), -energy / 0.02)
        flats.append(FlatInput(table=path, wavelength_nm=nm))
    found = flat_field(flats, calibrations(), replace(OPTIONS, degree=1))
    assert found.centres_nm == pytest.approx([900, 1100, 1300])
    assert found.bins_nm[0] == pytest.approx([900 * (1 - 1 / 16), 900 * (1 + 1 / 16)])
    good = found.good.reshape(3, N)
    pulls = ((found.weights.reshape(3, N) - truth(found.bins_nm)) / found.weight_error.reshape(3, N))[good]
    assert pulls.std() == pytest.approx(1, abs=0.2)
    with pytest.raises(Refused, match="white flats or of laser flats"):
        flat_field([*flats, FlatInput(table=flats[0].table)], calibrations(), OPTIONS)


def test_wavelengths_beyond_the_lasers_are_flagged(tmp_path: Path) -> None:
    found = flat_field([FlatInput(table=white(tmp_path / "a.h5"))], calibrations(), replace(OPTIONS, low_nm=600))
    outside = found.centres_nm < 850 * (1 - 1 / 8)
    assert (found.weight_flag[outside] == BELOW).all()
    assert found.range_nm[0] == pytest.approx(found.centres_nm[found.centres_nm > 780].min())  # there is light from 800 nm on


def test_dead_time_is_put_right_chunk_by_chunk(tmp_path: Path) -> None:
    times = np.arange(4000) * 2500
    with open_calibrated(table(tmp_path / "t.h5", MAP, np.zeros(4000, int), times, -55.0), calibrations()) as opened:
        (chunk,) = chunks_of(opened, np.array([[900.0, 1300.0]]), 10.0, 10.0, 1e-3)
    assert chunk.linearity[0, 0] == pytest.approx(1 / (1 - 0.4))
    assert chunk.rate_cps[0, 0, 0] == pytest.approx(400 / 0.6)


def test_bins_are_of_equal_energy() -> None:
    bins = energy_bins_nm(700, 1500, 0.01)
    assert bins.shape == (int((HC_EV_NM / 700 - HC_EV_NM / 1500) / 0.01), 2)
    assert np.ptp(HC_EV_NM / bins[:, 0] - HC_EV_NM / bins[:, 1]) < 1e-9
    with pytest.raises(Refused, match="less than one bin"):
        energy_bins_nm(1000, 1001, 0.1)


@pytest.mark.parametrize(
    "wrong", [{"trim_fraction": 0.5}, {"chunk_s": 0}, {"low_nm": 1500.0}, {"degree": 11}, {"dead_time_s": 1.0}, {"most_cps": 0.0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refused, match="flat field:"):
        replace(OPTIONS, **wrong)  # type: ignore[arg-type]  # what a user may write


def test_a_polynomial_that_is_not_above_zero_gives_no_weights() -> None:
    """A weight of 0 would hide the photons; beyond the pixel's own weights the polynomial does not matter."""
    coefficients = np.array([[[1.0, 0.5], [0.5, 1.0], [0.5, 1.0]]])
    polynomials = FlatPolynomials(coefficients, np.zeros((1, 3, 2, 2)), np.array([800.0, 1200.0]), np.zeros((1, 3), np.bool_))
    good = np.ones((5, 1, 3), np.bool_)
    good[:2, 0, 2] = False
    own = own_ranges_nm(np.linspace(800, 1200, 5), good, polynomials.range_nm)
    assert own[0].tolist() == [[800, 1200], [800, 1200], [1000, 1200]]
    found = without_negative(polynomials, own)
    assert found.bad.tolist() == [[False, True, False]]
    assert np.isnan(found.coefficients[0, 1]).all()
    assert np.array_equal(found.coefficients[0, [0, 2]], coefficients[0, [0, 2]])
