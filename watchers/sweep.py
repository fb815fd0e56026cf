"""The sweep: a bounded walk over a folder.  Events are a hint, the sweep is the truth."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from watchers.names import NameFilter

MAX_DEPTH = 40  # bind mounts can nest without end; links are never followed


@dataclass(frozen=True, slots=True)
class Entry:
    """A path that a sweep met.  ``verdict`` says why it is ignored, "" when it is for us; of what is ignored ``ctime_ns`` is 0."""

    path: bytes
    size: int
    mtime_ns: int
    verdict: str = ""
    ctime_ns: int = 0


@dataclass(slots=True)
class Trouble:
    """What a walk could not look into; a walk with trouble proves nothing about what is absent."""

    reasons: list[str] = field(default_factory=list)

    def add(self, path: bytes, why: str) -> None:
        """Note that ``path`` could not be looked into."""
        self.reasons.append(f"{os.fsdecode(path)}: {why}")


def walk(
    root: bytes, names: NameFilter, trouble: Trouble, *, recursive: bool = True, skip: frozenset[bytes] = frozenset()
) -> Iterator[Entry]:
    """Every path below ``root``, files and ignored things alike, folder by folder in the order of names.

    Symbolic links are never followed, hidden folders are counted as one ignored entry, folders in ``skip``
    (absolute) are passed over in silence, and a folder that cannot be read is noted in ``trouble``.
    """
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            with os.scandir(folder) as scan:
                children = sorted(scan, key=lambda child: child.name)
        except OSError as error:
            trouble.add(folder, why_away(error) if folder == root else error.strerror or str(error))
            continue
        folders: list[tuple[bytes, int]] = []
        for child in children:
            entry = _look(child, names, trouble)
            if entry is not None:
                yield entry
            elif child.path not in skip and recursive and child.is_dir(follow_symlinks=False):
                if depth >= MAX_DEPTH:
                    trouble.add(child.path, f"folders are nested more than {MAX_DEPTH} deep")
                else:
                    folders.append((child.path, depth + 1))
        pending.extend(reversed(folders))


def why_away(error: OSError) -> str:
    """Why a watched folder as a whole cannot be looked into, and what that means for whoever is told."""
    what = "the folder is away, perhaps not mounted" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return f"{what}; it is waited for, and nothing that was taken in from it is lost"


def _look(child: os.DirEntry[bytes], names: NameFilter, trouble: Trouble) -> Entry | None:
    """The entry of one child, None for a folder to enter and for what went away or cannot be looked at."""
    try:
        status = child.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        trouble.add(child.path, error.strerror or str(error))
        return None
    if stat.S_ISDIR(status.st_mode):
        if names.skips_folder(child.name):
            return Entry(child.path, 0, status.st_mtime_ns, "ignored: a hidden folder")
        return None
    return entry_of(child.path, status, names)


def entry_of(path: bytes, status: os.stat_result, names: NameFilter) -> Entry:
    """The entry of a path that is no folder."""
    verdict = names.verdict(path.rpartition(b"/")[2], status.st_mode)
    return Entry(path, status.st_size, status.st_mtime_ns, verdict, 0 if verdict else status.st_ctime_ns)
