"""Unit of work for one light: the science is in ``nightcrew.lights``; here files go in and a product comes out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.astrometry.cards import cards_of
from nightcrew.detector.model_files import load_bias, load_dark
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.wcs import ANY_CARD, moved, sky_of
from nightcrew.io.cardtext import Card
from nightcrew.io.headers import Hdu
from nightcrew.io.products import read_image_product
from nightcrew.ledger import products
from nightcrew.ledger.rows import FrameRow, NewProduct, worst
from nightcrew.lights.overscan import trimmed
from nightcrew.lights.reduce import Master, ReducedLight, ReduceParameters, reduce_light
from nightcrew.planning.light_models import MODEL_ROLE
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.plates import RECIPE
from nightcrew.quality.statistics import FrameStatistics, frame_statistics, sample_pixels
from nightcrew.tools.frame import trimmed_coordinates
from tasks.bias_told import Judged, light_with_bias, light_without_bias, without_pedestal
from tasks.context import UnitContext
from tasks.frames_in import pixels_of
from tasks.images_out import keep_picture, write_image

log = logging.getLogger(__name__)

_SAMPLE = 20_000  # pixels of a first glance
_TOO_MUCH_SATURATED = 0.5
_TOO_NEGATIVE = 5.0  # pixel-to-pixel scatters that the median may lie below 0: more is no drift of a bias
# Cards of the camera that would lie about a reduced frame.
_DROPPED = ("BIASSEC", "TRIMSEC", "OSCAN", "OSCANAX", "OSCANST", "GAIN", "EGAIN", "SATURATE", "CBLACK", "CWHITE", "PEDESTAL")


def _master(context: UnitContext, planned: PlannedProduct, role: str) -> tuple[Master | None, dict[str, Any]]:
    for item in planned.inputs:
        if item.role == role:
            row = context.product(item.fingerprint)
            image = read_image_product(context.file(row, "image"))
            return Master(image.science, image.uncertainty, image.mask), row.facts
    return None, {}


def _modelled(
    context: UnitContext, planned: PlannedProduct, bias: Master | None, dark: Master | None, scale: float
) -> tuple[Master | None, Master | None, float]:
    """Bias and dark with what the laboratory's models stand in for, where the plan says so and only there (dark: scale 1)."""
    item = next((item for item in planned.inputs if item.role == MODEL_ROLE), None)
    modelled = planned.parameters.get("modelled", ())
    if item is None or not modelled:
        return bias, dark, scale
    header = _the_light(planned).header
    if header.temperature_c is None or header.exposure_s is None:
        raise RejectedInput("a detector model needs the light's temperature and exposure")
    row = context.product(item.fingerprint)
    if "bias" in modelled:
        model = load_bias(context.folder(row, "bias/bias_model"))
        bias = Master(model.value(header.temperature_c), model.error(header.temperature_c), None)
    if "dark" in modelled:
        law = load_dark(context.folder(row, "dark/dark_model_2d"))
        flags = law.flags & np.uint16(PixelFlag.HOT | PixelFlag.UNSTABLE | PixelFlag.NO_DATA)
        conditions = (header.temperature_c, header.exposure_s)
        dark, scale = Master(law.signal(*conditions), law.error(*conditions), flags), 1.0
    return bias, dark, scale


def _offset_s(context: UnitContext, planned: PlannedProduct) -> float:
    """What the thermal master adds to an exposure before its rate is applied (0 but under the linear law)."""
    rates = [context.product(item.fingerprint) for item in planned.inputs if item.role == "thermal_master"]
    return float(rates[0].metrics.get("offset_s") or 0.0) if rates else 0.0


def check_exposed(frame: NDArray[Any], saturation_adu: float | None) -> None:
    """Does a light ``[y, x]`` (ADU) hold an exposure at all?

    Raises
    ------
    RejectedInput
        No pixel is finite, all have one value, or more than half of them are saturated: nothing can be measured in it, and a
        product of it would bear the grade of its calibrations.
    """
    if saturation_adu is None and frame.dtype.kind in "iu":
        saturation_adu = float(np.iinfo(frame.dtype).max)
    sample = sample_pixels(frame, _SAMPLE)
    if np.isfinite(sample).any() and sample.min() != sample.max() and not _mostly(sample, saturation_adu):
        return  # what it usually is, seen at a glance
    finite = frame[np.isfinite(frame)]
    if finite.size == 0:
        raise RejectedInput("no pixel is finite: all are NaN or infinite")
    if _mostly(frame, saturation_adu):
        raise RejectedInput(f"{np.mean(frame >= saturation_adu):.0%} of its pixels are saturated")
    if finite.min() == finite.max():
        raise RejectedInput(f"no signal: the frame is constant, every pixel is {finite[0]:g}")


