"""Which reduced lights, catalogues and stacks a night should have, and with which calibrations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from nightcrew.ledger.rows import FrameRow, worst
from nightcrew.planning.associate import need_of
from nightcrew.planning.builder import Builder
from nightcrew.planning.groups import by_key, equal_keys, exposure_text, in_order, mid_time, plain, split_at_gaps
from nightcrew.planning.masters import light_parameters, set_up
from nightcrew.planning.model import Choice, Input, PlannedProduct
from nightcrew.recipes.parameters import as_dict

# Lights without a target name belong together when their pointings lie closer than this.
_SAME_FIELD_DEG = 0.2


@dataclass
class Calibration:
    """What a light will be reduced with."""

    inputs: list[Input] = field(default_factory=list)
    grade: str = "A"
    reasons: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # what is worth waiting for while the night is open
    choices: list[Choice] = field(default_factory=list)
    dark: str = "none"  # exact, scaled, none

    def take(self, role: str, choice: Choice) -> None:
        """Use a chosen master: its grade and reasons count."""
        self.inputs.append(Input(role, choice.fingerprint))
        self.grade = worst(self.grade, choice.grade)
        self.reasons += choice.reasons

    def degrade(self, grade: str, reason: str) -> None:
        """A step is scaled or skipped."""
        self.grade = worst(self.grade, grade)
        self.reasons.append(reason)


def _facts_of_choice(builder: Builder, print_: str) -> dict[str, object]:
    made = builder.products.get(print_)
    if made is not None:
        return made.facts
    return next((row.facts for row in builder.snapshot.elsewhere if row.fingerprint == print_), {})


def calibrate(builder: Builder, frame: FrameRow) -> Calibration:
    """Decide bias, dark, flat and bad pixels of a light by the rules; see the module of each grade's meaning."""
    header, choose = frame.header, builder.association.choose
    result = Calibration()
    lights = builder.snapshot.parameters.lights
    if lights.use_dark:
        _choose_dark(builder, frame, result)
    else:
        _choose_bias(builder, frame, result, "the dark step was switched off (--no-dark)")
    if lights.use_flat:
        flat = choose(need_of("flat_master", header))
        result.choices.append(flat)
        if flat.found:
            result.take("flat_master", flat)
            if flat.grade > "B":
                result.missing.append(flat.need)
        else:
            result.missing.append(flat.need)
            result.degrade("D", f"no flat in {header.filter or 'no filter'}: the step was skipped")
    else:
        result.degrade("D", "the flat step was switched off (--no-flat)")
    pixels = choose(need_of("bad_pixel_mask", header))
    if pixels.found:
        result.inputs.append(Input("bad_pixel_mask", pixels.fingerprint))
    return result


def _choose_dark(builder: Builder, frame: FrameRow, result: Calibration) -> None:
    header, choose = frame.header, builder.association.choose
    dark = choose(need_of("dark_master", header))
    result.choices.append(dark)
    if dark.found:
        result.take("dark_master", dark)
        result.dark = "exact"
        if dark.grade > "B":
            result.missing.append(dark.need)
        if _facts_of_choice(builder, dark.fingerprint).get("bias") == "removed":
            _choose_bias(builder, frame, result, "")
        return
    result.missing.append(dark.need)
    bias, thermal = choose(need_of("bias_master", header)), choose(need_of("thermal_master", header))
    text = exposure_text(header.exposure_s)
    if bias.found and thermal.found and header.exposure_s is not None and builder.snapshot.rules.dark_missing == "scale":
        result.choices += [bias, thermal]
        result.take("bias_master", bias)
        result.take("thermal_master", thermal)
        result.dark = "scaled"
        result.degrade("C", f"no dark of {text}: scaled from the thermal rate with the bias removed")
        return
    _choose_bias(builder, frame, result, f"no dark of {text} and none to scale: the dark step was skipped")


def _choose_bias(builder: Builder, frame: FrameRow, result: Calibration, skipped: str) -> None:
    bias = builder.association.choose(need_of("bias_master", frame.header))
    result.choices.append(bias)
    if bias.found:
        result.take("bias_master", bias)
    else:
        result.missing.append(bias.need)
        result.degrade("D", "no bias: the step was skipped")
    if skipped:
        result.degrade("D", skipped)


def plan_lights(builder: Builder) -> None:
    """A reduced light and its catalogue for every light whose calibrations are there, or whose night has closed."""
    lights = [f for f in builder.snapshot.frames if f.header.kind == "light"]
    parameters = light_parameters(builder)
    photometry = as_dict(builder.snapshot.parameters.photometry)
    for frame in in_order(lights):
        if frame.header.filter and frame.header.filter in builder.snapshot.parameters.exclude_filters:
            builder.excluded[frame.id] = f"filter {frame.header.filter} was excluded on request"
            continue
        calibration = calibrate(builder, frame)
        builder.light_choices[frame.id] = tuple(calibration.choices)
        if calibration.missing and not builder.snapshot.closed:
            builder.waiting[frame.id] = "waits for: " + "; ".join(calibration.missing) + " (until the night closes)"
            continue
        blocked = _blocked(builder, calibration)
        if blocked:
            builder.waiting[frame.id] = blocked
            continue
        _add_light(builder, frame, calibration, parameters, photometry)


