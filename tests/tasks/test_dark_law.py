"""The two laws of dark scaling: a rate through 0, and GODO's line with an offset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightcrew.io.products import read_image_product
from tests.support.small_nights import Bench, make_raw


def scaled_night(tmp_path: Path, law: str) -> Bench:
    """A small night without its 30 s darks (20 and 120 s stand in), under a law."""
    own = tmp_path / "out" / "instruments"
    own.mkdir(parents=True)
    (own / "nightcrew_simulated.toml").write_text(f'[rules]\ndark = "{law}"\n')
    bench = Bench(tmp_path / "raw", tmp_path / "out")
    bench.night([path for path in sorted((tmp_path / "raw").iterdir()) if not path.name.startswith("dark-30")])
    return bench


@pytest.mark.parametrize("law", ["exact", "linear"])
def test_lights_without_their_dark_are_scaled_and_graded_c(tmp_path: Path, law: str) -> None:
    from dataclasses import replace

    from nightcrew.simulate.plan import DarkSeries
    from tests.support.small_nights import small_plan

    series = tuple(DarkSeries(exposure_s=seconds, count=3) for seconds in (30.0, 120.0, 20.0))
    plan = replace(small_plan(), darks=series)
    make_raw(tmp_path, plan)
    bench = scaled_night(tmp_path, law)
    thermal = next(row for row in bench.products() if row.recipe == "thermal_master")
    lights = [row for row in bench.products() if row.recipe == "reduce_light"]
    assert {row.grade for row in lights} == {"C"}
    assert thermal.parameters["law"] == law
    # The simulated dark has no offset: levels are good to 0.05 ADU, the slope is 0.04 ADU/s, so the offset is good to 2 s.
    assert thermal.metrics["offset_s"] == (0.0 if law == "exact" else pytest.approx(0.0, abs=8.0))
    image = read_image_product(bench.settings.products.root / lights[0].files[0].path)
    assert np.isfinite(np.median(image.science))
