"""Pictures that are kept, because making them anew takes longer than everything else on a page.

What is kept stands under a digest of all that it was made from: the contents, the drawing code and the libraries that drew.  So
a page shows the same with it and without it.  What is damaged, or was deleted, is made again; what cannot be kept is shown all the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nightcrew.errors import NightcrewError
from nightcrew.io import atomic
from reports.values import Picture

if TYPE_CHECKING:
    from reports.beside import Beside

FOLDER = "pictures"
_DRAWN_BY = ("stretch.py", "pictures.py", "figures.py", "text.py")
_LIBRARIES = ("matplotlib", "numpy", "pillow")
_DIGEST = 64


def _drawing() -> str:
    """What draws: our code as it was just loaded, and the libraries' versions."""
    here = Path(__file__).parent
    parts = [*((here / name).read_bytes() for name in _DRAWN_BY), *(f"{name} {version(name)}".encode() for name in _LIBRARIES)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


# Once, at the import: a process that an upgrade overtakes draws with its old code, whatever the files hold by then.
DRAWN_WITH = _drawing()


def key_of(*parts: object) -> str:
    """The name of what is made from ``parts``: plain values whose ``repr`` says all that matters."""
    return hashlib.sha256(repr((DRAWN_WITH, parts)).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Keep:
    """Where pictures are kept; ``root`` None keeps none, and less free space than ``reserve_bytes`` no more.

    ``beside`` is a process that draws figures, where one was started.
    """

    root: Path | None = None
    reserve_bytes: int = 0
    beside: Beside | None = None

    def pictures(self, key: str, make: Callable[[], tuple[Picture, ...]]) -> tuple[Picture, ...]:
        """What is kept under ``key``, else what ``make`` makes, which is kept; nothing is kept of ``()``."""
        if self.root is None:
            return make()
        path = self.root / key[:2] / key
        kept = _read(path)
        if kept:
            return kept
        made = make()
        if made and self._has_room(self.root):
            with suppress(NightcrewError):  # a full disk: drawn again next time
                atomic.replace(path, partial(_put, packed(made)), durable=False)
        return made

    def _has_room(self, root: Path) -> bool:
        """What is left of a disk is for the ledger and the products, which can wait for room but not do without."""
        while self.reserve_bytes and not root.exists() and root != root.parent:
            root = root.parent
        try:
            return not self.reserve_bytes or shutil.disk_usage(root).free >= self.reserve_bytes
        except OSError:
            return False


NOTHING_KEPT = Keep()


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def packed(pictures: tuple[Picture, ...]) -> bytes:
    """The pictures as bytes that tell whether they are whole."""
    head = [[one.media_type, one.width_px, one.height_px, one.alt, one.blank, len(one.data)] for one in pictures]
    body = json.dumps(head).encode("ascii") + b"\n" + b"".join(one.data for one in pictures)
    return hashlib.sha256(body).hexdigest().encode("ascii") + body


def unpacked(data: bytes) -> tuple[Picture, ...]:
    """The pictures that were packed; () when the bytes are damaged."""
    body = data[_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode("ascii") != data[:_DIGEST]:
        return ()
    head, _, rest = body.partition(b"\n")
    pictures, start = [], 0
    for media_type, width, height, alt, blank, size in json.loads(head):
        piece = rest[start : start + size]
        pictures.append(Picture(data=piece, media_type=media_type, width_px=width, height_px=height, alt=alt, blank=blank))
        start += size
    return tuple(pictures)


def _read(path: Path) -> tuple[Picture, ...]:
    """The pictures of a file as they were put there; () when there is none or it is damaged."""
    try:
        return unpacked(path.read_bytes())
    except OSError:
        return ()
