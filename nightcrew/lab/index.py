"""``index.csv``: every FITS frame of a campaign with kind, stage, temperature and whether it can be used.  Inputs are only read."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nightcrew.detector.set_up import set_up_of_cards
from nightcrew.errors import RejectedInput
from nightcrew.frames.units import to_celsius, to_seconds, unit_in_comment
from nightcrew.io.headers import Hdu, HeaderValue
from nightcrew.io.images import ImageFile
from nightcrew.io.source import shown
from nightcrew.lab import names
from nightcrew.lab.attempts import DEFAULT_DEPTH, Attempt, find_attempts
from nightcrew.lab.convert import Conversion, Section, covered
from nightcrew.lab.dates import read_moments
from nightcrew.lab.records import INDEX_COLUMNS, LabFrame, to_row
from nightcrew.lab.saturation import top_of
from nightcrew.lab.tables import write_table

MOST_ZEROS = 0.01  # of the pixels: above, the frame was cut short or the level is clamped
MOST_SATURATED = 0.5
MOST_UNDEFINED = 0.01
KINDS = ("BIAS", "DARK", "FLAT", "OPER")
_COUNTS = ("NCOMBINE", "IMC_NFIL", "IMCF0000", "STACKCNT", "NSTACKED")  # frames that an image was made of
_ROWS = 256  # read at a time


@dataclass(frozen=True, slots=True)
class PixelCheck:
    """Shares of all pixels that are exactly 0, at the top of their range, and undefined; lowest and highest value.

    ``step``: largest power of two that divides every sample (0 of floats and of frames of zeros).
    """

    zeros: float
    saturated: float
    undefined: float
    lowest: float
    highest: float
    step: int = 0


def check_pixels(image: ImageFile, *, bit_depth: int = 0, shift_bits: int = 0, saturation: float | None = None) -> PixelCheck:
    """Look at every pixel once, some rows at a time; ``saturation`` as the header states it, else by the form of the numbers."""
    zeros = undefined = at_highest = above = common = 0
    lowest, highest = np.inf, -np.inf
    for y0 in range(0, image.shape[-2], _ROWS):
        rows = image.read_rows(y0, min(y0 + _ROWS, image.shape[-2]))
        zeros += rows.size - int(np.count_nonzero(rows))
        if rows.dtype.kind == "f":
            finite = rows[np.isfinite(rows)]
            undefined += rows.size - finite.size
        else:
            finite = rows
        if image.dtype.kind in "iu":
            common |= int(np.bitwise_or.reduce(finite.astype(image.dtype, copy=False), axis=None))
        if finite.size:
            high = float(finite.max())
            at_highest = 0 if high > highest else at_highest
            lowest, highest = min(lowest, float(finite.min())), max(highest, high)
            at_highest += int(np.count_nonzero(finite == high)) if high == highest else 0
            above += int(np.count_nonzero(finite >= saturation)) if saturation is not None else 0
    n_pixels = image.shape[-1] * image.shape[-2]
    step = common & -common
    if saturation is None and image.dtype.kind in "iu":
        above = at_highest if highest >= top_of(bit_depth, shift_bits, step, highest) else 0
    return PixelCheck(zeros / n_pixels, above / n_pixels, undefined / n_pixels, lowest, highest, step)


def verdict(check: PixelCheck, cards: dict[str, HeaderValue]) -> str:
    """Why a frame cannot be used; "" when it can."""
    if cards.get("BADSIZE") is True:
        return "BADSIZE: the raw file had the wrong size"
    if "NCRECIPE" in cards:
        return "a product of Nightcrew itself, not a raw frame"
    for key in _COUNTS:
        if (count := _number(cards, key)) is not None and count > 1:
            return f"{key} {count:g}: combined of several frames, it is not raw"
    if check.undefined > MOST_UNDEFINED:
        return f"{100 * check.undefined:.3g} % of the pixels are undefined"
    if check.zeros > MOST_ZEROS:
        return f"{100 * check.zeros:.3g} % of the pixels are exactly 0"
    if check.saturated > MOST_SATURATED:
        return f"{100 * check.saturated:.3g} % of the pixels are saturated"
    if check.lowest == check.highest:
        return f"every pixel has the value {check.lowest:g}"
    return ""


@dataclass(frozen=True, slots=True)
class Given:
    """What the user states for all frames: it wins over folders, not over the header's own kind."""

    stage: str = ""
    vacuum: str = ""


