"""Named places at which a test may have the process killed: the boundaries where a crash could leave a half-done thing.

``NIGHTCREW_FAILPOINT="product.unrecorded:3"`` in the environment kills the process by SIGKILL when it reaches that place for
the third time (``:nth`` may be absent: the first).  Without it :func:`reach` compares one name with None and returns.  A name
that is none of ``PLACES`` is refused when the process starts, so that no test waits for a kill that cannot come.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PLACES = (
    "arrival.unrecorded",  # a burst of paths is known to the watcher alone
    "ingest.unrecorded",  # files are hashed and their headers read, no row says so
    "ingest.stored",  # rows of frames are there, ignored files have no scope yet
    "claim.taken",  # a claim is in the ledger, nothing was begun
    "unit.started",  # its unit of work begins
    "file.open",  # stages of the one function that writes files, see nightcrew.io.atomic
    "file.write",
    "file.fsync",
    "file.publish",
    "file.fsync_folder",
    "set.half_written",  # the folder of a set's product holds everything under its temporary name
    "product.unrecorded",  # its final name is there, no row says so
    "product.unlinked",  # the ledger has it and its claim ended, its plain name is missing
    "states.unwritten",  # everything is made, files do not say so
    "states.written",  # files say so, the scope is not marked as planned
    "plan.unended",  # the scope is planned, the claim of its plan still stands
    "report.half_written",  # summary and numbers are there, the page is the old one
    "report.unrecorded",  # the page is there, no row says so
    "mail.unqueued",  # the pages of a morning are written, its mail is not in the outbox
    "mail.queued",  # it is, but its nights do not say that they were told
    "mail.sending",  # the row says "sending", no byte has gone out
    "mail.sent",  # it went out, the row does not say so
    "dispatch.unasked",  # a dispatch row, no run
    "dispatch.unrecorded",  # a run, and its row does not know it
)

_counts: Counter[str] = Counter()
_deadly: tuple[str, int] | None = None
_counting = False


def arm(text: str) -> None:
    """Kill this process at ``name:nth``; "" takes it back.

    Raises
    ------
    ValueError
        There is no such place.
    """
    global _deadly  # noqa: PLW0603  the one failpoint of the process
    name, _, nth = text.partition(":")
    if name and name not in PLACES:
        raise ValueError(f"{name!r} is no failpoint; there are {', '.join(PLACES)}")
    _deadly = (name, int(nth or 1)) if name else None
    _counts.clear()


def reach(name: str) -> None:
    """This place is reached."""
    if _deadly is not None or _counting:
        _reached(name)


def _reached(name: str) -> None:
    _counts[name] += 1
    if _deadly is not None and _deadly[0] == name and _counts[name] >= _deadly[1]:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each place is reached meanwhile; nothing is killed."""
    global _counting  # noqa: PLW0603  for tests, as above
    _counts.clear()
    _counting = True
    try:
        yield _counts
    finally:
        _counting = False


arm(os.environ.get("NIGHTCREW_FAILPOINT", ""))
