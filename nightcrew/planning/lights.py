"""Which reduced lights, catalogues and stacks a night should have, and with which calibrations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from operator import attrgetter

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.rows import FrameRow, worst
from nightcrew.planning.associate import need_of
from nightcrew.planning.builder import Builder, Draft
from nightcrew.planning.fingerprints import LIGHT_FACTS, canonical_light
from nightcrew.planning.groups import (
    BIAS_TAKEN_OFF,
    BIAS_WITNESS,
    SET_UP,
    by_key,
    equal_keys,
    exposure_text,
    in_order,
    known_temperature,
    mid_time,
    plain,
    split_at_gaps,
)
from nightcrew.planning.light_models import MODEL_ROLE, choose_model
from nightcrew.planning.masters import light_parameters, set_up
from nightcrew.planning.model import Choice, Input, PlannedProduct
from nightcrew.planning.plates import PlatePlanner
from nightcrew.recipes.parameters import as_dict

# Lights without a target name belong together when their pointings lie closer than this.
_SAME_FIELD_DEG = 0.2
_facts_of = attrgetter(*LIGHT_FACTS)
NO_BIAS = "no bias: the step was skipped"
_needs_of = attrgetter(*SET_UP, "exposure_s", "filter", "trim", "overscan", "bias_subtracted")


@dataclass
class Calibration:
    """What a light will be reduced with; lights with equal needs share one."""

    inputs: list[Input] = field(default_factory=list)
    grade: str = "A"
    reasons: tuple[str, ...] = ()
    missing: list[str] = field(default_factory=list)  # what is worth waiting for while the night is open
    choices: tuple[Choice, ...] = ()
    dark: str = "none"  # exact, scaled, modelled, none
    skipped: set[str] = field(default_factory=set)  # bias, dark, flat: what nothing was found for
    modelled: list[str] = field(default_factory=list)  # bias, dark: what a laboratory's model stands in for

    def take(self, role: str, choice: Choice) -> None:
        """Use a chosen master: its grade and reasons count."""
        self.inputs.append(Input(role, choice.fingerprint))
        self.degrade(choice.grade, *choice.reasons)

    def degrade(self, grade: str, *reasons: str) -> None:
        """A master is not the best, or a step is scaled or skipped."""
        self.grade = worst(self.grade, grade)
        self.reasons = tuple(dict.fromkeys((*self.reasons, *reasons)))

    def skip(self, step: str, reason: str) -> None:
        """Nothing was found for a step: without it the light has grade D."""
        self.skipped.add(step)
        self.degrade("D", reason)


def calibrate(builder: Builder, header: FrameHeader) -> Calibration:
    """Decide bias, dark, flat and bad pixels of a light by the rules; see the module of each grade's meaning."""
    choose = builder.association.choose
    result = Calibration()
    lights = builder.snapshot.parameters.lights
    if lights.use_dark:
        _choose_dark(builder, header, result)
    else:
        _choose_bias(builder, header, result)
        result.degrade("D", "the dark step was switched off (--no-dark)")
    if lights.use_flat:
        flat = choose(need_of("flat_master", header))
        result.choices += (flat,)
        if flat.found:
            result.take("flat_master", flat)
            if flat.grade > "B":
                result.missing.append(flat.need)
        else:
            result.missing.append(flat.need)
            result.skip("flat", f"no flat in {header.filter or 'no filter'}: the step was skipped")
    else:
        result.degrade("D", "the flat step was switched off (--no-flat)")
    pixels = choose(need_of("bad_pixel_mask", header))
    if pixels.found:
        result.inputs.append(Input("bad_pixel_mask", pixels.fingerprint))
    return result


