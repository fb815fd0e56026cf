"""The names of product files: one module makes them all.

``<night>/<instrument>/<folder>/<recipe>_<key>.<fingerprint>.<ending>``.  The fingerprint (12 digits) makes a final name
that is never overwritten; the plain name without it is a link to the current one.  A product of a set is a folder,
``<kind>/<set>/<recipe>_<key>-<fingerprint>/``, and its plain name a link to that folder.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from nightcrew.ledger.rows import FileRow
from nightcrew.planning.groups import plain
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.set_names import safe_part
from nightcrew.recipes.catalogue import RECIPES

log = logging.getLogger(__name__)
_SET_DEPTH = 3  # kind, set, product
_SET_FINAL = re.compile(r"-[0-9a-f]{12}$")
_SHORT = {"reduce_light": "light", "photometry": "catalogue", "stack_photometry": "catalogue", "bad_pixel_mask": "bad_pixels"}


def folder(planned: PlannedProduct) -> PurePosixPath:
    """Folder of a product, below the products root."""
    return PurePosixPath(plain(planned.night) or "undated", plain(planned.instrument) or "unknown", RECIPES[planned.recipe].folder)


def stem(planned: PlannedProduct) -> str:
    """``dark_master_60s_-18.8C_...`` without fingerprint and ending."""
    return f"{_SHORT.get(planned.recipe, planned.recipe)}_{planned.key}"


def final(planned: PlannedProduct, ending: str, label: str = "") -> PurePosixPath:
    """Final name of a product's file; ``label`` tells several files of one product apart."""
    more = f"_{label}" if label else ""
    return folder(planned) / f"{stem(planned)}{more}.{planned.fingerprint[:12]}.{ending}"


def set_folder(planned: PlannedProduct) -> PurePosixPath:
    """Folder of a set's product, below the products root."""
    return PurePosixPath(planned.kind, safe_part(planned.night), f"{planned.recipe}_{planned.key}-{planned.fingerprint[:12]}")


def folder_of_files(files: Sequence[FileRow]) -> PurePosixPath:
    """Folder of a made product of a set, from the names of its files."""
    return PurePosixPath(*PurePosixPath(files[0].path).parts[:_SET_DEPTH])


def named(files: Sequence[FileRow]) -> tuple[PurePosixPath, ...]:
    """What of a product gets a plain name: its files, or the folder of a set's product."""
    of_set = bool(files) and all(_in_set_folder(PurePosixPath(file.path)) for file in files)
    return (folder_of_files(files),) if of_set else tuple(PurePosixPath(file.path) for file in files)


def _in_set_folder(path: PurePosixPath) -> bool:
    return len(path.parts) > _SET_DEPTH and _SET_FINAL.search(path.parts[_SET_DEPTH - 1]) is not None


def link(path: PurePosixPath) -> PurePosixPath:
    """The plain name of a final name: without the fingerprint."""
    if _SET_FINAL.search(path.name) and len(path.parts) == _SET_DEPTH:
        return path.with_name(_SET_FINAL.sub("", path.name))
    parts = path.name.split(".")
    short = [part for place, part in enumerate(parts) if not (place == len(parts) - 2 and len(part) == 12)]
    return path.with_name(".".join(short))


def point_at(root: Path, path: PurePosixPath) -> bool:
    """Make the plain name a link to the final one, atomically; an older link is replaced.

    Links are a help for people: where the file system has none, nothing is lost but the help, and False is returned.
    """
    plain_name = root / link(path)
    if plain_name.name == path.name:
        return True
    temporary = plain_name.with_name(f".nightcrew-{secrets.token_hex(8)}.part")
    try:
        temporary.symlink_to(path.name)
        temporary.replace(plain_name)
    except OSError as error:
        log.warning("%s has no plain name: %s", path.name, error.strerror)
        return False
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def points_at(root: Path, path: PurePosixPath) -> bool:
    """Is the plain name a link to this file (or has it none)?"""
    plain_name = root / link(path)
    if plain_name.name == path.name:
        return True
    with suppress(OSError):
        return plain_name.readlink().name == path.name
    return False


def point_away(root: Path, path: PurePosixPath) -> None:
    """Take the plain name away when it still is a link to this file."""
    plain_name = root / link(path)
    with suppress(OSError):
        if plain_name.is_symlink() and plain_name.readlink().name == path.name:
            plain_name.unlink()
