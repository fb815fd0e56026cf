"""Calibrations of photon lists against the limits of the design: histograms of pulse heights, wavelengths of a whole array.

``python -m benchmarks.mkid_calibrations [PIXELS]`` prints one JSON line a measurement and exits non-zero when a target is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mkid import START_S, best
from benchmarks.table import Line
from nightcrew.mkid import words as w

LASERS_NM = (850.0, 950.0, 1100.0, 1250.0, 1375.0)
PHOTONS = 4000  # of a pixel and laser
SPAN_S = 20
HC_EV_NM = 1239.841984
FWHM = 2.354820045


def beam_map_text(pixels: int) -> tuple[str, tuple[int, int]]:
    """Every pixel good; 80 columns."""
    rows = -(-pixels // 80)
    return "".join(f"{10000 + p} 0 {p % 80} {p // 80}\n" for p in range(rows * 80)), (rows, 80)


def make_table(path: Path, nm: float, pixels: int) -> None:
    """A laser exposure of an array with slopes of 75 +- 5 degrees per eV, R = 8, and a twentieth of trigger noise."""
    from nightcrew.mkid.beam_map import parse_beam_map
    from nightcrew.mkid.packets import Photons
    from nightcrew.mkid.table_writer import TableHead, write_table

    text, shape = beam_map_text(pixels)
    placed = parse_beam_map(text.encode(), "beammap.txt", shape=shape)
    n_pixels = placed.n_pixels
    truth = np.random.default_rng(1)
    slope, curve = truth.normal(75, 5, n_pixels), truth.uniform(0.05, 0.11, n_pixels)
    rng = np.random.default_rng(round(nm))
    start_us = START_S * 1_000_000

    def blocks() -> Iterator[Photons]:
        n = n_pixels * PHOTONS // (4 * SPAN_S)
        for quarter in range(4 * SPAN_S):
            pixel = rng.integers(0, n_pixels, n).astype(np.int32)
            energy = np.where(rng.random(n) < 0.05, 0.3 + rng.exponential(0.25, n), HC_EV_NM / nm)
            energy *= 1 + rng.standard_normal(n) / (8 * FWHM)
            phase = -slope[pixel] * energy * (1 - curve[pixel] * energy)
            time_us = np.sort(rng.integers(0, 250_000, n)) + start_us + quarter * 250_000
            raw = np.clip(np.rint(phase / w.DEGREE_PER_PHASE_UNIT), *w.PHASE_LIMITS).astype(np.int64)
            yield Photons(pixel, time_us, w.photon_words(0, 0, 0, raw, np.zeros(n, np.int64)))

    head = TableHead(start_us=start_us, stop_us=start_us + SPAN_S * 1_000_000, beam_map=placed)
    write_table(path, head, blocks(), report=dict, inputs=list, expected_per_s=n_pixels * PHOTONS / SPAN_S)


def histograms(path: Path, pixels: int) -> float:
    """Mphoton per CPU second into histograms of ``pixels`` pixels, photons in memory in the order of a table."""
    from nightcrew.mkid.phase_histogram import BINS, bin_of_phase, count_heights
    from nightcrew.mkid.photon_table import PhotonTable

    with PhotonTable(path) as table:
        photons = table.read(range(pixels), 0, 2_000_000 if pixels > 1000 else None)
    places = bin_of_phase()
    counts = np.zeros((pixels, BINS + 1), dtype=np.uint32)
    return len(photons) / 1e6 / best(lambda: count_heights(photons, None, places, counts))


def wavelengths(folder: Path) -> dict[str, float]:
    """A whole calibration on two threads: CPU and wall seconds, pixels solved, and the rms of dE / E at the lasers."""
    from nightcrew.mkid.energy_fit import energy_at
    from nightcrew.mkid.wavecal import LaserInput, WavecalOptions, calibrate

    lasers = [LaserInput(table=folder / f"laser_{nm:g}.h5", wavelength_nm=nm) for nm in LASERS_NM]
    cpu, wall = time.process_time(), time.perf_counter()
    solution = calibrate(lasers, WavecalOptions(threads=2)).solution
    taken = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    truth = np.random.default_rng(1)
    slope, curve = truth.normal(75, 5, solution.resid.size), truth.uniform(0.05, 0.11, solution.resid.size)
    energy = HC_EV_NM / np.array(LASERS_NM)[:, None]
    found = energy_at(solution.coefficients.reshape(1, -1, 3), -slope * energy * (1 - curve * energy))
    return {**taken, "solved": float(solution.solved.mean()), "rms": float(np.sqrt(np.nanmean((found / energy - 1) ** 2)))}


def measure(folder: Path, pixels: int) -> list[dict[str, Any]]:
    """Rows ``{work, value, unit, target, at_least, ok}``."""
    for nm in LASERS_NM:
        make_table(folder / f"laser_{nm:g}.h5", nm, pixels)
    rows = [
        _row(f"phase histograms of {count} pixels", histograms(folder / "laser_850.h5", count), "Mphoton/s", 80, at_least=True)
        for count in (400, pixels)
    ]
    done = wavelengths(folder)
    what = f"wavelengths, {pixels} pixels x 5 lasers x {PHOTONS} photons"
    limit = np.sqrt(3 / 5 / (0.95 * PHOTONS)) / (8 * FWHM)
    return [
        *rows,
        _row(what, done["cpu_s"] / 60, "CPU minutes", 8 * pixels / 10_000, at_least=False),
        {"work": "the same, wall", "value": done["wall_s"], "unit": "s"},
        _row("pixels solved", done["solved"], "", 0.97, at_least=True),
        _row("rms of dE/E against the Cramer-Rao limit", done["rms"] / limit, "", 1.15, at_least=False),
    ]


def _row(work: str, value: float, unit: str, target: float, *, at_least: bool) -> dict[str, Any]:
    ok = value >= target if at_least else value <= target
    return {"work": work, "value": value, "unit": unit, "target": target, "at_least": at_least, "ok": bool(ok)}


def lines(_data: Path, work: Path, _repeats: int) -> list[Line]:
    """The same as lines of the benchmark's table."""
    folder = work / "mkid_calibrations"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for row in measure(folder, 10_000):
        limit = {} if "target" not in row else {"at_least" if row["at_least"] else "at_most": row["target"]}
        found.append(Line(work="photon lists", what=row["work"], value=row["value"], unit=row["unit"], **limit))
    return found


def main() -> int:
    """Print the rows; 1 when a target is missed."""
    pixels = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), pixels)
    for row in rows:
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}))
    return int(any(row.get("ok") is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
