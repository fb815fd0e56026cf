"""Which dose a frame had: by time in a log, else by folder and frame number, else by its folder's dose spread in time order.

Frame numbers restart in every folder, so a number alone is never enough; a log whose dose never changes counts as missing; every
frame says where its dose is from, how good it is, and what disagrees.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nightcrew.irradiation.clocks import (
    begin_together,
    clocks_restart,
    deepest_first,
    follow_each_other,
    is_inside,
    joined,
    rates_in_runs,
    usual_slope,
)
from nightcrew.irradiation.dose_curve import DoseCurve
from nightcrew.irradiation.dose_log import DoseLog
from nightcrew.irradiation.frames import Frame, FrameDose, in_time_order, places_in_step
from nightcrew.irradiation.tokens import Stage, natural

DISAGREE = 0.02  # of the folder's dose: more is reported


@dataclass(frozen=True, kw_only=True, eq=False)
class Logs:
    """The logs of a campaign: one of all (``whole``), and those that lie in folders, by the folder's name inside the root."""

    whole: DoseLog | None = None
    by_folder: Mapping[str, DoseLog] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dosed:
    """Doses by the frames' ``relative`` names, and remarks on the whole (logs left out, disagreements)."""

    doses: Mapping[str, FrameDose]
    remarks: tuple[str, ...]


def assign_doses(frames: Sequence[Frame], logs: Logs) -> Dosed:
    """Doses of all frames of one campaign.  The result does not depend on the order of ``frames``."""
    ordered = in_time_order(frames)
    work = _Work(ordered, logs)
    work.by_time()
    work.by_number()
    work.by_nominal()
    work.by_stage()
    return Dosed(work.found, tuple(dict.fromkeys(work.remarks)))


