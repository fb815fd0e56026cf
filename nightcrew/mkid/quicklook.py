"""What a quick look shows, as small arrays: counts by step and wavelength, and for each pixel its stream and its histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid import flags as f
from nightcrew.mkid import rician
from nightcrew.mkid.calibrated import CalibratedPhotons, CalibratedTable
from nightcrew.mkid.cube_bins import Binner, WavelengthBins, constant_energy
from nightcrew.mkid.live_time import Stretches, lost_by_pixel, overlap_us, seen_s
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.speckle import SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts
from nightcrew.mkid.stream import seconds_missing
from nightcrew.mkid.timing import binned_counts
from nightcrew.mkid.unheard import UNHEARD
from nightcrew.mkid.wavelength_solution import HC_EV_NM

Floats = NDArray[np.float64]
_MOST_STEPS = 60  # images to step through
_STREAM_STEPS = 240  # of a pixel's time stream
_HISTOGRAM = 48  # cells of a histogram of counts
_MOST_BINS = 1 << 22  # of a pixel
_PHASE_BINS = 72
_COLOURS = 8
_CHUNK_PHOTONS, _CHUNK_BINS = 1 << 22, 1 << 23
_FIT_BINS = 200  # fewer bins tell nothing of speckles
_HOT_SIGMA, _HOT_RATIO = 10.0, 5.0

NOTES = ("flatcal.not_all_weights_valid", "wavecal.histogram_fit_problems", "wavecal.linear", "wavecal.quadratic")
"""Flags that say how a pixel was calibrated, and nothing against it."""

HOT_RULE = f"its rate is above {_HOT_RATIO:g} times the median of its 5 x 5 neighbours, by more than {_HOT_SIGMA:g} sigma of its counts"
"""What is taken for hot when no pixel mask was made."""


@dataclass(frozen=True, kw_only=True)
class QuickLook:
    """Arrays are [y, x] or [pixel]; counts are photons as counted."""

    title: str
    facts: tuple[tuple[str, str], ...]  # name, value: for people
    remarks: tuple[str, ...]
    start_us: int  # Unix time
    span_us: int
    step_us: int
    stream_us: int
    bin_us: int
    resid: NDArray[np.uint32]
    flag: NDArray[np.uint32]
    hot: NDArray[np.bool_]
    hot_rule: str
    cube: NDArray[np.uint32]  # [step, colour, y, x]; the last colour are photons without a wavelength, or outside of the bins
    wavelengths: WavelengthBins | None
    stream: NDArray[np.uint32]  # [pixel, step of the stream]
    histogram: NDArray[np.uint32]  # [pixel, cell]: bins with cell * width to (cell + 1) * width - 1 counts
    histogram_width: NDArray[np.uint32]  # [pixel]
    moments: Floats  # [pixel, (mean, variance)] of the counts in a bin; NaN where there is no bin
    phase: NDArray[np.uint32]  # [pixel, bin]
    phase_edges_deg: Floats
    coefficients: Floats  # [pixel, 3]: energy in eV from phase in degrees; NaN without a solution
    rician_per_bin: Floats  # [pixel, (Ic, Is)]; NaN where it was not fitted
    lost: Stretches  # since the start: read out for no pixel
    silences: Silences  # since the start: not read out for the pixels of a board
    flags_known: dict[str, str] = field(default_factory=lambda: dict(f.FLAGS))


@dataclass(frozen=True, kw_only=True)
class Source:
    """Photons to look at, in chunks of pixels, and what is known of their pixels."""

    title: str
    facts: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    start_us: int
    span_us: int
    resid: NDArray[np.uint32]
    flag: NDArray[np.uint32]
    coefficients: Floats  # [pixel, 3]
    window_nm: tuple[float, float]
    lost: Stretches  # since the start: read out for no pixel
    silences: Silences  # since the start: not read out for the pixels of a board


def unread_in_words(lost: Stretches, silences: Silences, span_us: int) -> list[str]:
    """For how long the readout, and single boards, told nothing between 0 and ``span_us``, in sentences."""
    silent_us = overlap_us(lost, 0, span_us)
    said = [f"Nothing was read out for {silent_us / 1e6:.3f} s, which is no exposure."] if silent_us else []
    for board in silences.boards:
        own_us = overlap_us(silences.of_board(board), 0, span_us)
        number = int((silences.board == board).sum())
        if own_us and number:
            silent = f"Board {board} was silent for {own_us / 1e6:.3f} s" if board != UNHEARD else "A board sent nothing"
            said.append(f"{silent}, which is no exposure of its {number} pixels: images show what was counted.")
    return said


def steps_of(span_us: int) -> int:
    """Length of a step in microseconds: whole seconds, so that there are 60 steps at most; tenths where there is only a second."""
    if span_us <= 2_000_000:
        return max(span_us // 10, 1)
    return math.ceil(span_us / _MOST_STEPS / 1_000_000) * 1_000_000


def look(source: Source, chunks: Iterator[CalibratedPhotons], *, bin_s: float = 0.01, fit: bool = True) -> QuickLook:
    """Count ``chunks`` of photons, which follow each other by pixel; ``fit`` adds modified-Rician parameters where bins suffice."""
    bin_us = round(bin_s * 1e6)
    if not 1 <= bin_us <= source.span_us:
        raise Refused(f"bins of {bin_s} s do not fit into {source.span_us / 1e6} s")
    if source.span_us // bin_us > _MOST_BINS:
        raise Refused(f"bins of {bin_s} s are more than {_MOST_BINS} in {source.span_us / 1e6} s: take longer ones")
    sums = _Sums(source, bin_us, fit)
    for chunk in chunks:
        sums.add(chunk)
    return sums.look()


class _Sums:
    def __init__(self, source: Source, bin_us: int, fit: bool) -> None:
        self._source, self._bin_us = source, bin_us
        n_pixels = source.flag.size
        self._solved = bool(np.isfinite(source.coefficients).any())
        low, high = source.window_nm
        self._bins = constant_energy(low, high, (HC_EV_NM / low - HC_EV_NM / high) / _COLOURS) if self._solved else None
        self._colours = (0 if self._bins is None else self._bins.n) + 1
        self._step_us = steps_of(source.span_us)
        self._n_steps = -(-source.span_us // self._step_us)
        self._stream_us = max(-(-source.span_us // _STREAM_STEPS), 1)
        self._n_stream = -(-source.span_us // self._stream_us)
        self._fit = fit and source.span_us // bin_us >= _FIT_BINS
        self._cube = np.zeros((n_pixels, self._n_steps * self._colours), dtype=np.uint32)
        self._stream = np.zeros((n_pixels, self._n_stream), dtype=np.uint32)
        self._histogram = np.zeros((n_pixels, _HISTOGRAM), dtype=np.uint32)
        self._width, self._moments = np.ones(n_pixels, dtype=np.uint32), np.full((n_pixels, 2), np.nan)
        self._edges = np.linspace(-180.0, 0.0, _PHASE_BINS + 1)
        self._phase = np.zeros((n_pixels, _PHASE_BINS), dtype=np.uint32)
        self._rician = np.full((n_pixels, 2), np.nan)

    def add(self, photons: CalibratedPhotons) -> None:
        """Count the photons of some pixels."""
        n = photons.first.size - 1
        rows, row = slice(photons.first_pixel, photons.first_pixel + n), np.repeat(np.arange(n), np.diff(photons.first))
        colour = self._colours - 1 if self._bins is None else np.mod(Binner(self._bins.edges_nm)(photons.wavelength_nm), self._colours)
        place = photons.time_us // self._step_us * self._colours + colour  # outside (-1) is the last colour
        self._cube[rows] += _counted(row, place, n, self._cube.shape[1])
        self._stream[rows] += _counted(row, photons.time_us // self._stream_us, n, self._n_stream)
        bin_deg = np.floor((photons.phase_deg - self._edges[0]) * (_PHASE_BINS / -self._edges[0])).astype(np.int64)
        self._phase[rows] += _counted(row, np.clip(bin_deg, 0, _PHASE_BINS - 1), n, _PHASE_BINS)
        bad = lost_by_pixel(self._source.lost, self._source.silences, range(rows.start, rows.stop))
        counts = binned_counts(photons, n, (0, self._source.span_us), self._bin_us, bad)
        self._histogram[rows], self._width[rows], self._moments[rows] = histograms(counts)
        if self._fit:
            rules = SpeckleRules(bin_s=self._bin_us / 1e6, errors="curvature", decorrelation_s=1e9)
            found = fit_counts(counts, rules).parameters_cps[:, :2] * rules.bin_s
            self._rician[rows] = np.where(((counts >= 0).sum(axis=1) >= _FIT_BINS)[:, None], found, np.nan)

    def look(self) -> QuickLook:
        """What was counted."""
        source, shape = self._source, self._source.flag.shape
        cube = self._cube.reshape(*shape, self._n_steps, self._colours).transpose(2, 3, 0, 1)
        known = (source.flag & np.uint32(f.bit("pixcal.hot"))) != 0
        guessed = not known.any()
        read_s = seen_s((0, source.span_us), source.lost, source.silences)
        return QuickLook(
            title=source.title,
            facts=source.facts,
            remarks=source.remarks,
            start_us=source.start_us,
            span_us=source.span_us,
            step_us=self._step_us,
            stream_us=self._stream_us,
            bin_us=self._bin_us,
            resid=source.resid,
            flag=source.flag,
            hot=hot_pixels(self._stream.sum(axis=1).reshape(shape), read_s) if guessed else known,
            hot_rule=HOT_RULE if guessed else "flagged hot by the pixel mask",
            cube=np.ascontiguousarray(cube),
            wavelengths=self._bins,
            stream=self._stream,
            histogram=self._histogram,
            histogram_width=self._width,
            moments=self._moments,
            phase=self._phase,
            phase_edges_deg=self._edges,
            coefficients=source.coefficients,
            rician_per_bin=self._rician,
            lost=source.lost,
            silences=source.silences,
        )


def histograms(counts: NDArray[np.int32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Floats]:
    """Histograms [pixel, cell] of counts [pixel, bin] (below 0: masked), the widths of the cells [pixel], and mean and variance.

    Cells are one count wide where 48 of them hold the greatest count, and else as wide as they have to be: nothing falls beyond.
    """
    width = np.maximum(-(-(counts.max(axis=1, initial=0).astype(np.int64) + 1) // _HISTOGRAM), 1)
    cells = counts if int(width.max(initial=1)) == 1 else counts // width[:, None]
    bins = rician.histogram(cells, _HISTOGRAM - 1).T.astype(np.uint32)
    seen = counts >= 0
    number = np.maximum(seen.sum(axis=1), 1)
    kept = np.where(seen, counts, 0)
    mean = kept.sum(axis=1, dtype=np.int64) / number
    variance = np.einsum("pb,pb->p", kept, kept, dtype=np.float64) / number - mean**2
    moments = np.where((seen.sum(axis=1) > 0)[:, None], np.stack([mean, variance], axis=1), np.nan)
    return bins, width.astype(np.uint32), moments


def _counted(row: NDArray[np.int64], place: NDArray[np.int64], n_rows: int, n: int) -> NDArray[np.uint32]:
    counted = np.bincount(row * n + place, minlength=n_rows * n).reshape(n_rows, n)
    return counted.astype(np.uint32)


def hot_pixels(counts: NDArray[np.integer], read_s: Floats | None = None) -> NDArray[np.bool_]:
    """Pixels [y, x] that :data:`HOT_RULE` takes for hot; ``read_s`` [y, x] is for how long each was read out (None: all as long).

    Those that were not read out at all are no neighbours, and not hot.
    """
    share = np.ones(counts.shape) if read_s is None else read_s / max(float(read_s.max(initial=0.0)), 1e-9)
    scale = np.where(share > 0, 1 / np.where(share > 0, share, 1.0), np.nan)
    values = counts * scale  # as in the longest of all
    padded = np.pad(values, 2, mode="reflect") if min(values.shape) > 2 else np.pad(values, 2, mode="edge")
    rows, columns = values.shape
    around = np.stack([padded[dy : dy + rows, dx : dx + columns] for dy in range(5) for dx in range(5)])
    some = np.isfinite(around).any(axis=0)
    middle = np.full(values.shape, np.nan)
    middle[some] = np.nanmedian(around[:, some], axis=0)
    sigma = np.sqrt(np.maximum(counts, 1)) * scale
    hot: NDArray[np.bool_] = (values > _HOT_RATIO * middle) & (values - middle > _HOT_SIGMA * sigma)  # False of those not read out
    return hot


def with_masked(table: CalibratedTable) -> CalibratedTable:
    """The same table with the photons that masks and cosmic rays take away: a quick look shows what was counted."""
    return CalibratedTable(table.table, replace(table.calibrations, masks=None, cosmic=None))


def look_at_table(table: CalibratedTable, title: str, *, bin_s: float = 0.01) -> QuickLook:
    """A quick look at a photon table, read with its calibrations; its flags are theirs, its counts those of all photons."""
    whole = with_masked(table)
    attributes, report = table.table.attributes, table.table.report
    missing = len(report.get("missing_seconds", []))
    lost, silences = whole.lost - table.start_us, table.table.silences.since(table.start_us)
    words = report.get("words", {})
    lost_frames = sum(int(count) for count in words.get("lost_frames", {}).values()) if isinstance(words, dict) else 0
    solution = table.calibrations.wavelength
    remarks = [] if solution else ["There is no wavelength solution: no colours, and no energies beside the phases."]
    remarks += [f"{seconds_missing(missing)}."] if missing else []
    remarks += unread_in_words(lost, silences, table.stop_us - table.start_us)
    untold = int(report.get("untold_pixels", 0))
    remarks += [f"Whether the board of {untold} dark pixels was silent cannot be told: see the table's report."] if untold else []
    source = Source(
        title=title,
        facts=(
            ("photons", str(table.table.n_photons)),
            ("duration", f"{table.duration_s:g} s"),
            ("array", f"{table.shape[1]} x {table.shape[0]} pixels"),
            ("beam map", str(attributes.get("E_BMAP", ""))),
            ("exposure", str(attributes.get("exposure", ""))),
            ("type", str(attributes.get("type", ""))),
            ("lost frames", str(lost_frames)),
        ),
        remarks=tuple(remarks),
        start_us=table.start_us,
        span_us=table.stop_us - table.start_us,
        resid=table.resid,
        flag=table.flag,
        coefficients=_coefficients(table),
        window_nm=(float(attributes["min_wavelength"]), float(attributes["max_wavelength"])),
        lost=lost,
        silences=silences,
    )
    return look(source, _chunks(whole, round(bin_s * 1e6)), bin_s=bin_s)


def _chunks(table: CalibratedTable, bin_us: int) -> Iterator[CalibratedPhotons]:
    photons = np.cumsum(table.table.counts().ravel())
    n_bins = max((table.stop_us - table.start_us) // max(bin_us, 1), 1)
    low = 0
    while low < photons.size:
        before = int(photons[low - 1]) if low else 0
        high = int(np.searchsorted(photons, before + _CHUNK_PHOTONS, side="right"))
        high = max(min(high, low + max(_CHUNK_BINS // n_bins, 1), photons.size), low + 1)
        yield table.photons(range(low, high))
        low = high


def _coefficients(table: CalibratedTable) -> Floats:
    """Energy from phase of every pixel of the table."""
    from nightcrew.mkid.solution_file import places_of

    found = np.full((table.n_pixels, 3), np.nan)
    solution = table.calibrations.wavelength
    if solution is not None:
        place = places_of(table.resid, solution.resid).ravel()
        known = (place >= 0) & solution.solved.ravel()[place]
        found[known] = solution.coefficients.reshape(-1, 3)[place[known]]
    return found
