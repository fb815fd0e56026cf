"""Masters of a campaign: the mean of each (stage, dose, filter, temperature, exposure), per attempt and over all attempts.

Darks get the bias master of the same stage and dose at the nearest temperature subtracted; which one stands in the header.  Attempts
weigh alike in the master over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.stack import F4, FrameStack
from nightcrew.errors import RejectedInput
from nightcrew.io.cardtext import Card
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from nightcrew.lab.groups import Group, group_frames, name_parts, nearest, safe, texts
from nightcrew.lab.records import LabFrame
from nightcrew.lab.states import same_dose

_FOLDERS = {"BIAS": "bias", "DARK": "darks", "FLAT": "flats", "OPER": "operation"}
_MEMORY_BYTES = 32 << 20
FAR_BIAS_K = 2.0  # between darks and the bias master that was taken from them: more is told
_NOTHING: F4 = np.empty((0, 0), np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Master:
    """A master in memory: ``mean`` [y, x] (adu), error of the mean (NaN of one frame), and numbers over all pixels of all frames.

    ``std`` is their scatter about the one mean (fixed pattern included, denominator N - 1); ``noise`` the median scatter of a pixel in
    time.  ``bias_c``: temperature of the bias master that was subtracted, None where none was.
    """

    group: Group
    name: str
    mean: F4
    error: F4
    n_frames: int
    level: float
    median: float
    std: float
    noise: float | None
    lowest: float
    highest: float
    bias_c: float | None = None
    path: Path | None = None


def make_master(group: Group, name: str, bias: tuple[float, F4] | None = None) -> Master:
    """The mean of a group's frames, less a bias (temperature, plane) where one is given; streamed in rows.

    Pixels that are not finite take no part; one that no frame has is NaN.  ``RejectedInput`` when no pixel is finite.
    """
    with FrameStack([frame.path for frame in group.frames]) as stack:
        ny, nx = stack.shape
        mean, error, scatter = (np.empty((ny, nx), np.float32) for _ in range(3))
        total, squares, count = 0.0, 0.0, 0
        lowest, highest = np.inf, -np.inf
        for y0, y1 in stack.slabs(12, _MEMORY_BYTES):
            rows = stack.rows(y0, y1)
            if bias is not None:
                rows -= bias[1][y0:y1].reshape(-1)
            wide, spread, of = _moments(rows)
            mean[y0:y1], scatter[y0:y1], error[y0:y1] = (v.reshape(-1, nx) for v in (wide, spread, spread / np.sqrt(np.maximum(of, 1))))
            known = rows[np.isfinite(rows)] if of.min() < len(stack) else rows
            total += float(known.sum(dtype=np.float64))
            squares += float(np.dot(known.reshape(-1).astype(np.float64), known.reshape(-1)))
            count += known.size
            lowest, highest = min(lowest, float(known.min(initial=np.inf))), max(highest, float(known.max(initial=-np.inf)))
        if count == 0:
            raise RejectedInput(f"{name}: no pixel of its frames is finite")
        level = total / count
        variance = max(squares - count * level * level, 0.0) / max(count - 1, 1)
        noise = _median(scatter) if len(stack) > 1 else None
    return Master(
        group=group,
        name=name,
        mean=mean,
        error=error,
        n_frames=len(group.frames),
        level=level,
        median=_known_median(mean, name),
        std=float(np.sqrt(variance)),
        noise=noise,
        lowest=lowest,
        highest=highest,
        bias_c=None if bias is None else bias[0],
    )


def _moments(rows: F4) -> tuple[NDArray[np.float64], F4, NDArray[np.intp]]:
    """Mean, sample scatter (NaN of one value) and number of the finite values of each column of ``rows`` [frame, pixel]."""
    n = len(rows)
    good = np.isfinite(rows)
    if good.all():
        spread = rows.std(axis=0, ddof=1) if n > 1 else np.full(rows.shape[1], np.nan, np.float32)
        return rows.mean(axis=0, dtype=np.float64), spread, np.full(rows.shape[1], n, np.intp)
    of = good.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(good, rows, 0.0).sum(axis=0, dtype=np.float64) / of
        squares = (np.where(good, rows - mean, 0.0) ** 2).sum(axis=0)
        spread = np.sqrt(np.where(of > 1, squares / (of - 1), np.nan)).astype(np.float32)
    return mean, spread, of


def _median(values: F4) -> float | None:
    """Median of the finite values, None without one."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _known_median(values: F4, name: str) -> float:
    median = _median(values)
    if median is None:
        raise RejectedInput(f"{name}: no pixel is finite in all of its frames")
    return median


