"""Units of work of laboratory sets: an attempt's raws to FITS; all attempts to masters, models, and the page."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import write_text
from nightcrew.lab.attempts import FITS_FOLDER, FRAMES_FOLDER, Attempt, natural
from nightcrew.lab.convert import convert_attempt, covered, is_ours, write_index
from nightcrew.lab.index import Given, index_frame, what_is_missing, write_frames_index
from nightcrew.lab.names import kind_of, kind_of_name
from nightcrew.lab.options import LabOptions
from nightcrew.lab.quality import Judged, bias_quality, campaign_quality, dark_quality
from nightcrew.lab.raw import RawLayout
from nightcrew.lab.records import LabFrame
from nightcrew.lab.results import LabMade
from nightcrew.lab.states import odd_sizes_aside, states_of
from nightcrew.ledger.rows import Measurement
from nightcrew.planning.set_lab import ATTEMPT, MODELS, attempts_of
from reports.lab import lab_page
from reports.summary import Quantity
from tasks.lab_run import masters_of, models_of
from tasks.set_units import SetResult, SetUnit

NOTES = "attempt.json"
OWN_FITS = "converted from the raws beside it, which are used"
TREND = (
    "bias_level",
    "bias_slope",
    "bias_noise",
    "dark_rate",
    "dark_coefficient_b",
    "doubling_temperature",
    "hot_pixels",
    "vignetting_edge",
)
"""Quantities that go into the ledger as measurements of the set."""
EPOCHS = (946_684_800.0, 4_102_444_800.0)
"""Seconds since 1970 of the years 2000 and 2100: other time stamps count from somewhere else."""


def _attempt(unit: SetUnit) -> Attempt:
    """The attempt of this unit, from the files that the plan chose."""
    (found,) = attempts_of(list(unit.files)).values()
    folder = str(unit.facts.get("folder", found.folder))
    parts = (unit.planned.night, *(part for part in folder.split("/") if part))
    inside = f"/{FRAMES_FOLDER}/"
    ordered = sorted(found.raws, key=lambda file: (inside not in f"/{file.relative.lower()}", natural(file.relative)))
    raws = tuple(unit.path(file) for file in ordered)
    kind = kind_of(parts) or next(filter(None, (kind_of_name(raw.name) for raw in raws[:1])), "")
    return Attempt(
        folder=raws[0].parent,
        root=raws[0].parent,
        parts=parts,
        raws=raws,
        fits=tuple(unit.path(file) for file in found.fits),
        config=None if found.config is None else unit.path(found.config),
        log=None if found.log is None else unit.path(found.log),
        caltype=kind,
    )


def make_attempt(unit: SetUnit) -> SetResult:
    """``fits/`` with every frame, ``fits_index.csv`` and ``attempt.json``; FITS of others that came with the raws are used instead."""
    attempt = _attempt(unit)
    own = [path for path in attempt.fits if is_ours(path)]
    names = {unit.path(file): file.relative for file in unit.files}
    left_out = {names[path]: OWN_FITS for path in own}
    attempt = replace(attempt, fits=tuple(path for path in attempt.fits if path not in own))
    left_out |= {names[raw]: "the FITS files beside it are used" for raw in covered(attempt.raws, attempt.fits)}
    layout = RawLayout(**dict(unit.parameters))
    result = convert_attempt(attempt, unit.out / FITS_FOLDER, layout=layout, threads=unit.threads, durable=False)
    left_out |= {names[path]: reason for path, reason in result.rejected}
    if not result.frames:
        raise RejectedInput(result.rejected[0][1] if result.rejected else f"{attempt.label}: holds no frame")
    converted = [frame for frame in result.frames if frame.path not in attempt.fits]
    if converted:
        write_index(unit.out / "fits_index.csv", converted)
    lacking = str(unit.facts.get("lacking") or "")
    warnings = [*([f"{attempt.label}: taken as it is, though it {lacking}"] if lacking else []), *result.warnings]
    body = {"parts": list(attempt.parts), "caltype": attempt.caltype, "warnings": warnings, "use_fits": bool(attempt.fits)}
    write_text(unit.out / NOTES, json.dumps(body, indent=1) + "\n", durable=False)
    return SetResult(metrics={"frames": len(result.frames), "rejected": len(result.rejected)}, left_out=left_out)


@dataclass(frozen=True)
class _Before:
    """An attempt made before: what is known of it with its FITS, whether FITS beside its raws are used instead, warnings."""

    attempt: Attempt
    use_fits: bool
    warnings: list[str]


def _before(folder: Path) -> _Before:
    body = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    made = folder / FITS_FOLDER
    paths = tuple(sorted(made.glob("*.fits"))) if made.is_dir() else ()
    attempt = Attempt(
        folder=folder, root=folder, parts=tuple(body["parts"]), raws=(), fits=paths, config=None, log=None, caltype=body["caltype"]
    )
    return _Before(attempt, bool(body["use_fits"]), list(body["warnings"]))


def make_models(unit: SetUnit) -> SetResult:
    """Index, masters, statistics, models and changes of a whole set, with its page."""
    made = LabMade(title=unit.planned.night)
    converted: set[tuple[str, ...]] = set()
    mixed: set[tuple[str, ...]] = set()
    for folder in unit.inputs.values():
        before = _before(folder)
        made.frames += [index_frame(path, before.attempt, Given()) for path in before.attempt.fits]
        made.warnings += before.warnings
        (mixed if before.use_fits else converted).add(before.attempt.parts)
    left_out: dict[str, str] = {}
    names: dict[Path, str] = {}
    for one in attempts_of(list(unit.files)).values():
        parts = (unit.planned.night, *(part for part in one.folder.split("/") if part))
        if parts in converted:
            left_out |= {file.relative: OWN_FITS for file in one.fits}
            continue
        if one.raws or parts in mixed:
            ours = {file.relative for file in one.fits if is_ours(unit.path(file))}
            left_out |= dict.fromkeys(ours, OWN_FITS)
            one.fits = [file for file in one.fits if file.relative not in ours]
        for file in one.fits:
            path = unit.path(file)
            kind = kind_of(parts) or kind_of_name(path.name)
            attempt = Attempt(folder=path.parent, root=path.parent, parts=parts, raws=(), fits=(), config=None, log=None, caltype=kind)
            frame = index_frame(path, attempt, Given())
            made.frames.append(frame)
            names[path] = file.relative
    if not made.frames:
        raise RejectedInput("the set holds no frame that can be used")
    made.frames = odd_sizes_aside(made.frames)
    left_out |= {names[frame.path]: frame.reason for frame in made.frames if frame.bad and frame.path in names}
    made.warnings += what_is_missing(made.frames)
    write_frames_index(unit.out / "index.csv", made.frames)
    options = options_of(unit.parameters)
    masters_of(made, unit.out, options, threads=unit.threads)
    models_of(made, unit.out, options, threads=unit.threads)
    page = lab_page(made, commands=unit.commands)
    measured = tuple(_measurement(q) for q in page.summary.quantities if q.name in TREND)
    metrics: dict[str, Any] = {q.name: q.value for q in reversed(page.summary.quantities) if q.name in page.key_quantities}
    metrics["models"] = domains(made)
    grade, reasons = campaign_quality(made)
    return SetResult(grade=grade, grade_reasons=reasons, metrics=metrics, left_out=left_out, measurements=measured, page=page)


def domains(made: LabMade) -> dict[str, dict[str, Any]]:
    """Where the models hold, for which frames, and their grade: what a night's plan has to know (``nightcrew.planning.light_models``)."""
    found: dict[str, dict[str, Any]] = {}
    if made.bias is not None:
        bias = made.bias.model
        found["bias"] = {"temperatures_c": list(bias.temperatures_c), "no_slope": not bias.sloped, **_common(bias.shape, made.bias.frames)}
        found["bias"] |= _judged(bias_quality(made.bias))
    if made.dark is not None and made.dark.model is not None:
        dark = made.dark.model
        found["dark"] = {
            "temperatures_c": list(dark.temperatures_c),
            "exposures_s": list(dark.exposures_s),
            "no_slope": dark.shape.b_error is None,
            **_common(dark.rate.shape, made.dark.frames),
            **_judged(dark_quality(made.dark)),
        }
    return found


