"""Clocks of frames and logs: whether their times can be compared between folders, and rates where they can."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.dose_curve import DoseCurve
from nightcrew.irradiation.dose_log import DoseLog
from nightcrew.irradiation.frames import Frame
from nightcrew.irradiation.tokens import natural

F8 = NDArray[np.float64]
SAME_BEGIN_S = 1.0
MOST_POINTS = 400
RESTART = 0.1


def usual_slope(t: F8, d: F8) -> float:
    """Median of the slopes between all pairs of points at different times (Theil 1950, Sen 1968), of at most ``MOST_POINTS`` of them."""
    order = np.argsort(t, kind="stable")
    rows = order[np.unique(np.linspace(0, len(t) - 1, min(len(t), MOST_POINTS)).astype(int))]
    t, d = t[rows], d[rows]
    i, j = np.triu_indices(len(t), 1)
    apart = t[j] != t[i]
    return float(np.median((d[j] - d[i])[apart] / (t[j] - t[i])[apart]))


def rates_in_runs(t: F8, d: F8) -> F8:
    """Rates of frames that no folder sorts into steps: those of the runs of the beam that their own doses show."""
    nan = np.full(len(t), math.nan)
    curve = DoseCurve(DoseLog(name="", frame=np.full(len(t), -1, dtype=np.int64), time_s=t, dose_krad=d, level_krad=nan))
    return np.array([curve.rate_at(time) for time in t.tolist()])


def is_inside(frame: Frame, folder: str) -> bool:
    """Whether a frame lies in a folder (below the root, which is "")."""
    return folder in ("", frame.folder) or frame.folder.startswith(f"{folder}/")


def deepest_first(names: Iterable[str]) -> list[str]:
    """Folders so that one inside another comes before it: its log is nearer to its frames."""
    return sorted(names, key=lambda name: (-len(name.split("/")) if name else 0, natural(name)))


def clocks_restart(frames: Sequence[Frame]) -> bool:
    """Whether every dose folder's times begin where those of the one before it do (or earlier): then each has its own clock.

    ``RESTART`` of the shorter span later is the same begin; folders that only overlap (something was taken again later) have one
    clock.
    """
    spans: dict[tuple[str, float], tuple[float, float]] = {}
    for frame in frames:
        if frame.time_s is None or frame.nominal_dose_krad is None or frame.stage not in (None, "radiating"):
            continue
        low, high = spans.get(key := (frame.campaign, frame.nominal_dose_krad), (frame.time_s, frame.time_s))
        spans[key] = (min(low, frame.time_s), max(high, frame.time_s))
    pairs = [(one, other) for one, other in itertools.pairwise(sorted(spans)) if one[0] == other[0]]
    return bool(pairs) and all(spans[b][0] <= spans[a][0] + RESTART * min(np.ptp(spans[a]), np.ptp(spans[b])) for a, b in pairs)


def begin_together(frames: Sequence[Frame]) -> bool:
    """Whether folders without any dose begin at the same time to a second: their clocks restart."""
    begins: dict[str, float] = {}
    for frame in frames:
        begins[frame.folder] = min(begins.get(frame.folder, math.inf), frame.time_s if frame.time_s is not None else math.inf)
    return len(begins) > 1 and max(begins.values()) - min(begins.values()) < SAME_BEGIN_S


def follow_each_other(logs: Mapping[str, DoseLog]) -> bool:
    """Whether the folders' logs, in the order of their doses, are one after the other in time, so that they can be joined."""
    spans = []
    for log in logs.values():
        good = np.isfinite(log.time_s) & np.isfinite(log.dose_krad)
        if good.any():
            time, dose = log.time_s[good], log.dose_krad[good]
            spans.append((float(dose.max()), float(time.min()), float(time.max())))
    spans.sort()
    return bool(spans) and all(one[2] <= other[1] for one, other in itertools.pairwise(spans))


def joined(logs: Sequence[DoseLog]) -> DoseLog:
    """Several logs as one, for a curve over time; their frame numbers say nothing together."""
    nan = np.full(sum(len(one) for one in logs), math.nan)
    return DoseLog(
        name=logs[0].name if len(logs) == 1 else "the folders' logs",
        frame=np.full(len(nan), -1, dtype=np.int64),
        time_s=np.concatenate([one.time_s for one in logs]),
        dose_krad=np.concatenate([one.dose_krad for one in logs]),
        level_krad=nan,
    )
