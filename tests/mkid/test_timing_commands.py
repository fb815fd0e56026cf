"""``nightcrew mkid lightcurve``: tables with units for a pixel or an aperture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import NightcrewError, Refused
from tests.mkid.made_tables import beam_map, linear_solution
from tests.mkid.test_image_cube import random_table


def run(folder: Path, *words: object) -> Table:
    path = folder / "out.ecsv"
    result = CliRunner().invoke(app, ["lightcurve", str(folder / "t.h5"), "-o", str(path), "--overwrite", *map(str, words)])
    if isinstance(result.exception, NightcrewError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return Table.read(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_table(tmp_path / "t.h5", 4)
    linear_solution(beam_map()).write(tmp_path / "wavecal.h5")
    return tmp_path


def test_curve_spectrum_histogram_and_intervals(folder: Path) -> None:
    curve = run(folder, "--x", 2, "--y", 1, "--radius", 1.0)
    assert len(curve) == 10
    assert str(curve["rate"].unit) == "ct / s"
    assert len(curve.meta["pixels"]) == 5
    assert "not barycentric" in curve.meta["times"]
    spectrum = run(folder, "--x", 2, "--y", 1, "--what", "spectrum", "--wavelength-width", 100, "-s", folder / "wavecal.h5")
    assert spectrum["start"].tolist() == pytest.approx(np.arange(700, 1500, 100))
    histogram = run(folder, "--x", 2, "--y", 1, "--what", "histogram", "--step", 0.1)
    assert (histogram["counts"] * histogram["bins"]).sum() == pytest.approx(curve["photons"].sum() / 5, rel=0.3)
    assert histogram["poisson"].sum() == pytest.approx(90, rel=0.05)  # nine seconds are there
    intervals = run(folder, "--x", 2, "--y", 1, "--what", "intervals")
    assert intervals["intervals"].sum() == pytest.approx(
        histogram["bins"] @ histogram["counts"], abs=25
    )  # photons stand in the missing second too


def test_flagged_pixels_of_an_aperture_are_told(folder: Path) -> None:
    linear_solution(beam_map(), bad=[7, 8]).write(folder / "holes.h5")
    curve = run(folder, "--x", 2, "--y", 1, "--radius", 1.0, "-s", folder / "holes.h5")
    assert (len(curve.meta["pixels"]), curve.meta["flagged_pixels_left_out"], curve.meta["pixels_beyond_the_edge"]) == (3, 2, 0)
    corner = run(folder, "--x", 0, "--y", 0, "--radius", 1.0)
    assert (corner.meta["flagged_pixels_left_out"], corner.meta["pixels_beyond_the_edge"]) == (0, 2)
    assert "wavecal.bad" in run(folder, "--x", 2, "--y", 1, "-s", folder / "holes.h5").meta["flags"]


def test_mistakes_are_told(folder: Path) -> None:
    for words, sentence in (
        (["--what", "poem"], "none of"),
        (["--what", "spectrum", "-s", folder / "wavecal.h5"], "needs --energy-width"),
        (["--what", "histogram", "--radius", 2], "one pixel"),
        (["--what", "histogram", "--step", 1e-9], "do not divide"),
        (["--step", -1], "do not divide"),
    ):
        with pytest.raises(Refused, match=sentence):
            run(folder, "--x", 2, "--y", 1, *words)
