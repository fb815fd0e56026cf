"""Flats one by one: the dark that fits, normalisation, stars of sky flats masked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.combine import combine
from nightcrew.detector.set_up import set_up_of_cards
from nightcrew.detector.stack import F4
from nightcrew.errors import RejectedInput
from nightcrew.io.headers import read_hdus
from nightcrew.io.source import shown
from nightcrew.lab.groups import SAME_EXPOSURE, Group, group_frames, nearest
from nightcrew.lab.index import exposure_of, in_usual_units, temperature_of
from nightcrew.lab.records import LabFrame, good
from nightcrew.lab.states import same_dose, states_of
from nightcrew.quality.bad_pixels import smooth_level
from nightcrew.quality.statistics import clipped_mean_sigma, median_and_sigma

FARTHEST_K = 5.0
FARTHEST_S = 10.0
SHORTEST_DARK_S = 0.1
NEAR_BIAS_K = 2.0
STAR_SIGMA = 5.0
STAR_GROW_PX = 3
Scaling = Literal["same exposure", "scaled", "not scaled"]
SAME: Scaling = "same exposure"
SCALED: Scaling = "scaled"
UNSCALED: Scaling = "not scaled"


@dataclass(frozen=True, slots=True, kw_only=True)
class DarkChoice:
    """Darks of one cell and how far they are from a flat; ``distance`` in tolerances."""

    group: Group
    distance: float
    difference_k: float
    difference_s: float


def find_darks(frames: Sequence[LabFrame]) -> list[LabFrame]:
    """Darks of an index that flats may be reduced with."""
    return [f for f in good(frames, "DARK") if f.temperature_c is not None and (f.exposure_s or 0) >= SHORTEST_DARK_S]


def darks_of_file(path: Path) -> list[LabFrame]:
    """Darks named by a JSON file: a list of paths, or ``{"darks": [...]}``; relative ones below its folder."""
    name = shown(path)
    try:
        body: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RejectedInput(f"{name}: cannot be read as a list of darks ({error})") from error
    listed = body.get("darks", []) if isinstance(body, dict) else body
    if not isinstance(listed, list) or not listed or not all(isinstance(item, str) for item in listed):
        raise RejectedInput(f"{name}: is no list of names of darks")
    found = []
    for item in listed:
        file = path.parent / item
        hdu = read_hdus(file, first_only=True)[0]
        cards = in_usual_units(hdu)
        t, _ = temperature_of(cards, file.name, ("", *file.parent.parts[-4:]))
        exposure, _ = exposure_of(cards, file.name, ("", *file.parent.parts[-4:]))
        ny, nx = hdu.shape[-2:] if len(hdu.shape) >= 2 else (0, 0)
        frame = LabFrame(path=file, caltype="DARK", temperature_c=t, exposure_s=exposure, nx=nx, ny=ny)
        found.append(replace(frame, set_up=set_up_of_cards(hdu, hdu.shape)))
    return found


def choose_dark(flat: LabFrame, groups: Sequence[Group]) -> DarkChoice | None:
    """The cell of darks nearest in temperature and exposure, both in units of what is tolerated (5 K, 10 s); None where none is.

    Only darks of the flat's own set-up, stage and dose count; darks that state neither stage nor dose serve any.
    """
    best = None
    (state,) = states_of([flat])
    for group in groups:
        if group.temperature_c is None or group.exposure_s is None or flat.temperature_c is None or flat.exposure_s is None:
            continue
        if group.set_up != flat.set_up:
            continue
        if group.stage != flat.stage and (group.stage or group.dose_krad is not None):
            continue
        if group.dose_krad is not None and not same_dose(group.dose_krad, state.dose_krad):
            continue
        dt, ds = group.temperature_c - flat.temperature_c, group.exposure_s - flat.exposure_s
        if abs(dt) > FARTHEST_K or abs(ds) > FARTHEST_S:
            continue
        choice = DarkChoice(group=group, distance=float(np.hypot(dt / FARTHEST_K, ds / FARTHEST_S)), difference_k=dt, difference_s=ds)
        if best is None or choice.distance < best.distance:
            best = choice
    return best


class DarkShelf:
    """Mean darks (bias included) of cells, made when first asked for; the last few are kept.

    Where a flat's exposure is not that of its darks and there are bias frames of the same state within ``NEAR_BIAS_K``, the dark signal
    is taken in proportion to the exposure: hot pixels would else be taken off too much or too little.
    Without such bias frames the darks are taken as they are, and said to be.
    """

    def __init__(self, darks: Sequence[LabFrame], *, gap_k: float, biases: Sequence[LabFrame] = ()) -> None:
        self.groups = group_frames(darks, gap_k=gap_k)
        self._biases = group_frames([frame for frame in biases if frame.temperature_c is not None], gap_k=gap_k)
        self._made: dict[int, F4] = {}

    def dark(self, choice: DarkChoice, exposure_s: float | None = None) -> tuple[F4, Scaling]:
        """Median of the darks of the cell [y, x] (adu) for a flat of ``exposure_s`` (None: that of the darks), and how it came to that."""
        dark, theirs = self._median(choice.group), choice.group.exposure_s
        if not exposure_s or not theirs or abs(exposure_s - theirs) <= SAME_EXPOSURE * theirs:
            return dark, SAME
        group = choice.group
        same = (one for one in self._biases if one.set_up == group.set_up and (one.stage == group.stage or not one.stage))
        found = nearest(same, group.temperature_c or 0.0, lambda one: _serves(one, group))
        if found is None:
            return dark, UNSCALED
        bias = self._median(found)
        if bias.shape != dark.shape:
            return dark, UNSCALED
        scaled: F4 = bias + (dark - bias) * np.float32(exposure_s / theirs)
        return scaled, SCALED

    def _median(self, group: Group) -> F4:
        key = id(group)
        if key not in self._made:
            while len(self._made) >= 4:
                self._made.pop(next(iter(self._made)))
            paths = [frame.path for frame in group.frames]
            method = "median" if len(paths) > 2 else "mean"
            self._made[key] = combine(paths, method=method, planes=("result",), memory_bytes=32 << 20).result
        return self._made[key]


def unscaled_sentence(count: int, total: int) -> str:
    """What is wrong with flats whose darks were of another exposure and not scaled; "" for none."""
    why = f"no bias frames of their state within {NEAR_BIAS_K:g} K tell the dark signal"
    return f"{count} of {total} flats were reduced with darks of another exposure as they are, since {why}" if count else ""


def _serves(bias: Group, dark: Group) -> bool:
    """Whether a bias lies near enough in temperature and dose to be told from the dark signal."""
    near = abs((bias.temperature_c or 0.0) - (dark.temperature_c or 0.0)) <= NEAR_BIAS_K
    return near and (bias.dose_krad is None or same_dose(bias.dose_krad, dark.dose_krad))


def level_of(flat: F4, method: str) -> float:
    """What a flat is divided by: ``robust`` (5-sigma clipped mean), ``mean`` or ``max``; RejectedInput when it is not above 0."""
    values = flat[np.isfinite(flat)]
    if values.size == 0:
        raise RejectedInput("the flat has no good pixel")
    if method == "robust":
        level = clipped_mean_sigma(values, clip_sigma=5.0)[0]
    else:
        level = float(values.mean(dtype=np.float64)) if method == "mean" else float(values.max())
    if not level > 0:
        raise RejectedInput(f"the flat's level is {level:.4g} adu: there is no light in it")
    return level


def star_mask(flat: F4) -> NDArray[np.bool_]:
    """Stars of a sky flat [y, x]: pixels far above their surroundings, grown by a few pixels."""
    excess = flat - smooth_level(flat)
    _, sigma = median_and_sigma(excess[np.isfinite(excess)])
    found: NDArray[np.bool_] = excess > STAR_SIGMA * max(sigma, 1e-6)
    for _ in range(STAR_GROW_PX):
        grown = found.copy()
        grown[1:] |= found[:-1]
        grown[:-1] |= found[1:]
        grown[:, 1:] |= found[:, :-1]
        grown[:, :-1] |= found[:, 1:]
        found = grown
    return found
