"""A process beside ours that draws figures: it loads matplotlib while the page's numbers are still being read.

Loading matplotlib takes as long as reading a night of thousands of lights.  What does the drawing makes no difference to the
figures; where the process does not answer, they are drawn here.  ``python -m reports.beside`` is that process: a line of JSON
asks for a figure, and its pictures come back behind their length.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from reports.keep import DRAWN_WITH, packed, unpacked
from reports.values import Picture

PATIENCE_S = 20.0
"""A figure takes a tenth of a second, loading everything one or two on a slow machine."""
_GREETING = DRAWN_WITH.encode("ascii")
_LENGTH, _MOST_BYTES = 8, 1 << 26
_PIPE = 4096
"""What a pipe that has room takes without waiting (POSIX: PIPE_BUF)."""


class Beside:
    """The process, for as long as a page is being made."""

    def __init__(self, patience_s: float = PATIENCE_S, command: tuple[str, ...] = (sys.executable, "-P", "-m", "reports.beside")) -> None:
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:  # no room for one more process
            return
        if self._process.stdin is not None and self._process.stdout is not None:
            self._asks, self._hears = self._process.stdin.fileno(), self._process.stdout.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def pictures_of(self, kind: str, size_in: tuple[float, float], shows: Any, alt: str) -> tuple[Picture, ...]:
        """The figure as ``reports.figures.pictures_of`` draws it; () when the process cannot be asked, now or any more."""
        if self._process is None:
            return ()
        asked = json.dumps({"kind": kind, "size_in": size_in, "shows": shows, "alt": alt}).encode("ascii") + b"\n"
        until_s = time.monotonic() + self._patience_s
        try:
            if not self._greeted:
                self._greeted = self._read(len(_GREETING), until_s) == _GREETING
            if self._greeted:  # else it has other code than we, as while an upgrade runs
                self._write(asked, until_s)
                return unpacked(self._read(int.from_bytes(self._read(_LENGTH, until_s)), until_s))
        except OSError:
            pass
        self.close()
        return ()

    def _write(self, data: bytes, until_s: float) -> None:
        while data:
            _, ready, _ = select.select([], [self._asks], [], max(0.0, until_s - time.monotonic()))
            if not ready:
                raise TimeoutError
            data = data[os.write(self._asks, data[:_PIPE]) :]

    def _read(self, size: int, until_s: float) -> bytes:
        if size > _MOST_BYTES:
            raise OSError(f"{size} bytes are no figure")
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([self._hears], [], [], max(0.0, until_s - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(self._hears, min(size - len(data), 1 << 20))
            if not piece:
                raise BrokenPipeError
            data += piece
        return data

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._greeted:
            process.kill()  # it has nothing to lose
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if not self._greeted:  # it may be writing matplotlib's list of fonts, and ends by itself when nobody asks
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._patience_s)
            process.kill()
        process.wait()


def main() -> int:
    """Draw what is asked for until nobody asks any more."""
    from reports.figures import Drawing, load, pictures_of

    load()
    sys.stdout.buffer.write(_GREETING)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        data = packed(pictures_of(Drawing(asked["kind"], tuple(asked["size_in"]), asked["shows"]), asked["alt"]))
        sys.stdout.buffer.write(len(data).to_bytes(_LENGTH) + data)
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
