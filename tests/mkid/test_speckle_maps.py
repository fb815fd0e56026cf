"""Maps of a whole table: the same as the fits of its pixels, in bounded memory, with masks, steps, files and a command."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid import speckle_maps
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.mask_solution import HOT, PixelMasks
from nightcrew.mkid.speckle import SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts
from nightcrew.mkid.speckle_maps import make_maps
from nightcrew.simulate import speckle as light
from tests.mkid.made_tables import START_US, beam_map, table

MAP = beam_map((3, 4))
RULES = SpeckleRules(resamples=20)
SPAN_US = 40_000_000
EDGES = np.array([0, SPAN_US])


@pytest.fixture(scope="module")
def photons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speckles that grow from pixel to pixel; the last pixel is dark."""
    rng = np.random.default_rng(5)
    is_ = np.linspace(20, 120, 12)
    rate = light.correlated_intensities(rng, np.full(12, 200.0), is_, 0.0, 20_000, step_s=0.002, tau_s=0.1)
    rate[11] = 0
    pixel, time_s = light.photon_times(rng, rate, 0.002)
    time_us = (time_s * 1e6).astype(np.int64)
    keep = light.after_dead_time(pixel, time_us, 10)
    path = tmp_path_factory.mktemp("speckles") / "t.h5"
    return table(path, MAP, pixel[keep], time_us[keep], duration_s=SPAN_US / 1e6)


@pytest.mark.parametrize("chunk", [1 << 23, 10_000])
def test_maps_are_the_fits_of_the_pixels(photons: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speckle_maps, "_MOST_VALUES", chunk)
    with open_calibrated(photons, []) as opened:
        maps = make_maps(opened, RULES, EDGES)
        every = opened.photons()
    counts = np.stack([np.bincount(every.time_us[every.pixel == p] // 10_000, minlength=4000) for p in range(12)])
    expected = fit_counts(counts, SpeckleRules(resamples=20, dead_time_s=10e-6))
    assert maps.parameters_cps[1, 0].ravel() == pytest.approx(expected.parameters_cps[:, 1], nan_ok=True)
    assert maps.errors_cps[0, 0].ravel() == pytest.approx(expected.errors_cps[:, 0], nan_ok=True)
    assert maps.flags.ravel().tolist() == expected.flags.tolist()
    assert maps.bootstrapped == (True,)
    assert maps.flags[0, 2, 3] & SpeckleFlag.NO_LIGHT
    truth = np.linspace(20, 120, 12)[:11]
    off = (maps.parameters_cps[1, 0].ravel()[:11] - truth) / maps.errors_cps[1, 0].ravel()[:11]
    assert np.abs(off).max() < 4


def test_intervals_agree_with_bins(photons: Path) -> None:
    with open_calibrated(photons, []) as opened:
        binned, intervals = (make_maps(opened, RULES, EDGES, method=method) for method in ("binned", "intervals"))
    error = np.hypot(binned.errors_cps[1, 0], intervals.errors_cps[1, 0])
    off = ((binned.parameters_cps[1, 0] - intervals.parameters_cps[1, 0]) / error).ravel()[3:11]
    assert np.abs(off).max() < 3
    assert intervals.mean_cps[0].ravel()[:11] == pytest.approx(binned.mean_cps[0].ravel()[:11], rel=0.01)


def test_masked_steps_of_a_pixel_are_not_light(photons: Path) -> None:
    bits = np.zeros((2, 3, 4), dtype=np.uint8)
    bits[0, 1, 1] = HOT  # the first half of pixel 5
    masks = PixelMasks(edges_us=START_US + np.array([0, SPAN_US // 2, SPAN_US]), resid=MAP.resid, bits=bits)
    with open_calibrated(photons, Calibrations(masks=masks)) as opened:
        masked = make_maps(opened, RULES, EDGES)
    with open_calibrated(photons, []) as opened:
        second_half = make_maps(opened, RULES, np.array([SPAN_US // 2, SPAN_US]))
    assert masked.mean_cps[0, 1, 1] == pytest.approx(second_half.mean_cps[0, 1, 1])
    assert masked.parameters_cps[0, 0, 1, 1] == pytest.approx(second_half.parameters_cps[0, 0, 1, 1], rel=0.02)


def test_flagged_pixels_have_no_numbers(photons: Path) -> None:
    bits = np.zeros((1, 3, 4), dtype=np.uint8)
    bits[0, 0, 2] = HOT
    masks = PixelMasks(edges_us=START_US + np.array([0, SPAN_US]), resid=MAP.resid, bits=bits)
    with open_calibrated(photons, Calibrations(masks=masks)) as opened:
        maps = make_maps(opened, SpeckleRules(companion=True, errors="curvature"), np.array([0, SPAN_US // 2, SPAN_US]))
    assert (maps.flags[:, 0, 2] & SpeckleFlag.PIXEL).all()
    assert np.isnan(maps.parameters_cps[:, :, 0, 2]).all()
    assert np.isnan(maps.mean_cps[:, 0, 2]).all()
    assert maps.parameters_cps.shape == (3, 2, 3, 4)


def test_files_and_command(photons: Path, tmp_path: Path) -> None:
    words = ["speckles", str(photons), "--resamples", "20"]
    result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "s.fits"), "--json"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.output)
    assert values["errors"] == "bootstrap"
    assert values["reasons"]["NO_LIGHT"] == 1
    with fits.open(tmp_path / "s.fits", checksum=True) as hdus:
        assert {"IC", "IC_ERR", "IS", "RATIO", "PROB", "TAU", "FLAGS", "VALID"} <= {hdu.name for hdu in hdus}
        assert "IP" not in hdus
        assert hdus["IC"].data.shape == (3, 4)
        assert hdus["VALID"].data.sum() == values["valid"][0]
        assert hdus["FLAGS"].header["FLAG00"] == "NO_LIGHT"
        assert hdus[0].header["ERRORS"] == "block bootstrap"
        assert (hdus[0].header["SPECRATE"], hdus[0].header["SPECDEAD"]) == ("as counted", "not corrected")
    said = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "s.h5"), "--step", "20", "--companion", "--intervals"])
    assert said.exit_code == 0, said.output
    assert "may be believed" in said.output
    assert "as counted, with the dead time made up for" in said.output.replace("\n", " ")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["ip"].shape == (2, 3, 4)
        assert file["ic"].attrs["units"] == "ct / s"
    one, two = (tmp_path / name for name in ("s.fits", "t.fits"))
    CliRunner().invoke(app, [*words, "-o", str(two)])
    assert one.read_bytes() == two.read_bytes()


def test_mistakes_are_told(photons: Path) -> None:
    with open_calibrated(photons, []) as opened:
        with pytest.raises(MissingCalibration, match="wavelength solution"):
            make_maps(opened, RULES, EDGES, window_nm=(800.0, 900.0))
        with pytest.raises(Refused, match="ten bins"):
            make_maps(opened, RULES, np.array([0, 50_000]))
        with pytest.raises(Refused, match="take longer ones"):
            make_maps(opened, SpeckleRules(bin_s=1e-6), EDGES)
        with pytest.raises(Refused, match="take longer steps"):
            make_maps(opened, SpeckleRules(bin_s=1e-6), np.arange(0, SPAN_US, 40))
    found = CliRunner().invoke(app, ["speckles", str(photons), "-o", "x.fits", "--errors", "guess"])
    assert isinstance(found.exception, Refused)