def _choose_dark(builder: Builder, header: FrameHeader, result: Calibration) -> None:
    choose = builder.association.choose
    dark = choose(need_of("dark_master", header))
    result.choices += (dark,)
    if dark.found:
        result.take("dark_master", dark)
        result.dark = "exact"
        if dark.grade > "B":
            result.missing.append(dark.need)
        if header.bias_subtracted or builder.facts_of_choice(dark.fingerprint).get("bias") == "removed":
            _choose_bias(builder, header, result)
        return
    result.missing.append(dark.need)
    bias, thermal = choose(need_of("bias_master", header)), choose(need_of("thermal_master", header))
    text = exposure_text(header.exposure_s)
    may_scale = builder.snapshot.rules.dark_missing in ("scale", "wait")
    if (bias.found or header.bias_subtracted) and thermal.found and header.exposure_s is not None and may_scale:
        _choose_bias(builder, header, result)
        result.choices += (thermal,)
        result.take("thermal_master", thermal)
        result.dark = "scaled"
        result.degrade("C", f"no dark of {text}: scaled from the thermal rate with the bias removed")
        return
    if builder.snapshot.rules.dark_missing == "model" and _choose_model(builder, header, result, "dark"):
        result.dark = "modelled"
        _choose_bias(builder, header, result)
        return
    _choose_bias(builder, header, result)
    result.skip("dark", f"no dark of {text} and none to scale: the dark step was skipped")


def _choose_bias(builder: Builder, header: FrameHeader, result: Calibration) -> None:
    bias = builder.association.choose(need_of("bias_master", header))
    if header.bias_subtracted:
        result.degrade("B", BIAS_TAKEN_OFF)
        if bias.found:
            result.inputs.append(Input(BIAS_WITNESS, bias.fingerprint))
        return
    result.choices += (bias,)
    if bias.found:
        result.take("bias_master", bias)
        return
    result.missing.append(bias.need)
    if builder.snapshot.rules.bias_missing != "model" or not _choose_model(builder, header, result, "bias"):
        result.skip("bias", NO_BIAS)


def _choose_model(builder: Builder, header: FrameHeader, result: Calibration, what: str) -> bool:
    """Use the laboratory's model of the bias or dark; False (with a reason in the grade) where there is none that holds."""
    chosen = choose_model(builder.snapshot.models, builder.snapshot.rules, header, what)
    result.degrade(chosen.grade, *chosen.reasons)
    if not chosen.fingerprint:
        return False
    result.modelled.append(what)
    if all(item.role != MODEL_ROLE for item in result.inputs):
        result.inputs.append(Input(MODEL_ROLE, chosen.fingerprint))
    return True


