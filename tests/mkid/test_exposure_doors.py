"""Every door to a rate knows that a pixel did not count while its board was silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.cube import make_cube
from nightcrew.mkid.cube_bins import constant_energy
from nightcrew.mkid.dither import Field
from nightcrew.mkid.dither_combine import DitherWish, combine
from nightcrew.mkid.dither_speckles import combine_maps, place_maps
from nightcrew.mkid.image import CubeWish
from nightcrew.mkid.lightcurve import light_curve
from nightcrew.mkid.lightcurve_files import make_light
from nightcrew.mkid.quicklook import hot_pixels, look_at_table
from nightcrew.mkid.quicklook_raw import look_at_seconds
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.speckle import SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_maps import make_maps
from nightcrew.mkid.spectra import spectrum
from nightcrew.mkid.spectra_response import Reference, response_of
from reports.mkid_images import steady_pixels, time_plot
from reports.mkid_quicklook import page_data
from reports.mkid_quicklook_server import pixel_answer
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.streams import make, write
from tests.mkid.test_gaps import without_board

SHAPE, SPAN_US, SILENT_US = (4, 5), 10_000_000, (3_000_000, 7_000_000)
MAP = beam_map(SHAPE)
BOARD = np.repeat(np.array([[1, 1, 2, 2, 2]], dtype=np.int16), 4, axis=0)
PIXELS = {"heard": 5, "silent": 8}  # row 1: columns 0 and 3
WINDOW = np.array([0, SPAN_US])
BINS = constant_energy(700.0, 1500.0, 0.1)
RULES = SpeckleRules(decorrelation_s=1e6, errors="curvature", least_times=0.0)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steady light; board 2 says nothing for four of ten seconds, and its pixels have no photon then."""
    rng = np.random.default_rng(8)
    pixel, time_us = rng.integers(0, MAP.n_pixels, 40_000), rng.integers(0, SPAN_US, 40_000)
    heard = (BOARD.ravel()[pixel] == 1) | (time_us < SILENT_US[0]) | (time_us >= SILENT_US[1])
    place = tmp_path_factory.mktemp("doors") / "t.h5"
    silent = Silences.of(BOARD, {2: [(START_US + SILENT_US[0], START_US + SILENT_US[1])]})
    log = {"log_star_x": "2", "log_star_y": "2"}
    return table(place, MAP, pixel[heard], time_us[heard], -1239.84 / 1000 / 0.02, silences=silent, exposure=log)


@pytest.fixture
def opened(path: Path) -> Iterator[CalibratedTable]:
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP))) as found:
        yield found


def _cube(opened: CalibratedTable, pixel: int, steps: int = 1) -> float:
    cube = make_cube(opened, np.linspace(0, SPAN_US, steps + 1).astype(np.int64))
    weighted, exposure_s = (values.reshape(steps, -1)[:, pixel].sum() for values in (cube.weighted, cube.exposure_s))
    return float(weighted / exposure_s)


def _curve(opened: CalibratedTable, pixel: int) -> float:
    found = light_curve(opened, [pixel], np.arange(0, SPAN_US + 1, 500_000))
    return float(found.weighted.sum() / found.exposure_s.sum())


def _response(opened: CalibratedTable, pixel: int) -> float:
    star = spectrum(opened, [pixel], 0, SPAN_US, BINS)
    flat = Reference(wavelength_nm=np.array([500.0, 2000.0]), flux=np.ones(2))
    return float(np.nansum(np.diff(BINS.edges_nm) / response_of(star, flat, 10.0).factor))


def _dither(opened: CalibratedTable, pixel: int) -> float:
    wish = DitherWish(cube=CubeWish(), register="log")
    result = combine([opened.table.path], lambda path: open_calibrated(path, []), wish).drizzled
    x, y = pixel % SHAPE[1] - 2 + result.grid.centre[0], pixel // SHAPE[1] - 2 + result.grid.centre[1]
    assert result.exposure_s[round(y), round(x)] == pytest.approx(6.0 if pixel == PIXELS["silent"] else 10.0, rel=0.005)
    return float(result.rate_cps[0, round(y), round(x)])


