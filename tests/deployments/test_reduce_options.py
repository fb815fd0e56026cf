"""One test per option of ``nightcrew reduce``: a product that changes as predicted, from the products and the formulas.

All reductions share one folder of products: each makes only what its wishes make stale, and finds the rest.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.reduction import Wishes, open_reduction, reduce_folders, settings_for
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.products import ImageProduct, read_image_product
from nightcrew.ledger import arrivals, products
from nightcrew.ledger.rows import ProductRow
from nightcrew.settings import PhotometrySettings, Settings
from tasks.catalogues import columns
from tests.support.commands import nightcrew as ask
from tests.support.small_nights import make_raw, small_plan

FIXED_PX = 4.0
pytestmark = pytest.mark.usefixtures("undrawn_figures")


class Reduced:
    """What is current after a reduction."""

    def __init__(self, raw: Path, out: Path, **wishes: Any) -> None:
        settings = settings_for(Settings(photometry=PhotometrySettings(star_figures=1)), raw, None, out)
        space = open_reduction(settings, Wishes(**{"cosmic_rays": False, "radius_px": FIXED_PX, **wishes}))
        reduce_folders(space)
        with space.database.read() as connection:
            self.rows = products.current_of_scope(connection, 1)
            self.files = arrivals.of_scope(connection, 1)
        self.out = out
        space.database.close()

    def row(self, recipe: str, filter_name: str = "V") -> ProductRow:
        """The first product of a recipe in a filter."""
        found = [row for row in self.rows if row.recipe == recipe and row.facts.get("filter") in (filter_name, None, "")]
        return min(found, key=lambda row: row.key)

    def image(self, recipe: str, filter_name: str = "V", role: str = "image") -> ImageProduct:
        """Its picture."""
        return read_image_product(self.out / self.row(recipe, filter_name).file(role).path)

    def catalogue(self, recipe: str = "photometry") -> dict[str, np.ndarray[Any, Any]]:
        """Its table, numbers only; what is masked is NaN."""
        table = columns(self.out / self.row(recipe).file("catalogue").path)
        return {name: np.array([float(v) if v else np.nan for v in values]) for name, values in table.items()}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small night with three lights a filter."""
    out = tmp_path_factory.mktemp("night")
    plan = small_plan()
    make_raw(out, replace(plan, targets=(replace(plan.targets[0], repeats=3),)))
    return out / "raw"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all reductions put their products."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def plain(raw: Path, out: Path) -> Reduced:
    """Without any option but a fixed radius and no search for cosmic rays."""
    return Reduced(raw, out)


def good(*images: ImageProduct) -> np.ndarray[Any, Any]:
    """Pixels with a value and no flag in all of them."""
    masks = [image.mask for image in images if image.mask is not None]
    return np.asarray(np.logical_and.reduce([mask == 0 for mask in masks] + [np.isfinite(image.science) for image in images]))


def test_radius(raw: Path, out: Path, plain: Reduced) -> None:
    wide = Reduced(raw, out, radius_px=6.0)
    whole = wide.catalogue()["flags"] == 0
    assert wide.catalogue()["area_px"][whole] == pytest.approx(math.pi * 36.0, rel=1e-4)
    narrow = plain.catalogue()
    assert narrow["area_px"][narrow["flags"] == 0] == pytest.approx(math.pi * FIXED_PX**2, rel=1e-4)
    assert wide.catalogue()["sum"][0] > narrow["sum"][0]
    assert wide.image("reduce_light").cards["DATASUM"] == plain.image("reduce_light").cards["DATASUM"]  # nothing but catalogues changes


def test_length(raw: Path, out: Path, plain: Reduced) -> None:
    def longest(reduced: Reduced) -> float:
        stars = json.loads((out / reduced.row("stack_photometry").file("star numbers").path).read_text())
        return max(float(radius) for star in stars for radius in star["radius_px"])

    assert longest(plain) == pytest.approx(25.0, abs=1.0)
    assert longest(Reduced(raw, out, subframe_px=12)) == pytest.approx(12.0, abs=1.0)


