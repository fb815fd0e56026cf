"""A simulated MKID run as files: seconds, beam map, observing log, and the truth about them."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nightcrew.errors import Refused
from nightcrew.io.atomic import NewFile, write_text
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.simulate.mkid_array import KINDS, MkidArray, make_array, make_events
from nightcrew.simulate.mkid_frames import Events, Readout, cut
from nightcrew.simulate.mkid_plan import Exposure, MkidPlan
from nightcrew.simulate.randomness import generator

SECOND_US = 1_000_000
DATA_FOLDER, BEAM_MAP_NAME, LOG_NAME, TRUTH_NAME, TRUTH_TABLE_NAME = "data", "beammap.txt", "observing_log.csv", "truth.json", "truth.h5"
_COLUMNS = ("time_us", "board", "x", "y", "phase", "baseline")


@dataclasses.dataclass(frozen=True)
class Timed:
    """An exposure with its half-open window in Unix microseconds."""

    exposure: Exposure
    start_us: int
    stop_us: int


def timetable(plan: MkidPlan) -> list[Timed]:
    """Exposures one after the other, on whole microseconds but on no whole seconds."""
    found, now_us = [], plan.start_unix * SECOND_US
    for exposure in plan.exposures:
        now_us += round(plan.gap_s * 1e6)
        stop_us = now_us + round(exposure.duration_s * 1e6)
        found.append(Timed(exposure, now_us, stop_us))
        now_us = stop_us
    return found


def make_run(
    out: Path, plan: MkidPlan, seed: int, *, keep_photons: bool = True, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write a run into the new folder ``out`` and return its truth; the same plan and seed give the same bytes.

    ``data/YYYYMMDD/<second>.bin``, ``beammap.txt``, ``observing_log.csv``, ``truth.json`` (plan, losses, totals) and ``truth.h5`` (each
    channel, and with ``keep_photons`` each photon and whether it was delivered).  ``Refused`` when the folder holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise Refused(f"{out}: is not empty; name a new folder")
    array, table = make_array(plan, seed), timetable(plan)
    seconds = range(plan.start_unix, -(-table[-1].stop_us // SECOND_US) + 1)
    writer = _SecondsWriter(out / DATA_FOLDER)
    begin_us = plan.start_unix * SECOND_US
    silences = [(board, begin_us + round(low * 1e6), begin_us + round(high * 1e6)) for board, low, high in plan.silences]
    readout = Readout(list(range(110, 110 + plan.boards)), clock.year_start_us(_utc(plan.start_unix).year), silences=silences)
    lost, counts = np.zeros(plan.boards, np.int64), {"photons": 0, "delivered": 0}
    with NewFile(out / TRUTH_TABLE_NAME, durable=False) as new, _TruthTable(new.part, array, keep_photons) as truth:
        for done, second in enumerate(seconds):
            rng = generator(seed, "mkid second", second)
            events = Events.joined(
                [make_events(array, plan, one, a, b, rng) for one, a, b in _pieces(table, second * SECOND_US, (second + 1) * SECOND_US)]
            )
            stretch = readout.stretch(events, second * SECOND_US, (second + 1) * SECOND_US, rng, plan.loss)
            tear = int(rng.integers(-plan.tear_words, plan.tear_words, endpoint=True))
            writer.add(second, cut(stretch, [second * SECOND_US + plan.writer_lag_ms * 1000], [tear]))
            truth.add(events, stretch.delivered)
            lost += stretch.lost
            counts["photons"] += len(events)
            counts["delivered"] += int(np.count_nonzero(stretch.delivered))
            if progress:
                progress(done + 1, len(seconds))
        writer.close()
    return _write_texts(out, plan, seed, array, table, {**counts, "lost_frames": _by_board(lost)})


def _by_board(lost: Any) -> dict[str, int]:
    return {str(110 + board): count for board, count in enumerate(lost.tolist())}


def _pieces(table: list[Timed], start_us: int, stop_us: int) -> list[tuple[Exposure | None, int, int]]:
    """A second, split where exposures begin and end."""
    bounds = sorted({start_us, stop_us, *(t for one in table for t in (one.start_us, one.stop_us) if start_us < t < stop_us)})
    pieces = []
    for a, b in itertools.pairwise(bounds):
        running = next((one.exposure for one in table if one.start_us <= a < one.stop_us), None)
        pieces.append((running, a, b))
    return pieces


def _utc(second: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second, datetime.UTC)


class _SecondsWriter:
    """Files by the writer's clock: what comes before it strikes belongs to the second before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._second = 0
        self._pieces: list[w.Words] = []

    def add(self, second: int, pieces: list[w.Words]) -> None:
        late, own = pieces
        self._second = self._second or second - 1
        self._pieces.append(late)
        self.close()
        self._second, self._pieces = second, [own]

    def close(self) -> None:
        if sum(piece.size for piece in self._pieces):
            with NewFile(self._folder / f"{_utc(self._second):%Y%m%d}" / f"{self._second}.bin", durable=False) as new:
                for piece in self._pieces:
                    new.file.write(piece.astype(">u8").tobytes())


class _TruthTable:
    """Channels and photons as they were made."""

    def __init__(self, path: Path, array: MkidArray, keep_photons: bool) -> None:
        import h5py

        self._file = h5py.File(path, "w")
        channels = self._file.create_group("channels")
        channels.attrs["kinds"] = list(KINDS)
        for name in ("resid", "kind", "place", "board", "response", "slope_deg_per_ev", "curve_per_ev", "resolution"):
            channels.create_dataset(name, data=getattr(array, name))  # an assignment would write the time of making
        photons = self._file.create_group("photons") if keep_photons else None
        names = (*_COLUMNS, "delivered") if photons is not None else ()
        self._columns = {
            name: photons.create_dataset(
                name, (0,), bool if name == "delivered" else "i8", maxshape=(None,), compression="gzip", compression_opts=1, shuffle=True
            )
            for name in names
            if photons is not None
        }

    def __enter__(self) -> _TruthTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, events: Events, delivered: Any) -> None:
        for name, column in self._columns.items():
            values = delivered if name == "delivered" else getattr(events, name)
            column.resize((column.size + values.size,))
            column[column.size - values.size :] = values


def _write_texts(out: Path, plan: MkidPlan, seed: int, array: MkidArray, table: list[Timed], totals: dict[str, Any]) -> dict[str, Any]:
    write_text(out / BEAM_MAP_NAME, array.beam_map_text(), durable=False)
    lines = ["name,type,start,stop,wavelength_nm,star_x,star_y"]
    for one in table:
        nm = "" if one.exposure.wavelength_nm is None else f"{one.exposure.wavelength_nm:g}"
        star = "," if one.exposure.star_px is None else f"{one.exposure.star_px[0]:g},{one.exposure.star_px[1]:g}"
        lines.append(f"{one.exposure.name},{one.exposure.kind},{one.start_us / 1e6:.6f},{one.stop_us / 1e6:.6f},{nm},{star}")
    write_text(out / LOG_NAME, "\n".join(lines) + "\n", durable=False)
    windows = [{"name": one.exposure.name, "start_us": one.start_us, "stop_us": one.stop_us} for one in table]
    truth = {"format": 1, "seed": seed, "plan": dataclasses.asdict(plan), "exposures": windows, **totals}
    write_text(out / TRUTH_NAME, json.dumps(truth, indent=1, sort_keys=True, allow_nan=False) + "\n", durable=False)
    return truth
