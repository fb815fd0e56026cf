"""One schema for the frames of a laboratory: what every analysis reads, from ``index.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.detector.set_up import SetUp
from nightcrew.errors import RejectedInput
from nightcrew.io.source import shown
from nightcrew.lab.tables import number, read_table

INDEX_COLUMNS = (
    "PATH",
    "CALTYPE",
    "STAGE",
    "VACUUM",
    "TEMP",
    "ZEROFRACTION",
    "BADFITS",
    "EXPTIME",
    "DOSE",
    "TIMESTAMP",
    "FRAMENUM",
    "ATTEMPT",
    "FILTER",
    "TEMPFROM",
    "EXPFROM",
    "SATFRACTION",
    "NANFRACTION",
    "NX",
    "NY",
    "REASON",
    "CAMERA",
    "DETECTOR",
    "GAIN",
    "OFFSET",
    "READMODE",
    "BINNING",
    "WINDOW",
    "BITSHIFT",
    "BITDEPTH",
    "SAMPLESTEP",
    "DATAMAX",
    "SATURATE",
)
"""Columns of ``index.csv``: seven that were always there, then ours."""
NO_SET_UP = SetUp()
"""Of frames that state nothing."""
_SET_UP = {
    "CAMERA": "camera",
    "DETECTOR": "detector",
    "GAIN": "gain_setting",
    "OFFSET": "offset_setting",
    "READMODE": "readout_mode",
    "BINNING": "binning",
    "WINDOW": "window",
    "BITSHIFT": "shift_bits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabFrame:
    """A FITS frame of the index.  Values that nothing states are None or ""; ``bad`` frames are in no analysis, for ``reason``."""

    path: Path
    caltype: str  # BIAS, DARK, FLAT, OPER
    stage: str = ""  # pre, radiating, post
    vacuum: str = ""  # vacuum, air
    temperature_c: float | None = None
    exposure_s: float | None = None
    dose_krad: float | None = None
    timestamp_s: float | None = None
    frame: int | None = None
    attempt: str = ""  # folders of the attempt below the root, with /
    filter: str = ""
    temperature_from: str = ""  # TEMP, EQTEMP, FILETEMP, folder
    exposure_from: str = ""  # EXPTIME, name, folder
    zero_fraction: float = 0.0
    saturated_fraction: float = 0.0
    undefined_fraction: float = 0.0
    nx: int = 0
    ny: int = 0
    bad: bool = False
    reason: str = ""
    set_up: SetUp = NO_SET_UP
    bit_depth: int = 0  # bits of a number as the configuration states them; 0: it does not
    step_adu: int = 0  # largest power of two that divides every sample; 0: not known
    highest_adu: float | None = None
    saturation_adu: float | None = None  # as the header states it

    @property
    def attempt_name(self) -> str:
        """The last folder of the attempt."""
        return self.attempt.rpartition("/")[2]


def to_row(frame: LabFrame, path: str) -> dict[str, object]:
    """The frame as a row of the index; ``path`` as it is written."""
    return {
        "PATH": path,
        "CALTYPE": frame.caltype,
        "STAGE": frame.stage,
        "VACUUM": frame.vacuum,
        "TEMP": frame.temperature_c,
        "ZEROFRACTION": frame.zero_fraction,
        "BADFITS": frame.bad,
        "EXPTIME": frame.exposure_s,
        "DOSE": frame.dose_krad,
        "TIMESTAMP": None if frame.timestamp_s is None else f"{frame.timestamp_s!r}",
        "FRAMENUM": frame.frame,
        "ATTEMPT": frame.attempt,
        "FILTER": frame.filter,
        "TEMPFROM": frame.temperature_from,
        "EXPFROM": frame.exposure_from,
        "SATFRACTION": frame.saturated_fraction,
        "NANFRACTION": frame.undefined_fraction,
        "NX": frame.nx,
        "NY": frame.ny,
        "REASON": frame.reason,
        **{column: getattr(frame.set_up, name) for column, name in _SET_UP.items()},
        "BITDEPTH": frame.bit_depth or None,
        "SAMPLESTEP": frame.step_adu or None,
        "DATAMAX": frame.highest_adu,
        "SATURATE": frame.saturation_adu,
    }


def _from_row(row: dict[str, str], base: Path) -> LabFrame:
    frame = number(row.get("FRAMENUM", ""))
    return LabFrame(
        path=base / row["PATH"],
        caltype=row["CALTYPE"].upper(),
        stage=row.get("STAGE", ""),
        vacuum=row.get("VACUUM", ""),
        temperature_c=number(row.get("TEMP", "")),
        exposure_s=number(row.get("EXPTIME", "")),
        dose_krad=number(row.get("DOSE", "")),
        timestamp_s=number(row.get("TIMESTAMP", "")),
        frame=None if frame is None else int(frame),
        attempt=row.get("ATTEMPT", "") or Path(row["PATH"]).parent.as_posix(),
        filter=row.get("FILTER", ""),
        temperature_from=row.get("TEMPFROM", ""),
        exposure_from=row.get("EXPFROM", ""),
        zero_fraction=number(row.get("ZEROFRACTION", "")) or 0.0,
        saturated_fraction=number(row.get("SATFRACTION", "")) or 0.0,
        undefined_fraction=number(row.get("NANFRACTION", "")) or 0.0,
        nx=int(number(row.get("NX", "")) or 0),
        ny=int(number(row.get("NY", "")) or 0),
        bad=row.get("BADFITS", "").strip().lower() in ("true", "t", "1"),
        reason=row.get("REASON", ""),
        set_up=SetUp(**{name: row[column] for column, name in _SET_UP.items() if row.get(column)}),
        bit_depth=int(number(row.get("BITDEPTH", "")) or 0),
        step_adu=int(number(row.get("SAMPLESTEP", "")) or 0),
        highest_adu=number(row.get("DATAMAX", "")),
        saturation_adu=number(row.get("SATURATE", "")),
    )


def read_index(path: Path) -> list[LabFrame]:
    """Frames of an ``index.csv`` (ours, or one with the first seven columns only); paths are relative to its folder.

    RejectedInput when the columns PATH and CALTYPE are missing.
    """
    rows = read_table(path)
    for name in ("PATH", "CALTYPE"):
        if rows and name not in rows[0]:
            raise RejectedInput(f"{shown(path)}: has no column {name}, so it is no index of frames")
    return [_from_row(row, path.parent) for row in rows]


def good(frames: Iterable[LabFrame], caltype: str) -> list[LabFrame]:
    """The frames of a kind that are not bad."""
    return [frame for frame in frames if frame.caltype == caltype and not frame.bad]


def shape_of(frames: Sequence[LabFrame]) -> tuple[int, int]:
    """(ny, nx) that the frames share; RejectedInput when they do not."""
    shapes = {(frame.ny, frame.nx) for frame in frames}
    if len(shapes) > 1:
        text = ", ".join(f"{nx} x {ny}" for ny, nx in sorted(shapes))
        raise RejectedInput(f"the frames have different sizes ({text} pixels) and cannot be analysed together")
    return shapes.pop()
