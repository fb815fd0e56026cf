"""A simulated array with all its defects, from raw seconds to wavelengths and flat field, against the truth.  Slow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid.beam_map import read_beam_map
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.energy_fit import energy_at, energy_variance
from nightcrew.mkid.flat_cubes import FlatInput
from nightcrew.mkid.flatcal import FlatOptions, flat_field
from nightcrew.mkid.jobs import jobs_of_log, run_jobs
from nightcrew.mkid.observing_log import read_log
from nightcrew.mkid.seconds import list_seconds
from nightcrew.mkid.wavecal import WavecalOptions, calibrate
from nightcrew.mkid.wavecal_inputs import inputs_of_tables
from nightcrew.mkid.wavelength_solution import HC_EV_NM, WavelengthSolution
from nightcrew.simulate.mkid_array import MkidArray, make_array
from nightcrew.simulate.mkid_plan import Exposure, preset
from nightcrew.simulate.mkid_run import make_run

pytestmark = pytest.mark.slow
NM = (850, 950, 1100, 1250, 1375)
FWHM = 2.354820045


@dataclass(frozen=True)
class Run:
    tables: Path
    array: MkidArray
    good: NDArray[np.bool_]  # channels without a defect, in places of their own


def simulated(folder: Path, photons: float, *, flat_s: float = 0.0) -> Run:
    """Lasers with so many photons in a typical pixel, a dark, and two flats."""
    rate = photons / 0.85 / 10.0
    lasers = [Exposure(name=f"laser_{nm}", kind="laser", duration_s=10.0, rate_cps=rate, wavelength_nm=float(nm)) for nm in NM]
    flats = [Exposure(name=name, kind="flat", duration_s=flat_s, rate_cps=300.0) for name in ("flat", "other")] if flat_s else []
    plan = replace(preset("tiny"), exposures=(*lasers, Exposure(name="dark", kind="dark", duration_s=10.0), *flats))
    make_run(folder / "run", plan, 3, keep_photons=False)
    tables = folder / "tables"
    log, listing = read_log(folder / "run" / "observing_log.csv"), list_seconds(folder / "run" / "data")
    for _, made in run_jobs(jobs_of_log(log, tables), listing, read_beam_map(folder / "run" / "beammap.txt"), "data"):
        assert not isinstance(made, Exception)
    array = make_array(plan, 3)
    place = np.arange(array.resid.size)
    own = array.place == place
    return Run(tables, array, own & (array.kind == 0) & ~np.isin(place, array.place[~own]))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return simulated(tmp_path_factory.mktemp("bright"), 4000, flat_s=15.0)


def solved(run: Run) -> WavelengthSolution:
    tables = [run.tables / f"laser_{nm}.h5" for nm in NM] + [run.tables / "dark.h5"]
    return calibrate(inputs_of_tables(tables), WavecalOptions(threads=2)).solution


@pytest.fixture(scope="module")
def solution(bright: Run) -> WavelengthSolution:
    return solved(bright)


def test_good_pixels_are_solved_to_the_limit_and_defective_ones_are_not(bright: Run, solution: WavelengthSolution) -> None:
    flat, array, good = solution.solved.ravel(), bright.array, bright.good
    assert flat[good].mean() >= 0.97
    assert not flat[~good].any()
    n, energies = array.resid.size, HC_EV_NM / np.array(NM, dtype=float)
    phase = np.stack([array.phase_deg(np.full(n, energy), np.arange(n)) for energy in energies])
    found = energy_at(solution.coefficients.reshape(1, -1, 3), phase)
    relative = (found / energies[:, None] - 1)[:, good & flat]
    counts = solution.line_photons.reshape(5, -1)[:, good & flat].mean()
    limit = np.sqrt(np.mean(1 / (FWHM * array.resolution[good & flat]) ** 2) / counts * 3 / 5)
    assert np.sqrt(np.mean(relative**2)) <= 1.15 * limit
    variance = energy_variance(np.broadcast_to(solution.covariance.reshape(1, -1, 3, 3), (5, n, 3, 3)), phase)
    pulls = ((found - energies[:, None]) / np.sqrt(variance))[:, good & flat]
    assert pulls.std() == pytest.approx(1, abs=0.1)
    ratio = solution.resolution.reshape(5, -1)[:, good & flat] / array.resolution[good & flat]
    assert np.median(ratio, axis=1) == pytest.approx(np.ones(5), abs=0.01)


def test_a_thousand_photons_are_enough(tmp_path: Path) -> None:
    run = simulated(tmp_path, 1000)
    flat = solved(run).solved.ravel()
    assert flat[run.good].mean() >= 0.9
    assert not flat[~run.good].any()


def test_flat_weights_are_the_truth_and_flatten_another_flat(bright: Run, solution: WavelengthSolution) -> None:
    options = FlatOptions(chunk_s=5, most_s=15, energy_bin_ev=0.06, low_nm=850, high_nm=1350, degree=1, trim_fraction=0.1)
    known = Calibrations(wavelength=solution)
    flat = flat_field([FlatInput(table=bright.tables / "flat.h5")], known, options, darks=[bright.tables / "dark.h5"])
    usable = bright.good & solution.solved.ravel()
    response = bright.array.response[usable]
    weights, errors = (values.reshape(len(flat.bins_nm), -1)[:, usable] for values in (flat.weights, flat.weight_error))
    # Energies are known to some 1e-3, which moves photons between bins: an error of its own, a tenth of the photon noise.
    expected = 1 / response / np.median(1 / response)
    pulls = (weights / np.nanmedian(weights, axis=1)[:, None] - expected) / errors
    assert np.nanstd(pulls) == pytest.approx(1, abs=0.15)
    assert not ((flat.flag & f.bit("flatcal.bad")) > 0).ravel()[usable].any()
    assert ((flat.flag & f.bit("flatcal.bad")) > 0).ravel()[~solution.solved.ravel()].all()
    with open_calibrated(bright.tables / "other.h5", replace(known, flat=flat)) as opened:
        photons = opened.photons()
    inside = (photons.wavelength_nm > 870) & (photons.wavelength_nm < 1320)
    n = bright.array.resid.size
    total = np.bincount(photons.pixel[inside], photons.weight[inside], n)[usable]
    counts = np.bincount(photons.pixel[inside], minlength=n)[usable]
    scatter = np.std(total) / np.mean(total)
    noise = np.sqrt(np.mean(1 / counts)) * np.sqrt(2)  # that of the flat that it was made from as large
    assert scatter <= 1.15 * noise
