"""Attempts: folders with raw frames, a configuration and a log.  Each is found once, at any depth up to a limit.

Layouts: ``TestSection1/T<temp>/attempt<n>``, ``TestSection2/20Frames/<exp>s/.../attempt<n>``, folders that hold ``frames/`` without
being called attempt, ``Preirradiation|Irradiation/<name>|Postirradiation/{Bias,Darks,Flats}/...``, and folders with an own ``fits/``,
which is used as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import Refused
from nightcrew.io.source import shown
from nightcrew.lab import names
from nightcrew.lab.logs import FRAME_LOGS

CONFIG_NAMES = ("configfile.txt", "config.txt")
FRAMES_FOLDER, FITS_FOLDER = "frames", "fits"
FITS_ENDINGS = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
DEFAULT_DEPTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt.  ``parts`` are its folders below ``root`` (with the root's own name in front, which may say what it holds).

    ``raws`` and ``fits`` are sorted by name, those of ``frames/`` and ``fits/`` before those beside these folders; raws that FITS of
    somebody else stand for are not converted again.  ``config`` and ``log`` may be
    missing; ``caltype`` is BIAS, DARK, FLAT, OPER or "" (nothing says it).
    """

    folder: Path
    root: Path
    parts: tuple[str, ...]
    raws: tuple[Path, ...]
    fits: tuple[Path, ...]
    config: Path | None
    log: Path | None
    caltype: str

    @property
    def relative(self) -> Path:
        """Folder below the root."""
        return self.folder.relative_to(self.root)

    @property
    def label(self) -> str:
        """Folders below the root with ``/``, or the root's own name."""
        return "/".join(self.parts[1:]) or self.parts[0]

    @property
    def name(self) -> str:
        """The folder's name, escaped for people."""
        return shown(self.folder)


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a folder holds itself."""

    files: dict[str, Path]  # by lower-case name
    folders: dict[str, Path]
    raws: tuple[Path, ...]
    fits: tuple[Path, ...]


def _list(folder: Path) -> _Listing:
    files: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    raws, fits = [], []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise Refused(f"{shown(folder)}: cannot be listed ({error.strerror})") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path, name = folder / entry.name, entry.name.lower()
        # Links to folders are not followed: what they lead to is found where it lies, and loops end.
        if entry.is_dir(follow_symlinks=False):
            folders[name if name not in folders else entry.name] = path
        elif entry.is_file():
            files.setdefault(name, path)
            if name.endswith(".raw"):
                raws.append(path)
            elif name.endswith(FITS_ENDINGS):
                fits.append(path)
    return _Listing(files, folders, tuple(raws), tuple(fits))


def natural(name: str) -> tuple[tuple[int, str, int], ...]:
    """Sorting key: f2 before f10."""
    return tuple((1, "", int(piece)) if piece.isdecimal() else (0, piece, 0) for piece in re.split(r"(\d+)", name) if piece)


def find_attempts(root: Path, *, search_depth: int = DEFAULT_DEPTH, caltype: str = "") -> list[Attempt]:
    """All attempts in ``root`` and at most ``search_depth`` folders below it, in natural order, each once.

    ``caltype`` says what they hold; without it folders and file names do.  Raises ``Refused`` when the root is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise Refused(f"{shown(root)}: is no folder")
    return list(_search(root, root, search_depth, caltype))


def _search(folder: Path, root: Path, depth: int, caltype: str) -> Iterator[Attempt]:
    listing = _list(folder)
    attempt = _attempt(folder, root, listing, caltype)
    if attempt is not None:
        yield attempt
    if depth == 0:
        return
    own = {FRAMES_FOLDER, FITS_FOLDER} if attempt is not None else set()
    for name, below in listing.folders.items():
        if name not in own:
            yield from _search(below, root, depth - 1, caltype)


def _attempt(folder: Path, root: Path, listing: _Listing, caltype: str) -> Attempt | None:
    config = next((listing.files[name] for name in CONFIG_NAMES if name in listing.files), None)
    log = next((listing.files[name.lower()] for name in FRAME_LOGS if name.lower() in listing.files), None)
    frames, fits = listing.folders.get(FRAMES_FOLDER), listing.folders.get(FITS_FOLDER)
    raws = ((*_list(frames).raws, *listing.raws)) if frames else listing.raws
    images = ((*_list(fits).fits, *listing.fits)) if fits else listing.fits
    named = folder.name.lower().startswith("attempt")
    if not (raws or images) or not (named or frames or fits or config or log or folder == root or listing.raws):
        return None
    parts = (root.name, *folder.relative_to(root).parts)
    kind = caltype or names.kind_of(parts) or next(filter(None, (names.kind_of_name(path.name) for path in (raws or images)[:1])), "")
    return Attempt(folder=folder, root=root, parts=parts, raws=raws, fits=images, config=config, log=log, caltype=kind)
