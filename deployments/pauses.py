"""When something that failed is tried again, and when a silence is told."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

_SILENCE_S = 10.0  # so long a server may say nothing before that is told
_STARTING_S = 180.0  # and so long while it starts


@dataclass
class Pauses:
    """Growing pauses for what makes no progress: a run that ends without changing anything is not started at once again."""

    first_s: float = 2.0
    longest_s: float = 300.0
    _known: dict[Hashable, tuple[object, float, float]] = field(default_factory=dict)

    def may(self, key: Hashable, progress: object, now_s: float) -> bool:
        """May ``key`` be tried now?  Yes at once when ``progress`` differs from the last try's."""
        known = self._known.get(key)
        return known is None or known[0] != progress or now_s >= known[2]

    def tried(self, key: Hashable, progress: object, now_s: float) -> None:
        """It was tried with this ``progress``; the pause until the next grows while it stays the same."""
        known = self._known.get(key)
        pause_s = min(known[1] * 2, self.longest_s) if known is not None and known[0] == progress else self.first_s
        self._known[key] = (progress, pause_s, now_s + pause_s)

    def succeeded(self, key: Hashable) -> None:
        """The next failure of ``key`` is a first one again."""
        self._known.pop(key, None)


@dataclass
class Silence:
    """A server that does not answer: told once while it lasts, and when it is over."""

    _since_s: float | None = None
    _told: bool = False
    _heard: bool = False

    def failed(self, asked_s: float, now_s: float) -> str:
        """What is to be told now that a question of ``asked_s`` got no answer, "" for nothing (yet)."""
        self._since_s = asked_s if self._since_s is None else self._since_s
        patience_s = _SILENCE_S if self._heard else _STARTING_S
        if self._told or now_s - self._since_s < patience_s:
            return ""
        self._told = True
        return "Prefect's server does not answer: what arrives is recorded, and reduced when it answers"

    def answered(self, now_s: float) -> str:
        """The same, now that it answers; a slow answer is one, and what was not told is not over."""
        told, since_s = self._told, self._since_s
        self._since_s, self._told, self._heard = None, False, True
        return f"Prefect's server answers again, after {now_s - since_s:.0f} s" if told and since_s is not None else ""
