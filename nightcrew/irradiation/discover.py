"""Frames and logs of a campaign's folder, in every layout; raw frames are converted first, and nothing in the folder is changed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown
from nightcrew.irradiation.dose import Dosed, Logs, assign_doses
from nightcrew.irradiation.dose_log import DoseLog, read_dose_log
from nightcrew.irradiation.frames import Frame, FrameDose
from nightcrew.irradiation.tokens import STAGES, Stage, campaign_of, natural, stage_word
from nightcrew.lab import names
from nightcrew.lab.attempts import FITS_FOLDER, Attempt, find_attempts
from nightcrew.lab.convert import convert_attempt
from nightcrew.lab.index import Given, index_frame
from nightcrew.lab.records import LabFrame

SEARCH_DEPTH = 8
CONVERTED = "converted"
FOLDER_LOGS = ("radiationlogdef.csv", "radiationlog.csv", "radiationlogcompleto.csv")
WHOLE_LOGS = ("radiationlogcompleto.csv", "radiationlog.csv")
Layout = Literal["irr", "krad", "oper", "std", "mixed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Campaign:
    """One campaign under the root: its frames with their doses, its operation frames, its logs, and remarks for people.

    ``records``: the index rows of all frames, by ``Frame.relative``.  ``left_out``: frame -> reason.
    """

    name: str
    root: Path
    layout: Layout
    frames: tuple[Frame, ...]
    doses: Mapping[str, FrameDose]
    operation: tuple[Frame, ...]
    records: Mapping[str, LabFrame]
    logs: Logs
    left_out: Mapping[str, str]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of the root is analysed: stages, and datasets (dose folders or campaigns by name; empty: all)."""

    stages: tuple[Stage, ...] = STAGES
    datasets: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    frames: list[tuple[Frame, LabFrame]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    rejected: dict[str, tuple[str, str]] = field(default_factory=dict)  # frame -> campaign, reason


def parse_stages(words: Sequence[str]) -> tuple[Stage, ...]:
    """Stages by their words; ``Refused`` for others."""
    made = []
    for word in words:
        stage = stage_word(word)
        if stage is None:
            raise Refused(f"there is no stage {word!r}; there are pre, radiating (or during) and post")
        made.append(stage)
    return tuple(stage for stage in STAGES if stage in made)


def find_campaigns(
    root: Path, out: Path, *, dose_log: Path | None = None, wanted: Wanted | None = None, threads: int = 2, given_stage: str = ""
) -> list[Campaign]:
    """All campaigns below ``root``; FITS made of raw frames go to ``out/converted``.

    ``dose_log`` is the log of the whole campaign (default: ``radiationLogCompleto.csv``, else ``radiationLog.csv`` in the campaign's root).
    Raises ``Refused`` where there is no frame at all.
    """
    wanted = wanted or Wanted()
    ours = (out / CONVERTED).resolve()
    if out.resolve() != root.resolve() and out.resolve().is_relative_to(root.resolve()):
        ours = out.resolve()  # results that lie inside the campaign are none of its frames
    attempts = [a for a in find_attempts(root, search_depth=SEARCH_DEPTH) if not a.folder.resolve().is_relative_to(ours)]
    found = _Found()
    given_log = read_dose_log(dose_log) if dose_log is not None else None
    for attempt in attempts:
        for one in by_kind(attempt):
            _take(one, out, found, threads, given_stage)
    if not found.frames and found.rejected:
        name, (_, reason) = next(iter(sorted(found.rejected.items())))
        raise Refused(f"none of {len(found.rejected)} frames can be used; {shown(name)}: {reason}")
    if not found.frames:
        raise Refused(f"{shown(root)}: holds no frame of a campaign (no .raw, no FITS) within {SEARCH_DEPTH} folders")
    by_campaign: dict[str, list[tuple[Frame, LabFrame]]] = {}
    for frame, record in found.frames:
        by_campaign.setdefault(frame.campaign, []).append((frame, record))
    if wanted.datasets:
        by_campaign = {name: pairs for name, pairs in by_campaign.items() if _of_datasets(name, pairs, wanted.datasets)}
        if not by_campaign:
            raise Refused(f"none of the datasets {', '.join(wanted.datasets)} is in {shown(root)}")
    return [_campaign(root, name, by_campaign[name], given_log, wanted, found) for name in sorted(by_campaign, key=natural)]


def by_kind(attempt: Attempt) -> list[Attempt]:
    """An attempt whose folders do not say what it holds, split by what its files' names say (``<dose>kRads`` folders hold all kinds)."""
    if names.kind_of(attempt.parts):
        return [attempt]
    kinds = sorted({names.kind_of_name(path.name) for path in (*attempt.raws, *attempt.fits)})
    if len(kinds) < 2:
        return [attempt]
    return [
        replace(
            attempt,
            caltype=kind,
            raws=tuple(path for path in attempt.raws if names.kind_of_name(path.name) == kind),
            fits=tuple(path for path in attempt.fits if names.kind_of_name(path.name) == kind),
        )
        for kind in kinds
    ]


def _take(attempt: Attempt, out: Path, found: _Found, threads: int, given_stage: str) -> None:
    """Frames of an attempt, converted where they are raw."""
    target = out / CONVERTED / attempt.relative / FITS_FOLDER
    result = convert_attempt(attempt, target, threads=threads, durable=False)
    found.remarks += result.warnings
    folders = attempt.relative.parts
    folder = "/".join(folders)
    for path, reason in result.rejected:
        stem = path.with_suffix(".fits").name if path.suffix.lower() == ".raw" else path.name
        found.rejected[f"{folder}/{stem}" if folder else stem] = (campaign_of(folders), reason)
    given = Given(stage=given_stage)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        records = list(pool.map(lambda one: index_frame(one.path, attempt, given), result.frames))
    for record in records:
        relative = f"{folder}/{record.path.name}" if folder else record.path.name
        operation = bool({"operation", "oper"} & {part.lower() for part in folders}) or record.caltype == "OPER"
        stage = stage_word(record.stage) if record.stage else ("radiating" if operation else stage_word(names.stage_of(folders)))
        kind = "OPER" if operation else record.caltype or _kind_by_exposure(record)
        number = record.frame if record.frame is not None else names.tokens_of(record.path.name).frame
        frame = Frame(
            path=record.path,
            relative=relative,
            campaign=campaign_of(folders),
            folder=folder,
            kind=kind,
            stage=stage,
            number=number,
            time_s=record.timestamp_s,
            exposure_s=record.exposure_s,
            temperature_c=record.temperature_c,
            nominal_dose_krad=names.folder_dose_krad(folders),
            bad=record.reason if record.bad else "",
        )
        found.frames.append((frame, record))


def _kind_by_exposure(record: LabFrame) -> str:
    """A frame whose kind nothing states: without exposure a bias, else unknown; never a guess between dark and flat."""
    return "BIAS" if record.exposure_s == 0 else ""


def _of_datasets(name: str, pairs: list[tuple[Frame, LabFrame]], datasets: Sequence[str]) -> list[tuple[Frame, LabFrame]]:
    """Frames in a folder called as one of ``datasets`` (or of a campaign called so), and all of pre and post beside them."""
    chosen = {word.strip("/").lower() for word in datasets}
    if name.lower() in chosen:
        return pairs
    kept = [pair for pair in pairs if chosen & {part.lower() for part in pair[0].folder.split("/")}]
    names = {frame.relative for frame, _ in kept}
    quiet = [pair for pair in pairs if pair[0].stage in ("pre", "post") and pair[0].relative not in names]
    return kept + quiet if kept else []


def _campaign(
    root: Path, name: str, pairs: list[tuple[Frame, LabFrame]], given_log: DoseLog | None, wanted: Wanted, found: _Found
) -> Campaign:
    place = root / name if name else root
    left_out = {frame: reason for frame, (campaign, reason) in found.rejected.items() if campaign == name}
    left_out |= {frame.relative: frame.bad for frame, _ in pairs if frame.bad}
    left_out |= {frame.relative: "nothing states whether it is a bias, a dark or a flat" for frame, _ in pairs if not frame.kind}
    left_out |= _of_another_size([pair for pair in pairs if pair[0].relative not in left_out])
    good = [frame for frame, _ in pairs if frame.relative not in left_out]
    folders = {frame.folder for frame, _ in pairs}
    logs, log_remarks = find_logs(root, place, folders, given_log)
    # bad frames were taken too: they count where a step is spread over its frames, and where a log has a row a frame
    taken = [_in_beam_by_default(frame) for frame, _ in pairs if frame.kind != "OPER"]
    main = [frame for frame in taken if frame.relative not in left_out]
    own_folders = {"/".join(f.folder.split("/")[:n]) for f in main for n in range(len(f.folder.split("/")) + 1)}
    operation = [frame for frame in good if frame.kind == "OPER"]
    # logs of operation sequences tell of their own frames only
    # doses come from all frames: the step of a dose begins where the one before it ended, whether that one is asked for or not
    main_logs = Logs(whole=logs.whole, by_folder={key: log for key, log in logs.by_folder.items() if key in own_folders})
    dosed = assign_doses(taken, main_logs) if main else Dosed({}, ())
    chosen = {frame.relative for frame, _ in (_of_datasets(name, pairs, wanted.datasets) if wanted.datasets else pairs)}
    left_out = {frame: reason for frame, reason in left_out.items() if frame in chosen or frame in found.rejected}
    main, operation = ([frame for frame in some if frame.relative in chosen] for some in (main, operation))
    doses = {frame.relative: dosed.doses[frame.relative] for frame in main}
    for frame in main:
        if doses[frame.relative].stage not in wanted.stages:
            left_out[frame.relative] = f"its stage {doses[frame.relative].stage} was not asked for"
    kept = [replace(frame, stage=doses[frame.relative].stage) for frame in main if frame.relative not in left_out]
    own = [text for text in found.remarks if not name or name in text]
    return Campaign(
        name=name,
        root=place,
        layout=_layout([frame for frame in good if frame.relative in chosen]),
        frames=tuple(sorted(kept, key=Frame.order)),
        doses=doses,
        operation=tuple(sorted(operation, key=Frame.order)),
        records={frame.relative: record for frame, record in pairs if frame.relative in chosen},
        logs=logs,
        left_out=left_out,
        remarks=tuple(dict.fromkeys([*own, *log_remarks, *dosed.remarks])),
    )


def _of_another_size(pairs: Sequence[tuple[Frame, LabFrame]]) -> dict[str, str]:
    """Frames that have not the size that most have: they cannot be analysed together."""
    sizes = Counter((record.nx, record.ny) for _, record in pairs)
    if len(sizes) < 2:
        return {}
    usual = max(sizes, key=lambda size: (sizes[size], size))
    return {
        frame.relative: f"has {record.nx} x {record.ny} pixels, the campaign's other frames {usual[0]} x {usual[1]}"
        for frame, record in pairs
        if (record.nx, record.ny) != usual
    }


def _in_beam_by_default(frame: Frame) -> Frame:
    """A dose in a folder's name means the beam, unless a stage says otherwise."""
    return replace(frame, stage="radiating") if frame.stage is None and frame.nominal_dose_krad is not None else frame


def _layout(frames: Sequence[Frame]) -> Layout:
    main = [frame for frame in frames if frame.kind != "OPER"]
    if not main:
        return "oper"
    first = {frame.folder.split("/")[len(frame.campaign.split("/")) if frame.campaign else 0] for frame in main if frame.folder}
    staged = any(names.stage_of((part,)) for part in first)
    dosed = any(names.folder_dose_krad((part,)) is not None for part in first)
    if staged and not dosed:
        return "irr"
    if dosed:
        return "krad" if not staged else "mixed"
    return "std"


def find_logs(root: Path, place: Path, folders: set[str], given: DoseLog | None) -> tuple[Logs, list[str]]:
    """The campaign's log and those of folders above its frames (names below ``root``); unreadable ones are remarked."""
    remarks: list[str] = []
    whole = given or _read_first(place, WHOLE_LOGS, remarks) or (_read_first(root, WHOLE_LOGS, remarks) if root != place else None)
    by_folder: dict[str, DoseLog] = {}
    above = {"/".join(folder.split("/")[:n]) for folder in folders for n in range(1, len(folder.split("/")) + 1)}
    for folder in sorted(above):
        here = root / folder
        if here == place:
            continue
        log = _read_first(here, FOLDER_LOGS, remarks)
        if log is not None:
            by_folder[folder] = replace(log, name=f"{folder}/{log.name}")
    return Logs(whole=whole, by_folder=by_folder), remarks


def _read_first(folder: Path, wanted: Sequence[str], remarks: list[str]) -> DoseLog | None:
    try:
        present = {entry.name.lower(): Path(entry.path) for entry in os.scandir(folder) if entry.is_file()}
    except OSError:
        return None
    for name in wanted:
        if name not in present:
            continue
        try:
            return read_dose_log(present[name])
        except RejectedInput as error:
            remarks.append(f"{error}; the log was not used")
    return None
