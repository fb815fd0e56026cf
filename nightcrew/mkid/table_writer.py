"""Writing photon tables: one pass, a slab of time at a time, each slab in order of pixel and time.

A table that is in order of pixel as a whole cannot be read by time without unpacking all of it, and cannot be written without a second
pass.  So rows are in order of *slab of time*, pixel, time; the index says where each pixel begins in each slab.  A pixel is one
short read a slab, a range of time is a contiguous read, and memory is that of one slab however long the exposure is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import TransientError
from nightcrew.io.atomic import NewFile
from nightcrew.io.hdf5 import trust
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid import words as w
from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.columns import ColumnWriter
from nightcrew.mkid.order import by_pixel
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.silences import Silences

FORMAT, VERSION = "nightcrew photon table", 1
_SLAB_ROWS = 1 << 21  # aimed at
_MOST_ROWS = 1 << 22  # a slab is closed here at the latest
_LAG_US = 50_000  # boards are not that far behind each other
_PERIODS_S = tuple(2.0**power for power in range(6, -7, -1))
_INDEX_SLABS, _INDEX_PIXELS = 64, 512  # chunk of the index

Attribute = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class TableHead:
    """What is known of a table before its photons; the window is half-open, in Unix microseconds."""

    start_us: int
    stop_us: int
    beam_map: BeamMap
    data_path: str = ""  # the folder's name, no absolute path
    dead_time_us: float = 10.0
    min_wavelength_nm: float = 700.0
    max_wavelength_nm: float = 1500.0
    energy_bin_ev: float = 0.1
    exposure: Mapping[str, Attribute] = field(default_factory=dict)  # from the observing log

    def attributes(self) -> dict[str, Attribute | list[str]]:
        """Attributes of the file.  Calibrations are applied on reading and never written here, so their places stay empty."""
        return {
            **dict(self.exposure),
            "format": FORMAT,
            "format_version": VERSION,
            "start_unix_us": self.start_us,
            "stop_unix_us": self.stop_us,
            "UNIXSTR": self.start_us / 1e6,
            "UNIXEND": self.stop_us / 1e6,
            "EXPTIME": (self.stop_us - self.start_us) / 1e6,
            "E_BMAP": self.beam_map.name,
            "beam_map_sha256": self.beam_map.sha256,
            "data_path": self.data_path,
            "flags": list(f.FLAGS),
            "dead_time": self.dead_time_us,
            "min_wavelength": self.min_wavelength_nm,
            "max_wavelength": self.max_wavelength_nm,
            "energy_resolution": self.energy_bin_ev,
            **dict.fromkeys(("wavecal", "flatcal", "speccal"), ""),
            **dict.fromkeys(("pixcal", "lincal", "cosmiccal"), False),
        }


def slab_period_us(photons_per_s: float) -> int:
    """How much time a slab should hold: a power of two of seconds with some two million photons."""
    fitting = (period for period in _PERIODS_S if period * photons_per_s <= _SLAB_ROWS)
    return round(next(fitting, _PERIODS_S[-1]) * 1e6)


def write_table(
    final: Path,
    head: TableHead,
    photons: Iterable[Photons],
    *,
    report: Callable[[], Mapping[str, object]],
    inputs: Callable[[], list[tuple[int, int, str]]],
    silences: Callable[[], Silences] | None = None,
    expected_per_s: float = 0.0,
) -> int:
    """Write a table and return the number of its photons.

    ``report``, ``inputs`` (second, size, sha256) and ``silences`` are asked for when the photons have ended.  The file appears whole or
    not at all, and never in place of another (:class:`nightcrew.io.atomic.NewFile`).
    """
    import h5py

    with NewFile(final) as new:
        try:
            with h5py.File(new.part, "w", libver=("v110", "v110")) as file:
                writer = _TableWriter(file, head, slab_period_us(expected_per_s))
                for block in photons:
                    writer.add(block)
                writer.close(report(), inputs(), silences() if silences else None)
        except OSError as error:
            if error.errno is None:  # HDF5 keeps the number to itself
                raise TransientError(f"{shown(final)}: cannot be written now ({error})") from error
            raise
    trust(final)
    return writer.n_photons


@dataclass(frozen=True)
class _Waiting:
    """Photons that wait for their slab; times since the start of the table."""

    pixel: NDArray[np.int32]
    time_us: NDArray[np.int64]
    word: w.Words
    latest_us: int
    earliest_us: int

    @classmethod
    def of(cls, pixel: NDArray[np.int32], time_us: NDArray[np.int64], word: w.Words) -> _Waiting:
        return cls(pixel, time_us, word, int(time_us.max()), int(time_us.min()))

    def chosen(self, which: NDArray[np.bool_]) -> _Waiting:
        return _Waiting.of(self.pixel[which], self.time_us[which], self.word[which])


class _TableWriter:
    def __init__(self, file: Any, head: TableHead, period_us: int) -> None:
        self.n_photons = 0
        self._file, self._head, self._period_us = file, head, period_us
        self._waiting: list[_Waiting] = []
        self._newest_us = 0
        self._boundary_us = period_us
        self._resid = head.beam_map.resid.ravel()
        self._columns = _columns(file, head)
        self._index = _Index(file, self._resid.size)
        file.attrs.update(head.attributes())
        _write_beam_map(file, head.beam_map)

    def add(self, photons: Photons) -> None:
        if len(photons):
            block = _Waiting.of(photons.pixel, photons.time_us - self._head.start_us, photons.word)
            self._waiting.append(block)
            self._newest_us = max(self._newest_us, block.latest_us)
        while self._waiting and self._newest_us >= self._boundary_us + _LAG_US:
            self._close_slab(self._boundary_us)
            earliest_us = min((block.earliest_us for block in self._waiting), default=self._newest_us)
            self._boundary_us = max(self._boundary_us, earliest_us // self._period_us * self._period_us) + self._period_us
        if sum(block.pixel.size for block in self._waiting) >= _MOST_ROWS:
            self._close_slab(None)

    def close(self, report: Mapping[str, object], inputs: list[tuple[int, int, str]], silences: Silences | None) -> None:
        self._close_slab(None)
        for column in self._columns.values():
            column.close()
        self._index.close()
        rows = np.array(inputs, dtype=[("second", "i8"), ("size", "i8"), ("sha256", "S64")])
        self._file.create_dataset("inputs", data=rows)
        self._file.create_dataset("report", data=json.dumps(report, sort_keys=True, allow_nan=False))
        if silences is not None:
            _write_boards(self._file, silences)
        self._file.attrs["photons"] = self.n_photons

    def _close_slab(self, boundary_us: int | None) -> None:
        """Write what is before the boundary; the rest goes on waiting."""
        taken: list[_Waiting] = []
        kept: list[_Waiting] = []
        for block in self._waiting:
            if boundary_us is None or block.latest_us < boundary_us:
                taken.append(block)
            elif block.earliest_us >= boundary_us:
                kept.append(block)
            else:
                early = block.time_us < boundary_us
                taken.append(block.chosen(early))
                kept.append(block.chosen(~early))
        self._waiting = kept
        if taken:
            self._write_slab(taken)

    def _write_slab(self, blocks: list[_Waiting]) -> None:
        pixel, time_us, word = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("pixel", "time_us", "word"))
        slab = by_pixel(pixel, time_us, word, self._resid.size)
        self._columns["resid"].append(np.repeat(self._resid, np.diff(slab.first)))
        self._columns["time_us"].append(slab.time_us)
        self._columns["phase"].append(w.phases(slab.word))
        self._columns["baseline"].append(w.unsigned_baselines(slab.word))
        self._index.append(slab.first + self.n_photons, min(b.earliest_us for b in blocks), max(b.latest_us for b in blocks))
        self.n_photons += slab.time_us.size


def _columns(file: Any, head: TableHead) -> dict[str, ColumnWriter]:
    group = file.create_group("photons")
    time = np.uint32 if head.stop_us - head.start_us <= 1 << 32 else np.uint64
    angle = "in steps; degrees = (value - zero) * degree_per_unit"
    phase = {"about": f"pulse height {angle}", "degree_per_unit": w.DEGREE_PER_PHASE_UNIT, "zero": 0}
    baseline = {"about": f"phase before the pulse {angle}", "degree_per_unit": w.DEGREE_PER_BASELINE_UNIT, "zero": w.BASELINE_ZERO}
    return {
        "resid": ColumnWriter(group, "resid", np.uint32, {"about": "resonator"}),
        "time_us": ColumnWriter(group, "time_us", time, {"about": "time since start_unix_us", "units": "us"}),
        "phase": ColumnWriter(group, "phase", np.int32, phase),
        "baseline": ColumnWriter(group, "baseline", np.uint32, baseline),
    }


def _write_beam_map(file: Any, beam_map: BeamMap) -> None:
    group = file.create_group("beammap")
    group.attrs["about"] = "arrays are [y, x]; bits of flag are named, from bit 0 on, by the attribute flags of the file"
    for name, values in (("map", beam_map.resid), ("flag", beam_map.flag)):
        group.create_dataset(name, data=values, compression="gzip", compression_opts=1, shuffle=True)


def _write_boards(file: Any, silences: Silences) -> None:
    group = file.create_group("boards")
    board = group.create_dataset("of_pixel", data=silences.board, compression="gzip", compression_opts=1, shuffle=True)
    board.attrs["about"] = "[y, x]: board that reads the pixel, learnt from its first photon; -1: no photon came"
    rows = group.create_dataset("silences", data=silences.rows)
    rows.attrs["about"] = "[n, 3]: board, begin and end (Unix time in us) of a stretch in which others sent frames and this one did not"


class _Index:
    """Where each pixel begins in each slab, and when each slab was."""

    def __init__(self, file: Any, n_pixels: int) -> None:
        group = file.create_group("index")
        chunk = (_INDEX_SLABS, min(_INDEX_PIXELS, n_pixels + 1))
        self._first = group.create_dataset(
            "first_row", (0, n_pixels + 1), np.uint64, maxshape=(None, n_pixels + 1), chunks=chunk, compression="gzip", shuffle=True
        )
        self._first.attrs["about"] = "[slab, pixel]: first row of the pixel y * columns + x; the last column is the end of the slab"
        self._group = group
        self._rows: list[NDArray[np.int64]] = []
        self._times_us: list[tuple[int, int]] = []

    def append(self, first: NDArray[np.int64], earliest_us: int, latest_us: int) -> None:
        self._rows.append(first)
        self._times_us.append((earliest_us, latest_us))
        if len(self._rows) == _INDEX_SLABS:
            self._write()

    def close(self) -> None:
        self._write()
        times = self._group.create_dataset("slab_us", data=np.array(self._times_us, dtype=np.uint64).reshape(-1, 2))
        times.attrs["about"] = "[slab, 2]: times of the first and the last photon, since start_unix_us"

    def _write(self) -> None:
        done = self._first.shape[0]
        self._first.resize(done + len(self._rows), axis=0)
        if self._rows:
            self._first[done:] = np.stack(self._rows).astype(np.uint64)
        self._rows = []