def test_smoothing_changes_what_is_found_and_not_what_is_summed(raw: Path, out: Path, plain: Reduced) -> None:
    blurred, sharp = Reduced(raw, out, smoothing_px=5.0).catalogue(), plain.catalogue()
    assert len(blurred["id"]) != len(sharp["id"])
    # Other sources are kept out of the sky's ring, so the sky may differ; what lies in the aperture does not.
    brightest = [table["sum"][0] + table["sky"][0] * table["area_px"][0] for table in (blurred, sharp)]
    assert brightest[0] == pytest.approx(brightest[1], rel=1e-4)


def test_sky_whole_takes_one_number_off_the_image_and_writes_it(raw: Path, out: Path, plain: Reduced) -> None:
    whole = Reduced(raw, out, sky="whole")
    light, flat = whole.image("reduce_light"), whole.image("photometry", role="sky_subtracted")
    used = good(light, flat)
    taken = light.science[used] - flat.science[used]
    assert taken.std() < 1e-3
    assert whole.catalogue()["sky"] == pytest.approx(float(np.median(taken)), rel=1e-4)
    assert len(set(plain.catalogue()["sky"])) > 1


def test_sky_subframe_is_the_constant_of_each_stars_fit(raw: Path, out: Path) -> None:
    fitted = Reduced(raw, out, sky="subframe")
    stars = json.loads((out / fitted.row("stack_photometry").file("star numbers").path).read_text())
    accepted = [star for star in stars if star["accepted"]]
    assert accepted
    assert all(star["sky"] == pytest.approx(star["fit_sky"], rel=1e-5) for star in accepted)


def test_exclude_filter(raw: Path, out: Path) -> None:
    without = Reduced(raw, out, exclude_filters=("V",))
    for recipe in ("reduce_light", "photometry", "stack"):
        assert {row.facts["filter"] for row in without.rows if row.recipe == recipe} == {"B"}
    asides = {row.reason for row in without.files if row.kind == "light" and row.state == "set_aside"}
    assert asides == {"filter V was excluded on request"}


def test_no_flat_leaves_the_flat_in(raw: Path, out: Path, plain: Reduced) -> None:
    bare, light, flat = (
        Reduced(raw, out, use_flat=False).image("reduce_light"),
        plain.image("reduce_light"),
        plain.image("flat_master"),
    )
    used = good(bare, light, flat)
    np.testing.assert_allclose(bare.science[used], light.science[used] * flat.science[used], rtol=1e-4, atol=0.05)
    assert bare.cards["NCGRADE"] == "D"


def test_no_dark_leaves_the_dark_current_in(raw: Path, out: Path, plain: Reduced) -> None:
    bare, light = Reduced(raw, out, use_dark=False).image("reduce_light"), plain.image("reduce_light")
    dark = next(row for row in plain.rows if row.recipe == "dark_master" and row.facts["exposure_s"] == 30.0)
    held = read_image_product(out / dark.file("image").path)  # a dark holds its bias: what is left in is dark - bias
    bias, flat = plain.image("bias_master"), plain.image("flat_master")
    used = good(bare, light, held, bias, flat)
    left = float(light.cards["NCGAIN"] or 0.0) * (held.science - bias.science) / flat.science
    np.testing.assert_allclose((bare.science - light.science)[used], left[used], rtol=1e-3, atol=0.05)
    assert (bare.cards["NCGRADE"], bare.cards["NCDARK"]) == ("D", "none")


def test_cosmic_rays_are_flagged_unless_told_otherwise(raw: Path, out: Path, plain: Reduced) -> None:
    cosmic = np.uint16(int(PixelFlag.COSMIC_RAY))

    def flagged(reduced: Reduced) -> int:
        images = [read_image_product(out / row.file("image").path) for row in reduced.rows if row.recipe == "reduce_light"]
        return sum(int(np.count_nonzero(image.mask & cosmic)) for image in images if image.mask is not None)

    assert flagged(plain) == 0
    assert flagged(Reduced(raw, out, cosmic_rays=True)) > 0


