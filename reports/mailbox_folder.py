"""A folder as mailbox: the morning's mail as one ``.eml`` file, which every mail program opens."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import BinaryIO

from nightcrew.io import atomic
from reports.names import slug


def deliver(message: bytes, folder: Path, morning: str) -> Path:
    """Write ``message`` as ``<folder>/<morning>.eml``, in place of an older one of the same morning.

    Raises ``TransientError`` when the disk is full and ``Refused`` when the folder cannot be written.
    """
    return atomic.replace(folder / f"{slug(morning)}.eml", partial(_put, message), mode=0o600)


def _put(message: bytes, file: BinaryIO) -> None:
    file.write(message)
