"""A ledger without files for every test of planning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.made_nights import Crew


@pytest.fixture
def new_crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Crew]]:
    """Makes empty ledgers whose plans can be run."""
    made: list[Crew] = []

    def fresh(**values: Any) -> Crew:
        folder: Path = tmp_path_factory.mktemp("crew")
        made.append(Crew.in_folder(folder, **values))
        return made[-1]

    yield fresh
    for crew in made:
        crew.database.close()


@pytest.fixture
def crew(new_crew: Callable[..., Crew]) -> Crew:
    """An empty ledger."""
    return new_crew()
