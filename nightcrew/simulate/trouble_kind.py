"""What a kind of troublemaker is, and the extra exposure that most of them spoil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from nightcrew.simulate.camera_file import format_card, read_value, replace_card

# states of a file in the ledger, for the expectations
DONE = ("done",)
ANY_GRADE = ("done", "degraded")
REJECTED = ("rejected",)
SET_ASIDE = ("set_aside",)
REFUSED = ("rejected", "set_aside")
UNSEEN = ("set_aside", "rejected", "ignored")  # counted, but nobody need look at it


@dataclass(frozen=True)
class Spot:
    """Where a troublemaker works: the folder, an innocent frame (never changed) and when its own exposure began."""

    folder: Path
    source: Path
    delay_s: float

    def innocent(self) -> bytes:
        """The innocent frame's bytes."""
        return self.source.read_bytes()

    def exposure(self) -> bytes:
        """The innocent frame as another exposure, taken ``delay_s`` later."""
        content = self.innocent()
        start = datetime.fromisoformat(read_value(content, "DATE-OBS")) + timedelta(seconds=self.delay_s)
        later = start.isoformat(timespec="milliseconds")
        content = replace_card(content, "DATE-OBS", format_card("DATE-OBS", later, "[ISO 8601] UTC at start of exposure"))
        julian = float(read_value(content, "JD")) + self.delay_s / 86400
        return replace_card(content, "JD", format_card("JD", julian, "Julian date at start of exposure"))

    def next_name(self) -> str:
        """The name that the camera program would give to one more frame like the innocent one."""
        stem, number = self.source.stem.rsplit("-", 1)
        for candidate in range(int(number) + 1, 10_000):
            name = f"{stem}-{candidate:03d}{self.source.suffix}"
            if not (self.folder / name).exists() and not (self.folder / f"{name}.gz").exists():
                return name
        raise ValueError(f"{self.folder} holds too many frames like {self.source.name}")

    def write(self, name: str, content: bytes) -> Path:
        """Write a new file (never over another) into the folder."""
        path = self.folder / name
        with path.open("xb") as file:
            file.write(content)
        return path


@dataclass(frozen=True, kw_only=True)
class TroubleKind:
    """A troublemaker: ``make`` plants it and returns its path; ``source`` is the kind of frame that it spoils."""

    name: str
    make: Callable[[Spot], Path]
    source: str = "light"
    states: tuple[str, ...] = REJECTED
    words: tuple[str, ...] = ()  # any of them, without case, in the reason
    description: str = ""
    repeats_source: bool = False  # the same exposure as the innocent frame
