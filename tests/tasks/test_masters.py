"""Masters of small frames against their plain definitions: combining, planes, certification, what is left out and why."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.frames.flags import PixelFlag
from nightcrew.io.products import ImageProduct, read_image_product
from nightcrew.ledger.rows import ProductRow
from nightcrew.recipes.parameters import MasterParameters, NightParameters
from nightcrew.settings import MastersSettings
from tasks.executor import Wish
from tests.support.small_nights import Bench, make_raw, small_plan

Image = np.ndarray[Any, Any]
HIT = (10, 20)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small night with five bias frames."""
    out = tmp_path_factory.mktemp("night")
    make_raw(out, replace(small_plan(), n_bias=5))
    return out / "raw"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty watched folder."""
    made = tmp_path / "raw"
    made.mkdir()
    return made


def copy(raw: Path, folder: Path, pattern: str, change: Callable[[int, Image], Image] = lambda _, pixels: pixels) -> list[Image]:
    """Copy frames with their pixels changed; the pixels."""
    planes = []
    for number, path in enumerate(sorted(raw.glob(pattern))):
        with fits.open(path) as hdus:
            pixels = change(number, hdus[0].data.astype(np.float64))
            hdus[0].data = np.clip(np.rint(pixels), 0, 65_535).astype(np.uint16)
            hdus.writeto(folder / path.name)
        planes.append(np.clip(np.rint(pixels), 0, 65_535))
    return planes


def made(bench: Bench, recipe: str, **facts: Any) -> tuple[ProductRow, ImageProduct]:
    """The product of a recipe, and its picture."""
    (row,) = [
        row for row in bench.products() if row.recipe == recipe and all(row.facts.get(name) == value for name, value in facts.items())
    ]
    return row, read_image_product(bench.settings.products.root / row.file("image").path)


def hit(number: int, pixels: Image) -> Image:
    """A cosmic ray in the first frame."""
    if number == 0:
        pixels[HIT] += 5000.0
    return pixels


EXPECTED: dict[str, tuple[Callable[[Image], Image], int]] = {
    "median": (lambda cube: np.median(cube, axis=0), 5),
    "mean": (lambda cube: np.mean(cube, axis=0), 5),
    "clip_extremes": (lambda cube: np.mean(np.sort(cube, axis=0)[1:-1], axis=0), 3),
}


@pytest.mark.parametrize("method", EXPECTED)
def test_a_bias_master_is_what_its_method_says(raw: Path, folder: Path, tmp_path: Path, method: str) -> None:
    cube = np.array(copy(raw, folder, "bias-*", hit))
    bench = Bench(folder, tmp_path / "out", masters=MastersSettings(method=method))
    bench.night()
    row, master = made(bench, "bias_master")
    combine, count = EXPECTED[method]
    np.testing.assert_allclose(master.science, combine(cube), rtol=1e-6)
    assert (master.extras["COUNT"] == count).all()
    assert (master.unit, row.metrics["n_frames"], master.cards["NCUSED"]) == ("adu", 5, 5)
    assert master.cards["NCPAR1"] == f"method={method}"


def test_sigma_clipping_leaves_out_the_hit_pixel_alone(raw: Path, folder: Path, tmp_path: Path) -> None:
    """Ten frames: of fewer than eight no single value can lie 3 standard deviations off."""
    rng = np.random.default_rng(9)
    (first,) = copy(raw, tmp_path, "bias-001*")
    planes = []
    with fits.open(raw / "bias-001.fit") as hdus:
        for number in range(10):
            pixels = np.rint(np.median(first) + rng.normal(0.0, 5.0, first.shape))
            planes.append(hit(number, pixels))
            hdus[0].data = pixels.astype(np.uint16)
            hdus[0].header["DATE-OBS"] = f"2026-05-16T21:{number:02d}:00.000"
            hdus.writeto(folder / f"bias-{number}.fit")
    cube = np.array(planes)
    bench = Bench(folder, tmp_path / "out", masters=MastersSettings(method="sigma_clip"))
    bench.night()
    _, master = made(bench, "bias_master")
    assert master.science[HIT] == pytest.approx(cube[1:, *HIT].mean(), rel=1e-6)
    assert master.extras["COUNT"][HIT] == 9
    assert np.mean(master.extras["COUNT"] == 10) > 0.9


def test_the_uncertainty_is_that_of_a_mean_of_so_many_frames(raw: Path, folder: Path, tmp_path: Path) -> None:
    cube = np.array(copy(raw, folder, "bias-*"))
    bench = Bench(folder, tmp_path / "out", masters=MastersSettings(method="mean"))
    bench.night()
    row, master = made(bench, "bias_master")
    noise = float(np.std(cube[1] - cube[0])) / math.sqrt(2.0)
    assert row.metrics["noise_adu"] == pytest.approx(noise, rel=0.05)
    assert master.uncertainty is not None
    assert float(np.median(master.uncertainty)) == pytest.approx(noise / math.sqrt(5.0), rel=0.1)


def test_a_frame_that_does_not_belong_is_left_out_and_named(raw: Path, folder: Path, tmp_path: Path) -> None:
    cube = np.array(copy(raw, folder, "bias-*", lambda number, pixels: pixels + (300.0 if number == 1 else 0.0)))
    bench = Bench(folder, tmp_path / "out")
    bench.night()
    _, master = made(bench, "bias_master")
    np.testing.assert_allclose(master.science, np.median(np.delete(cube, 1, axis=0), axis=0), rtol=1e-6)
    state, reason = bench.state_of("bias-002.fit")
    assert state == "set_aside"
    assert "left out of bias master" in reason
    assert "is far from the others'" in reason
    assert bench.state_of("bias-001.fit")[0] == "done"


def test_masters_whose_numbers_contradict_them_are_barred(raw: Path, folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    copy(raw, folder, "bias-*", lambda _, pixels: pixels + rng.normal(0.0, 100.0, pixels.shape))
    for name in sorted(raw.glob("dark-30s-*"))[:2]:
        (folder / name.name).write_bytes(name.read_bytes())
    bench = Bench(folder, tmp_path / "out")
    bench.night()
    bias, _ = made(bench, "bias_master")
    assert not bias.usable
    assert "its frames scatter by" in bias.certification
    dark, _ = made(bench, "dark_master")
    assert dark.certification == "too few frames: 2 usable, 3 are needed"
    assert "which is not used" in bench.state_of("bias-001.fit")[1]


def test_a_flat_has_unit_median_and_its_dead_pixels_are_masked(raw: Path, folder: Path, tmp_path: Path) -> None:
    def spoiled(number: int, pixels: Image) -> Image:
        pixels[HIT] = 0.0  # below its dark: negative
        return pixels * 0.03 if number == 0 else pixels

    for pattern in ("bias-*", "dark-*"):
        copy(raw, folder, pattern)
    dark = np.median(np.array(copy(raw, tmp_path, "dark-4s-*")), axis=0)
    flats = np.array(copy(raw, folder, "flat-V-*", spoiled))[1:] - dark
    bench = Bench(folder, tmp_path / "out", masters=MastersSettings(method="mean"))
    (tmp_path / "out").mkdir(exist_ok=True)
    bench.night()
    row, flat = made(bench, "flat_master")
    assert row.certification == "too few frames: 2 usable, 3 are needed"
    assert flat.mask is not None
    bad = np.uint16(int(PixelFlag.BAD_FLAT))
    assert flat.mask[HIT] & bad
    assert float(np.nanmedian(flat.science)) == pytest.approx(1.0, abs=1e-6)
    good = (flat.mask == 0) & np.isfinite(flat.science)
    expected = np.mean([plane / np.median(plane) for plane in flats], axis=0)
    np.testing.assert_allclose(flat.science[good], (expected / np.median(expected))[good], rtol=2e-3)
    state, reason = bench.state_of("flat-V-001.fit")
    assert state == "set_aside"
    assert "too faint" in reason


def test_frames_of_kind_thermal_give_the_rate_that_scales_to_a_light(raw: Path, folder: Path, tmp_path: Path) -> None:
    """No darks: long exposures called thermal, and bias frames; the light's dark is scaled from their rate (grade C)."""
    bias = np.median(np.array(copy(raw, folder, "bias-*")), axis=0)
    cube = np.array(copy(raw, folder, "dark-30s-*"))
    copy(raw, folder, "crew-1-V-001*")
    for path in folder.glob("dark-30s-*"):
        fits.setval(path, "IMAGETYP", value="Thermal")
    bench = Bench(folder, tmp_path / "out")
    bench.see()
    bench.ingest()
    bench.close()
    bench.run(Wish(only=("bias_master", "thermal_master", "reduce_light")))
    row, rate = made(bench, "thermal_master")
    np.testing.assert_allclose(rate.science, (np.median(cube, axis=0) - bias) / 30.0, atol=1e-3)
    assert (rate.unit, rate.cards["NCBIAS"]) == ("adu / s", "removed")
    difference = cube[1] - cube[0]
    noise = 1.4826 * float(np.median(np.abs(difference - np.median(difference)))) / math.sqrt(2.0)  # rays do not count
    assert rate.uncertainty is not None
    of_both = noise * 1.2533 * math.sqrt(1 / 3 + 1 / 5) / 30.0  # medians of three frames and of five
    assert float(np.median(rate.uncertainty)) == pytest.approx(of_both, rel=0.3)
    assert bench.state_of("dark-30s-001.fit")[0] == "done"
    light, image = made(bench, "reduce_light")
    assert image.cards["NCDARK"] == "scaled"
    assert any("scaled from the thermal rate" in reason for reason in light.grade_reasons)
    assert row.usable


