"""Which masters a night should have: groups of calibration frames, their keys, and what each flat is corrected with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from nightcrew.ledger.rows import FrameRow, worst
from nightcrew.planning.associate import need_of
from nightcrew.planning.builder import Builder, Draft
from nightcrew.planning.flat_corrections import Correction, correction_of, merged_reasons
from nightcrew.planning.groups import (
    BIAS_TAKEN_OFF,
    BIAS_WITNESS,
    EQUAL_FACTS,
    by_key,
    equal_keys,
    exposure_text,
    in_order,
    median_exposure,
    median_temperature,
    mid_time,
    plain,
    split_at_gaps,
    temperature_text,
)
from nightcrew.planning.light_models import MODEL_ROLE
from nightcrew.planning.model import Choice, Input, PlannedProduct
from nightcrew.recipes.parameters import as_dict

# A handful of frames measures gain and read noise; more would only cost time.
_FRAMES_FOR_CAMERA_NUMBERS = 6


def set_up(frame: FrameRow) -> str:
    """Part of a key that keeps set-ups apart: geometry, and a short hash of camera, gain setting and mode."""
    camera, detector, geometry, gain, offset, mode = equal_keys(frame.header)
    first = frame.header
    words = [f"{first.nx}x{first.ny}"]
    if geometry != f"{first.nx}x{first.ny}+0+0b1x1":
        words = [plain(geometry)]
    if gain:
        words.append("g" + plain(gain))
    words.append(hashlib.sha256("\0".join((camera, detector, gain, offset, mode)).encode()).hexdigest()[:6])
    return "_".join(words)


def facts_of(frames: Sequence[FrameRow], **more: Any) -> dict[str, Any]:
    """What association compares of a master made from these frames."""
    return {
        **dict(zip(EQUAL_FACTS, equal_keys(frames[0].header), strict=True)),
        "temperature_c": median_temperature(frames),
        "time_utc": mid_time(frames),
        "n_frames": len(frames),
        **more,
    }


def _frame_inputs(role: str, frames: Sequence[FrameRow]) -> list[Input]:
    return [Input(role, f.sha256, f) for f in in_order(frames)]


def _kinds(builder: Builder, kind: str) -> list[FrameRow]:
    return builder.of_kind.get(kind, [])


def _raw_kinds(builder: Builder, kind: str) -> list[FrameRow]:
    """The frames of a kind that hold their bias; the others are left out and told."""
    raw = [f for f in _kinds(builder, kind) if not f.header.bias_subtracted]
    builder.excluded |= {f.id: BIAS_TAKEN_OFF for f in _kinds(builder, kind) if f.header.bias_subtracted}
    return raw


def plan_bias(builder: Builder) -> None:
    """One bias master per set-up and temperature cluster."""
    rules, masters = builder.snapshot.rules, builder.snapshot.parameters.masters
    for group in by_key(_raw_kinds(builder, "bias"), lambda f: equal_keys(f.header)):
        for cluster in split_at_gaps(group, lambda f: f.header.temperature_c, rules.temperature_cluster_c):
            if not builder.is_quiet(cluster):
                builder.hold("bias_master", "bias", cluster, "bias frames of this set are still coming in")
                continue
            builder.offer(cluster, partial(_bias_draft, {"method": masters.method, "minimum": rules.minimum_bias}))


def _bias_draft(parameters: dict[str, Any], frames: Sequence[FrameRow]) -> Draft:
    return Draft(
        "bias_master",
        f"{temperature_text(median_temperature(frames))}_{set_up(frames[0])}",
        _frame_inputs("bias", frames),
        parameters=parameters,
        facts=facts_of(frames, exposure_s=0.0),
    )


def plan_darks(builder: Builder) -> None:
    """One dark master per set-up, exposure and temperature cluster; it keeps its bias unless the parameters say no.

    Darks whose bias was taken off before they came make masters of their own.
    """
    rules, masters = builder.snapshot.rules, builder.snapshot.parameters.masters
    for group in by_key(_kinds(builder, "dark"), lambda f: (equal_keys(f.header), f.header.bias_subtracted)):
        for same_exposure in split_at_gaps(group, lambda f: f.header.exposure_s, rules.exposure_tolerance, relative=True):
            for cluster in split_at_gaps(same_exposure, lambda f: f.header.temperature_c, rules.temperature_cluster_c):
                if not builder.is_quiet(cluster):
                    builder.hold("dark_master", "dark", cluster, "darks of this set are still coming in")
                    continue
                parameters = {"method": masters.method, "minimum": rules.minimum_dark}
                builder.offer(cluster, partial(_dark_draft, builder, parameters))


def _dark_draft(builder: Builder, parameters: dict[str, Any], cluster: Sequence[FrameRow]) -> Draft:
    inputs = _frame_inputs("dark", cluster)
    choice, before = Choice("bias"), cluster[0].header.bias_subtracted
    if not before and not builder.snapshot.parameters.masters.keep_bias_in_dark:
        choice = builder.association.choose(need_of("bias_master", in_order(cluster)[0].header))
        if choice.found:
            inputs.append(Input("bias_master", choice.fingerprint))
    if before:
        inputs += _witness(builder, cluster)
    bias = "removed" if choice.found or before else "kept"
    name = f"{exposure_text(median_exposure(cluster))}_{temperature_text(median_temperature(cluster))}_{set_up(cluster[0])}"
    return Draft(
        "dark_master",
        f"{name}_bias-off" if before else name,
        inputs,
        parameters={**parameters, "bias": bias},
        facts=facts_of(cluster, exposure_s=median_exposure(cluster), bias=bias),
        grade="B" if before else choice.grade or "A",
        reasons=("the bias of its darks was taken off before they came, and with what is not known",) if before else choice.reasons,
        choices=(choice,) if choice.found else (),
    )


def _witness(builder: Builder, frames: Sequence[FrameRow]) -> list[Input]:
    """The bias master, if there is one, that tells whether frames without their bias are without it."""
    choice = _bias_for(builder, frames)
    return [Input(BIAS_WITNESS, choice.fingerprint)] if choice.found else []


def _darks(builder: Builder, *, alone: bool) -> list[PlannedProduct]:
    """Dark masters that may serve; ``alone``: by themselves, else as one point of a rate, where few frames do no harm."""
    found = []
    for product in builder.products.values():
        row = builder.product_row(product.fingerprint)
        if product.recipe != "dark_master" or product.status == "failed" or not product.facts["exposure_s"]:
            continue
        few = row is not None and row.certification.startswith("too few")
        if row is None or row.state != "made" or row.usable or (few and not row.marked_bad and not alone):
            found.append(product)
    return found


def _equal_facts(product: PlannedProduct) -> tuple[str, ...]:
    return tuple(product.facts[k] for k in EQUAL_FACTS)


def plan_thermal(builder: Builder) -> None:
    """The dark rate per second, bias removed, from each cluster's darks (and frames of kind ``thermal``)."""
    rules = builder.snapshot.rules
    for group in by_key(_darks(builder, alone=False), _equal_facts):
        for cluster in split_at_gaps(group, lambda p: p.facts["temperature_c"], rules.temperature_cluster_c):
            darks = sorted(cluster, key=lambda p: p.fingerprint)
            choice = _bias_for(builder, [i.frame for dark in darks for i in dark.inputs if i.frame is not None])
            if choice.found:
                builder.add(_thermal_draft(builder, choice, darks, []))
    for frames in by_key(_raw_kinds(builder, "thermal"), lambda f: equal_keys(f.header)):
        for thermals in split_at_gaps(frames, lambda f: f.header.temperature_c, rules.temperature_cluster_c):
            if builder.is_quiet(thermals):
                _add_thermal_frames(builder, thermals)
            else:
                builder.hold("thermal_master", "thermal", thermals, "thermal frames of this set are still coming in")