def _dither_speckles(opened: CalibratedTable, pixel: int) -> float:
    result, _ = combine_maps([place_maps(opened, RULES, (2.0, 2.0), Field())])
    x, y = pixel % SHAPE[1] - 2 + result.grid.centre[0], pixel // SHAPE[1] - 2 + result.grid.centre[1]
    assert result.exposure_s[round(y), round(x)] == pytest.approx(6.0 if pixel == PIXELS["silent"] else 10.0, rel=0.005)
    return float(result.rate_cps[:2, round(y), round(x)].sum())


def _maps(opened: CalibratedTable, pixel: int, method: str) -> float:
    maps = make_maps(opened, RULES, WINDOW, method="intervals" if method == "intervals" else "binned")
    assert maps.parameters_cps[:, 0].reshape(3, -1)[:, pixel].sum() == pytest.approx(maps.mean_cps.ravel()[pixel], rel=0.02)
    return float(maps.mean_cps.ravel()[pixel])


def _quick_look(opened: CalibratedTable, pixel: int) -> float:
    look = look_at_table(opened, "t", bin_s=0.01)
    bins = int(look.histogram[pixel].sum())
    assert bins == (600 if pixel == PIXELS["silent"] else 1000)
    assert look.moments[pixel, 1] == pytest.approx(look.moments[pixel, 0], rel=0.2)  # steady light
    assert look.rician_per_bin[pixel].sum() == pytest.approx(look.moments[pixel, 0], rel=0.01)
    return float(look.moments[pixel, 0] / 0.01)


