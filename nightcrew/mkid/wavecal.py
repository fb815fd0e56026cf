"""Wavelength calibration: laser exposures to the energy of every pulse height of every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid import line_fit as lf
from nightcrew.mkid import line_models as lm
from nightcrew.mkid.line_data import LineData
from nightcrew.mkid.neighbours import box_median
from nightcrew.mkid.phase_histogram import PhaseHistograms, fill
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.solution_grades import NOT_FITTED
from nightcrew.mkid.solve_lines import solve
from nightcrew.mkid.wavelength_solution import HC_EV_NM, MODELS, WavelengthSolution

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
J = TypeVar("J")
R = TypeVar("R")

_BATCH = 256  # histograms that are fitted together
_AROUND_PX = 11  # box of a neighbourhood


@dataclass(frozen=True, kw_only=True)
class WavecalOptions:
    """Parameters of the calibration."""

    dead_us: int = 500  # photons that follow another of their pixel so soon are left out
    models: tuple[str, ...] = MODELS[1:]
    most_cps: float = 2000.0  # above: too hot
    hot_ratio: float = 5.0  # of the median rate of the neighbourhood, above: too hot
    cold_ratio: float = 0.2  # of the median rate of the neighbourhood, below: cold
    threads: int = 1  # does not change the result

    def __post_init__(self) -> None:
        if not self.models or set(self.models) - set(MODELS[1:]) or len(set(self.models)) < len(self.models):
            raise Refused(f"models of a histogram are some of {', '.join(MODELS[1:])}")
        if not (0 <= self.dead_us <= 1_000_000 and self.most_cps > 0 and self.hot_ratio > 1 > self.cold_ratio >= 0 and self.threads >= 1):
            raise Refused("the time cut lies within a second, hot pixels above the median rate, cold ones below it")


@dataclass(frozen=True, kw_only=True)
class LaserInput:
    """A laser exposure: a table or a part of one, and optionally the dark that belongs to it.  Times count from the table's start."""

    table: Path
    wavelength_nm: float
    within_us: tuple[int, int] | None = None
    dark: Path | None = None


@dataclass(frozen=True)
class Calibrated:
    """A solution and the histograms that it was fitted to."""

    solution: WavelengthSolution
    data: LineData

    def write(self, final: Path, *, overwrite: bool = False) -> None:
        """Write both into one file."""
        self.solution.write(final, more=self.data.arrays(), overwrite=overwrite)


@dataclass
class _Read:
    """Histograms of all lasers, in order of wavelength."""

    lasers: list[LaserInput]
    histograms: list[PhaseHistograms]
    darks: dict[Path, PhaseHistograms]
    resid: NDArray[np.uint32]
    flag: NDArray[np.uint32]
    inputs: list[dict[str, Any]] = field(default_factory=list)


def calibrate(lasers: Sequence[LaserInput], options: WavecalOptions, *, masked: NDArray[np.uint32] | None = None) -> Calibrated:
    """Calibrate from photon tables of one array; ``masked`` [y, x] are more flags, whose problem pixels are not fitted.

    Raises ``Refused`` for fewer than two wavelengths or one that comes twice, :class:`RejectedInput` when the tables are of different
    arrays.
    """
    read = _read(sorted(lasers, key=lambda one: one.wavelength_nm), options)
    flag = read.flag if masked is None else read.flag | masked
    data = _line_data(read)
    tried, causes = _attempted(read, flag, options)
    nm = np.array([one.wavelength_nm for one in read.lasers], dtype=np.float64)
    lines = _fit_all(data, HC_EV_NM / nm, tried, options)
    for one in lines:
        one.flag[(causes & np.uint32(f.bit("pixcal.hot"))) > 0] = lf.HOT
    photons = data.histogram.sum(axis=-1, dtype=np.int64)
    solution = solve(nm, read.resid, lines, tried, causes, photons)
    parameters = {key: value for key, value in asdict(options).items() if key != "threads"}
    return Calibrated(replace(solution, provenance={"parameters": parameters, "inputs": read.inputs}), data)


def _read(lasers: Sequence[LaserInput], options: WavecalOptions) -> _Read:
    if len({one.wavelength_nm for one in lasers}) < 2:
        raise Refused("a wavelength calibration needs laser exposures at two wavelengths at least")
    if len({one.wavelength_nm for one in lasers}) < len(lasers):
        raise Refused("there is more than one exposure of one wavelength; name one of each")
    found: _Read | None = None
    for one in lasers:
        with PhotonTable(one.table) as table:
            if found is None:
                found = _Read(list(lasers), [], {}, table.resid, table.flag)
            elif not np.array_equal(found.resid, table.resid):
                raise RejectedInput(f"{shown(one.table)}: has another beam map than {shown(lasers[0].table)}")
            found.histograms.append(fill(table, dead_us=options.dead_us, within_us=one.within_us))
            found.inputs.append(_identity(table, "laser", one.wavelength_nm))
    if found is None:
        raise Refused("there is no laser exposure")
    for path in sorted({one.dark for one in lasers if one.dark is not None}):
        with PhotonTable(path) as table:
            if not np.array_equal(found.resid, table.resid):
                raise RejectedInput(f"{shown(path)}: has another beam map than {shown(lasers[0].table)}")
            found.darks[path] = fill(table, dead_us=options.dead_us)
            found.inputs.append(_identity(table, "dark", None))
    return found


def _identity(table: PhotonTable, kind: str, wavelength_nm: float | None) -> dict[str, Any]:
    what = {"name": shown(table.path), "type": kind, "start_us": table.start_us, "stop_us": table.stop_us, "photons": table.n_photons}
    return {
        **what,
        "seconds": [sha256 for _, _, sha256 in table.inputs],
        **({} if wavelength_nm is None else {"wavelength_nm": wavelength_nm}),
    }


