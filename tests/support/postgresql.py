"""A PostgreSQL server for tests: in a folder of its own, on a unix socket, started as an unprivileged user, stopped by its pid."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STARTED_S = 60.0
_USER = "nightcrew"


def why_not() -> str:
    """Why no server can be started here, "" when one can."""
    missing = [name for name in ("initdb", "postgres") if _binary(name) is None]
    if missing:
        return f"no PostgreSQL here: {' and '.join(missing)} not found"
    try:
        import psycopg
    except ImportError:
        return "no PostgreSQL here: psycopg is not installed"
    del psycopg
    if os.geteuid() == 0 and _unprivileged() is None:
        return "no PostgreSQL here: it does not run as root, and there is no user 'nobody'"
    return ""


def _binary(name: str) -> str | None:
    """The real binary: wrappers on the path may switch users."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _unprivileged() -> int | None:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return None


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database ``postgres``; the server lives as long as the context."""
    user = _unprivileged() if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="ncpg-", dir="/tmp") as temporary:  # a socket has a short path
        folder = Path(temporary)
        if user is not None:
            os.chown(folder, user, -1)
        data = folder / "data"
        initdb = [str(_binary("initdb")), "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder, timeout=120)
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off", "-c", "max_connections=100"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([str(_binary("postgres")), "-D", str(data), *options], stdout=log, stderr=log, user=user, cwd=folder)
        try:
            _wait(folder, process)
            yield f"postgresql+psycopg://{_USER}@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: its data are thrown away
            process.wait(timeout=60)


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    end_s = time.monotonic() + _STARTED_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-500:]}")
        try:
            psycopg.connect(host=str(folder), user=_USER, dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("PostgreSQL did not answer in time")
