"""Calibration frames that share what only one exposure has: their master says so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nightcrew.frames.identity import alike_in, ambiguous
from nightcrew.ledger.rows import FrameRow, worst

Judged = tuple[str, tuple[str, ...]]


def told_of_likeness(frames: Sequence[FrameRow], grade: str, reasons: tuple[str, ...]) -> Judged:
    """``grade`` and ``reasons`` of a master, at best B where some of its frames share camera, start and exposure.

    One may be a changed copy of another, and count twice.
    Their pixels differ, else they were one exposure; but a fixed pattern may outweigh the noise that would tell copies from others.
    """
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for frame in frames:
        header = frame.header
        if header.time_utc and not header.time_is_date_only and not ambiguous(header):
            together[alike_in(header)].append(frame.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace"))
    alike = sorted(sorted(names) for names in together.values() if len(names) > 1)
    if not alike:
        return grade, reasons
    count, first = sum(map(len, alike)), ", ".join(alike[0][:3])
    told = f"{count} of its frames share camera, start and exposure with another ({first}): a changed copy would count twice"
    return worst(grade, "B"), (*reasons, told)
