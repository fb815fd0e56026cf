"""Opening HDF5 files that may be damaged or hostile, without harm to the process that reads them.

Before a file is opened here, a child process meets everything in it (:mod:`nightcrew.io.hdf5_probe`): whether it crashes, spins
for ever or takes too much memory over it, the answer is a sentence.  A file is looked at once by a process, until it changes.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.source import shown

TIME_BOX_S = 120.0
_MOST_KNOWN = 10_000
_ERRORS = (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError)
"""What h5py, and readers of damaged values, raise."""


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Reading a file that is open: what goes wrong inside means that it is damaged (:class:`RejectedInput`)."""
    try:
        yield
    except _ERRORS as error:
        raise RejectedInput(f"{shown(path)}: is a damaged HDF5 file ({error})") from error


def open_hdf5(path: Path) -> Any:
    """The file as an ``h5py.File``, open for reading.

    Raises :class:`RejectedInput` when it is none or is damaged, :class:`TransientError` when it is not there or cannot be looked at.
    """
    import h5py

    try:
        status = path.stat()
    except OSError as error:
        raise TransientError(f"{shown(path)}: there is no such file, or it cannot be read ({error.strerror})") from error
    if not h5py.is_hdf5(path):
        raise RejectedInput(f"{shown(path)}: is no HDF5 file")
    _PROBE.check(path, _state(status))
    with sound(path):
        return h5py.File(path, "r")


def trust(path: Path) -> None:
    """This process has just written the file, whole: nobody needs to look at it before it is opened here."""
    with suppress(OSError):
        _PROBE.know(_state(path.stat()))


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Probe:
    """The child process, started when first needed and anew after it died; asked by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # a forked child must not talk to its parent's probe
        self._known: set[tuple[int, int, int, int]] = set()

    def check(self, path: Path, state: tuple[int, int, int, int]) -> None:
        """RejectedInput with the cause when it is dangerous to open the file."""
        if state in self._known:
            return
        with self._lock:
            reason = self._ask(path)
        if reason:
            raise RejectedInput(f"{shown(path)}: is a damaged HDF5 file ({reason})")
        self.know(state)

    def know(self, state: tuple[int, int, int, int]) -> None:
        """A file in this state is sound."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(state)

    def _ask(self, path: Path) -> str:
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise TransientError("the process that looks at HDF5 files has no pipes")
        try:
            process.stdin.write(os.fsencode(path.absolute()).hex().encode() + b"\n")
            process.stdin.flush()
            line = self._answer(process.stdout.fileno())
        except OSError:
            line = b""
        if line is None:
            self.close()
            return f"reading it takes longer than {TIME_BOX_S:g} s"
        if not line.endswith(b"\n"):
            self.close()
            return "the library that reads such files breaks down over it"
        return str(json.loads(line))

    @staticmethod
    def _answer(descriptor: int) -> bytes | None:
        """A line; what there is of it when the process ended; None when time is over."""
        line, end_s = b"", time.monotonic() + TIME_BOX_S
        while not line.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(0.0, end_s - time.monotonic()))[0]:
                return None
            piece = os.read(descriptor, 4096)
            if not piece:
                return line
            line += piece
        return line

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            command = [sys.executable, "-P", "-m", "nightcrew.io.hdf5_probe"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)  # noqa: S603  # our own program
            self._owner = os.getpid()
        return self._process

    def close(self) -> None:
        """End the child process, whatever it does."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


_PROBE = _Probe()
atexit.register(_PROBE.close)