def joined(group: Group, name: str, made: Iterable[Master]) -> Master:
    """The master over several attempts, each of equal weight; they are taken one by one, so that two of them are in memory at most."""
    parts: list[Master] = []
    first: Master | None = None
    mean = squares = np.zeros((0, 0))
    for part in made:
        if first is None:
            first, mean, squares = part, part.mean.astype(np.float64), np.square(part.error, dtype=np.float64)
        else:
            first = light(first)
            mean += part.mean
            squares += np.square(part.error, dtype=np.float64)
        parts.append(light(part))
    if first is None:
        raise RejectedInput(f"{name}: there is no frame for it")
    if len(parts) == 1:
        return replace(first, group=group, name=name)
    mean /= len(parts)
    counts: NDArray[np.float64] = np.array([part.n_frames for part in parts], np.float64)
    levels = np.array([part.level for part in parts])
    level = float(np.average(levels, weights=counts))
    pixels = counts * mean.size
    within = float(np.sum((pixels - 1) * np.array([part.std for part in parts]) ** 2) + np.sum(pixels * (levels - level) ** 2))
    noises = [part.noise for part in parts if part.noise is not None]
    plane_: F4 = mean.astype(np.float32)
    return replace(
        first,
        group=group,
        name=name,
        mean=plane_,
        error=(np.sqrt(squares) / len(parts)).astype(np.float32),
        n_frames=int(counts.sum()),
        level=level,
        median=_known_median(plane_, name),
        std=float(np.sqrt(within / max(pixels.sum() - 1, 1))),
        noise=float(np.median(noises)) if noises else None,
        lowest=min(part.lowest for part in parts),
        highest=max(part.highest for part in parts),
    )


def master_cards(master: Master) -> list[Card]:
    """Header of a master: how many frames, their numbers, conditions, and what was subtracted."""
    group = master.group
    cards: list[Card] = [
        ("CALTYPE", group.caltype, "what the frames are for"),
        ("NSOURCE", master.n_frames, "frames"),
        ("MEAN", master.level, "adu, of all pixels of all frames"),
        ("MEDIAN", master.median, "adu, of this master"),
        ("STD", master.std, "adu, of all pixels of all frames about MEAN"),
        ("NOISE", master.noise, "adu, median scatter of a pixel in time"),
        ("DATAMIN", master.lowest, "adu, of all frames"),
        ("DATAMAX", master.highest, "adu, of all frames"),
        ("STAGE", group.stage, ""),
        ("DOSE", group.dose_krad, "kRad"),
        ("FILTER", group.filter, ""),
        ("TEMP", group.temperature_c, "deg C, mean"),
        ("EXPTIME", group.exposure_s, "s, mean"),
        ("BIASSUB", master.bias_c is not None, "whether a bias was subtracted"),
        ("T_NEAR", master.bias_c, "deg C, of the bias that was subtracted"),
    ]
    for letter, unit, values in (
        ("T", "deg C", [frame.temperature_c for frame in group.frames]),
        ("E", "s", [frame.exposure_s for frame in group.frames]),
    ):
        known = [value for value in values if value is not None and np.isfinite(value)]
        if known:
            numbers = (("MIN", min(known)), ("MAX", max(known)), ("AVG", float(np.mean(known))))
            cards += [(f"{letter}{word}", value, f"{unit}, of the frames") for word, value in numbers]
    return [card for card in cards if card[1] is not None and card[1] != ""]


def write_master(out: Path, master: Master, *, durable: bool = False) -> Master:
    """Write it under ``masters/{bias,darks,flats}/``; returns it with its path."""
    path = out / "masters" / _FOLDERS[master.group.caltype] / f"{master.name}.fits"
    error = master.error if master.n_frames > 1 else None
    write_image_product(path, science=master.mean, uncertainty=error, cards=master_cards(master), durable=durable)
    return replace(master, path=path)


def light(master: Master) -> Master:
    """A written master without its planes, which :func:`plane` reads again: many of them fit into memory."""
    return replace(master, mean=_NOTHING, error=_NOTHING)


