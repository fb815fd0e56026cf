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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

MOST_OUTPUT_BYTES = 65_536  # of what a helper says; the rest is read and thrown away
MOST_FILE_BYTES = 256_000_000  # of any file that it writes
_LOOK_S = 0.1
_MEET_S = 0.5  # how often it is looked who descends from a helper
_HUNTS = 5  # whoever starts a process just when it is killed is looked for so often
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a helper ended: its exit code (below 0: the signal that ended it), ``None`` when its time was over; the first of its words."""

    code: int | None
    output: bytes
    seconds: float


def closed_environment(program: Path, folder: Path) -> dict[str, str]:
    """An environment without anything of ours (secrets!): programs are found beside ``program`` and in the system's folders."""
    path = os.pathsep.join((str(program.resolve().parent), str(program.parent), *_SYSTEM_PATH))
    return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C"}


def run_boxed(
    command: Sequence[str],
    *,
    seconds: float,
    folder: Path,
    stdin: IO[bytes] | None = None,
    most_file_bytes: int = MOST_FILE_BYTES,
) -> Ended:
    """Run ``command`` (an argument list, no shell) in ``folder`` for at most ``seconds``; then it and its children are killed.

    It inherits nothing of our environment.  ``stdin`` is an opened file (nothing without).  Children that outlive it are killed,
    too, also those in a session of their own (as far as they were met while their parents lived).  OSError when it cannot be started.
    """
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603  an argument list of our own
        list(command),
        cwd=folder,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=closed_environment(Path(command[0]), folder),
        start_new_session=True,
    ) as process:
        started: set[psutil.Process] = set()
        try:
            with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))
            output = _heard(process, began + seconds, started)
            in_time = _is_over(process)
        finally:
            _end_all(process, started)
    return Ended(process.returncode if in_time else None, output, time.monotonic() - began)


def _heard(process: subprocess.Popen[bytes], until: float, started: set[psutil.Process]) -> bytes:
    """What it says, the first of it, until it ends or its time is over; ``started`` gets the processes that it starts."""
    kept, meet_s = bytearray(), 0.0
    if process.stdout is None:
        raise ValueError("the process has no output to listen to")
    with selectors.DefaultSelector() as listening:
        listening.register(process.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if (now := time.monotonic()) >= meet_s:
                _meet(process, started)
                meet_s = now + _MEET_S
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


def _meet(process: subprocess.Popen[bytes], started: set[psutil.Process]) -> None:
    """Note who descends from it now: a child that makes a session of its own is found by that alone, and only while its parents live."""
    with contextlib.suppress(psutil.Error):
        started.update(psutil.Process(process.pid).children(recursive=True))
    for one in tuple(started):
        with contextlib.suppress(psutil.Error):  # also where its number is another process's by now
            started.update(one.children(recursive=True))


def _end_all(process: subprocess.Popen[bytes], started: set[psutil.Process]) -> None:
    """Kill the program, every child that stayed in its group, and those that left it."""
    for _ in range(_HUNTS):
        _meet(process, started)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        alive = [one for one in started if _lives(one)]
        if not alive:
            break
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()  # looks at its time of birth first: a number that another process got is left alone
    process.wait()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
