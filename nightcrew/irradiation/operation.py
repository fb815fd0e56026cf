"""Operation sequences: frames of a running sensor in the beam, what stands out in each, and how that follows the beam.

A value is an outlier when it stands out from the same pixel's other frames with a stated false-alarm rate
(:mod:`nightcrew.irradiation.outliers`).  Pixels that stay high to the end are *persistent* (damage or telegraph), the others
*transient* (hits).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.irradiation.dose import Logs
from nightcrew.irradiation.dose_curve import DoseCurve
from nightcrew.irradiation.dose_log import DoseLog
from nightcrew.irradiation.frames import Frame
from nightcrew.irradiation.least_squares import Fit, fit, line
from nightcrew.irradiation.open_frames import OpenFrames
from nightcrew.irradiation.outliers import FALSE_ALARM, SAMPLE, estimate_prior, find_outliers
from nightcrew.irradiation.response import RATE_TELLS
from nightcrew.irradiation.stacks import DEFAULT_MEMORY_BYTES, FrameNumbers, frame_numbers
from nightcrew.irradiation.tokens import natural

F8 = NDArray[np.float64]
LEAST_FRAMES = 3
SAME_C = 0.5  # a temperature that changes by less is the same in all frames
_SAMPLE_ROWS = 16
_BYTES_A_VALUE = 60
_FILM_SIDE = 256
FILM_FRAMES = 200  # of longer sequences every second, third ... frame is in the films


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Numbers of every frame in the order of time; NaN where unknown.  Times in s from the first frame."""

    frames: tuple[Frame, ...]
    numbers: tuple[FrameNumbers, ...]
    time_s: F8
    dose_krad: F8
    rate_krad_per_s: F8
    outliers: NDArray[np.int64]
    others: Mapping[str, F8] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Correlation:
    """Outliers of a frame against its dose rate: Pearson's r with its error, and a line; a constant where the line cannot be told."""

    r: float
    r_error: float
    line: Fit
    constant: float
    why: str = ""

    def predict(self, rate: F8) -> F8:
        """Outliers expected at a rate."""
        if self.why:
            return np.full(len(rate), self.constant)
        return self.line.predict({"intercept": np.ones_like(rate), "slope": rate})[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One sequence.  Maps [y, x]: ``cumulative`` frames in which a pixel stood out, ``persistent`` pixels; small pictures for the films.

    ``false_alarm``: of one value; ``expected_false``: of the whole sequence.  ``why``: why there are no outliers at all.
    ``beside``: how the outliers follow the logs' other columns (current, voltage, power, temperature).
    """

    name: str
    series: Series
    shape: tuple[int, int]
    cumulative: NDArray[np.uint16]
    persistent: NDArray[np.bool_]
    first: NDArray[np.float32]
    mean: NDArray[np.float32]
    last: NDArray[np.float32]
    small: NDArray[np.float32]
    small_outliers: NDArray[np.float32]
    false_alarm: float
    expected_false: float
    correlation: Correlation
    remarks: tuple[str, ...]
    why: str = ""
    beside: Mapping[str, Correlation] = field(default_factory=dict)


def sequences(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """Operation frames by their folder, in order of its name."""
    found: dict[str, list[Frame]] = {}
    for frame in frames:
        found.setdefault(frame.folder, []).append(frame)
    return {name: found[name] for name in sorted(found, key=natural)}


def ordered(frames: Sequence[Frame]) -> list[Frame]:
    """By the number in the file's name or header, else by time (f2 before f10)."""
    if all(frame.number is not None for frame in frames) and len({frame.number for frame in frames}) == len(frames):
        return sorted(frames, key=lambda frame: frame.number or 0)
    if all(frame.time_s is not None for frame in frames):
        return sorted(frames, key=lambda frame: (frame.time_s or 0.0, natural(frame.relative)))
    return sorted(frames, key=lambda frame: natural(frame.relative))


def analyse_sequence(
    name: str,
    frames: Sequence[Frame],
    logs: Logs,
    *,
    power: DoseLog | None = None,
    step_adu: float = 0.0,
    false_alarm: float = FALSE_ALARM,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Operation:
    """Analyse one sequence.  ``logs``: that of the folder, or of the campaign.  RejectedInput for frames of different sizes."""
    used = ordered(frames)
    found = [frame_numbers(frame.path) for frame in used]
    shapes = {shape for _, shape in found}
    if len(shapes) > 1:
        raise RejectedInput(f"{name}: its frames have different sizes")
    numbers, shape = [one for one, _ in found], found[0][1]
    work = _Work(used, numbers, shape, step_adu, false_alarm, memory_bytes)
    work.run()
    time, dose, rate, others, remarks = _courses(used, logs, power)
    why = work.why
    counts = work.counts
    series = Series(
        frames=tuple(used), numbers=tuple(numbers), time_s=time, dose_krad=dose, rate_krad_per_s=rate, outliers=counts, others=others
    )
    return Operation(
        name=name,
        series=series,
        shape=shape,
        cumulative=work.cumulative,
        persistent=work.persistent,
        first=work.first,
        mean=work.mean,
        last=work.last,
        small=work.small,
        small_outliers=work.small_outliers,
        false_alarm=false_alarm,
        expected_false=false_alarm * shape[0] * shape[1] * len(used) if not why else 0.0,
        correlation=correlate(rate, counts),
        remarks=remarks,
        why=why,
        beside={name: correlate(values, counts, _OF.get(name, name)) for name, values in sorted(others.items())} if not why else {},
    )


class _Work:
    def __init__(
        self, frames: list[Frame], numbers: list[FrameNumbers], shape: tuple[int, int], step: float, false_alarm: float, memory: int
    ) -> None:
        self.frames, self.shape = frames, shape
        self.levels = np.array([one.level for one in numbers], dtype=np.float32)
        self.step, self.false_alarm, self.memory = step, false_alarm, memory
        self.counts = np.zeros(len(frames), dtype=np.int64)
        self.cumulative = np.zeros(shape, dtype=np.uint16)
        self.persistent = np.zeros(shape, dtype=bool)
        self.first, self.mean, self.last = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        self.block = max(1, -(-max(shape) // _FILM_SIDE))
        self.film = np.arange(0, len(frames), max(1, -(-len(frames) // FILM_FRAMES)))
        small = (len(self.film), max(1, shape[0] // self.block), max(1, shape[1] // self.block))
        self.small, self.small_outliers = np.zeros(small, np.float32), np.zeros(small, np.float32)
        self.why = "" if len(frames) >= LEAST_FRAMES else f"{len(frames)} frames do not tell which stands out, {LEAST_FRAMES} are needed"

    def run(self) -> None:
        with OpenFrames([frame.path for frame in self.frames]) as images:
            prior = None
            if not self.why:
                pixels = min(SAMPLE, self.memory // (len(images) * _BYTES_A_VALUE))
                n_rows = max(1, min(_SAMPLE_ROWS, pixels // self.shape[1] // 8))
                n_blocks = min(8, max(1, pixels // (n_rows * self.shape[1])))
                starts = np.unique(np.linspace(0, max(self.shape[0] - n_rows, 0), n_blocks).astype(int)).tolist()
                sample = [self._values(images, y, min(y + n_rows, self.shape[0]))[0] for y in starts]
                prior = estimate_prior(np.concatenate(sample, axis=1), least_variance=self.step**2 / 12)
            rows = max(1, self.memory // max(1, len(images) * self.shape[1] * _BYTES_A_VALUE))
            for y0 in range(0, self.shape[0], rows):
                y1 = min(y0 + rows, self.shape[0])
                values, raw = self._values(images, y0, y1)
                found = find_outliers(values, prior, false_alarm=self.false_alarm) if prior else np.zeros(values.shape, dtype=bool)
                self._keep(y0, y1, raw, found)

    def _values(self, images: OpenFrames, y0: int, y1: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        raw = images.rows(y0, y1)
        return raw - self.levels[:, None], raw

    def _keep(self, y0: int, y1: int, raw: NDArray[np.float32], found: NDArray[np.bool_]) -> None:
        shape = (y1 - y0, self.shape[1])
        self.counts += found.sum(axis=1)
        self.cumulative[y0:y1] = found.sum(axis=0).reshape(shape)
        stays = np.logical_and.accumulate(found[::-1])[::-1]
        self.persistent[y0:y1] = (stays.sum(axis=0) >= 2).reshape(shape)
        self.first[y0:y1], self.last[y0:y1] = raw[0].reshape(shape), raw[-1].reshape(shape)
        self.mean[y0:y1] = raw.mean(axis=0, dtype=np.float64).reshape(shape)
        self._keep_small(y0, raw[self.film].reshape(-1, *shape), found[self.film].reshape(-1, *shape))

    def _keep_small(self, y0: int, raw: NDArray[np.float32], found: NDArray[np.bool_]) -> None:
        """Rows of a slab into the films' pictures: means of blocks of pixels, and whether any of a block stood out."""
        b, (_, n_rows, columns) = self.block, self.small.shape
        for place in range(raw.shape[1]):
            row = (y0 + place) // b
            if row < n_rows:
                cut = raw[:, place, : columns * b].reshape(len(raw), columns, b)
                self.small[:, row] += cut.mean(axis=2) / np.float32(b)
                hits = found[:, place, : columns * b].reshape(len(raw), columns, b).any(axis=2)
                np.maximum(self.small_outliers[:, row], hits, out=self.small_outliers[:, row])


def _courses(frames: Sequence[Frame], logs: Logs, power: DoseLog | None) -> tuple[F8, F8, F8, dict[str, F8], tuple[str, ...]]:
    """Time from the first frame, dose, rate, and what logs say beside (current, voltage, temperature), interpolated to the frames."""
    n = len(frames)
    known = all(frame.time_s is not None for frame in frames)
    absolute = np.array([frame.time_s or 0.0 for frame in frames]) if known else np.arange(n, dtype=np.float64)
    remarks = [] if known else ["frames have no time; their order stands for it"]
    log = next((log for log in (*logs.by_folder.values(), logs.whole) if log is not None), None)
    dose, rate = np.full(n, math.nan), np.full(n, math.nan)
    others: dict[str, F8] = {}
    if log is not None:
        dose, rate = _dose_of(frames, absolute, known, log)
        others |= _interpolated(log, absolute, known)
    if power is not None:
        others |= _interpolated(power, absolute, known)
    temperatures = [frame.temperature_c for frame in frames]
    if "temperature_c" not in others and all(t is not None for t in temperatures):
        others["temperature_c"] = np.array(temperatures, dtype=np.float64)
    if not np.isfinite(dose).any():
        remarks.append("no log tells the dose of its frames")
    return absolute - (absolute[0] if n else 0.0), dose, rate, others, tuple(remarks)


def _dose_of(frames: Sequence[Frame], absolute: F8, known: bool, log: DoseLog) -> tuple[F8, F8]:
    if known and log.has_times and not log.constant:
        curve = DoseCurve(log)
        at = [curve.at(time) for time in absolute.tolist()]
        return np.array([one.dose_krad for one in at]), np.array([one.rate_krad_per_s for one in at])
    rows = {int(log.frame[row]): row for row in range(len(log)) if log.frame[row] >= 0}
    if len(log.segments()) == 1 and all(frame.number in rows for frame in frames):
        dose = np.array([log.dose_krad[rows[frame.number or 0]] for frame in frames])
        slope = (
            np.gradient(dose, absolute) if known and len(frames) > 1 and np.all(np.diff(absolute) > 0) else np.full(len(frames), math.nan)
        )
        return dose, slope
    return np.full(len(frames), math.nan), np.full(len(frames), math.nan)


def _interpolated(log: DoseLog, absolute: F8, known: bool) -> dict[str, F8]:
    if not known or not np.isfinite(log.time_s).any():
        return {}
    made = {}
    for name, values in log.others.items():
        good = np.isfinite(values) & np.isfinite(log.time_s)
        if good.sum() >= 2:
            order = np.argsort(log.time_s[good], kind="stable")
            made[name] = np.interp(absolute, log.time_s[good][order], values[good][order])
    return made


_OF = {"current_a": "current / A", "voltage_v": "voltage / V", "temperature_c": "temperature / C", "power_w": "power / W"}


def correlate(rate: F8, outliers: NDArray[np.int64], what: str = "dose rate / kRad/s") -> Correlation:
    """Outliers of the frames against the dose rate, or another course called ``what`` (name / unit); counts have Poisson errors."""
    name, _, unit = what.partition(" / ")
    good = np.isfinite(rate)
    x, y = rate[good], outliers[good].astype(np.float64)
    constant = float(y.mean()) if len(y) else float(np.mean(outliers)) if len(outliers) else math.nan
    empty = fit({"intercept": np.ones(0), "slope": np.ones(0)}, np.ones(0))
    if len(y) < 3:
        return Correlation(r=math.nan, r_error=math.nan, line=empty, constant=constant, why=f"{len(y)} frames have a {name}, 3 are needed")
    # a temperature in Celsius has no zero that a part of it could be taken of
    least, to = (SAME_C, f"{SAME_C:g} K") if unit == "C" else (RATE_TELLS * float(np.max(np.abs(x))), f"{100 * RATE_TELLS:g} %")
    if np.ptp(x) <= least:
        same = f"the {name} is {float(np.median(x)):.4g} {unit} in all {len(x)} frames (to {to})"
        return Correlation(r=math.nan, r_error=math.nan, line=empty, constant=constant, why=same)
    law = line(x, y, np.sqrt(np.maximum(y, 1.0)))
    if not math.isfinite(law.value("slope")):
        return Correlation(r=math.nan, r_error=math.nan, line=law, constant=constant, why=law.why.get("slope", "no line"))
    if y.std() == 0:
        return Correlation(r=math.nan, r_error=math.nan, line=law, constant=constant, why="every frame has as many outliers")
    r = float(np.corrcoef(x, y)[0, 1])
    return Correlation(r=r, r_error=(1 - r * r) / math.sqrt(max(len(y) - 1, 1)), line=law, constant=constant)
