"""From ticks of the readout to microseconds of Unix time: New Year, and the tick counter that once wrapped.

Ticks count from the start of the year in which the readout was started, so after New Year the count goes on from the
old year until somebody restarts it.  Older firmware wrapped it at 2^20 seconds (12.1 days).  Neither stands in the data; the
second in the file's name decides between the possibilities, which lie hours apart.
"""

from __future__ import annotations

import calendar
import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.words import TICK_US

WRAP_US = (1 << 20) * 1_000_000
TOLERANCE_S = 30.0  # between the clocks of the boards and of the writing computer
MENDED_FIRMWARE_UNIX = 1518222559
"""Before this second firmware stamped photons near a rollover one tick early: times within a tick may go backwards."""

Times = NDArray[np.int64]


@lru_cache(maxsize=64)
def year_start_us(year: int) -> int:
    """Unix microseconds of the 1st of January, 00:00 UTC."""
    return calendar.timegm((year, 1, 1, 0, 0, 0)) * 1_000_000


@lru_cache(maxsize=4096)
def _likely_epochs_us(second: int, tolerance_s: float) -> tuple[int, ...]:
    """Starts of the years that ticks may count from, the likeliest first."""
    moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
    later = datetime.datetime.fromtimestamp(second + tolerance_s, datetime.UTC)
    years = [moment.year, moment.year - 1, *([later.year] if later.year != moment.year else [])]
    return tuple(year_start_us(year) for year in years)


def unix_us(ticks: Times, second: int, tolerance_s: float = TOLERANCE_S) -> tuple[Times, NDArray[np.bool_]]:
    """Unix microseconds at which ``ticks`` begin, and where they agree with ``second``, the name of their file.

    A tick that no year and no number of wraps brings within ``tolerance_s`` of the second does not agree; its time means nothing.
    """
    reference_us = second * 1_000_000 + 500_000
    limit_us = round(tolerance_s * 1e6) + 500_000
    counted = ticks * TICK_US
    times = counted.copy()
    agrees = np.zeros(ticks.shape, dtype=np.bool_)
    for epoch_us in _likely_epochs_us(second, tolerance_s):
        candidate = counted + epoch_us
        off = reference_us - candidate
        if counted.size and off.max(initial=0) > limit_us:
            wraps = np.where(counted < WRAP_US, np.maximum((off + WRAP_US // 2) // WRAP_US, 0), 0)
            candidate += wraps * WRAP_US
            off -= wraps * WRAP_US
        fits = (np.abs(off) <= limit_us) & ~agrees
        if fits.all():
            return candidate, fits
        times[fits] = candidate[fits]
        agrees |= fits
        if agrees.all():
            break
    return times, agrees
