"""The page of a set of photon lists: array, tables, losses, solutions, flats, masks, and its ``summary.json``."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid.flat_solution import FlatSolution
from nightcrew.mkid.mask_solution import REASONS, CosmicRays, PixelMasks
from nightcrew.mkid.solution_grades import flat_grade, wavelength_grade
from nightcrew.mkid.stream import seconds_missing
from nightcrew.mkid.wavelength_solution import WavelengthSolution
from reports import mkid_flat, mkid_wavecal
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisStatus, AnalysisTable, Cell
from reports.figures import EmptyFigureError
from reports.mkid_figures import Plot, grid, image, png_of
from reports.mkid_solutions import flat_quantities, wavelength_quantities
from reports.summary import Quantity, Summary, determined

_KINDS = {
    "unmapped": "channels without a place",
    "orphan": "without a frame header",
    "unknown": "outside the array",
    "misdated": "in misdated frames",
    "repeated": "in copies of frames",
    "zero": "zero fill",
    "bytes_over": "bytes after the last word",
    "frames_cut": "frames without their end",
    "frames_late": "late frames",
}
"""Counts of a table's account, in words for the page."""


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What the page says of one photon table; maps are [y, x]."""

    name: str
    kind: str
    laser_nm: float | None
    start_us: int
    duration_s: float
    live_s: float  # the same, less what the readout did not see
    seen_s: NDArray[np.float64]  # [y, x] the same, less the silences of the pixel's board
    photons: int
    words: Mapping[str, Any]  # what became of the words of its files, by kind
    missing_seconds: tuple[int, ...]
    rejected: tuple[str, ...]  # files that could not be used, with reasons
    sentences: tuple[str, ...]  # what a person should know of its making
    grade: str
    counts: NDArray[np.int64]
    flag: NDArray[np.uint32]

    @property
    def lost_frames(self) -> int:
        """Frames that never came, of all boards."""
        return sum(self.words.get("lost_frames", {}).values())

    @property
    def rate_cps(self) -> NDArray[np.float64]:
        """Photons a second [y, x] of the time in which the pixel was seen; NaN where it was not."""
        seen = self.seen_s > 0
        return np.where(seen, self.counts / np.where(seen, self.seen_s, 1.0), np.nan)

    @property
    def frames(self) -> int:
        """Frames that came."""
        return int(self.words.get("frames", 0))


@dataclass(frozen=True, kw_only=True)
class CalibratedFacts:
    """What a science table is read with, and how good that is."""

    name: str
    photons: int
    calibrated_photons: int
    usable_pixels: int
    wavecal: str
    flatcal: str
    grade: str
    grade_reasons: tuple[str, ...]
    rate_cps: NDArray[np.float64]


@dataclass(kw_only=True)
class MkidSet:
    """All that the page shows, by exposure or key."""

    title: str
    tables: list[TableFacts]
    wavecals: dict[str, WavelengthSolution] = field(default_factory=dict)
    flats: dict[str, FlatSolution] = field(default_factory=dict)
    masks: dict[str, tuple[PixelMasks, CosmicRays]] = field(default_factory=dict)
    calibrated: list[CalibratedFacts] = field(default_factory=list)
    failed: Sequence[str] = ()
    problems: Sequence[str] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    commands: Sequence[str] = ()

    @property
    def grade(self) -> str:
        """The worst of what it is made of; D when something could not be made."""
        parts = [*(one.grade for one in self.tables), *(one.grade for one in self.calibrated)]
        return max(["D" if self.failed else "A", *parts, *(grade for grade, _ in self.solution_grades().values())])

    def solution_grades(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Grade and its reasons of each solution, by what it is called on the page."""
        flag = self.tables[-1].flag if self.tables else None
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for name, solution in self.wavecals.items():
            same = flag is not None and flag.shape == solution.shape
            found[f"wavelengths {name}"] = (
                wavelength_grade(solution, flag) if flag is not None and same else ("D", ("is of another array",))
            )
        for name, flat in self.flats.items():
            made = flat.provenance.get("wavelength_solution")
            with_it = [one for one in self.wavecals.values() if made is None or dict(one.provenance) == made]
            if with_it:
                found[f"flat field {name}"] = flat_grade(flat, with_it[0])
        return found

    def science_grade(self, one: CalibratedFacts) -> str:
        """Grade of a science table, that of its solutions with it."""
        grades = self.solution_grades()
        used = (f"wavelengths {one.wavecal}", f"flat field {one.flatcal}")
        table = [table.grade for table in self.tables if table.name == one.name]
        return max([one.grade, *table, *(grades[name][0] for name in used if name in grades)])


