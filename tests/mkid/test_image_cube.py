"""Images and cubes are the sums that brute force gives, over any window, mask, weight and dead time."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.cube import Cube, make_cube
from nightcrew.mkid.cube_bins import (
    Binner,
    WavelengthBins,
    constant_energy,
    constant_wavelength,
    one_window,
    resolution_matched,
    time_bins,
    time_edges,
)
from nightcrew.mkid.mask_solution import HOT, PixelMasks
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.test_calibrated import cosmic_of, flat_of

MAP = beam_map()
N_PIXELS = MAP.shape[0] * MAP.shape[1]
SPAN_US = 10_000_000
_SLOPE = 0.02  # eV per degree, of linear_solution
MATCHED = resolution_matched(700, 1350, np.array([850.0, 950.0, 1100.0]), np.array([9.0, 8.0, 7.0]))


def random_table(path: Path, seed: int, n: int = 3000, silences: Silences | None = None) -> Path:
    rng = np.random.default_rng(seed)
    pixel, time_us = rng.integers(0, N_PIXELS, n), np.sort(rng.integers(0, SPAN_US, n))
    phase_deg = -HC_EV_NM / rng.uniform(650, 1400, n) / _SLOPE
    return table(path, MAP, pixel, time_us, phase_deg, missing=[START_US // 10**6 + 7], silences=silences)


def silences_of(seed: int) -> Silences:
    """Boards 3 and 9 of three, silent at times that may cross gaps, windows, and steps of masks."""
    rng = np.random.default_rng([seed, 1])
    walls = np.sort(rng.integers(0, SPAN_US, (2, 4))) + START_US
    stretches = {board: [(int(a), int(b)) for a, b in row.reshape(2, 2)] for board, row in zip((3, 9), walls, strict=True)}
    return Silences.of(rng.choice(np.array([3, 7, 9], dtype=np.int16), MAP.shape), stretches)


def calibrations(seed: int) -> Calibrations:
    rng = np.random.default_rng(seed)
    bits = (rng.random((3, *MAP.shape)) < 0.1).astype(np.uint8) * HOT
    masks = PixelMasks(edges_us=START_US + np.array([0, 2_500_000, 6_000_001, SPAN_US]), resid=MAP.resid, bits=bits)
    flat = flat_of([0.8, 0.2]) if rng.random() < 0.7 else None
    cosmic = cosmic_of((3_000_000, 3_020_000), (5_999_990, 6_000_011))
    wanted = rng.random(2) < 0.7
    return Calibrations(
        wavelength=linear_solution(MAP, bad=[3]),
        flat=flat,
        masks=masks if wanted[0] else None,
        cosmic=cosmic if wanted[1] else None,
        linearity_step_s=1.0 if rng.random() < 0.3 else None,
    )


def exposure_by_pieces(opened: CalibratedTable, start_us: int, stop_us: int) -> NDArray[np.float64]:
    """Time [y, x] cut at everything that can begin or end, each piece asked by its middle whether it counts."""
    masks, cosmic = opened.calibrations.masks, opened.calibrations.cosmic
    bad = [(second * 10**6, (second + 1) * 10**6) for second in opened.table.report["missing_seconds"]]
    bad += [] if cosmic is None else list(zip(cosmic.start_us.tolist(), cosmic.stop_us.tolist(), strict=True))
    silences = opened.table.silences
    rows = silences.rows.tolist()
    edges = [edge for _, *stretch in rows for edge in stretch] + ([] if masks is None else masks.edges_us.tolist())
    window = opened.start_us + start_us, opened.start_us + stop_us
    cuts = sorted(
        {*window, *(at for pair in bad for at in pair if window[0] < at < window[1]), *(e for e in edges if window[0] < e < window[1])}
    )
    total = np.zeros(opened.shape)
    for a, b in itertools.pairwise(cuts):
        middle = (a + b) / 2
        if any(low <= middle < high for low, high in bad):
            continue
        silent = np.isin(silences.board, [board for board, low, high in rows if low <= middle < high])
        step = 0 if masks is None else min(max(sum(edge <= middle for edge in masks.edges_us.tolist()) - 1, 0), len(masks.bits) - 1)
        total += (b - a) / 1e6 * (1.0 if masks is None else masks.bits[step] == 0) * ~silent
    return total


def brute_force(opened: CalibratedTable, edges_us: NDArray[np.int64], bins: WavelengthBins | None) -> dict[str, NDArray[np.float64]]:
    """Photon by photon, as the definitions say it."""
    n_waves = 1 if bins is None else bins.n
    shape = (edges_us.size - 1, n_waves, *opened.shape)
    found = {name: np.zeros(shape) for name in ("counts", "weighted", "variance")}
    dead = np.zeros((shape[0], *opened.shape))
    photons = opened.photons()
    rows = zip(photons.pixel.tolist(), photons.time_us.tolist(), photons.wavelength_nm.tolist(), photons.weight.tolist(), strict=True)
    for pixel, time_us, wavelength, weight in rows:
        y, x = divmod(pixel, opened.shape[1])
        for t, (a, b) in enumerate(itertools.pairwise(edges_us.tolist())):
            if not a <= time_us < b:
                continue
            dead[t, y, x] += 1
            for k in range(n_waves):
                if bins is None or bins.edges_nm[k] <= wavelength < bins.edges_nm[k + 1]:
                    found["counts"][t, k, y, x] += 1
                    found["weighted"][t, k, y, x] += weight
                    found["variance"][t, k, y, x] += weight**2
    found["exposure_s"] = np.stack([exposure_by_pieces(opened, a, b) for a, b in itertools.pairwise(edges_us.tolist())])
    if opened.calibrations.linearity_step_s is None:
        found["exposure_s"] = np.maximum(found["exposure_s"] - dead * 10e-6, 0)
    return found


def agree(cube: Cube, expected: dict[str, NDArray[np.float64]]) -> None:
    assert np.array_equal(cube.counts, expected["counts"])
    assert cube.weighted == pytest.approx(expected["weighted"], rel=1e-12)
    assert cube.variance == pytest.approx(expected["variance"], rel=1e-12)
    assert cube.exposure_s == pytest.approx(expected["exposure_s"], abs=1e-9)
    seen = np.broadcast_to(cube.exposure_s[:, None] > 0, cube.shape)
    exposure = np.broadcast_to(cube.exposure_s[:, None], cube.shape)[seen]
    assert cube.rate_cps[seen] == pytest.approx(expected["weighted"][seen] / exposure, rel=1e-12)
    assert cube.rate_error_cps[seen] == pytest.approx(np.sqrt(expected["variance"][seen]) / exposure, rel=1e-12)
    assert np.isnan(cube.rate_cps[~seen]).all()


@given(
    seed=st.integers(0, 2**31),
    window=st.lists(st.integers(0, SPAN_US), min_size=2, max_size=2, unique=True),
    step=st.sampled_from([None, 1_000_000, 333_333]),
    bins=st.sampled_from([None, one_window(800, 1200), constant_energy(700, 1300, 0.2), constant_wavelength(750, 1250, 60), MATCHED]),
)
@settings(max_examples=15, deadline=None)
def test_cubes_are_what_brute_force_gives(seed: int, window: list[int], step: int | None, bins: WavelengthBins | None) -> None:
    edges = time_edges(min(window), max(window), step)
    with tempfile.TemporaryDirectory() as folder:
        path = random_table(Path(folder) / "t.h5", seed, silences=silences_of(seed) if seed % 2 else None)
        with open_calibrated(path, calibrations(seed)) as opened:
            agree(make_cube(opened, edges, bins), brute_force(opened, edges, bins))
        with open_calibrated(path, []) as plain:
            agree(make_cube(plain, edges), brute_force(plain, edges, None))


@given(edges=st.lists(st.floats(500, 2000), min_size=2, max_size=40, unique=True), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_bins_of_wavelength_are_those_of_a_search(edges: list[float], seed: int) -> None:
    walls = np.sort(np.array(edges))
    rng = np.random.default_rng(seed)
    values = np.concatenate(
        [rng.uniform(400, 2100, 2000), walls, np.nextafter(walls, 0), np.nextafter(walls, 1e9), [np.nan, np.inf, -np.inf, 0.0]]
    )
    for kind in (np.float64, np.float32):
        typed: NDArray[np.floating] = values.astype(kind)
        expected = np.searchsorted(walls, typed.astype(np.float64), side="right") - 1
        expected[(expected >= walls.size - 1) | np.isnan(typed)] = -1
        assert np.array_equal(Binner(walls)(typed), expected)


def test_axes_keep_their_order(tmp_path: Path) -> None:
    """A scene that looks different from every side: x = 3, y = 1, in the third second, at 1010 nm."""
    pixel = 1 * MAP.shape[1] + 3
    path = table(tmp_path / "t.h5", MAP, [pixel], [2_500_000], [-HC_EV_NM / 1010 / _SLOPE])
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP))) as opened:
        cube = make_cube(opened, time_edges(0, SPAN_US, 1_000_000), constant_wavelength(700, 1300, 100))
        assert cube.shape == (10, 6, *MAP.shape)
        assert np.argwhere(cube.counts).tolist() == [[2, 3, 1, 3]]
        assert np.argwhere(make_cube(opened, time_edges(0, SPAN_US)).counts[0, 0]).tolist() == [[1, 3]]


def test_dead_time_is_taken_once(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, np.zeros(5000, int), np.arange(5000) * 2000)
    edges = time_edges(0, SPAN_US)
    with open_calibrated(path, []) as opened:
        cube = make_cube(opened, edges)
        assert cube.dead_time_in == "exposure"
        assert cube.exposure_s[0, 0, 0] == pytest.approx(10 - 5000 * 10e-6)
        assert cube.rate_cps[0, 0, 0, 0] == pytest.approx(500 / (1 - 500 * 10e-6))
        assert make_cube(opened, edges, dead_time=False).exposure_s[0, 0, 0] == 10
    with open_calibrated(path, [], linearity_step_s=1.0) as opened:
        cube = make_cube(opened, edges)
        assert cube.dead_time_in == "weights"
        assert cube.exposure_s[0, 0, 0] == 10
        assert cube.rate_cps[0, 0, 0, 0] == pytest.approx(500 / (1 - 500 * 10e-6), rel=1e-6)


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0], [1])
    with open_calibrated(path, []) as opened:
        with pytest.raises(MissingCalibration, match="wavelength solution"):
            make_cube(opened, time_edges(0, SPAN_US), one_window(800, 900))
        with pytest.raises(Refused, match="not within the table"):
            make_cube(opened, time_edges(0, SPAN_US + 1))
    solution = replace(Calibrations(), wavelength=linear_solution(MAP))
    with open_calibrated(path, solution) as opened:
        nothing = make_cube(opened, time_edges(5_000_000, 6_000_000), one_window(800, 900))
        assert nothing.counts.sum() == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: constant_energy(700, 1500, 0.0), "do not divide"),
        (lambda: constant_energy(700, 1500, 5.0), "do not divide"),
        (lambda: constant_wavelength(700, 1500, -1.0), "do not divide"),
        (lambda: one_window(900, 800), "no window"),
        (lambda: one_window(float("nan"), 800), "no window"),
        (lambda: time_edges(5, 5), "ends before"),
        (lambda: time_edges(0, 10**12, 1), "do not divide"),
        (lambda: resolution_matched(700, 1500, np.array([1000.0]), np.array([np.nan])), "not known"),
    ],
)
def test_bins_that_cannot_be_are_refused(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(Refused, match=words):
        make()


def test_bins_have_the_widths_that_were_asked_for() -> None:
    energy = constant_energy(700, 1500, 0.1)
    assert energy.n == int((HC_EV_NM / 700 - HC_EV_NM / 1500) / 0.1)
    assert np.diff(HC_EV_NM / energy.edges_nm) == pytest.approx(np.diff(HC_EV_NM / energy.edges_nm)[0])
    assert HC_EV_NM / energy.centres_nm == pytest.approx((HC_EV_NM / energy.edges_nm[1:] + HC_EV_NM / energy.edges_nm[:-1]) / 2)
    assert np.diff(constant_wavelength(700, 1500, 100).edges_nm) == pytest.approx(np.full(8, 100.0))
    matched = resolution_matched(700, 1500, np.array([800.0, 1400.0]), np.array([8.0, 8.0]))
    steps = np.diff(matched.edges_nm) / matched.edges_nm[:-1]
    assert steps == pytest.approx(np.full(steps.size, 1 / 16), rel=0.1)
    for bins in (energy, matched):
        assert (bins.edges_nm[0], bins.edges_nm[-1]) == pytest.approx((700, 1500))
    edges = time_edges(0, 2_500_000, 1_000_000)
    assert edges.tolist() == [0, 1_000_000, 2_000_000, 2_500_000]  # the last one is shorter, and kept
    assert time_bins(np.array([0, 999_999, 1_000_000, 2_499_999]), edges).tolist() == [0, 0, 1, 2]
    assert time_bins(np.array([0, 4, 5, 99]), np.array([0, 5, 100])).tolist() == [0, 0, 1, 1]