def _mostly(values: NDArray[Any], saturation_adu: float | None) -> bool:
    return saturation_adu is not None and float(np.mean(values >= saturation_adu)) > _TOO_MUCH_SATURATED


def _shares_bias(context: UnitContext, planned: PlannedProduct) -> bool:
    """Was the very bias master that the light gets taken off the frames of its dark?  Only then do their errors cancel.

    Not where the camera's program took some bias off the darks; and the error of a thermal rate holds that of its bias.
    """
    prints = {item.role: item.fingerprint for item in planned.inputs if item.is_product}
    if not {"bias_master", "dark_master"} <= prints.keys():
        return False
    dark = context.product(prints["dark_master"])
    with context.database.read() as connection:
        return any(
            (one.role, one.fingerprint) == ("bias_master", prints["bias_master"]) for one, _ in products.inputs_of(connection, dark.id)
        )


def _the_light(planned: PlannedProduct) -> FrameRow:
    frame = next((item.frame for item in planned.inputs if item.role == "light"), None)
    if frame is None:
        raise RejectedInput("no light among the inputs")
    return frame


def reduce(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """Reduce one light with the masters that the plan chose, flag cosmic rays, write the image."""
    frame = _the_light(planned)
    header = frame.header
    raw, saturation_adu, hdu = pixels_of(frame)
    check_exposed(trimmed(raw, header.trim), header.saturation_adu)
    bias, _ = _master(context, planned, "bias_master")
    dark, dark_facts = _master(context, planned, "dark_master")
    scale = 1.0
    if dark is None:
        dark, _ = _master(context, planned, "thermal_master")
        scale = float(header.exposure_s or 0.0) + _offset_s(context, planned)
    bias, dark, scale = _modelled(context, planned, bias, dark, scale)
    kept = dark_facts.get("bias") == "kept"
    added, of_pedestal = without_pedestal(header, hdu.cards, has_dark=dark_facts.get("bias") == "removed")
    if added:
        raw, saturation_adu = raw + np.float32(added), None if saturation_adu is None else saturation_adu + added
    flat, _ = _master(context, planned, "flat_master")
    pixels, _ = _master(context, planned, "bad_pixel_mask")
    parameters = ReduceParameters(
        gain_e_per_adu=header.gain_e_per_adu,
        read_noise_e=header.read_noise_e,
        saturation_adu=saturation_adu,
        trim=header.trim,
        overscan=header.overscan,
        overscan_method="level",
        dark_scale=scale,
        dark_includes_bias=kept,
        bias_taken_off=header.bias_subtracted,
        dark_shares_bias=_shares_bias(context, planned),
    )
    reduced = reduce_light(raw, parameters=parameters, bias=bias, dark=dark, flat=flat, bad_pixels=None if pixels is None else pixels.mask)
    hits = _flag_cosmic_rays(planned, reduced, header.gain_e_per_adu, header.read_noise_e)
    if header.bias_subtracted:
        told = light_without_bias(context, planned, header, raw)
    else:
        told = light_with_bias(header, raw, dark if kept else bias)
    if added:
        reduced.facts["notes"] = [*reduced.facts.get("notes", []), f"a pedestal of {-added:g} ADU that its program had added was taken off"]
    return _write(context, planned, frame, reduced, hits, hdu, (worst(told[0], of_pedestal[0]), (*told[1], *of_pedestal[1])))


def _flag_cosmic_rays(planned: PlannedProduct, reduced: ReducedLight, gain: float | None, read_noise_e: float | None) -> int | None:
    if not planned.parameters["cosmic_rays"]:
        return None
    from nightcrew.lights.cosmic_rays import find_cosmic_rays

    noise = read_noise_e if read_noise_e is not None else float(reduced.facts.get("read_noise_e") or 5.0)
    found = find_cosmic_rays(reduced.science, reduced.mask, read_noise_e=noise, gain_e=1.0 if reduced.unit == "electron" else (gain or 1.0))
    reduced.mask[found.hit] |= np.uint16(PixelFlag.COSMIC_RAY)
    return found.n_events


def _moved_to_trim(header: FrameHeader, hdu: Hdu) -> tuple[list[Card], set[str]]:
    """Coordinates but the sky's after trimming (sections, physical pixels, sub-frame, other WCS), and keywords that lose their meaning."""
    changed, dropped = trimmed_coordinates(hdu.cards, header.trim, (header.ny, header.nx))
    return [card for card in changed if not ANY_CARD.fullmatch(card[0])], dropped


def _solution(context: UnitContext, planned: PlannedProduct, shape: Sequence[int]) -> tuple[dict[str, Any] | None, list[str]]:
    """The plate solution that the plan gave this light, None without one, and what is to be said of it.

    It holds for the trimmed frame that was solved: one of another shape than the reduced light's is not used.
    """
    item = next((item for item in planned.inputs if item.role == RECIPE), None)
    if item is None:
        return None, []
    row = context.product(item.fingerprint)
    solved = row.metrics.get("shape")
    if solved != [*shape]:
        return None, [f"its plate solution holds for {_size(solved or ())} px, the light has {_size(shape)}: it is not used"]
    away, radius = row.metrics.get("from_pointing_deg"), row.parameters["radius_deg"]
    if away is None or away <= radius:
        return row.metrics, []
    return row.metrics, [f"its plate solution, a blind one, lies {away:.3g} degrees from where the header points"]


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in reversed(shape)) or "an unknown number of"


