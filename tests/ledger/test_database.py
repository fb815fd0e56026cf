"""Opening, making and upgrading the ledger; waiting for each other; copies."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade as alembic_upgrade
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from nightcrew.errors import Refused, TransientError
from nightcrew.ledger import arrivals, comparisons, migrate, scopes
from nightcrew.ledger import database as databases
from nightcrew.ledger.database import Database
from nightcrew.ledger.schema import SCHEMA_REVISION, metadata
from tests.ledger.conftest import Maker
from tests.support.made_nights import Shelf


def tables_of(database: Database, revision: str) -> None:
    """Make the tables of an earlier revision."""
    config = migrate._config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        alembic_upgrade(config, revision)


def test_an_upgrade_from_nothing_gives_what_the_code_declares(new_url: Maker) -> None:
    shelf = Shelf(new_url())
    assert migrate.revision_of(shelf.database) == SCHEMA_REVISION
    with shelf.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    shelf.database.close()


def test_partial_indexes_are_made(shelf: Shelf) -> None:
    with shelf.database.engine.connect() as connection:
        indexes = {index["name"]: index for table in ("claim", "path") for index in inspect(connection).get_indexes(table)}
    assert indexes["uq_claim_running"]["unique"]
    assert "ix_path_to_read" in indexes


def test_an_older_ledger_is_upgraded_after_a_copy(new_url: Maker) -> None:
    database = Database(new_url())
    tables_of(database, "0001")
    with database.write() as connection:
        scopes.ensure(connection, "night", "2026-03-14", "CAM", database.now())
        insert = text(
            "INSERT INTO frame (identity, scope_id, sha256, path_id, kind, header, header_hash, arrived_at) "
            "VALUES (:identity, 1, 's', 1, 'bias', '{}', 'h', '')"
        )
        connection.execute(insert, [{"identity": identity} for identity in ("i" * 32, "i" * 32 + "#0123")])
        file = "INSERT INTO path (path, folder, size, mtime_ns, sha256, kind, state, reason, to_read, vanished, first_seen_at, changed_at)"
        values = "VALUES (:path, '/raw', 1, 2, 's', 'bias', 'done', '', false, false, '', '')"
        connection.execute(text(f"{file} {values}"), {"path": b"/raw/a.fit"})
    with pytest.raises(Refused, match="older than"):
        migrate.check(database)
    migrate.upgrade(database)
    migrate.check(database)
    with database.read() as connection:
        assert arrivals.known_stats(connection, "/raw") == {b"/raw/a.fit": (1, 2, 0)}  # its change time is not known, nothing is to be read
        assert comparisons.count_waiting(connection) == 0
        assert [tuple(row) for row in connection.execute(text("SELECT likeness, pixels FROM frame ORDER BY id"))] == [
            ("i" * 32, ""),
            ("i" * 32, "0123"),
        ]
    if database.is_sqlite:
        copy = Database(f"{database.url}.before-0001.bak")
        assert migrate.revision_of(copy) == "0001"
        with copy.read() as connection:
            assert len(scopes.find(connection)) == 1
        copy.close()
    database.close()


def test_upgrading_twice_does_nothing(shelf: Shelf) -> None:
    with shelf.database.write() as connection:
        scopes.ensure(connection, "night", "2026-03-14", "NCSIM", shelf.database.now())
    migrate.upgrade(shelf.database)
    migrate.check(shelf.database)
    with shelf.database.read() as connection:
        assert [scope.name for scope in scopes.find(connection)] == ["2026-03-14"]
    if shelf.database.is_sqlite:
        assert list(Path(shelf.database.url.removeprefix("sqlite:///")).parent.glob("*.bak")) == []


def test_an_empty_ledger_is_not_used(new_url: Maker) -> None:
    database = Database(new_url())
    with pytest.raises(Refused, match="no tables yet"):
        migrate.check(database)
    database.close()


def test_a_newer_ledger_is_refused(new_url: Maker) -> None:
    shelf = Shelf(new_url())
    with shelf.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (migrate.check, migrate.upgrade):
        with pytest.raises(Refused, match="newer Nightcrew"):
            use(shelf.database)
    shelf.database.close()


def test_a_copy_is_whole_and_replaces_the_last_one(tmp_path: Path) -> None:
    shelf = Shelf.on_disk(tmp_path)
    first = migrate.backup(shelf.database, "2026-03-15")
    with shelf.database.write() as connection:
        scopes.ensure(connection, "night", "2026-03-14", "CAM", shelf.database.now())
    again = migrate.backup(shelf.database, "2026-03-15")
    assert again == first == tmp_path / "ledger.sqlite.2026-03-15.bak"
    copy = Database(f"sqlite:///{again}")
    with copy.read() as connection:
        assert len(scopes.find(connection)) == 1
    copy.close()
    assert sorted(path.name for path in tmp_path.glob("*.bak*")) == ["ledger.sqlite.2026-03-15.bak"]
    shelf.database.close()


def test_other_databases_are_copied_by_their_own_means(shelf: Shelf) -> None:
    if shelf.database.is_sqlite:
        pytest.skip("SQLite copies itself")
    assert migrate.backup(shelf.database, "x") is None


def test_an_error_inside_leaves_nothing_behind(shelf: Shelf) -> None:
    def fail() -> None:
        with shelf.database.write() as connection:
            scopes.ensure(connection, "night", "2026-03-14", "CAM", shelf.database.now())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with shelf.database.read() as connection:
        assert scopes.find(connection) == []


def test_what_is_wrong_is_no_passing_error(shelf: Shelf) -> None:
    def twice() -> None:
        with shelf.database.write() as connection:
            for _ in range(2):
                connection.execute(text("INSERT INTO content (sha256, size, first_seen_at) VALUES ('a', 1, '')"))

    with pytest.raises(IntegrityError):
        twice()


def test_a_lock_that_stays_is_a_passing_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 1.0)
    other = Database(shelf.database.url)
    with shelf.database.write() as connection:
        scopes.ensure(connection, "night", "2026-03-14", "CAM", shelf.database.now())
        with pytest.raises(TransientError, match="cannot be written for now"), other.write():
            pytest.fail("two writers at once")
    other.close()


def test_a_database_that_is_away_is_a_passing_error(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://nobody@/none?host={tmp_path}"
    pytest.importorskip("psycopg")
    away = Database(url)
    with pytest.raises(TransientError, match="cannot be read for now"), away.read():
        pytest.fail("there is no server")
    with pytest.raises(TransientError, match="cannot be written for now"), away.write():
        pytest.fail("there is no server")


@pytest.mark.parametrize(
    "url",
    [
        "planted",
        "postgresql+psycop://crew:planted@127.0.0.1/x",
        "postgresql+psycopg://crew:planted@127.0.0.1:planted/x",
        "oracle+cx_oracle://crew:planted@127.0.0.1/x",
        "sqlite+aiosqlcipher://planted",
    ],
)
def test_an_address_that_is_none_is_refused_unsaid(url: str) -> None:
    with pytest.raises(Refused, match=r"ledger\.url") as told:
        Database(url)
    assert "planted" not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


def test_readers_see_one_moment(shelf: Shelf) -> None:
    with shelf.database.read() as connection:
        assert scopes.find(connection) == []
        with shelf.database.write() as writer:
            scopes.ensure(writer, "night", "2026-03-14", "CAM", shelf.database.now())
        assert scopes.find(connection) == []
    with shelf.database.read() as connection:
        assert len(scopes.find(connection)) == 1


def test_writers_of_many_threads_lose_nothing(shelf: Shelf) -> None:
    with shelf.database.write() as connection:
        one = scopes.ensure(connection, "night", "2026-03-14", "CAM", shelf.database.now())
    other = Database(shelf.database.url)

    def raise_marks(database: Database) -> None:
        for _ in range(10):
            with database.write() as connection:
                before = scopes.get(connection, one).mark
                scopes.look_again(connection, [one])
                assert scopes.get(connection, one).mark == before + 1

    workers = [threading.Thread(target=raise_marks, args=(database,)) for database in (shelf.database, other) * 2]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with shelf.database.read() as connection:
        assert scopes.get(connection, one).mark == 40
    other.close()


@pytest.mark.parametrize("damage", ["a folder", "noise", "pages overwritten"])
def test_a_damaged_ledger_is_told_in_a_sentence(tmp_path: Path, damage: str) -> None:
    """Every command opens the ledger: it must not end in a trace when a disk or a person damaged it."""
    path = tmp_path / "ledger.sqlite"
    if damage == "a folder":
        path.mkdir()
    elif damage == "noise":
        path.write_bytes(bytes(range(256)) * 80)
    else:
        made = Database(f"sqlite:///{path}")
        migrate.upgrade(made)
        made.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    database = Database(f"sqlite:///{path}")
    wanted = (TransientError, "unable to open") if damage == "a folder" else (Refused, "the ledger is damaged .* restore a copy")
    for opened in (migrate.check, migrate.upgrade):
        with pytest.raises(wanted[0], match=wanted[1]):
            opened(database)
    database.close()