def _bias_for(builder: Builder, frames: Sequence[FrameRow]) -> Choice:
    return builder.association.choose(need_of("bias_master", in_order(frames)[0].header))


def _add_thermal_frames(builder: Builder, frames: Sequence[FrameRow]) -> None:
    choice = _bias_for(builder, frames)
    if choice.found:
        builder.offer(frames, partial(_thermal_draft, builder, choice, ()))
    elif builder.snapshot.closed:
        builder.excluded |= {f.id: "no bias master fits: no rate can be made of it" for f in frames}
    else:
        builder.waiting |= {f.id: "waits for a bias master" for f in frames}


def _thermal_draft(builder: Builder, choice: Choice, darks: Sequence[PlannedProduct], frames: Sequence[FrameRow]) -> Draft:
    source = [i.frame for dark in darks for i in dark.inputs if i.frame is not None] or list(frames)
    inputs = [Input("dark_master", dark.fingerprint) for dark in darks] + _frame_inputs("thermal", frames)
    inputs.append(Input("bias_master", choice.fingerprint))
    grades = [dark.grade for dark in darks] + [choice.grade]
    return Draft(
        "thermal_master",
        f"{'frames_' if frames else ''}{temperature_text(median_temperature(source))}_{set_up(source[0])}",
        inputs,
        parameters={"minimum": builder.snapshot.rules.minimum_dark, "law": builder.snapshot.rules.dark},
        facts=facts_of(source, bias="removed"),
        grade=worst(*grades),
        reasons=tuple(dict.fromkeys([*(r for dark in darks for r in dark.grade_reasons), *choice.reasons])),
        choices=(choice,),
    )


