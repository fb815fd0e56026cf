"""Raw frames to FITS, attempt by attempt: restarts where it stopped, never touches the input, leaves out and names what cannot be used."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nightcrew.errors import NightcrewError, Refused, RejectedInput, TransientError
from nightcrew.io.atomic import part_files
from nightcrew.io.headers import HeaderValue, read_hdus
from nightcrew.io.images import read_image
from nightcrew.io.source import shown
from nightcrew.lab.attempts import DEFAULT_DEPTH, FITS_FOLDER, Attempt, find_attempts
from nightcrew.lab.config import LabConfig
from nightcrew.lab.fast_copy import can_copy, copy_frame
from nightcrew.lab.fits_frame import frame_cards, write_frame
from nightcrew.lab.keywords import AttemptNotes, frame_keywords, read_notes, to_cards
from nightcrew.lab.raw import RawLayout, order_problem, read_raw, size_problem, unwritten_problem
from nightcrew.lab.tables import write_table

_FITS_ENDING = re.compile(r"\.(fits?|fts)(\.[gf]z)?$", re.IGNORECASE)
INDEX_NAME, REJECTED_NAME = "fits_index.csv", "rejected.csv"
INDEX_KEYWORDS = ("CALTYPE", "FRAMENUM", "EXPTIME", "REXPTIME", "TEMP", "TEMP_0", "GAIN", "FILETEMP", "EQTEMP", "BADSIZE")
"""What ``fits_index.csv`` tells of each frame, besides PATH, where any frame has it."""


@dataclass(frozen=True, slots=True)
class ConvertedFrame:
    """A FITS file of an attempt and its keywords; ``made`` is False where it stood there already."""

    path: Path
    keywords: dict[str, HeaderValue]
    made: bool


@dataclass(slots=True)
class AttemptResult:
    """What became of an attempt: its FITS files, the raws that could not be used with their reasons, and warnings."""

    attempt: Attempt
    frames: list[ConvertedFrame] = field(default_factory=list)
    rejected: list[tuple[Path, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def is_ours(path: Path) -> bool:
    """Whether a FITS file was converted by us (it names its raw file)."""
    try:
        return "RAWFILE" in read_hdus(path, first_only=True)[0].cards
    except NightcrewError:
        return False


def convert_attempt(
    attempt: Attempt, folder: Path, *, layout: RawLayout | None = None, threads: int = 2, durable: bool = True
) -> AttemptResult:
    """Convert the raws of an attempt into ``folder`` (made when needed).

    FITS that came with the attempt are used and the raws that they stand for left alone; FITS of an interrupted run of our own are
    completed.  A FITS file that stands there is kept when it has the same header, and the raw was not touched since or has the same
    pixels.  Raises TransientError when the disk fails.
    """
    layout = layout or RawLayout()
    result = AttemptResult(attempt)
    theirs = [path for path in attempt.fits if not attempt.raws or not is_ours(path)]
    _use_existing(attempt, theirs, result)
    done = covered(attempt.raws, theirs)
    raws = [raw for raw in attempt.raws if raw not in done]
    if done:
        result.warnings.append(
            f"{attempt.label}: has FITS files already; {len(done)} of its {len(attempt.raws)} raws were not converted again"
        )
    if not raws:
        return result
    raws = _of_one_name(raws, result)
    try:
        notes = read_notes(attempt)
    except RejectedInput as error:
        result.rejected += [(raw, str(error)) for raw in raws]
        return result
    result.warnings += notes.warnings

    def one(raw: Path) -> tuple[ConvertedFrame | str, list[str]]:
        return _convert_one(raw, folder, attempt.caltype, notes, layout, durable)

    for left in part_files(folder):  # of a run that was killed
        left.unlink(missing_ok=True)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for raw, (made, warnings) in zip(raws, pool.map(one, raws), strict=True):
            result.warnings += [warning for warning in warnings if warning not in result.warnings]
            if isinstance(made, str):
                result.rejected.append((raw, made))
            else:
                result.frames.append(made)
    return result


def covered(raws: Sequence[Path], fits: Sequence[Path]) -> list[Path]:
    """Raws that FITS of somebody else stand for: of the same name or, where no name is the same, all of them."""
    stems = {_FITS_ENDING.sub("", path.name).lower() for path in fits}
    same = [raw for raw in raws if raw.stem.lower() in stems]
    return same if same or not fits else list(raws)


def _of_one_name(raws: Sequence[Path], result: AttemptResult) -> list[Path]:
    """The raws; of several that would have one FITS (``frames/a.raw`` beside ``a.raw``, ``a.RAW``) the first, the others are rejected."""
    first: dict[str, Path] = {}
    for raw in raws:
        if raw.stem.lower() in first:
            other = shown(first[raw.stem.lower()])
            result.rejected.append(
                (raw, f"{shown(raw)}: another raw of this name, {other}, belongs to the attempt; which one counts is not known")
            )
        else:
            first[raw.stem.lower()] = raw
    return list(first.values())


def _use_existing(attempt: Attempt, fits: Sequence[Path], result: AttemptResult) -> None:
    for path in fits:
        try:
            cards = dict(read_hdus(path, first_only=True)[0].cards)
        except RejectedInput as error:
            result.rejected.append((path, str(error)))
            continue
        if attempt.caltype and cards.get("CALTYPE") is None:
            cards["CALTYPE"] = attempt.caltype
        result.frames.append(ConvertedFrame(path, cards, made=False))


def _convert_one(
    raw: Path, folder: Path, caltype: str, notes: AttemptNotes, layout: RawLayout, durable: bool
) -> tuple[ConvertedFrame | str, list[str]]:
    target = folder / f"{raw.stem}.fits"
    values, warnings = frame_keywords(raw, notes, caltype)
    try:
        size = raw.stat().st_size
        problem = size_problem(size, notes.config, layout)
        if problem:
            values["BADSIZE"] = True
        values["RAWFILE"] = shown(raw)
        values |= layout_keywords(layout)
        cards = to_cards(values, notes.config)
        form = frame_cards((notes.config.height, notes.config.width), notes.config.bytes_per_pixel, cards)
        if _stands(target, form) and (not _touched_since(target, raw) or _same_pixels(target, raw, notes.config, layout)):
            return ConvertedFrame(target, values, made=False), warnings
        if unusable := order_problem(raw, notes.config, layout) or unwritten_problem(raw, notes.config, layout):
            return unusable, warnings
        if sys.byteorder == "little" and can_copy(size, notes.config, layout):
            copy_frame(raw, target, notes.config, layout, cards, durable=durable, overwrite=target.exists())
        else:
            write_frame(target, read_raw(raw, notes.config, layout).pixels, cards, durable=durable, overwrite=target.exists())
    except RejectedInput as error:
        return str(error), warnings
    except ValueError as error:  # a value that has no form in a header
        return f"{shown(raw)}: {error}", warnings
    except OSError as error:
        raise TransientError(f"{shown(raw)}: cannot be read now ({error.strerror})") from error
    return ConvertedFrame(target, values, made=True), warnings


def layout_keywords(layout: RawLayout) -> dict[str, HeaderValue]:
    """What the header says of how the raw bytes were taken, where it is not the usual way."""
    found: dict[str, HeaderValue] = {}
    if layout.shift_bits:
        found["BITSHIFT"] = layout.shift_bits
    if layout.byte_order != "little":
        found["RAWORDER"] = layout.byte_order
    if layout.header_bytes:
        found["RAWSKIP"] = layout.header_bytes
    return found


def _stands(target: Path, cards: Sequence[str]) -> bool:
    """Whether a whole file with these cards and no others stands there."""
    if not target.exists():
        return False
    try:
        hdu = read_hdus(target, first_only=True)[0]
    except RejectedInput:
        return False
    text = "".join(cards).encode("ascii")
    return target.stat().st_size >= hdu.end_offset and hdu.raw.startswith(text) and hdu.raw[len(text) :].startswith(b"DATASUM ")


def _touched_since(target: Path, raw: Path) -> bool:
    """Whether the raw may be another one than was converted: its times may be set back, when its entry was changed may not."""
    status = raw.stat()
    return max(status.st_mtime_ns, status.st_ctime_ns) >= target.stat().st_mtime_ns


def _same_pixels(target: Path, raw: Path, config: LabConfig, layout: RawLayout) -> bool:
    """Whether the file holds the pixels of the raw."""
    try:
        return np.array_equal(read_image(target), read_raw(raw, config, layout).pixels)
    except RejectedInput:
        return False


@dataclass(frozen=True, slots=True)
class Section:
    """A folder to convert and what its frames are: BIAS, DARK, FLAT, or "" where folders and names say it."""

    root: Path
    caltype: str = ""


@dataclass(slots=True)
class Conversion:
    """All attempts of a conversion, the tables written, and warnings."""

    attempts: list[AttemptResult] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def frames(self) -> list[ConvertedFrame]:
        """Every FITS file."""
        return [frame for result in self.attempts for frame in result.frames]

    @property
    def rejected(self) -> list[tuple[Path, str]]:
        """Every file that could not be used, with its reason."""
        return [row for result in self.attempts for row in result.rejected]


def convert_sections(
    sections: Sequence[Section],
    out: Path | None,
    *,
    search_depth: int = DEFAULT_DEPTH,
    layout: RawLayout | None = None,
    threads: int = 2,
    durable: bool = True,
    skipped: Collection[str] = (),
    told: Callable[[AttemptResult], None] | None = None,
) -> Conversion:
    """Convert every attempt of the sections, each once, and write ``fits_index.csv`` (and ``rejected.csv`` when files could not be used).

    FITS go to ``OUT/<attempt below the common parent>/fits``, the tables to ``OUT``; with ``out`` None to ``<attempt>/fits`` and the common
    parent.  Attempts of the kinds ``skipped`` are left out; ``told`` is called after each attempt.
    """
    made = Conversion()
    attempts = _attempts_of(sections, search_depth, made.warnings)
    if out is not None:
        attempts = {folder: one for folder, one in attempts.items() if not is_product(folder, out, [section.root for section in sections])}
    parent = common_parent([section.root for section in sections])
    for attempt in attempts.values():
        if attempt.caltype in skipped:
            continue
        base = attempt.folder if out is None else out / attempt.folder.resolve().relative_to(parent)
        result = convert_attempt(attempt, base / FITS_FOLDER, layout=layout, threads=threads, durable=durable)
        made.attempts.append(result)
        if told:
            told(result)
    target = out if out is not None else parent
    if made.frames:
        made.tables.append(write_index(target / INDEX_NAME, made.frames))
    if made.rejected:
        rows = ({"PATH": os.path.relpath(path, target), "REASON": reason} for path, reason in made.rejected)
        made.tables.append(write_table(target / REJECTED_NAME, ("PATH", "REASON"), rows))
    return made


def is_product(path: Path, out: Path, roots: Iterable[Path]) -> bool:
    """Whether a file or folder lies in ``out``, where a former run wrote, and ``out`` itself lies below a root that is searched."""
    target = out.resolve()
    return path.resolve().is_relative_to(target) and not any(root.resolve().is_relative_to(target) for root in roots)


def _attempts_of(sections: Sequence[Section], search_depth: int, warnings: list[str]) -> dict[Path, Attempt]:
    """Attempts by their resolved folder; a missing section is a warning, a section without attempts a hint."""
    found: dict[Path, Attempt] = {}
    for section in sections:
        if not section.root.is_dir():
            warnings.append(f"{shown(section.root)}: is no folder; the section was left out")
            continue
        attempts = find_attempts(section.root, search_depth=search_depth, caltype=section.caltype)
        if not attempts:
            hint = f"no attempt was found within {search_depth} folders: try --search-depth {search_depth + 2}"
            warnings.append(f"{shown(section.root)}: {hint}")
        for attempt in attempts:
            found.setdefault(attempt.folder.resolve(), attempt)
    return found


def common_parent(roots: Iterable[Path]) -> Path:
    """The deepest folder that holds all roots (of one root: itself)."""
    resolved = [str(root.resolve()) for root in roots]
    if not resolved:
        raise Refused("name at least one folder")
    return Path(os.path.commonpath(resolved))


def write_index(path: Path, frames: Sequence[ConvertedFrame]) -> Path:
    """``fits_index.csv``: PATH (relative to the table) and those of :data:`INDEX_KEYWORDS` that occur, columns in alphabetical order."""
    rows = [{"PATH": os.path.relpath(frame.path, path.parent), **frame.keywords} for frame in frames]
    present = {name for row in rows for name in INDEX_KEYWORDS if row.get(name) is not None}
    return write_table(path, sorted({"PATH", *present}), sorted(rows, key=lambda row: str(row["PATH"])))
