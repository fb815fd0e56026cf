"""Points of a photon transfer curve: flats sorted into levels of light, paired and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.frames import SensorFrame
from nightcrew.sensor.groups import Group
from nightcrew.sensor.pairing import combined, frame_levels, independent_pixels, mean_covariances, paired, weights
from nightcrew.sensor.pairs import PairOptions, PairStatistics, pair_statistics
from nightcrew.sensor.regions import Region

F8 = NDArray[np.float64]
LEVEL_GAP = 1.02
"""Flats of one exposure with a wider gap between them belong to different levels of illumination."""
LEVEL_SPAN = 1.10
"""And so do flats this far apart however many lie between them: a slow ramp is no single level."""
LEVEL_SLACK_ADU = 1.0
MAX_LEVEL_RATIO = 1.25
"""Frames whose levels differ by more are no pair."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """All pairs of one level together; ADU, ADU^2, s.  ``relative_error`` is that of ``variance``."""

    group: str
    filter: str
    exposure_s: float
    signal: float
    signal_scatter: float
    variance: float
    relative_error: float
    pairs: tuple[PairStatistics, ...]

    @property
    def saturated_fraction(self) -> float:
        """Share of saturated pixels."""
        return max(pair.saturated_fraction for pair in self.pairs)

    @property
    def pixels(self) -> float:
        """Pixel pairs in all; those of pairs with a common frame count as far as they tell something of their own."""
        return independent_pixels(self.pairs)

    @property
    def frames(self) -> int:
        """Frames of the pairs, each once."""
        return len({name for pair in self.pairs for name in pair.names})

    @property
    def covariances(self) -> F8 | None:
        """Mean covariances [lag_y, lag_x] of the pairs."""
        return mean_covariances(self.pairs)

    @property
    def level_error(self) -> float:
        """Error of ``signal`` in ADU by the pixels' noise alone: a lamp that wanders comes on top."""
        values = self.frames * float(np.mean([pair.used for pair in self.pairs])) if self.pairs else 0.0
        return math.sqrt(max(self.variance, 0.1) / max(values, 1.0))


def points_of(group: Group, region: Region, offset_adu: float, options: PairOptions) -> tuple[list[CurvePoint], list[str]]:
    """The points of one group of flats: one for each level of light, and remarks on frames that found no partner."""
    points: list[CurvePoint] = []
    remarks: list[str] = []
    level = {id(frame): quick_level(frame, region) - offset_adu for frame in group.frames}
    remarks += [f"{frame.name}: no finite pixel" for frame in group.frames if not math.isfinite(level[id(frame)])]
    for members in _levels(group.frames, level):
        pairs = []
        for first, second in ((members[one], members[other]) for one, other in paired(len(members))):
            found = pair_statistics(first, second, region.windows, offset_adu, options)
            if max(found.ratio, 1 / found.ratio) > MAX_LEVEL_RATIO:
                remarks.append(
                    f"{first.name} and {second.name}: levels differ by a factor of {max(found.ratio, 1 / found.ratio):.2f}, no pair"
                )
            else:
                pairs.append(found)
        if len(members) < 2:
            remarks.append(f"{members[0].name}: no second flat of its level")
        if pairs:
            points.append(_point(group, pairs))
    return points, remarks


def _levels(frames: Sequence[SensorFrame], level: Mapping[int, float]) -> list[list[SensorFrame]]:
    """Frames by level of light, each in the order of time; frames that would stand alone go together where they may be a pair."""
    clusters: list[list[SensorFrame]] = []
    for frame in sorted((frame for frame in frames if math.isfinite(level[id(frame)])), key=lambda frame: level[id(frame)]):
        mine = level[id(frame)]
        if clusters and mine <= _reach(level[id(clusters[-1][-1])], LEVEL_GAP) and mine <= _reach(level[id(clusters[-1][0])], LEVEL_SPAN):
            clusters[-1].append(frame)
        else:
            clusters.append([frame])
    place = {id(frame): n for n, frame in enumerate(frames)}
    return [sorted(cluster, key=lambda frame: place[id(frame)]) for cluster in _without_loners(clusters, level)]


def _reach(level: float, factor: float) -> float:
    """The highest level that still counts as ``level``: a bias that drifts by an ADU makes no new one."""
    return max(level * factor, level + LEVEL_SLACK_ADU)


def _without_loners(clusters: Sequence[list[SensorFrame]], level: Mapping[int, float]) -> list[list[SensorFrame]]:
    """Neighbouring levels of one frame each become a pair where their ratio lets them: sky flats change from frame to frame."""
    joined: list[list[SensorFrame]] = []
    for cluster in clusters:
        if len(cluster) == 1 and joined and len(joined[-1]) == 1:
            below = level[id(joined[-1][0])]
            if below > 0 and level[id(cluster[0])] <= MAX_LEVEL_RATIO * below:
                joined[-1] += cluster
                continue
        joined.append(list(cluster))
    return joined


def quick_level(frame: SensorFrame, region: Region) -> float:
    """Mean level of the finite pixels of a few rows in ADU; NaN when there are none."""
    window = region.windows[0]
    ny = window.shape[0]
    with frame.opened() as rows:
        chosen = np.concatenate([window.rows(rows, y, y + 1) for y in range(0, ny, max(1, ny // 16))])
    finite = chosen[np.isfinite(chosen)]
    return float(np.mean(finite, dtype=np.float64)) if finite.size else math.nan


def _point(group: Group, pairs: Sequence[PairStatistics]) -> CurvePoint:
    good = [pair for pair in pairs if pair.used > 1]
    variance, error = combined(good) if good else (0.0, 0.0)
    signal = float(sum(w * pair.level for w, pair in zip(weights(good), good, strict=True))) if good else pairs[0].level
    return CurvePoint(
        group=group.label,
        filter=group.filter,
        exposure_s=group.exposure_s,
        signal=signal,
        signal_scatter=float(np.std(frame_levels(pairs))),
        variance=variance,
        relative_error=error / variance if variance > 0 else math.inf,
        pairs=tuple(pairs),
    )
