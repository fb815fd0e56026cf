"""Which exposure a frame is: the same for every file that holds it, whatever its bytes."""

from __future__ import annotations

import hashlib

from nightcrew.frames.model import FrameHeader

_SHORT_S = 1.0


def exposure_identity(header: FrameHeader, content_sha256: str = "", *, distinct: bool = False) -> str:
    """Identity of the exposure: hash of camera, detector, start, exposure time, kind and sequence number (32 hex digits).

    Where the start is unknown, or only a date, nothing but the bytes can tell exposures apart: ``content_sha256`` takes
    the place of the start.  ``distinct=True`` adds it too: for frames with an :func:`ambiguous` identity whose pixels
    were compared and differ.  Raises ValueError when the content hash is needed and missing.
    """
    timed = bool(header.time_utc) and not header.time_is_date_only
    if (distinct or not timed) and not content_sha256:
        raise ValueError("a frame without a start time needs the hash of its content for an identity")
    parts = (*alike_in(header, timed=timed), "" if timed and not distinct else content_sha256)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def alike_in(header: FrameHeader, *, timed: bool = True) -> tuple[str, ...]:
    """What frames of one exposure have in common: camera, detector, start (``timed``), exposure time, kind and sequence number."""
    return (
        header.camera or header.instrument,
        header.detector,
        header.time_utc if timed else "",
        "" if header.exposure_s is None else f"{header.exposure_s:.9g}",
        header.kind,
        header.sequence,
    )


def ambiguous(header: FrameHeader) -> bool:
    """Whether two exposures may share this identity: a start in whole seconds, no number, and shorter than a second.

    When two files meet in an ambiguous identity, equal pixels make them one exposure; different ones make them two.
    """
    if not header.time_utc or header.time_is_date_only or header.sequence:
        return False
    return header.time_utc.endswith(".000") and (header.exposure_s is None or header.exposure_s < _SHORT_S)