def index_frame(path: Path, attempt: Attempt, given: Given) -> LabFrame:
    """One row; a file that cannot be read is a bad frame with its reason, never an end of the index."""
    stage = given.stage or names.stage_of(attempt.parts)
    vacuum = given.vacuum or names.vacuum_of(attempt.parts)
    where = attempt.label
    try:
        with ImageFile(path) as image:
            if len(image.shape) != 2:
                raise RejectedInput(f"{shown(path)}: is a cube, not a frame")
            cards, shape = in_usual_units(image.hdu), image.shape
            set_up = set_up_of_cards(image.hdu, shape)
            depth = (
                8
                if image.dtype.itemsize == 1
                else int(next((value for key in ("BIT_DEPTH", "BITDEPTH", "BIT_DEPT") if (value := _number(cards, key))), 0))
            )
            stated = _number(cards, "SATURATE") or None
            check = check_pixels(image, bit_depth=depth, shift_bits=int(set_up.shift_bits), saturation=stated)
    except RejectedInput as error:
        return LabFrame(path=path, caltype=attempt.caltype, stage=stage, vacuum=vacuum, attempt=where, bad=True, reason=str(error))
    temperature, temperature_from = temperature_of(cards, path.name, attempt.parts)
    exposure, exposure_from = exposure_of(cards, path.name, attempt.parts)
    reason = verdict(check, cards)
    kind = str(cards.get("CALTYPE") or "").strip().upper()
    frame = _number(cards, "FRAMENUM")
    dose = _number(cards, "DOSE")
    return LabFrame(
        path=path,
        caltype=kind if kind in KINDS else attempt.caltype or names.kind_of_name(path.name),
        stage=stage,
        vacuum=vacuum,
        temperature_c=temperature,
        exposure_s=exposure,
        dose_krad=names.folder_dose_krad(attempt.parts) if dose is None else dose,
        timestamp_s=timestamp_of(cards),
        frame=None if frame is None else int(frame),
        attempt=where,
        filter=str(cards.get("FILTER") or "").strip(),
        temperature_from=temperature_from,
        exposure_from=exposure_from,
        zero_fraction=check.zeros,
        saturated_fraction=check.saturated,
        undefined_fraction=check.undefined,
        nx=int(shape[-1]),
        ny=int(shape[-2]),
        bad=bool(reason),
        reason=reason,
        set_up=set_up,
        bit_depth=depth,
        step_adu=check.step,
        highest_adu=check.highest if np.isfinite(check.highest) else None,
        saturation_adu=stated,
    )


def in_usual_units(hdu: Hdu) -> dict[str, HeaderValue]:
    """Cards of a frame; temperatures in C and exposures in s where the comments state another unit (``[K]``, ``(ms)``)."""
    cards = dict(hdu.cards)
    for key in ("TEMP", "EQTEMP", "EXPTIME"):
        value, comment = _number(cards, key), hdu.comments.get(key, "")
        if value is None:
            continue
        if key == "EXPTIME":
            cards[key] = to_seconds(value, unit_in_comment(comment, "time") or "s")
        else:
            cards[key] = to_celsius(value, unit_in_comment(comment, "temperature") or "C")
    return cards


def _number(cards: dict[str, HeaderValue], key: str) -> float | None:
    value = cards.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def timestamp_of(cards: dict[str, HeaderValue]) -> float | None:
    """When a frame was taken in seconds: ``TIMESTAMP`` as it stands, else as a date, else ``DATE-OBS`` (both since 1970, UTC)."""
    number = _number(cards, "TIMESTAMP")
    texts = [value for key in ("TIMESTAMP", "DATE-OBS") if isinstance(value := cards.get(key), str)]
    moments = [read_moments([text]).seconds[0] for text in texts]
    return number if number is not None else next((seconds for seconds in moments if math.isfinite(seconds)), None)


