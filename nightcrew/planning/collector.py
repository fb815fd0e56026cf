"""Python's garbage collector, paused while a plan is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile.

    A plan makes hundreds of thousands of small objects that all live; looking through them again and again takes a third
    of its time and finds nothing.  So that they are not looked through at the end either, all at once, they go straight to
    the oldest generation (freezing and unfreezing moves lists, nothing else), where a later collection finds what is garbage.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.unfreeze()
            gc.enable()
