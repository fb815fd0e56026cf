"""Folders that never answer: asked once, waited for so long and no longer, and left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightcrew.io import patience
from nightcrew.io.patience import SilentError, check_answer, folders_of, while_they_answer
from tests.support.silent import Silent


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    with Silent(tmp_path / "share", monkeypatch) as made:
        yield made


def places(silent: Silent) -> dict[bytes, bytes]:
    return folders_of([os.fsencode(silent.folder / "a.fit")])


def test_work_whose_folders_answer_is_done_and_its_errors_are_handed_on(silent: Silent) -> None:
    assert while_they_answer(lambda: 7, places(silent)) == 7
    assert while_they_answer(threading.current_thread, {}) is threading.current_thread()  # nothing to wait for: no thread
    with pytest.raises(ZeroDivisionError):
        while_they_answer(lambda: 1 / 0, places(silent))


def test_a_folder_that_is_away_or_refuses_has_answered(tmp_path: Path) -> None:
    check_answer({os.fsencode(tmp_path / "none"): os.fsencode(tmp_path / "none" / "a.fit")}, 5.0)
    os.mkfifo(tmp_path / "pipe")
    check_answer(folders_of([os.fsencode(tmp_path / "pipe")]), 5.0)


def test_a_folder_that_falls_silent_while_it_is_read_is_left_behind(silent: Silent) -> None:
    threads: list[threading.Thread] = []

    def read() -> int:
        threads.append(threading.current_thread())
        silent.fall()
        return os.stat(silent.folder / "a.fit").st_size  # noqa: PTH116  the call that hangs

    with pytest.raises(SilentError, match=r"the folder .*share does not answer"):
        while_they_answer(read, places(silent))
    assert threads[0].is_alive()
    with pytest.raises(SilentError):
        while_they_answer(lambda: 1, places(silent))  # nothing is begun
    before = threading.active_count()
    for _ in range(50):
        with pytest.raises(SilentError):
            check_answer(places(silent), 0.01)
    assert threading.active_count() <= before  # one question, however often it is asked
    silent.come_back()
    threads[0].join(5)
    check_answer(places(silent), 60.0)  # the question that waits is answered by a thread of its own
    assert while_they_answer(lambda: 1, places(silent)) == 1


def test_a_slow_folder_that_answers_is_waited_for(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ASK_S", 0.01)
    monkeypatch.setattr(patience, "SILENCE_S", 5.0)
    done = threading.Event()
    threading.Timer(0.3, done.set).start()
    assert while_they_answer(lambda: done.wait(5), places(silent)) is True


def test_of_very_many_folders_a_spread_is_asked() -> None:
    asked = folders_of(b"/%d/%d" % (n, m) for n in range(1000) for m in range(2))
    assert 16 <= len(asked) <= 32
    assert folders_of([b"/a/b", b"/a/c", b"/x"]) == {b"/a": b"/a/b", b"/": b"/x"}
    assert folders_of([]) == {}


_LEAVES = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from nightcrew.io import patience

def read():
    os.stat = hang
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(threading.Event().wait).result()

def hang(*_, **__):
    threading.Event().wait()

patience.ASK_S = patience.SILENCE_S = patience._OVER_S = 0.05
folder = os.fsencode(sys.argv[1])
places = {folder: folder}
patience.check_answer(places, 5)
patience._FRESH_S = 0
try:
    patience.while_they_answer(read, places)
except patience.SilentError as error:
    sys.stdout.write(str(error))
"""


def test_a_process_ends_without_what_it_left_behind(tmp_path: Path) -> None:
    """The interpreter waits for the workers of thread pools at its end, for ever."""
    ended = subprocess.run([sys.executable, "-c", _LEAVES, str(tmp_path)], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 0
    assert "does not answer" in ended.stdout
