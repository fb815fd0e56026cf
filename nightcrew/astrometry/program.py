"""The plate solver on this machine: astrometry.net's ``solve-field`` and its index files.

Lang et al. 2010, doi:10.1088/0004-6256/139/5/1782.
Nothing is run here.  What identifies a solver is worked out from files, so that a plan never waits for a program that hangs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nightcrew.errors import NightcrewError

INDEX_FOLDERS = ("/usr/share/astrometry", "/usr/local/share/astrometry", "/usr/local/astrometry/data", "/opt/astrometry/data")
"""Where index files usually lie, when the configuration names no folder."""
_INDEX = re.compile(r"index-?[\w.-]*\.fits")


class NoSolverError(NightcrewError):
    """There is no plate solver that could be asked; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Solver:
    """A program that can be asked.  ``identity`` (hexadecimal) changes with the program's or the indexes' files, not with their place."""

    program: str
    index_folder: str
    time_box_s: float
    identity: str


def find_solver(program: str, index_folder: Path | None, time_box_s: float) -> Solver:
    """The solver of a configuration.

    :raises NoSolverError: the program is not installed, or there are no index files.
    """
    found = shutil.which(program)
    if found is None:
        raise NoSolverError(f"the plate solver {program!r} is not installed")
    folder, files = _indexes(index_folder)
    if not files:
        where = str(index_folder) if index_folder is not None else " or ".join(INDEX_FOLDERS[:2])
        raise NoSolverError(f"the plate solver has no index files: none in {where}")
    found = os.path.abspath(found)  # noqa: PTH100  it runs in a folder of its own; a link stays a link
    try:
        listed = tuple((path.name, path.stat().st_size) for path in files)
        status = Path(found).stat()
    except OSError as error:  # they are being replaced
        raise NoSolverError(f"the files of the plate solver {program!r} cannot be read ({error.strerror})") from error
    digest = _program_digest(found, status.st_size, status.st_mtime_ns)
    return Solver(found, str(folder), time_box_s, hashlib.sha256(repr((digest, listed)).encode()).hexdigest()[:12])


def _indexes(index_folder: Path | None) -> tuple[Path, list[Path]]:
    """The folder of the index files, and these by name."""
    candidates = [index_folder] if index_folder is not None else [Path(name) for name in INDEX_FOLDERS]
    for folder in candidates:
        try:
            files = sorted(path for path in folder.iterdir() if _INDEX.fullmatch(path.name) and path.is_file())
        except OSError:
            continue
        if files and "\n" not in str(folder):  # it stands on a line of the solver's configuration
            return folder.absolute(), files
    return candidates[0], []


@lru_cache(maxsize=16)
def _program_digest(path: str, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # of the key only: another file under the same name is read again
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise NoSolverError(f"the plate solver {path!r} cannot be read ({error.strerror})") from error
