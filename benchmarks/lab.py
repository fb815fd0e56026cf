"""Detector models over 40 frames of 2048^2 against loops over pixels, and conversion of raws against copying them.

The loop that the dark fit replaced took, pixel by pixel, the positive rates of the mean darks, one for each temperature and exposure, and
solved ln(rate) = gamma ln t + B (T - T_min) + ln A by linear least squares.  The mean darks are given to it, so that making them does not
count.  That is less than what is done now (all frames in counts with their noise, saturated values, hits and telegraph pixels), which as a
loop would be scipy's ``curve_fit``; both are told.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.spent import timed_in_turns, worker
from benchmarks.table import Line, ratio

N_FRAMES = 40
SIDE = 2048
CURVES = 300  # pixels that scipy gets
LOOP_ROWS = 2  # of the frame, that a loop over pixels gets; its time is scaled up
BIAS = f"bias(T) of {N_FRAMES} x {SIDE}^2"
DARK = f"dark(T, t) of {N_FRAMES} x {SIDE}^2"
CONVERT = "conversion of raws of 8 MB"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def lines(_data: Path, work: Path, repeats: int) -> list[Line]:
    """Frames in memory for the fits (so that reading does not count), files for the conversion."""
    inside = worker("benchmarks.lab", work, max(1, min(repeats, 3)), environment=ONE_THREAD)
    found = {name: inside[name]["cpu_s"] for name in ("bias", "dark", "bias loop", "dark loop", "curve_fit loop")}
    return [
        Line(work=BIAS, what="CPU", value=found["bias"], unit="s", at_most=1.0),
        ratio(BIAS, "less CPU than a loop of np.polyfit over pixels", found["bias loop"], found["bias"], at_least=40),
        Line(work=DARK, what="CPU", value=found["dark"], unit="s", at_most=10.0),
        ratio(DARK, "less CPU than the original's loop: lstsq of ln(rate) pixel by pixel", found["dark loop"], found["dark"], at_least=100),
        ratio(
            DARK, "less CPU than a loop of scipy's curve_fit: the same law in counts", found["curve_fit loop"], found["dark"], at_least=100
        ),
        Line(work=DARK, what="memory of the fit above its frames", value=inside["memory_mb"], unit="MB", at_most=400),
        ratio(CONVERT, "speed of copying (wall)", inside["copy"]["wall_s"], inside["convert"]["wall_s"], at_least=0.6),
    ]


def _frames() -> dict[str, Any]:
    """Bias frames and darks of a sensor of 256^2, laid side by side, with their conditions."""
    import numpy as np

    from nightcrew.simulate.lab_plan import LabSensor
    from nightcrew.simulate.lab_sensor import expose, make_sensor
    from nightcrew.simulate.randomness import generator

    maps = make_sensor(LabSensor(), 1)
    rng = generator(1, "benchmark")
    tiles = (SIDE // 256, SIDE // 256)
    made: dict[str, Any] = {"t": [], "s": [], "bias": [], "bias_t": [], "dark": []}
    for n in range(N_FRAMES):
        t = (-10.0, 0.0, 10.0, 20.0, 30.0)[n % 5]
        made["bias_t"].append(t)
        made["bias"].append(np.tile(expose(maps, "BIAS", t, 1e-5, rng).pixels, tiles))
    cells = [(t, s) for t in (0.0, 10.0, 20.0, 30.0) for s in (1.0, 10.0)]
    for n in range(N_FRAMES):
        t, seconds = cells[n * len(cells) // N_FRAMES]
        made["t"].append(t)
        made["s"].append(seconds)
        made["dark"].append(np.tile(expose(maps, "DARK", t, seconds, rng).pixels, tiles))
    return made


def main(work: Path, repeats: int) -> None:
    """Measure in this process and print JSON."""
    import resource

    import numpy as np

    from nightcrew.detector.bias_model import fit_bias
    from nightcrew.detector.dark_model import fit_dark

    data = _frames()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = fit_bias(data["bias"], data["bias_t"], threads=1)
    fit_dark(data["dark"], data["t"], data["s"], model)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    stacks = {name: np.stack([frame[:LOOP_ROWS].reshape(-1) for frame in data[name]]).astype(float) for name in ("bias", "dark")}
    t = np.asarray(data["bias_t"])

    def bias_loop() -> list[object]:
        return [np.polyfit(t, column, 1) for column in stacks["bias"].T]

    t_cell, s_cell = (np.array(x) for x in zip(*sorted(set(zip(data["t"], data["s"], strict=True))), strict=True))
    of_cell = [(np.asarray(data["t"]) == t) & (np.asarray(data["s"]) == s) for t, s in zip(t_cell, s_cell, strict=True)]
    rates = [(stacks["dark"][chosen].mean(axis=0) - 3200) / s for chosen, s in zip(of_cell, s_cell, strict=True)]
    t_dark, log_s = t_cell - t_cell.min(), np.log(s_cell)

    def dark_loop() -> list[object]:
        """The fit of DC(T, t) that was replaced: of every pixel the positive rates of the mean darks, a plane through their logarithms."""
        made: list[object] = []
        for pixel in range(rates[0].size):
            rate = np.array([frame[pixel] for frame in rates])
            good = rate > 0
            design = np.column_stack([log_s[good], t_dark[good], np.ones(int(good.sum()))])
            made.append(np.linalg.lstsq(design, np.log(rate[good]), rcond=None)[0])
        return made

    def curve_fit_loop() -> list[object]:
        from scipy.optimize import curve_fit

        x = np.asarray(data["t"]) - 20.0, np.asarray(data["s"])
        columns = stacks["dark"].T[:CURVES] - 3200
        return [curve_fit(lambda x, rate, b: rate * np.exp(b * x[0]) * x[1], x, column, p0=(80.0, 0.1)) for column in columns]

    found: dict[str, Any] = dict(
        timed_in_turns(
            {
                "curve_fit loop": curve_fit_loop,
                "bias": lambda: fit_bias(data["bias"], data["bias_t"], threads=1),
                "dark": lambda: fit_dark(data["dark"], data["t"], data["s"], model),
                "bias loop": bias_loop,
                "dark loop": dark_loop,
            },
            repeats,
        )
    )
    for name in ("bias loop", "dark loop"):
        found[name]["cpu_s"] *= SIDE / LOOP_ROWS
    found["curve_fit loop"]["cpu_s"] *= SIDE * SIDE / CURVES
    found["memory_mb"] = memory
    found |= _conversion(work, data["bias"], repeats)
    print(json.dumps(found))


def _conversion(work: Path, frames: list[Any], repeats: int) -> dict[str, Any]:
    from nightcrew.lab.convert import Section, convert_sections

    with tempfile.TemporaryDirectory(dir=work) as name:
        root = Path(name)
        folder = root / "in" / "TestSection1" / "attempt0"
        (folder / "frames").mkdir(parents=True)
        for n, frame in enumerate(frames):
            frame.astype("<u2").tofile(folder / "frames" / f"BiasT0_exp0.1sAt0f{n}.raw")
        (folder / "configFile.txt").write_text(f"WIDTH={SIDE}\nHEIGHT={SIDE}\nBIT_DEPTH=16\n")
        rows = "".join(f"{n},100,12,0\n" for n in range(len(frames)))
        (folder / "temperatureLog.csv").write_text("FrameNum,TimeStamp,ExpTime,Temperature\n" + rows)

        def copy() -> None:
            shutil.rmtree(root / "copy", ignore_errors=True)
            shutil.copytree(root / "in", root / "copy")

        def convert() -> None:
            shutil.rmtree(root / "out", ignore_errors=True)
            convert_sections([Section(root / "in")], root / "out", durable=False)

        return dict(timed_in_turns({"copy": copy, "convert": convert}, repeats))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
