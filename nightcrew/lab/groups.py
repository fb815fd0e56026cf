"""Frames that belong together: equal kind, stage, dose, set-up, filter (and attempt), clusters of temperature, equal exposure.

Temperatures are split where neighbours lie further apart than ``GAP_K``, and where a chain of them (a ramp) spans more than three of it; a
group's temperature is the mean of its frames.  Exposures likewise.  Names of files have as many digits as it takes to tell the groups
apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nightcrew.detector.clusters import WIDEST, narrow_parts, within
from nightcrew.detector.set_up import SetUp, short_names
from nightcrew.lab.records import NO_SET_UP, LabFrame
from nightcrew.lab.states import State, states_of
from nightcrew.planning.groups import split_at_gaps

GAP_K = 0.5
SAME_EXPOSURE = 0.005  # relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Frames of one cell; ``temperature_c`` and ``exposure_s`` are means, None where no frame states them.  ``attempt`` "" for all.

    ``cluster_c`` is the mean over all frames of the kind in that cluster of temperature, whatever their exposure: it names the group.
    """

    caltype: str
    stage: str
    dose_krad: float | None
    filter: str
    attempt: str
    temperature_c: float | None
    cluster_c: float | None
    exposure_s: float | None
    frames: tuple[LabFrame, ...]
    set_up: SetUp = NO_SET_UP
    set_up_name: str = ""  # a word for the set-up where the frames have several

    @property
    def state(self) -> State:
        """Stage, dose and set-up, which frames must share to be applied to each other."""
        return State(stage=self.stage, dose_krad=self.dose_krad, set_up=self.set_up)


_Key = tuple[str, str, float, SetUp, str, str]


def _keys(frames: Sequence[LabFrame], per_attempt: bool) -> dict[int, _Key]:
    """Key of each frame, by its place in memory."""
    found = {}
    for frame, state in zip(frames, states_of(frames), strict=True):
        dose = -1.0 if state.dose_krad is None else state.dose_krad
        found[id(frame)] = (frame.caltype, state.stage, dose, state.set_up, frame.filter, frame.attempt if per_attempt else "")
    return found


def group_frames(frames: Iterable[LabFrame], *, per_attempt: bool = False, gap_k: float = GAP_K) -> list[Group]:
    """Groups of the frames that are not bad; bias frames are not split by exposure.

    Frames of bias, dark and flat without a temperature form groups of their own.
    """
    used = [frame for frame in frames if not frame.bad and frame.caltype]
    keys = _keys(used, per_attempt)
    words = short_names(frame.set_up for frame in used)
    by_kind: dict[str, list[LabFrame]] = {}
    for frame in used:
        by_kind.setdefault(frame.caltype, []).append(frame)
    found: list[tuple[_Key, int, Group]] = []
    for kind in by_kind.values():
        for place, cluster in enumerate(_clusters(kind, lambda frame: frame.temperature_c, gap_k)):
            mean = mean_of(frame.temperature_c for frame in cluster)
            for key in {keys[id(frame)] for frame in cluster}:
                part = [frame for frame in cluster if keys[id(frame)] == key]
                cells = [part] if key[0] == "BIAS" else _clusters(part, lambda frame: frame.exposure_s, SAME_EXPOSURE, relative=True)
                found += [(key, place, _group(key, mean, cell, words[key[3]])) for cell in cells]
    return [group for _, _, group in sorted(found, key=lambda item: (item[0], item[1], item[2].exposure_s or 0.0))]


def _clusters(
    frames: Sequence[LabFrame], value: Callable[[LabFrame], float | None], gap: float, *, relative: bool = False
) -> list[list[LabFrame]]:
    """Frames split at gaps of a value, and their chains where they span more than three gaps; those without a value last."""
    found: list[list[LabFrame]] = []
    for chain in split_at_gaps(frames, value, gap, relative=relative):
        numbers = [number for frame in chain if (number := value(frame)) is not None]
        width = WIDEST * gap * (max(map(abs, numbers), default=0.0) if relative else 1.0)
        parts = narrow_parts(numbers, within(width)) if numbers else [slice(None)]
        found += [chain[part] for part in parts]
    return found


def _group(key: _Key, cluster_c: float | None, frames: Sequence[LabFrame], set_up_name: str) -> Group:
    return Group(
        caltype=key[0],
        stage=key[1],
        dose_krad=None if key[2] < 0 else key[2],
        filter=key[4],
        attempt=key[5],
        temperature_c=mean_of(frame.temperature_c for frame in frames),
        cluster_c=cluster_c,
        exposure_s=_rounded(mean_of(frame.exposure_s for frame in frames)),
        frames=tuple(frames),
        set_up=key[3],
        set_up_name=set_up_name,
    )


def _rounded(value: float | None) -> float | None:
    """Nine digits: means of equal numbers stay equal."""
    return None if value is None else float(f"{value:.9g}")


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known and finite; None without any."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def texts(values: Sequence[float | None], least: int, *, exact: bool = False) -> dict[float | None, str]:
    """Text of each value with at least ``least`` decimals, and as many as it takes to tell all apart; ``none`` where it is not known.

    With ``exact`` a value that the decimals would change is written with six significant digits (0.012).
    """
    distinct = sorted({value for value in values if value is not None})
    made: dict[float | None, str] = {}
    for digits in range(least, 10):
        made = {value: _number(value, digits, exact) for value in distinct}
        if len(set(made.values())) == len(distinct):
            break
    made[None] = "none"
    return made


def _number(value: float, digits: int, exact: bool) -> str:
    text = f"{value:.{digits}f}"
    if exact and abs(float(text) - value) > 1e-6 * abs(value):
        return f"{value:.6g}"
    return text.replace("-0." + "0" * digits, "0." + "0" * digits) if float(text) == 0 else text


def name_parts(group: Group) -> str:
    """What a file's name says of stage, dose, set-up and filter: ``pre_D5kR_gain2_V_`` or ""."""
    dose = "" if group.dose_krad is None else f"D{group.dose_krad:.6g}kR"
    parts = [group.stage, dose, safe(group.set_up_name), safe(group.filter)]
    return "".join(f"{part}_" for part in parts if part)


def safe(text: str) -> str:
    """Text from a file as a part of a file's name."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "+-.") else "-" for char in text).strip("-.")[:60]


def nearest(groups: Iterable[Group], temperature_c: float, allowed: Callable[[Group], bool] = lambda _: True) -> Group | None:
    """The group of the nearest temperature, of equals the one of most frames; None without any."""
    known = [group for group in groups if group.temperature_c is not None and allowed(group)]
    return min(known, key=lambda g: (abs((g.temperature_c or 0.0) - temperature_c), -len(g.frames)), default=None)
