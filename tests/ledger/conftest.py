"""Every test of the ledger runs on SQLite and, where a server can be started, on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from nightcrew.ledger.schema import metadata
from tests.support import postgresql
from tests.support.made_nights import Shelf


class Maker(Protocol):
    """Makes databases: empty ones, or with all tables."""

    def __call__(self, *, with_tables: bool = False) -> str:
        """The URL of a new database."""


class SqliteMaker:
    """Databases in a folder, those with tables copied from one."""

    def __init__(self, template: Path, folder: Path) -> None:
        self._template = template
        self._folder = folder
        self._made = 0

    def __call__(self, *, with_tables: bool = False) -> str:
        self._made += 1
        path = self._folder / f"ledger{self._made}.sqlite"
        if with_tables:
            shutil.copy(self._template, path)
        return f"sqlite:///{path}"


class PostgresqlMaker:
    """Ledgers in one database of a server: schemas of their own, or one whose tables are emptied for the next.

    A database for each would cost thousands of files.
    """

    def __init__(self, server: str) -> None:
        self._server = make_url(server)
        self._made = 0
        self._shared = self._new_schema()
        Shelf(self._shared).database.close()

    def _new_schema(self) -> str:
        self._made += 1
        name = f"ledger_{self._made}"
        self._run(f"CREATE SCHEMA {name}", self._server)
        return self._server.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)

    def _run(self, command: str, url: URL) -> None:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(command))
        engine.dispose()

    def __call__(self, *, with_tables: bool = False) -> str:
        if not with_tables:
            return self._new_schema()
        self._run(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE", make_url(self._shared))
        return self._shared


@pytest.fixture(scope="session")
def postgresql_maker() -> Iterator[Maker]:
    """Databases of a server of this test session; skips with the reason when there is none."""
    reason = postgresql.why_not()
    if reason:
        pytest.skip(reason)
    with postgresql.server() as url:
        yield PostgresqlMaker(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite ledger without rows."""
    folder = tmp_path_factory.mktemp("template")
    Shelf.on_disk(folder).database.close()
    return folder / "ledger.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Maker:
    """Makes URLs of new databases."""
    if request.param == "sqlite":
        return SqliteMaker(sqlite_template, tmp_path)
    maker: Maker = request.getfixturevalue("postgresql_maker")
    return maker


@pytest.fixture
def new_shelf(new_url: Maker) -> Iterator[Callable[[], Shelf]]:
    """Makes ledgers without rows."""
    made: list[Shelf] = []

    def fresh() -> Shelf:
        made.append(Shelf(new_url(with_tables=True)))
        return made[-1]

    yield fresh
    for shelf in made:
        shelf.database.close()


@pytest.fixture
def shelf(new_shelf: Callable[[], Shelf]) -> Shelf:
    """A ledger without rows."""
    return new_shelf()
