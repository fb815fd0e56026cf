"""Statistics of files: one row for each file, or for each plane of a cube."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import NightcrewError, Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.cardtext import Card
from nightcrew.tools.boxes import Box
from nightcrew.tools.frame import Frame, cut, read_frame, with_cards
from nightcrew.tools.stats import Number, statistics
from nightcrew.tools.tables import SmallTable
from nightcrew.tools.writing import check_output, write_frame

COPY_PREFIX = "imst_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is measured: the statistics, where, and on which pixels.

    ``per_plane`` gives a row to every plane of a cube; ``good_only`` leaves out every pixel flagged in ``MASK`` (else only those
    without a value).  ``copy`` writes a copy of each file with the numbers in its header; the file itself is never changed.
    """

    names: tuple[str, ...]
    box: Box | None = None
    per_plane: bool = False
    good_only: bool = False
    extension: int | str | None = None
    copy: bool = False


def measure(
    paths: Sequence[Path], wanted: Wanted, *, complain: Callable[[str], None], tell: Callable[[str], None] = lambda _: None
) -> SmallTable:
    """A table with the columns ``FileName`` (with the box in FITS notation) and the statistics.

    A file that cannot be measured is told to ``complain`` in a sentence and has no row; ``tell`` hears what was read.
    """
    if wanted.copy and wanted.per_plane:
        raise Refused("the numbers of single planes do not go into a header: leave out -u or -t")
    rows: list[tuple[str | Number, ...]] = []
    for path in paths:
        try:
            rows += _rows(path, wanted, tell)
        except NightcrewError as error:
            text = str(error)
            complain(text if path.name in text else f"{path}: {text}")
    return SmallTable(("FileName", *wanted.names), tuple(rows))


def _rows(path: Path, wanted: Wanted, tell: Callable[[str], None]) -> list[tuple[str | Number, ...]]:
    copy = path.with_name(COPY_PREFIX + path.name.removesuffix(".fz")) if wanted.copy else None
    if copy is not None:
        check_output(copy)
    frame = read_frame(path, wanted.extension)
    tell(f"{path}: {' x '.join(str(n) for n in reversed(frame.shape))} pixels of {frame.operand.pixels.dtype}")
    part, label = cut(frame, wanted.box)
    found = [(plane, statistics(pixels, wanted.names, flags)) for plane, pixels, flags in _parts(part, wanted)]
    if copy is not None:
        header = with_cards(frame.header, _cards(found[0][1], label))
        write_frame(copy, frame.operand, header, unit=frame.unit)
    return [(f"{path}{_label(label, plane, part.shape)}", *numbers.values()) for plane, numbers in found]


def _parts(part: Frame, wanted: Wanted) -> Iterator[tuple[int | None, NDArray[Any], NDArray[Any] | None]]:
    pixels, mask = part.operand.pixels, part.operand.mask
    if wanted.good_only and mask is None:
        raise RejectedInput("there is no MASK extension to leave out flagged pixels by")
    flags = None if mask is None else mask if wanted.good_only else mask & np.uint16(PixelFlag.NO_DATA)
    if wanted.per_plane and pixels.ndim == 3:
        z0 = wanted.box.z0 if wanted.box else 0
        for index in range(pixels.shape[0]):
            yield z0 + index, pixels[index], None if flags is None else flags[index]
        return
    yield None, pixels, flags


def _label(label: str, plane: int | None, shape: tuple[int, ...]) -> str:
    """The box as printed: empty for the whole image, with the plane (from 1) where planes are apart."""
    if plane is None:
        return label
    axes = label.strip("[]").split(",")[:2] if label else [f"1:{shape[-1]}", f"1:{shape[-2]}"]
    return f"[{axes[0]},{axes[1]},{plane + 1}]"


def _cards(numbers: dict[str, Number], label: str) -> list[Card]:
    cards: list[Card] = [
        ("ST_" + name.upper().replace(".", "_" if name[0] == "p" else ""), value, f"statistic {name}") for name, value in numbers.items()
    ]
    return [*cards, ("ST_BOX", label or "all", "pixels measured, from 1, both ends included")]