def test_an_overscan_is_taken_off_and_cut_off(tmp_path: Path) -> None:
    """Levels that drift from frame to frame: the overscan follows them, so master and light hold none of it."""
    plan = small_plan()
    camera = replace(plan.camera, overscan_columns=16, bias_drift_adu=20.0)
    make_raw(tmp_path / "night", replace(plan, camera=camera))
    bench = Bench(tmp_path / "night" / "raw", tmp_path / "out")
    bench.see()
    bench.ingest()
    bench.close()
    bench.run(Wish(only=("bias_master", "dark_master", "flat_master", "bad_pixel_mask", "reduce_light")))
    _, bias = made(bench, "bias_master")
    assert bias.science.shape == (96, 96)
    assert abs(float(np.median(bias.science))) < 2.0
    lights = [row for row in bench.products() if row.recipe == "reduce_light"]
    assert len(lights) == 4
    for row in lights:
        light = read_image_product(bench.settings.products.root / row.file("image").path)
        sky_e = {"B": 1.5, "V": 3.5}[row.facts["filter"]] * row.facts["exposure_s"]
        assert light.science.shape == (96, 96)
        assert float(np.nanmedian(light.science)) == pytest.approx(sky_e, abs=4.0)
        assert "BIASSEC" not in light.cards


def test_a_bias_is_never_taken_off_twice(raw: Path, folder: Path, tmp_path: Path) -> None:
    """A dark that keeps its bias and one without it give the same light, and their headers say which they are."""
    for pattern in ("bias-*", "dark-*", "flat-V-*", "crew-1-V-001*"):
        copy(raw, folder, pattern)
    lights = []
    for keep in (True, False):
        bench = Bench(folder, tmp_path / str(keep))
        parameters: NightParameters = bench.space.parameters
        masters = replace(parameters.masters, keep_bias_in_dark=keep)
        assert isinstance(masters, MasterParameters)
        bench.space = dataclasses.replace(bench.space, parameters=replace(parameters, masters=masters))
        bench.see()
        bench.ingest()
        bench.close()
        bench.run(Wish(only=("bias_master", "dark_master", "flat_master", "bad_pixel_mask", "reduce_light")))
        _, dark = made(bench, "dark_master", exposure_s=30.0)
        assert dark.cards["NCBIAS"] == ("kept" if keep else "removed")
        light = min((row for row in bench.products() if row.recipe == "reduce_light"), key=lambda row: row.key)
        lights.append(read_image_product(bench.settings.products.root / light.file("image").path))
        if not keep:
            assert abs(float(np.median(dark.science))) < 5.0
    used = np.isfinite(lights[0].science) & np.isfinite(lights[1].science)
    difference = (lights[0].science - lights[1].science)[used]
    # Medians of frames with and without the bias differ by the rounding of whole ADU, never by a bias.
    assert float(np.abs(difference).max()) < 10.0
    assert abs(float(np.median(difference))) < 0.5


@pytest.mark.parametrize(("lit", "grade"), [(1, "A"), (3, "D")])
def test_bias_frames_that_light_fell_on_go_or_where_too_few_would_be_left_the_master_says_so(
    raw: Path, folder: Path, tmp_path: Path, lit: int, grade: str
) -> None:
    """At least three frames are asked for: one of five can go; three of five stay, and are most of it."""

    def star(number: int, pixels: Image) -> Image:
        pixels[5:12, 30:37] += 500.0 * (number < lit)
        return pixels

    copy(raw, folder, "bias-*", star)
    bench = Bench(folder, tmp_path / "root")
    bench.night()
    row, master = made(bench, "bias_master")
    assert row.grade == grade
    left_out = [file for file in bench.files() if file.state == "set_aside" and "light fell on it" in file.reason]
    assert len(left_out) == (lit if grade == "A" else 0)
    assert row.metrics["n_frames"] == 5 - len(left_out)
    assert ("light fell on 3 of its 5 frames (bias-001.fit" in " ".join(row.grade_reasons)) == (grade == "D")
    in_star = float(np.median(master.science[5:12, 30:37]) - np.median(master.science))
    assert (in_star > 400.0) == (grade == "D")
