"""Units of work for catalogues: of a reduced light and of a stack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nightcrew.io.products import ImageProduct, read_image_product, write_table_product
from nightcrew.ledger.rows import FileRow, NewProduct, worst
from nightcrew.photometry.measure import NOT_DEBLENDED, Photometry, measure
from nightcrew.photometry.parameters import PhotometryParameters
from nightcrew.planning.model import PlannedProduct
from tasks import naming
from tasks.context import UnitContext
from tasks.figures import write_figures
from tasks.images_out import provenance, write_image
from tasks.sky import wcs_of


def photometry_parameters(values: dict[str, Any]) -> PhotometryParameters:
    """The library's parameters from those of the recipe."""
    return PhotometryParameters(
        threshold_sigma=values["detection_sigma"],
        smoothing_px=values["smoothing_px"] or None,
        radius_px=values["radius_px"],
        radius_fwhm=values["fwhm_factor"],
        sky=values["sky"],
        subframe_half_length_px=values["subframe_px"],
    )


def measure_light(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """The catalogue of one reduced light."""
    return _measure(context, planned)[0]


def measure_stack(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """The catalogue of one stack with its figures; its exposure is that of one frame, as a mean keeps the level of one."""
    made, image, found = _measure(context, planned)
    figures = write_figures(context, planned, image, found, photometry_parameters(planned.parameters))
    return replace(made, files=(*made.files, *figures))


def _measure(context: UnitContext, planned: PlannedProduct) -> tuple[NewProduct, ImageProduct, Photometry]:
    source = context.product(planned.inputs[0].fingerprint)
    image = read_image_product(context.file(source, "image"))
    gain = image.cards.get("NCGAIN")
    found = measure(
        image.science,
        image.uncertainty,
        image.mask,
        exposure_s=planned.facts.get("exposure_s"),
        gain_e_per_adu=float(gain) if isinstance(gain, int | float) else None,
        unit="electron" if image.unit.startswith("electron") else "adu",
        parameters=photometry_parameters(planned.parameters),
        wcs=wcs_of(image.cards, image.raw_header),
    )
    planned = _judged(planned, found)
    files = [_write_table(context, planned, found)]
    if found.sky_subtracted is not None:
        files.append(
            write_image(
                context,
                planned,
                science=found.sky_subtracted,
                uncertainty=image.uncertainty,
                mask=image.mask,
                unit=image.unit,
                label="sky-subtracted",
                role="sky_subtracted",
                source_header=image.raw_header,
            )
        )
    made = NewProduct(files=tuple(files), metrics=found.facts, grade=planned.grade, grade_reasons=planned.grade_reasons)
    return made, image, found


def _judged(planned: PlannedProduct, found: Photometry) -> PlannedProduct:
    """The catalogue's grade is that of its image, C at best where sources may be several in one."""
    if NOT_DEBLENDED not in found.facts["notes"]:
        return planned
    return planned._replace(grade=worst(planned.grade, "C"), grade_reasons=(*planned.grade_reasons, NOT_DEBLENDED))


def _write_table(context: UnitContext, planned: PlannedProduct, found: Photometry) -> FileRow:
    path = naming.final(planned, "ecsv")
    head = {keyword: value for keyword, value, _ in provenance(planned, planned.grade, planned.grade_reasons)}
    found.catalogue.meta.update(head)
    written = write_table_product(context.products_root / path, found.catalogue, durable=context.durable)
    return FileRow(role="catalogue", path=str(path), sha256=written.sha256, size=written.size)