class LightPlanner:
    """Plans lights one by one; what many of them share is worked out once."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        base = light_parameters(builder)
        self._parameters = {dark: {**base, "dark": dark} for dark in ("exact", "scaled", "modelled", "none")}
        self._photometry = as_dict(builder.snapshot.parameters.photometry)
        self._known: dict[tuple[object, ...], Calibration] = {}
        self._plates = PlatePlanner(builder)

    def plan(self, frame: FrameRow) -> None:
        """Plan a light and its catalogue, or say what it waits for."""
        builder, header = self.builder, frame.header
        if header.filter and header.filter in builder.snapshot.parameters.exclude_filters:
            builder.excluded[frame.id] = f"filter {header.filter} was excluded on request"
            return
        calibration = self._calibration(header)
        builder.light_choices[frame.id] = calibration.choices
        waits = self._waits(calibration)
        values = _facts_of(header)
        facts = dict(zip(LIGHT_FACTS, values, strict=True))
        builder.know_facts(facts, canonical_light(*values))
        solution = self._plates.solution_of(frame, _key(frame), facts)
        # What was made when the night had closed stands when a late file opens it again.
        if waits and not builder.is_made(builder.fingerprint_of(self._draft(calibration, facts, solution, [frame]))):
            builder.waiting[frame.id] = waits
            return
        light = builder.offer([frame], partial(self._draft, calibration, facts, solution))
        if light is not None:
            builder.add(self._catalogue(light, {name: light.facts[name] for name in LIGHT_FACTS} if light.kept else facts))

    def _calibration(self, header: FrameHeader) -> Calibration:
        """Frames that association cannot tell apart share one decision."""
        key = (_needs_of(header), known_temperature(header), header.time_utc[:13])
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = calibrate(self.builder, header)
        return known

    def _waits(self, calibration: Calibration) -> str:
        """What a light waits for: the night's end, or for ever where the rules say that a step must not be skipped.

        Whatever the rule, nothing is scaled or skipped while the night is open.  ``wait`` asks for no more than that:
        when the night has closed it does what the step does by default.
        """
        rules = self.builder.snapshot.rules
        if not self.builder.snapshot.closed and calibration.missing:
            return "waits for: " + "; ".join(calibration.missing) + " (until the night closes)"
        for step in sorted(calibration.skipped) if calibration.skipped else ():
            if getattr(rules, f"{step}_missing") == "block":
                return f"blocked: the instrument's rules allow no light without its {step}"
        return ""

    def _draft(self, calibration: Calibration, facts: dict[str, object], solution: Sequence[Input], frames: Sequence[FrameRow]) -> Draft:
        frame = frames[0]
        return Draft(
            "reduce_light",
            _key(frame),
            [Input("light", frame.sha256, frame), *calibration.inputs, *solution],
            parameters=self._parameters_of(calibration),
            facts=facts,
            grade=calibration.grade,
            reasons=calibration.reasons,
            choices=calibration.choices,
        )

    def _parameters_of(self, calibration: Calibration) -> dict[str, object]:
        """The unit of work uses the models that are named here, and no others."""
        parameters = self._parameters[calibration.dark]
        return {**parameters, "modelled": sorted(calibration.modelled)} if calibration.modelled else parameters

    def _catalogue(self, light: PlannedProduct, facts: dict[str, object]) -> Draft:
        return Draft(
            "photometry",
            light.key,
            [Input("reduce_light", light.fingerprint)],
            parameters=self._photometry,
            facts=facts,
            grade=light.grade,
            reasons=light.grade_reasons,
        )


def _key(frame: FrameRow) -> str:
    return f"{plain(frame.header.time_utc)}_{plain(frame.header.filter) or 'no-filter'}_{frame.sha256[:10]}"


def plan_lights(builder: Builder) -> None:
    """A reduced light and its catalogue for every light whose calibrations are there, or whose night has closed."""
    planner = LightPlanner(builder)
    for frame in in_order(builder.of_kind.get("light", ())):
        planner.plan(frame)


def field_names(frames: Sequence[FrameRow]) -> dict[int, str]:
    """A name for what each light looks at: its target, else a pointing shared with its neighbours, else "".

    Pointings are told apart where a gap of more than 0.2 degrees in declination or in right ascension (on the sky) lies
    between them, so the name does not depend on the order of the frames.
    """
    names = {f.id: f.header.target for f in frames}
    pointed = [f for f in frames if not f.header.target and f.header.ra_deg is not None and f.header.dec_deg is not None]
    for group in _fields(pointed):
        first = in_order(group)[0].header
        for f in group:
            names[f.id] = f"field-{first.ra_deg:.2f}{first.dec_deg:+.2f}"
    return names


def _fields(frames: list[FrameRow]) -> list[list[FrameRow]]:
    """Split at gaps in declination, then in right ascension, until nothing splits any more."""
    if not frames:
        return []
    strips = split_at_gaps(frames, lambda f: f.header.dec_deg, _SAME_FIELD_DEG)
    parts = [part for strip in strips for part in _split_in_ra(strip)]
    return parts if len(parts) == 1 else [piece for part in parts for piece in _fields(part)]


def _split_in_ra(strip: list[FrameRow]) -> list[list[FrameRow]]:
    """Split at gaps in right ascension, which goes round: the widest gap is where the circle is cut open."""
    decs = sorted(_degrees(f.header.dec_deg) for f in strip)
    gap_deg = _SAME_FIELD_DEG / max(math.cos(math.radians(decs[len(decs) // 2])), 1e-6)
    around = sorted(_degrees(f.header.ra_deg) % 360.0 for f in strip)
    gaps = [(after - before, after) for before, after in pairwise([*around, around[0] + 360.0])]
    start = max(gaps)[1] % 360.0
    return split_at_gaps(strip, lambda f: (_degrees(f.header.ra_deg) - start) % 360.0, gap_deg)


def _degrees(value: float | None) -> float:
    return 0.0 if value is None else value


def plan_stacks(builder: Builder) -> None:
    """One stack per target, filter, set-up and exposure, of all lights of the night that could be reduced."""
    lights = [p for p in builder.products.values() if p.recipe == "reduce_light" and p.status != "failed"]
    catalogues = {p.inputs[0].fingerprint: p for p in builder.products.values() if p.recipe == "photometry"}
    if builder.snapshot.parameters.lights.register:
        # A light whose catalogue cannot be made has no stars to be laid on the others by: it must not stop them.
        lights = [p for p in lights if catalogues[p.fingerprint].status != "failed"]
    frames = {p.fingerprint: _frame_of(p) for p in lights}
    names = field_names(list(frames.values()))
    rules = builder.snapshot.rules

    def together(product: PlannedProduct) -> tuple[object, ...]:
        f = frames[product.fingerprint]
        return (names[f.id], f.header.filter, *equal_keys(f.header))

    for group in by_key(lights, together):
        for members in split_at_gaps(group, lambda p: p.facts["exposure_s"], rules.exposure_tolerance, relative=True):
            ordered = sorted(members, key=lambda p: (p.facts["time_utc"], p.fingerprint))
            _plan_stack(builder, ordered, [frames[p.fingerprint] for p in ordered], names, catalogues)


def _frame_of(light: PlannedProduct) -> FrameRow:
    frame = light.inputs[0].frame
    if frame is None:
        raise ValueError(f"{light.name} is not made of a frame")
    return frame


def _plan_stack(
    builder: Builder,
    members: Sequence[PlannedProduct],
    frames: Sequence[FrameRow],
    names: dict[int, str],
    catalogues: dict[str, PlannedProduct],
) -> None:
    """Plan a stack of these lights with its catalogue; hold its key while lights of it are still coming in."""
    draft = _stack_draft(builder, members, in_order(frames), names[frames[0].id], catalogues)
    if not builder.is_quiet(frames):
        builder.held |= {(recipe, draft.key) for recipe in ("stack", "stack_photometry")}
        return
    stack = builder.add(draft)
    parameters = builder.snapshot.parameters
    builder.add(
        Draft(
            "stack_photometry",
            stack.key,
            [Input("stack", stack.fingerprint)],
            parameters={**as_dict(parameters.photometry), "figures": as_dict(parameters.figures)},
            facts=draft.facts,
            grade=stack.grade,
            reasons=stack.grade_reasons,
        )
    )


def _stack_draft(
    builder: Builder,
    members: Sequence[PlannedProduct],
    frames: Sequence[FrameRow],
    target: str,
    catalogues: dict[str, PlannedProduct],
) -> Draft:
    lights = builder.snapshot.parameters.lights
    first = frames[0].header
    inputs = [Input("reduce_light", p.fingerprint) for p in members]
    if lights.register:
        # The stars that registration needs stand in the catalogues already.
        inputs += [Input("photometry", catalogues[p.fingerprint].fingerprint) for p in members]
    return Draft(
        "stack",
        f"{plain(target) or 'no-target'}_{plain(first.filter) or 'no-filter'}_{exposure_text(first.exposure_s)}_{set_up(frames[0])}",
        inputs,
        parameters={"method": lights.stack_method, "register": lights.register},
        facts={
            "target": target,
            "filter": first.filter,
            "exposure_s": first.exposure_s,
            "time_utc": mid_time(frames),
            "gain_setting": first.gain_setting,
            "camera": first.camera,
            "geometry": first.geometry,
            "n_frames": len(frames),
        },
        grade=worst(*(p.grade for p in members)),
        reasons=tuple(dict.fromkeys(r for p in members for r in p.grade_reasons)),
    )