def lights_of(reduced: Reduced) -> list[ImageProduct]:
    """The reduced lights in V, each moved to the mean of their sky."""
    rows = [row for row in reduced.rows if row.recipe == "reduce_light" and row.facts["filter"] == "V"]
    images = [read_image_product(reduced.out / row.file("image").path) for row in rows]
    levels = [float(row.metrics["background"]) for row in rows]
    mean = sum(levels) / len(levels)
    return [replace(image, science=image.science + np.float32(mean - level)) for image, level in zip(images, levels, strict=True)]


@pytest.mark.parametrize("method", ["mean", "median"])
def test_unregistered_and_stack(raw: Path, out: Path, plain: Reduced, method: str) -> None:
    reduced = Reduced(raw, out, register=False, stack_method=method)
    lights, stacked = lights_of(reduced), reduced.image("stack")
    used = good(*lights)
    combined = getattr(np, method)([light.science[used] for light in lights], axis=0)
    np.testing.assert_allclose(stacked.science[used], combined, rtol=1e-4, atol=0.02)
    other = plain.image("stack").science[used]
    assert np.nanstd(other - combined) > 1.0  # the dithered stars lie on each other only where they are aligned


def test_save_stands_in_the_names_of_figures(raw: Path, out: Path, plain: Reduced) -> None:
    def named(reduced: Reduced) -> set[bool]:
        files = reduced.row("stack_photometry").files
        return {"Perseus" in file.path for file in files if file.path.endswith((".png", ".json"))}

    assert named(plain) == {False}
    assert named(Reduced(raw, out, save="Perseus")) == {True}


def nightcrew(*words: str) -> str:
    given = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTCREW_")}
    command = [sys.executable, "-c", "from deployments.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=given).stdout


def test_level_and_every_option_of_the_command_line(raw: Path, tmp_path: Path) -> None:
    few = tmp_path / "raw"
    few.mkdir()
    for file in (*raw.glob("bias*"), raw / "crew-1-V-001.fit"):
        (few / file.name).write_bytes(file.read_bytes())
    out = tmp_path / "out"
    nightcrew("reduce", str(few), "-O", str(out))
    quiet = (out / ".nightcrew" / "reduce.log").read_text()
    assert "bias_master" in quiet
    assert " DEBUG " not in quiet
    every = "-R 4 -L 12 -S 2 --sky whole -x U --no-flat --no-dark --no-cosmic-rays --unregistered --stack median --force --save x"
    nightcrew("reduce", str(few), "-O", str(out), "-C", str(few), *every.split(), "--level", "DEBUG", "--json")
    told = (out / ".nightcrew" / "reduce.log").read_text().removeprefix(quiet)
    assert " DEBUG " in told
    for decided in (
        "'radius_px': 4.0",
        "'subframe_px': 12",
        "'smoothing_px': 2.0",
        "'sky': 'whole'",
        "'cosmic_rays': False",
        "'method': 'median', 'register': False",
        "'title': 'x'",
        "(--no-dark)",
        "(--no-flat)",
    ):
        assert decided in told
    known = str(out / ".nightcrew" / "nightcrew.toml")
    why = ask("why", "crew-1-V-001.fit", "--config", known, folder=tmp_path).stdout
    assert why.splitlines()[1].startswith("  degraded: ")  # what stands, by the options that it was made with
    assert "(--no-flat)" in why
    assert ask("rerun", "last", "--config", known, folder=tmp_path).stdout == "2026-05-16/NCSIM: 0 made, 0 failed, 0 to be tried again.\n"
    (out / ".nightcrew" / "reduction.json").write_text("{}")
    assert "is not what `nightcrew reduce` writes" in ask("why", "crew-1-V-001.fit", "--config", known, folder=tmp_path).stderr
