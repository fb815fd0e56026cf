"""Small photon tables and calibrations with values that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid import words as w
from nightcrew.mkid.beam_map import BeamMap, parse_beam_map
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.table_writer import TableHead, write_table
from nightcrew.mkid.wavelength_solution import WavelengthSolution, unsolved

START_US = 1_606_000_000_000_000


def beam_map(shape: tuple[int, int] = (4, 5), first: int = 10_000) -> BeamMap:
    """Every pixel good; resonators in order of pixels."""
    rows = "".join(f"{first + p} 0 {p % shape[1]} {p // shape[1]}\n" for p in range(shape[0] * shape[1]))
    return parse_beam_map(rows.encode(), "beammap.txt", shape=shape)


def table(
    path: Path,
    placed: BeamMap,
    pixel: Sequence[int] | NDArray[np.int64],
    time_us: Sequence[int] | NDArray[np.int64],
    phase_deg: Sequence[float] | NDArray[np.float64] | float = -60.0,
    *,
    duration_s: float = 10.0,
    missing: Sequence[int] = (),
    silences: Silences | None = None,
    **head: object,
) -> Path:
    """A table of these photons; times count from its start."""
    order = np.argsort(np.asarray(time_us), kind="stable")
    times = np.asarray(time_us, dtype=np.int64)[order]
    pixels = np.asarray(pixel, dtype=np.int32)[order]
    phases = np.broadcast_to(np.asarray(phase_deg, dtype=np.float64), (order.size,))[order]
    raw = np.rint(phases / w.DEGREE_PER_PHASE_UNIT).astype(np.int64)
    word = w.photon_words(0, 0, 0, raw, np.zeros_like(raw))
    made = TableHead(start_us=START_US, stop_us=START_US + round(duration_s * 1e6), beam_map=placed)
    write_table(
        path,
        replace(made, **head),  # type: ignore[arg-type]  # any field of the head
        [Photons(pixels, times + START_US, word)] if times.size else [],
        report=lambda: {"missing_seconds": list(missing), "words": {"lost_frames": {"1": 0}}, "rejected": []},
        inputs=lambda: [(START_US // 10**6, 8, "0" * 64)],
        silences=None if silences is None else lambda: silences,
        expected_per_s=times.size / duration_s,
    )
    return path


def linear_solution(placed: BeamMap, *, slope_ev_per_deg: float = -0.02, bad: Sequence[int] = ()) -> WavelengthSolution:
    """energy = slope * phase in every pixel but ``bad``."""
    empty = unsolved(np.array([850.0, 950.0, 1100.0]), placed.resid)
    coefficients = np.zeros((*placed.shape, 3))
    coefficients[..., 1] = slope_ev_per_deg
    flag = np.zeros(placed.shape, dtype=np.uint32)
    flag.ravel()[list(bad)] = f.bits(("wavecal.bad",))
    return replace(empty, coefficients=coefficients, flag=flag, covariance=np.zeros((*placed.shape, 3, 3)))
