"""How much may be put into the folder for temporary files without others missing it: the disk is also the ledger's and the products'."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

SHARE_LEFT = 10  # one part in so many of a volume (or of the memory) is left alone,
LEAST_LEFT, MOST_LEFT = 1 << 30, 5 << 30  # but no less and no more than this [bytes]
_OF_MEMORY = ("tmpfs", "ramfs")
_PROC, _GROUP = Path("/proc"), Path("/sys/fs/cgroup")


def spare_bytes() -> int:
    """What may be written into the folder for temporary files now [bytes]; 0 where there is no such folder.

    Of a folder that lies in memory no more than the memory can spare either.
    """
    try:
        folder = Path(tempfile.gettempdir())
        volume, device = os.statvfs(folder), folder.stat().st_dev
    except OSError:
        return 0
    in_memory = _lies_in_memory(device, _PROC)
    spares = _memory_spares() if in_memory else []
    if volume.f_blocks or not in_memory:  # a folder in memory without a limit of its own says 0
        spares.append(volume.f_bavail * volume.f_frsize - left_alone(volume.f_blocks * volume.f_frsize))
    return max(0, min(spares, default=0))


def left_alone(total: int) -> int:
    """Bytes of ``total`` that are not for decoded pixels."""
    return min(max(total // SHARE_LEFT, LEAST_LEFT), MOST_LEFT)


@lru_cache(maxsize=64)  # asked for every tile that is put aside
def _lies_in_memory(device: int, proc: Path) -> bool:
    """Whether the file system ``device`` keeps its files in memory (proc(5), mountinfo: the third word is the device)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.partition(" - ") for line in _text(proc / "self" / "mountinfo").splitlines()]
    return any(before.split()[2:3] == [number] and after.split(" ")[0] in _OF_MEMORY for before, _, after in mounts)


def _memory_spares() -> list[int]:
    """What the machine's memory can spare, and what the process's group may still take; nothing that is not told."""
    told = {words[0]: words[1] for words in (line.split() for line in _text(_PROC / "meminfo").splitlines()) if len(words) > 1}
    pairs = [(told.get("MemTotal:", ""), told.get("MemAvailable:", ""), 1024)]
    limit, taken = (_text(_GROUP / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and taken.isdigit():
        pairs.append((limit, str(max(0, int(limit) - int(taken))), 1))
    return [int(free) * unit - left_alone(int(total) * unit) for total, free, unit in pairs if total.isdigit() and free.isdigit()]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
