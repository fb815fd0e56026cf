"""The window of a run of seconds, by the frames in it: the writer's clock lags, so that files do not begin and end with their seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nightcrew.errors import RejectedInput
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.seconds import SecondReader

_US = 1_000_000
_MOST_LAG_US = _US  # what a file holds begins and ends that far from its second at the most


def window_of_run(files: Mapping[int, Path], first: int, stop: int) -> tuple[int, int]:
    """Unix microseconds ``[start, stop)`` from the first frame of the file ``first`` to the end of the last one of ``stop - 1``.

    A file that cannot be used counts as its whole second.  :class:`~nightcrew.errors.TransientError` when one cannot be read now.
    """
    early, late = _frames_of(files, first), _frames_of(files, stop - 1)
    start_us = first * _US if early is None else max(early[0], first * _US - _MOST_LAG_US)
    stop_us = stop * _US if late is None else min(late[1] + w.TICK_US, stop * _US + _MOST_LAG_US)
    return (start_us, stop_us) if stop_us > start_us else (first * _US, stop * _US)


def _frames_of(files: Mapping[int, Path], second: int) -> tuple[int, int] | None:
    """Unix microseconds of the first and the last frame of a file; None when it has none of its second."""
    times: list[tuple[int, int]] = []
    try:
        with SecondReader(files[second], second) as reader:
            for block in reader.blocks():
                words = block.astype(np.uint64)
                at_us, agrees = clock.unix_us(w.ticks(words[words >= w.FIRST_HEADER]), second)
                if agrees.any():
                    times.append((int(at_us[agrees].min()), int(at_us[agrees].max())))
    except RejectedInput:
        return None
    return (min(low for low, _ in times), max(high for _, high in times)) if times else None
