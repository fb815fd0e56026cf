"""A lamp was on in the dome during the last flat: it is left out and named, or the master that holds it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import ProductRow
from tests.support.small_nights import Bench, make_raw, small_plan

pytestmark = pytest.mark.usefixtures("undrawn_figures")


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bias, darks and four flats in V; the last flat was lit by a lamp from one side as well."""
    folder = tmp_path_factory.mktemp("dome")
    make_raw(folder, replace(small_plan(pixels=64), n_flats=4))
    raw = folder / "raw"
    for path in raw.iterdir():
        if path.name.startswith(("crew", "flat-B", "dark-30")):
            path.unlink()
    last = max(raw.glob("flat-V-*"))
    with fits.open(last, mode="update") as file:
        pixels = file[0].data.astype(np.float64)
        file[0].data = np.round(pixels * (1 + 0.3 * np.linspace(0, 1, pixels.shape[1]))).astype(np.uint16)
    return raw


def flat_of(bench: Bench, paths: list[Path]) -> ProductRow:
    bench.night(paths)
    (row,) = [row for row in bench.products() if row.recipe == "flat_master"]
    return row


def test_a_flat_under_the_domes_lamp_leaves_no_trace_in_the_master(evening: Path, tmp_path: Path) -> None:
    paths = sorted(evening.iterdir())
    with_it, without = Bench(evening, tmp_path / "with"), Bench(evening, tmp_path / "without")
    rows = flat_of(with_it, paths), flat_of(without, [path for path in paths if path.name != "flat-V-004.fit"])
    assert [row.usable for row in rows] == [True, True]
    one, other = (read_image_product(bench.space.context.file(row, "image")) for bench, row in zip((with_it, without), rows, strict=True))
    assert np.array_equal(one.science, other.science, equal_nan=True)
    state, reason = with_it.state_of("flat-V-004.fit")
    assert state == "set_aside"
    assert "lit otherwise than the other flats" in reason
    assert [row.grade for row in rows] == ["B", "A"]
    assert "1 of 4 flats were lit otherwise (flat-V-004.fit) and are left out" in rows[0].grade_reasons[-1]


def test_where_too_few_would_be_left_the_master_says_so(evening: Path, tmp_path: Path) -> None:
    bench = Bench(evening, tmp_path / "few")
    row = flat_of(bench, [path for path in sorted(evening.iterdir()) if path.name != "flat-V-001.fit"])
    assert row.usable
    assert row.grade == "C"
    assert "1 of its 3 flats were lit otherwise than the others (flat-V-004.fit)" in row.grade_reasons[-1]
    cards = read_image_product(bench.space.context.file(row, "image")).cards  # the file says no better of itself than the ledger
    assert cards["NCGRADE"] == "C"
    assert "1 of its 3 flats were lit otherwise" in str(cards["NCWHY1"])


def test_two_flats_that_do_not_agree_are_told(evening: Path, tmp_path: Path) -> None:
    bench = Bench(evening, tmp_path / "two")
    row = flat_of(bench, [path for path in sorted(evening.iterdir()) if path.name not in {"flat-V-001.fit", "flat-V-002.fit"}])
    assert row.grade == "C"
    assert "the flats do not agree in shape" in row.grade_reasons[-1]