def _grade(planned: PlannedProduct, numbers: FrameStatistics, unit: str, of_bias: Judged) -> Judged:
    """The plan's grade, or that of what the pixels tell of the bias; D where nearly all are negative: what was taken off was not in it."""
    grade, reasons = worst(planned.grade, of_bias[0]), (*planned.grade_reasons, *of_bias[1])
    if numbers.median is None or numbers.sigma is None or not numbers.median < -_TOO_NEGATIVE * numbers.sigma:
        return grade, reasons
    told = f"its median is {numbers.median:.4g} {unit}, far below 0: bias or dark was taken off twice, or they are not those of the frame"
    return "D", (*reasons, told)


def _write(
    context: UnitContext,
    planned: PlannedProduct,
    frame: FrameRow,
    reduced: ReducedLight,
    hits: int | None,
    hdu: Hdu,
    of_bias: Judged,
) -> NewProduct:
    header = frame.header
    numbers = frame_statistics(reduced.science, mask=(reduced.mask & np.uint16(PixelFlag.NO_DATA)) != 0)
    cards: list[Card] = [
        ("NCDARK", str(planned.parameters["dark"]), "dark step: exact, scaled, modelled or none"),
        ("NCFRAME", frame.sha256, "sha256 of the raw file"),
    ]
    if header.gain_e_per_adu:
        cards.append(("NCGAIN", header.gain_e_per_adu, "[electron/adu] gain that was used"))
    if hits is not None:
        cards.append(("NCCOSMIC", hits, "cosmic-ray events flagged"))
    if header.exposure_s is not None:
        cards.append(("EXPTIME", header.exposure_s, "[s] exposure time"))
    cards.append(("DATE-OBS", header.time_utc, "start of the exposure, UTC"))
    sky = sky_of(hdu)
    if sky.valid:
        x0, _, y0, _ = header.trim or (0, 0, 0, 0)
        cards += moved(sky.cards, x0, y0)
    solution, remarks = _solution(context, planned, reduced.science.shape) if not sky.valid else (None, [])
    if solution is not None:
        cards += cards_of(solution)
    grade, reasons = _grade(planned, numbers, reduced.unit, of_bias)
    sections, gone = _moved_to_trim(header, hdu)
    cards += sections
    row = write_image(
        context,
        planned,
        science=reduced.science,
        uncertainty=reduced.uncertainty,
        mask=reduced.mask,
        unit=reduced.unit,
        cards=cards,
        grade=grade,
        reasons=reasons,
        source_header=hdu.raw,
        drop=(*_DROPPED, *gone, *(key for key in hdu.cards if ANY_CARD.fullmatch(key))),
    )
    keep_picture(context, row, reduced.science)
    metrics: dict[str, Any] = {
        "background": numbers.median,
        "background_sigma": numbers.sigma,
        "unit": reduced.unit,
        "cosmic_rays": hits,
        "flagged_fraction": float(np.count_nonzero(reduced.mask) / reduced.mask.size),
        "saturated_pixels": int(np.count_nonzero(reduced.mask & np.uint16(PixelFlag.SATURATED))),
        "notes": [*reduced.facts.get("notes", []), *remarks],
        "wcs": {"valid": sky.valid, "ra_deg": sky.ra_deg, "dec_deg": sky.dec_deg, "scale_arcsec_per_px": sky.scale_arcsec_per_px}
        if solution is None
        else {"valid": True, **{name: solution[name] for name in ("source", "ra_deg", "dec_deg", "scale_arcsec_per_px")}},
    }
    return NewProduct(files=(row,), metrics=metrics, grade=grade, grade_reasons=reasons)
