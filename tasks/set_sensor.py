"""Unit of work of sensor sets: frames of one set in; tables, curves, data sheet and page out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nightcrew.errors import RejectedInput
from nightcrew.frames.profiles import load_profiles
from nightcrew.ledger.rows import Measurement
from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.frames import SensorFrame, in_order, read_frame, says_flooded
from nightcrew.sensor.words import options_of
from reports.sensor import Standing, grade_of, write_report
from reports.summary import Quantity
from tasks.set_units import SetResult, SetUnit

TREND = ("gain", "read_noise", "full_well", "prnu", "dark_current")
"""Quantities that go into the ledger as measurements of the set."""


def make_characterisation(unit: SetUnit) -> SetResult:
    """Characterise the set's frames.  A frame that cannot be used is left out with its reason; RejectedInput when none is left."""
    options = replace(options_of(unit.parameters), threads=unit.threads)
    frames, left_out = _frames(unit)
    if not frames:
        first = next(iter(left_out.items()), ("", "no file"))
        raise RejectedInput(f"no file of the set is a frame that can be used; {first[0]}: {first[1]}")
    result = characterise(frames, options)
    left_out |= dict(result.left_out)
    name = unit.planned.night
    standing = Standing(title=name, commands=unit.commands)
    page = write_report(result, frames, standing, unit.out)
    grade, reasons = grade_of(result)
    measured = tuple(_measurement(q) for q in page.summary.quantities if q.name in TREND)
    metrics = {q.name: q.value for q in reversed(page.summary.quantities) if q.name in page.key_quantities}
    return SetResult(grade=grade, grade_reasons=reasons, metrics=metrics, left_out=left_out, measurements=measured, page=page)


def _frames(unit: SetUnit) -> tuple[tuple[SensorFrame, ...], dict[str, str]]:
    profiles = load_profiles(None)
    wanted = str(unit.parameters.get("profile", "auto"))
    found: list[SensorFrame] = []
    left_out: dict[str, str] = {}
    for file in unit.files:
        try:
            frame = read_frame(Path(unit.path(file)), profiles, name=file.relative, profile=wanted, hashed=False)
        except RejectedInput as error:
            left_out[file.relative] = str(error)
            continue
        found.append(replace(frame, sha256=file.sha256, flooded=says_flooded(file.relative)))
    return in_order(found), left_out


def _measurement(quantity: Quantity) -> Measurement:
    where: dict[str, Any] = dict(quantity.where)
    return Measurement(
        quantity=quantity.name, value=quantity.value, error=quantity.error, unit=quantity.unit, note=quantity.note, where=where
    )


units: Mapping[str, Callable[[SetUnit], SetResult]] = {"sensor_characterisation": make_characterisation}
