"""What should exist of a set of photon lists: tables, masks, wavelength solutions, flat fields, calibrated tables, a report.

A set is a folder with ``<second>.bin`` files (at any depth), a beam map and an observing log.  A table is made as soon as the seconds of
its exposure are there, a calibration as soon as its tables are planned and the next kind of exposure has begun, and every science table is
read with the solutions nearest in time: one that comes later and is nearer makes only what it touches anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from nightcrew.errors import Refused, RejectedInput
from nightcrew.mkid.observing_log import LoggedExposure, parse_log
from nightcrew.mkid.seconds import wanted_seconds
from nightcrew.mkid.set_words import MkidWords, words_of
from nightcrew.planning.mkid_dithers import plan_dithers
from nightcrew.planning.mkid_nearest import nearest
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.sets import SetBuilder, SetFile

_SECOND = re.compile(r"[1-9]\d{8,9}\.bin")
_BEAM_MAP = re.compile(r".*beam.?map.*", re.IGNORECASE)
_LOG = re.compile(r".*log.*\.csv|.*\.log\.csv", re.IGNORECASE)
_FREQUENCIES = re.compile(r".*freq.*\.(txt|csv|dat)", re.IGNORECASE)
_TEXTS = ("txt", "bmap", "dat", "csv", "map", "")
_US = 1_000_000
_GROUP_GAP_US = 2 * 3600 * _US  # calibrations of one group are not further apart
REPORT_KEY = "all"


@dataclass
class _Found:
    """Files of the set by what they are."""

    seconds: dict[int, SetFile] = field(default_factory=dict)
    beam_map: SetFile | None = None
    frequencies: SetFile | None = None
    logs: list[SetFile] = field(default_factory=list)


@dataclass
class _Made:
    """Planned products with the exposures that they are of."""

    tables: dict[str, tuple[LoggedExposure, PlannedProduct]] = field(default_factory=dict)
    masks: dict[str, PlannedProduct] = field(default_factory=dict)
    wavecals: list[tuple[int, PlannedProduct]] = field(default_factory=list)  # middle of its exposures, Unix us
    flats: list[tuple[int, PlannedProduct]] = field(default_factory=list)
    science: dict[str, list[str]] = field(default_factory=dict)  # fingerprints that each science exposure is read with
    problems: list[str] = field(default_factory=list)


def keeps_copies(_file: SetFile) -> bool:
    """A second counts by its name: two in which the readout wrote the same bytes (nothing, say) are two seconds of exposure."""
    return True


def plan(builder: SetBuilder) -> None:
    """See above.  Without an observing log each contiguous run of seconds becomes a table once it has ended."""
    found = _sort_out(builder)
    raw = list(found.seconds.values())
    try:
        words = words_of(builder.parameters.values)
    except Refused as error:
        builder.wait(raw, f"the configuration's table [mkid] cannot be used: {error}")
        return
    if found.beam_map is None:
        builder.wait([*raw, *found.logs], "waits for a beam map: a text file whose name has `beammap` in it")
        return
    made = _Made()
    exposures = _exposures(builder, found, made)
    _tables(builder, found, exposures, words, made)
    _wavecals(builder, found, exposures, words, made)
    _masks(builder, words, made)
    _flats(builder, exposures, words, made)
    calibrated = _calibrated(builder, words, made)
    tables = {name: table for name, (_, table) in made.tables.items()}
    plan_dithers(builder, exposures, tables, made.science, {"linearity_step_s": words.linearity_step_s}, made.problems)
    _report(builder, found, made, calibrated)


def _sort_out(builder: SetBuilder) -> _Found:
    found = _Found()
    logs: dict[str, SetFile] = {}
    for file in sorted(builder.snapshot.files, key=lambda file: (len(file.relative), file.relative)):
        name = PurePosixPath(file.relative).name
        if _SECOND.fullmatch(name):
            first = found.seconds.setdefault(int(name[:-4]), file)
            if first is not file:
                builder.set_aside([file], f"this second is there as {first.relative} too, which counts")
        elif _BEAM_MAP.fullmatch(name) and file.kind in _TEXTS:
            found.beam_map = _only(builder, found.beam_map, file, "beam map")
        elif _FREQUENCIES.fullmatch(name):
            found.frequencies = _only(builder, found.frequencies, file, "list of frequencies")
        elif _LOG.fullmatch(name):
            if (known := logs.setdefault(file.sha256, file)) is file:
                found.logs.append(file)
            else:
                builder.set_aside([file], f"duplicate: the same bytes as {known.relative}")
        elif name.endswith(".bin"):
            builder.reject([file], "is not named after a Unix second, as 1514764800.bin is")
        else:
            builder.set_aside([file], "is no part of photon lists: neither seconds, nor beam map, observing log or frequencies")
    return found


def _only(builder: SetBuilder, known: SetFile | None, file: SetFile, what: str) -> SetFile:
    if known is None:
        return file
    builder.set_aside([file], f"another {what}; {known.relative} counts")
    return known


def _exposures(builder: SetBuilder, found: _Found, made: _Made) -> list[LoggedExposure]:
    """Exposures of the logs in order of time; contiguous runs of seconds when there is no log."""
    exposures: list[LoggedExposure] = []
    usable = []
    for file in found.logs:
        try:
            log = parse_log(builder.text(file), PurePosixPath(file.relative).name)
        except RejectedInput as error:
            builder.reject([file], str(error))
            continue
        usable.append(file)
        made.problems += [one.reason for one in log.rejected]
        for one in log.exposures:
            clash = next((other for other in exposures if other.name == one.name or _overlap(other, one)), None)
            if clash is None:
                exposures.append(one)
            else:
                made.problems.append(f"{one.name} of {file.relative} repeats or overlaps {clash.name}")
    found.logs = usable
    if usable:
        return sorted(exposures, key=lambda one: one.start_us)
    return _runs(builder, found)


def _overlap(one: LoggedExposure, other: LoggedExposure) -> bool:
    return one.start_us < other.stop_us and other.start_us < one.stop_us


def _runs(builder: SetBuilder, found: _Found) -> list[LoggedExposure]:
    runs: list[list[int]] = []
    for second in sorted(found.seconds):
        if runs and runs[-1][-1] == second - 1:
            runs[-1].append(second)
        else:
            runs.append([second])
    ended = []
    for run in runs:
        files = [found.seconds[second] for second in run]
        if builder.quiet(files):
            ended.append(LoggedExposure(str(run[0]), "science", run[0] * _US, (run[-1] + 1) * _US, None))
        else:
            builder.wait(files, "waits until this run of seconds has ended; an observing log would tell")
    return ended


def _tables(builder: SetBuilder, found: _Found, exposures: Sequence[LoggedExposure], words: MkidWords, made: _Made) -> None:
    used: set[int] = set()
    for one in exposures:
        seconds = [second for second in wanted_seconds(one.start_us, one.stop_us) if second in found.seconds]
        used.update(seconds)
        files = [found.seconds[second] for second in seconds]
        needed = range(one.start_us // _US, -(-one.stop_us // _US) + (1 if found.logs else 0))
        missing = [second for second in needed if second not in found.seconds]
        if not files or (missing and not builder.quiet(files)):
            builder.wait(files, f"waits for {len(missing)} seconds of {one.name}, the first is {missing[0] if missing else needed[0]}")
            if not files:
                made.problems.append(f"{one.name}: no second of it is there")
            continue
        inputs = [*files, found.beam_map] if found.beam_map else files
        parameters = {"start_us": one.start_us, "stop_us": one.stop_us, "flags": words.beam_map_flags, "exposure": _attributes(one)}
        parameters["whole_run"] = not found.logs
        made.tables[one.name] = one, builder.add("mkid_table", one.name, files=inputs, parameters=parameters)
    left = [file for second, file in found.seconds.items() if second not in used]
    if found.logs and left:
        if builder.quiet():
            builder.set_aside(left, "lies outside every exposure of the observing log")
        else:
            builder.wait(left, "waits: no exposure of the observing log has this second yet")


def _attributes(one: LoggedExposure) -> dict[str, str | float]:
    found: dict[str, str | float] = {f"log_{key}": value for key, value in one.others.items() if key}
    found |= {"exposure": one.name, "type": one.kind}
    return found if one.wavelength_nm is None else {**found, "laser_nm": one.wavelength_nm}


def _groups(exposures: Sequence[LoggedExposure], kind: str, *, passing: tuple[str, ...]) -> list[tuple[list[LoggedExposure], bool]]:
    """Runs of exposures of a kind, and whether each has ended.

    Kinds of ``passing`` do not end a run; a wavelength that returns does, and so does white light after a laser's or before one's.
    """
    groups: list[tuple[list[LoggedExposure], bool]] = []
    current: list[LoggedExposure] = []
    for one in exposures:
        far = bool(current) and one.start_us - current[-1].stop_us > _GROUP_GAP_US
        again = one.wavelength_nm is not None and any(one.wavelength_nm == other.wavelength_nm for other in current)
        other_light = bool(current) and (one.wavelength_nm is None) != (current[0].wavelength_nm is None)  # white flats, flats of lasers
        if current and (far or (one.kind == kind and (again or other_light)) or one.kind not in (kind, *passing)):
            groups.append((current, True))
            current = []
        if one.kind == kind:
            current.append(one)
    return [*groups, (current, False)] if current else groups


def _middle_us(exposures: Sequence[LoggedExposure]) -> int:
    return (exposures[0].start_us + exposures[-1].stop_us) // 2


def _nearest_dark(made: _Made, one: LoggedExposure) -> PlannedProduct | None:
    darks = [(abs(_middle_us([dark]) - _middle_us([one])), name) for name, (dark, _) in made.tables.items() if dark.kind == "dark"]
    near = min(((away, name) for away, name in darks if away <= _GROUP_GAP_US and made.tables[name][1].status != "failed"), default=None)
    return made.tables[near[1]][1] if near else None


def _wavecals(builder: SetBuilder, found: _Found, exposures: Sequence[LoggedExposure], words: MkidWords, made: _Made) -> None:
    for group, ended in _groups(exposures, "laser", passing=("dark",)):
        lasers = [one for one in group if one.name in made.tables and made.tables[one.name][1].status != "failed"]
        waits = _lacks(builder, group, made)
        if len(lasers) < 2 or (not ended and not builder.quiet()) or waits:
            if len(lasers) < 2 and not waits and (ended or builder.quiet()):
                made.problems.append(f"{group[0].name}: one wavelength is not enough for a wavelength calibration")
            continue
        darks = {dark.fingerprint: dark for dark in (_nearest_dark(made, one) for one in lasers) if dark is not None}
        planned = builder.add(
            "mkid_wavecal",
            lasers[0].name,
            files=[found.frequencies] if found.frequencies else [],
            products=[*(made.tables[one.name][1].fingerprint for one in lasers), *sorted(darks)],
            parameters=words.wavecal(),
            facts={"plots": list(words.wavecal_plots)},
        )
        made.wavecals.append((_middle_us(lasers), planned))


def _lacks(builder: SetBuilder, group: Sequence[LoggedExposure], made: _Made) -> bool:
    """Does a group still wait for exposures without a table?  Not once the set is quiet: it goes on without them, and says so."""
    absent = [one.name for one in group if one.name not in made.tables]
    if absent and builder.quiet():
        made.problems.append(f"{group[0].name}: calibrated without {', '.join(absent)}, of which there is no second")
        return False
    return bool(absent)


def _masks(builder: SetBuilder, words: MkidWords, made: _Made) -> None:
    for name, (one, table) in made.tables.items():
        if one.kind in ("flat", "science") and table.status != "failed":
            made.masks[name] = builder.add("mkid_masks", name, products=[table.fingerprint], parameters=words.masks())


def _flats(builder: SetBuilder, exposures: Sequence[LoggedExposure], words: MkidWords, made: _Made) -> None:
    for group, ended in _groups(exposures, "flat", passing=("dark",)):
        flats = [one for one in group if one.name in made.tables and made.tables[one.name][1].status != "failed"]
        waits = _lacks(builder, group, made) or (not ended and not builder.quiet())
        if not flats or waits:
            continue
        wavecal = nearest(builder, made.wavecals, _middle_us(flats), "wavelength solution")
        if wavecal is None:
            if builder.quiet():
                made.problems.append(f"{flats[0].name}: no flat field without a wavelength solution")
            continue
        darks = {dark.fingerprint for dark in (_nearest_dark(made, one) for one in flats) if dark is not None}
        masks = [made.masks[one.name].fingerprint for one in flats if one.name in made.masks and made.masks[one.name].status != "failed"]
        planned = builder.add(
            "mkid_flatcal",
            flats[0].name,
            products=[*(made.tables[one.name][1].fingerprint for one in flats), *masks, *sorted(darks), wavecal.planned.fingerprint],
            parameters={**words.flat(), "laser": flats[0].wavelength_nm is not None},
            facts={"book_pixels": words.flat_book_pixels},
        )
        made.problems += [f"{flats[0].name}: {wavecal.note}"] if wavecal.note else []
        made.flats.append((_middle_us(flats), planned))


def _calibrated(builder: SetBuilder, words: MkidWords, made: _Made) -> list[PlannedProduct]:
    planned = []
    for name, (one, table) in made.tables.items():
        if one.kind != "science" or table.status == "failed":
            continue
        wavecal = nearest(builder, made.wavecals, _middle_us([one]), "wavelength solution")
        flat = nearest(builder, made.flats, _middle_us([one]), "flat field")
        if wavecal is None and not builder.quiet():
            continue
        both = [item for item in (wavecal, flat) if item is not None]
        chosen = [item.planned.fingerprint for item in both]
        made.problems += [f"{name}: {item.note}" for item in both if item.note]  # on the page; a choice that stands makes nothing anew
        away = {"wavecal_away_s": wavecal.away_s if wavecal else None, "flatcal_away_s": flat.away_s if flat else None}
        masks = [made.masks[name].fingerprint] if name in made.masks and made.masks[name].status != "failed" else []
        inputs, parameters = [table.fingerprint, *masks, *chosen], {"linearity_step_s": words.linearity_step_s}
        made.science[name] = inputs
        planned.append(
            builder.add(
                "mkid_calibrated", name, products=inputs, parameters=parameters, facts={**away, "book_pixels": words.flat_book_pixels}
            )
        )
        builder.add("mkid_images", name, products=inputs, parameters={**parameters, "log": dict(one.others)}, facts=away)
    return planned


def _report(builder: SetBuilder, found: _Found, made: _Made, calibrated: Sequence[PlannedProduct]) -> None:
    """The page, once nothing more comes; what could not be made stands in it with its reason."""
    if not made.tables:
        builder.wait(found.logs, "waits for the first exposure")
        return
    if not builder.quiet():
        builder.wait(found.logs, "waits until no more seconds and lines come")
        return
    every = [planned for _, planned in made.tables.values()] + list(made.masks.values()) + list(calibrated)
    every += [planned for _, planned in (*made.wavecals, *made.flats)]
    failed = sorted(f"{planned.name}: {planned.reason}" for planned in every if planned.status == "failed")
    builder.add(
        "mkid_report",
        REPORT_KEY,
        files=[*found.logs, *([found.beam_map] if found.beam_map else [])],
        products=[planned.fingerprint for planned in every if planned.status != "failed"],
        facts={"failed": failed, "problems": made.problems},
    )
