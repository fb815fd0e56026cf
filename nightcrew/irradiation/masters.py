"""Masters of a campaign on disk: one a group, hits taken out, bias removed by a stated rule, with what the analysis needs in the header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import make_folder
from nightcrew.io.cardtext import Card
from nightcrew.io.products import read_image_product, write_image_product
from nightcrew.irradiation.grouping import Group
from nightcrew.irradiation.response import Level, dose_model
from nightcrew.irradiation.stacks import DEFAULT_MEMORY_BYTES, Maps, Stack, measure, pooled_drift

F4 = NDArray[np.float32]
LATE_ERROR = 0.5  # of the estimate of what pixels add that became hot in a group's last frames
BIAS_SPAN = 0.3  # of the campaign's largest dose: a bias from farther away is not subtracted
CARRIED = 0.02  # of a dark's level: the largest error that a bias carried from another dose may leave in it


@dataclass(frozen=True, kw_only=True, eq=False)
class Master:
    """A group, what was measured, and its file.

    ``mean``, ``std``, ``median``: of the file's image (darks: bias removed); std^2 = variance over its pixels + mean variance over the
    frames that are left, population both (hits taken out; of the frames as stored: ``stack.raw_std``).  ``bias``: the master
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
        """The group as a point of the response.

        Pixels that became hot in the last frames, which the image holds as hits, are in the mean by their estimate, of which half is error.
        """
        group, noise = self.group, self.stack.noise
        late = self.stack.late_hot_adu if math.isfinite(self.stack.late_hot_adu) else 0.0
        return Level(
            stage=group.stage,
            kind=group.kind,
            dose_krad=group.dose_krad,
            mean=self.mean + late,
            std=self.std,
            rate_krad_per_s=group.rate_krad_per_s,
            exposure_s=group.exposure_s if group.kind != "BIAS" else 0.0,
            temperature_c=group.temperature_c,
            mean_error=math.hypot(self.error, LATE_ERROR * late),
            noise=math.sqrt(noise.variance) if noise.variance >= 0 else math.nan,
            noise_error=noise.variance_error / (2 * math.sqrt(noise.variance)) if noise.variance > 0 else math.nan,
            n_frames=len(group.frames),
            dose_error_krad=group.dose_error_krad,
            nominal=group.nominal,
        )


def master_name(group: Group) -> str:
    """Stem of a master's file, unique among the groups of a campaign."""
    exposure = "none" if group.kind == "BIAS" else f"{group.exposure_s:.6g}"
    temperature = f"_T{group.temperature_c:.1f}" if math.isfinite(group.temperature_c) else ""
    visit = f"_V{group.visit}" if group.visit else ""
    return f"master_{group.kind.lower()}_{group.stage}_D{group.dose_krad:.6g}kR{temperature}_E{exposure}{visit}"


def unique_names(groups: Sequence[Group]) -> list[str]:
    """Stems of the groups' files: :func:`master_name`, with a number behind where two would be the same."""
    seen: dict[str, int] = {}
    made = []
    for group in groups:
        name = master_name(group)
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name}_N{seen[name]}")
    return made


def make_masters(
    groups: Sequence[Group], folder: Path, *, step_adu: float = 0.0, memory_bytes: int = DEFAULT_MEMORY_BYTES
) -> tuple[list[Master], list[str]]:
    """Measure all groups and write their masters below ``folder``; remarks on what could not be corrected.

    Biases first; then darks, each less a bias by the rule of :func:`choose_bias`, and less the bias' own change over the step in dose
    that is left.  A dark without such a bias keeps it and says so: it is never used together with corrected ones.
    """
    make_folder(folder, durable=False)
    files = [folder / f"{name}.fits" for name in unique_names(groups)]
    plain = [(group, path) for group, path in zip(groups, files, strict=True) if group.kind == "BIAS"]
    biases = [_write_plain(group, path, step_adu, memory_bytes) for group, path in plain]
    rule = BiasRule(tuple(biases), bias_growths(biases), max((group.dose_krad for group in groups), default=0.0))
    made, remarks = list(biases), list[str]()
    for group, path in zip(groups, files, strict=True):
        if group.kind == "DARK":
            made.append(_write_dark(group, path, rule, step_adu, memory_bytes, remarks))
        elif group.kind != "BIAS":
            made.append(_write_plain(group, path, step_adu, memory_bytes))
    return with_pooled_drift(made), remarks


