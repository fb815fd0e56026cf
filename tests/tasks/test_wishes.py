"""A wish makes what it names, and never hides from the service what else is to be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.ledger import scopes
from tasks.executor import Wish
from tests.support.small_nights import Bench, make_raw, small_plan


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small night's raw frames."""
    out = tmp_path_factory.mktemp("small-night")
    make_raw(out, small_plan())
    return out / "raw"


def due(bench: Bench) -> bool:
    with bench.space.database.read() as connection:
        return bool(scopes.due(connection, bench.space.database.now()))


def test_what_a_wish_left_out_stays_due(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.night()
    assert not due(bench)
    before = bench.content()
    for recipe, place in (("reduce_light", -1), ("photometry", 0)):
        row = sorted((one for one in bench.products() if one.recipe == recipe), key=lambda one: one.key)[place]
        (bench.settings.products.root / row.files[0].path).unlink()
    (run,) = bench.run(Wish(from_step="photometry"))
    assert [outcome.recipe for outcome in run.outcomes] == ["photometry"]
    assert due(bench)
    (run,) = bench.run()
    assert [outcome.recipe for outcome in run.outcomes] == ["reduce_light"]
    assert not due(bench)
    assert bench.content() == before
