"""Groups of frames that are one measurement: same campaign, stage, kind, dose step, temperature and exposure, within stated tolerances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightcrew.irradiation.frames import Frame, FrameDose, in_time_order
from nightcrew.irradiation.tokens import STAGES, Stage

TEMPERATURE_GAP_C = 0.5  # sorted temperatures are cut where the step is larger
DOSE_GAP_KRAD = 0.05  # the same for doses of frames whose folder bears none
EXPOSURE_GAP = 0.01  # relative


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Frames of one measurement in the order of time, with means over them.

    ``rate_krad_per_s``: NaN where unknown.  ``dose_error_krad``: of the mean.  ``since_end_s``: mean time since the end of the beam (post).
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
    visit: int = 0

    @property
    def key(self) -> tuple[str, str, float, float, float]:
        """Sorting and naming: kind, stage, dose, temperature, exposure."""
        return (self.kind, self.stage, self.dose_krad, self.temperature_c, self.exposure_s)


def clusters(values: Sequence[float], gap: float, *, relative: bool = False) -> list[int]:
    """Number of the cluster of each value: sorted values are cut where the step exceeds ``gap`` (or gap times the value)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    labels = [0] * len(values)
    current = 0
    for before, here in itertools.pairwise(order):
        step = values[here] - values[before]
        current += step > (gap * max(abs(values[here]), 1e-12) if relative else gap)
        labels[here] = current
    return labels


def make_groups(
    frames: Sequence[Frame], doses: Mapping[str, FrameDose], *, ignore_temperature: bool = False
) -> tuple[list[Group], dict[str, str]]:
    """Groups of the frames that have a dose, and reasons for those that have none.

    Temperatures and exposures are clustered over all frames, so that jitter makes no groups; a bias has no exposure.  Frames of a dose
    step are those of its folder, else doses are clustered; frames after the beam are cut into visits by time.
    """
    left_out = {f.relative: "nothing tells its dose" for f in frames if not math.isfinite(doses[f.relative].dose_krad)}
    unknown = {f.relative: "its exposure is not stated" for f in frames if f.kind != "BIAS" and f.exposure_s is None}
    left_out |= unknown
    kept = sorted((f for f in frames if f.relative not in left_out), key=Frame.order)
    bins = _temperature_bins(kept, ignore_temperature)
    times = [f.exposure_s or 0.0 for f in kept if f.kind != "BIAS"]
    exposure_of = dict(zip([f.relative for f in kept if f.kind != "BIAS"], clusters(times, EXPOSURE_GAP, relative=True), strict=True))
    steps = _dose_steps(kept, doses)
    visits = _visits(kept, doses)
    sorted_in: dict[tuple[object, ...], list[Frame]] = {}
    for frame in kept:
        dose = doses[frame.relative]
        name = frame.relative
        sorted_in.setdefault((frame.kind, dose.stage, steps[name], visits.get(name, 0), bins[name], exposure_of.get(name, -1)), []).append(
            frame
        )
    groups = [_group(key, inside, doses) for key, inside in sorted_in.items()]
    return sorted(groups, key=lambda g: (g.kind, STAGES.index(g.stage), g.dose_krad, g.temperature_bin, g.exposure_s, g.visit)), left_out


def _temperature_bins(frames: Sequence[Frame], ignore: bool) -> dict[str, int]:
    known = [f for f in frames if f.temperature_c is not None]
    labels = clusters([f.temperature_c or 0.0 for f in known], TEMPERATURE_GAP_C)
    found = dict.fromkeys((f.relative for f in frames), 0 if ignore else -1)
    return found if ignore else found | dict(zip([f.relative for f in known], labels, strict=True))


def _dose_steps(frames: Sequence[Frame], doses: Mapping[str, FrameDose]) -> dict[str, float]:
    """Label of the dose step of each frame: its folder's dose, else a cluster's number below 0."""
    labelled = {
        f.relative: f.nominal_dose_krad for f in frames if f.nominal_dose_krad is not None and doses[f.relative].stage == "radiating"
    }
    rest = [f for f in frames if f.relative not in labelled and doses[f.relative].stage == "radiating"]
    found = clusters([doses[f.relative].dose_krad for f in rest], DOSE_GAP_KRAD)
    quiet = {f.relative: 0.0 for f in frames if doses[f.relative].stage != "radiating"}
    return {**{k: float(v) for k, v in labelled.items()}, **{f.relative: -1.0 - n for f, n in zip(rest, found, strict=True)}, **quiet}


def _visits(frames: Sequence[Frame], doses: Mapping[str, FrameDose]) -> dict[str, int]:
    """Visits after the beam: times are cut where a pause exceeds a third of the longest and ten times the usual one."""
    after = [f for f in frames if doses[f.relative].stage == "post" and f.time_s is not None]
    if len(after) < 3:
        return {}
    times = sorted(f.time_s or 0.0 for f in after)
    pauses = sorted(b - a for a, b in itertools.pairwise(times))
    gap = max(10 * pauses[len(pauses) // 2], pauses[-1] / 3)
    return dict(zip([f.relative for f in after], clusters([f.time_s or 0.0 for f in after], gap), strict=True))


def _group(key: tuple[object, ...], inside: Sequence[Frame], doses: Mapping[str, FrameDose]) -> Group:
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
        temperature_bin=int(key[4]),  # type: ignore[call-overload]
        exposure_s=sum(f.exposure_s or 0.0 for f in ordered) / n,
        since_end_s=sum(since) / len(since) if since else math.nan,
        visit=int(key[3]),  # type: ignore[call-overload]
    )
