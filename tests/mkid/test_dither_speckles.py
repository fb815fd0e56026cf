"""Speckle statistics over positions and steps: averages without bias, steps that do not smear, and what the lines of a log say together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import Refused
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.dither import Field
from nightcrew.mkid.dither_combine import field_of
from nightcrew.mkid.dither_log import read_logs
from nightcrew.mkid.dither_products import make_dither_products
from nightcrew.mkid.dither_speckles import PLANES_COMPANION, PlacedMaps, combine_maps, mean_weights, place_maps
from nightcrew.mkid.speckle import SpeckleFits, SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts
from nightcrew.simulate import speckle as light
from nightcrew.simulate.speckle_scene import point_source
from reports.mkid_images_dither import _limits_in_words
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table
from tests.mkid.test_calibrated import flat_of

Floats = NDArray[np.float64]
SHAPE = (20, 25)
N_STEPS, N_BINS, BIN_S = 6, 1500, 0.01


RULES = SpeckleRules(decorrelation_s=1e6, errors="curvature", least_times=0.0)


def maps_of(found: SpeckleFits, rules: SpeckleRules, shape: tuple[int, int] = SHAPE) -> Any:
    """Fits [step, y, x] as maps."""

    def images(values: Any) -> Any:
        return np.asarray(values).reshape(-1, *shape, *np.asarray(values).shape[1:])

    return SimpleNamespace(
        edges_us=np.arange(found.flags.size // (shape[0] * shape[1]) + 1) * 15_000_000,
        rules=rules,
        parameters_cps=np.moveaxis(images(found.parameters_cps), -1, 0),
        errors_cps=np.moveaxis(images(found.errors_cps), -1, 0),
        limits_cps=np.moveaxis(images(found.limits_cps), -1, 0),
        covariance_cps2=images(found.covariance_cps2),
        free_cps=np.moveaxis(images(found.free_cps), -1, 0),
        free_errors_cps=np.moveaxis(images(found.free_errors_cps), -1, 0),
        free_covariance_cps2=images(found.free_covariance_cps2),
        valid=images(found.valid),
    )


def test_faint_is_beside_a_companion_is_a_limit_and_not_an_average() -> None:
    """Averages of Is = 3 come out as 14: Ic and Ip cannot be told apart there, and Is hangs on them."""
    shape, rules, n_steps = (6, 20), replace(RULES, companion=True), 3
    is_ = np.tile(np.repeat([3.0, 80.0], 60), n_steps)
    rng = np.random.default_rng(12)
    counts = rng.poisson(light.independent_intensities(rng, np.full(is_.size, 300.0), is_, 50.0, N_BINS) * BIN_S)
    maps = maps_of(fit_counts(counts, rules), rules, shape)
    placed = PlacedMaps(maps=maps, star_px=(10.0, 3.0), angles_deg=(0.0,) * n_steps, weight=np.full(shape, 2.0))
    rates, ratio = combine_maps([placed])
    ys, xs = np.nonzero(rates.exposure_s > 0)
    planes = rates.rate_cps[:, ys, xs].reshape(4, *shape)
    faint, bright = planes[:, :3], planes[:, 3:]
    assert np.isnan(faint[:3]).mean() > 0.95
    assert (np.isnan(faint[1]) == np.isnan(ratio.rate_cps[0][ys, xs].reshape(shape)[:3])).all()
    limited = np.isfinite(faint[3])
    assert (limited == np.isnan(faint[1])).all()
    assert (faint[3][limited] > 2 * 3.0).mean() > 0.95
    assert np.isnan(bright[3]).mean() > 0.9
    assert np.nanmean(bright[1]) == pytest.approx(2 * 80.0, rel=0.05)
    assert "limit" in _limits_in_words(rates)[0]


@pytest.mark.parametrize(("ic", "limited"), [(0.0, True), (10.0, True), (80.0, False)])
def test_an_average_of_faint_ic_is_a_limit(ic: float, limited: bool) -> None:
    """Counts tell Ic^2: averages of Ic = 0 are two thirds of the error of one step, and Is is low by as much."""
    n_steps, shape = 16, (6, 20)
    n = shape[0] * shape[1]
    rng = np.random.default_rng([9, int(ic)])
    counts = rng.poisson(light.independent_intensities(rng, np.full(n * n_steps, ic), 100.0, 0.0, N_BINS) * BIN_S)
    found = fit_counts(counts, RULES)
    placed = PlacedMaps(maps=maps_of(found, RULES, shape), star_px=(10.0, 3.0), angles_deg=(0.0,) * n_steps)
    rates, ratio = combine_maps([placed])
    seen = rates.exposure_s > 0
    values, limits = rates.rate_cps[:2, seen], rates.rate_cps[2, seen]
    assert np.isfinite(limits).mean() > 0.98 if limited else np.isnan(limits).mean() > 0.9
    assert (np.isnan(values[0]) == np.isfinite(limits)).all()
    if limited:
        assert (limits[np.isfinite(limits)] > ic).mean() > 0.95
        assert np.isnan(ratio.rate_cps[0][seen]).mean() > 0.98
        assert "upper limit of Ic" in _limits_in_words(rates)[0]
        assert abs(found.parameters_cps[:, 0].mean() - ic) > 5  # what it would be
    else:
        errors = np.sqrt(rates.variance[0][seen])
        assert np.nanmean(values[0]) == pytest.approx(ic, abs=0.2 * np.nanmean(errors) * np.sqrt(n_steps))


@pytest.mark.parametrize("ip", [0.0, 20.0])
def test_an_average_over_steps_is_not_biased_by_the_bound_of_a_companion(ip: float) -> None:
    """Half of the values of Ip = 0 stand at 0, and what they lack is missing from Ic: averages as they are give 11, and Ic low by 15."""
    rules, n = replace(RULES, companion=True), SHAPE[0] * SHAPE[1]
    rng = np.random.default_rng([7, int(ip)])
    counts = rng.poisson(light.independent_intensities(rng, np.full(n * N_STEPS, 300.0), 80.0, ip, N_BINS) * BIN_S)
    found = fit_counts(counts, rules)
    placed = PlacedMaps(maps=maps_of(found, rules), star_px=(12.0, 10.0), angles_deg=(0.0,) * N_STEPS)
    rates, _ = combine_maps([placed])
    seen = rates.exposure_s > 0
    assert seen.sum() == n
    for plane, truth in enumerate((300.0, 80.0, ip)):
        values, errors = rates.rate_cps[plane][seen], np.sqrt(rates.variance[plane][seen])
        assert values.mean() == pytest.approx(truth, abs=0.1 * errors.mean() * np.sqrt(N_STEPS) + 4 * errors.mean() / np.sqrt(n))
        assert ((values - truth) / errors).std() == pytest.approx(1.0, abs=0.15)
    assert rates.rate_cps[:3, seen].sum(axis=0).mean() == pytest.approx(380 + ip, rel=0.003)
    if ip == 0:
        assert found.parameters_cps[:, 2].mean() > 3 * abs(rates.rate_cps[2][seen].mean())  # what it would be
        assert 300 - found.parameters_cps[:, 0].mean() > 3 * abs(300 - rates.rate_cps[0][seen].mean())


@pytest.mark.parametrize("is_", [1e-9, 3.0, 60.0])
def test_an_average_over_steps_is_not_biased_by_the_bound_at_zero(is_: float) -> None:
    """Half of the pixels of steady light have Is = 0; those that are left alone, or the zeros as zeros, would make light of noise."""
    n = SHAPE[0] * SHAPE[1]
    rng = np.random.default_rng([4, int(is_)])
    counts = rng.poisson(light.independent_intensities(rng, np.full(n * N_STEPS, 300.0), is_, 0.0, N_BINS) * BIN_S)
    found = fit_counts(counts, RULES)
    maps = maps_of(found, RULES)
    assert maps.valid.mean() > 0.98
    (rates, ratio) = combine_maps([PlacedMaps(maps=maps, star_px=(12.0, 10.0), angles_deg=(0.0,) * N_STEPS)], pixfrac=0.5)
    seen = rates.exposure_s > 0
    values, errors = rates.rate_cps[1][seen], np.sqrt(rates.variance[1][seen])
    assert seen.sum() == n
    assert values.mean() == pytest.approx(is_, abs=0.2 * errors.mean() + 4 * errors.mean() / np.sqrt(n))
    assert ((values - is_) / errors).std() == pytest.approx(1.0, abs=0.15)
    assert rates.rate_cps[:2, seen].sum(axis=0).mean() == pytest.approx(300 + is_, rel=0.003)
    assert np.isnan(rates.rate_cps[2]).all()  # no limits
    if is_ > 50:
        pulls = ((ratio.rate_cps[0] - 300 / is_) / np.sqrt(ratio.variance[0]))[seen]
        assert pulls.std() == pytest.approx(1.0, abs=0.15)
    elif is_ < 1:
        zeros, dropped = found.parameters_cps[:, 1].mean(), found.parameters_cps[found.parameters_cps[:, 1] > 0, 1].mean()
        assert min(zeros, dropped) > 3 * abs(values.mean())  # what it would be


def test_maps_are_of_a_pixel_of_mean_sensitivity_where_there_is_a_flat_field(tmp_path: Path) -> None:
    flat = flat_of([1.0])
    flat.coefficients[0, 1] = 2.5
    flat.coefficients[2, 2] = np.nan
    flat.flag[2, 2] = f.bits(("flatcal.bad",))
    n = 20
    path = table(tmp_path / "t.h5", beam_map(), np.arange(n), np.arange(n) + 1, -60.0)
    solved = linear_solution(beam_map())
    with open_calibrated(path, Calibrations(wavelength=solved, flat=flat, linearity_step_s=1.0)) as opened:
        weight = mean_weights(opened)
    with open_calibrated(path, Calibrations(wavelength=solved)) as opened:
        assert mean_weights(opened) is None
    assert weight is not None
    assert weight[0, :3] == pytest.approx([1.0, 2.5, 1.0])
    assert np.isnan(weight[2, 2])


def test_weights_scale_maps_and_their_errors() -> None:
    one, two = np.full((2, 1, 6, 6), 4.0), np.full((1, 6, 6), 4.0)
    maps: Any = SimpleNamespace(
        edges_us=np.array([0, 10_000_000]),
        rules=SpeckleRules(),
        parameters_cps=one,
        errors_cps=one / 8,
        limits_cps=one,
        covariance_cps2=two * 0,
        free_cps=np.full((3, 1, 6, 6), 4.0),
        free_errors_cps=np.full((3, 1, 6, 6), 0.5),
        free_covariance_cps2=two * 0,
        valid=np.ones((1, 6, 6), np.bool_),
    )
    place: dict[str, Any] = {"maps": maps, "star_px": (2.5, 2.5), "angles_deg": (0.0,)}
    plain, ratio = combine_maps([PlacedMaps(**place)])
    scaled, same = combine_maps([PlacedMaps(**place, weight=np.full((6, 6), 3.0))])
    seen = plain.exposure_s > 0
    assert scaled.rate_cps[:2, seen] == pytest.approx(3 * plain.rate_cps[:2, seen])
    assert scaled.variance[:2, seen] == pytest.approx(9 * plain.variance[:2, seen])
    assert same.rate_cps[:, seen] == pytest.approx(ratio.rate_cps[:, seen])


def turning() -> Field:
    """North turns by some ten degrees in as many seconds."""
    return Field(ra_deg=_sidereal_deg(), dec_deg=19.83, latitude_deg=19.8, longitude_deg=-155.5)


def _sidereal_deg() -> float:
    days = (START_US / 1e6 - 946_728_000.0) / 86_400
    return float((280.46061837 + 360.98564736629 * days - 155.5) % 360)


def test_maps_of_a_position_follow_the_field(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shape = (6, 30)
    pixel, time_us = (rng.integers(0, most, 60_000) for most in (180, 20_000_000))
    path = table(tmp_path / "t.h5", beam_map(shape), pixel, time_us, duration_s=20.0)
    rules = SpeckleRules(decorrelation_s=0.05, errors="curvature")
    with open_calibrated(path, []) as opened:
        placed = place_maps(opened, rules, (1.0, 3.0), turning())
        still = place_maps(opened, rules, (1.0, 3.0), Field(device_angle_deg=7.0))
        with pytest.raises(Refused, match="ten bins"):
            place_maps(opened, replace(rules, bin_s=1.0), (1.0, 3.0), turning())
    assert still.angles_deg == (7.0,)
    assert len(placed.angles_deg) == len(placed.maps.edges_us) - 1 > 3
    edges = turning().angle_deg(START_US / 1e6 + placed.maps.edges_us / 1e6)
    assert (np.abs(np.diff(edges)) <= np.degrees(1 / 28.0) * 1.01).all()  # a pixel at the far end of the array
    assert (np.array(placed.angles_deg) - (edges[1:] + edges[:-1]) / 2) == pytest.approx(0.0, abs=0.3)


def position(path: Path, star: tuple[float, float], seed: int, **log: str) -> Path:
    rng = np.random.default_rng(seed)
    rate = point_source((9, 9), star, 3000.0, 3.5).ravel() + 20.0
    intensity = light.correlated_intensities(rng, 0.6 * rate, 0.4 * rate, 0.0, 400, step_s=0.01, tau_s=0.1)
    pixel, time_s = light.photon_times(rng, intensity, 0.01)
    columns: dict[str, Any] = {f"log_{name}": value for name, value in log.items()}
    return table(path, beam_map((9, 9)), pixel, (time_s * 1e6).astype(np.int64), duration_s=4.0, exposure=columns)


def test_a_wish_of_any_position_counts_and_the_ratio_has_no_unit(tmp_path: Path) -> None:
    lines = ({"plate_scale_mas": "10.4"}, {"speckles": "yes", "ra_deg": "20", "dec_deg": "-5"})
    positions = [(position(tmp_path / f"p{n}.h5", (4.0 + n, 4.0), n, dither="d", **line), Calibrations()) for n, line in enumerate(lines)]
    made = make_dither_products(positions, tmp_path / "out", name="d")
    assert made.speckles is not None
    assert made.remarks == ()
    with fits.open(tmp_path / "out" / "dither_ratio.fits") as hdus:
        assert "BUNIT" not in hdus[0].header
        assert hdus[0].header["PLANE1"] == "Ic / Is"
        assert "COUNTS" not in hdus
        assert hdus[0].header["CTYPE1"] == "RA---TAN"
    with fits.open(tmp_path / "out" / "dither_speckles.fits") as hdus:
        assert (hdus[0].header["PLANE1"], hdus[0].header["PLANE2"], hdus[0].header["BUNIT"]) == ("Ic", "Is", "ct / s")
        assert hdus[0].header["SPECRATE"] == "as counted"


def test_the_command_combines_speckle_maps_too(tmp_path: Path) -> None:
    paths = [str(position(tmp_path / f"p{n}.h5", (4.0 + n, 4.0), n)) for n in range(2)]
    words = ["dither", *paths, "-o", str(tmp_path / "d.fits"), "--speckles", str(tmp_path / "s.fits"), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)["speckles"]
    assert told["files"] == ["s.fits", "s_ratio.fits"]
    assert 0 < told["valid"] <= told["pixels_and_steps"] == 162
    with fits.open(tmp_path / "s.fits") as maps, fits.open(tmp_path / "s_ratio.fits") as ratio:
        assert maps[0].data.shape == (3, *ratio[0].data.shape)
        seen = np.isfinite(ratio[0].data)
        assert ratio[0].data[seen] == pytest.approx((maps[0].data[0] / maps[0].data[1])[seen], rel=1e-4)


def test_the_command_fits_a_companion_where_it_is_asked_to(tmp_path: Path) -> None:
    words = ["dither", str(position(tmp_path / "p.h5", (4.0, 4.0), 1)), "-o", str(tmp_path / "d.fits"), "--companion", "--json"]
    assert isinstance(CliRunner().invoke(app, words).exception, Refused)  # of nothing
    result = CliRunner().invoke(app, [*words, "--speckles", str(tmp_path / "s.fits")])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["speckles"]["planes"] == list(PLANES_COMPANION)
    with fits.open(tmp_path / "s.fits") as maps:
        assert [maps[0].header[f"PLANE{n}"] for n in range(1, 5)] == list(PLANES_COMPANION)
        assert len(maps[0].data) == 4


def test_the_command_fits_the_times_between_photons_where_it_is_asked_to(tmp_path: Path) -> None:
    words = ["dither", str(position(tmp_path / "p.h5", (4.0, 4.0), 1)), "-o", str(tmp_path / "d.fits"), "--json"]
    assert "--intervals is part of --speckles" in str(CliRunner().invoke(app, [*words, "--intervals"]).exception)
    shown = []
    for more in ((), ("--intervals",)):
        result = CliRunner().invoke(app, [*words, "--overwrite", "--speckles", str(tmp_path / "s.fits"), *more])
        assert result.exit_code == 0, result.output
        with fits.open(tmp_path / "s.fits") as maps:
            shown.append(np.asarray(maps[0].data))
    both = np.isfinite(shown[0]) & np.isfinite(shown[1])
    assert both.any()
    assert not np.array_equal(shown[0][both], shown[1][both])  # another estimate of the same light
    total = [one[:2].sum(axis=0) for one in shown]
    known = np.isfinite(total[0]) & np.isfinite(total[1])
    assert known.any()
    assert total[1][known] == pytest.approx(total[0][known], rel=0.1)  # some hundred photons each tell the mean rate


def test_the_site_in_the_log_turns_the_field(tmp_path: Path) -> None:
    place = {"ra_deg": "20", "dec_deg": "-5", "latitude_deg": "19.8", "longitude_deg": "-155.5", "position_angle_deg": "4"}
    with open_calibrated(position(tmp_path / "p.h5", (4.0, 4.0), 1, **place), []) as opened:
        told = field_of(opened, Field(device_angle_deg=1.0))
        asked = field_of(opened, Field(latitude_deg=10.0, longitude_deg=0.0))
    assert told == Field(device_angle_deg=5.0, ra_deg=20.0, dec_deg=-5.0, latitude_deg=19.8, longitude_deg=-155.5)
    assert (asked.latitude_deg, asked.longitude_deg) == (10.0, 0.0)


def test_positions_that_differ_are_told() -> None:
    log = read_logs(
        [
            {"speckles": "no", "speckle_bin_s": "0.02", "ra_deg": "20", "position_angle_deg": "3", "register": "log"},
            {"speckles": "intervals companion", "speckle_bin_s": "0.01", "ra_deg": "21.5", "dec_deg": "x", "register": "log"},
            {"speckles": "", "latitude_deg": "19.8"},
        ]
    )
    assert (log.wishes.speckles, log.wishes.companion, log.wishes.speckle_bin_s) == ("intervals", True, 0.02)
    assert (log.field.ra_deg, log.field.dec_deg, log.field.latitude_deg, log.register) == (20.0, None, 19.8, "log")
    for words, sentence in zip(("speckle_bin_s", "ra_deg", "position_angle_deg"), log.problems, strict=True):
        assert words in sentence
    odd = read_logs([{"register": "guess"}, {"speckles": "perhaps"}])
    assert (odd.register, odd.wishes.speckles) == ("data", "")
    assert len(odd.problems) == 2
    assert read_logs([{}, {}]).problems == ()
