"""Dose and dose rate at any time, from a log's rows: interpolated, with runs of the beam, and an error that says how good that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.dose_log import DoseLog

F8 = NDArray[np.float64]
BEAM_ON = 0.05  # of the median rising slope: below, the beam is off
GAP = 5.0  # a step longer than so many usual ones is a gap in the log
RATE_CHANGE = 1.3  # neighbouring runs whose slopes differ by more are two runs
NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A stretch in which the beam ran evenly: begin and end (s), rate (kRad/s)."""

    start_s: float
    stop_s: float
    rate_krad_per_s: float


@dataclass(frozen=True, slots=True)
class DoseAt:
    """Dose, its error, and rate at a time; ``place``: ``before``, ``inside`` or ``after`` the rows, ``gap`` inside a hole of the log."""

    dose_krad: float
    error_krad: float
    rate_krad_per_s: float
    place: str


class DoseCurve:
    """Dose against time.  Rows are sorted by time; at equal times the last counts; a dose that falls is kept and remarked."""

    def __init__(self, log: DoseLog) -> None:
        good = np.isfinite(log.time_s) & np.isfinite(log.dose_krad)
        time, dose = log.time_s[good], log.dose_krad[good]
        order = np.argsort(time, kind="stable")
        time, dose = time[order], dose[order]
        last = np.append(np.diff(time) > 0, True)
        self.time_s: F8 = time[last]
        self.dose_krad: F8 = dose[last]
        remarks = []
        if not last.all():
            remarks.append(f"{int(np.sum(~last))} rows repeat a time; the last of each counts")
        falls = np.diff(self.dose_krad) < -1e-9 * max(1.0, float(np.abs(self.dose_krad).max(initial=0.0)))
        if falls.any():
            remarks.append(f"the dose falls {int(falls.sum())} times")
        self._slopes = np.diff(self.dose_krad) / np.diff(self.time_s) if len(self.time_s) > 1 else np.empty(0)
        self._usual_step = float(np.median(np.diff(self.time_s))) if len(self.time_s) > 1 else math.inf
        self.runs = self._find_runs()
        self.remarks = tuple(remarks)
        steps = np.diff(np.unique(self.dose_krad))
        self._resolution = float(steps.min()) if steps.size else 0.0

    @property
    def beam_start_s(self) -> float:
        """When the beam first ran; NaN if never."""
        return self.runs[0].start_s if self.runs else math.nan

    @property
    def beam_end_s(self) -> float:
        """When it last ran."""
        return self.runs[-1].stop_s if self.runs else math.nan

    def _find_runs(self) -> list[Run]:
        rising = self._slopes[self._slopes > 0]
        if not rising.size:
            return []
        # steps that stand on one value are the log's resolution or a beam that is off: pauses are told by their length
        on = self._slopes > BEAM_ON * float(np.median(rising))
        steps = np.diff(self.time_s)
        gap = steps > GAP * self._usual_step
        bounds: list[list[int]] = []
        for place in np.nonzero(on)[0].tolist():
            starts = not bounds or place != bounds[-1][1] + 1 or gap[place] or gap[place - 1] or self._changes(place)
            bounds.append([int(place), int(place)]) if starts else bounds[-1].__setitem__(1, int(place))
        return [Run(float(self.time_s[a]), float(self.time_s[b + 1]), self._slope(a, b + 1)) for a, b in bounds]

    def _changes(self, place: int) -> bool:
        """Whether the usual slope after a row differs from that before it."""
        before = self._slopes[max(0, place - NEIGHBOURS) : place]
        after = self._slopes[place : place + NEIGHBOURS]
        before, after = before[before > 0], after[after > 0]
        if before.size < 2 or after.size < 2:
            return False
        a, b = float(np.median(before)), float(np.median(after))
        last, here = float(self._slopes[place - 1]), float(self._slopes[place])
        between = abs(here - b) < abs(here - a) and abs(last - a) < abs(last - b)
        return max(a, b) / min(a, b) > RATE_CHANGE and between

    def _slope(self, first: int, last: int) -> float:
        """Median of the slopes between all pairs of rows (Theil 1950, Sen 1968), of at most 60 of them."""
        rows = np.unique(np.linspace(first, last, min(last - first + 1, 60)).astype(int))
        t, d = self.time_s[rows], self.dose_krad[rows]
        i, j = np.triu_indices(len(rows), 1)
        return float(np.median((d[j] - d[i]) / (t[j] - t[i])))

    def rate_at(self, time_s: float) -> float:
        """Rate of the run that holds the time; 0 out of the beam."""
        return next((run.rate_krad_per_s for run in self.runs if run.start_s <= time_s <= run.stop_s), 0.0)

    def at(self, time_s: float) -> DoseAt:
        """Dose at a time.  Before the first and after the last row it is theirs.

        Error: how far the dose may bend between two rows by their neighbours' slopes, at most |step| sqrt(w (1 - w)), the scatter of a
        single jump at an unknown time (w the place between the rows); and resolution / sqrt(12).
        """
        t, d = self.time_s, self.dose_krad
        resolution = self._resolution / math.sqrt(12) if self._resolution < 0.5 * float(np.ptp(d) or 1.0) else 0.0
        if time_s <= t[0]:
            return DoseAt(float(d[0]), 0.0, 0.0 if time_s < t[0] else self.rate_at(time_s), "before" if time_s < t[0] else "inside")
        if time_s >= t[-1]:
            return DoseAt(float(d[-1]), 0.0, 0.0 if time_s > t[-1] else self.rate_at(time_s), "after" if time_s > t[-1] else "inside")
        k = int(np.searchsorted(t, time_s, side="right")) - 1
        step, w = float(t[k + 1] - t[k]), float((time_s - t[k]) / (t[k + 1] - t[k]))
        jump = abs(float(d[k + 1] - d[k])) * math.sqrt(w * (1 - w))
        near = [float(self._slopes[i]) for i in (k - 1, k + 1) if 0 <= i < len(self._slopes)]
        bend = max((abs(s - float(self._slopes[k])) for s in near), default=0.0) * step * w * (1 - w)
        in_gap = step > GAP * self._usual_step
        error = jump if in_gap else min(jump, bend)
        dose = float(d[k] + w * (d[k + 1] - d[k]))
        moving = d[k + 1] != d[k]
        return DoseAt(
            dose, math.hypot(error, resolution if moving else 0.0), self.rate_at(time_s), "gap" if in_gap and moving else "inside"
        )
