"""Images, cubes and speckle maps against the limits of the design, in Mphoton per CPU second of one core and CPU seconds.

``python -m benchmarks.mkid_images`` prints one JSON line a measurement and exits non-zero when a target is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mkid import SHAPE, SPAN_S, START_S, make_files
from benchmarks.table import Line
from nightcrew.mkid.calibrated import CalibratedPhotons, CalibratedTable, Calibrations, open_calibrated

REPEATS = 3
MILLIONS = 20.0
SPECKLE_S, SPECKLE_CPS = 60.0, 33.3  # 20 M photons
SPECKLE_IS, SPECKLE_TAU_S = 0.15, 0.5  # share of the light, and how fast its amplitude forgets itself: so that fits without bins are valid
LEAST_VALID = 0.9
"""Of the fits: a benchmark of fits that fail tells nothing."""


def best(work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of some repeats."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


class Loaded(CalibratedTable):
    """A table whose calibrated photons are in memory, so that unpacking the file does not count."""

    def load(self) -> None:
        """Read everything once."""
        self._loaded = list(super().slabs())

    def slabs(self, pixels: range | None = None, start_us: int = 0, stop_us: int | None = None) -> Iterator[CalibratedPhotons]:
        """All slabs, whatever is asked for."""
        yield from self._loaded


def make_table(folder: Path) -> Path:
    """Twenty million photons of ten seconds as a table."""
    from nightcrew.mkid.beam_map import read_beam_map
    from nightcrew.mkid.convert import convert_window
    from nightcrew.mkid.seconds import list_seconds

    make_files(folder, MILLIONS)
    window = START_S * 10**6, (START_S + SPAN_S) * 10**6
    convert_window(list_seconds(folder).files, read_beam_map(folder / "beammap.txt"), *window, folder / "table.h5")
    return folder / "table.h5"


def calibrations_of(path: Path) -> Calibrations:
    """A wavelength solution and a flat field for every pixel: a straight line each."""
    from nightcrew.mkid.photon_table import PhotonTable
    from nightcrew.mkid.wavelength_solution import unsolved

    with PhotonTable(path) as table:
        resid, shape = table.resid, table.shape
    solution = unsolved(np.array([850.0, 1375.0]), resid)
    coefficients = np.zeros((*shape, 3))
    coefficients[..., 1] = -1.1 / 60
    return Calibrations(
        wavelength=replace(solution, coefficients=coefficients, flag=np.zeros(shape, np.uint32), covariance=np.zeros((*shape, 3, 3))),
        linearity_step_s=1.0,
    )


def cube_rows(path: Path) -> list[dict[str, Any]]:
    """Image, time cube and spectral cube: from photons in memory with weights, and whole from the file."""
    from nightcrew.mkid.cube import make_cube
    from nightcrew.mkid.cube_bins import constant_energy, time_edges

    calibrations = calibrations_of(path)
    span_us = SPAN_S * 1_000_000
    whole, tenths = time_edges(0, span_us), time_edges(0, span_us, span_us // 10)
    bins = constant_energy(700, 1500, (1239.841984 / 700 - 1239.841984 / 1500) / 11.001)
    with open_calibrated(path, calibrations) as opened:
        loaded = Loaded(opened.table, calibrations)
        loaded.load()
        n = opened.table.n_photons / 1e6
        image, ten, eleven = (
            best(partial(make_cube, loaded, edges, wave)) for edges, wave in ((whole, None), (tenths, None), (whole, bins))
        )
        from_file = best(lambda: make_cube(opened, whole, bins))
    with open_calibrated(path, []) as plain:
        index = best(lambda: make_cube(plain, whole))
        part = best(lambda: make_cube(plain, time_edges(500_000, span_us - 500_000)))
        frames = best(lambda: make_cube(plain, tenths))
    return [
        _row("image with weights", n / image, "Mphoton/s", at_least=100),
        _row("image of a table without weights, from the file", n / index, "Mphoton/s", at_least=100),
        _row("the same of 9 s of 10", 0.9 * n / part, "Mphoton/s"),
        _row("10-frame time cube without weights, from the file", n / frames, "Mphoton/s"),
        _row("10-frame time cube with weights", n / ten, "Mphoton/s", at_least=60),
        _row("11-bin spectral cube with weights", n / eleven, "Mphoton/s", at_least=60),
        _row("the same with reading and calibrating the file", n / from_file, "Mphoton/s"),
    ]


def speckle_rows() -> list[dict[str, Any]]:
    """Maps of 10,000 pixels x 60 s with their block bootstrap: of the same photons in bins, and of every interval between them."""
    from nightcrew.mkid.speckle import SpeckleRules
    from nightcrew.mkid.speckle_binned import fit_counts
    from nightcrew.mkid.speckle_intervals import fit_intervals, intervals_of
    from nightcrew.simulate import speckle as light

    rng = np.random.default_rng(8)
    n_pixels, block = SHAPE[0] * SHAPE[1], 500
    counts, pixels, times = [], [], []
    for start in range(0, n_pixels, block):
        steady = np.full(block, SPECKLE_CPS * (1 - SPECKLE_IS))
        n_bins = round(SPECKLE_S / 0.01)
        rate = light.correlated_intensities(rng, steady, SPECKLE_CPS * SPECKLE_IS, 0.0, n_bins, step_s=0.01, tau_s=SPECKLE_TAU_S)
        pixel, time_s = light.photon_times(rng, rate, 0.01)
        place = pixel * rate.shape[1] + (time_s * 100).astype(np.int64).clip(0, rate.shape[1] - 1)
        counts.append(np.bincount(place, minlength=rate.size).reshape(rate.shape).astype(np.int32))
        pixels.append(pixel + start)
        times.append((time_s * 1e6).astype(np.int64))
    every, pixel, time_us = np.concatenate(counts), np.concatenate(pixels), np.concatenate(times)
    first = np.searchsorted(pixel, np.arange(n_pixels + 1))
    timed = intervals_of(first, time_us, round(SPECKLE_S * 1e6), 0.0)
    start_s = time.process_time()
    fits = fit_counts(every, SpeckleRules())
    binned = time.process_time() - start_s
    start_s = time.process_time()
    without = fit_intervals(timed, SpeckleRules(errors="bootstrap"), fits.decorrelation_s, fits.array_decorrelation_s)
    free = time.process_time() - start_s
    for found in (fits, without):
        share, typical = float(found.valid.mean()), float(np.nanmedian(found.parameters_cps[:, 1]))
        if not (share > LEAST_VALID and found.bootstrapped and abs(typical / (SPECKLE_CPS * SPECKLE_IS) - 1) < 0.05):
            raise RuntimeError(
                f"fits that were measured are no fits: {share:.0%} valid, Is {typical:.3g} of {SPECKLE_CPS * SPECKLE_IS:.3g}"
            )
    return [
        _row("binned speckle maps, 10,000 pixels x 60 s at 10 ms", binned, "CPU s", at_most=120),
        _row(f"bin-free on the same, {time_us.size / 1e6:.0f} M photons", free, "CPU s", at_most=360),
    ]


def quicklook_row(folder: Path) -> dict[str, Any]:
    """Page of one raw second of a full array, as a command."""
    words = ["mkid", "quicklook", str(folder / f"{START_S + 3}.bin"), "-o", str(folder / "q.html")]
    code = "import sys; from deployments.cli import main; sys.argv = ['nightcrew', *sys.argv[1:]]; main()"
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return _row("quick look at a raw second of 2 M photons, whole command", min(seconds), "s", at_most=2.0)


def _row(work: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"work": work, "value": value, "unit": unit}
    if at_least is not None:
        row |= {"at_least": at_least, "ok": value >= at_least}
    if at_most is not None:
        row |= {"at_most": at_most, "ok": value <= at_most}
    return row


def measure(folder: Path) -> list[dict[str, Any]]:
    """Every row."""
    table = make_table(folder)
    return [*cube_rows(table), quicklook_row(folder), *speckle_rows()]


def lines(_data: Path, work: Path, _repeats: int) -> list[Line]:
    """The same as lines of the benchmark's table."""
    folder = work / "mkid_images"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for row in measure(folder):
        limit = {name: row[name] for name in ("at_least", "at_most") if name in row}
        found.append(Line(work="photon images", what=row["work"], value=row["value"], unit=row["unit"], **limit))
    return found


def main() -> int:
    """Print the rows; 1 when a target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    for row in rows:
        print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}))
    return int(any(row.get("ok") is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
