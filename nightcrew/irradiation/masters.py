"""Masters of a campaign on disk: one a group, hits taken out, bias removed by a stated rule, with what the analysis needs in the header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import make_folder
from nightcrew.io.cardtext import Card
from nightcrew.io.products import read_image_product, write_image_product
from nightcrew.irradiation.grouping import Group
from nightcrew.irradiation.response import Level, dose_slope
from nightcrew.irradiation.stacks import DEFAULT_MEMORY_BYTES, Maps, Stack, measure

F4 = NDArray[np.float32]
BIAS_SPAN = 0.3  # of the campaign's largest dose: a bias from farther away is not subtracted


@dataclass(frozen=True, kw_only=True, eq=False)
class Master:
    """A group, what was measured, and its file.

    ``mean``, ``std``, ``median``: of the file's image (darks: bias removed), std population over pixels and frames.  ``bias``: the master
    that was subtracted (None: none was, ``why`` says so), ``bias_shift_adu``: what was subtracted beside it for the step in dose.
    ``error``: of the mean.
    """

    stack: Stack
    path: Path
    mean: float
    median: float
    std: float
    error: float
    bias: Master | None = None
    bias_shift_adu: float = 0.0
    why: str = ""

    @property
    def group(self) -> Group:
        """Its frames."""
        return self.stack.group

    @property
    def corrected(self) -> bool:
        """Whether the image is what its kind should be: a bias, a flat, or a dark without its bias."""
        return self.group.kind != "DARK" or self.bias is not None

    def level(self) -> Level:
        """The group as a point of the response."""
        group, noise = self.group, self.stack.noise
        return Level(
            stage=group.stage,
            kind=group.kind,
            dose_krad=group.dose_krad,
            mean=self.mean,
            std=self.std,
            rate_krad_per_s=group.rate_krad_per_s,
            exposure_s=group.exposure_s if group.kind != "BIAS" else 0.0,
            temperature_c=group.temperature_c,
            mean_error=self.error,
            noise=math.sqrt(noise.variance) if noise.variance >= 0 else math.nan,
            noise_error=noise.variance_error / (2 * math.sqrt(noise.variance)) if noise.variance > 0 else math.nan,
            n_frames=len(group.frames),
        )


def master_name(group: Group) -> str:
    """Stem of a master's file, unique among the groups of a campaign."""
    exposure = "none" if group.kind == "BIAS" else f"{group.exposure_s:.6g}"
    temperature = f"_T{group.temperature_c:.1f}" if math.isfinite(group.temperature_c) else ""
    visit = f"_V{group.visit}" if group.visit else ""
    return f"master_{group.kind.lower()}_{group.stage}_D{group.dose_krad:.6g}kR{temperature}_E{exposure}{visit}"


def make_masters(
    groups: Sequence[Group], folder: Path, *, step_adu: float = 0.0, memory_bytes: int = DEFAULT_MEMORY_BYTES
) -> tuple[list[Master], list[str]]:
    """Measure all groups and write their masters below ``folder``; remarks on what could not be corrected.

    Biases first; then darks, each less the bias of the same stage and temperature that is nearest in dose (within ``BIAS_SPAN`` of the
    largest dose), and less the bias' own change over the remaining step in dose.  A dark without such a bias keeps it and says so: it is
    never used together with corrected ones.
    """
    make_folder(folder, durable=False)
    remarks: list[str] = []
    biases = [_write_plain(group, folder, step_adu, memory_bytes) for group in groups if group.kind == "BIAS"]
    slopes = bias_slopes(biases)
    largest = max((group.dose_krad for group in groups), default=0.0)
    made = list(biases)
    for group in groups:
        if group.kind == "DARK":
            made.append(_write_dark(group, folder, biases, slopes, largest, step_adu, memory_bytes, remarks))
        elif group.kind != "BIAS":
            made.append(_write_plain(group, folder, step_adu, memory_bytes))
    return made, remarks


def bias_slopes(biases: Sequence[Master]) -> dict[int, float]:
    """Growth of the bias in ADU/kRad in each temperature bin (0 where a single dose says nothing)."""
    bins = sorted({one.group.temperature_bin for one in biases})
    slopes = {place: dose_slope([one.level() for one in biases if one.group.temperature_bin == place])[0] for place in bins}
    return {place: slope if math.isfinite(slope) else 0.0 for place, slope in slopes.items()}


def choose_bias(group: Group, biases: Sequence[Master], largest_krad: float) -> tuple[Master | None, str]:
    """The bias to subtract from a dark, or None and why none fits."""
    same = [one for one in biases if one.group.temperature_bin == group.temperature_bin]
    if not same:
        return None, "no bias at its temperature"
    span = BIAS_SPAN * max(largest_krad, 1e-9)
    near = [one for one in same if abs(one.group.dose_krad - group.dose_krad) <= span]
    if not near:
        return None, f"no bias within {span:.3g} kRad of its dose"

    def distance(one: Master) -> tuple[bool, float, int, str]:
        return (
            one.group.stage != group.stage,
            abs(one.group.dose_krad - group.dose_krad),
            abs(one.group.visit - group.visit),
            master_name(one.group),
        )

    return min(near, key=distance), ""


