"""A small night of everything, simulated once and lived through once in peace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.harness import Life, make_material, settings_of
from tests.faults.picture import Picture, picture_of


@dataclass(frozen=True)
class Peace:
    """The watched folders, and what the night gives when nothing goes wrong."""

    watched: Path
    picture: Picture


@pytest.fixture(scope="session")
def peace(tmp_path_factory: pytest.TempPathFactory) -> Peace:
    """The night without any fault."""
    root = tmp_path_factory.mktemp("peace")
    watched = make_material(root / "material")
    life = Life(settings_of(watched, root / "night"))
    life.live()
    found = picture_of(life.space)
    life.close()
    assert {state for _, state, _ in found.files.values()} == {"done", "rejected", "set_aside"}
    return Peace(watched, found)
