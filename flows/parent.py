"""Processes that must not outlive the one that started them.  No Prefect here."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int | None = None, number: int = signal.SIGTERM) -> None:
    """Ask the kernel for signal ``number`` when the thread that started this process ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)  # the parent died before the kernel heard us
