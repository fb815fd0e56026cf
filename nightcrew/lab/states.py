"""Frames that may be analysed together: of one stage, dose and set-up.  A model describes one state of one sensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from nightcrew.detector.clusters import narrow_parts
from nightcrew.detector.set_up import SetUp, short_names
from nightcrew.lab.names import folder_dose_krad
from nightcrew.lab.records import LabFrame

SAME_DOSE = 0.02  # relative: doses of a log that lie nearer to each other are one
LEAST_DOSE_KRAD = 0.05
_ORDER = {"pre": 0, "": 1, "post": 2, "radiating": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What frames share: stage, dose (kRad, of the folder, else of a cluster of the log's) and set-up."""

    stage: str
    dose_krad: float | None
    set_up: SetUp

    def __str__(self) -> str:
        return f"{self.stage or 'no stage'}" + ("" if self.dose_krad is None else f" at {self.dose_krad:.6g} kRad")


def same_dose(one: float | None, other: float | None) -> bool:
    """Whether two doses (kRad) are one step of a campaign; unknown ones are so only among themselves."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= max(SAME_DOSE * max(abs(one), abs(other)), LEAST_DOSE_KRAD)


def doses_of(frames: Iterable[LabFrame]) -> dict[float | None, float | None]:
    """The dose that stands for each dose of the frames: the mean of its cluster, so that readings of one step are one.

    A chain of readings (a log that goes on during the irradiation) is cut until each is one with the mean of its part.
    """
    values = sorted({frame.dose_krad for frame in frames if frame.dose_krad is not None})
    found: dict[float | None, float | None] = {None: None}
    clusters: list[list[float]] = []
    for value in values:
        if clusters and same_dose(value, clusters[-1][-1]):
            clusters[-1].append(value)
        else:
            clusters.append([value])
    for cluster in [chain[part] for chain in clusters for part in narrow_parts(chain, _one_step)]:
        mean = cluster[0] if len(cluster) == 1 else float(f"{sum(cluster) / len(cluster):.6g}")
        found |= dict.fromkeys(cluster, mean)
    return found


def _one_step(doses: Sequence[float]) -> bool:
    mean = sum(doses) / len(doses)
    return same_dose(doses[0], mean) and same_dose(doses[-1], mean)


def states_of(frames: Sequence[LabFrame]) -> list[State]:
    """The state of each frame.  The dose that the deepest folder states counts, since logs go up from frame to frame."""
    doses = doses_of(frame for frame in frames if _folder_dose(frame) is None)
    found = []
    for frame in frames:
        folder = _folder_dose(frame)
        dose = folder if folder is not None else doses[frame.dose_krad]
        found.append(State(stage=frame.stage, dose_krad=dose, set_up=frame.set_up))
    return found


def _folder_dose(frame: LabFrame) -> float | None:
    return folder_dose_krad(frame.attempt.split("/"))


def one_state(frames: Sequence[LabFrame], kinds: Collection[str] = ("BIAS", "DARK")) -> tuple[State | None, list[str]]:
    """The state that the models of a campaign are made for, and a warning when there are others.

    A state that has good frames of all ``kinds`` that there are goes first, then the one before irradiation, then most frames.
    """
    some = [frame for frame in frames if frame.caltype in kinds and not frame.bad and frame.temperature_c is not None]
    if not some:
        return None, []
    states = states_of(some)
    counts = Counter(states)
    held = {state: {frame.caltype for frame, one in zip(some, states, strict=True) if one == state} for state in counts}
    chosen = min(counts, key=lambda s: (-len(held[s]), _ORDER.get(s.stage, 9), -counts[s], s.dose_krad or 0.0, s.set_up))
    if len(counts) == 1:
        return chosen, []
    names = short_names(state.set_up for state in counts)
    with_ = f", {names[chosen.set_up]}" if names[chosen.set_up] else ""
    return chosen, [f"the models are those of the frames of {chosen}{with_}; frames of {len(counts) - 1} other states were not mixed in"]


def of_state(frames: Sequence[LabFrame], state: State | None) -> list[LabFrame]:
    """The frames that are in a state; doses need not be equal to the last digit."""
    if state is None:
        return []
    return [
        frame
        for frame, one in zip(frames, states_of(frames), strict=True)
        if (one.stage, one.set_up) == (state.stage, state.set_up) and same_dose(one.dose_krad, state.dose_krad)
    ]


def odd_sizes_aside(frames: Sequence[LabFrame]) -> list[LabFrame]:
    """The frames; those that have not the size of most good ones become bad, with the reason.  Sizes that are not known pass."""
    sizes = Counter((frame.nx, frame.ny) for frame in frames if not frame.bad and frame.nx)
    if len(sizes) < 2:
        return list(frames)
    (nx, ny), count = max(sizes.items(), key=lambda item: (item[1], item[0]))
    reason = f"{{}} x {{}} pixels, {count} other frames have {nx} x {ny}: they cannot be analysed together"
    return [
        frame
        if frame.bad or not frame.nx or (frame.nx, frame.ny) == (nx, ny)
        else replace(frame, bad=True, reason=reason.format(frame.nx, frame.ny))
        for frame in frames
    ]
