"""Which calibrations a photon table is read with: a small text file beside the table, which itself is never touched."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.atomic import write_text
from nightcrew.io.source import shown
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.solution_file import COSMIC, SolutionFile, kind_of, sha256_of
from nightcrew.mkid.solution_match import check_arrays, check_times

SUFFIX = ".calibrations.json"
_FORMAT = 1
_MOST_BYTES = 1 << 20
LEAST_STEP_S, LONGEST_STEP_S = 1e-3, 86_400.0
"""Between these lie steps in which rates of pixels are taken."""


@dataclass(frozen=True)
class Registered:
    """Calibrations of a table; paths as they are reached from here."""

    solutions: tuple[Path, ...] = ()
    linearity_step_s: float | None = None  # None: photons are not weighted for dead time


def register_path(table: Path) -> Path:
    """The file that holds the registration of a table."""
    return table.with_name(table.name + SUFFIX)


def register(table: Path, solutions: Sequence[Path], *, linearity_step_s: float | None = None) -> Path:
    """Note with which calibrations ``table`` is read from now on, in place of an earlier note; none at all removes it.

    Paths are kept relative to the table.  ``Refused`` for two of one kind and for steps of the linearity weight that are none,
    :class:`RejectedInput` for a file that is no calibration, or one of another array than the table's.
    """
    checked_step_s(linearity_step_s)
    kinds = [kind_of(path) for path in solutions]
    twice = {kind for kind in kinds if kinds.count(kind) > 1}
    if twice:
        raise Refused(f"{shown(table)}: can be read with one {sorted(twice)[0]} only")
    _check_match(table, kinds, solutions)
    note = register_path(table)
    if not solutions and linearity_step_s is None:
        note.unlink(missing_ok=True)
        return note
    rows = [
        {"kind": kind, "path": os.path.relpath(path.resolve(), table.resolve().parent), "sha256": sha256_of(path)}
        for kind, path in sorted(zip(kinds, solutions, strict=True))
    ]
    body = {"format": _FORMAT, "solutions": rows, "linearity_step_s": linearity_step_s}
    write_text(note, json.dumps(body, indent=1, sort_keys=True) + "\n", overwrite=True)
    return note


def checked_step_s(step_s: float | None) -> None:
    """``Refused`` when rates cannot be taken in steps of so many seconds; None, for no steps, is allowed."""
    if step_s is not None and not LEAST_STEP_S <= step_s <= LONGEST_STEP_S:
        raise Refused(f"steps of {step_s:g} s are no steps to take a rate in: between {LEAST_STEP_S:g} and {LONGEST_STEP_S:g}")


def _check_match(table: Path, kinds: Sequence[str], solutions: Sequence[Path]) -> None:
    if not solutions:
        return
    with PhotonTable(table) as opened:
        for kind, path in zip(kinds, solutions, strict=True):
            with SolutionFile(path) as file:
                if kind == COSMIC:
                    low, high = file.attribute("window_us")
                    check_times(opened, (int(low), int(high)))
                else:
                    check_arrays(opened, {f"{kind} {shown(path)}": file.array("resid")})


def registered(table: Path) -> Registered:
    """What is registered for ``table``; nothing when nothing is.

    Raises :class:`RejectedInput` when the note cannot be understood, or when a calibration has changed since: a table is never read with
    another calibration than the one that was meant.
    """
    note = register_path(table)
    if not note.is_file():
        return Registered()
    body = _body(note)
    found: list[Path] = []
    for row in body["solutions"]:
        path = table.resolve().parent / str(row["path"])
        if sha256_of(path) != row["sha256"]:
            raise RejectedInput(f"{shown(path)}: is not the calibration that {shown(table)} was registered with; apply it anew")
        found.append(path)
    step = body["linearity_step_s"]
    return Registered(tuple(found), None if step is None else float(step))


def _body(note: Path) -> dict[str, Any]:
    try:
        text = note.read_bytes()[:_MOST_BYTES].decode("utf-8")
        body = json.loads(text)
        known = isinstance(body, dict) and body.get("format") == _FORMAT and isinstance(body.get("solutions"), list)
    except OSError as error:
        raise TransientError(f"{shown(note)}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RejectedInput(f"{shown(note)}: is no list of calibrations") from error
    if not known or not all(isinstance(row, dict) and {"path", "sha256"} <= set(row) for row in body["solutions"]):
        raise RejectedInput(f"{shown(note)}: is no list of calibrations that this program reads")
    return {"linearity_step_s": None, **body}


@dataclass(frozen=True)
class Manifest:
    """A table and the calibrations that it is to be read with, as a product says it."""

    table: Path
    calibrations: Registered


def write_manifest(final: Path, table: Path, solutions: Sequence[Path], *, linearity_step_s: float | None = None) -> None:
    """Write which calibrations ``table`` is read with into a file of its own; paths are relative to that file's folder."""
    base = final.parent.resolve()
    rows = [{"path": os.path.relpath(path.resolve(), base), "sha256": sha256_of(path), "kind": kind_of(path)} for path in solutions]
    rows.sort(key=lambda row: (row["kind"], row["path"]))
    body = {"format": _FORMAT, "table": os.path.relpath(table.resolve(), base), "solutions": rows, "linearity_step_s": linearity_step_s}
    write_text(final, json.dumps(body, indent=1, sort_keys=True) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Read what :func:`write_manifest` wrote; errors as of :func:`registered`."""
    body = _body(path)
    if not isinstance(body.get("table"), str):
        raise RejectedInput(f"{shown(path)}: names no photon table")
    found: list[Path] = []
    for row in body["solutions"]:
        solution = path.resolve().parent / str(row["path"])
        if sha256_of(solution) != row["sha256"]:
            raise RejectedInput(f"{shown(solution)}: is not the calibration that {shown(path)} names")
        found.append(solution)
    step = body["linearity_step_s"]
    return Manifest(path.resolve().parent / body["table"], Registered(tuple(found), None if step is None else float(step)))
