"""External helper programs in a box: a time limit for them and all that they start, bounded output, no shell, no secrets.

A helper is never more than an addition (a film, a plate solution): whoever calls one has a way to do without it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MOST_OUTPUT_BYTES = 65_536  # of what a helper says; the rest is read and thrown away
MOST_FILE_BYTES = 256_000_000  # of any file that it writes
_LOOK_S = 0.1
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a helper ended: its exit code (below 0: the signal that ended it), ``None`` when its time was over; the first of its words."""

    code: int | None
    output: bytes
    seconds: float


def closed_environment(program: str | Path, folder: Path) -> dict[str, str]:
    """An environment that holds nothing of ours: programs are found beside ``program`` and in the system's folders."""
    path = os.pathsep.join((os.path.dirname(os.path.realpath(program)), os.path.dirname(os.fspath(program)), *_SYSTEM_PATH))  # noqa: PTH120
    return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C"}


def run_boxed(
    command: Sequence[str],
    *,
    seconds: float,
    folder: Path,
    stdin: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    most_file_bytes: int = MOST_FILE_BYTES,
) -> Ended:
    """Run ``command`` (an argument list, no shell) in ``folder`` for at most ``seconds``; then it and its children are killed.

    ``stdin`` is an opened file (nothing without), ``environment`` None hands on ours.  Children that outlive the program are killed,
    too.  OSError when it cannot be started.
    """
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603  an argument list of our own
        list(command),
        cwd=folder,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=None if environment is None else dict(environment),
        start_new_session=True,
    ) as process:
        try:
            with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))
            output = _heard(process, began + seconds)
            in_time = _is_over(process)
        finally:
            _end_group(process)
    return Ended(process.returncode if in_time else None, output, time.monotonic() - began)


def _heard(process: subprocess.Popen[bytes], until: float) -> bytes:
    """What it says, the first of it, until it ends or its time is over."""
    kept = bytearray()
    if process.stdout is None:
        raise ValueError("the process has no output to listen to")
    with selectors.DefaultSelector() as listening:
        listening.register(process.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            ready, over = listening.select(min(left, _LOOK_S)), _is_over(process)
            data = os.read(process.stdout.fileno(), 65_536) if ready else b""
            kept += data[: MOST_OUTPUT_BYTES - len(kept)]
            if over and (not data or len(kept) >= MOST_OUTPUT_BYTES):
                break  # where a child of it holds the pipe, nobody waits for that
            if ready and not data:
                time.sleep(min(_LOOK_S / 10, left))  # it closed its output and goes on
    return bytes(kept)


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Did it end?  It is not waited for here: until then no other process gets its number."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and every child that stayed in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
