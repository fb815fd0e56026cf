"""``nightcrew mkid image | cube``: windows in words, files by their endings, mistakes in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import MissingCalibration, NightcrewError, Refused
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.test_image_cube import random_table


def run(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    if isinstance(result.exception, NightcrewError):
        raise result.exception
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


@pytest.fixture
def photons(tmp_path: Path) -> Path:
    return random_table(tmp_path / "t.h5", 9)


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    linear_solution(beam_map()).write(tmp_path / "wavecal.h5")
    return tmp_path / "wavecal.h5"


@pytest.mark.parametrize("start", ["2", f"{START_US // 10**6 + 2}", "2020-11-21T23:06:42"])
def test_a_window_may_be_said_in_three_ways(photons: Path, tmp_path: Path, start: str) -> None:
    values = run("image", photons, "-o", tmp_path / "i.fits", "--start", start, "--stop", "4.5")
    assert values["window_s"] == [2.0, 4.5]
    with fits.open(tmp_path / "i.fits") as hdus:
        assert hdus["PHOTONS"].data.sum() == values["photons"]
        assert hdus[0].header["PHOTONS"] == "t.h5"
        assert len(hdus[0].header["PHOTSHA"]) == 16


def test_cubes_in_time_and_wavelength(photons: Path, solution: Path, tmp_path: Path) -> None:
    rows, columns = beam_map().shape
    for words, shape in (
        (["--step", "2.5"], (4, rows, columns)),
        (["--energy-width", "0.2", "--solution", solution], (4, rows, columns)),
        (["--step", "20", "--wavelength-width", "100", "--solution", solution], (1, 8, rows, columns)),
    ):
        run("cube", photons, "-o", tmp_path / "c.h5", "--overwrite", *words)
        with h5py.File(tmp_path / "c.h5") as file:
            assert file["sci"].shape == shape
            assert np.isfinite(file["variance"][:]).all()


def test_mistakes_are_told(photons: Path, solution: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.fits"
    for words, error, sentence in (
        (["cube", photons, "-o", out], Refused, "needs --step"),
        (["cube", photons, "-o", out, "--energy-width", "0.1"], MissingCalibration, "wavelength solution"),
        (["cube", photons, "-o", out, "--energy-width", "0.1", "--wavelength-width", "9", "-s", solution], Refused, "one width"),
        (["cube", photons, "-o", out, "--by-resolution", "-s", solution], Refused, "resolution is not known"),
        (["image", photons, "-o", out, "--start", "9", "--stop", "3"], Refused, "not within"),
        (["image", photons, "-o", out, "--start", "soon"], Refused, "no time"),
        (["image", photons, "-o", out, "--raw", "-s", solution], Refused, "without calibrations"),
    ):
        with pytest.raises(error, match=sentence):
            run(*words)
    assert not out.exists()


def test_a_table_without_photons_is_an_image_of_zeros(tmp_path: Path) -> None:
    run("image", table(tmp_path / "e.h5", beam_map(), [], []), "-o", tmp_path / "i.fits")
    assert fits.getdata(tmp_path / "i.fits").tolist() == np.zeros(beam_map().shape).tolist()
