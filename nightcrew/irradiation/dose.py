"""Which dose a frame had: by time in a log, else by folder and frame number, else by its folder's dose spread in time order.

Frame numbers restart in every folder, so a number alone is never enough; a log whose dose never changes counts as missing; every
frame says where its dose is from, how good it is, and what disagrees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nightcrew.irradiation.dose_curve import DoseCurve
from nightcrew.irradiation.dose_log import DoseLog
from nightcrew.irradiation.frames import Frame, FrameDose, in_time_order
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
        self.by_folder = {name: log for name, given in sorted(logs.by_folder.items()) if (log := self._usable(given)) is not None}
        self.curve: DoseCurve | None = None
        self.log_name = ""

    def _usable(self, log: DoseLog | None) -> DoseLog | None:
        if log is None:
            return None
        self.remarks += [f"{log.name}: {remark}" for remark in log.remarks]
        if not np.any(np.isfinite(log.dose_krad)):
            return None
        if log.constant:
            self.remarks.append(f"{log.name}: its dose never changes, so it counts as missing")
            return None
        return log

    def _open(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.relative not in self.found]

    def by_time(self) -> None:
        """Frames with a time, in the whole log or all folders' logs together."""
        log = (
            self.whole
            if self.whole is not None and self.whole.has_times
            else _joined([one for one in self.by_folder.values() if one.has_times])
        )
        if log is None:
            return
        curve = DoseCurve(log)
        self.remarks += [f"{log.name}: {remark}" for remark in curve.remarks]
        if len(curve.time_s) < 2:
            return
        timed = [frame for frame in self._open() if frame.time_s is not None]
        span = curve.time_s[-1] - curve.time_s[0]
        inside = [f for f in timed if curve.time_s[0] - span <= (f.time_s or 0.0) <= curve.time_s[-1] + 100 * span]
        if timed and not inside:
            self.remarks.append(f"{log.name}: its times and those of the frames have nothing in common, so they were not used")
            return
        self.curve, self.log_name = curve, log.name
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
            inside = [f for f in self._open() if f.folder == name or f.folder.startswith(f"{name}/") or name == ""]
            self._match(inside, log, per_folder=True)
        if self.whole is not None and self.whole.has_frames:
            self._match_whole([frame for frame in self._open() if frame.stage in (None, "radiating")], self.whole)

    def _match(self, inside: list[Frame], log: DoseLog, *, per_folder: bool) -> None:
        if not inside:
            return
        if log.has_frames:
            numbers = [frame.number for frame in inside]
            if len(set(numbers)) == len(numbers) or (len(log.segments()) == 1 and per_folder and len({f.folder for f in inside}) == 1):
                self._take(inside, {int(log.frame[row]): row for row in range(len(log)) if log.frame[row] >= 0}, log)
                return
            if self._by_segments(inside, log):
                return
            self.remarks.append(f"{log.name}: frame numbers restart and do not tell which frames its rows belong to, so it was not used")
            return
        rows = np.nonzero(np.isfinite(log.dose_krad))[0]
        if len(rows) == len(inside):
            for frame, row in zip(in_time_order(inside), rows, strict=True):
                self._set(frame, log, int(row), "position")
        else:
            self.remarks.append(f"{log.name}: has {len(rows)} rows without frame numbers for {len(inside)} frames, so it was not used")

    def _match_whole(self, inside: list[Frame], log: DoseLog) -> None:
        if not inside:
            return
        numbers = [frame.number for frame in inside]
        if len(set(numbers)) == len(numbers) and len(log.segments()) == 1:
            self._take(inside, {int(log.frame[row]): row for row in range(len(log)) if log.frame[row] >= 0}, log)
        elif not self._by_segments(inside, log):
            self.remarks.append(f"{log.name}: frame numbers restart and do not tell which folder its rows belong to, so it was not used")

    def _by_segments(self, inside: list[Frame], log: DoseLog) -> bool:
        """Runs of growing numbers are folders in their order of dose and time; only where every run fits its folder."""
        folders: dict[str, list[Frame]] = {}
        for frame in inside:
            folders.setdefault(frame.folder, []).append(frame)
        ordered = sorted(
            folders.values(), key=lambda fs: (fs[0].nominal_dose_krad or 0.0, min(f.time_s or 0.0 for f in fs), natural(fs[0].folder))
        )
        runs = log.segments()
        if len(runs) != len(ordered):
            return False
        sets = [{int(log.frame[row]): int(row) for row in rows} for rows in runs]
        if any({f.number for f in fs} - set(rows) for fs, rows in zip(ordered, sets, strict=True)):
            return False
        for fs, rows in zip(ordered, sets, strict=True):
            self._take(fs, rows, log)
        return True

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
                inside = [
                    f for f in self.frames if f.campaign == campaign and f.nominal_dose_krad == nominal and f.stage in (None, "radiating")
                ]
                for place, frame in enumerate(inside, start=1):
                    if frame.relative not in self.found:
                        self._spread(frame, before + (nominal - before) * place / len(inside), nominal - before)

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
        if frame.time_s is None:
            return math.nan
        beam = [f.time_s for f in self.frames if f.time_s is not None and (f.stage or "") == "radiating" and f.campaign == frame.campaign]
        return frame.time_s - max(beam) if beam and frame.time_s >= max(beam) else math.nan

    def _rates_of_folders(self) -> None:
        """Slope of dose against the frames' own times in each dose step, where the log gave no rate."""
        steps: dict[tuple[str, float | None], list[Frame]] = {}
        for frame in self.frames:
            known = self.found.get(frame.relative)
            if known is not None and math.isnan(known.rate_krad_per_s) and frame.time_s is not None:
                steps.setdefault((frame.campaign, frame.nominal_dose_krad), []).append(frame)
        for inside in steps.values():
            t = np.array([f.time_s or 0.0 for f in inside])
            d = np.array([self.found[f.relative].dose_krad for f in inside])
            i, j = np.triu_indices(len(t), 1)
            apart = t[j] != t[i]
            if not apart.any():
                continue
            rate = float(np.median((d[j] - d[i])[apart] / (t[j] - t[i])[apart]))
            for frame in inside:
                self.found[frame.relative] = replace(self.found[frame.relative], rate_krad_per_s=max(rate, 0.0))


def _joined(logs: Sequence[DoseLog]) -> DoseLog | None:
    """Several logs as one, for a curve over time; their frame numbers say nothing together."""
    if not logs:
        return None
    nan = np.full(sum(len(one) for one in logs), math.nan)
    return DoseLog(
        name=logs[0].name if len(logs) == 1 else "the folders' logs",
        frame=np.full(len(nan), -1, dtype=np.int64),
        time_s=np.concatenate([one.time_s for one in logs]),
        dose_krad=np.concatenate([one.dose_krad for one in logs]),
        level_krad=nan,
    )
