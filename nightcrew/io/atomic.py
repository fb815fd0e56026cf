"""The one place that writes files: whole or not at all, and never over another product.

A file is written under a hidden name in its own folder, brought to disk, and only then given its final name.  So a
reader never meets half a file, and a crash leaves at worst a ``.nightcrew-*.part`` to be swept.  The final name is given
by a hard link, which fails where the name exists: what stands there stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from nightcrew import failpoints
from nightcrew.errors import NightcrewError, Refused, TransientError
from nightcrew.io.source import shown

PART_PREFIX, PART_SUFFIX = ".nightcrew-", ".part"
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
_PASSING |= {errno.EROFS}  # a disk that the system made read-only after an error is mounted anew
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_ERRNO = re.compile(r"errno(?: = |\] |\s)(\d+)", re.IGNORECASE)
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_COMPARE_PIECE = 1 << 20

_FAILPOINTS = {name: f"file.{name}" for name in ("open", "write", "fsync", "publish", "fsync_folder")}

FaultHook = Callable[[str, Path], None]
_fault_hook: FaultHook | None = None


class FinalExistsError(NightcrewError):
    """Another file stands under the final name already; it was left alone."""


@contextlib.contextmanager
def injected_faults(hook: FaultHook) -> Iterator[None]:
    """For tests: ``hook(stage, final)`` runs before each stage and may raise what the system would.

    Stages in order: ``"open"``, ``"write"``, ``"fsync"``, ``"publish"``, ``"fsync_folder"``.
    """
    global _fault_hook  # noqa: PLW0603  the one hook of the process, set by tests alone
    previous, _fault_hook = _fault_hook, hook
    try:
        yield
    finally:
        _fault_hook = previous


def _stage(name: str, final: Path) -> None:
    failpoints.reach(_FAILPOINTS[name])
    if _fault_hook is not None:
        _fault_hook(name, final)


def passing(error: BaseException) -> str:
    """Why a write failed that may succeed later (a full disk and the like), "" for any other error.

    Libraries that write by themselves hand the system's error on inside of one of their own, HDF5 even in its words alone.
    """
    for known in (error, error.__cause__, error.__context__):
        if isinstance(known, OSError) and known.errno in _PASSING:
            return known.strerror or str(known)
        said = _ERRNO.search(str(known)) if isinstance(known, OSError | RuntimeError) else None
        if said is not None and int(said[1]) in _PASSING:
            return os.strerror(int(said[1]))
    return ""


def explain(error: OSError, final: Path) -> NightcrewError:
    """The project's error for a failed write: full disks and the like pass, a wrong folder is the user's mistake."""
    cause = passing(error) or error.strerror or str(error)
    if passing(error):
        return TransientError(f"{shown(final)}: cannot be written now ({cause})")
    return Refused(f"{shown(final)}: cannot be written in {final.parent} ({cause})")


class NewFile:
    """A file being written; it gets its final name when the ``with`` block ends without an error, else it vanishes.

    ``file`` is open for reading and writing.  With ``overwrite`` the name may already be taken by an older version (reports,
    links); without it a file of equal content under the final name is success, and any other raises :class:`FinalExistsError`.
    ``durable=False`` leaves out bringing the bytes to disk.  Full disks raise :class:`TransientError`, folders that cannot
    be written :class:`Refused`.
    """

    def __init__(self, final: Path | str, *, mode: int = 0o644, durable: bool = True, overwrite: bool = False) -> None:
        self.final = Path(final)
        self._mode = mode
        self._durable = durable
        self._overwrite = overwrite
        self.part = self.final.with_name(f"{PART_PREFIX}{secrets.token_hex(8)}{PART_SUFFIX}")

    def __enter__(self) -> NewFile:
        try:
            make_folder(self.final.parent, durable=self._durable)
            _stage("open", self.final)
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        except OSError as error:
            raise explain(error, self.final) from error
        self.file: BinaryIO = os.fdopen(descriptor, "w+b")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._finish()
        except OSError as failure:
            raise explain(failure, self.final) from failure
        finally:
            with contextlib.suppress(OSError):
                self.file.close()
            with contextlib.suppress(FileNotFoundError):
                self.part.unlink()
        if error is not None and not isinstance(error, NightcrewError) and (cause := passing(error)):
            raise TransientError(f"{shown(self.final)}: cannot be written now ({cause})") from error

    def _finish(self) -> None:
        _stage("write", self.final)
        self.file.flush()
        _stage("fsync", self.final)
        if self._durable:
            os.fsync(self.file.fileno())
        self.file.close()
        _stage("publish", self.final)
        if self._overwrite:
            self.part.replace(self.final)
        else:
            _publish(self.part, self.final)
            self.part.unlink(missing_ok=True)
        _stage("fsync_folder", self.final)
        if self._durable:
            fsync_folder(self.final.parent)


def _publish(part: Path, final: Path) -> None:
    """Give ``part`` the name ``final`` unless that is taken; equal content under it is as good."""
    try:
        try:
            os.link(part, final, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _rename_no_replace(part, final)
    except FileExistsError:
        if not _same_content(part, final):
            raise FinalExistsError(f"{shown(final)}: exists already with other content; it was left as it is") from None


def _rename_no_replace(part: Path, final: Path) -> None:
    """For file systems without hard links (FAT, some network folders)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(part), _AT_FDCWD, os.fsencode(final), _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(final))


def _same_content(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while piece := a.read(_COMPARE_PIECE):
            if piece != b.read(_COMPARE_PIECE):
                return False
    return True


def fsync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such thing
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, durable: bool = True) -> None:
    """Make ``folder`` and its parents where missing, and bring the new names to disk."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder == folder.parent:
            break
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        if durable:
            fsync_folder(new.parent)


def write_new(final: Path | str, writer: Callable[[BinaryIO], object], *, mode: int = 0o644, durable: bool = True) -> Path:
    """Write a new file through ``writer(file)`` and return its final path.

    An existing final file is never overwritten: equal content is success, other content raises :class:`FinalExistsError`.
    Raises :class:`TransientError` when the disk is full or fails, :class:`Refused` when the folder cannot be written; then
    nothing is left behind.
    """
    with NewFile(final, mode=mode, durable=durable) as new:
        writer(new.file)
    return new.final


def replace(final: Path | str, writer: Callable[[BinaryIO], object], *, mode: int = 0o644, durable: bool = True) -> Path:
    """As :func:`write_new`, for reports and the like: an older file under the name is replaced in one step."""
    with NewFile(final, mode=mode, durable=durable, overwrite=True) as new:
        writer(new.file)
    return new.final


def write_text(final: Path | str, text: str, *, durable: bool = True, overwrite: bool = False) -> Path:
    """Write UTF-8 text as a new file, or with ``overwrite`` in place of an older one."""
    with NewFile(final, durable=durable, overwrite=overwrite) as new:
        new.file.write(text.encode("utf-8"))
    return new.final


def part_files(folder: Path) -> list[Path]:
    """What interrupted writes left in ``folder`` (not below it), sorted."""
    return sorted(folder.glob(f"{PART_PREFIX}*{PART_SUFFIX}"))
