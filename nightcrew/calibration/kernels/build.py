"""Compile the C kernel: ``python -m nightcrew.calibration.kernels.build``, or by itself at first use.

The library's name bears a hash of its sources and compiler flags, so that a changed source is never met with an old library.
It is looked for beside this module (made by the command at installation) and in the user's cache (made at first use),
and a library in the cache is loaded only when nobody but the user could have written it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "source"
BESIDE = Path(__file__).parent / "built"
# no -ffast-math and no contraction: the C kernel gives numpy's results to the last bit
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-fvisibility=hidden")
WIDE = "-mprefer-vector-width=512"  # understood by gcc for x86 alone
TIMEOUT_S = 300


class BuildError(Exception):
    """There is no kernel to be had; the text says why."""


def file_name() -> str:
    """Name of the library that belongs to the present sources."""
    digest = hashlib.sha256(" ".join((*FLAGS, WIDE, os.uname().machine)).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return f"kernel-{digest.hexdigest()[:16]}.so"


def cache_folder() -> Path:
    """The user's cache: ``$XDG_CACHE_HOME/nightcrew`` or ``~/.cache/nightcrew``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "nightcrew"
    except RuntimeError as error:
        raise BuildError("this user has no home folder to keep a compiled kernel in") from error


def _private(path: Path) -> bool:
    """True when only the present user can write ``path``, which is no link."""
    status = path.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not path.is_symlink()


def find_or_build() -> Path:
    """Path of the library, compiled if need be; ``BuildError`` when there is no compiler or no safe place."""
    name = file_name()
    if (BESIDE / name).is_file():
        return BESIDE / name
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        library = folder / name
        if not _private(folder):
            raise BuildError(f"{folder} can be written by others")
        if not library.is_file():
            build(folder)
        if not _private(library):
            raise BuildError(f"{library} can be written by others")
    except OSError as error:
        raise BuildError(f"{folder}: {error.strerror}") from error
    return library


def build(folder: Path) -> Path:
    """Compile into ``folder``; processes that want it at the same time wait for the one that compiles."""
    library = folder / file_name()
    compiler = shutil.which(os.environ.get("CC", "") or "cc") or shutil.which("gcc")
    if compiler is None:
        raise BuildError("no C compiler is installed")
    with (folder / ".lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder) as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if library.is_file():
            return library
        objects = [Path(scratch) / f"{source.stem}.o" for source in sorted(SOURCES.glob("*.c"))]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda made: _compile(compiler, made), objects))
        made = Path(scratch) / "kernel.so"
        _run([compiler, "-shared", "-o", str(made), *map(str, objects), "-lm"])
        made.chmod(0o600 if folder != BESIDE else 0o644)
        made.replace(library)
    return library


def _compile(compiler: str, made: Path) -> None:
    command = [compiler, *FLAGS, "-c", str(SOURCES / f"{made.stem}.c"), "-o", str(made)]
    try:
        _run([*command, WIDE])
    except BuildError:
        _run(command)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603  our own sources
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"the C compiler could not be run: {error}") from error
    if done.returncode:
        raise BuildError(f"the C compiler failed: {done.stderr.strip()[-500:]}")


def main() -> int:
    """Compile beside this module, for an installation; 0 also where there is no compiler, since numpy does the same."""
    try:
        BESIDE.mkdir(exist_ok=True)
        message = f"compiled {build(BESIDE)}"
    except (BuildError, OSError) as error:
        message = f"no compiled kernel, numpy will be used: {error}"
    sys.stdout.write(message + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