def temperature_of(cards: dict[str, HeaderValue], name: str, parts: Sequence[str]) -> tuple[float | None, str]:
    """Temperature (C) of a frame and where it is from: the header first, then the file's name, then the folders."""
    for key in ("TEMP", "EQTEMP", "FILETEMP"):
        value = _number(cards, key)
        if value is not None:
            return value, key
    value = names.tokens_of(name).temperature_c
    if value is not None:
        return value, "name"
    value = names.folder_temperature_c(parts[1:])
    return value, "folder" if value is not None else ""


def exposure_of(cards: dict[str, HeaderValue], name: str, parts: Sequence[str]) -> tuple[float | None, str]:
    """Exposure (s) of a frame and where it is from."""
    value = _number(cards, "EXPTIME")
    if value is not None:
        return value, "EXPTIME"
    value = names.tokens_of(name).exposure_s
    if value is not None:
        return value, "name"
    value = names.folder_exposure_s(parts[1:])
    return value, "folder" if value is not None else ""


@dataclass(frozen=True, slots=True)
class Indexed:
    """All frames of an index, in natural order of their attempts, and warnings for people."""

    frames: list[LabFrame]
    warnings: list[str]


def index_sections(
    sections: Sequence[Section], *, given: Given | None = None, search_depth: int = DEFAULT_DEPTH, threads: int = 2
) -> Indexed:
    """Index every FITS frame of the sections' attempts, each once."""
    given = given or Given()
    warnings: list[str] = []
    work: dict[Path, tuple[Path, Attempt]] = {}
    for section in sections:
        if not section.root.is_dir():
            warnings.append(f"{shown(section.root)}: is no folder; the section was left out")
            continue
        if section.caltype:
            warnings += _root_as_section(section)
        for attempt in find_attempts(section.root, search_depth=search_depth, caltype=section.caltype):
            done = covered(attempt.raws, attempt.fits)
            if len(done) < len(attempt.raws):
                left = len(attempt.raws) - len(done)
                warnings.append(f"{attempt.label}: {left} raws are not converted yet (nightcrew lab convert)")
            for path in attempt.fits:
                work.setdefault(path.resolve(), (path, attempt))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        frames = list(pool.map(lambda item: index_frame(item[0], item[1], given), work.values()))
    warnings += what_is_missing(frames)
    return Indexed(frames, warnings)


def index_converted(converted: Conversion, parent: Path, *, given: Given | None = None, threads: int = 2) -> Indexed:
    """Index the frames of a conversion: those that it made and those that it found, each once; attempts are named below ``parent``."""
    work = []
    for result in converted.attempts:
        folder = result.attempt.folder.resolve()
        attempt = replace(result.attempt, folder=folder, root=parent, parts=(parent.name, *folder.relative_to(parent).parts))
        work += [(frame.path, attempt) for frame in result.frames]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        frames = list(pool.map(lambda item: index_frame(item[0], item[1], given or Given()), work))
    return Indexed(frames, what_is_missing(frames))


def _root_as_section(section: Section) -> list[str]:
    kinds = {names.kind_of((entry.name,)) for entry in section.root.iterdir() if entry.is_dir()} - {""}
    if len(kinds) > 1 or (kinds and section.caltype not in kinds):
        return [f"{shown(section.root)}: holds {', '.join(sorted(kinds))}; name it with --discover, not as a section of {section.caltype}"]
    return []


def what_is_missing(frames: Sequence[LabFrame]) -> list[str]:
    """Sentences about frames that state no temperature, exposure or kind."""
    found = []
    for text, some in (
        ("no temperature", [f for f in frames if f.temperature_c is None and not f.bad]),
        ("no exposure", [f for f in frames if f.exposure_s is None and not f.bad and f.caltype != "BIAS"]),
        ("no kind (bias, dark or flat)", [f for f in frames if not f.caltype and not f.bad]),
        ("the temperature of the equipment only", [f for f in frames if f.temperature_from == "EQTEMP"]),
    ):
        if some:
            found.append(f"{len(some)} frames state {text} (first: {shown(some[0].path)})")
    return found


def write_frames_index(path: Path, frames: Sequence[LabFrame]) -> Path:
    """Write ``index.csv``; PATH is relative to its folder."""
    return write_table(path, INDEX_COLUMNS, (to_row(frame, os.path.relpath(frame.path, path.parent)) for frame in frames))
