"""Writing a unit's images: the provenance that every header holds, and the row that the ledger keeps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.io.cardtext import Card
from nightcrew.io.headers import HeaderValue
from nightcrew.io.products import write_image_product
from nightcrew.io.sameness import was_written
from nightcrew.ledger.rows import FileRow
from nightcrew.planning.model import PlannedProduct
from reports.keep import Keep
from reports.pictures import Gallery
from tasks import naming
from tasks.context import UnitContext

log = logging.getLogger(__name__)


def provenance(planned: PlannedProduct, grade: str, reasons: Sequence[str]) -> list[Card]:
    """Cards that say what the product is, how and from what it was made, and how far to trust it."""
    cards: list[Card] = [
        ("NCRECIPE", planned.recipe, "Nightcrew recipe"),
        ("NCVERS", planned.version, "version of the recipe"),
        ("NCPRINT", planned.fingerprint, "fingerprint: recipe, parameters and inputs"),
        ("NCGRADE", grade, "A within plan, B acceptable, C risky, D step skipped"),
        ("NIGHT", planned.night, "local noon to local noon"),
    ]
    cards += [(f"NCWHY{n}", reason, "reason of the grade") for n, reason in enumerate(reasons[:20], 1)]
    cards += [
        (f"NCPAR{n}", f"{name}={_short(value)}", "parameter") for n, (name, value) in enumerate(sorted(planned.parameters.items()), 1)
    ]
    shown = planned.inputs[:999]
    cards += [(f"NCIN{n}", f"{item.role} {item.fingerprint[:24]}", "input: role and hash") for n, item in enumerate(shown, 1)]
    return cards


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"{len(value)} entries"
    return str(value)


def write_image(
    context: UnitContext,
    planned: PlannedProduct,
    *,
    science: NDArray[np.float32],
    uncertainty: NDArray[np.float32] | None,
    mask: NDArray[np.uint16] | None,
    unit: str,
    cards: Sequence[Card] = (),
    reasons: Sequence[str] | None = None,
    grade: str | None = None,
    source_header: bytes | None = None,
    count: NDArray[np.uint16] | None = None,
    drop: Sequence[str] = (),
    label: str = "",
    role: str = "image",
) -> FileRow:
    """Write a FITS product under its final name; the row for the ledger."""
    path = naming.final(planned, "fits", label)
    head = [*cards, *provenance(planned, grade or planned.grade, planned.grade_reasons if reasons is None else reasons)]
    written = write_image_product(
        context.products_root / path,
        science=science,
        uncertainty=uncertainty,
        mask=mask,
        cards=head,
        source_header=source_header,
        unit=unit,
        drop=drop,
        extras=None if count is None else {"COUNT": count},
        durable=context.durable,
    )
    was_written(context.products_root / path, written.sha256)
    return FileRow(role=role, path=str(path), sha256=written.sha256, size=written.size)


def fact_cards(facts: dict[str, Any]) -> list[Card]:
    """The facts that association compares, as cards of a master."""
    names = (
        ("exposure_s", "EXPTIME", "exposure time [s]"),
        ("temperature_c", "CCD-TEMP", "median sensor temperature [C]"),
        ("filter", "FILTER", "filter"),
        ("gain_setting", "GAINSET", "gain setting of the camera"),
        ("readout_mode", "READOUTM", "readout mode"),
        ("camera", "CAMERA", "make, model and serial"),
        ("time_utc", "DATE-OBS", "median start of its frames, UTC"),
        ("n_frames", "NFRAMES", "frames offered"),
        ("bias", "NCBIAS", "bias kept in or removed from these values"),
    )
    cards: list[Card] = []
    for name, keyword, comment in names:
        value: HeaderValue = facts.get(name)
        if value is not None and value != "":
            cards.append((keyword, value, comment))
    return cards


def keep_picture(context: UnitContext, row: FileRow, science: NDArray[np.float32], *, master: bool = False) -> None:
    """The picture for the page, while the pixels are at hand; without it the page makes one from the file."""
    try:
        Gallery(context.products_root, Keep(context.pictures, context.disk_reserve_bytes)).remember(row, science, master=master)
    except Exception as error:  # noqa: BLE001  # whatever it is, the product is whole: it is not lost over its picture
        log.warning("no picture was kept of %s: %s: %s", row.path, type(error).__name__, error)
