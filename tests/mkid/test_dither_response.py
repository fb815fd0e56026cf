"""A standard star gives the response, and the response gives its flux back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import NightcrewError, Refused, RejectedInput
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.cube import make_cube
from nightcrew.mkid.cube_bins import constant_wavelength, time_edges
from nightcrew.mkid.spectra import spectrum
from nightcrew.mkid.spectra_response import (
    Reference,
    Response,
    averaged,
    calibrated_flux,
    read_reference,
    read_response,
    response_of,
    write_response,
)
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from nightcrew.simulate.speckle_scene import photons_of_rates, point_source
from tests.mkid.made_tables import beam_map, linear_solution, table

EDGES = np.arange(800.0, 1301.0, 50.0)


def flux_at(nm: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return 1e-14 * (nm / 1000) ** -3.0


def test_smoothing_keeps_a_straight_line_and_widens_a_peak() -> None:
    nm = np.linspace(600, 1600, 3000)
    assert averaged(Reference(wavelength_nm=nm, flux=nm), EDGES, 30.0) == pytest.approx((EDGES[1:] + EDGES[:-1]) / 2, rel=1e-3)
    peak = Reference(wavelength_nm=nm, flux=np.where(np.abs(nm - 1000) < 2, 1.0, 0.0))
    wide = averaged(peak, np.arange(700.0, 1401.0, 2.0), 10.0)
    middles = np.arange(701.0, 1401.0, 2.0)
    mean = (wide * middles).sum() / wide.sum()
    assert np.sqrt((wide * (middles - mean) ** 2).sum() / wide.sum()) == pytest.approx(1000 / 10 / 2.3548, rel=0.03)
    assert np.isnan(averaged(peak, np.array([500.0, 700.0, 1700.0]), 10.0)).all()


def test_the_standard_star_has_its_flux_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    placed = beam_map()
    bright = 7
    nm = rng.uniform(750, 1350, 200_000)
    path = table(tmp_path / "t.h5", placed, np.full(nm.size, bright), rng.integers(0, 10_000_000, nm.size), -HC_EV_NM / nm / 0.02)
    fine = np.linspace(600, 1600, 2000)
    reference = Reference(wavelength_nm=fine, flux=flux_at(fine))
    bins = constant_wavelength(800, 1300, 50)
    with open_calibrated(path, Calibrations(wavelength=linear_solution(placed))) as opened:
        star = spectrum(opened, [bright], 0, 10_000_000, bins)
        response = response_of(star, reference, 10.0)
        cube = make_cube(opened, time_edges(0, 10_000_000), bins)
        halves, doubles = (
            calibrated_flux(make_cube(opened, time_edges(0, 10_000_000), constant_wavelength(800, 1300, width)), response)[0]
            for width in (25, 100)
        )
        flux, error = calibrated_flux(cube, response)
        with pytest.raises(Refused, match="without wavelengths"):
            calibrated_flux(make_cube(opened, time_edges(0, 10_000_000)), response)
    y, x = divmod(bright, placed.shape[1])
    assert flux[0, :, y, x] == pytest.approx(averaged(reference, EDGES, 10.0), rel=1e-9)
    assert (response.error / response.factor) == pytest.approx(1 / np.sqrt(star.counts), rel=1e-6)
    assert error[0, :, y, x] == pytest.approx(flux[0, :, y, x] * np.sqrt(2 / star.counts), rel=1e-6)
    # other bins see the same flux by wavelength, within the noise of their counts and the curvature of the spectrum
    assert halves[0, 1:-1, y, x] == pytest.approx(flux_at(np.arange(837.5, 1263, 25.0)), rel=0.06)
    assert doubles[0, :, y, x] == pytest.approx(flux_at(np.arange(850.0, 1251, 100.0)), rel=0.06)


def test_a_response_is_not_known_beside_a_bin_without_light_and_older_files_are_read(tmp_path: Path) -> None:
    placed = beam_map()
    factor = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    response = Response(edges_nm=EDGES, factor=factor, error=0.1 * factor)
    nm = np.full(400, 950.0)
    path = table(tmp_path / "t.h5", placed, np.zeros(400, int), np.arange(400) * 1000, -HC_EV_NM / nm / 0.02)
    with open_calibrated(path, Calibrations(wavelength=linear_solution(placed))) as opened:
        cube = make_cube(opened, time_edges(0, 10_000_000), constant_wavelength(800, 1300, 20))
    known = np.isfinite(calibrated_flux(cube, response)[0][0, :, 0, 0])
    middles = np.arange(810.0, 1300, 20)
    assert known.tolist() == (((middles >= 825) & (middles <= 875)) | ((middles >= 975) & (middles <= 1275))).tolist()
    written = write_response(tmp_path / "r.ecsv", response)
    older = tmp_path / "older.ecsv"
    older.write_text(written.read_text().replace("nightcrew response 2", "nightcrew response 1"))
    assert read_response(written).factor == pytest.approx(factor, nan_ok=True)
    assert read_response(older).factor == pytest.approx(50 * factor, nan_ok=True)


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, NightcrewError):
        raise result.exception
    assert result.exit_code == 0, result.output


def test_the_commands_give_flux_above_the_sky(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    placed = beam_map()
    star, everywhere = rng.uniform(700, 1500, 100_000), rng.uniform(700, 1500, 40_000)
    pixel = np.concatenate([np.full(star.size, 7), rng.integers(0, placed.n_pixels, everywhere.size)])
    nm = np.concatenate([star, everywhere])
    path = table(tmp_path / "t.h5", placed, pixel, rng.integers(0, 10_000_000, nm.size), -HC_EV_NM / nm / 0.02)
    linear_solution(placed).write(tmp_path / "wavecal.h5")
    fine = np.linspace(600, 1700, 500)
    (tmp_path / "ref.csv").write_text("".join(f"{a:.2f},{b:.5e}\n" for a, b in zip(fine, flux_at(fine), strict=True)))
    common = ["--solution", tmp_path / "wavecal.h5", "--overwrite"]
    place = ["--x", 2, "--y", 1, "--radius", 0.5, "--resolution", 10]
    run("response", path, "-o", tmp_path / "r.ecsv", "--reference", tmp_path / "ref.csv", *place, "--sky", "0.9,2.5", *common)
    found = read_response(tmp_path / "r.ecsv")
    run("cube", path, "-o", tmp_path / "c.fits", "--energy-width", 0.1, "--response", tmp_path / "r.ecsv", *common)
    with fits.open(tmp_path / "c.fits") as hdus:
        flux, error = hdus["FLUX"].data[:, 1, 2], hdus["FLUX_ERR"].data[:, 1, 2]
        sky = hdus["FLUX"].data[:, 3, 0]
        assert hdus["FLUX"].header["BUNIT"] == "erg / (s cm2 AA)"
    wanted = averaged(read_reference(tmp_path / "ref.csv"), found.edges_nm, 10.0)
    assert (np.abs(flux - sky - wanted) < 5 * error + 0.1 * sky).all()
    with pytest.raises(Refused, match="resolution is not known"):
        run("response", path, "-o", tmp_path / "r.ecsv", "--reference", tmp_path / "ref.csv", *place[:6], *common)
    for bad in (tmp_path / "ref.csv", tmp_path / "wavecal.h5"):
        with pytest.raises(RejectedInput, match="no response"):
            run("cube", path, "-o", tmp_path / "c.fits", "--energy-width", 0.1, "--response", bad, *common)


def test_light_on_flagged_pixels_is_made_up_for_or_refused(tmp_path: Path) -> None:
    shape, rng = (15, 15), np.random.default_rng(6)
    placed = beam_map(shape)
    rate = point_source(shape, (7.2, 6.9), 30_000.0, 3.0) + 5.0
    pixel, time_us = photons_of_rates(rng, rate, 0, 10_000_000)
    nm = rng.uniform(800, 1300, pixel.size)
    path = table(tmp_path / "t.h5", placed, pixel, time_us, -HC_EV_NM / nm / 0.02, dead_time_us=0.0)
    (tmp_path / "ref.csv").write_text("700,1e-14\n1500,1e-14\n")
    for name, bad in (("whole", []), ("holes", [7 * 15 + 8, 5 * 15 + 7]), ("lost", [y * 15 + x for y in (6, 7) for x in (6, 7, 8)])):
        linear_solution(placed, bad=bad).write(tmp_path / f"{name}.h5")

    def factors(name: str) -> Response:
        words = ["--reference", tmp_path / "ref.csv", "--x", 7, "--y", 7, "--radius", 4, "--resolution", 10, "--sky", "5,7"]
        run("response", path, "-o", tmp_path / f"{name}.ecsv", *words, "-s", tmp_path / f"{name}.h5", "--min-nm", 800, "--max-nm", 1300)
        return read_response(tmp_path / f"{name}.ecsv")

    whole, holes = factors("whole"), factors("holes")
    assert holes.factor == pytest.approx(whole.factor, rel=0.02)
    assert (holes.error > whole.error).all()
    with pytest.raises(Refused, match="of the star's light"):
        factors("lost")


def test_references_are_read_or_rejected_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "star.csv"
    path.write_text("wavelength_nm,flux\n900,2e-14\n# remark\n800 1e-14\n")
    found = read_reference(path)
    assert found.wavelength_nm.tolist() == [800, 900]
    assert found.flux.tolist() == [1e-14, 2e-14]
    for text, sentence in (("a,b\n1,2\n3,x\n", "line 3"), ("1,2\n-1,3\n", "line 2"), ("1,nan\n2,3\n", "line 1"), ("\0\1\2", "no spectrum")):
        path.write_text(text)
        with pytest.raises(RejectedInput, match=sentence):
            read_reference(path)
