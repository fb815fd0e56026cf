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


@dataclass
class Tree:
    """Writes below ``root`` (older files of the same name are replaced); ``made``: name -> what it is."""

    root: Path
    made: dict[str, str] = field(default_factory=dict)

    def _path(self, name: str, about: str) -> Path:
        self.made[name] = about
        path = self.root / name
        atomic.make_folder(path.parent, durable=False)
        return path

    def bytes(self, name: str, data: bytes, about: str) -> None:
        """A file of these bytes."""
        atomic.replace(self._path(name, about), lambda file: file.write(data), durable=False)  # type: ignore[arg-type]

    def text(self, name: str, text: str, about: str) -> None:
        """A text file."""
        atomic.write_text(self._path(name, about), text, durable=False, overwrite=True)

    def arrays(self, name: str, about: str, **arrays: Any) -> None:
        """Arrays by name as ``.npz``; texts as unicode arrays, so that no pickle is needed."""
        given = {key: np.asarray(value) for key, value in arrays.items()}
        for key, value in given.items():
            if value.dtype.kind == "O":
                raise ValueError(f"{name}: {key} is no plain array")
        atomic.replace(self._path(name, about), lambda file: np.savez(file, **given), durable=False)  # type: ignore[arg-type]

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
