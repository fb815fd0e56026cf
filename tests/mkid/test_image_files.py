"""Files of cubes: every reader finds axes, units, edges and coordinates where the standard has them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS

from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.cube import Cube, make_cube
from nightcrew.mkid.cube_bins import WavelengthBins, constant_energy, constant_wavelength, resolution_matched, time_edges
from nightcrew.mkid.cube_files import axes_of, write_cube
from nightcrew.mkid.image_sky import sky_of
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from nightcrew.simulate.speckle_scene import companion_px
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.test_image_cube import random_table

MAP = beam_map()


def cube_of(folder: Path, step_us: int | None, bins: WavelengthBins | None) -> Cube:
    with open_calibrated(random_table(folder / "t.h5", 5), Calibrations(wavelength=linear_solution(MAP, bad=[3]))) as opened:
        return make_cube(opened, time_edges(1_000_000, 9_500_000, step_us), bins)


@pytest.mark.parametrize(
    ("step_us", "bins", "shape"),
    [
        (None, None, MAP.shape),
        (2_000_000, None, (5, *MAP.shape)),
        (None, constant_energy(700, 1400, 0.1), (8, *MAP.shape)),
        (2_000_000, constant_energy(700, 1400, 0.1), (5, 8, *MAP.shape)),
    ],
)
def test_fits_has_the_axes_and_every_array(
    tmp_path: Path, step_us: int | None, bins: WavelengthBins | None, shape: tuple[int, ...]
) -> None:
    cube = cube_of(tmp_path, step_us, bins)
    path = write_cube(tmp_path / "cube.fits", cube)
    with fits.open(path, checksum=True) as hdus:
        assert hdus[0].data.shape == shape
        assert hdus["PHOTONS"].data.ravel().tolist() == cube.counts.ravel().tolist()
        assert np.array_equal(hdus["VARIANCE"].data.ravel(), cube.variance.ravel())
        assert hdus["EXPOSURE"].data.shape == (shape if bins is None else (shape[0], *MAP.shape) if len(shape) == 4 else MAP.shape)
        assert (hdus[0].header["BUNIT"], hdus["COUNTS"].header["BUNIT"], hdus["EXPOSURE"].header["BUNIT"]) == ("ct / s", "ct", "s")
        assert hdus["TIME_EDGES"].data == pytest.approx(cube.time_edges_us / 1e6)
        assert ("WAVE_EDGES" in hdus) is (bins is not None)
        names = [hdus["FLAGS"].header[f"FLAG{bit:02d}"] for bit in range(len(f.FLAGS))]
        assert names == list(f.FLAGS)
        assert hdus["MASK"].data.reshape(-1, *MAP.shape)[:, 0, 3].all()
        assert hdus[0].header["DATE-BEG"].startswith("20")
        assert hdus[0].header["TIMESYS"] == "UTC"
    read = CCDData.read(path)
    assert str(read.unit) == "ct / s"
    assert read.uncertainty.array.shape == shape
    assert read.mask.shape == shape


@pytest.mark.parametrize(
    ("bins", "kind"),
    [
        (constant_energy(700, 1400, 0.1), "ENER"),
        (constant_wavelength(700, 1400, 50), "WAVE"),
        (resolution_matched(700, 1400, np.array([1000.0]), np.array([8.0])), "WAVEBIN"),
    ],
)
def test_coordinates_of_the_third_axis_are_the_middles_of_the_bins(tmp_path: Path, bins: WavelengthBins, kind: str) -> None:
    header = fits.getheader(write_cube(tmp_path / "cube.fits", cube_of(tmp_path, None, bins)))
    assert header["CTYPE3"] == kind
    values = header["CRVAL3"] + (np.arange(bins.n) + 1 - header["CRPIX3"]) * header["CDELT3"]
    if kind == "ENER":
        assert HC_EV_NM / values == pytest.approx(bins.centres_nm)
        assert WCS(header).wcs_pix2world([[0, 0, 2]], 0)[0, 2] * 6.241509074e18 == pytest.approx(HC_EV_NM / bins.centres_nm[2], rel=1e-6)
    elif kind == "WAVE":
        assert values == pytest.approx(bins.centres_nm)


@pytest.mark.parametrize("step_us", [None, 2_000_000])
def test_the_sky_is_where_the_log_says(tmp_path: Path, step_us: int | None) -> None:
    log = {"log_ra_deg": "20", "log_dec_deg": 30.0, "log_star_x": "2.2", "log_star_y": "1.5", "log_plate_scale_mas": "10"}
    path = table(tmp_path / "t.h5", MAP, [0], [1], exposure={**log, "log_position_angle_deg": "35"})
    with open_calibrated(path, []) as opened:
        cube, sky = make_cube(opened, time_edges(0, 10_000_000, step_us)), sky_of(opened)
    header = fits.getheader(write_cube(tmp_path / "i.fits", cube, sky=sky))
    found = WCS(header).celestial
    for separation, position in ((100.0, 0.0), (100.0, 90.0), (60.0, 250.0)):
        place = companion_px((2.2, 1.5), separation, position, 35.0)
        ra, dec = found.wcs_pix2world([place], 0)[0]
        offset = separation * 10 / 3.6e6 * np.array([np.sin(np.deg2rad(position)), np.cos(np.deg2rad(position))])
        assert ((ra - 20) * np.cos(np.deg2rad(30)), dec - 30) == pytest.approx(tuple(offset), abs=1e-8)
    bare = table(tmp_path / "b.h5", MAP, [0], [1], exposure={"log_ra_deg": "20"})
    with open_calibrated(bare, []) as opened:
        assert sky_of(opened) == []


def test_hdf5_has_the_same_arrays_and_says_what_they_are(tmp_path: Path) -> None:
    cube = cube_of(tmp_path, 2_000_000, constant_wavelength(700, 1400, 100))
    with h5py.File(write_cube(tmp_path / "cube.h5", cube)) as file:
        assert file.attrs["axes"].tolist() == ["time", "wavelength", "y", "x"]
        assert np.array_equal(file["counts"][:], cube.weighted)
        assert file["sci"].attrs["units"] == "ct / s"
        assert file["wave_edges"][:] == pytest.approx(cube.wavelengths.edges_nm if cube.wavelengths else [])
        assert file["exposure"].shape == (5, *MAP.shape)


def test_every_array_has_the_exposure_of_gaps_and_dead_time_and_its_coordinates(tmp_path: Path) -> None:
    """A second is missing, and each photon costs 10 us; the sky stands in FITS and HDF5, by the same words."""
    log = {"log_ra_deg": 20.0, "log_dec_deg": 30.0, "log_star_x": 2.2, "log_star_y": 1.5, "log_plate_scale_mas": 10.0}
    photons = [0] * 500 + [7] * 20
    times = list(range(0, 5_000_000, 10_000)) + list(range(0, 2_000_000, 100_000))
    path = table(tmp_path / "t.h5", MAP, photons, times, exposure=log, missing=[START_US // 10**6 + 6])
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP))) as opened:
        cube, sky = make_cube(opened, time_edges(0, 10_000_000, 5_000_000), constant_wavelength(700, 1400, 100)), sky_of(opened)
    expected = np.full((2, *MAP.shape), 5.0)
    expected[1] -= 1.0
    expected[0, 0, 0] -= 500 * 10e-6
    expected[0].ravel()[7] -= 20 * 10e-6
    write_cube(tmp_path / "c.fits", cube, sky=sky)
    write_cube(tmp_path / "c.h5", cube, sky=sky)
    with fits.open(tmp_path / "c.fits") as hdus, h5py.File(tmp_path / "c.h5") as file:
        assert hdus["EXPOSURE"].data == pytest.approx(expected, abs=1e-9)
        assert file["exposure"][:] == pytest.approx(expected, abs=1e-9)
        assert file["time_edges"][:].tolist() == hdus["TIME_EDGES"].data.tolist() == [0.0, 5.0, 10.0]
        for name, kinds in (("SCI", ["WAVE", "TIME"]), ("EXPOSURE", ["TIME"]), ("FLAGS", [])):
            header, attributes = hdus[name].header, dict(file[name.lower()].attrs)
            named = [key for key in header if key.startswith(("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT", "PC1_", "PC2_"))]
            assert {key: header[key] for key in named} == {key: attributes[key] for key in named}
            assert [header[f"CTYPE{axis}"] for axis in range(3, 3 + len(kinds))] == kinds
            assert WCS(header).celestial.wcs_pix2world([[2.2, 1.5]], 0)[0] == pytest.approx([20.0, 30.0], abs=1e-9)


@pytest.mark.parametrize("ending", ["fits", "h5"])
def test_the_same_cube_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    cube = cube_of(tmp_path, 2_000_000, None)
    one, two = (write_cube(tmp_path / f"{name}.{ending}", cube).read_bytes() for name in "ab")
    assert one == two


def test_hostile_values_of_the_log_stay_values(tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.h5",
        MAP,
        [0],
        [1],
        exposure={"log_NAXIS = 5 / x": "END\n\x1b'", "log_target": "a'b\N{SNOWMAN}" * 30, "log_x": float("nan")},
    )
    with open_calibrated(path, []) as opened:
        cube = make_cube(opened, time_edges(0, 1_000_000))
    header = fits.getheader(write_cube(tmp_path / "i.fits", cube))
    assert header["NAXIS"] == 2
    assert header["TABLE LOG_TARGET"].startswith("a'b?")
    assert axes_of(cube) == ()
    assert cube.start_us == START_US