def plane(master: Master) -> F4:
    """The mean [y, x] of a master, from its file where it was put away."""
    if master.mean.size or master.path is None:
        return master.mean
    pixels: F4 = read_image(master.path).astype(np.float32, copy=False)
    return pixels


def make_masters(frames: Sequence[LabFrame], out: Path, *, gap_k: float = 0.5) -> tuple[list[Master], list[str]]:
    """All masters of a campaign, written; those over all attempts, and warnings.

    ``master_<kind>_[<stage>_D<dose>kR_<filter>_][<attempt>_]T<t>[_E<e>].fits``.
    """
    warnings: list[str] = []
    whole: list[Master] = []
    for kind in ("BIAS", "DARK", "FLAT"):
        mine = [frame for frame in frames if frame.caltype == kind and not frame.bad]
        lost = [frame for frame in mine if frame.temperature_c is None or (kind != "BIAS" and frame.exposure_s is None)]
        if lost:
            warnings.append(
                f"{len(lost)} frames of {kind} have no temperature or exposure and are in no master (first: {lost[0].path.name})"
            )
        usable = [frame for frame in mine if frame not in lost]
        whole += _of_kind(kind, usable, [master for master in whole if master.group.caltype == "BIAS"], out, gap_k, warnings)
    return whole, warnings


def _of_kind(kind: str, frames: list[LabFrame], biases: list[Master], out: Path, gap_k: float, warnings: list[str]) -> list[Master]:
    groups = group_frames(frames, gap_k=gap_k)
    t_text = texts([group.cluster_c for group in groups], 1)
    e_text = texts([group.exposure_s for group in groups], 1, exact=True)
    found = []
    for group in groups:
        tail = f"T{t_text[group.cluster_c]}" + ("" if kind == "BIAS" else f"_E{e_text[group.exposure_s]}")
        start = f"master_{kind.lower()}_{name_parts(group)}"
        bias = _bias_for(group, biases, warnings) if kind == "DARK" else None
        parts = [
            replace(one, attempt=attempt)
            for attempt in sorted({frame.attempt for frame in group.frames})
            for one in [replace(group, frames=tuple(frame for frame in group.frames if frame.attempt == attempt))]
        ]
        short = _short_names([part.attempt for part in parts])
        made = (write_master(out, make_master(part, f"{start}{short[part.attempt]}_{tail}", bias)) for part in parts)
        found.append(light(write_master(out, joined(group, f"{start}{tail}", made))))
    return found


def _short_names(attempts: Sequence[str]) -> dict[str, str]:
    """The last folder of each attempt, or as many folders as it takes to tell them apart."""
    for depth in range(1, 20):
        made = {attempt: safe("-".join(attempt.split("/")[-depth:])) or "all" for attempt in attempts}
        if len(set(made.values())) == len(attempts):
            return made
    return {attempt: f"attempt-{place}" for place, attempt in enumerate(attempts)}


def _serves(bias: Group, dark: Group) -> bool:
    """Whether a bias is of the same state of the sensor; one that states neither stage nor dose serves any."""
    if bias.set_up != dark.set_up:
        return False
    stated = bias.stage != "" or bias.dose_krad is not None
    return not stated or (bias.stage == dark.stage and same_dose(bias.dose_krad, dark.dose_krad))


def _bias_for(group: Group, biases: list[Master], warnings: list[str]) -> tuple[float, F4] | None:
    same = [one for one in biases if _serves(one.group, group)]
    found = nearest([one.group for one in same], group.temperature_c or 0.0)
    if found is None:
        why = f" of the same stage, dose and set-up as the darks of {group.state}" if biases else ""
        text = f"there is no bias master{why}: darks keep their bias (BIASSUB = F)"
        if text not in warnings:
            warnings.append(text)
        return None
    master = next(one for one in same if one.group is found)
    mean = plane(master)
    if group.frames[0].nx and mean.shape != (group.frames[0].ny, group.frames[0].nx):
        warnings.append("the bias masters have another size than the darks, which keep their bias (BIASSUB = F)")
        return None
    far = abs((master.group.temperature_c or 0.0) - (group.temperature_c or 0.0))
    if far > FAR_BIAS_K:
        where = f"{group.temperature_c or 0.0:.1f} C"
        warnings.append(
            f"the nearest bias of the darks at {where} lies {far:.1f} K away: its drift with temperature stays in their masters"
        )
    return (master.group.temperature_c or 0.0), mean
