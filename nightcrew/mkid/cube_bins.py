"""Bins of images and cubes: edges in time and wavelength, and which bin a photon is in.  Every bin is half-open, ``[edge, next edge)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid.wavelength_solution import HC_EV_NM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_BINS = 100_000
_CELLS_PER_BIN = 64
_MARGIN = 0.25  # of a cell, for rounding
_BEFORE = 2  # cells of the table before the first edge
_UNSURE = -2
OUTSIDE = -1
"""Bin of a photon that is in none, or has no wavelength."""


@dataclass(frozen=True)
class WavelengthBins:
    """Edges in nm, ascending, and in what they are evenly spaced: "energy", "wavelength", "resolution", or "one" for a single bin."""

    edges_nm: Floats
    spacing: str

    @property
    def n(self) -> int:
        return self.edges_nm.size - 1

    @property
    def centres_nm(self) -> Floats:
        """Middles of the bins; in energy where the spacing is in energy."""
        if self.spacing == "energy":
            energy: Floats = HC_EV_NM / self.edges_nm
            return 2 * HC_EV_NM / (energy[1:] + energy[:-1])
        return (self.edges_nm[1:] + self.edges_nm[:-1]) / 2


def _checked(start_nm: float, stop_nm: float) -> None:
    if not 0 < start_nm < stop_nm < np.inf:
        raise Refused(f"wavelengths from {start_nm} to {stop_nm} nm are no window")


def one_window(start_nm: float, stop_nm: float) -> WavelengthBins:
    """A single bin."""
    _checked(start_nm, stop_nm)
    return WavelengthBins(np.array([start_nm, stop_nm], dtype=np.float64), "one")


def constant_energy(start_nm: float, stop_nm: float, width_ev: float) -> WavelengthBins:
    """As many bins of equal width in energy as fit whole into the window; they fill it (n = int((E0 - E1) / width))."""
    _checked(start_nm, stop_nm)
    high, low = HC_EV_NM / start_nm, HC_EV_NM / stop_nm
    n = _number((high - low) / width_ev if width_ev > 0 else 0.0, f"{width_ev} eV")
    edges: Floats = HC_EV_NM / np.linspace(high, low, n + 1)
    edges[0], edges[-1] = start_nm, stop_nm
    return WavelengthBins(edges, "energy")


def constant_wavelength(start_nm: float, stop_nm: float, width_nm: float) -> WavelengthBins:
    """As many bins of equal width in wavelength as fit whole into the window; they fill it."""
    _checked(start_nm, stop_nm)
    n = _number((stop_nm - start_nm) / width_nm if width_nm > 0 else 0.0, f"{width_nm} nm")
    return WavelengthBins(np.linspace(start_nm, stop_nm, n + 1), "wavelength")


def resolution_matched(start_nm: float, stop_nm: float, wavelengths_nm: Floats, resolution: Floats) -> WavelengthBins:
    """Two bins an element of resolution: steps of ``wavelength / R / 2``, R interpolated in wavelength and held beyond its ends.

    ``RejectedInput`` is for the caller to say when R is not known; ``Refused`` when no resolution is positive.
    """
    _checked(start_nm, stop_nm)
    known = np.isfinite(resolution) & (resolution > 0)
    if not known.any():
        raise Refused("the energy resolution is not known, so bins cannot be matched to it")
    order = np.argsort(wavelengths_nm[known])
    edges = [start_nm]
    while edges[-1] < stop_nm and len(edges) <= _MOST_BINS:
        r = float(np.interp(edges[-1], wavelengths_nm[known][order], resolution[known][order]))
        edges.append(edges[-1] * (1 + 0.5 / r))
    stretched = start_nm + (np.array(edges) - start_nm) * (stop_nm - start_nm) / (edges[-1] - start_nm)  # the last one ends with the window
    return WavelengthBins(stretched, "resolution")


def _number(wanted: float, width: str) -> int:
    n = int(wanted + 1e-9)
    if not 1 <= n <= _MOST_BINS:
        raise Refused(f"bins of {width} do not divide the window into 1 to {_MOST_BINS} bins")
    return n


def time_edges(start_us: int, stop_us: int, step_us: int | None = None) -> Ints:
    """Edges of steps from ``start_us`` on; the last one may be shorter, and ends with the window.  None: one step."""
    if stop_us <= start_us:
        raise Refused("the window ends before it begins")
    step = stop_us - start_us if step_us is None else step_us
    if step <= 0 or (stop_us - start_us) / step > _MOST_BINS:
        raise Refused(f"steps of {step / 1e6} s do not divide the window into 1 to {_MOST_BINS} steps")
    edges = np.arange(start_us, stop_us, step, dtype=np.int64)
    return np.append(edges, stop_us)


def time_bins(time_us: Ints, edges_us: Ints) -> NDArray[np.int64]:
    """Bin of every time, all of which are within the edges."""
    widths = np.diff(edges_us)
    if edges_us.size == 2:
        return np.zeros(time_us.size, dtype=np.int64)
    if (widths[:-1] == widths[0]).all() and widths[-1] <= widths[0]:
        steps: Ints = (time_us - edges_us[0]) // int(widths[0])
        return steps
    return np.searchsorted(edges_us, time_us, side="right").astype(np.int64) - 1


class Binner:
    """Numbers of bins for many values: a table of fine cells, and a search for those whose cell holds an edge or is near one."""

    def __init__(self, edges: Floats) -> None:
        self._edges = edges
        self._n_cells = min(max(edges.size * _CELLS_PER_BIN, 256), 1 << 16)
        self._scale = self._n_cells / float(edges[-1] - edges[0])
        self._offset = _BEFORE - float(edges[0]) * self._scale
        cells = np.arange(self._n_cells)
        low, high = (
            np.searchsorted(edges, edges[0] + (cells + margin) / self._scale, side="right") - 1 for margin in (-_MARGIN, 1 + _MARGIN)
        )
        sure = np.where((low == high) & (low >= 0) & (high < edges.size - 1), low, _UNSURE)
        self._table = np.concatenate([[OUTSIDE, _UNSURE], sure, [_UNSURE, OUTSIDE]]).astype(np.int32)

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.int32]:
        """Bin of each value; :data:`OUTSIDE` beyond the edges and for NaN."""
        kind = values.dtype if self._is_fine(values.dtype) else np.dtype(np.float64)
        if not self._is_fine(kind):
            return self._searched(values)
        with np.errstate(invalid="ignore", over="ignore"):
            place = values.astype(kind, copy=False) * kind.type(self._scale)
            place += kind.type(self._offset)
            cell = place.astype(np.int32)  # NaN and what is too great become the least number
        found: NDArray[np.int32] = np.take(self._table, cell, mode="clip")
        unsure = np.flatnonzero(found == _UNSURE)
        found[unsure] = self._searched(values[unsure])
        return found

    def _is_fine(self, kind: np.dtype[Any]) -> bool:
        """Whether rounding moves values by less than the margin."""
        largest = float(np.abs(self._edges).max()) * self._scale + self._n_cells
        return 8 * float(np.finfo(kind).eps) * largest < _MARGIN

    def _searched(self, values: NDArray[np.floating]) -> NDArray[np.int32]:
        found = np.searchsorted(self._edges, values.astype(np.float64), side="right") - 1
        found[found >= self._edges.size - 1] = OUTSIDE  # NaN is sorted behind everything
        return found.astype(np.int32)
