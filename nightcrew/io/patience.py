"""Questions to file systems that may never answer: a network share whose server is gone gives not even an error.

A thread that waits for such a share cannot be ended, only left behind: what it read is thrown away when it comes back, and a process
that has such threads does not wait for them at its end.
"""

from __future__ import annotations

import contextvars
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from nightcrew.errors import TransientError

Key = TypeVar("Key")
Answer = TypeVar("Answer")
_LOG = logging.getLogger(__name__)

ASK_S = 10.0  # how often a place is asked while something is read from it
SILENCE_S = 30.0  # a place that did not answer for so long while something is read from it is silent
_FRESH_S = 3.0  # an answer counts for so long
_OVER_S = 5.0  # so long after its end a process that left something behind is gone
_MOST_FOLDERS = 32  # are asked for one piece of work


class SilentError(TransientError):
    """A place that something is to be read from does not answer: its server is gone, for now."""

    def __init__(self, place: bytes) -> None:
        self.place = place
        name = place.decode("utf-8", "backslashreplace")
        shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
        super().__init__(f"the folder {shown} does not answer (is its server gone?)")


def answers(questions: Mapping[Key, Callable[[], Answer]], seconds: float) -> dict[Key, Answer | Exception]:
    """What each question gave within ``seconds``, or the error that it raised; all are asked at once, and who answers later is missing."""
    given: dict[Key, Answer | Exception] = {}

    def ask(key: Key, question: Callable[[], Answer]) -> None:
        try:
            given[key] = question()
        except Exception as error:  # noqa: BLE001  handed to whoever asked
            given[key] = error

    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in questions.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    return dict(given)


def silent_folders(folders: Collection[str], seconds: float) -> set[str]:
    """Those of the folders that do not say within ``seconds`` what they are; one that is not there has answered."""
    return set(folders) - answers({folder: partial(os.lstat, folder) for folder in folders}, seconds).keys()


def folders_of(paths: Iterable[bytes]) -> dict[bytes, bytes]:
    """The folders that these files lie in, each with the first of its files: what :func:`while_they_answer` asks.

    Of very many folders a spread of them: they hardly lie on as many file systems.
    """
    found: dict[bytes, bytes] = {}
    for path in paths:
        found.setdefault(path.rpartition(b"/")[0] or b"/", path)
    chosen = sorted(found)[:: -(-len(found) // _MOST_FOLDERS) or 1]
    return {folder: found[folder] for folder in chosen}


def check_answer(places: Mapping[bytes, bytes], seconds: float) -> None:
    """Ask each folder, and one file in it; an error is an answer.

    Raises
    ------
    SilentError
        One did not answer within ``seconds``.  A folder has one question at a time, so that one which is silent costs one thread,
        however often it is asked, and is waited for once.
    """
    asked = [(folder, _asked(folder, file)) for folder, file in places.items()]
    for folder, question in asked:
        if not question.answered.wait(max(question.began_s + seconds - time.monotonic(), 0.0)):
            raise SilentError(folder)


def while_they_answer(work: Callable[[], Answer], places: Mapping[bytes, bytes]) -> Answer:
    """``work()``, done in a thread of its own for as long as the ``places`` (:func:`folders_of`) that it reads from answer.

    Raises
    ------
    SilentError
        One of them fell silent, and ``work`` is left behind: what it still does must do no harm.
    """
    if not places:
        return work()
    check_answer(places, SILENCE_S)  # one that fell silent before is not waited for anew
    given: list[Answer] = []
    raised: list[BaseException] = []

    def do() -> None:
        try:
            given.append(context.run(work))
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            raised.append(error)

    context = contextvars.copy_context()  # Prefect's: which run a line of the log belongs to
    thread = threading.Thread(target=do, name="reading", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(ASK_S)
        try:
            if thread.is_alive():
                check_answer(places, SILENCE_S)
        except SilentError:
            if thread.is_alive():
                _leave_behind(thread)
                raise
    if raised:
        raise raised[0]
    return given[0]


@dataclass(slots=True)
class _Question:
    """What a folder was asked, and whether it answered."""

    began_s: float
    answered: threading.Event = field(default_factory=threading.Event)
    answered_s: float = 0.0

    def ask(self, folder: bytes, file: bytes) -> None:
        """Ask, and note that there was an answer, whatever it was."""
        with suppress(OSError):
            Path(os.fsdecode(folder)).lstat()
            size = Path(os.fsdecode(file)).lstat().st_size
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe of its name must not hold us
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    os.pread(descriptor, 1, max(size - 1, 0))
            finally:
                os.close(descriptor)
        self.answered_s = time.monotonic()
        self.answered.set()


_questions: dict[bytes, _Question] = {}
_asking = threading.Lock()


def _asked(folder: bytes, file: bytes) -> _Question:
    """The question that waits for the folder's answer, or whose answer is fresh; else a new one."""
    with _asking:
        known, now_s = _questions.get(folder), time.monotonic()
        if known is not None and not (known.answered.is_set() and now_s - known.answered_s > _FRESH_S):
            return known
        question = _questions[folder] = _Question(now_s)
    threading.Thread(target=question.ask, args=(folder, file), name="are you there", daemon=True).start()
    return question


def _leave_behind(thread: threading.Thread) -> None:
    """Nobody waits for the thread any more, not even the end of the process."""
    _LOG.warning("what is read from a folder that does not answer is left behind")
    threading.Thread(target=_end_without, args=(thread,), name="end", daemon=True).start()


def _end_without(left: threading.Thread, end: Callable[[int], None] = os._exit) -> None:
    """End the process when it is over but for threads like ``left``: the interpreter waits for every worker of a thread pool.

    That it is over is told by a pool that takes no more work.
    """
    while left.is_alive():
        left.join(_OVER_S)
        try:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(int)
        except RuntimeError:
            time.sleep(_OVER_S)  # what ends by itself may
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            end(0)