def _served(opened: CalibratedTable, pixel: int) -> float:
    answer = pixel_answer(opened, {"x": str(pixel % SHAPE[1]), "y": str(pixel // SHAPE[1]), "step": "0.5"})
    assert [step for step, count in enumerate(answer["counts"]) if count is None] == (list(range(6, 14)) if pixel == 8 else [])
    return float(answer["photons"] / answer["read_s"])


def _histogram(opened: CalibratedTable, pixel: int) -> float:
    made = make_light("histogram", opened, [pixel], CubeWish(step_s=0.01))
    return float((made["counts"] * made["bins"]).sum() / made["bins"].sum() / 0.01)


def _intervals(opened: CalibratedTable, pixel: int) -> float:
    made = make_light("intervals", opened, [pixel], CubeWish())
    assert made["stop"].max() < 1
    return float(made["intervals"].sum() / (made["intervals"] * np.sqrt(made["start"] * made["stop"])).sum())


DOORS: dict[str, Callable[[CalibratedTable, int], float]] = {
    "image": _cube,
    "cube in time": lambda opened, pixel: _cube(opened, pixel, 20),
    "cube in wavelength": lambda opened, pixel: float(make_cube(opened, WINDOW, BINS).rate_cps[0].sum(axis=0).ravel()[pixel]),
    "light curve": _curve,
    "spectrum": lambda opened, pixel: float(spectrum(opened, [pixel], 0, SPAN_US, BINS).rate_cps.sum()),
    "response": _response,
    "dither": _dither,
    "speckles in bins": lambda opened, pixel: _maps(opened, pixel, "binned"),
    "speckles without bins": lambda opened, pixel: _maps(opened, pixel, "intervals"),
    "speckles of a dither": _dither_speckles,
    "quick look": _quick_look,
    "quick look served": _served,
    "histogram": _histogram,
    "intervals": _intervals,
}


@pytest.mark.parametrize("door", DOORS)
def test_rates_are_those_of_the_time_in_which_the_pixel_was_read_out(opened: CalibratedTable, door: str) -> None:
    counts = opened.table.counts().ravel()
    for name, pixel in PIXELS.items():  # the light is steady, so that rates are photons by time
        true_cps = counts[pixel] / (6.0 if name == "silent" else 10.0)
        assert DOORS[door](opened, pixel) == pytest.approx(true_cps, rel=0.03 if door == "intervals" else 0.005), name


def test_silences_of_a_board_break_no_interval_of_other_pixels(tmp_path: Path) -> None:
    """The longest intervals meet a silence first: without them the light of other boards would seem far too bright."""
    rng = np.random.default_rng(9)
    n = 2000
    pixel, time_us = np.repeat([PIXELS["heard"], PIXELS["silent"]], n), rng.integers(0, 100_000_000, 2 * n)
    often = [(START_US + at, START_US + at + 15_000) for at in range(0, 100_000_000, 50_000)]
    heard = (pixel == PIXELS["heard"]) | (time_us % 50_000 >= 15_000)
    path = table(tmp_path / "t.h5", MAP, pixel[heard], time_us[heard], duration_s=100.0, silences=Silences.of(BOARD, {2: often}))
    with open_calibrated(path, []) as opened:
        maps = make_maps(opened, RULES, np.array([0, 100_000_000]), method="intervals")
    assert maps.mean_cps.ravel()[PIXELS["heard"]] == pytest.approx(n / 100.0, rel=0.01)
    few = (maps.flags.ravel()[[PIXELS["heard"], PIXELS["silent"]]] & SpeckleFlag.FEW_COUNTS) != 0
    assert few.tolist() == [False, True]  # less than a photon between two silences: only short intervals are left


def test_the_light_curve_of_a_page_is_that_of_the_same_pixels(opened: CalibratedTable) -> None:
    """Board 2 has 12 of 20 pixels: without them the median would be that of others."""
    cube = make_cube(opened, np.arange(0, SPAN_US + 1, 1_000_000))
    assert np.array_equal(steady_pixels(cube.rate_cps[:, 0], cube.bad), BOARD == 1)
    plot = time_plot(cube)
    rates = cube.rate_cps[:, 0, BOARD == 1]
    assert plot.numbers["median_cps"] == pytest.approx(np.median(rates, axis=1))
    assert "8 pixels that counted in every step" in plot.caption


def test_the_page_knows_when_each_pixel_was_read_out(opened: CalibratedTable) -> None:
    look = look_at_table(opened, "t")
    data = page_data(look)
    assert data["unread"] == [[], [[3.0, 7.0]]]
    assert any("Board 2 was silent for 4.000 s, which is no exposure of its 12 pixels" in remark for remark in look.remarks)


def test_pixels_of_a_silent_board_make_their_neighbours_no_hot_ones() -> None:
    rng = np.random.default_rng(1)
    read_s = np.where(rng.random((12, 12)) < 0.7, 0.5, 10.0)
    counts = rng.poisson(100 * read_s)
    assert hot_pixels(counts).any()
    assert not hot_pixels(counts, read_s).any()
    counts[3, 3] = 1000 * read_s[3, 3]
    assert np.argwhere(hot_pixels(counts, read_s)).tolist() == [[3, 3]]


def test_raw_seconds_know_of_silent_boards_and_of_their_own_ends(tmp_path: Path) -> None:
    """Board 4 says nothing for half of the second, and the file ends early: neither is dark light."""
    second = 1_606_000_000
    made = make(2, start_us=second * 1_000_000, span_us=1_000_000, n_photons=40_000, boards=(3, 4))
    kept = without_board(made.stretch.words, made.stretch.frame_at.tolist(), 4, (600, 1600))
    stop = np.flatnonzero(kept == made.stretch.words[made.stretch.frame_at[-600]])
    whole = replace(made, stretch=replace(made.stretch, words=kept[: int(stop[0])]))
    write(tmp_path, whole)
    look = look_at_seconds([tmp_path / f"{second}.bin"], made.shape)
    read_s = np.array([(1_000_000 - sum(b - a for a, b in data)) / 1e6 for data in _unread_us(look)])
    assert read_s == pytest.approx([0.85, 0.35], abs=0.02)
    bins = look.histogram.sum(axis=1)
    assert bins[look.silences.board.ravel() == 3] == pytest.approx(85, abs=2)
    assert bins[look.silences.board.ravel() == 4] == pytest.approx(35, abs=3)
    assert any(remark.startswith("Not known: what the next file holds") for remark in look.remarks)


def _unread_us(look: Any) -> list[list[tuple[float, float]]]:
    return [[(a * 1e6, b * 1e6) for a, b in one] for one in page_data(look)["unread"]]
