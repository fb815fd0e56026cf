"""Drop the files of a made night into a watched folder, as cameras and people do: in some order, at some pace."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightcrew.simulate.randomness import generator
from nightcrew.simulate.truth import Truth

Style = Literal["copy", "slow", "rename", "mixed"]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How files arrive: all at once (``copy``), in pieces (``slow``), moved in whole (``rename``) or each in turn."""

    style: Style = "mixed"
    pause_s: float = 0.0  # between files
    pieces: int = 4  # of a slow file
    piece_pause_s: float = 0.05


def demonstration_order(truth: Truth) -> tuple[str, ...]:
    """Bias, darks, flats, lights with the troublemakers among them, and last the flats of the late filter."""
    rank = {"bias": 0, "dark": 1, "flat": 2, "light": 3}
    late = {frame.name for frame in truth.select("flat", filter_name=truth.plan.late_filter)}
    early = [frame for frame in truth.frames if frame.name not in late]
    order = [frame.name for frame in sorted(early, key=lambda frame: (rank[frame.kind], frame.time_utc))]
    first_light = len(order) - len(truth.select("light"))
    planted = [trouble.path for trouble in truth.troubles if trouble.adds_file]
    step = max(1, (len(order) - first_light) // (len(planted) + 1))
    for number, path in enumerate(planted, 1):
        order.insert(first_light + number * (step + 1) - 1, path)
    return (*order, *sorted(late))


def shuffled(names: Sequence[str], seed: int) -> tuple[str, ...]:
    """The same names in an order fixed by ``seed``."""
    order = generator(seed, "drop order").permutation(len(names)).tolist()
    return tuple(names[number] for number in order)


def drop(
    source: Path,
    watched: Path,
    names: Sequence[str],
    pace: Pace | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Path]:
    """Bring the files ``names`` of ``source`` into ``watched``, yielding each path when it is whole; ends early on ``stop()``.

    ``source`` is only read.  Names may hold folders, which are made.
    """
    pace = pace or Pace()
    styles: tuple[Style, ...] = ("copy", "slow", "rename") if pace.style == "mixed" else (pace.style,)
    for number, name in enumerate(names):
        if stop():
            return
        target = watched / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _bring(source / name, target, styles[number % len(styles)], pace, sleep)
        yield target
        if pace.pause_s:
            sleep(pace.pause_s)


def _bring(source: Path, target: Path, style: Style, pace: Pace, sleep: Callable[[float], None]) -> None:
    if style == "slow":
        write_slowly(source.read_bytes(), target, pace.pieces, pace.piece_pause_s, sleep)
    elif style == "rename":
        temporary = target.with_name(f".{target.name[:200]}.part")
        shutil.copyfile(source, temporary)
        temporary.rename(target)
    else:
        shutil.copyfile(source, target)


def write_slowly(content: bytes, target: Path, pieces: int, pause_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Write a file as a slow camera does: in pieces, flushed, with pauses, closed at the end."""
    step = max(1, -(-len(content) // pieces))
    with target.open("xb", buffering=0) as file:
        for start in range(0, max(1, len(content)), step):
            if start:
                sleep(pause_s)
            view = memoryview(content)[start : start + step]
            while view:
                view = view[os.write(file.fileno(), view) :]
