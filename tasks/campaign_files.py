"""A folder of results being written: pictures, arrays, tables; what was written is remembered with its meaning."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io import atomic
from nightcrew.io.products import write_image_product
from nightcrew.lab.tables import write_table

Row = Mapping[str, Any]
LIST_NAME = "files.json"
"""What the last run wrote below OUT, by which the next one clears it."""


@dataclass
class Tree:
    """Writes below ``root`` (older files of the same name are replaced); ``made``: name -> what it is.

    Two results of one run that would bear one name do not meet: the second gets ``_N2`` behind its stem.
    """

    root: Path
    made: dict[str, str] = field(default_factory=dict)

    def _path(self, name: str, about: str) -> Path:
        stem, dot, ending = name.rpartition(".")
        place = 2
        while name in self.made:
            name, place = f"{stem}_N{place}{dot}{ending}", place + 1
        self.made[name] = about
        path = self.root / name
        atomic.make_folder(path.parent, durable=False)
        return path

    def bytes(self, name: str, data: bytes, about: str) -> None:
        """A file of these bytes."""
        atomic.replace(self._path(name, about), lambda file: file.write(data), durable=False)

    def text(self, name: str, text: str, about: str) -> None:
        """A text file."""
        atomic.write_text(self._path(name, about), text, durable=False, overwrite=True)

    def arrays(self, name: str, about: str, **arrays: Any) -> None:
        """Arrays by name as ``.npz``; texts as unicode arrays, so that every program reads them."""
        given = {key: np.asarray(value) for key, value in arrays.items()}
        for key, value in given.items():
            if value.dtype.kind == "O":
                raise ValueError(f"{name}: {key} is no plain array")
        atomic.replace(self._path(name, about), lambda file: np.savez(file, **given), durable=False)  # type: ignore[arg-type]  # names of arrays, none of them an option of savez

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Row], about: str) -> None:
        """A CSV table; numbers that are not finite are empty cells."""
        write_table(self._path(name, about), columns, rows)

    def json(self, name: str, value: Any, about: str) -> None:
        """A JSON file; NaN is refused."""
        self.text(name, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n", about)

    def image(self, name: str, image: NDArray[Any], about: str, *, unit: str = "adu", cards: Sequence[Any] = ()) -> None:
        """A FITS image."""
        path = self._path(name, about)
        path.unlink(missing_ok=True)
        write_image_product(path, science=image, cards=cards, unit=unit, durable=False)

    def link(self, name: str, target: Path, about: str) -> None:
        """A file of the same bytes as another of these: a second name where the disk allows that, else a copy."""
        path = self._path(name, about)
        path.unlink(missing_ok=True)
        try:
            os.link(target, path)
        except OSError:
            shutil.copyfile(target, path)


def short(number: float) -> str:
    """A number in a file's name: ``0p1`` for 0.1."""
    return f"{number:.6g}".replace(".", "p")


def safe(text: str) -> str:
    """A name from a folder as one harmless part of a path."""
    from reports.names import slug

    made = slug(text)
    if made in ("", ".", ".."):
        raise RejectedInput(f"{text!r} cannot name a folder of results")
    return made


def clear_old(out: Path) -> None:
    """Remove what an earlier run wrote below ``out``, by its own list: plain files inside ``out`` alone, then empty folders."""
    try:
        listed = json.loads((out / LIST_NAME).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    root = out.resolve()
    for name in listed if isinstance(listed, dict | list) else ():
        path = out / str(name)
        if ".." in path.parts or path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(root):
            continue
        path.unlink()
        for folder in path.relative_to(out).parents:
            try:
                (out / folder).rmdir()
            except OSError:
                break
    (out / LIST_NAME).unlink(missing_ok=True)


def write_list(out: Path, made: Mapping[str, str], page: Iterable[str]) -> None:
    """``files.json``: every file of this run (folders that are named stand for all in them) and of its page."""
    files: dict[str, str] = dict.fromkeys(page, "the page")
    for name, about in made.items():
        below = sorted(path for path in (out / name).rglob("*") if path.is_file()) if (out / name).is_dir() else [out / name]
        files |= {path.relative_to(out).as_posix(): about for path in below}
    text = json.dumps({"format": 1, "files": dict(sorted(files.items()))}, indent=1, ensure_ascii=True) + "\n"
    atomic.write_text(out / LIST_NAME, text, durable=False, overwrite=True)
