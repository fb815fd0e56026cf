"""``nightcrew mkid masks`` and ``apply``: registered, exported, taken back; the table keeps its bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from nightcrew.errors import TransientError
from nightcrew.io.atomic import injected_faults
from nightcrew.mkid.calibrated import open_calibrated
from nightcrew.mkid.export import export_calibrated
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.registered import register, register_path, registered
from nightcrew.mkid.wavelength_solution import read_wavelength_solution
from tests.mkid.made_tables import beam_map, linear_solution, table
from tests.mkid.test_calibrated import flat_of


def nightcrew(*words: object) -> subprocess.CompletedProcess[str]:
    code = "from deployments.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "mkid", *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    pixel = np.append(rng.integers(0, 20, 20_000), np.full(9000, 7))
    path = table(tmp_path / "t.h5", beam_map(), pixel, rng.integers(0, 10_000_000, pixel.size), -55.0)
    linear_solution(beam_map(), bad=[3]).write(tmp_path / "w.h5")
    flat_of([1.5]).write(tmp_path / "flat.h5")
    return path


def test_masks_are_made_applied_exported_and_taken_back(made: Path, tmp_path: Path) -> None:
    before = hashlib.sha256(made.read_bytes()).hexdigest()
    said = json.loads(nightcrew("masks", made, "--out", tmp_path, "--json").stdout)
    assert said["bad_pixels"]["pixcal.hot"] == 1
    solutions = [tmp_path / name for name in ("w.h5", "flat.h5", "t_masks.h5", "t_cosmic.h5")]
    done = nightcrew("apply", made, *solutions, "--linearity", 1, "--export", tmp_path / "out.h5", "--book-pixels", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert "read_with: ['t_cosmic.h5', 'flat.h5', 't_masks.h5', 'w.h5', 'linearity']" in nightcrew("info", made).stdout
    with open_calibrated(made) as opened, h5py.File(tmp_path / "out.h5") as exported:
        photons = opened.photons()
        assert exported["photons/time_us"].size == len(photons)
        assert np.array_equal(exported["photons/resid"][:], photons.resid)
        assert np.array_equal(exported["photons/wavelength_nm"][:], photons.wavelength_nm, equal_nan=True)
        assert np.array_equal(exported["pixels/exposure_s"][:], opened.exposure_s())
        assert 7 not in photons.pixel
        assert photons.weight[photons.pixel != 3].min() > 1.5
        assert np.isnan(photons.wavelength_nm[photons.pixel == 3]).all()
    assert (tmp_path / "flatFlatCalSolnPlotsPerPixel.pdf").read_bytes().startswith(b"%PDF")
    assert nightcrew("apply", made, "--remove").returncode == 0
    assert not register_path(made).exists()
    assert hashlib.sha256(made.read_bytes()).hexdigest() == before
    assert "one of both" in nightcrew("apply", made).stderr
    assert "no steps to take a rate in" in nightcrew("apply", made, "--linearity", 0).stderr
    assert not register_path(made).exists()
    assert "no photon table" in nightcrew("apply", tmp_path / "w.h5", tmp_path / "w.h5").stderr


@pytest.mark.parametrize("stage", ["open", "write", "publish"])
def test_a_fault_at_any_moment_leaves_the_old_or_the_new(stage: str, made: Path, tmp_path: Path) -> None:
    register(made, [tmp_path / "w.h5"])
    note = register_path(made).read_bytes()

    def broken(now: str, _: Path) -> None:
        if now == stage:
            raise OSError(28, "No space left on device")

    with injected_faults(broken):
        with pytest.raises(TransientError):
            register(made, [tmp_path / "w.h5", tmp_path / "flat.h5"])
        with pytest.raises(TransientError):
            linear_solution(beam_map()).write(tmp_path / "w.h5", overwrite=True)
        with open_calibrated(made) as opened, pytest.raises(TransientError):
            export_calibrated(opened, tmp_path / "out.h5")
    assert register_path(made).read_bytes() == note
    assert not (tmp_path / "out.h5").exists()
    assert not list(tmp_path.glob(".nightcrew-*"))
    with open_calibrated(made) as opened:
        assert np.isfinite(opened.photons(range(1)).wavelength_nm).all()


KILLED = """
import sys, pathlib
from tests.mkid.made_tables import beam_map, linear_solution
path = pathlib.Path(sys.argv[1])
made = [linear_solution(beam_map((40, 50)), slope_ev_per_deg=slope) for slope in (-0.02, -0.03)]
number = 0
while True:
    made[number % 2].write(path, overwrite=True)
    number += 1
    print(number, flush=True)
"""


KILLED_TABLES = """
import sys, pathlib
from nightcrew.mkid.registered import register
from tests.mkid.made_tables import beam_map, table
folder = pathlib.Path(sys.argv[1])
number = 0
while True:
    path = table(folder / f"{number}.h5", beam_map(), list(range(20)) * 5000, range(100_000))
    register(folder / "0.h5", [folder / ("w.h5" if number % 2 else "flat.h5")])
    number += 1
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", [3, 11, 29])
def test_a_kill_at_any_moment_leaves_whole_tables_and_a_whole_note(delay_ms: int, tmp_path: Path) -> None:
    linear_solution(beam_map()).write(tmp_path / "w.h5")
    flat_of([1.5]).write(tmp_path / "flat.h5")
    with subprocess.Popen([sys.executable, "-c", KILLED_TABLES, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        time.sleep(delay_ms / 1000)
        process.kill()
    tables = [path for path in tmp_path.glob("*.h5") if path.stem.isdigit()]
    assert tables
    for path in tables:
        with PhotonTable(path) as opened:
            assert len(opened.read()) == opened.n_photons == 100_000
    assert registered(tmp_path / "0.h5").solutions[0].name in ("w.h5", "flat.h5")


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", [3, 11, 17])
def test_a_kill_at_any_moment_leaves_a_whole_solution(delay_ms: int, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "s.h5")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        time.sleep(delay_ms / 1000)
        process.kill()
    read = read_wavelength_solution(tmp_path / "s.h5")
    assert np.unique(read.coefficients[..., 1]).tolist() in ([-0.02], [-0.03])
    assert read.solved.all()
