"""Groups of frames that are one measurement: same campaign, stage, kind, dose step, temperature and exposure, within stated tolerances."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nightcrew.irradiation.frames import Frame, FrameDose, in_time_order
from nightcrew.irradiation.tokens import STAGES, Stage

TEMPERATURE_GAP_C = 0.5  # sorted temperatures are cut where the step is larger
TEMPERATURE_WIDTH_C = 2.0  # and what is still wider (a drift) into equal parts
EXPOSURE_GAP, EXPOSURE_WIDTH = 0.01, 0.03  # the same, relative
DOSE_GAP_KRAD = 0.05  # doses of frames whose folder bears none: cut where the step is larger than this
USUAL_STEPS = 5.0  # and than so many usual ones
DOSE_PARTS = (3, 10)  # a beam that runs on is cut into so many parts at least and at most
FRAMES_OF_A_PART = 4  # of the scarcest kind and exposure
VISIT_PAUSE_S = 60.0  # after the beam: a longer pause, and one of ten usual ones, begins another visit
USUAL_PAUSES = 10.0
NO_DOSE = "nothing tells its dose: no log, no folder called <dose>kRads"


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Frames of one measurement in the order of time, with means over them.

    ``rate_krad_per_s``: NaN where unknown.  ``dose_error_krad``: of the mean.  ``since_end_s``: mean time since the end of the beam (post).
    ``exposure_s``: one number for all groups of its cluster of exposures (their median), ``mean_exposure_s`` that of these frames.
    ``step``: label of its dose step, the same for all kinds.  ``visit``: how often its kind and exposure had been taken after the beam.
    """

    stage: Stage
    kind: str
    frames: tuple[Frame, ...]
    doses: tuple[FrameDose, ...]
    dose_krad: float
    dose_error_krad: float
    rate_krad_per_s: float
    temperature_c: float
    temperature_bin: int
    exposure_s: float
    since_end_s: float
    step: float = 0.0
    visit: int = 0
    mean_exposure_s: float = math.nan

    @property
    def nominal(self) -> bool:
        """Whether the dose of a frame is its folder's, spread over the step, because no log tells it."""
        return any(one.source == "nominal" for one in self.doses)