def _blocked(builder: Builder, calibration: Calibration) -> str:
    """Rules may say that a step must not be skipped: the light then waits for ever, and says so."""
    rules = builder.snapshot.rules
    names = {item.role for item in calibration.inputs}
    if calibration.dark == "none" and rules.dark_missing in ("block", "wait"):
        return "blocked: the instrument's rules allow no light without its dark"
    if "flat_master" not in names and rules.flat_missing in ("block", "wait"):
        return "blocked: the instrument's rules allow no light without its flat"
    return ""


def _add_light(
    builder: Builder, frame: FrameRow, calibration: Calibration, parameters: dict[str, object], photometry: dict[str, object]
) -> None:
    header = frame.header
    key = f"{plain(header.time_utc)}_{plain(header.filter) or 'no-filter'}_{frame.sha256[:10]}"
    facts = {
        "target": header.target,
        "filter": header.filter,
        "exposure_s": header.exposure_s,
        "time_utc": header.time_utc,
        "gain_setting": header.gain_setting,
        "camera": header.camera,
        "geometry": header.geometry,
    }
    light = builder.add(
        "reduce_light",
        key,
        [Input("light", frame.sha256, frame), *calibration.inputs],
        parameters={**parameters, "dark": calibration.dark},
        facts=facts,
        grade=calibration.grade,
        reasons=calibration.reasons,
        choices=tuple(calibration.choices),
    )
    builder.add(
        "photometry",
        key,
        [Input("reduce_light", light.fingerprint)],
        parameters=photometry,
        facts=facts,
        grade=light.grade,
        reasons=light.grade_reasons,
    )


def field_names(frames: Sequence[FrameRow]) -> dict[int, str]:
    """A name for what each light looks at: its target, else a pointing shared with its neighbours, else ``no-target``.

    Pointings are joined when a chain of neighbours closer than 0.2 degrees leads from one to the other, so the name
    does not depend on the order of the frames.
    """
    names = {f.id: f.header.target for f in frames if f.header.target}
    nameless = [f for f in frames if not f.header.target]
    for f in nameless:
        if f.header.ra_deg is None or f.header.dec_deg is None:
            names[f.id] = ""
    pointed = [f for f in nameless if f.id not in names]
    for strip in split_at_gaps(pointed, lambda f: f.header.dec_deg, _SAME_FIELD_DEG):
        for group in split_at_gaps(strip, _ra_on_sky, _SAME_FIELD_DEG):
            first = in_order(group)[0].header
            for f in group:
                names[f.id] = f"field-{first.ra_deg:.2f}{first.dec_deg:+.2f}"
    return names


def _ra_on_sky(frame: FrameRow) -> float | None:
    header = frame.header
    if header.ra_deg is None or header.dec_deg is None:
        return None
    return header.ra_deg * math.cos(math.radians(round(header.dec_deg)))


def plan_stacks(builder: Builder) -> None:
    """One stack per target, filter, set-up and exposure, of all lights of the night that could be reduced."""
    frames = {i.frame.id: i.frame for p in builder.products.values() if p.recipe == "reduce_light" for i in p.inputs if i.frame}
    names = field_names(list(frames.values()))
    rules = builder.snapshot.rules
    lights = [p for p in builder.products.values() if p.recipe == "reduce_light" and p.status != "failed"]

    def frame_of(product: PlannedProduct) -> FrameRow:
        return next(i.frame for i in product.inputs if i.frame is not None)

    def together(product: PlannedProduct) -> tuple[object, ...]:
        f = frame_of(product)
        return (names[f.id], f.header.filter, *equal_keys(f.header))

    for group in by_key(lights, together):
        for members in split_at_gaps(group, lambda p: p.facts["exposure_s"], rules.exposure_tolerance, relative=True):
            member_frames = [frame_of(p) for p in members]
            if builder.is_quiet(member_frames):
                _add_stack(builder, members, in_order(member_frames), names[member_frames[0].id])


def _add_stack(builder: Builder, members: Sequence[PlannedProduct], frames: Sequence[FrameRow], target: str) -> None:
    parameters = builder.snapshot.parameters
    first = frames[0].header
    ordered = sorted(members, key=lambda p: (p.facts["time_utc"], p.fingerprint))
    facts = {
        "target": target,
        "filter": first.filter,
        "exposure_s": first.exposure_s,
        "time_utc": mid_time(frames),
        "gain_setting": first.gain_setting,
        "camera": first.camera,
        "geometry": first.geometry,
        "n_frames": len(frames),
    }
    key = f"{plain(target) or 'no-target'}_{plain(first.filter) or 'no-filter'}_{exposure_text(first.exposure_s)}_{set_up(frames[0])}"
    inputs = [Input("reduce_light", p.fingerprint) for p in ordered]
    if parameters.lights.register:
        # The stars that registration needs stand in the catalogues already.
        catalogues = {p.inputs[0].fingerprint: p.fingerprint for p in builder.products.values() if p.recipe == "photometry"}
        inputs += [Input("photometry", catalogues[p.fingerprint]) for p in ordered]
    stack = builder.add(
        "stack",
        key,
        inputs,
        parameters={"method": parameters.lights.stack_method, "register": parameters.lights.register},
        facts=facts,
        grade=worst(*(p.grade for p in ordered)),
        reasons=[r for p in ordered for r in p.grade_reasons],
    )
    builder.add(
        "stack_photometry",
        key,
        [Input("stack", stack.fingerprint)],
        parameters={**as_dict(parameters.photometry), "figures": as_dict(parameters.figures)},
        facts=facts,
        grade=stack.grade,
        reasons=stack.grade_reasons,
    )
