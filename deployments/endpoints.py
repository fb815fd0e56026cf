"""Where the running service listens: written by ``up`` into the state folder, read by everything else."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from nightcrew.io.atomic import write_text

_NAME = "endpoints.json"


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Addresses of one running service; ``pid`` is the supervisor's."""

    api_url: str
    ui_url: str
    pages_url: str
    pid: int

    def write(self, state_root: Path) -> None:
        """Say where we listen."""
        write_text(state_root / _NAME, json.dumps(dataclasses.asdict(self), indent=1) + "\n", overwrite=True)

    @classmethod
    def read(cls, state_root: Path) -> Endpoints | None:
        """Where the service listens (or last did); None when it never ran here."""
        try:
            return cls(**json.loads((state_root / _NAME).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


def free_port(address: str) -> int:
    """A port that nobody listens on now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def url(address: str, port: int) -> str:
    """http URL of a listener, as a browser on this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, f"[{address}]" if ":" in address else address)  # noqa: S104  # compared, not bound
    return f"http://{host}:{port}"


def answers(address: str, timeout_s: float = 2.0) -> bool:
    """Does a GET of this http URL succeed?"""
    if not address.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(address, timeout=timeout_s) as answer:  # noqa: S310  # the scheme is checked above
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def running_pid(state_root: Path) -> int | None:
    """Process of the service that runs on this state folder, None when none does (its lock tells, not a stale file)."""
    try:
        descriptor = os.open(state_root / "up.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0).decode().strip() or 0)
    finally:
        os.close(descriptor)
    return None
