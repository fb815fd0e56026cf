"""Reading photon tables: any range of pixels or time, and nothing else of the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.hdf5 import open_hdf5, sound
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.live_time import lost_of, overlap_us, seen_s
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.table_writer import FORMAT, VERSION
from nightcrew.mkid.words import BASELINE_ZERO, DEGREE_PER_BASELINE_UNIT, DEGREE_PER_PHASE_UNIT

_COLUMNS = ("time_us", "phase", "baseline")
_MOST_BYTES = 1 << 31  # of an index or a beam map
_INDEX_SLABS = 64  # of the index that are read together: its chunks are that high


@dataclass(frozen=True)
class PixelPhotons:
    """Photons of the pixels ``first_pixel``..., in order of pixel, then time.

    Those of the k-th pixel are the rows ``first[k]:first[k + 1]``.  ``time_us`` counts from the start of the table; ``phase`` and
    ``baseline`` are the raw integers.
    """

    first_pixel: int
    first: NDArray[np.int64]
    time_us: NDArray[np.int64]
    phase: NDArray[np.int32]
    baseline: NDArray[np.int32]
    slabs: tuple[int, ...] = ()  # of the table that these are all photons of, as far as the pixels go; none where a part was read

    def __len__(self) -> int:
        return self.time_us.size

    @property
    def counts(self) -> NDArray[np.int64]:
        """Photons of each pixel."""
        return np.diff(self.first)

    @property
    def pixel(self) -> NDArray[np.int32]:
        """Pixel number, y * columns + x, of every row."""
        return np.repeat(np.arange(self.first_pixel, self.first_pixel + self.first.size - 1, dtype=np.int32), self.counts)

    @property
    def phase_deg(self) -> NDArray[np.float32]:
        """Pulse heights in degrees."""
        return self.phase * np.float32(DEGREE_PER_PHASE_UNIT)

    @property
    def baseline_deg(self) -> NDArray[np.float32]:
        """Baselines in degrees."""
        return self.baseline * np.float32(DEGREE_PER_BASELINE_UNIT)

    def between(self, start_us: int, stop_us: int) -> PixelPhotons:
        """Those of a half-open range of times."""
        keep = (self.time_us >= start_us) & (self.time_us < stop_us)
        before = np.zeros(keep.size + 1, dtype=np.int64)
        np.cumsum(keep, out=before[1:])
        return PixelPhotons(self.first_pixel, before[self.first], self.time_us[keep], self.phase[keep], self.baseline[keep])


class PhotonTable:
    """A photon table, open for reading.  Use as a context manager.

    Raises :class:`RejectedInput` when the file is no photon table or is damaged, :class:`TransientError` when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: Any = open_hdf5(path)
        except RejectedInput as error:
            raise RejectedInput(f"{error}, so no photon table") from error
        try:
            with sound(path):
                self._check()
        except RejectedInput:
            self._file.close()
            raise

    def __enter__(self) -> PhotonTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _check(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT:
            raise RejectedInput(f"{shown(self.path)}: is an HDF5 file, but no photon table")
        if int(attributes.get("format_version", 0)) != VERSION:
            raise RejectedInput(f"{shown(self.path)}: has format {attributes.get('format_version')}, this program reads {VERSION}")
        whole = ("index/slab_us", "beammap/map", "beammap/flag", "inputs", "report")
        parts = (*(f"photons/{name}" for name in _COLUMNS), "index/first_row", *whole)
        try:
            found = {part: self._file[part] for part in parts}
        except KeyError as error:
            absent = [part for part in parts if part not in self._file]
            raise RejectedInput(f"{shown(self.path)}: is damaged, it has no {', '.join(absent)}") from error
        self.start_us, self.stop_us = int(attributes["start_unix_us"]), int(attributes["stop_unix_us"])
        for part in whole:
            if found[part].nbytes > _MOST_BYTES:  # a small file may unpack to anything
                raise RejectedInput(f"{shown(self.path)}: is damaged, {part} claims {found[part].nbytes} bytes")
        rows, columns = found["beammap/map"].shape
        self.shape: tuple[int, int] = (rows, columns)
        self.n_pixels = self.shape[0] * self.shape[1]
        self.n_photons = int(attributes["photons"])
        self._columns = [found[f"photons/{name}"] for name in _COLUMNS]
        self._first_row = found["index/first_row"]
        self._slab_us: NDArray[np.int64] = found["index/slab_us"][:].astype(np.int64)
        self._check_shapes(found)

    def _check_shapes(self, found: dict[str, Any]) -> None:
        """What belongs together has the same size, and holds integers; TypeError otherwise."""
        slabs = self._slab_us.shape[0]
        wanted: dict[str, tuple[int, ...]] = {
            "index/slab_us": (slabs, 2),
            "index/first_row": (slabs, self.n_pixels + 1),
            "beammap/map": self.shape,
            "beammap/flag": self.shape,
        }
        wanted |= {f"photons/{name}": (self._columns[0].shape[0],) for name in _COLUMNS}
        for name, shape in wanted.items():
            if found[name].shape != shape or found[name].dtype.kind not in "iu":
                raise TypeError(f"{name} holds {found[name].shape} of type {found[name].dtype} instead of {shape} integers")

    @property
    def attributes(self) -> dict[str, Any]:
        """All attributes, numbers and texts as Python has them."""
        with sound(self.path):
            return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in sorted(self._file.attrs.items())}

    @cached_property
    def resid(self) -> NDArray[np.uint32]:
        """Resonator of every pixel [y, x]; 0 where none is."""
        with sound(self.path):
            return np.asarray(self._file["beammap/map"][:])

    @cached_property
    def flag(self) -> NDArray[np.uint32]:
        """Flags [y, x] in today's bits (:mod:`nightcrew.mkid.flags`), decoded by the names in the file."""
        with sound(self.path):
            return f.named(self._file["beammap/flag"][:], [str(name) for name in self._file.attrs["flags"]])

    @property
    def report(self) -> dict[str, Any]:
        """What was lost or missing when the table was made."""
        with sound(self.path):
            values = json.loads(self._file["report"][()])
        if not isinstance(values, dict):
            raise RejectedInput(f"{shown(self.path)}: is damaged, its report is none")
        return values

    @cached_property
    def lost(self) -> NDArray[np.int64]:
        """Stretches [n, 2] of Unix microseconds that the readout did not see, in order and apart."""
        with sound(self.path):
            return lost_of(self.report)

    @cached_property
    def silences(self) -> Silences:
        """Boards that were silent while others were not, and their pixels; nothing in a table that knows of no boards."""
        with sound(self.path):
            if "boards/of_pixel" not in self._file or "boards/silences" not in self._file:
                return Silences.none(self.shape)
            board, rows = self._file["boards/of_pixel"], self._file["boards/silences"]
            if board.shape != self.shape or rows.ndim != 2 or rows.shape[1] != 3 or rows.nbytes > _MOST_BYTES:
                raise RejectedInput(f"{shown(self.path)}: is damaged, its boards are of another array")
            return Silences(board[:].astype(np.int16), rows[:].astype(np.int64))

    @property
    def live_s(self) -> float:
        """Length of the window, less what the readout did not see; a board's own silences are not taken off."""
        return (self.stop_us - self.start_us - overlap_us(self.lost, self.start_us, self.stop_us)) / 1e6

    @cached_property
    def seen_s(self) -> NDArray[np.float64]:
        """Seconds [y, x] of the window in which each pixel was read out: gaps of the readout and silences of its board taken off."""
        return seen_s((self.start_us, self.stop_us), self.lost, self.silences)

    @property
    def inputs(self) -> list[tuple[int, int, str]]:
        """(second, size, sha256) of every file that the table was made from."""
        with sound(self.path):
            return [(int(second), int(size), digest.decode()) for second, size, digest in self._file["inputs"][:].tolist()]

    def counts(self, start_us: int = 0, stop_us: int | None = None) -> NDArray[np.int64]:
        """Photons of every pixel [y, x] in a half-open range of times since the start; from the index alone where a slab is within it."""
        stop_us = self.stop_us - self.start_us if stop_us is None else stop_us
        total = np.zeros(self.n_pixels, dtype=np.int64)
        for slab, first in self._index(self.slabs_of(start_us, stop_us), range(self.n_pixels)):
            low_us, high_us = self.slab_us(slab)
            whole = low_us >= start_us and high_us < stop_us
            total += np.diff(first if whole else self._within(first, start_us, stop_us)[0])
        return total.reshape(self.shape)

    def time_slabs(self, start_us: int, stop_us: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(first, time_us) of :meth:`slabs` of all pixels; the other columns are not read."""
        for _, first in self._index(self.slabs_of(start_us, stop_us), range(self.n_pixels)):
            yield self._within(first, start_us, stop_us)

    def slabs_of(self, start_us: int, stop_us: int) -> list[int]:
        """Slabs with photons that may lie in a half-open range of times since the start."""
        found: list[int] = np.flatnonzero((self._slab_us[:, 0] < stop_us) & (self._slab_us[:, 1] >= start_us)).tolist()
        return found

    def slab_us(self, slab: int) -> tuple[int, int]:
        """Times of the first and the last photon of a slab."""
        return int(self._slab_us[slab, 0]), int(self._slab_us[slab, 1])

    def pixel_counts(self, slabs: list[int], pixels: range) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Photons of each of ``pixels`` in each of ``slabs``, from the index alone."""
        for slab, first in self._index(slabs, pixels):
            yield slab, np.diff(first)

    def pixel_times(self, slab: int, pixels: range) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(first, time_us) of ``pixels`` in a slab; the other columns are not read."""
        ((_, first),) = self._index([slab], pixels)
        return first - first[0], self._column(self._columns[0], int(first[0]), int(first[-1])).astype(np.int64)

    def _index(self, slabs: list[int], pixels: range) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """First rows of ``pixels``, and their end, of each of ``slabs``, which ascend; some of the index is held at a time."""
        for _, group in itertools.groupby(slabs, key=lambda slab: slab // _INDEX_SLABS):
            wanted = list(group)
            with sound(self.path):
                rows = self._first_row[wanted[0] : wanted[-1] + 1, pixels.start : pixels.stop + 1].astype(np.int64)
            if rows.size and ((rows[:, 1:] < rows[:, :-1]).any() or rows.min() < 0 or rows.max() > self._columns[0].shape[0]):
                raise RejectedInput(f"{shown(self.path)}: is damaged, its index does not ascend within the photons")
            for slab in wanted:
                yield slab, rows[slab - wanted[0]]

    def _within(self, first: NDArray[np.int64], start_us: int, stop_us: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of each pixel, and their times, of a slab within a range of times."""
        time_us = self._column(self._columns[0], int(first[0]), int(first[-1])).astype(np.int64)
        keep = (time_us >= start_us) & (time_us < stop_us)
        if keep.all():
            return first - first[0], time_us
        before = np.zeros(keep.size + 1, dtype=np.int64)
        np.cumsum(keep, out=before[1:])
        return before[first - first[0]], time_us[keep]

    def _column(self, column: Any, start: int, stop: int) -> NDArray[Any]:
        try:
            values: NDArray[Any] = column[start:stop]
        except OSError as error:
            raise RejectedInput(f"{shown(self.path)}: is damaged, rows {start} to {stop} cannot be unpacked ({error})") from error
        if values.size != stop - start:
            raise RejectedInput(f"{shown(self.path)}: is damaged, rows {start} to {stop} are not all there")
        return values

    def read(self, pixels: range | None = None, start_us: int = 0, stop_us: int | None = None) -> PixelPhotons:
        """Photons of a range of pixels and a half-open range of times since the start; all of them by default."""
        return _merged(list(self.slabs(pixels, start_us, stop_us)), self._range(pixels))

    def slabs(self, pixels: range | None = None, start_us: int = 0, stop_us: int | None = None) -> Iterator[PixelPhotons]:
        """The same as :meth:`read`, one slab of time after the other, so in bounded memory."""
        wanted = self._range(pixels)
        stop_us = self.stop_us - self.start_us if stop_us is None else stop_us
        for slab, first in self._index(self.slabs_of(start_us, stop_us), wanted):
            low_us, high_us = self.slab_us(slab)
            if low_us >= start_us and high_us < stop_us:
                yield self._rows(wanted.start, first, (slab,))
            else:
                yield self._rows(wanted.start, first, ()).between(start_us, stop_us)

    def _range(self, pixels: range | None) -> range:
        wanted = range(self.n_pixels) if pixels is None else pixels
        if wanted.step != 1 or not 0 <= wanted.start <= wanted.stop <= self.n_pixels:
            raise Refused(f"pixels are a range within 0..{self.n_pixels}, not {wanted}")
        return wanted

    def _rows(self, first_pixel: int, first: NDArray[np.int64], slabs: tuple[int, ...]) -> PixelPhotons:
        start, stop = int(first[0]), int(first[-1])
        time_us, phase, stored = (self._column(column, start, stop) for column in self._columns)
        baseline = stored.view(np.int32)
        baseline -= BASELINE_ZERO
        return PixelPhotons(first_pixel, first - start, time_us.astype(np.int64), phase, baseline, slabs)


def _merged(parts: list[PixelPhotons], wanted: range) -> PixelPhotons:
    """Slabs into one: each pixel's rows one after the other, in order of time."""
    if len(parts) == 1:
        return parts[0]
    counts = np.array([part.counts for part in parts], dtype=np.int64).reshape(len(parts), len(wanted))
    first = np.concatenate([[0], np.cumsum(counts.sum(axis=0))]).astype(np.int64)
    begins = first[:-1] + np.cumsum(counts, axis=0) - counts
    size = int(first[-1])
    slabs = tuple(slab for part in parts for slab in part.slabs) if all(part.slabs for part in parts) else ()
    if len(wanted) == 1 and parts:
        time_us, phase, baseline = (np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS)
        found = PixelPhotons(wanted.start, first, time_us, phase, baseline, slabs)
        _mend(found)
        return found
    found = PixelPhotons(wanted.start, first, np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int32), slabs)
    for part, begin in zip(parts, begins, strict=True):
        places = np.arange(len(part)) + np.repeat(begin - part.first[:-1], part.counts)
        for name in _COLUMNS:
            getattr(found, name)[places] = getattr(part, name)
    _mend(found)
    return found


def _mend(photons: PixelPhotons) -> None:
    """Slabs overlap a little where boards were late: sort the pixels whose times go back."""
    back = np.flatnonzero(photons.time_us[1:] < photons.time_us[:-1]) + 1
    owner = np.searchsorted(photons.first, back, side="right") - 1
    for pixel in np.unique(owner[photons.first[owner] != back]).tolist():
        rows = slice(photons.first[pixel], photons.first[pixel + 1])
        order = np.argsort(photons.time_us[rows], kind="stable")
        for name in _COLUMNS:
            getattr(photons, name)[rows] = getattr(photons, name)[rows][order]
