"""The older configuration: types, what is required, what depends; the command and its books."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import RejectedInput
from nightcrew.mkid.flat_config import parse_flat_config
from nightcrew.mkid.flat_solution import read_flat_solution
from reports.figures import EmptyFigureError
from reports.mkid_figures import write_plots
from reports.mkid_flat import book_names, scatter_by_wavelength, weight_maps, weight_scatter, write_book
from tests.mkid.test_flatcal import calibrations, white

TEXT = """
# flat of the run
run = 'PAL2017b'
date = '20171004'
flatCalTstamp = 1507175503
flatObsTstamps = [1507175503, '1507175600']
wvlDate = '20171004'
wvlCalFile = 'calsol_1507172336.h5'
flatPath = '/flats'
calSolnPath = '/solutions'
intTime = 5
expTime = 10
deadtime = 0.000001
energyBinWidth = 0.15
wvlStart = 850
wvlStop = 1350
countRateCutoff = 20000
fractionOfChunksToTrim = 0
timeMaskFileName = None
timeSpacingCut = None
"""


def test_values_have_their_types() -> None:
    read = parse_flat_config(TEXT, "flat.cfg")
    assert read.flatObsTstamps == ("1507175503", "1507175600")
    assert (read.options().chunk_s, read.options().dead_time_s, read.options().low_nm) == (5.0, 1e-6, 850.0)
    assert read.solution() == Path("/solutions/flatsol_1507175503.h5")
    assert read.time_mask() is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("timeSpacingCut = 3", "timeSpacingCut can only be None"),
        ("intTime = '5'", "intTime is a number"),
        ("wvlStart = True", "wvlStart is a number"),
        ("flatObsTstamps = []", "flatObsTstamps is a list of names"),
        ("flatObsTstamps = ['../secret']", "is a name of letters"),
        ("run = None", "run is text"),
        ("run = open('x')", "no value that can be read"),
        ("gain = 3", "'gain' is no parameter"),
        ("wvlDate = ", "not `name = value`|no value"),
    ],
)
def test_wrong_values_are_told_by_name(line: str, reason: str) -> None:
    name = line.split(" ", 1)[0]
    text = "\n".join([*(one for one in TEXT.splitlines() if not one.startswith(name + " ")), line])
    with pytest.raises(RejectedInput, match=reason):
        parse_flat_config(text, "flat.cfg")


@pytest.mark.parametrize("absent", ["run", "date", "flatCalTstamp", "flatObsTstamps", "wvlCalFile", "flatPath", "calSolnPath", "wvlDate"])
def test_what_is_required_is_asked_for(absent: str) -> None:
    text = "\n".join(one for one in TEXT.splitlines() if not one.startswith(absent))
    with pytest.raises(RejectedInput, match=f"{absent}.* must be given"):
        parse_flat_config(text, "flat.cfg")


def test_an_absolute_solution_needs_no_date() -> None:
    lines = [one for one in TEXT.splitlines() if not one.startswith(("wvlDate", "wvlCalFile"))]
    assert parse_flat_config("\n".join([*lines, "wvlCalFile = '/a/b.h5'"]), "flat.cfg").wavelength_solution() == Path("/a/b.h5")


def test_lines_that_come_twice_are_refused() -> None:
    with pytest.raises(RejectedInput, match="sets run again"):
        parse_flat_config(TEXT + "run = 'other'\n", "flat.cfg")


def test_the_command_reads_the_configuration_and_writes_the_books(tmp_path: Path) -> None:
    for name, seed in (("1507175503.h5", 1), ("1507175600.h5", 2)):
        white(tmp_path / "flats" / "20171004" / name, seed=seed)
    wavelength = calibrations().wavelength
    assert wavelength is not None
    wavelength.write(tmp_path / "20171004" / "calsol_1507172336.h5")
    text = TEXT.replace("'/flats'", repr(str(tmp_path / "flats"))).replace("'/solutions'", repr(str(tmp_path)))
    (tmp_path / "flat.cfg").write_text(text)
    code = "from deployments.cli import main; main()"
    words = ["mkid", "flatcal", "--config", str(tmp_path / "flat.cfg"), "--books", "--book-pixels", "2"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "59 of 60 pixels have weights at every wavelength; 4 of 4 chunks used" in done.stdout
    flat = read_flat_solution(tmp_path / "flatsol_1507175503.h5")
    assert flat.provenance["parameters"]["energy_bin_ev"] == 0.15
    names = book_names("flatsol_1507175503")
    for part in ("pixels", "slices", "mask"):
        assert (tmp_path / names[part]).read_bytes().startswith(b"%PDF")
    for plot in (weight_maps(flat), weight_scatter(flat)):
        write_plots([plot], tmp_path)
    with np.load(tmp_path / "flat_weights.npz") as saved:
        assert np.array_equal(saved["weights"], flat.weights, equal_nan=True)
    with np.load(tmp_path / "flat_scatter.npz") as saved:
        assert np.array_equal(saved["scatter"], scatter_by_wavelength(flat)[0], equal_nan=True)
    with pytest.raises(EmptyFigureError):
        write_book(tmp_path / "no.pdf", [])
    assert not (tmp_path / "no.pdf").exists()
