"""A stand-in for a network share whose server is gone: whoever looks at it, opens a file of it or reads from it waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from nightcrew.io import patience

_CALLS = ("stat", "lstat", "open", "scandir", "pread", "preadv")
_LONGEST_S = 60.0  # a test that fails must not hang


@contextmanager
def asked_in_vain(monkeypatch: pytest.MonkeyPatch, asks: Any, name: str = "silent") -> Iterator[threading.Event]:
    """Whoever asks whether the folder of that name is there waits until the event is set, at the end; the module ``asks`` for 0.2 s."""
    answers, looked = threading.Event(), Path.is_dir

    def is_dir(path: Path) -> bool:
        if path.name == name:
            answers.wait(_LONGEST_S)
        return looked(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    monkeypatch.setattr(asks, "_ANSWER_S", 0.2)
    try:
        yield answers
    finally:
        answers.set()


class Silent:
    """``folder`` answers until it falls silent (``fall``, or by itself after so many calls: ``fall_after``), and after ``come_back``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, ask_s: float = 0.05, silence_s: float = 0.1) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "a.fit").touch()
        self._patch, self._answers, self._left = monkeypatch, threading.Event(), -1
        self._answers.set()
        self._prefix = os.fsencode(folder)
        monkeypatch.setattr(patience, "ASK_S", ask_s)
        monkeypatch.setattr(patience, "SILENCE_S", silence_s)
        monkeypatch.setattr(patience, "_FRESH_S", 0.0)
        monkeypatch.setattr("tasks.run._ANSWER_S", 2 * silence_s)
        self._ours: set[int] = set()  # descriptors of its files

    def __enter__(self) -> Self:
        for name in _CALLS:
            self._patch.setattr(os, name, self._waiting(name, getattr(os, name)))
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.come_back()
        self._patch.undo()

    def fall(self) -> None:
        """No answer any more."""
        self._answers.clear()

    def fall_after(self, reads: int) -> None:
        """Silent from so many reads of its files on."""
        self._left = reads

    def come_back(self) -> None:
        """It answers again, those who waited too."""
        self._left = -1
        self._answers.set()

    def _waiting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wait(target: Any, *given: Any, **named: Any) -> Any:
            if self._is_here(target):
                if name.startswith("pread") and self._left >= 0:
                    self._left -= 1
                    if self._left < 0:
                        self.fall()
                self._answers.wait(_LONGEST_S)
                result = call(target, *given, **named)
                if name == "open":
                    self._ours.add(result)
                return result
            if name == "open":
                result = call(target, *given, **named)
                self._ours.discard(result)
                return result
            return call(target, *given, **named)

        return wait

    def _is_here(self, target: Any) -> bool:
        if isinstance(target, int):
            return target in self._ours
        return os.fsencode(target).startswith(self._prefix)
