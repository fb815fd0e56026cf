"""The figures of a stack's catalogue: its finder chart, and aperture, profile and fit of its brightest stars."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from nightcrew.io.atomic import write_new
from nightcrew.io.products import ImageProduct
from nightcrew.ledger.rows import FileRow
from nightcrew.photometry.figures import finder_chart, finder_name, subframe_figure, subframe_name
from nightcrew.photometry.measure import Photometry
from nightcrew.photometry.parameters import PhotometryParameters
from nightcrew.planning.model import PlannedProduct
from tasks import naming
from tasks.context import UnitContext

# Circles beyond these would only hide the stars.
_CHARTED = 200


def write_figures(
    context: UnitContext, planned: PlannedProduct, image: ImageProduct, found: Photometry, parameters: PhotometryParameters
) -> list[FileRow]:
    """Write the finder chart and the figures of the brightest stars, each with its numbers beside; rows for the ledger."""
    from reports.figures_photometry import finder_figure, png
    from reports.figures_photometry import subframe_figure as drawn_subframe

    wanted: Mapping[str, Any] = planned.parameters["figures"]
    facts = planned.facts
    title = "_".join(part for part in (str(wanted["title"]), str(facts.get("target") or "")) if part)
    chart = finder_chart(image.science, found.catalogue, max_sources=_CHARTED)
    name = finder_name(title, str(facts.get("filter") or ""), facts.get("gain_setting"), facts.get("exposure_s"))
    rows = [_write(context, planned, name, "finder", png(finder_figure(chart, f"{title} {facts.get('filter') or ''}")))]
    numbers: list[dict[str, Any]] = []
    for source in [int(n) for n in found.catalogue["id"][: int(wanted["stars"])]]:
        if found.field is None:
            break
        data = subframe_figure(found, source, parameters.subframe_half_length_px, parameters.fit)
        name = subframe_name(title, source, str(facts.get("filter") or ""))
        rows.append(_write(context, planned, name, f"star {source}", png(drawn_subframe(data, f"{title} star {source}"))))
        numbers.append(_numbers(data))
    if numbers:
        text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
        rows.append(
            _write(
                context,
                planned,
                finder_name(title, *_setting(facts)).replace("finder_", "stars_", 1)[:-4] + ".json",
                "star numbers",
                text.encode(),
            )
        )
    return rows


def _setting(facts: Mapping[str, Any]) -> tuple[str, Any, float | None]:
    return str(facts.get("filter") or ""), facts.get("gain_setting"), facts.get("exposure_s")


def _numbers(data: Any) -> dict[str, Any]:
    """The numbers behind a star's figure."""
    return {
        "id": data.source_id,
        "x_px": _number(data.x),
        "y_px": _number(data.y),
        "aperture_px": _number(data.aperture_px),
        "sky": _number(data.sky),
        "fit_sky": _number(data.fit_sky),
        "r_squared": _number(data.r_squared),
        "accepted": bool(data.accepted),
        "radius_px": [_number(v) for v in data.radius_px],
        "value": [_number(v) for v in data.value],
        "error": [_number(v) for v in data.error],
    }


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(f"{float(value):.7g}")


def _write(context: UnitContext, planned: PlannedProduct, name: str, role: str, data: bytes) -> FileRow:
    stem, _, ending = name.rpartition(".")
    path = naming.folder(planned) / f"{stem}.{planned.fingerprint[:12]}.{ending}"

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_new(context.products_root / path, write, durable=context.durable)
    return FileRow(role=role, path=str(path), sha256=hashlib.sha256(data).hexdigest(), size=len(data))
