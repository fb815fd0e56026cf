"""Every plot's saved numbers are those of the solution, and none is empty; the command and its inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from deployments.cli.mkid_calibrate import plots, wavecal
from nightcrew.errors import Refused, RejectedInput
from nightcrew.mkid.line_data import LineData, read_line_data
from nightcrew.mkid.wavecal import LaserInput, WavecalOptions, calibrate
from nightcrew.mkid.wavecal_inputs import inputs_of_tables, read_frequencies, read_inputs
from nightcrew.mkid.wavelength_solution import WavelengthSolution, read_wavelength_solution
from reports import mkid_wavecal as figures
from reports.figures import EmptyFigureError
from reports.mkid_figures import Plot, canvas, png_of, write_plots
from tests.mkid.made_lasers import laser_tables, response

SHAPE = (5, 8)
FREQUENCIES = {10_000 + p: 4.0 + 0.01 * p for p in range(40)}


@dataclass(frozen=True)
class Made:
    solution: WavelengthSolution
    data: LineData
    lasers: list[LaserInput]
    file: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("lasers")
    lasers = laser_tables(folder, response(40), SHAPE, 1000, dark=True, factor=np.concatenate([[0.0], np.ones(39)]))
    calibrate(lasers, WavecalOptions()).write(folder / "solution.h5")
    return Made(read_wavelength_solution(folder / "solution.h5"), read_line_data(folder / "solution.h5"), lasers, folder / "solution.h5")


def numbers(plot: Plot, folder: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    write_plots([plot], folder)
    with np.load(folder / f"{plot.name}.npz") as saved:
        return dict(saved)


def test_plots_of_the_array_show_the_solution(made: Made, tmp_path: Path) -> None:
    solution = made.solution
    solved = solution.solved & solution.line_good
    found = numbers(figures.rhistogram(solution), tmp_path)
    assert np.array_equal(found["values"][solved], solution.resolution[solved])
    assert found["counts"].sum() >= 0.98 * solved.sum()
    found = numbers(figures.centerhist(solution), tmp_path)
    assert np.array_equal(found["values"][solved], solution.line_centre_deg[solved])
    found = numbers(figures.fitparameters(solution), tmp_path)
    assert np.array_equal(found["values"][solved], solution.line_parameters[solved], equal_nan=True)
    found = numbers(figures.resolutionimage(solution), tmp_path)
    assert np.array_equal(found["resolution"], np.where(solved, solution.resolution, np.nan), equal_nan=True)
    found = numbers(figures.summary(solution, {}), tmp_path)
    assert np.array_equal(found["solved"], solution.solved)


def test_plots_of_a_pixel_show_its_fit_and_its_histograms(made: Made, tmp_path: Path) -> None:
    found = numbers(figures.energysolution(made.solution, (2, 3)), tmp_path)
    assert np.array_equal(found["centre_deg"], made.solution.line_centre_deg[:, 2, 3])
    assert np.array_equal(found["coefficients"], made.solution.coefficients[2, 3])
    found = numbers(figures.histogramfits(made.solution, made.data, (2, 3)), tmp_path)
    for laser in range(5):
        assert np.array_equal(found[f"counts_{laser}"], made.data.histogram[laser, 2, 3])
        first = round(-made.solution.line_edge_deg[laser, 2, 3] * 2)
        expected, counts = found[f"model_counts_{laser}"], found[f"counts_{laser}"][first:]
        assert expected.sum() == pytest.approx(counts.sum(), abs=5 * np.sqrt(counts.sum()))


def test_resolution_against_frequency_needs_frequencies(made: Made, tmp_path: Path) -> None:
    found = numbers(figures.rvsf(made.solution, FREQUENCIES), tmp_path)
    assert found["frequency_ghz"][2, 3] == pytest.approx(4.19)
    assert np.array_equal(found["resolution"][:, 2, 3], made.solution.resolution[:, 2, 3])
    with pytest.raises(Refused, match="no list of resonator frequencies was given"):
        figures.rvsf(made.solution, {})
    with pytest.raises(EmptyFigureError, match="none of the resonators"):
        figures.rvsf(made.solution, {1: 4.0})


def test_an_empty_plot_is_an_error(made: Made) -> None:
    nothing = replace(made.solution, flag=np.full_like(made.solution.flag, 2**32 - 1))
    for draw in figures.ARRAY_PLOTS.values():
        with pytest.raises(EmptyFigureError):
            draw(nothing)
    with pytest.raises(EmptyFigureError, match="no laser could be fitted"):
        figures.energysolution(made.solution, (0, 0))
    with pytest.raises(Refused, match="no pixel x 8"):
        figures.histogramfits(made.solution, made.data, (0, 8))
    empty = canvas((2, 2))
    empty.add_subplot()
    with pytest.raises(EmptyFigureError):
        png_of(empty)


def test_the_same_plot_has_the_same_bytes(made: Made) -> None:
    assert figures.rhistogram(made.solution).png == figures.rhistogram(made.solution).png


def test_the_command_calibrates_and_draws_all_eight(made: Made, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("".join(f"{resid} {ghz * 1e9:.0f} 50\n" for resid, ghz in FREQUENCIES.items()))
    words = ["--inputs", listed(made, tmp_path), "--frequencies", tmp_path / "f.txt", "--plots", "all", "-o", tmp_path / "s.h5", "--json"]
    code = "from deployments.cli import main; main()"
    command = [sys.executable, "-c", code, "mkid", "wavecal", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["quantities"][0] == {"name": "solved_fraction", "value": 39 / 40, "error": None, "unit": "", "where": {}, "note": ""}
    assert sorted(name.split("_x")[0].removesuffix(".png") for name in said["plots"]) == sorted(figures.NAMES)
    assert read_wavelength_solution(tmp_path / "s.h5").solved.sum() == 39


def test_without_frequencies_one_sentence_says_so_and_the_rest_is_drawn(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plots(made.file, tmp_path, names="rvsf,resolutionimage")
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if not line.startswith("wrote ")] == [figures.NO_FREQUENCIES]
    assert sorted(path.stem.split("_x")[0] for path in tmp_path.glob("*.png")) == ["resolutionimage", "summary"]


def test_json_stays_json_when_something_is_not_drawn(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wavecal(tmp_path / "s.h5", [], inputs=listed(made, tmp_path), plot_names="rvsf", as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["notes"] == [figures.NO_FREQUENCIES]
    assert said["plots"] == ["summary.png"]


def listed(made: Made, folder: Path) -> Path:
    rows = [f"{one.table},{one.wavelength_nm},,,{one.dark}" for one in made.lasers]
    (folder / "inputs.csv").write_text("\n".join(["table,wavelength_nm,start,stop,dark", *rows]))
    return folder / "inputs.csv"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("wavelength,table\n", "no wavelength_nm|no table"),
        ("table,wavelength_nm,gain\n", "'gain' is no column"),
        ("table,wavelength_nm\nt.h5,5\n", "line 2: needs a table"),
        ("table,wavelength_nm,start,stop\nt.h5,900,now,later\n", "start and stop are both"),
    ],
)
def test_wrong_lists_are_told_by_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(RejectedInput, match=reason):
        read_inputs(tmp_path / "list.csv")


def test_parts_of_tables_and_tables_that_say_nothing(made: Made, tmp_path: Path) -> None:
    table = made.lasers[0].table
    (tmp_path / "list.csv").write_text(f"table,wavelength_nm,start,stop\n{table},850,1606000001.5,1606000003\n")
    assert read_inputs(tmp_path / "list.csv")[0].within_us == (1_500_000, 3_000_000)
    (tmp_path / "list.csv").write_text(f"table,wavelength_nm,start,stop\n{table},850,1605999999,1606000003\n")
    with pytest.raises(RejectedInput, match="do not lie in"):
        read_inputs(tmp_path / "list.csv")
    with pytest.raises(Refused, match="does not say"):
        inputs_of_tables([table])
    (tmp_path / "f.txt").write_text("10000 4.5e9\n10001 5.5\n")
    assert read_frequencies(tmp_path / "f.txt") == {10000: 4.5, 10001: 5.5}
    (tmp_path / "f.txt").write_text("10000\n")
    with pytest.raises(RejectedInput, match="line 1"):
        read_frequencies(tmp_path / "f.txt")


def test_a_page_on_pixels_is_drawn_from_the_solution_alone(made: Made, tmp_path: Path) -> None:
    code = "from deployments.cli import main; main()"
    words = ["mkid", "plots", made.file, "--out", tmp_path / "page", "--page", "--pixel", "3,2", "--pixel", "0,0"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Resonator 10019" in page
    assert "1 of 2 pixels have a wavelength solution" in page
    summary = json.loads((tmp_path / "page" / "summary.json").read_text())
    found = {(one["where"]["x"], one["where"]["wavelength_nm"]): one["value"] for one in summary["quantities"]}
    assert found[3, 850.0] == made.solution.resolution[0, 2, 3]
    assert found[0, 850.0] is None
    with np.load(tmp_path / "page" / "numbers" / "energysolution_x3_y2.npz") as saved:
        assert np.array_equal(saved["resolution"], made.solution.resolution[:, 2, 3])
