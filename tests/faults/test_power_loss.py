"""The power goes: what was on the disk at one moment is all that is left, its journal is replayed, and the night goes on from there."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Peace
from tests.faults.harness import Life, settings_of
from tests.faults.lives import begin_life
from tests.faults.mounts import copy_at_once, ext4, make_ext4
from tests.faults.picture import broken_promises, differences, picture_of, unowned

Record = Callable[[str, object], None]
_SIZE = 40_000_000
_LOSSES = 8


def disks_of_a_night(peace: Peace, folder: Path, seed: int) -> list[Path]:
    """A night on an ext4 in a file, and copies of that file made at random moments while it runs."""
    rng = random.Random(seed)
    image = make_ext4(folder / "disk.img", _SIZE)
    copies: list[Path] = []
    with ext4(image, folder / "disk") as disk:
        os.sync()
        child = begin_life(settings_of(peace.watched, disk), 0)
        ended = None
        try:
            while ended is None:
                time.sleep(rng.uniform(0.1, 0.5))
                os.kill(child, signal.SIGSTOP)  # the night itself stands still, not only who waits for it
                copy = folder / f"copy-{len(copies)}.img"
                if copy_at_once(image, copy):
                    copies.append(copy)
                os.kill(child, signal.SIGCONT)
                gone, status = os.waitpid(child, os.WNOHANG)
                ended = os.waitstatus_to_exitcode(status) if gone else None
        finally:
            if ended is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    assert ended == 0
    return copies


@pytest.mark.slow
def test_power_loss_in_the_middle_of_a_write(peace: Peace, tmp_path: Path, record_property: Record) -> None:
    """The disk of a running night is copied mid-write, mounted with its journal, and the night is resumed."""
    copies = disks_of_a_night(peace, tmp_path, 3)
    assert len(copies) >= 3
    random.Random(4).shuffle(copies)
    begun = 0
    for number, copy in enumerate(copies[:_LOSSES]):
        with ext4(copy, tmp_path / f"after-{number}") as disk:
            begun += (disk / "state" / "ledger.sqlite").exists()
            life = Life(settings_of(peace.watched, disk), 1)
            try:
                assert broken_promises(life.space, peace.picture) == []
                life.live()
                assert differences(peace.picture, picture_of(life.space)) == []
                assert broken_promises(life.space, peace.picture) == []
                assert unowned(life.space) == []
            finally:
                life.close()
    assert begun
    record_property("faults", len(copies[:_LOSSES]))
    record_property(
        "evidence", f"{len(copies[:_LOSSES])} power losses, {begun} of them after the ledger was begun; each night ended the same"
    )
