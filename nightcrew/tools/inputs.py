"""What a person may write to name files: plain names, globs, and comma lists of both, in one argument or several."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nightcrew.errors import Refused

FITS_ENDINGS = (".fits", ".fit", ".fts", ".fz")
COMPRESSED_ENDINGS = (".gz", ".bz2", ".Z")
_GLOB_CHARACTERS = "*?["


def expand(arguments: Iterable[str], *, folder: Path | None = None) -> list[Path]:
    """The files that ``arguments`` name, each glob sorted, the order of the arguments kept, repetitions kept.

    An argument that is itself a file is taken as it stands (blanks, commas and brackets may be part of a name).  Otherwise it is a
    comma list whose pieces are names or globs; blanks and line ends around a piece do not count.  No argument at all stands for
    every FITS file of ``folder`` (the working folder).  :class:`Refused` names the piece that no file answers to.
    """
    words = list(arguments)
    if not words:
        return _all_fits(folder or Path())
    found: list[Path] = []
    for word in words:
        found += _one_argument(word)
    if not found:
        raise Refused("no file is named: give file names, globs or comma lists of them")
    return found


def without_repetitions(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """``paths`` with each file once, in order, and those left out because the same file had been named before."""
    seen: set[Path] = set()
    once: list[Path] = []
    again: list[Path] = []
    for path in paths:
        real = path.resolve()
        (again if real in seen else once).append(path)
        seen.add(real)
    return once, again


def is_fits_name(name: str) -> bool:
    """Whether ``name`` ends like a FITS file, compressed or not, in either case."""
    bare = name
    for ending in COMPRESSED_ENDINGS:
        bare = bare.removesuffix(ending)
    return bare.lower().endswith(FITS_ENDINGS)


def _one_argument(word: str) -> list[Path]:
    if not word.strip():
        raise Refused("an empty file name was given")
    if os.path.isfile(os.path.expanduser(word)):  # noqa: PTH111, PTH113  False, and no error, for what cannot be a name at all
        return [Path(os.path.expanduser(word))]  # noqa: PTH111  as it was asked for
    found: list[Path] = []
    for piece in (part.strip(" \t\r\n\\") for part in word.split(",")):
        if piece:
            found += _one_piece(piece)
    return found


def _one_piece(piece: str) -> list[Path]:
    path = Path(os.path.expanduser(piece))  # noqa: PTH111  a user that nobody knows is no error here
    if os.path.isfile(path):  # noqa: PTH113  as above
        return [path]
    if os.path.isdir(path):  # noqa: PTH112  as above
        raise Refused(f"'{piece}' is a folder, not a file: write '{piece.rstrip('/')}/*.fits' for the files in it")
    if not any(character in piece for character in _GLOB_CHARACTERS):
        raise Refused(f"the file '{piece}' does not exist")
    matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (Path.glob takes no absolute patterns)
    files = [match for match in matches if match.is_file()]
    if not files:
        raise Refused(f"no file matches '{piece}'")
    return files


def _all_fits(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_fits_name(path.name) and not path.name.startswith("."))
    if not files:
        raise Refused("no FITS file lies in this folder: name the files")
    return files