def _common(shape: tuple[int, ...], frames: Sequence[LabFrame]) -> dict[str, Any]:
    set_up, state = frames[0].set_up.as_dict(), str(states_of(frames[:1])[0])
    return {"shape": [int(n) for n in shape], "set_up": set_up, "state": state, "time_utc": taken_utc(frames)}


def taken_utc(frames: Sequence[LabFrame]) -> str:
    """When frames were taken, the middle of their times, as ISO 8601 to the hour; "" where none states a time since 1970."""
    stamps = [frame.timestamp_s for frame in frames if frame.timestamp_s is not None]
    known = sorted(stamp for stamp in stamps if EPOCHS[0] <= stamp < EPOCHS[1])
    if not known:
        return ""
    return datetime.datetime.fromtimestamp(known[len(known) // 2], datetime.UTC).strftime("%Y-%m-%dT%H")


def _judged(judged: Judged) -> dict[str, Any]:
    return {"grade": judged[0], "reasons": list(judged[1])}


def options_of(values: Mapping[str, Any]) -> LabOptions:
    """Options of the models from the configuration's table ``[lab]``; names that are none of them are for others."""
    known = {field.name for field in fields(LabOptions)}
    chosen: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known}
    return LabOptions(**chosen)


def _measurement(quantity: Quantity) -> Measurement:
    where: dict[str, Any] = dict(quantity.where)
    return Measurement(
        quantity=quantity.name, value=quantity.value, error=quantity.error, unit=quantity.unit, note=quantity.note, where=where
    )


units: Mapping[str, Callable[[SetUnit], SetResult]] = {ATTEMPT: make_attempt, MODELS: make_models}
