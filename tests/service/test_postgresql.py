"""A night with ledger and Prefect on PostgreSQL, whose connections all break in its middle: the same products as on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from nightcrew.settings import Settings
from tests.service.running import Running, Watched, configure
from tests.support import postgresql
from tests.support.small_nights import Bench, make_raw, small_plan

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.xdist_group("service")]
BREAK = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname IN ('ledger', 'prefect') AND pid <> pg_backend_pid()"


@pytest.fixture
def server() -> Iterator[URL]:
    """A server with two empty databases, ``ledger`` and ``prefect``."""
    reason = postgresql.why_not()
    if reason:
        pytest.skip(reason)
    with postgresql.server() as url:
        server = make_url(url)
        for name in ("ledger", "prefect"):
            run(server, f"CREATE DATABASE {name}")
        yield server


def run(server: URL, command: str) -> int:
    """Run one statement outside of any transaction; the number that a query gives."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            result = connection.execute(text(command))
            return int(result.scalar_one()) if result.returns_rows else 0
    finally:
        engine.dispose()


@pytest.fixture
def service(tmp_path: Path, server: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """``nightcrew up`` with both databases there."""
    settings = configure(tmp_path / "service", [Watched("postgresql")])
    assert settings.file is not None
    ledger = server.set(database="ledger").render_as_string(hide_password=False)
    with settings.file.open("a", encoding="utf-8") as file:
        file.write(f'\n[ledger]\nurl = "{ledger}"\n')
    prefect = server.set(drivername="postgresql+asyncpg", database="prefect").render_as_string(hide_password=False)
    made = Running(Settings.load(settings.file))
    made.given["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = prefect
    try:
        made.start(180)
        yield made
    finally:
        made.stop()
        made.space.database.close()


def test_a_night_on_postgresql_whose_connections_break(
    service: Running, server: URL, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All connections to PostgreSQL break in the middle of a night."""
    make_raw(tmp_path, small_plan("2025-05-16", troubles=("truncated", "duplicate", "text_file")))
    files = service.drop("postgresql", (tmp_path / "raw").iterdir())
    service.wait(lambda: len(service.claims("POSTGRESQL", "done")) >= 3, "the first products", 240)
    broken = run(server, BREAK)
    assert broken > 3
    service.wait(lambda: service.settled("POSTGRESQL", files, "postgresql"), "the night is reduced and reported", 300)

    same = {name: getattr(service.settings, name) for name in ("site", "instruments", "lights", "photometry", "night")}
    (folder,) = service.settings.folders
    alone = Bench(tmp_path / "raw", tmp_path / "alone", **same, folders=(folder.model_copy(update={"path": tmp_path / "raw"}),))
    alone.night()
    expected = alone.content()
    alone.space.database.close()
    found = {path: sha256(content).hexdigest() for path, content in service.content("POSTGRESQL").items()}
    assert found
    assert found == expected
    assert not list(service.settings.state.root.glob("ledger.sqlite*"))  # nothing was written beside
    assert not list((service.settings.state.root / "prefect").glob("prefect.db*"))
    kept = run(server.set(database="prefect"), "SELECT count(*) FROM flow_run")
    assert kept >= 2
    record_property(
        "evidence", f"{broken} connections were cut; {len(found)} products, the same as on SQLite; {kept} runs in Prefect's database"
    )