class _Work:
    def __init__(self, frames: list[Frame], logs: Logs) -> None:
        self.frames = frames
        self.remarks: list[str] = []
        self.found: dict[str, FrameDose] = {}
        self.whole = self._usable(logs.whole)
        self.by_folder = {name: log for name in deepest_first(logs.by_folder) if (log := self._usable(logs.by_folder[name])) is not None}
        self.curve: DoseCurve | None = None
        self.log_name = ""
        self.restart = clocks_restart(frames)
        if self.restart:
            self.remarks.append("the frames' clocks restart from one dose folder to the next, so times are compared inside folders only")

    def _usable(self, log: DoseLog | None) -> DoseLog | None:
        if log is None:
            return None
        self.remarks += [f"{log.name}: {remark}" for remark in log.remarks]
        if not np.any(np.isfinite(log.dose_krad)):
            return None
        if log.constant:
            self.remarks.append(f"{log.name}: its dose never changes, so it counts as missing")
            return None
        if log.clock_restarts:
            self.remarks.append(f"{log.name}: its clock restarts, so its times were not used")
            return replace(log, time_s=np.full(len(log), math.nan))
        return log

    def _open(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.relative not in self.found]

    def by_time(self) -> None:
        """Frames with a time, in the whole log or all folders' logs together; each folder's own where clocks restart."""
        timed = {name: log for name, log in self.by_folder.items() if log.has_times}
        if not self.restart and self.whole is not None and self.whole.has_times:
            self._along(self.whole, self._open(), everywhere=True)
        elif not self.restart and follow_each_other(timed):
            self._along(joined([timed[name] for name in sorted(timed)]), self._open(), everywhere=True)
        else:
            for name, log in timed.items():
                self._along(log, [f for f in self._open() if is_inside(f, name)], everywhere=False)

    def _along(self, log: DoseLog, frames: list[Frame], *, everywhere: bool) -> None:
        """Doses of ``frames`` by a log's times; ``everywhere``: the log is that of the whole campaign, which also tells stages."""
        curve = DoseCurve(log)
        self.remarks += [f"{log.name}: {remark}" for remark in curve.remarks]
        if len(curve.time_s) < 2:
            return
        timed = [frame for frame in frames if frame.time_s is not None]
        span = curve.time_s[-1] - curve.time_s[0]
        inside = [f for f in timed if curve.time_s[0] - span <= (f.time_s or 0.0) <= curve.time_s[-1] + 100 * span]
        if timed and not inside:
            self.remarks.append(f"{log.name}: its times and those of the frames have nothing in common, so they were not used")
            return
        self.log_name = log.name
        if everywhere:
            self.curve = curve
        for frame in timed:
            self._from_curve(frame, curve)

    def _from_curve(self, frame: Frame, curve: DoseCurve) -> None:
        time_s = frame.time_s or 0.0
        at = curve.at(time_s)
        if at.place in ("before", "after") and frame.stage == "radiating":
            self.remarks.append(f"{self.log_name}: does not reach the frames of {frame.folder}, whose dose is from their folder")
            return
        by_time: Stage = "radiating"
        if math.isfinite(curve.beam_start_s) and time_s < curve.beam_start_s:
            by_time = "pre"
        elif math.isfinite(curve.beam_end_s) and time_s > curve.beam_end_s:
            by_time = "post"
        stage = frame.stage or by_time
        remarks = []
        if stage not in (by_time, "radiating"):
            remarks.append(f"stage {stage} by its folder, {by_time} by the log's times")
        if at.place == "gap":
            remarks.append("inside a gap of the log")
        dose, error = at.dose_krad, at.error_krad
        if stage == "pre" and at.place == "before":
            dose = 0.0
        elif stage == "post" and at.place == "after":
            dose, error = self._after(frame, curve)
        since = time_s - curve.beam_end_s if stage == "post" and math.isfinite(curve.beam_end_s) else math.nan
        remarks += self._against_nominal(frame, dose, error)
        self.found[frame.relative] = FrameDose(
            dose_krad=dose,
            error_krad=error,
            rate_krad_per_s=at.rate_krad_per_s,
            source="time",
            stage=stage,
            since_end_s=since,
            remarks=tuple(remarks),
        )

    def _after(self, frame: Frame, curve: DoseCurve) -> tuple[float, float]:
        """Dose after the beam: the log's last, unless the log ends while the beam still runs; then the last folder's, if that is more."""
        last = float(curve.dose_krad[-1])
        nominal = max(self._steps(frame.campaign), default=last)
        running = bool(curve.runs) and curve.runs[-1].stop_s >= curve.time_s[-1]
        if not running or nominal <= last:
            return last, 0.0
        self.remarks.append(f"{self.log_name}: ends in the beam at {last:.4g} kRad; after it the folders' {nominal:.4g} kRad count")
        return nominal, (nominal - last) / math.sqrt(12)

    def _against_nominal(self, frame: Frame, dose: float, error: float) -> list[str]:
        """The folder's dose is where its step ends; the one before it is where it begins."""
        if frame.nominal_dose_krad is None:
            return []
        before = max((d for d in self._steps(frame.campaign) if d < frame.nominal_dose_krad), default=0.0)
        margin = DISAGREE * frame.nominal_dose_krad + 3 * error
        if before - margin <= dose <= frame.nominal_dose_krad + margin:
            return []
        text = f"{dose:.4g} kRad by the log, the folder says {before:g} to {frame.nominal_dose_krad:g}"
        self.remarks.append(f"folder {frame.folder}: {text}")
        return [text]

    def _steps(self, campaign: str) -> list[float]:
        return sorted({f.nominal_dose_krad for f in self.frames if f.campaign == campaign and f.nominal_dose_krad is not None})

    def by_number(self) -> None:
        """Rows of the folders' own logs by frame number, or by position; the whole log by folder and number, where that is certain."""
        for name, log in self.by_folder.items():
            inside = [f for f in self._open() if is_inside(f, name)]
            if inside and not self._match(inside, log):
                what = "its rows do not tell which frames they belong to"
                self.remarks.append(f"{log.name}: {self._restarts(inside, log)}{what}, so it was not used")
        inside = [frame for frame in self._open() if frame.stage in (None, "radiating")]
        if self.whole is not None and self.whole.has_frames and inside and not self._match(inside, self.whole):
            what = "its rows do not tell which folder they belong to"
            self.remarks.append(f"{self.whole.name}: {self._restarts(inside, self.whole)}{what}, so it was not used")

    @staticmethod
    def _restarts(inside: list[Frame], log: DoseLog) -> str:
        again = len(log.segments()) > 1 or len({frame.number for frame in inside}) < len(inside)
        return "frame numbers restart and " if log.has_frames and again else ""

    def _match(self, inside: list[Frame], log: DoseLog) -> bool:
        """Doses by rows, by the first of the rules that leaves no doubt; whether there was one."""
        if self._by_sequence(inside, log):
            return True
        return log.has_frames and (self._by_numbers(inside, log) or self._by_segments(inside, log))

    def _by_sequence(self, inside: list[Frame], log: DoseLog) -> bool:
        """A row a frame, in the order of time; where the log has numbers they must be the frames' in that order."""
        rows = np.nonzero(np.isfinite(log.dose_krad) & ((log.frame >= 0) | (not log.has_frames)))[0]
        if len(rows) != len(inside) or not self._order_is_known(inside):
            return False
        ordered = [frame for frame, _ in places_in_step(inside)]
        if log.has_frames and [frame.number for frame in ordered] != log.frame[rows].tolist():
            return False
        for frame, row in zip(ordered, rows.tolist(), strict=True):
            self._set(frame, log, row, "number" if log.has_frames else "position")
        return True

    def _order_is_known(self, inside: list[Frame]) -> bool:
        """Whether times (not restarted between these frames' folders) or numbers put the frames in one order."""
        single = len({(frame.folder, frame.kind) for frame in inside}) == 1
        if all(frame.time_s is not None for frame in inside):
            return single or not (self.restart or begin_together(inside))
        numbers = [frame.number for frame in inside]
        return None not in numbers and len(set(numbers)) == len(numbers)

    def _by_numbers(self, inside: list[Frame], log: DoseLog) -> bool:
        """Every number once among the frames and once in the log."""
        rows = np.nonzero((log.frame >= 0) & np.isfinite(log.dose_krad))[0]
        numbers = [frame.number for frame in inside]
        known = set(log.frame[rows].tolist())
        if len(set(numbers)) < len(numbers) or len(known) < len(rows) or not known & set(numbers):
            return False
        self._take(inside, {int(log.frame[row]): int(row) for row in rows}, log)
        return True

    def _by_segments(self, inside: list[Frame], log: DoseLog) -> bool:
        """Runs of growing numbers are folders in their order of dose and time; only where every run fits its folder, in one order."""
        folders: dict[str, list[Frame]] = {}
        for frame in inside:
            folders.setdefault(frame.folder, []).append(frame)
        ordered = self._folders_in_order(list(folders.values()))
        runs = log.segments()
        if ordered is None or len(runs) != len(ordered):
            return False
        sets = [{int(log.frame[row]): int(row) for row in rows} for rows in runs]
        if any(len(rows) < len(run) for rows, run in zip(sets, runs, strict=True)):
            return False
        if any({f.number for f in fs} - set(rows) or len({f.number for f in fs}) < len(fs) for fs, rows in zip(ordered, sets, strict=True)):
            return False
        for fs, rows in zip(ordered, sets, strict=True):
            self._take(fs, rows, log)
        return True

    def _folders_in_order(self, folders: list[list[Frame]]) -> list[list[Frame]] | None:
        """Folders by dose, those of one dose by time; None where neither tells their order."""
        begins = {id(fs): min((f.time_s for f in fs if f.time_s is not None), default=math.nan) for fs in folders}
        doses = Counter(fs[0].nominal_dose_krad for fs in folders)
        for dose, n in doses.items():
            times = {begins[id(fs)] for fs in folders if fs[0].nominal_dose_krad == dose}
            if n > 1 and (self.restart or len(times) < n or any(math.isnan(time) for time in times)):
                return None
        return sorted(folders, key=lambda fs: (fs[0].nominal_dose_krad or 0.0, np.nan_to_num(begins[id(fs)]), natural(fs[0].folder)))

    def _take(self, frames: list[Frame], rows: Mapping[int, int], log: DoseLog) -> None:
        for frame in frames:
            if frame.number is not None and frame.number in rows and math.isfinite(log.dose_krad[rows[frame.number]]):
                self._set(frame, log, rows[frame.number], "number")

    def _set(self, frame: Frame, log: DoseLog, row: int, source: str) -> None:
        dose = float(log.dose_krad[row])
        finite = np.unique(log.dose_krad[np.isfinite(log.dose_krad)])
        step = float(np.median(np.diff(finite))) if len(finite) > 1 else 0.0
        error = step / math.sqrt(12)
        self.found[frame.relative] = FrameDose(
            dose_krad=dose,
            error_krad=error,
            rate_krad_per_s=math.nan,
            source=source,
            stage=frame.stage or "radiating",
            remarks=tuple(self._against_nominal(frame, dose, error)),
        )

    def by_nominal(self) -> None:
        """What is left of the stage radiating: the step up to the folder's dose, spread evenly over its frames in time order."""
        left = [f for f in self._open() if f.stage in (None, "radiating") and f.nominal_dose_krad is not None]
        for campaign in sorted({f.campaign for f in left}):
            steps = [0.0, *[d for d in self._steps(campaign) if d > 0]]
            for before, nominal in itertools.pairwise(steps):
                inside = places_in_step(
                    [f for f in self.frames if f.campaign == campaign and f.nominal_dose_krad == nominal and f.stage in (None, "radiating")]
                )
                for frame, place in inside:
                    if frame.relative not in self.found:
                        self._spread(frame, before + (nominal - before) * place, nominal - before)

    def _spread(self, frame: Frame, dose: float, step: float) -> None:
        self.found[frame.relative] = FrameDose(
            dose_krad=dose, error_krad=step / math.sqrt(12), rate_krad_per_s=math.nan, source="nominal", stage="radiating"
        )

    def by_stage(self) -> None:
        """Before the beam the dose is 0, after it the last; rates out of what the frames' own times say; the rest has none."""
        self._rates_of_folders()
        for frame in self._open():
            known = [d.dose_krad for r, d in self.found.items() if d.stage == "radiating"]
            if frame.stage == "pre":
                self.found[frame.relative] = FrameDose(dose_krad=0.0, error_krad=0.0, rate_krad_per_s=0.0, source="stage", stage="pre")
            elif frame.stage == "post" and known:
                steps = self._steps(frame.campaign)
                last = max([*known, *(steps[-1:] if not self.curve else [])])
                since = self._since_end(frame)
                self.found[frame.relative] = FrameDose(
                    dose_krad=last, error_krad=0.0, rate_krad_per_s=0.0, source="stage", stage="post", since_end_s=since
                )
            else:
                remark = "no log and no folder tells its dose"
                self.remarks.append(f"folder {frame.folder}: {remark}")
                self.found[frame.relative] = FrameDose(
                    dose_krad=math.nan,
                    error_krad=math.nan,
                    rate_krad_per_s=math.nan,
                    source="none",
                    stage=frame.stage or "radiating",
                    remarks=(remark,),
                )

    def _since_end(self, frame: Frame) -> float:
        if frame.time_s is None or self.restart:
            return math.nan
        beam = [f.time_s for f in self.frames if f.time_s is not None and (f.stage or "") == "radiating" and f.campaign == frame.campaign]
        return frame.time_s - max(beam) if beam and frame.time_s >= max(beam) else math.nan

    def _rates_of_folders(self) -> None:
        """Slope of dose against the frames' own times in each dose step, where the log gave no rate."""
        steps: dict[tuple[str, float | None, str], list[Frame]] = {}
        for frame in self.frames:
            known = self.found.get(frame.relative)
            if known is not None and math.isnan(known.rate_krad_per_s) and frame.time_s is not None:
                steps.setdefault((frame.campaign, frame.nominal_dose_krad, frame.folder if self.restart else ""), []).append(frame)
        for (_, nominal, _), inside in steps.items():
            t = np.array([f.time_s or 0.0 for f in inside])
            d = np.array([self.found[f.relative].dose_krad for f in inside])
            if len(np.unique(t)) < 2:
                continue
            rates = np.full(len(t), max(usual_slope(t, d), 0.0)) if nominal is not None else rates_in_runs(t, d)
            for frame, rate in zip(inside, rates.tolist(), strict=True):
                self.found[frame.relative] = replace(self.found[frame.relative], rate_krad_per_s=rate)