def _write_plain(group: Group, folder: Path, step_adu: float, memory_bytes: int) -> Master:
    stack, maps = measure(group, step_adu=step_adu, memory_bytes=memory_bytes)
    return _save(stack, maps, folder, None, 0.0, "")


def _write_dark(
    group: Group,
    folder: Path,
    biases: Sequence[Master],
    slopes: dict[int, float],
    largest: float,
    step_adu: float,
    memory_bytes: int,
    remarks: list[str],
) -> Master:
    stack, maps = measure(group, step_adu=step_adu, memory_bytes=memory_bytes)
    bias, why = choose_bias(group, biases, largest)
    if bias is not None and bias.stack.shape != stack.shape:
        bias, why = None, "the bias has another size"
    if bias is None:
        remarks.append(f"{master_name(group)}: its bias was not removed ({why}); it is in no response")
        return _save(stack, maps, folder, None, 0.0, why)
    if bias.group.stage != group.stage:
        taken = f"that of {bias.group.stage} at {bias.group.dose_krad:.4g} kRad was removed"
        remarks.append(f"{master_name(group)}: there is no bias of its stage; {taken}")
    shift = slopes[group.temperature_bin] * (group.dose_krad - bias.group.dose_krad)
    maps = Maps(maps.mean - read_map(bias.path) - np.float32(shift), maps.spread)
    return _save(stack, maps, folder, bias, shift, "")


def _save(stack: Stack, maps: Maps, folder: Path, bias: Master | None, shift: float, why: str) -> Master:
    image = maps.mean
    good = image[np.isfinite(image)]
    if not good.size:
        raise RejectedInput(f"{stack.group.frames[0].folder}: no pixel has a value in all its frames")
    mean = float(good.mean(dtype=np.float64))
    std = math.sqrt(float(good.var(dtype=np.float64)) + float(np.nanmean(np.square(maps.spread), dtype=np.float64)))
    median = float(np.median(good))
    error = stack.level_error if bias is None else math.hypot(stack.level_error, bias.error)
    n = len(stack.group.frames)
    cards = _cards(stack, image, (mean, median, std), bias, shift)
    noise = maps.spread * np.float32(1 / math.sqrt(max(n - 1, 1))) if n > 1 else None
    path = folder / f"{master_name(stack.group)}.fits"
    write_image_product(path, science=image, uncertainty=noise, cards=cards, unit="adu", extras={"STD": maps.spread}, durable=False)
    return Master(stack=stack, path=path, mean=mean, median=median, std=std, error=error, bias=bias, bias_shift_adu=shift, why=why)


def _cards(stack: Stack, image: F4, level: tuple[float, float, float], bias: Master | None, shift: float) -> list[Card]:
    group = stack.group
    temperatures = np.array([f.temperature_c for f in group.frames if f.temperature_c is not None])
    cards: list[Card] = [
        ("CALTYPE", group.kind, "what the frames are"),
        ("STAGE", group.stage, "pre, radiating, post"),
        ("DOSE", _finite(group.dose_krad), "kRad, mean of the frames"),
        ("DOSEERR", _finite(group.dose_error_krad), "kRad"),
        ("DOSERATE", _finite(group.rate_krad_per_s), "kRad/s"),
        ("EXPTIME", group.exposure_s, "s"),
        ("NSOURCE", len(group.frames), "frames"),
        ("MEAN", level[0], "adu"),
        ("MEDIAN", level[1], "adu"),
        ("STD", level[2], "adu, population over pixels and frames"),
        ("DATAMIN", float(np.nanmin(image)), "adu"),
        ("DATAMAX", float(np.nanmax(image)), "adu"),
        ("T_MEAN", _finite(float(temperatures.mean()) if temperatures.size else math.nan), "deg C"),
        ("T_STD", _finite(float(temperatures.std()) if temperatures.size else math.nan), "deg C"),
        ("HITS", stack.hits, "values taken out, a pixel and frame"),
        ("BIASSUB", bias is not None, "bias removed"),
    ]
    if bias is not None:
        cards += [
            ("BIASDOSE", bias.group.dose_krad, "kRad, of the bias removed"),
            ("BIASSHFT", shift, "adu, bias' change over the step in dose"),
        ]
    for place, (frame, numbers) in enumerate(zip(group.frames[:999], stack.numbers[:999], strict=True)):
        cards += [
            (f"SRC{place:03d}", frame.relative, ""),
            (f"M{place:03d}", numbers.mean, "adu, mean"),
            (f"S{place:03d}", numbers.std, "adu, population std"),
        ]
    return cards


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_map(path: Path) -> F4:
    """Image of a master [y, x], ADU."""
    return read_image_product(path).science


def read_maps(path: Path) -> Maps:
    """Image and temporal standard deviation of a master."""
    product = read_image_product(path)
    return Maps(product.science, np.asarray(product.extras["STD"], dtype=np.float32))
