"""What decoded pixels may take of the folder for temporary files leaves room for others."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from nightcrew.io import spare

GB = 1 << 30


def volume(monkeypatch: pytest.MonkeyPatch, total: int, free: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=4096, f_blocks=total // 4096, f_bavail=free // 4096))


def system(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, *, available: int, total: int, group: tuple[int, int] | None) -> None:
    """A /proc and a /sys/fs/cgroup by which the temporary folder lies on a file system of ``kind``."""
    monkeypatch.setattr(spare, "_PROC", folder)
    monkeypatch.setattr(spare, "_GROUP", folder)
    device = Path(tempfile.gettempdir()).stat().st_dev
    (folder / "self").mkdir()
    lines = ["25 1 0:999999 / /run rw shared:5 - tmpfs tmpfs rw", f"26 1 {os.major(device)}:{os.minor(device)} / /x rw - {kind} none rw"]
    (folder / "self" / "mountinfo").write_text("\n".join(lines) + "\n")
    (folder / "meminfo").write_text(f"MemTotal: {total >> 10} kB\nMemFree: 1 kB\nMemAvailable: {available >> 10} kB\n")
    if group is not None:
        (folder / "memory.max").write_text(f"{group[0]}\n")
        (folder / "memory.current").write_text(f"{group[1]}\n")


@pytest.mark.parametrize(
    ("total", "free", "spared"),
    [(20 * GB, 10 * GB, 8 * GB), (4 * GB, 3 * GB, 2 * GB), (900 * GB, 30 * GB, 25 * GB), (900 * GB, 4 * GB, 0), (GB // 2, GB // 2, 0)],
)
def test_a_tenth_of_a_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, spared: int) -> None:
    """But at least 1 GB and at most 5 GB; how much memory there is does not matter."""
    system(monkeypatch, tmp_path, "ext4", available=0, total=GB, group=None)
    volume(monkeypatch, total, free)
    assert spare.spare_bytes() == spared


@pytest.mark.parametrize(
    ("free", "group", "spared"),
    [(12 * GB, None, 3 * GB), (3 * GB, None, GB), (12 * GB, (8 * GB, 6 * GB), GB), (0, None, 0)],
)
def test_a_folder_in_memory_has_no_more_than_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, group: tuple[int, int] | None, spared: int
) -> None:
    system(monkeypatch, tmp_path, "tmpfs", available=5 * GB, total=20 * GB, group=group)
    volume(monkeypatch, 20 * GB, free)
    assert spare.spare_bytes() == spared


def test_a_folder_in_memory_without_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, tmp_path, "tmpfs", available=5 * GB, total=20 * GB, group=None)
    volume(monkeypatch, 0, 0)
    assert spare.spare_bytes() == 3 * GB


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert spare.spare_bytes() == 0
