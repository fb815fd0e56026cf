"""Calibrations are applied on reading: values, masks, exposure, and never a byte of the table."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.flat_solution import FlatSolution
from nightcrew.mkid.mask_solution import COLD, HOT, CosmicRays, PixelMasks
from nightcrew.mkid.registered import register, register_path
from nightcrew.mkid.wavelength_solution import HC_EV_NM, read_wavelength_solution
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table

MAP = beam_map()


def flat_of(coefficients: list[float], *, bad: int | None = None) -> FlatSolution:
    """The same polynomial in every pixel, over 800 to 1200 nm."""
    bins, (rows, columns), n = 2, MAP.shape, len(coefficients)
    values = np.tile(np.array(coefficients, dtype=float), (rows, columns, 1))
    flag = np.zeros(MAP.shape, dtype=np.uint32)
    if bad is not None:
        flag.ravel()[bad] = f.bits(("flatcal.bad",))
        values.reshape(-1, n)[bad] = np.nan
    cube = np.ones((bins, rows, columns))
    return FlatSolution(
        bins_nm=np.array([[800.0, 1000.0], [1000.0, 1200.0]]),
        resid=MAP.resid,
        flag=flag,
        weights=cube,
        weight_error=cube * 0.01,
        weight_flag=np.zeros(cube.shape, np.uint8),
        spectrum_cps=cube,
        coefficients=values,
        coefficient_covariance=np.zeros((rows, columns, n, n)),
        range_nm=np.array([800.0, 1200.0]),
        chunk_start_us=np.array([START_US]),
        chunk_stop_us=np.array([START_US + 1]),
        chunk_used=np.array([True]),
        chunk_weights=cube[None].astype(np.float32),
        chunk_error=cube[None].astype(np.float32),
        chunk_trimmed=np.zeros((1, *cube.shape), np.bool_),
    )


def cosmic_of(*stretches: tuple[int, int]) -> CosmicRays:
    """Stretches in microseconds since the start of the table."""
    rows = np.array(stretches, dtype=np.int64).reshape(-1, 2) + START_US
    ones = np.ones(len(rows), dtype=np.int64)
    return CosmicRays(start_us=rows[:, 0], stop_us=rows[:, 1], peak_us=rows[:, 0], count=ones, average=ones.astype(float), peak=ones)


def test_wavelengths_are_of_the_polynomial_and_nan_where_there_is_none(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 1, 2, 3], [10, 20, 30, 40], [-60.0, -50.0, -60.0, 5.0])
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP, bad=[2]))) as opened:
        found = opened.photons()
        assert found.pixel.tolist() == [0, 1, 2, 3]
        assert found.wavelength_nm[:2] == pytest.approx([HC_EV_NM / 1.2, HC_EV_NM / 1.0], rel=5e-5)
        assert np.isnan(found.wavelength_nm[2:]).all()  # without a solution; a pulse of no energy
        assert found.phase_deg == pytest.approx([-60, -50, -60, 5], abs=1e-3)
        assert opened.flag.ravel()[2] == f.bits(("wavecal.bad",))
        assert opened.usable.sum() == 19


def test_a_solution_belongs_to_resonators_not_to_places(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", beam_map(first=10_001), [0, 18, 19], [1, 2, 3])
    solution = linear_solution(MAP, bad=[1])
    with open_calibrated(path, Calibrations(wavelength=solution)) as opened:
        known = np.isfinite(opened.photons().wavelength_nm)
        assert known.tolist() == [False, True, False]  # resonator 10001 is bad, 10020 is unknown to the solution
        assert opened.flag.ravel()[19] & f.bit("wavecal.not_attempted")


def test_beyond_the_vertex_a_parabola_means_nothing(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 0], [1, 2], [-80.0, -20.0])
    solution = linear_solution(MAP)
    solution.coefficients[...] = (1.0, 0.02, 0.0004)  # vertex at -25 degrees
    with open_calibrated(path, Calibrations(wavelength=solution)) as opened:
        found = opened.photons().wavelength_nm
        assert found[0] == pytest.approx(HC_EV_NM / (1 - 1.6 + 2.56), rel=5e-5)
        assert np.isnan(found[1])


def test_flat_weights_hold_beyond_their_range_and_bad_pixels_are_flagged(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 0, 0, 1], [1, 2, 3, 4], [-HC_EV_NM / nm / 0.02 for nm in (1100, 700, 5000, 1000)])
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP), flat=flat_of([1.0, 0.5], bad=1))) as opened:
        assert opened.photons().weight == pytest.approx([1.25, 0.5, 1.5, 1.0], abs=1e-3)
        assert opened.flag.ravel()[1] == f.bits(("flatcal.bad",))
        assert np.flatnonzero(~opened.usable).tolist() == [1]  # a weight of 1 would be a guess
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP))) as opened:
        assert opened.usable.all()


def test_a_polynomial_holds_where_the_weights_of_the_pixel_end(tmp_path: Path) -> None:
    """The second pixel has a weight in the first bin alone: what its polynomial says of the other one is not known."""
    path = table(tmp_path / "t.h5", MAP, [0, 1, 1], [1, 2, 3], [-HC_EV_NM / nm / 0.02 for nm in (1150, 1150, 850)])
    flat = flat_of([1.0, 0.5])
    flat.weight_flag[1, 0, 1] = 1
    with open_calibrated(path, Calibrations(wavelength=linear_solution(MAP), flat=flat)) as opened:
        assert opened.photons().weight == pytest.approx([1.375, 0.75, 0.625], abs=1e-3)  # 900 nm is the middle of that bin


def test_cosmic_rays_and_masks_take_photons_and_exposure(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 0, 1, 1], [1_000_000, 2_000_000, 3_000_000, 7_000_000], missing=[START_US // 10**6 + 9])
    bits = np.zeros((2, *MAP.shape), dtype=np.uint8)
    bits[0, 0, 1], bits[1, 3, 4] = HOT, COLD
    masks = PixelMasks(edges_us=START_US + np.array([0, 5_000_000, 8_000_000]), resid=MAP.resid, bits=bits)
    cosmic = cosmic_of((1_999_950, 2_000_001), (4_000_000, 4_000_100))
    with open_calibrated(path, Calibrations(masks=masks, cosmic=cosmic)) as opened:
        assert opened.photons().time_us.tolist() == [1_000_000, 7_000_000]
        exposure = opened.exposure_s()
        assert exposure[0, 0] == pytest.approx(9 - 151e-6)
        assert exposure[0, 1] == pytest.approx(4)  # the last step holds on; the last second is missing
        assert exposure[3, 4] == pytest.approx(5 - 151e-6)
        assert opened.exposure_s(4_000_050, 6_000_000)[0, 1] == pytest.approx(1.0)
        assert opened.live_s()[0, 0] == pytest.approx(exposure[0, 0] - 10e-6)
        assert opened.flag[0, 1] == f.bits(("pixcal.hot",))


def test_linearity_counts_the_photons_of_the_step_not_those_that_are_read(tmp_path: Path) -> None:
    times = np.concatenate([np.arange(2000) * 500, 1_000_000 + np.arange(100) * 5000])
    path = table(tmp_path / "t.h5", MAP, np.zeros(times.size, int), times, duration_s=1.5)
    with open_calibrated(path, [], linearity_step_s=1.0) as opened:
        weight = opened.photons().weight
        assert weight[0] == pytest.approx(1 / (1 - 2000 * 10e-6), rel=1e-6)
        assert weight[-1] == pytest.approx(1 / (1 - 200 * 10e-6), rel=1e-6)  # half a step, so 200 a second
        assert opened.photons(range(1), 499_000, 500_000).weight == pytest.approx([weight[0]] * 2)
    with pytest.raises(Refused, match="no steps"):
        open_calibrated(path, [], linearity_step_s=0.0)


def test_files_bring_back_what_was_written_and_the_table_keeps_its_bytes(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0, 1], [10, 20])
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    one, two = replace(linear_solution(MAP), provenance={"run": "a"}), linear_solution(MAP, slope_ev_per_deg=-0.03)
    one.write(tmp_path / "one.h5")
    two.write(tmp_path / "two.h5")
    flat_of([2.0]).write(tmp_path / "flat.h5")
    cosmic_of((15, 25)).write(tmp_path / "cosmic.h5")
    read = read_wavelength_solution(tmp_path / "one.h5")
    assert read.provenance == {"run": "a"}
    assert np.array_equal(read.flag, one.flag)
    register(path, [tmp_path / "one.h5"])
    with open_calibrated(path) as opened:
        assert opened.photons().wavelength_nm == pytest.approx(HC_EV_NM / 1.2, rel=1e-4)
    register(path, [tmp_path / "two.h5", tmp_path / "flat.h5", tmp_path / "cosmic.h5"], linearity_step_s=1.0)
    with open_calibrated(path) as opened:
        assert opened.photons().wavelength_nm == pytest.approx(HC_EV_NM / 1.8, rel=1e-4)
        assert opened.photons().weight == pytest.approx([2.0], rel=1e-4)
    register(path, [])
    assert not register_path(path).exists()
    with open_calibrated(path) as opened:
        assert np.isnan(opened.photons().wavelength_nm).all()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_the_same_solution_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        linear_solution(MAP).write(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_replaced_file_is_not_read_silently(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0], [10])
    linear_solution(MAP).write(tmp_path / "s.h5")
    register(path, [tmp_path / "s.h5"])
    linear_solution(MAP, bad=[0]).write(tmp_path / "s.h5", overwrite=True)
    with pytest.raises(RejectedInput, match="apply it anew"):
        open_calibrated(path)


def test_hostile_files_are_told_in_a_sentence(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", MAP, [0], [10])
    (tmp_path / "text.h5").write_text("text")
    linear_solution(MAP).write(tmp_path / "s.h5")
    with pytest.raises(RejectedInput, match="no HDF5"):
        open_calibrated(path, [tmp_path / "text.h5"])
    with pytest.raises(RejectedInput, match="no calibration"):
        open_calibrated(path, [path])
    with pytest.raises(TransientError, match="no such file"):
        open_calibrated(path, [tmp_path / "absent.h5"])
    with pytest.raises(Refused, match="already"):
        open_calibrated(path, [tmp_path / "s.h5", tmp_path / "s.h5"])
    register_path(path).write_text('{"format": 1, "solutions": [7]}')
    with pytest.raises(RejectedInput, match="no list of calibrations"):
        open_calibrated(path)


def test_a_solution_of_another_shape_is_damaged(tmp_path: Path) -> None:
    wrong = replace(linear_solution(MAP), coefficients=np.zeros((5, 4, 3)))
    wrong.write(tmp_path / "s.h5")
    with pytest.raises(RejectedInput, match="coefficients has the shape"):
        read_wavelength_solution(tmp_path / "s.h5")
