"""Who may log in to the page server: compared in constant time, and slow to guess.

Wrong passwords are answered one at a time, two a second: nobody takes the machine or tries a list of words unseen.
While so many guesses wait for their answer, other log-ins from where somebody guessed are turned away unread, all but one a second.
Who reads from elsewhere goes on reading, and so does whoever logged in before from the same address: a browser that gave the right
password gets a note that says so, and who shows it is no guesser.  The note alone opens nothing.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time

from reports.text import visible

_log = logging.getLogger(__name__)

_GUESS_S = 0.5  # wrong passwords are answered no faster than this, all clients together
_MOST_GUESSERS = 32  # wait for their answers at once
_LOOK_S = 1.0  # while so many wait, one further log-in in so long is looked at all the same: the right one has its chance
NOTE = "nightcrew-reader"  # the cookie of a browser that gave the right password
NOTE_S = 30 * 86_400
_MOST_WRONG = 3  # wrong passwords that come with one note, after which it is worth nothing
_MOST_ADDRESSES = 100  # that somebody guessed from are remembered; beyond them every address counts as one of them
_FORGET_S = 600.0  # after which nobody guesses from there any more
_TELL_S = 600.0  # wrong passwords are told no oftener than this


class LogIn:
    """Compares log-ins with the one that is expected.  Whoever knows it never waits; to try many takes long, and is told."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self._key = secrets.token_bytes(32)  # of the notes that this process gives
        self._wrong: dict[str, int] = {}  # number of a note -> wrong passwords that came with it
        self._look_at_s = 0.0
        self._state, self._pace = threading.Lock(), threading.Lock()
        self._waiting = 0
        self._guessed: dict[str, float] = {}  # address -> when somebody last guessed from there
        self._guesses, self._tell_at_s = 0, 0.0

    def note(self) -> str:
        """A note for a browser that gave the right password."""
        number = secrets.token_hex(16)
        return f"{number}.{self._seal(number)}"

    def knows(self, note: str) -> bool:
        """Is the note one of ours, and did not too many wrong passwords come with it?"""
        number, _, seal = note.partition(".")
        mine = hmac.compare_digest(seal.encode("utf-8", "replace"), self._seal(number).encode())
        return mine and self._wrong.get(number, 0) < _MOST_WRONG

    def _seal(self, number: str) -> str:
        return hmac.new(self._key, number.encode("utf-8", "replace"), "sha256").hexdigest()

    def is_right(self, given: bytes, client: str, note: str = "") -> bool | None:
        """True; False, after a while; None when so many guess that this one was not looked at, or gets no answer."""
        with self._state:
            full, known = self._waiting >= _MOST_GUESSERS, self.knows(note)
            if full and not known and self._is_guesser(client) and not self._is_looked_at():
                return None
            if hmac.compare_digest(given, self._expected):
                return True
            if known:
                number = note.partition(".")[0]
                self._wrong[number] = self._wrong.get(number, 0) + 1
            self._guessed[client] = time.monotonic()
            self._guesses += 1
            if full:
                return None
            self._waiting += 1
        try:
            with self._pace:
                _pause(_GUESS_S)
                self._tell(client)
        finally:
            with self._state:
                self._waiting -= 1
        return False

    def _is_looked_at(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + _LOOK_S
        return True

    def _is_guesser(self, client: str) -> bool:
        now = time.monotonic()
        self._guessed = {address: at for address, at in self._guessed.items() if now - at < _FORGET_S}
        return client in self._guessed or len(self._guessed) >= _MOST_ADDRESSES

    def _tell(self, client: str) -> None:
        with self._state:
            guesses = self._guesses
            if time.monotonic() < self._tell_at_s:
                return
            self._guesses, self._tell_at_s = 0, time.monotonic() + _TELL_S
        _log.warning("page server: %d wrong log-in(s), the last from %s", guesses, visible(client))


def _pause(seconds: float) -> None:
    time.sleep(seconds)