def build(found: MkidSet) -> tuple[AnalysisPage, list[Plot]]:
    """The page, and its figures with the numbers that go beside it."""
    plots: list[Plot] = []
    sections = [_array(found, plots), _tables(found), *_wavecals(found, plots), *_flats(found, plots), *_masks(found, plots)]
    sections += _calibrated(found, plots)
    quantities = _quantities(found)
    person = _for_a_person(found)
    status: AnalysisStatus = "bad" if found.failed else "attention" if person else "good"
    page = AnalysisPage(
        kind="mkid",
        title=found.title,
        verdict=_verdict(found),
        status=status,
        needs_person=tuple(person),
        summary=Summary(
            recipe="mkid_report", inputs=tuple(found.inputs), grade=found.grade, quantities=quantities, warnings=tuple(found.problems)
        ),
        key_quantities=tuple(dict.fromkeys(one.name for one in quantities if one.name not in ("bad_pixels", "flat_weight_error"))),
        sections=tuple(sections),
        commands=tuple(found.commands),
    )
    return page, plots


def _verdict(found: MkidSet) -> str:
    photons = sum(one.photons for one in found.tables)
    said = [f"{len(found.tables)} photon tables with {photons:,} photons".replace(",", " ")]
    if found.wavecals:
        solved = max(float(one.solved.mean()) for one in found.wavecals.values())
        said.append(f"wavelengths for {100 * solved:.0f} % of the pixels")
    else:
        said.append("no wavelength solution")
    if found.failed:
        said.append(f"{len(found.failed)} products could not be made")
    return "; ".join(said)


def _for_a_person(found: MkidSet) -> list[str]:
    said = [*found.failed, *found.problems]
    for one in found.tables:
        if one.missing_seconds:
            said.append(f"{one.name}: {seconds_missing(len(one.missing_seconds))}")
        said += [f"{one.name}: {reason}" for reason in one.rejected]
    said += [f"{name}: {reason}" for name, (_, reasons) in found.solution_grades().items() for reason in reasons]
    for science in found.calibrated:
        said += [f"{science.name}: {reason}" for reason in science.grade_reasons]
    if not found.wavecals:
        said.append("there is no wavelength solution: photons have no wavelength")
    return said


def _quantities(found: MkidSet) -> tuple[Quantity, ...]:
    made = [
        Quantity(name="photons", value=sum(one.photons for one in found.tables)),
        Quantity(name="lost_frames", value=sum(one.lost_frames for one in found.tables)),
    ]
    if found.wavecals:
        for name, solution in found.wavecals.items():
            made += [_at(one, "solution", name, many=len(found.wavecals) > 1) for one in wavelength_quantities(solution)]
    else:
        made.append(determined("solved_fraction", None, "there is no wavelength solution"))
    if found.flats:
        for name, flat in found.flats.items():
            made += [_at(one, "flat", name, many=len(found.flats) > 1) for one in flat_quantities(flat)]
    else:
        made.append(determined("flat_weight_scatter", None, "there is no flat field"))
    return (*made, *_bad_pixels(found))


def _at(one: Quantity, what: str, name: str, *, many: bool) -> Quantity:
    where = {**one.where, what: name} if many else one.where
    return Quantity(name=one.name, value=one.value, error=one.error, unit=one.unit, where=where, note=one.note)


def _bad_pixels(found: MkidSet) -> list[Quantity]:
    made = []
    if found.tables:
        flag = found.tables[-1].flag
        for name in f.FLAGS:
            if name.startswith("beammap."):
                made.append(Quantity(name="bad_pixels", value=int(np.count_nonzero(flag & np.uint32(f.bit(name)))), where={"reason": name}))
    for key, (masks, _) in found.masks.items():
        for place, name in enumerate(REASONS[:3]):
            count = int(((masks.bits >> place) & 1).any(axis=0).sum())
            made.append(Quantity(name="bad_pixels", value=count, where={"reason": name, "exposure": key}))
    if found.wavecals:
        flag = list(found.wavecals.values())[-1].flag
        count = int(np.count_nonzero(flag & np.uint32(f.bit("wavecal.bad"))))
        made.append(Quantity(name="bad_pixels", value=count, where={"reason": "wavecal.bad"}))
    return made


