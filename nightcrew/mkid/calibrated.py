"""Photon tables as calibrated photons: wavelength, weight, masks and exposure, worked out on reading.

The table is never touched.  Replacing a calibration changes what is read the next time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.flat_solution import FlatSolution, read_flat_solution
from nightcrew.mkid.linearity import linearity_weights
from nightcrew.mkid.live_time import Stretches, exposure_s, joined, lost_by_board
from nightcrew.mkid.mask_solution import CosmicRays, PixelMasks, read_cosmic_rays, read_pixel_masks
from nightcrew.mkid.photon_table import PhotonTable, PixelPhotons
from nightcrew.mkid.photon_values import flat_weights, wavelengths_nm
from nightcrew.mkid.registered import checked_step_s, registered
from nightcrew.mkid.solution_file import COSMIC, FLAT, MASKS, WAVELENGTH, kind_of, places_of
from nightcrew.mkid.solution_match import check_arrays
from nightcrew.mkid.wavelength_solution import WavelengthSolution, read_wavelength_solution


@dataclass(frozen=True)
class CalibratedPhotons:
    """Photons in order of pixel, then time, as columns of equal length.

    Those of the k-th pixel from ``first_pixel`` on are the rows ``first[k]:first[k + 1]``.  Masked photons are not among them.
    """

    first_pixel: int
    first: NDArray[np.int64]
    resid: NDArray[np.uint32]
    time_us: NDArray[np.int64]  # since the start of the table
    wavelength_nm: NDArray[np.float32]  # NaN where the pixel has no solution, or the pulse lies where it means nothing
    weight: NDArray[np.float32]  # flat field times linearity; 1 without them
    phase_deg: NDArray[np.float32]  # raw pulse height

    def __len__(self) -> int:
        return self.time_us.size

    @property
    def pixel(self) -> NDArray[np.int32]:
        """Pixel number, y * columns + x, of every row."""
        return np.repeat(np.arange(self.first_pixel, self.first_pixel + self.first.size - 1, dtype=np.int32), np.diff(self.first))


@dataclass(frozen=True, kw_only=True)
class Calibrations:
    """What a table is read with; None is "without"."""

    wavelength: WavelengthSolution | None = None
    flat: FlatSolution | None = None
    masks: PixelMasks | None = None
    cosmic: CosmicRays | None = None
    linearity_step_s: float | None = None  # photons are weighted by 1 / (1 - rate * dead time), rates taken in such steps

    def resonators(self) -> dict[str, NDArray[np.uint32]]:
        """Resonators [y, x] of each calibration that belongs to an array, by what it is."""
        parts = {WAVELENGTH: self.wavelength, FLAT: self.flat, MASKS: self.masks}
        return {what: one.resid for what, one in parts.items() if one is not None}


def read_calibrations(paths: Sequence[Path], *, linearity_step_s: float | None = None) -> Calibrations:
    """Calibrations from files, each told by what it holds; ``Refused`` for two of one kind."""
    found: dict[str, Path] = {}
    for path in paths:
        if (kind := kind_of(path)) in found:
            raise Refused(f"{shown(path)}: there is a {kind} already, {shown(found[kind])}")
        found[kind] = path
    return Calibrations(
        wavelength=read_wavelength_solution(found[WAVELENGTH]) if WAVELENGTH in found else None,
        flat=read_flat_solution(found[FLAT]) if FLAT in found else None,
        masks=read_pixel_masks(found[MASKS]) if MASKS in found else None,
        cosmic=read_cosmic_rays(found[COSMIC]) if COSMIC in found else None,
        linearity_step_s=linearity_step_s,
    )


def open_calibrated(
    table_path: Path, solutions: Sequence[Path] | Calibrations | None = None, *, linearity_step_s: float | None = None
) -> CalibratedTable:
    """A photon table with its calibrations, open for reading; use as a context manager.

    ``solutions`` are files of wavelength solution, flat field, pixel masks and cosmic rays, in any order, or calibrations that were read
    already; None takes those that ``nightcrew mkid apply`` registered for the table.  ``linearity_step_s`` weights each photon with
    1 / (1 - rate * dead time), the rate of its pixel taken in steps of so many seconds.  :class:`RejectedInput` when a calibration is of
    another array than the table.
    """
    if solutions is None:
        noted = registered(table_path)
        solutions, linearity_step_s = noted.solutions, linearity_step_s or noted.linearity_step_s
    read = solutions if isinstance(solutions, Calibrations) else read_calibrations(solutions, linearity_step_s=linearity_step_s)
    checked_step_s(read.linearity_step_s)
    table = PhotonTable(table_path)
    try:
        return CalibratedTable(table, read)
    except RejectedInput:
        table.__exit__()
        raise


class CalibratedTable:
    """Calibrated photons of a table.  Times count from the start of the table, ``start_us`` in Unix microseconds; images are [y, x]."""

    def __init__(self, table: PhotonTable, calibrations: Calibrations) -> None:
        check_arrays(table, calibrations.resonators())
        self.table, self.calibrations = table, calibrations
        self.shape, self.n_pixels = table.shape, table.n_pixels
        self.start_us, self.stop_us = table.start_us, table.stop_us
        self.dead_time_us = float(table.attributes.get("dead_time", 0.0))
        self._lost = table.lost

    def __enter__(self) -> CalibratedTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.table.__exit__(kind, error, trace)

    @property
    def duration_s(self) -> float:
        """Length of the table's window."""
        return (self.stop_us - self.start_us) / 1e6

    @property
    def resid(self) -> NDArray[np.uint32]:
        """Resonators [y, x]."""
        return self.table.resid

    @cached_property
    def flag(self) -> NDArray[np.uint32]:
        """Flags [y, x] of the beam map and of every calibration, in bits of :mod:`nightcrew.mkid.flags`."""
        flag = self.table.flag.copy()
        parts = self.calibrations
        known = (
            (parts.wavelength, parts.wavelength.flag if parts.wavelength else None, ("wavecal.bad", "wavecal.not_attempted")),
            (parts.flat, parts.flat.flag if parts.flat else None, ("flatcal.bad",)),
            (parts.masks, parts.masks.flag() if parts.masks else None, ()),
        )
        for solution, bits, without in known:
            if solution is not None and bits is not None:
                place = places_of(self.resid, solution.resid)
                flag |= np.where(place >= 0, bits.ravel()[place], f.bits(without))
        return flag

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Pixels [y, x] without a flag of :data:`nightcrew.mkid.flags.PROBLEM`."""
        good: NDArray[np.bool_] = (self.flag & f.bits(f.PROBLEM)) == 0
        return good

    def exposure_s(self, start_us: int = 0, stop_us: int | None = None) -> NDArray[np.float64]:
        """Time [y, x] for which each pixel was read out and not masked, within a half-open range of times.

        Gaps, silences of the pixel's board, cosmic rays and the steps of the pixel mask are taken off; dead time is not, since the
        linearity weight is for it (:meth:`live_s` for exposures without that weight).
        """
        stop = self.stop_us - self.start_us if stop_us is None else stop_us
        window = (self.start_us + start_us, self.start_us + stop)
        return exposure_s(window, self.lost, self.table.silences, self.calibrations.masks, self.mask_places)

    def live_s(self, start_us: int = 0, stop_us: int | None = None) -> NDArray[np.float64]:
        """:meth:`exposure_s` less the dead time of the photons that were counted in it."""
        counts = np.zeros(self.n_pixels, dtype=np.int64)
        for slab in self.slabs(start_us=start_us, stop_us=stop_us):
            counts += np.diff(slab.first)
        return np.maximum(self.exposure_s(start_us, stop_us) - counts.reshape(self.shape) * self.dead_time_us / 1e6, 0.0)

    @cached_property
    def lost(self) -> Stretches:
        """Stretches [n, 2] of Unix microseconds that count for no pixel: gaps of the readout and cosmic rays."""
        cosmic = self.calibrations.cosmic
        return self._lost if cosmic is None else joined(self._lost, np.stack([cosmic.start_us, cosmic.stop_us], axis=1))

    def lost_of(self, pixel: int) -> Stretches:
        """:attr:`lost`, and the silences of the board that reads a pixel (y * columns + x)."""
        return self._lost_by_board.get(int(self.table.silences.board.ravel()[pixel]), self.lost)

    @cached_property
    def _lost_by_board(self) -> dict[int, Stretches]:
        return lost_by_board(self.lost, self.table.silences)

    def photons(self, pixels: range | None = None, start_us: int | None = None, stop_us: int | None = None) -> CalibratedPhotons:
        """Photons of a range of pixels (y * columns + x) and a half-open range of times since the start; all of them by default."""
        return self._calibrated(self.table.read(pixels, start_us or 0, stop_us))

    def slabs(self, pixels: range | None = None, start_us: int = 0, stop_us: int | None = None) -> Iterator[CalibratedPhotons]:
        """The same as :meth:`photons`, one slab of time after the other, so in bounded memory."""
        for raw in self.table.slabs(pixels, start_us, stop_us):
            yield self._calibrated(raw)

    @cached_property
    def mask_places(self) -> NDArray[np.intp]:
        """Flat places [pixel] of the pixels in the masks, -1 for those that they do not know; empty without masks."""
        masks = self.calibrations.masks
        return places_of(self.resid, masks.resid).ravel() if masks else np.empty(0, dtype=np.intp)

    def _calibrated(self, raw: PixelPhotons) -> CalibratedPhotons:
        wanted = range(raw.first_pixel, raw.first_pixel + raw.first.size - 1)
        phase_deg = raw.phase_deg
        wavelength_nm = self._wavelengths(raw, phase_deg, wanted)
        weight = self._flat_weights(raw, wavelength_nm, wanted)
        if self.calibrations.linearity_step_s is not None:
            weight *= linearity_weights(self.table, raw, round(self.calibrations.linearity_step_s * 1e6), self.dead_time_us)
        first, resid = raw.first, np.repeat(self.resid.ravel()[wanted.start : wanted.stop], raw.counts)
        keep = self._kept(raw)
        if keep is None:
            return CalibratedPhotons(raw.first_pixel, first, resid, raw.time_us, wavelength_nm, weight, phase_deg)
        before = np.concatenate([[0], np.cumsum(keep)])
        columns = (resid[keep], raw.time_us[keep], wavelength_nm[keep], weight[keep], phase_deg[keep])
        return CalibratedPhotons(raw.first_pixel, before[first], *columns)

    def _wavelengths(self, raw: PixelPhotons, phase_deg: NDArray[np.float32], wanted: range) -> NDArray[np.float32]:
        solution = self.calibrations.wavelength
        if solution is None:
            return np.full(len(raw), np.nan, dtype=np.float32)
        place = places_of(self.resid, solution.resid).ravel()[wanted.start : wanted.stop]
        chosen = solution.coefficients.reshape(-1, 3)[place]
        chosen[(place < 0) | ~solution.solved.ravel()[place]] = np.nan
        return wavelengths_nm(raw.first, phase_deg, chosen)

    @cached_property
    def _own_nm(self) -> NDArray[np.float64]:
        flat = self.calibrations.flat
        return np.empty((0, 2)) if flat is None else flat.own_nm

    def _flat_weights(self, raw: PixelPhotons, wavelength_nm: NDArray[np.float32], wanted: range) -> NDArray[np.float32]:
        flat = self.calibrations.flat
        if flat is None:
            return np.ones(len(raw), dtype=np.float32)
        place = places_of(self.resid, flat.resid).ravel()[wanted.start : wanted.stop]
        chosen = flat.coefficients.reshape(-1, flat.coefficients.shape[-1])[place]
        chosen[place < 0] = np.nan
        own_nm = self._own_nm.reshape(-1, 2)[place]  # of pixels that the flat does not know it does not matter
        return flat_weights(raw.first, wavelength_nm, chosen, flat.range_nm, own_nm)  # 1 for pixels without a weight: they are flagged

    def _kept(self, raw: PixelPhotons) -> NDArray[np.bool_] | None:
        masks, cosmic = self.calibrations.masks, self.calibrations.cosmic
        if masks is None and cosmic is None:
            return None
        unix_us = raw.time_us + self.start_us
        keep = np.ones(len(raw), dtype=np.bool_)
        if cosmic is not None and len(cosmic):
            event = np.searchsorted(cosmic.start_us, unix_us, side="right") - 1
            keep &= (event < 0) | (unix_us >= cosmic.stop_us[event])
        if masks is not None:
            place = self.mask_places[raw.pixel]
            bits = masks.bits.reshape(masks.bits.shape[0], -1)[masks.step_of(unix_us), place]
            keep &= (place < 0) | (bits == 0)
        return keep
