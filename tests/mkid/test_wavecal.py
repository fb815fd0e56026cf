"""Wavelength calibration against known arrays: Cramer-Rao limit, pulls, resolutions, defects, flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import open_calibrated
from nightcrew.mkid.energy_fit import LINEAR, NONE, QUADRATIC, energy_at, energy_variance, fit_energies
from nightcrew.mkid.line_data import read_line_data
from nightcrew.mkid.phase_histogram import BIN_DEG, fill
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.wavecal import Calibrated, LaserInput, WavecalOptions, calibrate
from nightcrew.mkid.wavelength_solution import HC_EV_NM, HISTOGRAM_FLAGS, WavelengthSolution, read_wavelength_solution
from tests.mkid.made_lasers import DURATION_S, LASERS_NM, Floats, Response, laser_tables, response
from tests.mkid.made_tables import beam_map, table

SHAPE = (8, 15)
N = SHAPE[0] * SHAPE[1]
TRUTH = response(N)
ENERGIES = HC_EV_NM / np.array(LASERS_NM)
FWHM = 2.354820045


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Calibrated, list[LaserInput]]:
    lasers = laser_tables(tmp_path_factory.mktemp("lasers"), TRUTH, SHAPE, 4000, dark=True)
    return calibrate(lasers, WavecalOptions(threads=2)), lasers


def errors(solution: WavelengthSolution, truth: Response) -> tuple[Floats, Floats]:
    """(E - E_laser) / E_laser at the true phases [laser, pixel], and the same in standard deviations."""
    phase = np.stack([truth.phase_deg(energy) for energy in ENERGIES])
    found = energy_at(solution.coefficients.reshape(1, -1, 3), phase)
    sigma = np.sqrt(energy_variance(np.broadcast_to(solution.covariance.reshape(1, -1, 3, 3), (5, N, 3, 3)), phase))
    return found / ENERGIES[:, None] - 1, (found - ENERGIES[:, None]) / sigma


def cramer_rao(truth: Response, photons: float) -> float:
    """Limit of the rms of dE / E at five lasers of a parabola: three parameters of five lines, each known to sigma / sqrt(N)."""
    return float(np.sqrt(np.mean(1 / (FWHM * truth.resolution) ** 2) / photons * 3 / 5))


def test_energies_reach_the_cramer_rao_limit(made: tuple[Calibrated, list[LaserInput]]) -> None:
    solution = made[0].solution
    assert solution.solved.mean() >= 0.97
    relative, pulls = errors(solution, TRUTH)
    kept = float(np.exp(-4000 * 1.04 / DURATION_S * 500e-6))  # the time cut
    assert np.sqrt(np.nanmean(relative**2)) <= 1.15 * cramer_rao(TRUTH, 4000 * kept)
    assert np.nanstd(pulls) == pytest.approx(1, abs=0.1)
    assert abs(np.nanmean(pulls)) < 0.2


def test_resolutions_and_the_shape_of_the_lines(made: tuple[Calibrated, list[LaserInput]]) -> None:
    solution = made[0].solution
    ratio = solution.resolution.reshape(5, -1) / TRUTH.resolution
    pulls = (ratio - 1) * TRUTH.resolution / solution.resolution_error.reshape(5, -1)
    assert np.nanmedian(ratio, axis=1) == pytest.approx(np.ones(5), abs=0.01)
    assert np.nanstd(pulls) == pytest.approx(1, abs=0.1)
    assert solution.line_shape[0] == pytest.approx(1, abs=0.25)  # they were made Gaussian in energy


def test_files_keep_the_solution_and_its_histograms(made: tuple[Calibrated, list[LaserInput]], tmp_path: Path) -> None:
    done, lasers = made
    done.write(tmp_path / "s.h5")
    read, data = read_wavelength_solution(tmp_path / "s.h5"), read_line_data(tmp_path / "s.h5")
    assert np.array_equal(read.coefficients, done.solution.coefficients, equal_nan=True)
    assert np.array_equal(data.histogram.sum(axis=-1), read.line_photons)
    assert [one["type"] for one in read.provenance["inputs"]] == ["laser"] * 5 + ["dark"]
    with open_calibrated(lasers[2].table, [tmp_path / "s.h5"]) as opened:
        found = opened.photons().wavelength_nm
    assert np.nanmedian(found) == pytest.approx(1100, rel=0.005)


def test_threads_and_repeats_give_the_same_bytes(tmp_path: Path) -> None:
    lasers = laser_tables(tmp_path, response(12), (3, 4), 1000)
    for name, threads in (("a.h5", 1), ("b.h5", 2)):
        calibrate(lasers, WavecalOptions(threads=threads)).write(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_defective_pixels_are_not_solved(tmp_path: Path) -> None:
    truth = response(40)
    factor = np.ones(40)
    factor[[3, 4, 5]] = 0.0, 0.01, 12.0
    lasers = laser_tables(tmp_path, truth, (5, 8), 1000, factor=factor, noise=0.02)
    masked = np.zeros((5, 8), dtype=np.uint32)
    masked[0, 7] = f.bit("pixcal.hot")
    solution = calibrate(lasers, WavecalOptions(), masked=masked).solution
    assert np.flatnonzero(~solution.solved.ravel()).tolist() == [3, 4, 5, 7]
    assert f.describe(int(solution.flag[0, 3])) == "pixcal.cold, wavecal.bad, wavecal.not_attempted"
    assert solution.flag[0, 5] & f.bit("pixcal.hot")
    assert HISTOGRAM_FLAGS[solution.line_flag[0, 0, 5]] == "too hot"
    assert np.isnan(solution.coefficients[0, 7]).all()


def test_an_array_that_is_lit_unevenly_is_solved_everywhere(tmp_path: Path) -> None:
    shape = (8, 40)
    x = np.tile(np.arange(40), 8)
    light = np.exp(-2.3 + 4.2 * x / 39)  # from a tenth to seven times the middle: 65 to 1
    light[[50, 170, 300]] *= (12, 0.02, 9)  # hot, cold, hot among their neighbours
    lasers = laser_tables(tmp_path, response(x.size), shape, 800, factor=light)[::2]
    with PhotonTable(lasers[0].table) as opened:
        rates = opened.counts().ravel()
    assert np.percentile(rates, 96) > 5 * np.median(rates) > 25 * np.percentile(rates, 3)  # beyond the limits, were they of the array
    flag = calibrate(lasers, WavecalOptions(models=("gaussian_and_exp",))).solution.flag.ravel()
    assert np.flatnonzero(flag & f.bit("pixcal.hot")).tolist() == [50, 300]
    assert np.flatnonzero(flag & f.bit("pixcal.cold")).tolist() == [170]


def test_a_pixel_without_light_has_a_flag_of_its_own(tmp_path: Path) -> None:
    lasers = laser_tables(tmp_path, response(40), (5, 8), 1000, factor=np.concatenate([[0.0], np.ones(39)]), noise=0.3)
    solution = calibrate(lasers, WavecalOptions(cold_ratio=0.0)).solution
    assert np.flatnonzero(~solution.solved.ravel()).tolist() == [0]
    assert solution.flag[0, 0] & f.bit("wavecal.not_enough_histogram_fits")


@pytest.mark.slow
def test_few_photons_are_enough(tmp_path: Path) -> None:
    lasers = laser_tables(tmp_path, TRUTH, SHAPE, 1000)
    solution = calibrate(lasers, WavecalOptions()).solution
    assert solution.solved.mean() >= 0.9
    assert np.nanmedian(solution.resolution.reshape(5, -1) / TRUTH.resolution) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_lines_that_are_gaussian_in_phase_have_no_bias_either(tmp_path: Path) -> None:
    solution = calibrate(laser_tables(tmp_path, TRUTH, SHAPE, 4000, in_phase=True), WavecalOptions(threads=2)).solution
    assert solution.line_shape[0] == pytest.approx(0, abs=0.25)
    assert abs(np.nanmean(errors(solution, TRUTH)[1])) < 0.2


def test_photons_that_follow_closely_are_left_out_also_across_slabs(tmp_path: Path) -> None:
    times = [1_000, 1_400, 1_900, 2_401, 64_000_000, 64_000_200]
    path = table(tmp_path / "t.h5", beam_map(), [0] * 6, times, -20.3, duration_s=100.0, missing=[1_606_000_001])
    with PhotonTable(path) as opened:
        found = fill(opened, dead_us=500)
    assert (found.photons[0], found.kept[0], found.duration_s[0]) == (6, 3, 99.0)
    assert np.flatnonzero(found.counts[0]).tolist() == [int(20.3 / BIN_DEG)]
    assert found.time_s[0] == pytest.approx(49.5)


def test_photons_above_phase_zero_are_no_pulses(tmp_path: Path) -> None:
    with PhotonTable(table(tmp_path / "t.h5", beam_map(), [0, 0, 0], [1, 2, 3], [0.0, 5.0, -0.2])) as opened:
        found = fill(opened)
    assert found.counts[0].sum() == 1
    assert found.counts[0, 0] == 1


def lines_of(coefficients: tuple[float, float, float], phases: list[float]) -> tuple[Floats, Floats]:
    centre = np.array(phases, dtype=np.float64)[:, None]
    return centre, energy_at(np.array(coefficients), centre)[:, 0]


def test_exact_parabolas_come_back() -> None:
    centre, energy = lines_of((0.05, -0.01, 2e-5), [-100, -90, -80, -70, -60])
    found = fit_energies(centre, np.full_like(centre, 0.01), np.ones_like(centre, bool), energy)
    assert found.kind[0] == QUADRATIC
    assert found.coefficients[0] == pytest.approx([0.05, -0.01, 2e-5], rel=1e-6)


def test_two_lines_give_a_straight_line_and_straight_lines_are_preferred() -> None:
    centre, energy = lines_of((0.01, -0.013, 0.0), [-100, -80, -60])
    error = np.full_like(centre, 0.05)
    good = np.ones_like(centre, bool)
    assert fit_energies(centre, error, good, energy).kind[0] == LINEAR
    good[1] = False
    assert fit_energies(centre, error, good, energy).coefficients[0] == pytest.approx([0.01, -0.013, 0.0], abs=1e-9)
    good[0] = False
    found = fit_energies(centre, error, good, energy)
    assert (found.kind[0], found.too_few[0]) == (NONE, True)


def test_lines_that_go_back_and_parabolas_that_turn_are_no_solution() -> None:
    centre = np.array([[-100.0], [-60.0], [-80.0]])
    found = fit_energies(centre, np.full_like(centre, 0.1), np.ones_like(centre, bool), np.array([1.4, 1.2, 1.0]))
    assert (found.kind[0], found.not_monotonic[0]) == (NONE, True)
    turning, energy = lines_of((2.6, 0.08, 1e-3), [-80.0, -50.0, -30.0])  # vertex at -40
    found = fit_energies(turning, np.full_like(turning, 3.0), np.ones_like(turning, bool), energy)
    assert found.kind[0] == LINEAR


def test_what_cannot_be_calibrated_is_told_in_a_sentence(tmp_path: Path) -> None:
    lasers = laser_tables(tmp_path, response(12), (3, 4), 100)
    with pytest.raises(Refused, match="two wavelengths"):
        calibrate(lasers[:1], WavecalOptions())
    with pytest.raises(Refused, match="more than one exposure"):
        calibrate([*lasers, lasers[0]], WavecalOptions())
    with pytest.raises(Refused, match="some of gaussian_and_exp"):
        WavecalOptions(models=("spline",))
    other = table(tmp_path / "other.h5", beam_map((3, 4), first=20_000), [0], [1])
    with pytest.raises(RejectedInput, match="another beam map"):
        calibrate([lasers[0], LaserInput(table=other, wavelength_nm=1000.0)], WavecalOptions())
    with pytest.raises(TransientError, match="no such file"):
        calibrate([lasers[0], LaserInput(table=tmp_path / "absent.h5", wavelength_nm=1000.0)], WavecalOptions())