def plan_bad_pixels(builder: Builder) -> None:
    """Hot and unstable pixels of each set-up and temperature, from the darks of the longest exposure.

    Cold pixels stand in the mask of each flat master; a light's mask is the OR of both.  So a flat that comes late
    makes only the lights of its filter stale (docs/decisions/0005-bad-pixels.md).
    """
    rules, masters = builder.snapshot.rules, builder.snapshot.parameters.masters
    for group in by_key(_darks(builder, alone=True), _equal_facts):
        for cluster in split_at_gaps(group, lambda p: p.facts["temperature_c"], rules.temperature_cluster_c):
            longest = max(cluster, key=lambda p: (p.facts["exposure_s"], p.fingerprint))
            frames = [i.frame for i in longest.inputs if i.frame is not None]
            builder.offer(frames, partial(_mask_draft, {"hot_sigma": masters.hot_sigma}, longest))


def _mask_draft(parameters: dict[str, Any], dark: PlannedProduct, frames: Sequence[FrameRow]) -> Draft:
    return Draft(
        "bad_pixel_mask",
        f"{temperature_text(median_temperature(frames))}_{set_up(frames[0])}",
        [*_frame_inputs("dark", frames), Input("dark_master", dark.fingerprint)],
        parameters=parameters,
        facts=facts_of(frames, exposure_s=dark.facts["exposure_s"]),
    )


def plan_flats(builder: Builder) -> None:
    """One flat master per set-up and filter; every flat is corrected with its own dark before they are combined."""
    rules, masters = builder.snapshot.rules, builder.snapshot.parameters.masters
    for group in by_key(_kinds(builder, "flat"), lambda f: (equal_keys(f.header), f.header.filter)):
        if not builder.is_quiet(group):
            builder.hold("flat_master", "flat", group, f"flats in {group[0].header.filter or 'no filter'} are still coming in")
            continue
        corrections = {f.id: correction_of(builder, f) for f in group}
        missing = sorted({c[3] for c in corrections.values() if c[3]})
        draft_of = partial(_flat_draft, builder, corrections, {"method": masters.method, "minimum": rules.minimum_flat})
        # What was made when the night had closed stands when a late file opens it again.
        if missing and not builder.snapshot.closed and not builder.is_made(builder.fingerprint_of(draft_of(group))):
            builder.hold("flat_master", "flat", group, "waits for: " + "; ".join(missing))
            continue
        builder.offer(group, draft_of)


