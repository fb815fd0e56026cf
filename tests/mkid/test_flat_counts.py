"""Flat fields of few counts: neither the choice of bins nor trimming favours what is high by chance; memory is bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.errors import Refused
from nightcrew.mkid.calibrated import Calibrations
from nightcrew.mkid.flat_combine import _trim
from nightcrew.mkid.flat_cubes import FlatInput
from nightcrew.mkid.flatcal import FlatOptions, flat_field
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from tests.mkid.made_tables import beam_map, linear_solution, table

SHAPE = (24, 24)
MAP = beam_map(SHAPE)
DIM = (np.arange(SHAPE[0] * SHAPE[1]) % 2 == 0).reshape(SHAPE)  # half as sensitive as the others
OPTIONS = FlatOptions(chunk_s=5, most_s=30, energy_bin_ev=0.05, low_nm=850, high_nm=1350, degree=1)
BINS = 10


def calibrations() -> Calibrations:
    solution = linear_solution(MAP)
    known = np.full((3, *SHAPE), 8.0)
    return Calibrations(
        wavelength=replace(solution, wavelengths_nm=np.array([850.0, 1100.0, 1375.0]), resolution=known, resolution_error=known * 0.01)
    )


def flat(path: Path, counts: float, seed: int = 1, **head: Any) -> Path:
    """30 s of light that is even in energy: ``counts`` of a dim pixel in each bin."""
    rng = np.random.default_rng(seed)
    pixel = np.repeat(np.arange(DIM.size), rng.poisson(np.where(DIM.ravel(), counts, 2 * counts) * BINS))
    energy = rng.uniform(HC_EV_NM / 1350, HC_EV_NM / 850, pixel.size)
    return table(path, MAP, pixel, rng.integers(0, 30_000_000, pixel.size), -energy / 0.02, duration_s=30.0, dead_time_us=0.0, **head)


@pytest.mark.parametrize(("counts", "trim"), [(16.0, 0.0), (20.0, 0.0), (40.0, 0.0), (40.0, 0.2)])
def test_dim_pixels_have_their_weights_without_bias(counts: float, trim: float, tmp_path: Path) -> None:
    found = flat_field([FlatInput(table=flat(tmp_path / "a.h5", counts))], calibrations(), replace(OPTIONS, trim_fraction=trim))
    weights = np.where(found.good, found.weights, np.nan)
    ratio = np.nanmean(weights[:, DIM]) / np.nanmean(weights[:, ~DIM])
    of_dim = np.isfinite(weights[:, DIM]).mean()
    noise = np.sqrt(1.5 * (1.2 if trim else 1.0) / counts / (BINS * DIM.sum() * of_dim))
    assert ratio == pytest.approx(2, abs=2 * (3.5 * noise + 0.007))  # what the mean of 1 / (counts + 1) lacks at 16 counts
    smooth = found.coefficients[..., 0]
    assert np.nanmean(smooth[DIM]) / np.nanmean(smooth[~DIM]) == pytest.approx(2, abs=2 * (3.5 * noise + 0.007))


@pytest.mark.parametrize("counts", [3.0, 10.0, 40.0])
def test_the_trimmed_mean_of_counts_is_their_mean(counts: float) -> None:
    values = np.random.default_rng(1).poisson(counts, (6, 200_000)).astype(np.float64)
    trimmed, _, lacks = _trim(values, 0.2)
    mean = np.where(trimmed, 0.0, values).sum(axis=0) / (~trimmed).sum(axis=0)
    assert mean.mean() + lacks[0] == pytest.approx(counts, abs=0.045)
    assert abs(mean.mean() - counts) > 0.05  # what would be wrong without it


def test_more_chunks_than_there_is_memory_for_are_refused(tmp_path: Path) -> None:
    path = flat(tmp_path / "a.h5", 20.0)
    with pytest.raises(Refused, match="60 chunks of 10 bins and 576 pixels would take 5 MB, and 4 MB are allowed"):
        flat_field([FlatInput(table=path)], calibrations(), replace(OPTIONS, chunk_s=0.5), memory_bytes=4_000_000)
    assert flat_field([FlatInput(table=path)], calibrations(), OPTIONS, memory_bytes=4_000_000).chunk_used.all()


def test_rows_in_bands_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = flat(tmp_path / "a.h5", 20.0)
    whole = flat_field([FlatInput(table=path)], calibrations(), OPTIONS)
    monkeypatch.setattr("nightcrew.mkid.flat_combine._BAND_VALUES", 6 * BINS * SHAPE[1] * 5)
    banded = flat_field([FlatInput(table=path)], calibrations(), OPTIONS)
    for name in ("weights", "weight_error", "chunk_weights", "chunk_error", "spectrum_cps", "weight_flag"):
        assert np.array_equal(getattr(whole, name), getattr(banded, name), equal_nan=True), name


def test_a_flat_of_a_laser_is_not_taken_for_white_light(tmp_path: Path) -> None:
    path = flat(tmp_path / "a.h5", 20.0, exposure={"type": "flat", "laser_nm": 1100.0})
    with pytest.raises(Refused, match=r"is a flat of a laser of 1100 nm, and cannot be taken for one of white light"):
        flat_field([FlatInput(table=path)], calibrations(), OPTIONS)
    with pytest.raises(Refused, match="cannot be taken for one of 900 nm"):
        flat_field([FlatInput(table=path, wavelength_nm=900.0)], calibrations(), OPTIONS)
