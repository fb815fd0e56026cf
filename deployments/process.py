"""One child process: it dies with its parent, writes to a log file, and is stopped with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.parent import die_with_parent

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_STEADY_S = 60.0  # a child that lived so long starts with a short pause again
_LOG_BYTES = 20_000_000


@dataclass
class Child:
    """A process to keep alive.

    ``needs`` is the name of a child whose restart restarts this one; ``stop_s`` how long it may take to stop.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    needs: str = ""
    stop_s: float = 10.0
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    start_at_s: float = 0.0
    starts: int = 0
    needed_starts: int = 0  # of the child that we need, when we were started
    pause_s: float = field(default=_FIRST_PAUSE_S)
    log_begins: int = 0  # what its log held when it was started last

    @property
    def lives(self) -> bool:
        """Is it running?"""
        return self.process is not None and self.process.poll() is None

    def start(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start it in a session of its own, so that the terminal's Ctrl-C reaches the supervisor only."""
        parent = os.getpid()
        trim_log(self.log)
        with self.log.open("ab") as log:
            self.log_begins = log.tell()
            self.process = subprocess.Popen(  # noqa: S603  # our own commands
                list(self.command),
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509  # the supervisor has one thread
            )
        self.started_s = clock()
        self.starts += 1

    def died(self, clock: Callable[[], float] = time.monotonic) -> int | None:
        """The exit code when it has ended, with the next start planned after a growing pause; None while it lives."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.kill_group()
        now = clock()
        self.pause_s = _FIRST_PAUSE_S if now - self.started_s > _STEADY_S else min(self.pause_s * 2, _LONGEST_PAUSE_S)
        self.start_at_s = now + self.pause_s
        self.process = None
        return code

    def stop(self) -> bool:
        """SIGTERM, wait, then SIGKILL for it and all that it left behind; False when it had to be killed."""
        if self.process is None:
            return True
        polite = True
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self.stop_s)
            except subprocess.TimeoutExpired:
                polite = False
        self.kill_group()
        self.process.wait()
        self.process = None
        return polite

    def kill_group(self) -> None:
        """Kill what is left of its process group."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return

    def last_words(self, lines: int = 3) -> str:
        """The end of what it wrote into its log since it was started last."""
        try:
            with self.log.open("rb") as log:
                size = self.log.stat().st_size
                log.seek(max(self.log_begins if self.log_begins <= size else 0, size - 4096))
                return " | ".join(log.read().decode(errors="replace").strip().splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def trim_log(log: Path, most_bytes: int = _LOG_BYTES) -> None:
    """Keep a log small: beyond ``most_bytes`` it is copied to ``<name>.1`` and emptied (its writer appends)."""
    try:
        if log.stat().st_size <= most_bytes:
            return
    except FileNotFoundError:
        return
    log.with_name(log.name + ".1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
