"""Names of the files that the hand tools write, from one root or a list of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nightcrew.errors import Refused

DEFAULT_PREFIX = "imar_"
_COMPRESSED = (".gz", ".bz2", ".Z", ".fz")


def output_names(inputs: Sequence[Path], wanted: str, *, prefix: str = DEFAULT_PREFIX) -> list[Path]:
    """One name for each input.

    Nothing wanted: ``imar_`` before the name, in the input's folder.  One input: the name as given.  As many comma-separated
    names as inputs: those.  Else one root: ``root.<number>.<rest>`` (:func:`rooted`).  :class:`Refused` when the numbers
    do not agree or two inputs would get one name.
    """
    pieces = [piece.strip() for piece in wanted.split(",") if piece.strip()]
    if not pieces:
        names = [path.with_name(prefix + _bare(path.name)) for path in inputs]
    elif len(inputs) == 1 and len(pieces) == 1:
        names = [Path(pieces[0]).expanduser()]
    elif len(pieces) == len(inputs):
        names = [Path(piece).expanduser() for piece in pieces]
    elif len(pieces) == 1:
        names = [rooted(path, Path(pieces[0]).expanduser()) for path in inputs]
    else:
        raise Refused(f"{len(pieces)} output names for {len(inputs)} images: give one root, or a name for each")
    _refuse_repetitions(inputs, names)
    return names


def rooted(path: Path, root: Path) -> Path:
    """``root.<number>.<rest>``: the number is the last dot-separated part of the name that is one, or ends with one after a hyphen.

    ``fl-0007.r.fits`` becomes ``root.0007.r.fits``; without a number everything is rest: ``root..name.fits``.
    """
    parts = _bare(path.name).split(".")
    for index in range(len(parts) - 1, -1, -1):
        number = parts[index].rpartition("-")[2]
        if re.fullmatch(r"[0-9]+", number):
            return root.with_name(".".join([root.name, number, *parts[index + 1 :]]))
    return root.with_name(".".join([root.name, "", *parts]))


def _bare(name: str) -> str:
    """``name`` without the ending of a compression: what is written is not compressed."""
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return name


def _refuse_repetitions(inputs: Sequence[Path], names: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for path, name in zip(inputs, names, strict=True):
        if name in seen:
            raise Refused(f"{seen[name]} and {path} would both be written as {name}: give a name for each")
        seen[name] = path
