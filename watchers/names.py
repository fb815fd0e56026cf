"""Which paths are not for us, told by name and type alone; they are counted with their reason, never read."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

_TEMPORARY_ENDS = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", ".swp", ".lock", "~", ".!ut", ".aria2")
_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "lost+found"})
_KINDS = (
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True, slots=True)
class NameFilter:
    """Decides by name and file type; ``patterns`` are the observer's own (``fnmatch``, on the file name)."""

    patterns: Sequence[str] = ()

    def verdict(self, name: bytes, mode: int) -> str:
        """Why a path is ignored, ``""`` when it is for us.

        Parameters
        ----------
        name
            File name without folders, as the file system gives it.
        mode
            ``st_mode`` of ``lstat``.
        """
        for is_kind, words in _KINDS:
            if is_kind(mode):
                return f"ignored: {words}, not a file"
        if stat.S_ISLNK(mode):
            return "ignored: a symbolic link; links are not followed"
        return self.verdict_of_name(name)

    def verdict_of_name(self, name: bytes) -> str:
        """As :meth:`verdict`, for a regular file."""
        text = os.fsdecode(name)
        lowered = text.lower()
        if lowered in _SYSTEM_NAMES:
            return "ignored: a file of the operating system"
        if text.startswith("._"):
            return "ignored: resource fork of a Macintosh"
        if text.startswith("."):
            return "ignored: a hidden file"
        if lowered.endswith(_TEMPORARY_ENDS) or (text.startswith("#") and text.endswith("#")) or text.startswith("~$"):
            return "ignored: a temporary file"
        for pattern in self.patterns:
            if fnmatch.fnmatchcase(text, pattern):
                return f"ignored: its name matches {pattern!r} of the configuration"
        return ""

    def skips_folder(self, name: bytes) -> bool:
        """Hidden folders (``.Trash``, ``.git``) are not entered."""
        return name.startswith(b".") or name == b"lost+found"