def clusters(values: Sequence[float], gap: float, *, relative: bool = False, width: float = math.inf) -> list[int]:
    """Number of the cluster of each value: sorted values are cut where the step exceeds ``gap`` (or gap times the value).

    What is then still wider than ``width`` (or width times its middle) is a chain: it is cut into equal parts no wider than that, each
    cut moved to the widest step near it (so a part may be a quarter wider).
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    chains: list[list[int]] = []
    for place, here in enumerate(order):
        before = order[place - 1]
        step = values[here] - values[before]
        if not place or step > (gap * max(abs(values[here]), 1e-12) if relative else gap):
            chains.append([])
        chains[-1].append(here)
    labels = [0] * len(values)
    for label, part in enumerate(part for chain in chains for part in _parts(chain, values, width, relative=relative)):
        for i in part:
            labels[i] = label
    return labels


def _parts(chain: list[int], values: Sequence[float], width: float, *, relative: bool) -> list[list[int]]:
    low, high = values[chain[0]], values[chain[-1]]
    most = width * max(abs(low + high) / 2, 1e-12) if relative else width
    n = max(1, math.ceil((high - low) / most * (1 - 1e-9))) if math.isfinite(most) else 1
    bounds = [0]
    for k in range(1, n):
        ideal, reach = low + (high - low) * k / n, (high - low) / n / 8
        middles = [(values[chain[i]] + values[chain[i - 1]]) / 2 for i in range(1, len(chain))]
        near = [i for i, middle in enumerate(middles, start=1) if abs(middle - ideal) <= reach]
        near = near or [min(range(1, len(chain)), key=lambda i: (abs(middles[i - 1] - ideal), i))]
        bounds.append(max(near, key=lambda i: (round((values[chain[i]] - values[chain[i - 1]]) / most, 6), -abs(middles[i - 1] - ideal))))
    cuts = sorted({*bounds, len(chain)})
    return [chain[a:b] for a, b in itertools.pairwise(cuts)]


Key = tuple[str, Stage, float, int, int, int]
"""Kind, stage, dose step, visit, temperature bin, exposure cluster."""


@dataclass(frozen=True, eq=False)
class _Sorted:
    """What sorts the frames, by their names: temperature bin, exposure cluster (-1: a bias), dose step, visit after the beam."""

    bins: Mapping[str, int]
    exposures: Mapping[str, int]
    steps: Mapping[str, float]
    visits: Mapping[str, int]

    def key(self, frame: Frame, stage: Stage) -> Key:
        name = frame.relative
        return (frame.kind, stage, self.steps[name], self.visits.get(name, 0), self.bins[name], self.exposures.get(name, -1))


def make_groups(
    frames: Sequence[Frame], doses: Mapping[str, FrameDose], *, ignore_temperature: bool = False
) -> tuple[list[Group], dict[str, str]]:
    """Groups of the frames that have a dose, and reasons for those that have none.

    Temperatures and exposures are clustered over all frames, so that jitter makes no groups; a bias has no exposure.  Frames of a dose
    step are those of its folder, else doses are clustered; frames after the beam are cut into visits by time.
    """
    left_out = {f.relative: NO_DOSE for f in frames if not math.isfinite(doses[f.relative].dose_krad)}
    left_out |= {f.relative: "its exposure is not stated" for f in frames if f.kind != "BIAS" and f.exposure_s is None}
    kept = sorted((f for f in frames if f.relative not in left_out), key=Frame.order)
    exposed = [f for f in kept if f.kind != "BIAS"]
    labels = clusters([f.exposure_s or 0.0 for f in exposed], EXPOSURE_GAP, relative=True, width=EXPOSURE_WIDTH)
    bins, exposures = _temperature_bins(kept, ignore_temperature), dict(zip([f.relative for f in exposed], labels, strict=True))
    measure = {f.relative: (f.kind, exposures.get(f.relative, -1), bins[f.relative]) for f in kept}
    found = _Sorted(bins, exposures, _dose_steps(kept, doses, measure), _visits(kept, doses, measure))
    nominal: dict[int, list[float]] = {}
    for f in kept:
        nominal.setdefault(exposures.get(f.relative, -1), []).append(f.exposure_s or 0.0)
    sorted_in: dict[Key, list[Frame]] = {}
    for frame in kept:
        sorted_in.setdefault(found.key(frame, doses[frame.relative].stage), []).append(frame)
    groups = [_group(key, inside, doses, median(nominal[key[5]])) for key, inside in sorted_in.items()]
    return sorted(groups, key=lambda g: (g.kind, STAGES.index(g.stage), g.dose_krad, g.temperature_bin, g.exposure_s, g.visit)), left_out


def _temperature_bins(frames: Sequence[Frame], ignore: bool) -> dict[str, int]:
    known = [f for f in frames if f.temperature_c is not None]
    labels = clusters([f.temperature_c or 0.0 for f in known], TEMPERATURE_GAP_C, width=TEMPERATURE_WIDTH_C)
    found = dict.fromkeys((f.relative for f in frames), 0 if ignore else -1)
    return found if ignore else found | dict(zip([f.relative for f in known], labels, strict=True))


Measures = Mapping[str, tuple[str, int, int]]
"""Kind, exposure cluster and temperature bin of each frame, by its name."""


def _dose_steps(frames: Sequence[Frame], doses: Mapping[str, FrameDose], measures: Measures) -> dict[str, float]:
    """Label of the dose step of each frame: its folder's dose, else a cluster's number below 0.

    Where a beam runs on without folders, doses are a chain: it is cut into parts, the same for all kinds, so that biases and darks of a
    part belong together; parts of equal numbers of frames, and as many as leave some of each kind and exposure in each.
    """
    beam = [f for f in frames if doses[f.relative].stage == "radiating"]
    labelled = {f.relative: f.nominal_dose_krad for f in beam if f.nominal_dose_krad is not None}
    rest = [f for f in beam if f.relative not in labelled]
    values = [doses[f.relative].dose_krad for f in rest]
    scarcest = min(Counter(measures[f.relative] for f in rest).values(), default=0)
    parts = min(max(scarcest // FRAMES_OF_A_PART, DOSE_PARTS[0]), DOSE_PARTS[1])
    order = sorted(range(len(values)), key=lambda i: (values[i], rest[i].relative))
    usual = median([values[b] - values[a] for a, b in itertools.pairwise(order)]) if len(values) > 1 else 0.0
    chains = clusters(values, max(DOSE_GAP_KRAD, USUAL_STEPS * usual))
    together = [list(chain) for _, chain in itertools.groupby(order, key=lambda i: chains[i])]
    # of what the beam gave while it ran on, not of the largest dose: a chain may begin far from 0
    width = max(sum(values[chain[-1]] - values[chain[0]] for chain in together) / parts, DOSE_GAP_KRAD)
    found: list[int] = [0] * len(values)
    number = 0
    for chain in together:
        for part in _of_equal_number(chain, values, width):
            number += 1
            for i in part:
                found[i] = number - 1
    quiet = {f.relative: 0.0 for f in frames if doses[f.relative].stage != "radiating"}
    return {**{k: float(v) for k, v in labelled.items()}, **{f.relative: -1.0 - n for f, n in zip(rest, found, strict=True)}, **quiet}


def _of_equal_number(chain: list[int], values: Sequence[float], width: float) -> list[list[int]]:
    """A chain of sorted places in as many parts as it is ``width`` wide, of equal numbers, each cut moved to the widest step near it."""
    n = min(max(1, math.ceil((values[chain[-1]] - values[chain[0]]) / width * (1 - 1e-9))), len(chain))
    bounds = [0, len(chain)]
    for k in range(1, n):
        ideal, reach = len(chain) * k / n, len(chain) / n / 8
        near = [i for i in range(1, len(chain)) if abs(i - ideal) <= max(reach, 0.5)]
        bounds.append(max(near, key=lambda i: (round((values[chain[i]] - values[chain[i - 1]]) / width, 6), -abs(i - ideal))))
    return [chain[a:b] for a, b in itertools.pairwise(sorted({*bounds}))]


def _visits(frames: Sequence[Frame], doses: Mapping[str, FrameDose], measures: Measures) -> dict[str, int]:
    """How often a frame's kind and exposure had been taken after the beam before: visits are cut where a pause is long.

    Time spent exposing is no pause; a kind that is taken for the first time in a later visit is at its own first visit.
    """
    after = sorted((f for f in frames if doses[f.relative].stage == "post" and f.time_s is not None), key=lambda f: (f.time_s, f.order()))
    pauses = [_pause(one, other) for one, other in itertools.pairwise(after)]
    gap = max(VISIT_PAUSE_S, USUAL_PAUSES * median(pauses)) if pauses else math.inf
    number = list(itertools.accumulate((pause > gap for pause in pauses), initial=0))
    seen: dict[tuple[str, int, int], list[int]] = {}
    for frame, visit in zip(after, number, strict=False):
        own = seen.setdefault(measures[frame.relative], [])
        if visit not in own:
            own.append(visit)
    return {f.relative: seen[measures[f.relative]].index(visit) for f, visit in zip(after, number, strict=False)}


def _pause(one: Frame, other: Frame) -> float:
    """Time between two frames in which nothing was exposed, whether a frame bears the begin or the end of its exposure, in s."""
    between = (other.time_s or 0.0) - (one.time_s or 0.0)
    return max(between - max(one.exposure_s or 0.0, other.exposure_s or 0.0), 0.0)


def _group(key: Key, inside: Sequence[Frame], doses: Mapping[str, FrameDose], exposure_s: float) -> Group:
    ordered = in_time_order(inside)
    own = [doses[f.relative] for f in ordered]
    n = len(own)
    temperatures = [f.temperature_c for f in ordered if f.temperature_c is not None]
    since = [d.since_end_s for d in own if math.isfinite(d.since_end_s)]
    # the error of a dose is common to neighbouring frames (same log, same step), so it does not shrink with their number
    return Group(
        stage=own[0].stage,
        kind=ordered[0].kind,
        frames=tuple(ordered),
        doses=tuple(own),
        dose_krad=sum(d.dose_krad for d in own) / n,
        dose_error_krad=sum(d.error_krad for d in own) / n,
        rate_krad_per_s=sum(d.rate_krad_per_s for d in own) / n,
        temperature_c=sum(temperatures) / len(temperatures) if temperatures else math.nan,
        temperature_bin=key[4],
        exposure_s=exposure_s,
        mean_exposure_s=sum(f.exposure_s or 0.0 for f in ordered) / n,
        since_end_s=sum(since) / len(since) if since else math.nan,
        step=key[2],
        visit=key[3],
    )
