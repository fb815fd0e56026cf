"""Questions to file systems that may never answer: a network share whose server is gone gives not even an error."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


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