def _line_data(read: _Read) -> LineData:
    rows, columns = read.resid.shape
    paths = sorted(read.darks)
    bins = read.histograms[0].counts.shape[1]
    scale = np.zeros((len(read.lasers), rows, columns))
    index = np.full(len(read.lasers), -1, dtype=np.int64)
    laser_counts = np.empty((len(read.lasers), rows * columns, bins), dtype=np.uint32)
    for place, one in enumerate(read.lasers):
        laser_counts[place] = read.histograms[place].counts
        histogram = read.histograms[place] = replace(read.histograms[place], counts=laser_counts[place])  # the one copy from here on
        if one.dark is not None:
            index[place] = paths.index(one.dark)
            dark = read.darks[one.dark]
            time_s = np.where(dark.photons > 0, dark.time_s, dark.duration_s)
            scale[place] = (histogram.time_s / np.maximum(time_s, 1e-9)).reshape(rows, columns)
    dark_counts = np.stack([read.darks[path].counts for path in paths]) if paths else np.zeros((0, rows * columns, bins), np.uint32)
    return LineData(laser_counts.reshape(-1, rows, columns, bins), dark_counts.reshape(-1, rows, columns, bins), index, scale)


def _attempted(read: _Read, flag: NDArray[np.uint32], options: WavecalOptions) -> tuple[Flags, NDArray[np.uint32]]:
    """Pixels [pixel] that are fitted, and flags of those that are not."""
    flat = flag.ravel()
    rates = np.stack([one.rate_cps for one in read.histograms])
    known = (flat & f.bits(NOT_FITTED)) == 0
    mean = rates.mean(axis=0)
    around = _rates_around(np.where(known & (mean > 0), mean, np.nan).reshape(flag.shape)).ravel()
    hot = known & ((rates > options.most_cps).any(axis=0) | (mean > options.hot_ratio * around))
    cold = known & (mean < options.cold_ratio * around) & (mean > 0)
    dead = known & (mean == 0)
    causes = np.zeros(flat.size, dtype=np.uint32)
    for which, name in ((hot, "pixcal.hot"), (cold, "pixcal.cold"), (dead, "pixcal.dead")):
        causes[which] |= np.uint32(f.bit(name))
    problem = f.bits(f.PROBLEM) & ~f.bits([name for name in f.PROBLEM if name.startswith("wavecal.")])
    tried = known & ~hot & ~cold & ~dead & ((flat & problem) == 0)
    return tried, causes


def _rates_around(rates_cps: Floats) -> Floats:
    """Median rate [y, x] of each pixel's neighbourhood, since a laser does not light an array evenly; 0 where nothing counts."""
    finite = np.isfinite(rates_cps)
    everywhere = float(np.median(rates_cps[finite])) if finite.any() else 0.0
    around = box_median(rates_cps, _AROUND_PX)
    return np.where(np.isfinite(around), around, everywhere)


def _fit_all(data: LineData, energies_ev: Floats, tried: Flags, options: WavecalOptions) -> list[lf.Lines]:
    """Lines of every laser [laser] of [pixel]; what fails is tried once more from what the pixel's other lasers lead to expect."""
    bins = data.histogram.shape[-1]
    counts = data.histogram.reshape(energies_ev.size, -1, bins)
    lines = [lf.Lines.none(tried.size) for _ in energies_ev]

    def work(job: _Job) -> lf.Lines:
        chosen = counts[job.laser, job.pixels]
        return lf.fit_lines(chosen, data.dark_expected(job.laser, job.pixels), options.models, job.centre, job.sigma)

    jobs = [_Job(laser, part) for laser in range(energies_ev.size) for part in _parts(np.flatnonzero(tried))]
    for job, found in zip(jobs, mapped(work, jobs, options.threads), strict=True):
        lines[job.laser].put(job.pixels, found)
    jobs = _second_tries(lines, energies_ev, tried)
    for job, found in zip(jobs, mapped(work, jobs, options.threads), strict=True):
        better = found.flag == lf.GOOD
        lines[job.laser].put(job.pixels[better], found.of(better))
    return lines


@dataclass(frozen=True)
class _Job:
    laser: int
    pixels: NDArray[np.intp]
    centre: Floats | None = None
    sigma: Floats | None = None


def _second_tries(lines: list[lf.Lines], energies_ev: Floats, tried: Flags) -> list[_Job]:
    """Heights grow about as the energy: the nearest laser that was fitted tells where the line ought to be."""
    good = np.stack([one.flag == lf.GOOD for one in lines])
    jobs = []
    for laser, energy_ev in enumerate(energies_ev):
        failed = tried & ~good[laser] & good.any(axis=0) & (lines[laser].flag != lf.FEW_PHOTONS)
        away = np.where(good, np.abs(energies_ev - energy_ev)[:, None], np.inf)
        for pixels in _parts(np.flatnonzero(failed)):
            nearest = np.argmin(away[:, pixels], axis=0)
            known = np.stack([one.parameters[pixels] for one in lines])[nearest, np.arange(pixels.size)]
            jobs.append(_Job(laser, pixels, known[:, lm.CENTRE] * energy_ev / energies_ev[nearest], known[:, lm.SIGMA]))
    return jobs


def _parts(pixels: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [pixels[start : start + _BATCH] for start in range(0, pixels.size, _BATCH)]


def mapped(work: Callable[[J], R], jobs: Sequence[J], threads: int) -> list[R]:
    """Results in the order of the jobs."""
    if threads == 1:
        return [work(job) for job in jobs]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, jobs))
