"""What became of every word of a stream: the counts add up to what was read."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum


class Word(IntEnum):
    """What a word is that is not a photon of the wanted window.  A word with a pixel is 0 or more."""

    FILLER = -1
    UNMAPPED = -2  # a photon of a channel without a place in the beam map
    HEADER = -3
    UNKNOWN = -4  # outside the array, or a microsecond that does not exist
    ORPHAN = -5  # without a frame header: a torn frame whose beginning is not there, or words after a frame's end
    MISDATED = -6  # in a frame whose time disagrees with its file
    REPEATED = -7  # in a frame that came twice
    ZERO = -8  # zero fill
    OUTSIDE = -9  # a photon before or after the window


@dataclass
class Tally:
    """Counts of one stream.  ``words`` is the sum of those that follow, up to ``outside``."""

    words: int = 0
    photons: int = 0
    frames: int = 0  # headers, also of frames that were not used
    filler: int = 0
    unmapped: int = 0
    unknown: int = 0
    orphan: int = 0
    misdated: int = 0
    repeated: int = 0
    zero: int = 0
    outside: int = 0
    bytes_over: int = 0  # behind the last whole word of a file
    frames_cut: int = 0  # neither 100 words nor a filler: the end is not there
    frames_misdated: int = 0
    frames_repeated: int = 0
    frames_late: int = 0  # after one with a higher number
    lost_frames: dict[int, int] = field(default_factory=dict)  # by board, for every board that was seen

    @property
    def lost(self) -> int:
        """Frames lost on all boards."""
        return sum(self.lost_frames.values())

    @property
    def boards(self) -> tuple[int, ...]:
        """Boards that were seen."""
        return tuple(sorted(self.lost_frames))

    def accounted(self) -> int:
        """Sum of what every word became; equals ``words``."""
        kinds = ("photons", "frames", "filler", "unmapped", "unknown", "orphan", "misdated", "repeated", "zero", "outside")
        return sum(int(getattr(self, kind)) for kind in kinds)

    def plain(self) -> dict[str, object]:
        """For JSON."""
        values: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self)}
        values["lost_frames"] = {str(board): self.lost_frames[board] for board in self.boards}
        return values
