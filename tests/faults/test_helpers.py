"""External helpers that are absent, fail, write nothing or hang: a time box, a fall-back, and their failures in words."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from nightcrew.calibration.kernels import build
from nightcrew.helpers import run_boxed
from nightcrew.irradiation.discover import find_campaigns
from nightcrew.simulate.campaign_plan import DamagedSensor
from tasks.campaign_files import Tree
from tasks.campaign_operation import write_operation
from tasks.films import FilmMaker
from tests.irradiation.campaigns import plan_of, simulated

PICTURES = [np.full((33, 32), 10 * n, np.uint8) for n in range(4)]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.fspath(folder))
    return folder / "ffmpeg"


def written(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.usefixtures("program")
def test_an_absent_ffmpeg_is_told_once() -> None:
    """No ffmpeg."""
    films = FilmMaker()
    assert [films.film(PICTURES) for _ in range(3)] == [None] * 3
    assert films.told() == ["There are no .mp4 films, ffmpeg is not installed: the .gif files show the same."]
    assert FilmMaker().told() == []  # nothing was asked of it


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "it ended with code 3"),
        ("exit 0", "it wrote nothing"),
        ("kill -9 $$", "it was killed (SIGKILL: by the kernel, for want of memory, or by a person)"),
    ],
)
def test_an_ffmpeg_that_fails_is_counted(program: Path, script: str, words: str) -> None:
    written(program, script)
    films = FilmMaker()
    assert [films.film(PICTURES) for _ in range(2)] == [None] * 2
    assert films.told() == [f"ffmpeg failed on 2 of 2 films: {words}. The .gif files show the same."]


def test_an_ffmpeg_that_hangs_is_waited_for_once(program: Path) -> None:
    """An ffmpeg that hangs."""
    written(program, "exec /bin/sleep 60")
    films = FilmMaker(seconds=0.5)
    start = time.monotonic()
    assert [films.film(PICTURES) for _ in range(20)] == [None] * 20
    assert time.monotonic() - start < 8.0  # twenty times would be ten seconds
    (told,) = films.told()
    assert told.startswith("ffmpeg failed on 20 of 20 films: it took longer than 0.5 s and was not asked again.")


def test_an_ffmpeg_that_fails_on_some_films(program: Path, tmp_path: Path) -> None:
    """An ffmpeg that fails on every second film."""
    written(program, f'[ -e {tmp_path}/once ] && exit 1; echo > {tmp_path}/once; for out; do :; done; echo film > "$out"')
    films = FilmMaker()
    assert films.film(PICTURES) == b"film\n"
    assert films.film(PICTURES) is None
    assert films.told() == ["ffmpeg failed on 1 of 2 films: it ended with code 1. The .gif files show the same."]


def test_an_ffmpeg_gets_no_secret(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of ours in the environment."""
    monkeypatch.setenv("NIGHTCREW_MAIL__PASSWORD", "hunter2")
    written(program, f'/usr/bin/env > {tmp_path}/seen; for out; do :; done; echo film > "$out"')
    assert FilmMaker().film(PICTURES) == b"film\n"
    seen = (tmp_path / "seen").read_text(encoding="utf-8")
    assert "PATH=" in seen
    assert "NIGHTCREW" not in seen


@pytest.mark.parametrize("ending", ["wait", "/bin/sleep 1; exit 3"])
def test_a_child_with_a_session_of_its_own_does_not_survive_the_box(tmp_path: Path, ending: str) -> None:
    """A helper whose child calls setsid, and that hangs itself or ends before it."""
    program, noted = tmp_path / "helper", tmp_path / "child"
    sleeper = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(60)"
    written(program, f"'{sys.executable}' -S -c '{sleeper}' > {noted} &\n{ending}")
    run_boxed([os.fspath(program)], seconds=2.0, folder=tmp_path)
    child = int(noted.read_text())
    end = time.monotonic() + 5.0
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            pytest.fail("the child of the helper lives on")
        time.sleep(0.05)


@pytest.mark.slow
def test_a_campaign_whose_films_all_fail_says_so(program: Path, tmp_path: Path) -> None:
    """An ffmpeg that fails on every film of an irradiation campaign: the sentence with the failure rate is among what its page tells."""
    written(program, "exit 3")
    sensor = DamagedSensor(ny=64, nx=64, hot_before=0.0, hot_per_krad=0.0)
    simulated(tmp_path, plan_of(sensor=sensor, layout="oper", operation_frames=4, doses_krad=(5.0, 10.0)))
    (campaign,) = find_campaigns(tmp_path / "sim" / "campaign", tmp_path / "out")
    tree = Tree(tmp_path / "tree")
    sequences, absent = write_operation(tree, campaign, "operation/", 10**9)
    assert sequences
    films = 2 * len(sequences)
    assert f"ffmpeg failed on {films} of {films} films: it ended with code 3. The .gif files show the same." in absent
    assert [name for name in tree.made if name.endswith(".mp4")] == []
    assert len([name for name in tree.made if name.endswith(".gif")]) == films


@pytest.mark.parametrize(("script", "words"), [("exit 1", "failed"), ("exec /bin/sleep 60", "could not be run")])
def test_a_compiler_that_fails_or_hangs_leaves_numpy(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    """The kernels are compiled when they are first wanted; without them numpy does the same."""
    written(program.with_name("cc"), script)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build, "TIMEOUT_S", 0.2)
    with pytest.raises(build.BuildError, match=words):
        build.build(tmp_path)
