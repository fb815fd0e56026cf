"""The older configuration: types, what is required, what depends; the command and its books."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.cli.mkid_calibrate import flatcal
from nightcrew.errors import Refused, RejectedInput
from nightcrew.mkid.flat_config import parse_flat_config
from nightcrew.mkid.flat_solution import read_flat_solution
from nightcrew.mkid.mask_solution import HOT, PixelMasks
from nightcrew.mkid.photon_table import PhotonTable
from reports.figures import EmptyFigureError
from reports.mkid_figures import write_plots
from reports.mkid_flat import book_names, scatter_by_wavelength, weight_maps, weight_scatter, write_book, write_books
from tests.mkid.test_calibrated import flat_of
from tests.mkid.test_flatcal import calibrations, truth, white

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
NUMBERS = ("intTime", "expTime", "deadtime", "energyBinWidth", "wvlStart", "wvlStop", "countRateCutoff", "fractionOfChunksToTrim")
TEXTS = ("run", "date", "flatCalTstamp", "wvlDate", "wvlCalFile", "flatPath", "calSolnPath")


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
        ("timeSpacingCut = 'None'", "timeSpacingCut can only be None"),
        ("timeMaskFileName = 3.5", "timeMaskFileName is text"),
        *((f"{name} = [1]", f"{name} is a number") for name in NUMBERS),
        *((f"{name} = 1.5", f"{name} is text") for name in TEXTS),
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


@pytest.mark.parametrize(
    "line",
    ["intTime = -5", "intTime = 1e999", "expTime = 0", "deadtime = -1e-6", "energyBinWidth = 0", "wvlStop = 800", "wvlStart = 0",
     "fractionOfChunksToTrim = 0.5", "fractionOfChunksToTrim = -0.1", "countRateCutoff = 0"],
)  # fmt: skip  # read as a table
def test_values_that_make_no_sense_are_refused(line: str) -> None:
    name = line.split(" ", 1)[0]
    text = "\n".join([*(one for one in TEXT.splitlines() if not one.startswith(name + " ")), line])
    with pytest.raises((Refused, RejectedInput)):
        parse_flat_config(text, "flat.cfg").options()


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


def test_the_books_of_a_flat_without_weights_cost_each_other_nothing(tmp_path: Path) -> None:
    """A flat of which no pixel has weights: its mask is written, and what is empty is told."""
    flat = flat_of([1.0])
    blind = replace(flat, weights=np.full_like(flat.weights, np.nan), weight_flag=np.full_like(flat.weight_flag, 255))
    written, notes = write_books(blind, None, tmp_path, "s", [])
    assert [path.name for path in written] == [name for part, name in book_names("s").items() if part in ("slices", "mask")]
    assert notes == ["not written: s_WavelengthCompare.pdf: there is nothing to draw"]


def test_the_command_applies_the_time_mask_of_the_configuration(tmp_path: Path) -> None:
    """Pixel 11 is masked for the first ten of 30 s, the first chunks in which a burst would make it sensitive."""
    path = white(tmp_path / "flats" / "1507175503.h5", seed=1, burst=(11, 3, 30_000))
    bits = np.zeros((2, 6, 10), np.uint8)
    bits[0].ravel()[11] = HOT
    with PhotonTable(path) as table:
        edges, resid = table.start_us + np.array([0, 10_000_000, 30_000_000]), table.resid
    PixelMasks(edges_us=edges, resid=resid, bits=bits).write(tmp_path / "masks.h5")
    wavelength = calibrations().wavelength
    assert wavelength is not None
    wavelength.write(tmp_path / "w.h5")
    text = TEXT.replace("'/flats'", repr(str(tmp_path / "flats"))).replace("'/solutions'", repr(str(tmp_path)))
    text = text.replace("wvlCalFile = 'calsol_1507172336.h5'", f"wvlCalFile = {str(tmp_path / 'w.h5')!r}")
    text = text.replace(", '1507175600'", "").replace("expTime = 10", "expTime = 30")
    weights = []
    for name, mask in (("without", "None"), ("with", "'masks.h5'")):
        made = text.replace("1507175503\nflatObs", f"'{name}'\nflatObs").replace("timeMaskFileName = None", f"timeMaskFileName = {mask}")
        (tmp_path / "flat.cfg").write_text(made)
        flatcal(config=tmp_path / "flat.cfg")
        flat = read_flat_solution(tmp_path / f"flatsol_{name}.h5")
        weights.append(flat.weights)
    without, masked = (values.reshape(len(values), -1)[:, 11] for values in weights)
    others = [values.reshape(len(values), -1)[:, 12] for values in weights]
    assert others[0] == pytest.approx(others[1], rel=0.05)  # the light is that of the middling pixels, of which 11 may be one
    true = truth(flat.bins_nm)[:, 11]
    assert masked == pytest.approx(true, rel=0.2)  # 400/s * 20 s in some bins: 3 %
    assert (without < 0.5 * true).all()


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
