"""A laboratory campaign as a whole: frames found, raws converted, masters, models, changes; for commands and service."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.model_files import load_bias
from nightcrew.errors import NightcrewError, Refused, RejectedInput, TransientError
from nightcrew.io.images import read_image
from nightcrew.io.source import shown
from nightcrew.lab.attempts import DEFAULT_DEPTH, find_attempts
from nightcrew.lab.convert import Section, common_parent, convert_sections, is_product
from nightcrew.lab.index import Given, index_converted, index_sections, write_frames_index
from nightcrew.lab.options import PARTS, LabOptions
from nightcrew.lab.raw import RawLayout
from nightcrew.lab.records import LabFrame, read_index
from nightcrew.lab.results import LabMade
from nightcrew.lab.states import odd_sizes_aside
from tasks.lab_bias import bias_step
from tasks.lab_changes import degradation_step, structure_step
from tasks.lab_dark import dark_step
from tasks.lab_dark_figures import dark_figures
from tasks.lab_flats import FlatInputs, flat_step
from tasks.lab_masters import masters_and_stats

INDEX = "index.csv"
FOLDERS = {"bias": "bias", "dark": "dark", "flat": "flat", "structure": "structure", "degradation": "outgasing_analysis"}


def campaign(
    roots: Sequence[Path],
    out: Path,
    *,
    search_depth: int = DEFAULT_DEPTH,
    layout: RawLayout | None = None,
    given: Given | None = None,
    threads: int = 2,
    durable: bool = False,
) -> LabMade:
    """Frames of folders or of an ``index.csv``: raws are converted below ``out``, and ``out/index.csv`` is written.

    Raises ``Refused`` when a root is neither, RejectedInput when there is no frame at all.
    """
    made = LabMade(title=shown(roots[0].resolve()) if roots else "")
    if len(roots) == 1 and roots[0].suffix.lower() == ".csv":
        made.frames = read_index(roots[0])
    else:
        made.frames = _found(roots, out, made, search_depth, layout, given, threads, durable)
        if made.frames:
            write_frames_index(out / INDEX, made.frames)
    if not made.frames:
        raise RejectedInput(f"{made.title}: no frame was found within {search_depth} folders; try --search-depth {search_depth + 2}")
    return made


def _found(
    roots: Sequence[Path],
    out: Path,
    made: LabMade,
    search_depth: int,
    layout: RawLayout | None,
    given: Given | None,
    threads: int,
    durable: bool,
) -> list[LabFrame]:
    sections = [Section(root) for root in roots]
    for section in sections:
        if not section.root.is_dir():
            raise Refused(f"{shown(section.root)}: is neither a folder nor an index.csv")
    raw = any(
        attempt.raws and not is_product(attempt.folder, out, roots)
        for root in roots
        for attempt in find_attempts(root, search_depth=search_depth)
    )
    if not raw:
        indexed = index_sections(sections, given=given, search_depth=search_depth, threads=threads)
        made.warnings += indexed.warnings
        return [frame for frame in indexed.frames if not is_product(frame.path, out, roots)]
    converted = convert_sections(sections, out / "fits", search_depth=search_depth, layout=layout, threads=threads, durable=durable)
    made.warnings += converted.warnings + [warning for result in converted.attempts for warning in result.warnings]
    made.rejected = [(path.name, reason) for path, reason in converted.rejected]
    indexed = index_converted(converted, common_parent(roots), given=given, threads=threads)
    made.warnings += indexed.warnings
    return indexed.frames


def masters_of(made: LabMade, out: Path, options: LabOptions, *, threads: int = 2) -> None:
    """Masters, statistics and their figures below ``out``; frames of an odd size are set aside."""
    made.frames = odd_sizes_aside(made.frames)
    made.masters = masters_and_stats(made.frames, out, gap_k=options.gap_k, threads=threads, figures=options.save_plots)


def models_of(
    made: LabMade,
    out: Path,
    options: LabOptions,
    *,
    only: Collection[str] = PARTS,
    dark_mode: str = "full",
    flat_mode: str = "full",
    inputs: FlatInputs | None = None,
    hot_pixel_mask: Path | None = None,
    bias_model: Path | None = None,
    threads: int = 2,
) -> None:
    """Models and changes below ``out``, a folder a part; a part that cannot be made is named in ``made.missing`` and stops no other."""
    exclude = None if hot_pixel_mask is None else mask_of(hot_pixel_mask)
    made.frames = odd_sizes_aside(made.frames)

    def attempt(part: str) -> None:
        folder = out / FOLDERS[part]
        if part == "bias":
            made.bias = bias_step(made.frames, folder, options, exclude=exclude, threads=threads)
        elif part == "dark":
            bias = load_bias(bias_model) if bias_model else made.bias.model if made.bias else None
            made.dark = dark_step(made.frames, bias, folder, options, mode=dark_mode)
            dark_figures(made.dark, folder, options, dark_mode)
        elif part == "flat":
            made.flat = flat_step(made.frames, folder, options, mode=flat_mode, inputs=inputs)
        elif part == "structure":
            made.structure = structure_step(made.frames, folder, options)
        else:
            made.degradation = degradation_step(made.frames, folder, options)

    wanted = [part for part in PARTS if part in only or (part == "bias" and "dark" in only and bias_model is None)]
    for part in wanted:
        try:
            attempt(part)
        except TransientError:
            raise
        except NightcrewError as error:
            made.missing[part] = str(error)


def mask_of(path: Path) -> NDArray[np.bool_]:
    """Pixels that are not 0 in a FITS image."""
    pixels = read_image(path)
    if pixels.ndim != 2:
        raise RejectedInput(f"{shown(path)}: is no mask of two axes")
    return np.asarray(pixels != 0)