def _array(found: MkidSet, plots: list[Plot]) -> AnalysisSection:
    flag = np.zeros((1, 1), dtype=np.uint32) if not found.tables else found.tables[-1].flag.copy()
    for solution in found.wavecals.values():
        flag = flag | solution.flag if solution.flag.shape == flag.shape else flag
    rows = tuple((name, about, int(np.count_nonzero(flag & np.uint32(f.bit(name))))) for name, about in f.FLAGS.items())
    rows = tuple(row for row in rows if row[2])
    bad = (flag & f.bits(f.PROBLEM)) > 0
    maps = {"pixels with a problem": bad.astype(float), **_rates(found.tables[-3:])}
    figures = _drawn(plots, "", [partial(_maps, "array", "Array", maps)])
    text = f"{flag.shape[1]} x {flag.shape[0]} pixels, {int(bad.sum())} of them have a problem."
    table = AnalysisTable(title="Flags", columns=("flag", "meaning", "pixels"), rows=rows)
    return AnalysisSection(title="Array", text=(text,), tables=(table,), figures=figures)


def _rates(tables: Sequence[TableFacts]) -> dict[str, NDArray[np.float64]]:
    return {f"{one.name} / (1/s)": one.rate_cps for one in tables if one.live_s > 0}


def _maps(name: str, title: str, maps: Mapping[str, NDArray[np.float64]]) -> Plot:
    figure, every = grid(len(maps), columns=2, size_in=(3.2, 3.2))
    for axes, (label, values) in zip(every, maps.items(), strict=True):
        flag = set(np.unique(values[np.isfinite(values)]).tolist()) <= {0.0, 1.0}
        image(axes, values, label, low=0.0 if flag else None, high=1.0 if flag else None)
    numbers = {f"map_{place}": values for place, values in enumerate(maps.values())}
    return Plot(name=name, title=title, caption="; ".join(maps), png=png_of(figure), numbers=numbers)


