"""Opening the ledger's database: the one place that makes a connection.

SQLite runs in WAL mode with ``synchronous=FULL`` on a local disk; writers begin with ``BEGIN IMMEDIATE`` so that a
transaction never fails half-way for a lock.  PostgreSQL is used by URL; its writers take one advisory lock, so that there,
too, one writes at a time and sees what the last one wrote.  No file work happens inside a transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from nightcrew.errors import Refused, TransientError

Clock = Callable[[], datetime]
_BUSY_TIMEOUT_S = 30.0
_WRITERS_LOCK = 0x6E6967687463  # any number, the same for all of Nightcrew
# Classes of PostgreSQL's error codes that pass: connection, rolled back, out of resources, someone intervened, I/O.
_PASSING_CODES = ("08", "40", "53", "55", "57", "58")
_DAMAGED_WORDS = ("file is not a database", "malformed")
_PASSING_WORDS = ("locked", "busy", "full", "disk i/o", "connect", "timeout", "unable to open", "readonly")


def utc_now() -> datetime:
    """The system's clock, UTC; injected into :class:`Database` so that tests and simulations may use another."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """ISO text in UTC with milliseconds and no zone, the form of every time in the ledger."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def storable(name: str) -> str:
    """A text as a database takes it: bytes of file names that are no UTF-8 stand as ``\\udcXX``."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


class Database:
    """An engine with two doors: :meth:`read` and :meth:`write`.

    Parameters
    ----------
    url
        SQLAlchemy URL; ``sqlite:////path/ledger.db`` or ``postgresql+psycopg://...``.
    clock
        Gives the time that rows are stamped with.
    """

    def __init__(self, url: str, *, clock: Clock = utc_now) -> None:
        self.url = url
        self.clock = clock
        parsed = address(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            database = parsed.database
            if database and database != ":memory:":
                Path(database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _make_engine(url, is_sqlite=self.is_sqlite)
        self._writer = self.engine.execution_options(nightcrew_writer=True)
        self._reader = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        # One writer a process: threads queue here instead of spinning on SQLite's lock.
        self._lock = threading.Lock()

    def now(self) -> str:
        """The time of the injected clock as ledger text."""
        return iso(self.clock())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading.

        Raises
        ------
        TransientError
            The database cannot be read for now.
        Refused
            It is damaged.
        """
        with _passing("read"), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction for writing; keep it short, no file work inside.

        Raises
        ------
        TransientError
            The database stayed locked or its disk is full; nothing was written.
        """
        with self._lock, _passing("written"), self._writer.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def new_id(result: CursorResult[Any]) -> int:
    """The id that an insert of one row made."""
    key = result.inserted_primary_key
    if key is None:
        raise LookupError("the insert made no row")
    return int(key[0])


@contextmanager
def _passing(what: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if _is_passing(error):
            raise TransientError(f"the ledger cannot be {what} for now: {error.orig}") from error
        if any(sign in str(error.orig).lower() for sign in _DAMAGED_WORDS):
            raise Refused(f"the ledger is damaged ({error.orig}): stop the service and restore a copy (ledger.sqlite.*.bak)") from error
        raise
    except PoolTimeoutError as error:
        raise TransientError(f"the ledger cannot be {what} for now: too many connections are open") from error


def _is_passing(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlstate", None)
    if code:
        return str(code).startswith(_PASSING_CODES)
    words = str(error.orig).lower()
    return isinstance(error, OperationalError) and any(sign in words for sign in _PASSING_WORDS)


def address(url: str) -> URL:
    """A database's URL in its parts; ``Refused`` when it is none or its driver is not here.

    What is wrong with it is told without it: it may hold a password.
    """
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ValueError, NoSuchModuleError, ImportError):
        # No chain: the cause may quote the URL.
        raise Refused(
            "ledger.url is no address of a database that can be used here: postgresql+psycopg://user@host:5432/name, "
            "special characters of a password as %40 and the like"
        ) from None
    return parsed


def _make_engine(url: str, *, is_sqlite: bool) -> Engine:
    if not is_sqlite:
        return _make_postgresql(url)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False})

    def configure(connection: Any, _record: Any) -> None:
        # The driver would begin by itself, deferred; we say BEGIN ourselves, below.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        writer = connection.get_execution_options().get("nightcrew_writer", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)
    return engine


def _make_postgresql(url: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)

    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("nightcrew_writer", False):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{int(_BUSY_TIMEOUT_S)}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")

    event.listen(engine, "begin", begin)
    return engine
