"""Compile the C kernel: ``python -m nightcrew.calibration.kernels.build``, or by itself at first use.

The library's name bears a hash of its sources and compiler flags, so that a changed source is never met with an old library,
and the level of processor that it is for.  It is looked for beside this module (made by the command at installation) and in
the user's cache (made at first use); one in the cache is loaded only when nobody but the user could have written it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from functools import lru_cache
from pathlib import Path

SOURCES = Path(__file__).parent / "source"
BESIDE = Path(__file__).parent / "built"
# no -ffast-math and no contraction: the C kernel gives numpy's results to the last bit (errno and traps do not change a result)
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-fvisibility=hidden")
# One library a level.  (gcc's target_clones cannot choose between them: its arch= asks for one maker's model of processor.)
LEVELS: dict[str, tuple[str, ...]] = {
    "base": (),
    "v3": ("-march=x86-64-v3",),
    "v4": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
}
NEEDED = {"v3": {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}, "v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}}
TIMEOUT_S = 300


class BuildError(Exception):
    """There is no kernel to be had; the text says why."""


@lru_cache(maxsize=1)
def processor_level() -> str:
    """The highest of ``LEVELS`` that this processor understands."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "base"
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    if not flags >= NEEDED["v3"]:
        return "base"
    return "v4" if flags >= NEEDED["v4"] else "v3"


def file_name(level: str | None = None) -> str:
    """Name of the library that belongs to the present sources."""
    level = level or processor_level()
    digest = hashlib.sha256(" ".join((*FLAGS, *LEVELS[level], os.uname().machine)).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return f"kernel-{digest.hexdigest()[:16]}-{level}.so"


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


def build(folder: Path, level: str | None = None) -> Path:
    """Compile into ``folder``; processes that want it at the same time wait for the one that compiles."""
    import fcntl  # what only compiling needs is imported here: finding the library is part of every cold start
    import shutil
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

    level = level or processor_level()
    library = folder / file_name(level)
    compiler = shutil.which(os.environ.get("CC", "") or "cc") or shutil.which("gcc")
    if compiler is None:
        raise BuildError("no C compiler is installed")
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if library.is_file():
            return library
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "kernel.so"
            command = [compiler, *FLAGS, *LEVELS[level]]
            sources = sorted(SOURCES.glob("*.c"))
            objects = [made.with_name(f"{source.stem}.o") for source in sources]
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda source, out: _run([*command, "-c", str(source), "-o", str(out)]), sources, objects))
            _run([compiler, "-shared", "-o", str(made), *map(str, objects), "-lm"])
            made.chmod(0o644)
            made.replace(library)
    return library


def _run(command: list[str]) -> None:
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603  our own sources
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"the C compiler could not be run: {error}") from error
    if done.returncode:
        raise BuildError(f"the C compiler failed: {done.stderr.strip()[-500:]}")


def main(arguments: list[str]) -> int:
    """Compile beside this module, for an installation; 0 also where there is no compiler, since numpy does the same.

    ``--all`` compiles for every level, for an image that will run on other machines.
    """
    levels = list(LEVELS) if "--all" in arguments and os.uname().machine == "x86_64" else [processor_level()]
    try:
        BESIDE.mkdir(exist_ok=True)
        message = "compiled " + ", ".join(build(BESIDE, level).name for level in levels)
    except (BuildError, OSError) as error:
        message = f"no compiled kernel, numpy will be used: {error}"
    sys.stdout.write(message + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
