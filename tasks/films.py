"""Films by ffmpeg, where there is one: time-boxed, counted, and never more than an addition to the .gif that shows the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.endings import ending
from nightcrew.helpers import run_boxed

FILM_SECONDS = 60.0  # what ffmpeg may take for a film
_OPTIONS = ("-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "gray")
_OUTPUT = ("-i", "-", "-pix_fmt", "yuv420p", "-fflags", "+bitexact", "-flags:v", "+bitexact")


class FilmMaker:
    """Makes films until ffmpeg hangs once; counts what became of them.

    A helper that hangs on one film hangs on all: with dozens of sequences its time boxes would add up to hours.
    """

    def __init__(self, *, seconds: float = FILM_SECONDS) -> None:
        self._seconds = seconds
        self._program = shutil.which("ffmpeg")
        self._hung = False
        self._tried = self._made = 0
        self._reasons: list[str] = []

    def film(self, frames: Sequence[NDArray[Any]], *, frames_a_second: int = 4) -> bytes | None:
        """An .mp4 of grey uint8 frames ``[y, x]`` of one shape; None where it cannot be made (see :meth:`told`)."""
        if not frames or min(frames[0].shape) < 2:
            return None
        self._tried += 1
        if self._program is None or self._hung:
            return None
        made, reason = self._run(self._program, frames, frames_a_second)
        self._made += made is not None
        if reason:
            self._reasons.append(reason)
        return made

    def _run(self, program: str, frames: Sequence[NDArray[Any]], frames_a_second: int) -> tuple[bytes | None, str]:
        height, width = (side - side % 2 for side in frames[0].shape)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "film.mp4"
            command = [program, *_OPTIONS, "-s", f"{width}x{height}", "-r", str(frames_a_second), *_OUTPUT, str(out)]
            try:
                with tempfile.TemporaryFile(dir=folder) as pictures:
                    for frame in frames:
                        pictures.write(np.ascontiguousarray(frame[:height, :width]).tobytes())
                    pictures.seek(0)
                    done = run_boxed(command, seconds=self._seconds, folder=Path(folder), stdin=pictures)
            except OSError as error:
                return None, f"it could not be run ({error.strerror})"
            if done.code is None:
                self._hung = True
                return None, f"it took longer than {self._seconds:g} s"
            if done.code or not out.exists():
                return None, f"it {ending(done.code)}" if done.code else "it wrote nothing"
            return out.read_bytes(), ""

    def told(self) -> list[str]:
        """A sentence for the report when films are missing; none when all were made."""
        if not self._tried or (self._program is not None and not self._reasons):
            return []
        if self._program is None:
            return ["There are no .mp4 films, ffmpeg is not installed: the .gif files show the same."]
        rest = " and was not asked again" if self._hung else ""
        reasons = "; ".join(dict.fromkeys(self._reasons))
        return [f"ffmpeg failed on {self._tried - self._made} of {self._tried} films: {reasons}{rest}. The .gif files show the same."]