def _tables(found: MkidSet) -> AnalysisSection:
    rows = []
    for one in found.tables:
        lit = one.rate_cps[(one.counts > 0) & (one.seen_s > 0)]
        middle = float(np.median(lit)) if lit.size else None
        missing = ", ".join(str(second) for second in one.missing_seconds[:10]) + (" ..." if len(one.missing_seconds) > 10 else "")
        kind = one.kind if one.laser_nm is None else f"{one.kind} {one.laser_nm:g} nm"
        start = datetime.datetime.fromtimestamp(one.start_us / 1e6, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        rows.append((one.name, kind, start, one.duration_s, one.live_s, one.photons, middle, one.grade, missing or None))
    columns = ("exposure", "kind", "start / UTC", "length / s", "seen / s", "photons", "median rate / (1/s)", "grade", "missing seconds")
    note = "Seen is the length less the time in which no frame came; rates are of the time in which the pixel's board was heard."
    frames, lost = sum(one.frames for one in found.tables), sum(one.lost_frames for one in found.tables)
    share = f"{lost} of about {frames + lost} frames were lost ({100 * lost / max(frames + lost, 1):.3f} %)."
    tables = [AnalysisTable(title="Exposures", columns=columns, rows=tuple(rows), note=note), _words(found)]
    told = tuple((one.name, sentence) for one in found.tables for sentence in one.sentences)
    if told:
        tables.append(AnalysisTable(title="What was lost or not understood", columns=("exposure", "what"), rows=told))
    return AnalysisSection(title="Photon tables", text=(share,), tables=tuple(tables))


def _words(found: MkidSet) -> AnalysisTable:
    """What became of the words of the files, by kind; kinds that none of them has are left out."""
    kinds = [kind for kind in _KINDS if any(one.words.get(kind) for one in found.tables)]
    rows: list[tuple[Cell, ...]] = []
    for one in found.tables:
        counts = [int(one.words.get(kind, 0)) for kind in kinds]
        rows.append((one.name, one.lost_frames, *counts))
    columns = ("exposure", "lost frames", *(_KINDS[kind] for kind in kinds))
    note = "Words of the files that are no photons of the table."
    return AnalysisTable(title="Losses by kind", columns=columns, rows=tuple(rows), note=note)


def _wavecals(found: MkidSet, plots: list[Plot]) -> list[AnalysisSection]:
    sections = []
    for name, solution in found.wavecals.items():
        figures = _drawn(plots, name, [lambda s=solution: mkid_wavecal.summary(s, {}), lambda s=solution: mkid_wavecal.resolutionimage(s)])
        rows = tuple(
            (float(nm), r, mad, number)
            for nm, (r, mad, number) in zip(solution.wavelengths_nm.tolist(), solution.resolution_by_laser(), strict=True)
        )
        table = AnalysisTable(title="Energy resolution", columns=("wavelength / nm", "R, median", "R, scatter", "pixels"), rows=rows)
        text = tuple(mkid_wavecal.summary_lines(solution)[:1])
        sections.append(AnalysisSection(title=f"Wavelengths {name}", text=text, tables=(table,), figures=figures))
    return sections


def _flats(found: MkidSet, plots: list[Plot]) -> list[AnalysisSection]:
    sections = []
    for name, flat in found.flats.items():
        figures = _drawn(plots, name, [lambda s=flat: mkid_flat.weight_maps(s), lambda s=flat: mkid_flat.weight_scatter(s)])
        scatter, error = mkid_flat.scatter_by_wavelength(flat)
        masked = (flat.weight_flag > 0).sum(axis=(1, 2))
        step = max(len(scatter) // 20, 1)
        rows = tuple(
            (float(flat.centres_nm[place]), float(scatter[place]), float(error[place]), int(masked[place]))
            for place in range(0, len(scatter), step)
        )
        columns = ("wavelength / nm", "scatter of the weights", "median error", "pixels without weight")
        text = (f"{int(flat.chunk_used.sum())} of {flat.chunk_used.size} chunks used.",)
        table = AnalysisTable(title="Weights", columns=columns, rows=rows)
        sections.append(AnalysisSection(title=f"Flat field {name}", text=text, tables=(table,), figures=figures))
    return sections


def _drawn(plots: list[Plot], name: str, painters: Sequence[Any]) -> tuple[AnalysisFigure, ...]:
    """Figures whose names bear the solution's, as far as there is something to draw."""
    figures = []
    for painter in painters:
        try:
            plot = painter()
        except EmptyFigureError:
            continue
        full = f"{plot.name}_{name}" if name else plot.name
        plots.append(Plot(name=full, title=plot.title, caption=plot.caption, png=plot.png, numbers=plot.numbers))
        figures.append(plots[-1].figure())
    return tuple(figures)


def _masks(found: MkidSet, plots: list[Plot]) -> list[AnalysisSection]:
    if not found.masks:
        return []
    rows: list[tuple[Cell, ...]] = []
    for name, (masks, cosmic) in found.masks.items():
        counts = [int(((masks.bits >> place) & 1).any(axis=0).sum()) for place in range(3)]
        rows.append((name, len(masks.bits), *counts, len(cosmic), cosmic.cut_s * 1e3))
    last = list(found.masks.values())[-1][0]
    share = {name: ((last.bits >> place) & 1).mean(axis=0) for place, name in enumerate(("hot", "cold", "dead"))}
    figures = _drawn(plots, "", [partial(_maps, "masks", "Masked part of the time", share)])
    columns = ("exposure", "steps", "hot", "cold", "dead", "cosmic rays", "cut / ms")
    table = AnalysisTable(title="Masks", columns=columns, rows=tuple(rows), note="Pixels that are masked in some step of time.")
    return [AnalysisSection(title="Masks", tables=(table,), figures=figures)]


def _calibrated(found: MkidSet, plots: list[Plot]) -> list[AnalysisSection]:
    if not found.calibrated:
        return []
    rows = tuple(
        (
            one.name,
            one.wavecal or "none",
            one.flatcal or "none",
            found.science_grade(one),
            one.photons,
            one.calibrated_photons,
            one.usable_pixels,
        )
        for one in found.calibrated
    )
    columns = ("exposure", "wavelength solution", "flat field", "grade", "photons, not masked", "with a wavelength", "usable pixels")
    rates = {f"{one.name} / (1/s)": one.rate_cps for one in found.calibrated[-4:] if np.isfinite(one.rate_cps).any()}
    figures = _drawn(plots, "", [partial(_maps, "science", "Calibrated rates", rates)] if rates else [])
    table = AnalysisTable(title="Science tables", columns=columns, rows=rows)
    return [AnalysisSection(title="Science", tables=(table,), figures=figures)]