def with_pooled_drift(masters: Sequence[Master]) -> list[Master]:
    """Masters with errors that hold at least the drift that all groups of their kind show: a few frames do not tell their own."""
    stacks = {id(one): stack for one, stack in zip(masters, pooled_drift([one.stack for one in masters]), strict=True)}
    made: dict[int, Master] = {}

    def wider(one: Master) -> Master:
        if id(one) not in made:
            more, bias = stacks[id(one)].level_error ** 2 - one.stack.level_error**2, one.bias
            if bias is not None:
                bias = wider(bias)
                more += bias.error**2 - (one.bias.error**2 if one.bias is not None else 0.0)
            error = math.sqrt(one.error**2 + more) if more > 0 else one.error
            made[id(one)] = replace(one, stack=stacks[id(one)], error=error, bias=bias)
        return made[id(one)]

    return [wider(one) for one in masters]


@dataclass(frozen=True, slots=True)
class BiasGrowth:
    """Growth of the bias in a temperature bin: adu/kRad with its error; NaN where biases of one dose alone say nothing."""

    value: float
    error: float


def bias_growths(biases: Sequence[Master]) -> dict[int, BiasGrowth]:
    """Line of the bias' level over dose in each temperature bin, in all stages (no exposure, so no part of the dose rate)."""
    made = {}
    for place in sorted({one.group.temperature_bin for one in biases}):
        # errors of the doses are counted where a bias is carried, see _carried
        inside = [one.level() for one in biases if one.group.temperature_bin == place and one.group.visit == 0]
        found = dose_model(inside, dose_errors=False)
        made[place] = BiasGrowth(found.value("slope"), found.error("slope"))
    return made


@dataclass(frozen=True, eq=False)
class BiasRule:
    """The biases of a campaign, their growth by temperature bin, and the campaign's largest dose."""

    biases: tuple[Master, ...]
    growths: dict[int, BiasGrowth]
    largest_krad: float


@dataclass(frozen=True, slots=True)
class ChosenBias:
    """The bias to subtract from a dark (None: ``why`` says why none fits), and its change from its own dose to the dark's, with error."""

    bias: Master | None
    shift_adu: float = 0.0
    shift_error_adu: float = 0.0
    why: str = ""


def choose_bias(group: Group, rule: BiasRule, *, level_adu: float, error_adu: float) -> ChosenBias:
    """The bias of a dark: of its temperature, of its stage where there is one, the nearest in dose (after the beam: in time).

    A bias of the same stage and dose step is always taken.  One of another dose is carried to the dark's by the biases' growth, and only
    if that growth is known, the step is at most ``BIAS_SPAN`` of the largest dose, and the error of the carried level is at most
    ``CARRIED`` of the dark's own level ``level_adu`` (bias not removed yet: the chosen bias' mean is taken off), or ``error_adu`` thrice.
    """
    same = [one for one in rule.biases if one.group.temperature_bin == group.temperature_bin]
    if not same:
        return ChosenBias(None, why="no bias at its temperature")
    tried = [_carried(group, one, rule, level_adu, error_adu) for one in sorted(same, key=lambda one: _distance(one, group))]
    return next((one for one in tried if one.bias is not None), tried[0])


