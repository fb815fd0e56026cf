"""Photons and cubes of raw seconds as files for other programs."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from nightcrew.io.atomic import NewFile
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.raw import RawRun
from nightcrew.mkid.words import DEGREE_PER_BASELINE_UNIT, DEGREE_PER_PHASE_UNIT


class PhotonText:
    """Photons as comma-separated text, in the order of the stream; without a path nothing is written.  Use as a context manager."""

    def __init__(self, path: Path | None, columns: int) -> None:
        self._new = None if path is None else NewFile(path)
        self._columns = columns

    def __enter__(self) -> PhotonText:
        if self._new is not None:
            self._new.__enter__()
            self._new.file.write(b"time_us,x,y,phase_deg,baseline_deg\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._new is not None:
            self._new.__exit__(kind, error, trace)

    def add(self, photons: Photons) -> None:
        """Write a block."""
        if self._new is None:
            return
        degrees = photons.phase * DEGREE_PER_PHASE_UNIT, photons.baseline * DEGREE_PER_BASELINE_UNIT
        columns = (photons.time_us, photons.pixel % self._columns, photons.pixel // self._columns, *degrees)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._new.file.write("".join(f"{t},{x},{y},{phase:.5f},{baseline:.5f}\n" for t, x, y, phase, baseline in rows).encode("ascii"))


def write_cube(path: Path, run: RawRun) -> None:
    """Counts [step, y, x], with start_unix_us and step_us, as ``.npz``."""
    with NewFile(path) as new:
        np.savez_compressed(new.file, counts=run.cube, start_unix_us=np.int64(run.start_us), step_us=np.int64(run.step_us))
