"""Lights that are changed copies of others: they are held out, so that no exposure counts twice.

A copy whose pixel values were changed (scaled, converted, painted over) is another file with the camera, start and exposure of its
original.  What tells it from another exposure (of a clock that stands still, of two cameras with one name) is its noise, which is
that of the original; see ``nightcrew.quality.sketch``.  Of calibration frames the fixed pattern may outweigh the noise: they all count,
and their master says so (``tasks.masters``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nightcrew.frames.identity import ambiguous
from nightcrew.ledger.rows import FrameRow

_HASH_DIGITS, _SKETCH_DIGITS = 16, 16  # of a frame's ``pixels``
COPIED = 60
"""So many of the 64 signs of a sketch agree in a changed copy."""
_MOST_ALIKE = 4
"""More frames of one start are those of a clock that stands still: among many pairs some would agree by chance."""


def changed_copies(lights: Sequence[FrameRow]) -> dict[int, str]:
    """Frame id -> why a light is held out; of the files of one exposure that counts which was changed first.

    A function of the set of frames.  Who changes pixels does so afterwards; of files of one time the shortest path counts, then the
    first.  Files that are gone come last.
    """
    together: dict[str, list[FrameRow]] = defaultdict(list)
    for frame in lights:
        if len(frame.pixels) == _HASH_DIGITS + _SKETCH_DIGITS and not ambiguous(frame.header):
            together[frame.identity.partition("#")[0]].append(frame)
    held: dict[int, str] = {}
    for group in together.values():
        if len(group) > _MOST_ALIKE:
            continue
        counting: list[FrameRow] = []
        for frame in sorted(group, key=_rank):
            original = next((one for one in counting if _is_copy(frame, one)), None)
            if original is None:
                counting.append(frame)
            else:
                held[frame.id] = _told(original)
    return held


def _rank(frame: FrameRow) -> tuple[bool, int, int, bytes]:
    return frame.absent == "gone", frame.mtime_ns, len(frame.path), frame.path


def _is_copy(one: FrameRow, other: FrameRow) -> bool:
    differing = int(one.pixels[_HASH_DIGITS:], 16) ^ int(other.pixels[_HASH_DIGITS:], 16)
    return 4 * _SKETCH_DIGITS - differing.bit_count() >= COPIED


def _told(original: FrameRow) -> str:
    name = original.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace")
    return f"duplicate: a changed copy of {name}, with its camera, start, exposure and noise; the file that was changed first counts"
