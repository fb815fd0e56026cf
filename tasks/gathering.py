"""The frames that enter a master: each is looked at, and left out with its reason where it holds no read-out of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import RejectedInput
from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.model import PlannedProduct
from tasks.frames_in import Look, file_of, look, pixels_of

_UNLIT = ("bias", "dark", "thermal")
_TOO_MUCH_SATURATED = 0.5
_FAR_BELOW_ADU = 100.0  # pedestals that a camera's program takes off leave less
_TELLING_PIXELS = 64  # so many of a look must be other than its median: two read-outs never agree in them


@dataclass
class Stack:
    """The frames that enter a master, with what was left out and why."""

    frames: list[FrameRow] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)

    def drop(self, reasons: dict[int, str]) -> None:
        """Leave out the frames at these places."""
        for place, reason in reasons.items():
            self.left_out[self.frames[place].id] = reason
        keep = [place for place in range(len(self.frames)) if place not in reasons]
        self.frames = [self.frames[place] for place in keep]
        self.looks = [self.looks[place] for place in keep]


def gather(planned: PlannedProduct, role: str) -> Stack:
    """Look at every frame; one that cannot be read is left out with its reason, its siblings go on."""
    stack = Stack()
    for item in planned.inputs:
        if item.role != role or item.frame is None:
            continue
        try:
            seen = look(item.frame)
            if role in _UNLIT:
                _check_read_out(item.frame, seen)
        except RejectedInput as error:
            stack.left_out[item.frame.id] = str(error)
            continue
        stack.frames.append(item.frame)
        stack.looks.append(seen)
    stack.drop(_given_again(stack))
    return stack


def _given_again(stack: Stack) -> dict[int, str]:
    """Places of frames that hold the very pixels of an earlier one: a camera gave one read-out under two times.

    Counted twice it would make the master's scatter, and so its uncertainty, too small.  Noise tells: frames that hardly have any
    (cut off at 0) may be alike.
    """
    first: dict[bytes, FrameRow] = {}
    reasons = {}
    for place, (frame, seen) in enumerate(zip(stack.frames, stack.looks, strict=True)):
        if np.count_nonzero(seen.sample != np.median(seen.sample)) < _TELLING_PIXELS:
            continue
        twin = first.setdefault(hashlib.sha256(seen.sample.tobytes()).digest(), frame)
        if twin is not frame and np.array_equal(pixels_of(frame)[0], pixels_of(twin)[0], equal_nan=True):
            name = twin.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace")
            reasons[place] = f"its pixels are those of {name} one by one: the camera gave one read-out under two times, it counts once"
    return reasons


def _check_read_out(frame: FrameRow, seen: Look) -> None:
    """Does a frame without light hold a read-out at all?  A set of zeros agrees with itself: no sibling would tell.

    Raises
    ------
    RejectedInput
        Every pixel is 0, more than half of them are saturated, or they lie far below 0.
    """
    raw_adu = seen.level_adu + seen.overscan_adu
    if raw_adu < -(_FAR_BELOW_ADU + 10.0 * seen.sigma_adu):
        raise RejectedInput(f"its level is {raw_adu:.0f} ADU: no read-out lies so far below 0 (does its header lack BZERO?)")
    if seen.saturated_fraction > _TOO_MUCH_SATURATED:
        raise RejectedInput(f"{seen.saturated_fraction:.0%} of its pixels are saturated, in a frame that no light should reach")
    if not np.any(seen.sample + np.float32(seen.overscan_adu)) and not np.any(pixels_of(frame)[0]):
        raise RejectedInput("every pixel is 0: it was not read out, or the camera cuts off all that a dark frame could tell")


def sources(frames: Sequence[FrameRow]) -> list[ArraySource]:
    return [
        ArraySource(
            data=file_of(f),
            hdu=f.header.hdu,
            window=f.header.trim,
            exposure_s=f.header.exposure_s,
            unit="adu",
            gain_setting=f.header.gain_setting or "-",
            name=f.sha256[:12],
        )
        for f in frames
    ]
