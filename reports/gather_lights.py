"""The lights and stacks of a night: what became of each, how good it is, and its picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.rows import FileRow, FrameRow, ProductRow
from nightcrew.planning.lights import NO_BIAS, field_names
from nightcrew.planning.model import PlannedProduct
from reports.choice import chosen
from reports.model import LightEntry, StackEntry
from reports.night_data import ScopeData, name_of, readable, why
from reports.pictures import Gallery
from reports.text import by_wavelength
from reports.values import Picture

MOST_PICTURES = 600  # of the lights of one instrument: 7 MB; a page is at most 15
STACK_PX = 400  # longer side of a stack's picture
STAR_FIGURES = 6  # per stack; all of them lie beside the stack
STAR_BYTES = 5_000_000  # of all star figures of a page together


def lights(data: ScopeData, gallery: Gallery, threads: int = 2) -> tuple[LightEntry, ...]:
    """Every light of a scope that counts (duplicates and excluded ones are set aside), in order of time."""
    made = {frame.id: planned for planned, frame in _planned_lights(data)}
    catalogues = {p.inputs[0].fingerprint: p for p in data.plan.products if p.recipe == "photometry"}
    fields = field_names([frame for frame in data.frames.values() if frame.header.kind == "light"])
    by_path = {frame.path: frame for frame in data.frames.values()}
    rows = [row for row in data.files if row.kind == "light" and row.state != "set_aside"]
    pictured = _pictured(rows, by_path)

    def planned_of(row: PathRow) -> PlannedProduct | None:
        frame = by_path.get(row.path)
        return made.get(frame.id) if frame is not None else None

    def pictures_of(some: Sequence[PathRow]) -> dict[bytes, Picture | None]:
        files = ((row, _file(_product(data, row, planned_of(row)), "image")) for row in some)
        return {row.path: gallery.image(file, f"{name_of(row)}: reduced light") for row, file in files}

    shown, threads = [row for row in rows if row.path in pictured], max(1, threads)
    parts = [shown[place::threads] for place in range(threads)]  # not one by one: most are kept, and handing over takes longer
    pictures: dict[bytes, Picture | None] = {}
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for part in pool.map(pictures_of, parts):
            pictures |= part
    entries = [_light(data, row, by_path.get(row.path), planned_of(row), catalogues, fields, pictures) for row in rows]
    return tuple(sorted(entries, key=lambda light: (light.time_utc, light.name)))


def _pictured(rows: Sequence[PathRow], by_path: Mapping[bytes, FrameRow]) -> set[bytes]:
    """The lights whose pictures are shown: all, or as many as a page can hold, those that are degraded first."""
    made = [row for row in rows if row.state in ("done", "degraded")]
    made.sort(key=lambda row: (by_path[row.path].header.time_utc if row.path in by_path else "", row.path))
    return {row.path for row in chosen(made, MOST_PICTURES, lambda row: row.state == "degraded")}


def _planned_lights(data: ScopeData) -> list[tuple[PlannedProduct, FrameRow]]:
    products = [p for p in data.plan.products if p.recipe == "reduce_light"]
    return [(p, item.frame) for p in products for item in p.inputs if item.frame is not None]


def _light(
    data: ScopeData,
    row: PathRow,
    frame: FrameRow | None,
    planned: PlannedProduct | None,
    catalogues: dict[str, PlannedProduct],
    fields: dict[int, str],
    pictures: Mapping[bytes, Picture | None],
) -> LightEntry:
    """``pictures`` has those that are wanted."""
    name = name_of(row)
    product = _product(data, row, planned)
    catalogue = catalogues.get(planned.fingerprint) if planned is not None else None
    stars = data.row_of(catalogue) if catalogue is not None else None
    header = frame.header if frame is not None else None
    exposure_s = header.exposure_s if header is not None else None
    metrics = stars.metrics if stars is not None and product is not None else {}
    background, unit = _background(product, exposure_s, overscan=header is not None and header.overscan is not None)
    return LightEntry(
        name=name,
        instrument=data.instrument,
        target=fields.get(frame.id, "") if frame is not None else "",
        filter=header.filter if header is not None else "",
        exposure_s=exposure_s,
        time_utc=header.time_utc if header is not None else "",
        state=row.state,  # type: ignore[arg-type]  # one of the five, as the ledger keeps it
        grade=product.grade if product is not None else "",  # type: ignore[arg-type]  # a letter from A to D
        reason=readable("; ".join(_reasons(product, stars)) if product is not None else row.reason),
        fwhm_px=metrics.get("fwhm_px"),
        ellipticity=metrics.get("ellipticity"),
        background=background,
        background_unit=unit,
        depth_mag=metrics.get("depth_5sigma_mag"),
        sources=metrics.get("sources"),
        thumbnail=pictures.get(row.path),
        pictured=row.path in pictures or product is None,
        command=why(name),
    )


def _reasons(product: ProductRow, catalogue: ProductRow | None) -> tuple[str, ...]:
    """Of a light's grade, and what else is to be told of its catalogue."""
    if catalogue is None or catalogue.grade_reasons == product.grade_reasons:
        return product.grade_reasons
    return tuple(dict.fromkeys((*product.grade_reasons, *catalogue.grade_reasons)))


