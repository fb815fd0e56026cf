"""Small random readouts for the tests: what was sent, and the files it was written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.packets import Photons
from nightcrew.simulate.mkid_frames import Events, Readout, Stretch, cut

SECOND_US = 1_000_000
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Made:
    """A readout from ``start_us`` on, ``span_us`` long."""

    events: Events
    stretch: Stretch
    shape: tuple[int, int]
    boards: tuple[int, ...]
    start_us: int
    stop_us: int

    def rows(self, chosen: NDArray[np.bool_] | None = None) -> Rows:
        """Delivered photons as sorted rows (time, pixel, phase, baseline)."""
        keep = self.stretch.delivered if chosen is None else self.stretch.delivered & chosen
        e = self.events.chosen(keep)
        return sorted_rows(np.stack([e.time_us, e.y * self.shape[1] + e.x, e.phase, e.baseline], axis=1))


def sorted_rows(rows: Rows) -> Rows:
    """Rows in order of their columns."""
    return rows[np.lexsort(rows.T[::-1])]


def rows_of(photons: Photons) -> Rows:
    """The same rows of what came back."""
    columns = (photons.time_us, photons.pixel, photons.phase, photons.baseline)
    return sorted_rows(np.stack([np.asarray(c, dtype=np.int64) for c in columns], axis=1))


def make(
    seed: int,
    *,
    start_us: int,
    span_us: int = 20_000,
    n_photons: int = 1000,
    shape: tuple[int, int] = (5, 4),
    boards: Sequence[int] = (0, 7, 255),
    loss: float = 0.0,
    wraps: bool = False,
    epoch_us: int | None = None,
) -> Made:
    """A random readout; photons sit in few ticks, so that some have many frames."""
    rng = np.random.default_rng(seed)
    ticks = rng.integers(0, span_us // w.TICK_US, max(1, n_photons // 60))
    time_us = start_us + ticks[rng.integers(0, ticks.size, n_photons)] * w.TICK_US + rng.integers(0, w.TICK_US, n_photons)
    pixel = rng.integers(0, shape[0] * shape[1], n_photons)
    events = Events(
        time_us,
        pixel % len(boards),
        pixel % shape[1],
        pixel // shape[1],
        rng.integers(*w.PHASE_LIMITS, n_photons, endpoint=True),
        rng.integers(*w.BASELINE_LIMITS, n_photons, endpoint=True),
    )
    year = clock.year_start_us(np.datetime64(start_us, "us").astype("datetime64[Y]").astype(int).item() + 1970)
    readout = Readout(list(boards), year if epoch_us is None else epoch_us, wraps=wraps, first_numbers=rng.integers(0, 4096, len(boards)))
    stretch = readout.stretch(events, start_us, start_us + span_us, rng, loss)
    return Made(events, stretch, shape, tuple(boards), start_us, start_us + span_us)


def write(folder: Path, made: Made, *, lag_us: int = 0, tear: int = 0, without: Sequence[int] = ()) -> dict[int, Path]:
    """Files of the readout by second: the writer's clock is ``lag_us`` late, and tears frames by ``tear`` words."""
    first = (made.start_us - lag_us) // SECOND_US
    bounds = list(range(first + 1, (made.stop_us - 1 - lag_us) // SECOND_US + 1))
    pieces = cut(made.stretch, [second * SECOND_US + lag_us for second in bounds], [tear] * len(bounds))
    files = {}
    for second, piece in zip([first, *bounds], pieces, strict=True):
        if second not in without and piece.size:
            files[second] = folder / f"{second}.bin"
            files[second].write_bytes(piece.astype(">u8").tobytes())
    return files
