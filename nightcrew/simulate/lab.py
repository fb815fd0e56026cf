"""A simulated laboratory campaign on disk: raw frames, configurations and logs in any of the layouts, and the truth about them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.atomic import write_new, write_text
from nightcrew.simulate.lab_plan import LabPlan
from nightcrew.simulate.lab_sensor import SensorMaps, expose, make_sensor
from nightcrew.simulate.randomness import generator

CAMPAIGN_FOLDER, TRUTH_NAME, TRUTH_MAPS = "campaign", "truth.json", "truth.npz"
_COLUMNS = (
    "FrameNum",
    "TimeStamp",
    "ExtTemperature",
    "ExpTime",
    "RealExpTime",
    "ExpGain",
    "Temperature",
    "InitialTemp",
    "DeltaTemperature",
    "PowerCons",
)
_WORDS = {"BIAS": "Bias", "DARK": "Dark", "FLAT": "Flat"}
_SECTIONS = {"BIAS": "TestSection1", "DARK": "TestSection2", "FLAT": "TestSection3"}
_PLAIN = {"BIAS": "Bias", "DARK": "Darks", "FLAT": "Flats"}


@dataclass(frozen=True)
class Cell:
    """Frames of one kind, set temperature (C) and exposure (s) that lie in one attempt."""

    kind: str
    temperature_c: float
    exposure_s: float
    frames: int
    attempt: int = 0


def cells_of(plan: LabPlan) -> Iterator[Cell]:
    """Every attempt of a campaign, in the order of time."""
    for t in plan.bias_temperatures_c:
        for attempt in range(plan.bias_attempts):
            yield Cell("BIAS", t, plan.bias_exposure_s, plan.bias_frames, attempt)
    for t in plan.dark_temperatures_c:
        for exposure in plan.dark_exposures_s:
            yield Cell("DARK", t, exposure, plan.dark_frames)
    for t in plan.flat_temperatures_c:
        for exposure in plan.flat_exposures_s:
            yield Cell("FLAT", t, exposure, plan.flat_frames)


def folder_of(cell: Cell, plan: LabPlan) -> str:
    """Where an attempt lies, relative to the campaign, with ``/``."""
    t, exposure, last = f"T{cell.temperature_c:g}", f"{cell.exposure_s:g}s", f"attempt{cell.attempt}"
    section = _SECTIONS[cell.kind]
    if plan.layout == "irradiation":
        return f"Preirradiation/{_PLAIN[cell.kind]}/{t}/{exposure}/{last}"
    if plan.layout == "bare":
        return f"{_PLAIN[cell.kind]}/20Frames/{t}/{exposure}" + (f"/{cell.attempt}" if cell.attempt else "")
    if cell.kind == "BIAS":
        return f"{section}/{t}/{last}"
    if cell.kind == "FLAT":
        return f"{section}/{t}/{exposure}/{last}"
    return (
        f"{section}/ContinuousFrames/{t}/{exposure}/{last}" if plan.layout == "continuous" else f"{section}/20Frames/{exposure}/{t}/{last}"
    )


def make_campaign(out: Path, plan: LabPlan, seed: int, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Write a campaign into the new folder ``out`` and return its truth; the same plan and seed give the same bytes.

    ``campaign/...`` as the camera's program leaves it, ``truth.json`` (plan, frames) and ``truth.npz`` (maps of every pixel).
    ``Refused`` when the folder holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise Refused(f"{out}: is not empty; name a new folder")
    maps = make_sensor(plan.sensor, seed)
    cells = list(cells_of(plan))
    number, now_s = 0, plan.start_s
    frames: list[dict[str, Any]] = []
    for done, cell in enumerate(cells):
        first = 0 if plan.numbering_restarts else number
        made, now_s = _make_attempt(out / CAMPAIGN_FOLDER, cell, plan, maps, seed, first, now_s)
        frames += made
        number += cell.frames
        if progress:
            progress(done + 1, len(cells))
    truth = {"format": 1, "seed": seed, "plan": dataclasses.asdict(plan), "frames": frames}
    write_text(out / TRUTH_NAME, json.dumps(truth, indent=1, sort_keys=True, allow_nan=False) + "\n", durable=False)
    write_new(out / TRUTH_MAPS, lambda file: _save_maps(file, maps), durable=False)
    return truth


def _save_maps(file: Any, maps: SensorMaps) -> None:
    names = ("level", "slope", "dark_rate", "response", "vignetting", "hot", "telegraph")
    np.savez(file, **{name: getattr(maps, name) for name in names})


def _make_attempt(
    root: Path, cell: Cell, plan: LabPlan, maps: SensorMaps, seed: int, first: int, now_s: float
) -> tuple[list[dict[str, Any]], float]:
    relative = folder_of(cell, plan)
    folder = root / relative
    rng = generator(seed, "lab attempt", relative)
    rows: list[tuple[float, ...]] = []
    frames: list[dict[str, Any]] = []
    for n in range(first, first + cell.frames):
        # The thermometer is read to a thousandth; what it shows is the truth here.
        temperature_c = round(cell.temperature_c + float(rng.normal(0, plan.jitter_c)), 3) if plan.jitter_c else cell.temperature_c
        made = expose(maps, cell.kind, temperature_c, cell.exposure_s, rng)
        name = f"{_WORDS[cell.kind]}T{cell.temperature_c:g}_exp{cell.exposure_s:g}sAt{cell.attempt}f{n}.raw"
        _write_raw(folder / "frames" / name, made.pixels)
        micro = cell.exposure_s * 1e6
        rows.append(
            (
                n,
                round(now_s, 3),
                22.5,
                micro,
                micro,
                1,
                temperature_c,
                cell.temperature_c,
                round(temperature_c - cell.temperature_c, 3),
                2.5,
            )
        )
        frames.append({"file": f"{relative}/frames/{name}", "kind": cell.kind, "temperature_c": temperature_c, "hits": made.hits})
        now_s += cell.exposure_s + 0.5
    _write_notes(folder, plan, rows, rng)
    return frames, now_s + 60.0


def _write_raw(path: Path, pixels: NDArray[np.uint16]) -> None:
    def write(file: BinaryIO) -> None:
        file.write(pixels.astype("<u2").tobytes())

    write_new(path, write, durable=False)


def _write_notes(folder: Path, plan: LabPlan, rows: list[tuple[float, ...]], rng: np.random.Generator) -> None:
    sensor = plan.sensor
    messy = plan.messy_logs
    colon = messy and rng.random() < 0.5
    keys = ("width", "Height", "bit_depth") if colon else ("WIDTH", "HEIGHT", "BIT_DEPTH")
    sign = ": " if colon else " = "
    values = (sensor.nx, sensor.ny, 16)
    text = "# camera\n" + "".join(f"{key}{sign}{value}\n" for key, value in zip(keys, values, strict=True))
    write_text(folder / ("config.txt" if colon else "configFile.txt"), text + f"Offset{sign}12 mV\n", durable=False)
    write_text(folder / "temperatureLog.csv", _log_text(rows, rng if messy else None), durable=False)


def _log_text(rows: list[tuple[float, ...]], rng: np.random.Generator | None) -> str:
    """The log; with ``rng`` as untidy as logs can be without losing a value that counts."""
    if rng is None:
        return "\n".join([", ".join(_COLUMNS), *(", ".join(f"{value!r}" for value in row) for row in rows)]) + "\n"
    sign = str(rng.choice([",", ";", "\t"]))
    lines = [sign.join((*_COLUMNS, "SetTemp", "Attempt"))]
    for row in rows:
        cells = [f"{row[0]:.1f}", *(f"{value!r}" for value in row[1:]), "99", "7"]
        cells[9] = str(rng.choice(["nan", "", "2.5"]))
        lines.append(sign.join(cells))
    lines.append(lines[-1])
    return "\ufeff" + "\n".join(lines) + "\n"
