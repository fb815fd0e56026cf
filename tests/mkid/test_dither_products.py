"""Combined dithers as the service makes them: which exposures belong together, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.mkid.calibrated import Calibrations
from nightcrew.mkid.dither_products import make_dither_products
from nightcrew.mkid.observing_log import LoggedExposure
from nightcrew.planning.mkid_dithers import plan_dithers
from nightcrew.simulate import speckle as light
from nightcrew.simulate.speckle_scene import point_source
from reports.mkid_images_dither import dither_quantities, dither_sections
from tests.mkid.made_tables import beam_map, table

SHAPE = (14, 16)
STARS = ((7.0, 6.0), (9.0, 6.0), (7.0, 8.5))


def position(path: Path, star: tuple[float, float], seed: int, **log: str) -> Path:
    rng = np.random.default_rng(seed)
    rate = point_source(SHAPE, star, 5000.0, 3.5).ravel() + 30.0
    intensity = light.correlated_intensities(rng, 0.75 * rate, 0.25 * rate, 0.0, 800, step_s=0.01, tau_s=0.1)
    pixel, time_s = light.photon_times(rng, intensity, 0.01)
    columns: dict[str, Any] = {f"log_{name}": value for name, value in log.items()}
    return table(path, beam_map(SHAPE), pixel, (time_s * 1e6).astype(np.int64), duration_s=8.0, exposure=columns)


def test_positions_become_a_combined_image_and_speckle_maps(tmp_path: Path) -> None:
    wish = {"dither": "triangle", "speckles": "yes", "plate_scale_mas": "10.4", "ra_deg": "20", "dec_deg": "-5", "register": "guess"}
    positions = [(position(tmp_path / f"p{n}.h5", star, n, **wish), Calibrations()) for n, star in enumerate(STARS)]
    made = make_dither_products(positions, tmp_path / "out", name="triangle")
    assert [name for name, _ in made.files] == ["dither.fits", "dither_speckles.fits", "dither_ratio.fits"]
    assert "register = 'guess'" in made.remarks[0]
    for place, star in zip(made.combined.positions, STARS, strict=True):
        assert place.star_px == pytest.approx(star, abs=0.15)
    assert made.speckles is not None
    assert made.ratio is not None
    near = made.speckles.exposure_s > 8.0
    assert np.nanmedian(made.ratio.rate_cps[0][near & (made.ratio.exposure_s > 8)]) == pytest.approx(3.0, rel=0.35)
    with fits.open(tmp_path / "out" / "dither.fits") as hdus:
        assert hdus[0].header["CTYPE1"] == "RA---TAN"
    (section,) = dither_sections(made, tmp_path / "out")
    assert len(section.figures) == 2
    assert (tmp_path / "out" / section.figures[0].numbers).is_file()
    assert {quantity.name: quantity.value for quantity in dither_quantities(made)}["dither_positions"] == 3


@dataclass
class FakeBuilder:
    """Takes what is planned."""

    is_quiet: bool
    added: list[tuple[str, list[str], list[str]]] = field(default_factory=list)

    def quiet(self) -> bool:
        return self.is_quiet

    def add(self, recipe: str, key: str, *, products: list[str], parameters: dict[str, Any], facts: dict[str, Any]) -> Any:
        self.added.append((f"{recipe} {key}", products, facts["positions"]))
        return SimpleNamespace(status="ready")


def exposure(number: int, name: str, kind: str = "science") -> LoggedExposure:
    return LoggedExposure(f"e{number}", kind, number * 10, number * 10 + 5, None, {"dither": name})


def planned(builder: FakeBuilder, exposures: list[LoggedExposure], usable: list[int]) -> list[str]:
    problems: list[str] = []
    tables: Any = {one.name: SimpleNamespace(status="ready") for one in exposures}
    inputs = {f"e{number}": [f"t{number}", "wavecal"] for number in usable}
    plan_dithers(builder, exposures, tables, inputs, {}, problems)  # type: ignore[arg-type]  # stands for a builder
    return problems


def test_a_dither_waits_for_its_end() -> None:
    going = [exposure(1, "a"), exposure(2, "a")]
    waiting = FakeBuilder(is_quiet=False)
    assert planned(waiting, going, [1, 2]) == []
    assert waiting.added == []
    ended = FakeBuilder(is_quiet=False)
    planned(ended, [*going, exposure(3, "")], [1, 2, 3])
    assert ended.added == [("mkid_dither a", ["t1", "wavecal", "t2"], ["e1", "e2"])]
    late = FakeBuilder(is_quiet=False)
    planned(late, [*going, exposure(3, "")], [1, 3])  # the second is not ready yet
    assert late.added == []
    quiet = FakeBuilder(is_quiet=True)
    assert "1 of 2 positions" in planned(quiet, going, [1])[0]
    assert quiet.added[0][2] == ["e1"]


def test_names_that_cannot_be_are_told_and_other_kinds_left_alone() -> None:
    builder = FakeBuilder(is_quiet=True)
    problems = planned(builder, [exposure(1, "../x"), exposure(2, "b", "flat"), exposure(3, "")], [1, 2, 3])
    assert len(problems) == 1
    assert "no name for a dither" in problems[0]
    assert builder.added == []
