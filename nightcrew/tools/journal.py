"""Renaming that can be taken back: the journal is on the disk before the first file moves, and no file is ever overwritten.

A journal is JSON lines.  The first holds the whole plan with each file's inode, size and time; later lines tell what was done.  The plan
alone is enough to undo, whatever moment the run was cut short at: each file is looked for under its new, temporary and old name.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightcrew.errors import NightcrewError, Refused, RejectedInput, TransientError
from nightcrew.tools.rename import Move, name_key

_FORMAT = 1
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one move: ``reason`` "" is success."""

    move: Move
    reason: str = ""


def rename_new(old: Path, new: Path) -> None:
    """Rename ``old`` to ``new`` in one atomic step that fails with :class:`FileExistsError` rather than overwrite.

    ``renameat2(RENAME_NOREPLACE)``; where the file system lacks it, a hard link followed by the removal of the old name.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(libc, "renameat2", None)
    if function is not None:
        if function(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code), str(old), None, str(new))
    os.link(old, new, follow_symlinks=False)
    old.unlink()


def run(moves: Sequence[Move], journal_root: Path, *, now_utc: str) -> tuple[Path, list[Outcome]]:
    """Write the journal, carry out ``moves``, and return the journal's path and what became of each move.

    The journal is ``<journal_root>.json``, or ``<journal_root>.2.json`` ... where one exists: an older one is never touched.
    A move that fails is recorded and leaves its file under the old name; the others are carried out.
    """
    if not moves:
        raise Refused("there is nothing to rename")
    path, descriptor = _open_new(journal_root)
    try:
        _append(
            descriptor,
            {
                "format": _FORMAT,
                "tool": "nightcrew frames rename",
                "started_utc": now_utc,
                "moves": [_entry(m, path.parent) for m in moves],
            },
        )
        outcomes = carry_out(moves, report=lambda outcome: _append(descriptor, _line(outcome, path.parent)))
        _append(descriptor, {"finished": True, "failed": sum(bool(outcome.reason) for outcome in outcomes)})
    finally:
        os.close(descriptor)
    return path, outcomes


def undo(journal: Path, *, now_utc: str, dry_run: bool = False) -> list[Outcome]:
    """Give the files of ``journal`` their old names back; never overwrites, and leaves alone what is not the file that was renamed.

    :class:`Refused` when the journal was undone before, :class:`RejectedInput` when it is no journal.
    """
    plan = _read(journal)
    back: list[Move] = []
    outcomes: list[Outcome] = []
    for entry in plan:
        move, reason = _way_back(entry, journal.parent)
        if reason:
            outcomes.append(Outcome(move, reason))
        elif move.old != move.new:
            back.append(move)
    if dry_run:
        return [*outcomes, *(Outcome(move) for move in back)]
    outcomes += carry_out(back)
    if not any(outcome.reason for outcome in outcomes):
        descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND)
        try:
            _append(descriptor, {"undone_utc": now_utc})
        finally:
            os.close(descriptor)
    return outcomes


def carry_out(moves: Sequence[Move], report: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
    """Carry out ``moves``; those whose old name is another's new name step aside under a temporary name first, so chains and rings work."""
    wanted = {name_key(move.new) for move in moves}
    outcomes: dict[int, Outcome] = {}
    aside: dict[int, Path] = {}
    for index, move in enumerate(moves):
        if name_key(move.old) in wanted and name_key(move.old) != name_key(move.new):
            temporary = _temporary(move)
            outcomes[index] = _attempt(Move(move.old, temporary), move)
            if not outcomes[index].reason:
                aside[index] = temporary
    for index, move in enumerate(moves):
        if index in outcomes and index not in aside:
            continue
        source = aside.get(index, move.old)
        outcome = Outcome(move) if name_key(source) == name_key(move.new) else _attempt(Move(source, move.new), move)
        if outcome.reason and index in aside:
            back = _attempt(Move(source, move.old), move)
            outcome = Outcome(move, outcome.reason + (f"; the file is now {source}" if back.reason else ""))
        outcomes[index] = outcome
    ordered = [outcomes[index] for index in range(len(moves))]
    for outcome in ordered:
        report(outcome)
    for folder in {move.new.parent for move in moves} | {move.old.parent for move in moves}:
        _sync_folder(folder)
    return ordered