def _product(data: ScopeData, row: PathRow, planned: PlannedProduct | None) -> ProductRow | None:
    return data.row_of(planned) if planned is not None and row.state in ("done", "degraded") else None


def _background(product: ProductRow | None, exposure_s: float | None, *, overscan: bool) -> tuple[float | None, str]:
    """Median sky per pixel and second; per exposure where the exposure time is not known.

    None where the camera's offset is still in it: neither bias nor overscan was taken off.
    """
    if product is None:
        return None, "e-/s"
    unit = "e-" if str(product.metrics.get("unit", "")).startswith("electron") else "ADU"
    level = product.metrics.get("background") if overscan or NO_BIAS not in product.grade_reasons else None
    if not exposure_s:
        return level, unit
    return (None if level is None else level / exposure_s), f"{unit}/s"


def _file(product: ProductRow | None, role: str) -> FileRow | None:
    return None if product is None else next((file for file in product.files if file.role == role), None)


def stacks(data: ScopeData, gallery: Gallery) -> tuple[StackEntry, ...]:
    """The current stacks of a scope, each with its finder chart and the figures of its brightest stars."""
    catalogues = {row.key: row for row in data.current("stack_photometry")}
    left = STAR_BYTES
    entries = []
    for row in data.current("stack"):
        entry = _stack(data, row, catalogues.get(row.key), gallery, left)
        left -= sum(len(picture.data) for picture in entry.star_figures)
        entries.append(entry)
    return tuple(sorted(entries, key=lambda stack: (stack.target, by_wavelength(stack.filter), stack.name)))


def _stack(data: ScopeData, row: ProductRow, catalogue: ProductRow | None, gallery: Gallery, most_bytes: int) -> StackEntry:
    names = _light_names(data)
    left_out = tuple(sorted((names.get(key, str(key)), str(reason)) for key, reason in dict(row.metrics.get("left_out") or {}).items()))
    count = int(row.facts.get("n_frames") or 0) - len(left_out)
    each = row.facts.get("exposure_s")
    metrics = catalogue.metrics if catalogue is not None else {}
    title = f"{row.facts.get('target') or 'unnamed target'} in {row.facts.get('filter') or 'no filter'}"
    return StackEntry(
        name=f"stack {row.key}",
        instrument=data.instrument,
        target=str(row.facts.get("target") or ""),
        filter=str(row.facts.get("filter") or ""),
        frames=count,
        left_out=left_out,
        exposure_s=None if each is None else float(each) * count,
        grade=row.grade,  # type: ignore[arg-type]  # a letter from A to D
        reason=readable("; ".join(reason for reason in _reasons(row, catalogue) if not reason.startswith("left out of the stack"))),
        fwhm_px=metrics.get("fwhm_px"),
        depth_mag=metrics.get("depth_5sigma_mag"),
        sources=metrics.get("sources"),
        picture=gallery.image(_file(row, "image"), f"Stack of {title}", size_px=STACK_PX),
        finder=gallery.png(_file(catalogue, "finder"), f"Finder chart of {title}: circles, numbers and magnitudes"),
        star_figures=_star_figures(catalogue, gallery, title, most_bytes),
        command=why(row.fingerprint[:12]),
    )


def _light_names(data: ScopeData) -> dict[str, str]:
    """Key of a reduced light -> the file name of its frame."""
    return {planned.key: os.fsdecode(frame.path).rpartition("/")[2] for planned, frame in _planned_lights(data)}


def _star_figures(catalogue: ProductRow | None, gallery: Gallery, title: str, most_bytes: int) -> tuple[Picture, ...]:
    figures: list[Picture] = []
    files = [file for file in (catalogue.files if catalogue is not None else ()) if _is_star_figure(file.role, file.path)]
    for place, file in enumerate(files[:STAR_FIGURES], 1):
        picture = gallery.png(file, f"Star {place} of {title}: aperture, radial profile and fit")
        if picture is not None and sum(len(one.data) for one in (*figures, picture)) <= most_bytes:
            figures.append(picture)
    return tuple(figures)


def _is_star_figure(role: str, path: str) -> bool:
    return path.endswith(".png") and (role.startswith(("star", "subframe")))
