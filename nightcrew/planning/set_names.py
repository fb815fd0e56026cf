"""Names of sets: from the bytes of a folder's name to the scope's name, and from there to one part of a path.

Both steps are injective: two folders never share a scope, two scopes never share a folder of products or a page.
"""

from __future__ import annotations

import hashlib
import os
import string
import unicodedata
from pathlib import PurePosixPath

# controls, formats (bidi overrides make a name read backwards), surrogates, private use, unassigned, line separators
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PLAIN = frozenset(string.ascii_letters + string.digits + "._-")
_LONGEST_NAME = 200  # characters of a scope's name
_LONGEST_PART = 120  # of a part of a path


def scope_name(raw: bytes) -> str:
    """The name of a set whose folder is called ``raw``: as people read it, with what cannot be seen or stored as ``%XX``."""
    text = raw.decode("utf-8", "surrogateescape")
    shown = "".join(char if char != "%" and unicodedata.category(char) not in _UNSEEN else _escaped(char, "%") for char in text)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 20]}%~{_digest(shown, 16)}"


def safe_part(name: str) -> str:
    """``name`` as one part of a path or an address: ASCII letters, digits, ``.``, ``_`` and ``-``; all else as ``~xx``."""
    made = "".join(
        char if char in _PLAIN and not (place == 0 and char in ".-") else _escaped(char, "~").lower() for place, char in enumerate(name)
    )
    return (made or "~") if len(made) <= _LONGEST_PART else f"{made[: _LONGEST_PART - 26]}~~{_digest(name, 24)}"


def _escaped(char: str, mark: str) -> str:
    return "".join(
        f"{mark}{byte:02X}" for byte in char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass")
    )


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def set_of(path: bytes, folder: str, label: str = "") -> str:
    """Name of the set that a file of a watched folder belongs to.

    The first-level folder's name; files directly in the watched folder form a set named like it (and share it with a
    first-level folder of that very name).  ``label`` tells a second watched folder of the same kind from the first.
    """
    root = os.fsencode(folder).rstrip(b"/")
    own = root.rpartition(b"/")[2]
    first, below, _ = path[len(root) + 1 :].partition(b"/")
    name = scope_name(first if below else own)
    return f"{label}/{name}" if label else name


def root_of(path: bytes, folder: str) -> bytes:
    """The folder that names of the set's files are relative to."""
    root = os.fsencode(folder).rstrip(b"/")
    first, below, _ = path[len(root) + 1 :].partition(b"/")
    return root + b"/" + first if below and first != root.rpartition(b"/")[2] else root


def relative_name(path: bytes, root: bytes) -> str:
    """A file's name below the set's folder, bytes that are no UTF-8 as surrogates."""
    return str(PurePosixPath(os.fsdecode(path)).relative_to(os.fsdecode(root)))
