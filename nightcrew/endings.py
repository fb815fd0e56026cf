"""How a process ended, in words."""

from __future__ import annotations

import signal


def ending(code: int) -> str:
    """``ended with code 1``, ``was ended by SIGSEGV``: an exit code as the system gives it, below 0 the signal."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "was killed (SIGKILL: by the kernel, for want of memory, or by a person)"
    return f"was ended by {name}"
