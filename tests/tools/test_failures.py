"""Full disks and folders that cannot be written: one sentence, an exit code, and nothing half-written, whatever the command."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from nightcrew.io.atomic import injected_faults
from tests import realdata
from tests.tools.command import Runner
from tests.tools.making import write
from tests.tools.small_night import make

COMMANDS = (
    ["arith", "a.fits", "+", "1", "-o"],
    ["combine", "a.fits", "-o"],
    ["show", "a.fits", "-o"],
    ["log", "a.fits", "-o"],
    ["stats", "a.fits", "-o"],
)


@pytest.fixture
def one(folder: Path) -> Path:
    write(folder / "a.fits", np.arange(20, dtype=np.int16).reshape(4, 5))
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: str(words[0]))
def test_output_in_a_place_that_is_no_folder(frames: Runner, one: Path, words: list[str]) -> None:
    told = frames.fails(*words, "file/o.png" if words[0] == "show" else "file/o.csv")
    assert "cannot be written" in told
    assert sorted(path.name for path in one.iterdir()) == ["a.fits", "file"]


@pytest.mark.parametrize("stage", ["open", "write", "fsync", "publish"])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: str(words[0]))
def test_full_disk(frames: Runner, one: Path, words: list[str], stage: str) -> None:
    def full(at: str, final: Path) -> None:
        if at == stage:
            raise OSError(errno.ENOSPC, "No space left on device", str(final))

    with injected_faults(full):
        told = frames.fails(*words, "o.png" if words[0] == "show" else "o.csv")
    assert "No space left on device" in told
    assert sorted(path.name for path in one.iterdir()) == ["a.fits", "file"]


def test_full_disk_in_the_middle_of_a_recipe_leaves_no_folder(frames: Runner, folder: Path) -> None:
    make(folder)
    before = sorted(folder.iterdir())
    written = 0

    def full(at: str, final: Path) -> None:
        nonlocal written
        written += at == "open"
        if written > 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(final))

    with injected_faults(full):
        ran = frames("recipe", "*.fit", "-o", "out")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "No space left on device" in ran.err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "words", [["arith", "bad.fits", "-", "a.fits"], ["arith", "a.fits", "-", "bad.fits"], ["stats", "bad.fits"], ["show", "bad.fits"]]
)
def test_what_is_not_fits(frames: Runner, one: Path, words: list[str]) -> None:
    (one / "bad.fits").write_text("hello")
    ran = frames(*words)
    assert ran.code == 1
    assert ran.err == "nightcrew: bad.fits: is not a FITS file (it does not begin with SIMPLE =)\n"


def test_every_hard_file_gives_a_row_or_a_sentence(frames: Runner) -> None:
    paths = sorted(path for path in realdata.folder("hard_to_read").rglob("*") if path.is_file())
    for words in (["stats", "-s", "num,mode,mad"], ["log"]):
        ran = frames(words[0], *paths, *words[1:], "--format", "csv")
        rows = ran.out.count("\n") - 1
        assert rows + ran.err.count("\n") == len(paths)
        assert rows > len(paths) / 2


def test_names_from_files_do_not_steer_the_terminal(frames: Runner, one: Path) -> None:
    evil = "a\x1b[31m.fits"
    (one / evil).write_text("hello")
    for words in (["stats", evil], ["log", evil], ["show", evil], ["arith", evil, "+", "1"]):
        ran = frames(*words)
        assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rename", "a.fits", "--dry-run"], "a.fits: DATE-OBS missing"),
        (["log", "a.fits", "-k", "NAXIS"], "1 files, 1 columns"),
        (["stats", "a.fits"], "a.fits: 5 x 4 pixels of int16"),
        (["arith", "a.fits", "+", "1", "-o", "o.fits"], "a.fits + 1 -> o.fits"),
        (["combine", "a.fits", "-n", "mean", "-m", "average", "-a", "2", "-o", "o.fits"], "a.fits: x 1, level 9.5, weight 2"),
        (["show", "a.fits", "-l", "minmax"], "a.fits: minmax 0 to 19"),
    ],
)
def test_every_command_tells_more_with_v_on_stderr(frames: Runner, one: Path, words: list[str], told: str) -> None:
    quiet, ran = frames(*words[:1], "--help"), frames(*words, "-v")
    assert (ran.code, ran.err.strip()) == (0, told)
    assert "--verbose" in quiet.out
    assert told not in ran.out
