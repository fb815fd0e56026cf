"""Pixel masks over time, and the times that cosmic rays spoil."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.hdf5 import sound
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.solution_file import COSMIC, MASKS, SolutionFile, write_solution

REASONS = ("pixcal.hot", "pixcal.cold", "pixcal.dead", "manual")
"""Why a pixel is masked; bit k of ``bits`` is the k-th."""
HOT, COLD, DEAD, MANUAL = (np.uint8(1 << place) for place in range(len(REASONS)))

Times = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PixelMasks:
    """Which pixels are bad in each step of time.  Before the first step the first holds, after the last one the last."""

    edges_us: Times  # [step + 1], Unix time, ascending
    resid: NDArray[np.uint32]  # [y, x]
    bits: NDArray[np.uint8]  # [step, y, x], see REASONS
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def flag(self, *, share: float = 0.5) -> NDArray[np.uint32]:
        """Flags [y, x] of the pixels that are bad for more than ``share`` of the time."""
        span = np.diff(self.edges_us).astype(np.float64)
        found = np.zeros(self.resid.shape, dtype=np.uint32)
        for place, name in enumerate(REASONS[:3]):
            bad = np.tensordot(span, (self.bits >> place) & 1, axes=1) / span.sum()
            found |= np.where(bad > share, np.uint32(f.bit(name)), np.uint32(0))
        return found

    def step_of(self, time_us: Times) -> NDArray[np.intp]:
        """Step in which Unix times fall."""
        return np.clip(np.searchsorted(self.edges_us, time_us, side="right") - 1, 0, self.bits.shape[0] - 1)

    def write(self, final: Path, *, overwrite: bool = False) -> None:
        """Write as HDF5 (:mod:`nightcrew.mkid.solution_file`)."""
        arrays: dict[str, tuple[NDArray[Any], str]] = {
            "edges_us": (self.edges_us, "[step + 1]: Unix time"),
            "resid": (self.resid, "[y, x]: resonator"),
            "bits": (self.bits, "[step, y, x]: bits, named in order by the attribute reasons of the file"),
        }
        write_solution(final, MASKS, arrays, self.provenance, {"reasons": list(REASONS)}, overwrite=overwrite)


def joined_masks(parts: Sequence[PixelMasks]) -> PixelMasks:
    """Masks of several exposures of one array as one, in order of time; between two exposures the mask of the earlier one holds.

    ``RejectedInput`` when they are of different arrays.
    """
    ordered = sorted(parts, key=lambda one: int(one.edges_us[0]))
    if any(not np.array_equal(one.resid, ordered[0].resid) for one in ordered):
        raise RejectedInput("pixel masks of different arrays cannot be joined")
    edges, bits = [ordered[0].edges_us], [ordered[0].bits]
    for before, after in itertools.pairwise(ordered):
        apart = bool(after.edges_us[0] > before.edges_us[-1])
        edges.append(after.edges_us if apart else np.maximum(after.edges_us[1:], before.edges_us[-1]))
        bits += [before.bits[-1:], after.bits] if apart else [after.bits]
    provenance = {"parts": [dict(one.provenance) for one in ordered]}
    return PixelMasks(edges_us=np.concatenate(edges), resid=ordered[0].resid, bits=np.concatenate(bits), provenance=provenance)


def read_pixel_masks(path: Path) -> PixelMasks:
    """Read masks; errors as of :class:`~nightcrew.mkid.solution_file.SolutionFile`."""
    with SolutionFile(path, MASKS) as file, sound(path):
        arrays = file.shaped(["resid", "bits"])
        stored, names = arrays["bits"], [str(name) for name in file.attribute("reasons")]
        bits = np.zeros_like(stored)
        for place, name in enumerate(names):
            bits |= (((stored >> place) & 1) << (REASONS.index(name) if name in REASONS else REASONS.index("manual"))).astype(np.uint8)
        edges_us = file.array("edges_us").astype(np.int64)
        if edges_us.shape != (len(bits) + 1,) or not len(bits) or (np.diff(edges_us) <= 0).any():
            raise RejectedInput(f"{shown(path)}: is damaged, its {len(bits)} steps have no edges in order of time")
        return PixelMasks(edges_us=edges_us, resid=arrays["resid"], bits=bits, provenance=file.provenance)


@dataclass(frozen=True, kw_only=True)
class CosmicRays:
    """Stretches of time in which a cosmic ray made much of the array count; half-open, in order, apart from each other."""

    start_us: Times  # [event], Unix time
    stop_us: Times
    peak_us: Times
    count: NDArray[np.int64]  # photons of the stretch on the whole array
    average: NDArray[np.float64]  # of a bin of the stretch
    peak: NDArray[np.int64]  # photons of the highest bin
    window_us: tuple[int, int] = (0, 0)  # that was searched
    threshold: float = 0.0  # photons of a bin, median over the time
    bin_us: int = 10
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.start_us.size

    @property
    def cut_s(self) -> float:
        """Time that is cut out."""
        return float((self.stop_us - self.start_us).sum()) / 1e6

    def write(self, final: Path, *, overwrite: bool = False) -> None:
        """Write as HDF5 (:mod:`nightcrew.mkid.solution_file`)."""
        arrays = {name: (np.asarray(getattr(self, name)), f"[event]: {about}") for name, about in _COSMIC.items()}
        more = {"window_us": np.array(self.window_us, dtype=np.int64), "threshold": self.threshold, "bin_us": self.bin_us}
        write_solution(final, COSMIC, arrays, self.provenance, more, overwrite=overwrite)


_COSMIC = {
    "start_us": "Unix time from which photons are cut",
    "stop_us": "Unix time from which they count again",
    "peak_us": "Unix time of the highest bin",
    "count": "photons of the stretch, whole array",
    "average": "photons of one of its bins",
    "peak": "photons of its highest bin",
}


def read_cosmic_rays(path: Path) -> CosmicRays:
    """Read events; errors as of :class:`~nightcrew.mkid.solution_file.SolutionFile`."""
    with SolutionFile(path, COSMIC) as file, sound(path):
        low, high = file.attribute("window_us")
        arrays: dict[str, Any] = {name: file.array(name) for name in _COSMIC}
        return CosmicRays(
            **arrays,
            window_us=(int(low), int(high)),
            threshold=float(file.attribute("threshold")),
            bin_us=int(file.attribute("bin_us")),
            provenance=file.provenance,
        )
