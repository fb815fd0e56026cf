"""The masters of a night: picture, level, noise, and how they changed against the last one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from nightcrew.ledger.rows import ProductRow, worst
from nightcrew.planning.changes import change_against_predecessor, predecessor
from nightcrew.recipes.catalogue import MASTERS
from reports.gather_queries import Measured
from reports.model import MasterEntry
from reports.night_data import ScopeData, readable, why
from reports.pictures import MASTER_PX, Gallery
from reports.text import MINUS, by_wavelength, number
from reports.values import KeyNumber, Picture

KIND_WORDS = {
    "bias_master": "bias",
    "dark_master": "dark",
    "thermal_master": "thermal",
    "flat_master": "flat",
    "bad_pixel_mask": "bad pixels",
}
_ORDER = {recipe: place for place, recipe in enumerate(MASTERS)}
_QUANTITY_WORDS = {
    "gain": ("Gain", 3),
    "read_noise_adu": ("Read noise", 2),
    "read_noise": ("Read noise", 2),
    "dark_rate": ("Dark rate", 4),
}


def temperature(value: Any) -> str:
    """``-18.8 °C`` with a true minus sign, "" when it is not known."""
    return f"{number(float(value), 1)} °C" if isinstance(value, int | float) else ""


def exposure(value: Any) -> str:
    """``60 s``, "" when it is not known."""
    return f"{value:.6g} s".replace("-", MINUS) if isinstance(value, int | float) else ""


def label_of(recipe: str, facts: dict[str, Any]) -> str:
    """What tells a master from others of its kind: exposure and temperature, or the filter."""
    if recipe == "flat_master":
        return str(facts.get("filter") or "no filter")
    parts = [exposure(facts.get("exposure_s"))] if recipe == "dark_master" else []
    return ", ".join(part for part in (*parts, temperature(facts.get("temperature_c"))) if part)


def set_up_of(facts: dict[str, Any]) -> str:
    """Geometry and gain setting, for nights with several set-ups."""
    gain = facts.get("gain_setting")
    return f"{facts.get('geometry', '')}{f', gain {gain}' if gain else ''}"


def masters(data: ScopeData, measured: Sequence[Measured], gallery: Gallery) -> tuple[MasterEntry, ...]:
    """The current masters of a scope, in the order of their making."""
    rows = sorted(
        data.current(*MASTERS),
        key=lambda row: (_ORDER[row.recipe], by_wavelength(str(row.facts.get("filter") or "")), row.facts.get("exposure_s") or 0, row.key),
    )
    several = len({set_up_of(row.facts) for row in rows}) > 1
    camera = {row.id: row for row in data.current("camera_numbers")}
    numbers = [m for m in measured if m.night == data.scope.name]
    return tuple(_entry(data, row, numbers, camera, gallery, several=several) for row in rows)


def _entry(
    data: ScopeData, row: ProductRow, numbers: Sequence[Measured], camera: dict[int, ProductRow], gallery: Gallery, *, several: bool
) -> MasterEntry:
    kind, metrics = KIND_WORDS[row.recipe], row.metrics
    label = label_of(row.recipe, row.facts) + (f" ({set_up_of(row.facts)})" if several else "")
    others = [*data.snapshot.elsewhere, *data.snapshot.products.values()]
    before = predecessor(row, others, data.snapshot.rules)
    changed = change_against_predecessor(row, others, data.snapshot.rules)
    level, unit = _level(row)
    return MasterEntry(
        name=f"{row.recipe} {row.key}",
        instrument=data.instrument,
        kind=kind,
        label=label,
        frames=int(metrics.get("n_frames") or 0),
        left_out=tuple(sorted((data.name_of_frame(frame), why) for frame, why in data.snapshot.left_out.get(row.id, {}).items())),
        level_adu=level,
        noise_adu=metrics.get("noise_adu"),
        level_unit=unit,
        **_change(row, before),
        changed=bool(changed),
        certified=row.certified and not row.marked_bad,
        certification=row.barred_because,
        grade=worst(row.grade, "B" if changed else "A"),  # type: ignore[arg-type]  # a letter from A to D
        reason=readable("; ".join((*row.grade_reasons, *((changed,) if changed else ())))),
        picture=_picture(row, gallery, f"{kind} master {label} of {data.instrument}"),
        extras=tuple(_extras(row, numbers, camera)),
        command=why(row.fingerprint[:12]),
    )


def _level(row: ProductRow) -> tuple[float | None, str]:
    metrics = row.metrics
    if row.recipe == "bad_pixel_mask":
        return float(metrics.get("hot", 0) + metrics.get("unstable", 0)), "pixels"
    if row.recipe == "flat_master":
        return metrics.get("flat_level_adu"), "ADU"
    return metrics.get("level_adu"), "ADU/s" if row.recipe == "thermal_master" else "ADU"


def _change(row: ProductRow, before: ProductRow | None) -> dict[str, Any]:
    if before is None:
        return {}
    found: dict[str, Any] = {"compared_with": str(before.facts.get("night", "an earlier night"))}
    if row.recipe == "flat_master":
        rms = shape_change(row.metrics.get("grid"), before.metrics.get("grid"))
        return found if rms is None else {**found, "change": 100 * rms, "change_unit": "% rms of shape"}
    now, then = _level(row)[0], _level(before)[0]
    if now is None or then is None:
        return found
    found["change"] = now - then
    noise = row.metrics.get("noise_adu")
    if noise:
        found["change_sigma"] = (now - then) / noise
    if then:
        found["change_percent"] = 100 * (now - then) / abs(then)
    return found


def shape_change(now: Any, then: Any) -> float | None:
    """Rms of the ratio of two grids of block medians about its mean; None when they cannot be compared."""
    flat_now, flat_then = _flatten(now), _flatten(then)
    pairs = [(a, b) for a, b in zip(flat_now, flat_then, strict=False) if a and b]
    if len(flat_now) != len(flat_then) or not pairs:
        return None
    ratios = [a / b for a, b in pairs]
    mean = sum(ratios) / len(ratios)
    return math.sqrt(sum((ratio / mean - 1) ** 2 for ratio in ratios) / len(ratios))


def _flatten(grid: Any) -> list[float | None]:
    if not isinstance(grid, list):
        return []
    return [value for row in grid for value in (row if isinstance(row, list) else [row])]


def _picture(row: ProductRow, gallery: Gallery, alt: str) -> Picture | None:
    file = next((file for file in row.files if file.role == "image"), None)
    if row.recipe == "bad_pixel_mask":
        return gallery.mask(file, f"{alt}: flagged pixels are white", size_px=MASTER_PX)
    return gallery.master(file, alt)


def _extras(row: ProductRow, numbers: Sequence[Measured], camera: dict[int, ProductRow]) -> Iterable[KeyNumber]:
    """What was measured on the way: of the master itself, and with the bias the camera's gain and read noise."""
    for one in numbers:
        of_camera = row.recipe == "bias_master" and one.product_id in camera and _same_camera(camera[one.product_id].facts, row.facts)
        if (one.product_id == row.id or of_camera) and one.quantity in _QUANTITY_WORDS:
            word, digits = _QUANTITY_WORDS[one.quantity]
            yield KeyNumber(name=word, value=one.value, error=one.error, unit=one.unit.replace("adu", "ADU"), digits=digits)
    if row.recipe == "flat_master":
        yield KeyNumber(name="Cold pixels", value=row.metrics.get("cold_pixels"), note="not counted")
        rms = row.metrics.get("rms")
        yield KeyNumber(name="Structure", value=None if rms is None else 100 * rms, unit="% rms", note="not measured")
    if row.recipe == "bad_pixel_mask":
        yield KeyNumber(name="Hot", value=row.metrics.get("hot"), note="not counted")
        yield KeyNumber(name="Unstable", value=row.metrics.get("unstable"), note="not counted")


def _same_camera(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(a.get(name) == b.get(name) for name in ("camera", "geometry", "gain_setting", "readout_mode"))