def _flat_draft(builder: Builder, corrections: dict[int, Correction], parameters: dict[str, Any], frames: Sequence[FrameRow]) -> Draft:
    rules, group = builder.snapshot.rules, in_order(frames)
    inputs = _frame_inputs("flat", group)
    roles: dict[str, str] = {}
    for f in group:
        for role, print_ in corrections[f.id][0].items():
            roles[print_] = MODEL_ROLE if role.endswith("_model") else f"{role}_master"
    inputs += [Input(role, print_) for print_, role in sorted(roles.items())]
    without = [f for f in group if f.header.bias_subtracted]
    inputs += _witness(builder, without) if without else []
    parameters = {
        **parameters,
        "corrections": {f.sha256: corrections[f.id][0] for f in group},
        "minimum_fraction": rules.flat_minimum_fraction,
        "maximum_fraction": rules.flat_maximum_fraction,
        "cold_fraction": builder.snapshot.parameters.masters.cold_fraction,
    }
    choices: dict[str, Choice] = {c.need: c for f in group for c in corrections[f.id][4]}
    return Draft(
        "flat_master",
        f"{plain(group[0].header.filter) or 'no-filter'}_{set_up(group[0])}",
        inputs,
        parameters=parameters,
        facts=facts_of(group, filter=group[0].header.filter),
        grade=worst(*(corrections[f.id][1] for f in group)),
        reasons=tuple(merged_reasons([r for f in group for r in corrections[f.id][2]])),
        choices=tuple(choices.values()),
    )


def plan_camera_numbers(builder: Builder) -> None:
    """Gain and read noise of each set-up, from pairs of flats and the bias frames nearest to their temperature."""
    flats = [f for f in _kinds(builder, "flat") if not f.header.bias_subtracted]
    for group in by_key(_raw_kinds(builder, "bias"), lambda f: equal_keys(f.header)):
        same = [f for f in flats if equal_keys(f.header) == equal_keys(group[0].header)]
        pairs = _pairs(same)
        biases = _nearest_cluster(builder, group, median_temperature(same))[:_FRAMES_FOR_CAMERA_NUMBERS]
        if len(biases) < 2 or not pairs:
            continue
        if not builder.is_quiet(group) or not builder.is_quiet(same):
            builder.held.add(("camera_numbers", set_up(group[0])))
            continue
        builder.offer([*biases, *pairs], _numbers_draft)


def _numbers_draft(frames: Sequence[FrameRow]) -> Draft:
    biases = [f for f in frames if f.header.kind == "bias"]
    return Draft(
        "camera_numbers",
        set_up(frames[0]),
        [*_frame_inputs("bias", biases), *(Input("flat", f.sha256, f) for f in frames if f.header.kind == "flat")],
        parameters={},
        facts=facts_of(biases or frames),
    )


def _pairs(flats: Sequence[FrameRow]) -> list[FrameRow]:
    """An even number of each filter's flats: pairs are taken one after the other and must not mix filters."""
    chosen: list[FrameRow] = []
    for by_filter in by_key(flats, lambda f: f.header.filter):
        chosen += in_order(by_filter)[: min(_FRAMES_FOR_CAMERA_NUMBERS, len(by_filter) // 2 * 2)]
    return chosen


def _nearest_cluster(builder: Builder, biases: Sequence[FrameRow], temperature_c: float | None) -> list[FrameRow]:
    """The temperature cluster of bias frames nearest to a temperature (the largest when none is known)."""
    clusters = split_at_gaps(biases, lambda f: f.header.temperature_c, builder.snapshot.rules.temperature_cluster_c)

    ranked: list[tuple[float, int, int]] = []
    for place, cluster in enumerate(clusters):
        own = median_temperature(cluster)
        distance = abs(own - temperature_c) if own is not None and temperature_c is not None else 1e9
        if len(cluster) >= 2:
            ranked.append((distance, -len(cluster), place))
    return in_order(clusters[min(ranked)[2]]) if ranked else []


def light_parameters(builder: Builder) -> dict[str, Any]:
    """Parameters of ``reduce_light`` that come from the configuration."""
    return {"cosmic_rays": as_dict(builder.snapshot.parameters.lights)["cosmic_rays"]}