def newest(folder: Path, root: str = "FileRename") -> Path:
    """The newest journal of ``folder`` that was not undone; :class:`Refused` when there is none."""
    own = re.compile(re.escape(root) + r"(\.\d+)?\.json")  # no other root that begins alike
    found = [path for path in folder.iterdir() if own.fullmatch(path.name)] if folder.is_dir() else []
    for path in sorted(found, key=_number, reverse=True):
        try:
            _read(path)
        except NightcrewError:
            continue
        return path
    raise Refused(f"no journal {root}.json that could be undone lies here")


def _attempt(step: Move, whole: Move) -> Outcome:
    try:
        rename_new(step.old, step.new)
    except FileExistsError:
        return Outcome(whole, f"{step.new.name} exists already")
    except OSError as error:
        return Outcome(whole, (error.strerror or "the file system refused").lower())
    return Outcome(whole)


def _temporary(move: Move) -> Path:
    return move.old.with_name(f".nightcrew-rename-{move.new.name}")


def _entry(move: Move, folder: Path) -> dict[str, Any]:
    try:
        stat = move.old.lstat()
    except OSError as error:
        raise RejectedInput(f"{move.old} cannot be read: {error.strerror}") from error
    names = {"old": move.old, "new": move.new, "aside": _temporary(move)}
    entry: dict[str, Any] = {name: os.path.relpath(path, folder) for name, path in names.items()}
    return entry | {"inode": stat.st_ino, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _line(outcome: Outcome, folder: Path) -> dict[str, Any]:
    names = {"old": os.path.relpath(outcome.move.old, folder), "new": os.path.relpath(outcome.move.new, folder)}
    return {"failed": names, "reason": outcome.reason} if outcome.reason else {"done": names}


def _way_back(entry: dict[str, Any], folder: Path) -> tuple[Move, str]:
    """The move that undoes ``entry`` (old equals new when nothing is to be done), and why it cannot be made.

    A file is known by its inode; by size and time only where no inode fits (a tree restored from a copy).
    """
    old, new, aside = (folder / entry[name] for name in ("old", "new", "aside"))
    for is_it in (_same_inode, _same_bytes):
        for place in (new, aside, old):
            if is_it(place, entry):
                return Move(place, old), ""
    return Move(new, old), "is another file now" if os.path.lexists(new) else "is no longer there"


def _same_inode(path: Path, entry: dict[str, Any]) -> bool:
    stat = _stat(path)
    return stat is not None and stat.st_ino == entry["inode"]


def _same_bytes(path: Path, entry: dict[str, Any]) -> bool:
    stat = _stat(path)
    return stat is not None and (stat.st_size, stat.st_mtime_ns) == (entry["size"], entry["mtime_ns"])


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _read(journal: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        moves = lines[0]["moves"]
        complete = all({"old", "new", "aside", "inode", "size", "mtime_ns"} <= move.keys() for move in moves)
    except FileNotFoundError as error:
        raise Refused(f"there is no journal {journal}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RejectedInput(f"{journal} is not a journal of nightcrew frames rename") from error
    if not complete:
        raise RejectedInput(f"{journal} is not a journal of nightcrew frames rename")
    if any("undone_utc" in line for line in lines):
        raise Refused(f"{journal} was undone already")
    return list(moves)


def _open_new(root: Path) -> tuple[Path, int]:
    number = 1
    while True:
        path = root.with_name(f"{root.name}.json" if number == 1 else f"{root.name}.{number}.json")
        try:
            return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise Refused(f"the journal {path} cannot be written ({error.strerror}): nothing was renamed") from error


def _append(descriptor: int, line: dict[str, Any]) -> None:
    try:
        os.write(descriptor, (json.dumps(line, sort_keys=True) + "\n").encode())
        os.fsync(descriptor)
    except OSError as error:
        raise TransientError(f"the journal cannot be written: {error.strerror}") from error


def _number(path: Path) -> tuple[int, str]:
    middle = path.name.removesuffix(".json").rpartition(".")[2]
    return (int(middle) if middle.isdigit() else 1), path.name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
