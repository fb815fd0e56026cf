"""Agreement with the PyPI package emva1288 (the standard's reference implementation), where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.sensor import emva1288
from nightcrew.sensor.emva1288 import Linear1288, TemporalData
from nightcrew.simulate.sensor import SensorModel, build_sensor

EXPOSURES_S = np.linspace(0.25, 11, 44)
PHOTONS_PER_S = 20_000.0
EFFICIENCY = 0.5
MODEL = SensorModel(nx=160, ny=120, adc_max=4095, gain_e_per_adu=20.0, offset_adu=60.0, full_well_e=90_000.0, read_noise_e=30.0)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's two modules; numpy 2 has lost a function that it calls."""
    monkeypatch.setattr(np, "asfarray", lambda values: np.asarray(values, np.float64), raising=False)
    reason = "the package emva1288 (and lxml, pillow) is not installed: `pip install emva1288 lxml pillow`"
    process = pytest.importorskip("emva1288.process.results", reason=reason, exc_type=ImportError)
    data = pytest.importorskip("emva1288.process.data", reason=reason, exc_type=ImportError)
    routines = pytest.importorskip("emva1288.process.routines", reason=reason, exc_type=ImportError)
    return data.Data1288, process.Results1288, routines.get_int_imgs


def images() -> dict[str, dict[float, dict[float, list[NDArray[np.uint16]]]]]:
    """Temporal pairs of every exposure, and a stack at half saturation and in the dark."""
    sensor = build_sensor(MODEL, 4)
    temporal: dict[float, dict[float, list[NDArray[np.uint16]]]] = {}
    for t in EXPOSURES_S.tolist():
        photons = PHOTONS_PER_S * t
        bright = [sensor.flat(EFFICIENCY * photons, t, -10.0, f"{t}", n) for n in range(2)]
        temporal[t * 1e9] = {0.0: [sensor.dark(t, -10.0, f"d{t}", n) for n in range(2)], photons: bright}
    half = float(EXPOSURES_S[17])
    stack = {
        0.0: [sensor.dark(half, -10.0, "stack", n) for n in range(16)],
        PHOTONS_PER_S * half: [sensor.flat(EFFICIENCY * PHOTONS_PER_S * half, half, -10.0, "stack", n) for n in range(16)],
    }
    return {"temporal": temporal, "spatial": {half * 1e9: stack}}


def ours(taken: dict[float, dict[float, list[NDArray[np.uint16]]]]) -> Linear1288:
    def moments(pair: list[NDArray[np.uint16]]) -> tuple[float, float]:
        one, two = (image.astype(np.float64) for image in pair)
        return float((one.mean() + two.mean()) / 2), float(np.var(one - two) / 2)

    bright = np.array([moments(by_photons[p]) for by_photons in taken.values() for p in by_photons if p])
    dark = np.array([moments(by_photons[0.0]) for by_photons in taken.values()])
    found = emva1288.linear_model(
        TemporalData(
            exposure_s=EXPOSURES_S,
            photons=PHOTONS_PER_S * EXPOSURES_S,
            mean=bright[:, 0],
            variance=bright[:, 1],
            dark_mean=dark[:, 0],
            dark_variance=dark[:, 1],
        )
    )
    assert isinstance(found, Linear1288)
    return found


def test_linear_model_and_spatial_split_agree_with_the_package(package: Any) -> None:
    data_of, results_of, sums_of = package
    taken = images()
    summed: dict[str, Any] = {
        kind: {t: {p: sums_of(stack) for p, stack in by.items()} for t, by in sets.items()} for kind, sets in taken.items()
    }
    for by in summed["temporal"].values():  # of pairs the package keeps sums over the pixels
        for photons, sums in by.items():
            by[photons] = {**sums, "sum": sums["sum"].sum(), "pvar": sums["pvar"].sum()}
    theirs = results_of(data_of({**summed, "width": MODEL.nx, "height": MODEL.ny}).data)
    mine = ours(taken["temporal"])
    assert mine.saturation_index == theirs.index_u_ysat
    assert mine.gain_dn_per_e == pytest.approx(theirs.K, rel=1e-6)
    assert mine.responsivity_dn_per_photon == pytest.approx(theirs.R, rel=1e-6)
    assert 100 * (mine.quantum_efficiency or 0) == pytest.approx(theirs.QE, rel=1e-6)
    assert mine.dark_noise_e == pytest.approx(theirs.sigma_d, rel=1e-5)
    assert mine.threshold_photons == pytest.approx(theirs.u_p_min, rel=1e-5)
    assert mine.saturation_e == pytest.approx(theirs.u_e_sat, rel=1e-6)
    assert mine.snr_max == pytest.approx(theirs.SNR_max, rel=1e-6)
    assert mine.dynamic_range == pytest.approx(theirs.DR, rel=1e-5)
    assert mine.linearity_min_percent == pytest.approx(theirs.linearity()["linearity_error_min"], rel=1e-4)
    assert mine.linearity_max_percent == pytest.approx(theirs.linearity()["linearity_error_max"], rel=1e-4)
    (by_photons,) = taken["spatial"].values()
    dark, bright = (spatial(stack) for stack in by_photons.values())
    assert emva1288.dsnu(dark, theirs.K).total == pytest.approx(theirs.DSNU1288, rel=1e-6)
    assert emva1288.prnu(bright, dark).total == pytest.approx(theirs.PRNU1288, rel=1e-6)
    assert emva1288.prnu(bright, dark).pixel == pytest.approx(theirs.PRNU1288_pixel, rel=1e-3)
    assert bright.column == pytest.approx(theirs.s_2_y_col, abs=1e-3 * bright.total)
    assert bright.row == pytest.approx(theirs.s_2_y_row, abs=1e-3 * bright.total)


def spatial(stack: list[NDArray[np.uint16]]) -> emva1288.SpatialVariance:
    cube = np.asarray(stack, np.float64)
    return emva1288.spatial_variance(cube.mean(axis=0), float(cube.var(axis=0, ddof=1).mean()) / len(cube))


def test_linear_model_finds_what_was_simulated() -> None:
    found = ours(images()["temporal"])
    assert 1 / found.gain_dn_per_e == pytest.approx(MODEL.gain_e_per_adu, rel=0.02)
    assert found.quantum_efficiency == pytest.approx(EFFICIENCY, rel=0.02)
    assert found.dark_noise_e == pytest.approx(MODEL.read_noise_e, rel=0.05)
    assert found.saturation_e == pytest.approx(4035 * 20, rel=0.06)
    assert found.threshold_e == pytest.approx(30 + 0.5, rel=0.06)
