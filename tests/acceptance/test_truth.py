"""A simulated night through the local plan, compared with the truth that made its frames (tolerances from the noise)."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.settings import LightsSettings
from nightcrew.simulate.comparison import Item
from nightcrew.simulate.night import make_night
from reports.recovered import compare_with_truth
from tests.support.small_nights import Bench
from tests.support.undrawn import undrawn


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Every comparison of the demonstration's night: 27 lights of 512^2, three filters, five troublemakers."""
    out = tmp_path_factory.mktemp("truth")
    make_night(out, "short", seed=7)
    bench = Bench(out / "raw", out / "work", lights=LightsSettings(cosmic_rays=True))
    with undrawn():
        bench.night()
    return list(compare_with_truth(bench.space.database, bench.settings.products.root, out / "truth.json").items)


@pytest.mark.parametrize(
    "words",
    [
        "files seen",
        "light frames done",
        "gain",
        "read noise",
        "hot pixels",
        "cold pixels",
        "pixel pulls, mean",
        "pixel pulls, width",
        "variance of the uncertainty plane",
        "cosmic-ray pixels",
        "magnitudes of bright stars",
        "width of the pulls",
        "truncated",
        "duplicate",
        "text_file",
        "bright_flat",
        "late_flat",
    ],
)
def test_recovered_agrees_with_truth(items: list[Item], words: str) -> None:
    found = [item for item in items if words in item.name]
    assert found
    assert [(item.name, item.recovered, item.rule, item.note) for item in found if not item.passed] == []


def test_nothing_else_failed(items: list[Item]) -> None:
    assert [item.name for item in items if not item.passed] == []


def test_the_comparison_needs_a_truth_file(tmp_path: Path) -> None:
    from nightcrew.errors import NightcrewError
    from nightcrew.ledger.database import Database

    with pytest.raises((NightcrewError, OSError)):
        compare_with_truth(Database(f"sqlite:///{tmp_path / 'none.sqlite'}"), tmp_path, tmp_path / "absent.json")