def _carried(group: Group, bias: Master, rule: BiasRule, level_adu: float, error_adu: float) -> ChosenBias:
    step = group.dose_krad - bias.group.dose_krad
    growth = rule.growths[group.temperature_bin]
    known = math.isfinite(growth.value) and math.isfinite(growth.error)
    shift, error = (growth.value * step, growth.error * abs(step)) if known else (0.0, 0.0)
    if step == 0 or (bias.group.stage == group.stage and bias.group.step == group.step):
        return ChosenBias(bias, shift, error)
    error = math.hypot(error, growth.value * math.hypot(group.dose_error_krad, bias.group.dose_error_krad)) if known else error
    span = BIAS_SPAN * max(rule.largest_krad, 1e-9)
    if abs(step) > span:
        return ChosenBias(None, why=f"no bias within {span:.3g} kRad of its dose")
    if not known:
        return ChosenBias(None, why=f"the nearest bias is {abs(step):.3g} kRad away, and the biases do not tell their growth with dose")
    own = abs(level_adu - bias.mean - shift)
    if error > max(CARRIED * own, 3 * error_adu):
        return ChosenBias(None, why=f"the nearest bias is {abs(step):.3g} kRad away: its level there is known to {error:.3g} adu only")
    return ChosenBias(bias, shift, error)


def _distance(one: Master, group: Group) -> tuple[bool, bool, float, float, str]:
    apart = abs(one.group.since_end_s - group.since_end_s)
    return (
        one.group.stage != group.stage,
        one.group.step != group.step,
        abs(one.group.dose_krad - group.dose_krad),
        apart if math.isfinite(apart) else float(abs(one.group.visit - group.visit)),
        one.path.name,
    )


def _write_plain(group: Group, path: Path, step_adu: float, memory_bytes: int) -> Master:
    stack, maps = measure(group, step_adu=step_adu, memory_bytes=memory_bytes)
    return _save(stack, maps, path, ChosenBias(None))


def _write_dark(group: Group, path: Path, rule: BiasRule, step_adu: float, memory_bytes: int, remarks: list[str]) -> Master:
    stack, maps = measure(group, step_adu=step_adu, memory_bytes=memory_bytes)
    chosen = choose_bias(group, rule, level_adu=stack.mean, error_adu=stack.level_error)
    bias = chosen.bias
    if bias is not None and bias.stack.shape != stack.shape:
        bias, chosen = None, ChosenBias(None, why="the bias has another size")
    if bias is None:
        remarks.append(f"{path.stem}: its bias was not removed ({chosen.why}); it is in no response")
        return _save(stack, maps, path, chosen)
    if bias.group.stage != group.stage:
        taken = f"that of {bias.group.stage} at {bias.group.dose_krad:.4g} kRad was removed"
        remarks.append(f"{path.stem}: there is no bias of its stage; {taken}")
    maps = Maps(maps.mean - read_map(bias.path) - np.float32(chosen.shift_adu), maps.spread)
    return _save(stack, maps, path, chosen)


def _save(stack: Stack, maps: Maps, path: Path, chosen: ChosenBias) -> Master:
    bias, image = chosen.bias, maps.mean
    good = image[np.isfinite(image)]
    if not good.size:
        raise RejectedInput(f"{stack.group.frames[0].folder}: no pixel has a value in all its frames")
    mean = float(good.mean(dtype=np.float64))
    std = math.sqrt(float(good.var(dtype=np.float64)) + float(np.nanmean(np.square(maps.spread), dtype=np.float64)))
    median = float(np.median(good))
    error = stack.level_error if bias is None else math.hypot(stack.level_error, bias.error, chosen.shift_error_adu)
    n = len(stack.group.frames)
    cards = _cards(stack, image, (mean, median, std), chosen)
    noise = maps.spread * np.float32(1 / math.sqrt(max(n - 1, 1))) if n > 1 else None
    write_image_product(path, science=image, uncertainty=noise, cards=cards, unit="adu", extras={"STD": maps.spread}, durable=False)
    return Master(
        stack=stack, path=path, mean=mean, median=median, std=std, error=error, bias=bias, bias_shift_adu=chosen.shift_adu, why=chosen.why
    )


def _cards(stack: Stack, image: F4, level: tuple[float, float, float], chosen: ChosenBias) -> list[Card]:
    group, bias = stack.group, chosen.bias
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
        ("STD", level[2], "adu, this image's pixels and its frames' noise"),
        ("RAWSTD", stack.raw_std, "adu, all pixels of all frames as stored"),
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
            ("BIASSHFT", chosen.shift_adu, "adu, bias' change over the step in dose"),
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
