"""Units of work for bias, dark and flat masters: look, leave out, combine, certify, write."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.certify import Certificate, certify, lit, lit_pixels, outlying
from nightcrew.calibration.combine import Combined, combine
from nightcrew.calibration.master_noise import smoothed_uncertainty
from nightcrew.calibration.methods import Clip, DropExtremes, SigmaClip
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import FrameRow, Measurement, NewProduct, ProductRow, worst
from nightcrew.planning.groups import BIAS_WITNESS
from nightcrew.planning.light_models import MODEL_ROLE
from nightcrew.planning.model import PlannedProduct
from nightcrew.quality.flats import FlatLimits, disagreement, flat_usable, oddly_lit
from nightcrew.quality.grid import block_medians
from nightcrew.quality.statistics import clipped_mean_sigma
from tasks.alike import told_of_likeness
from tasks.bias_told import frames_without_bias
from tasks.context import UnitContext
from tasks.flat_models import flat_models
from tasks.frames_in import Look, pixels_of
from tasks.gathering import Stack, gather, sources
from tasks.images_out import fact_cards, keep_picture, write_image

Image = NDArray[np.float32]
Judged = tuple[str, tuple[str, ...]]
_CLIPS: dict[str, tuple[str, Clip | None]] = {
    "median": ("median", None),
    "mean": ("mean", None),
    "sigma_clip": ("mean", SigmaClip()),
    "clip_extremes": ("mean", DropExtremes(low=1, high=1)),
}


def _combine(context: UnitContext, planned: PlannedProduct, stack: Stack, per_frame: Sequence[FrameCalibration]) -> Combined:
    method, clip = _CLIPS[str(planned.parameters["method"])]
    if isinstance(clip, DropExtremes) and len(stack.frames) <= clip.low + clip.high:
        clip = None
    frames = sources(stack.frames)
    return combine(frames, method=method, clip=clip, per_frame=per_frame, memory_bytes=context.memory_bytes, threads=context.threads)


def make_bias(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """A bias master: the combined bias frames, in ADU above the overscan; frames that light fell on are left out."""
    stack = gather(planned, "bias")
    stack.drop(outlying([s.level_adu for s in stack.looks], [s.sigma_adu for s in stack.looks]))
    grade, reasons = _without_light(context, planned, stack)
    return _level_master(context, planned, stack, _above_overscan(stack), (grade, reasons))


def _without_light(context: UnitContext, planned: PlannedProduct, stack: Stack) -> tuple[str, tuple[str, ...]]:
    """Leave out the frames that hold light.  Where too few would be left they stay, and the master's grade and reason tell.

    All pixels are looked at: clipping hides light where there are many frames, not where there are few.
    """
    if len(stack.frames) < 2:
        return "A", ()
    frames, memory_bytes, threads = sources(stack.frames), context.memory_bytes, context.threads
    darkest = combine(frames, method="minimum", per_frame=_above_overscan(stack), memory_bytes=memory_bytes, threads=threads).result
    bright = _lit(stack, darkest)
    if not bright:
        return "A", ()
    if len(stack.frames) - len(bright) >= int(planned.parameters["minimum"]):
        stack.drop(bright)
        return "A", ()
    names = ", ".join(stack.frames[place].path.rpartition(b"/")[2].decode("utf-8", "backslashreplace") for place in sorted(bright))
    told = f"light fell on {len(bright)} of its {len(stack.frames)} frames ({names}), and without them there are too few"
    return ("B" if 2 * len(bright) < len(stack.frames) else "D"), (told,)


def _above_overscan(stack: Stack) -> list[FrameCalibration]:
    return [FrameCalibration(shift=-s.overscan_adu) for s in stack.looks]


def _lit(stack: Stack, darkest: Image) -> dict[int, str]:
    noise = max(_frame_noise(stack.looks) or 0.0, 1.0 / math.sqrt(12.0))
    counts = []
    for frame in stack.frames:
        pixels = pixels_of(frame)[0]
        x0, x1, y0, y1 = frame.header.trim or (0, pixels.shape[-1], 0, pixels.shape[-2])
        counts.append(lit_pixels(pixels[y0:y1, x0:x1], darkest, noise))
    return lit(counts)


def make_dark(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """A dark master; holds its bias unless the plan gave a bias master to remove."""
    stack = gather(planned, "dark")
    stack.drop(outlying([s.level_adu for s in stack.looks], [s.sigma_adu for s in stack.looks]))
    bias = [i for i in planned.inputs if i.role == "bias_master"]
    planes = [(science(context, bias[0].fingerprint), 1.0)] if bias else []
    per_frame = [FrameCalibration(subtract=planes, shift=-s.overscan_adu) for s in stack.looks]
    return _level_master(context, planned, stack, per_frame, frames_without_bias(context, planned, stack.frames))


def _level_master(
    context: UnitContext, planned: PlannedProduct, stack: Stack, per_frame: Sequence[FrameCalibration], own: Judged = ("A", ())
) -> NewProduct:
    _require_frames(planned, stack)
    done = _combine(context, planned, stack, per_frame)
    noise = _frame_noise(stack.looks)
    certificate = certify(
        used=len(stack.frames), minimum=int(planned.parameters["minimum"]), noise_adu=noise, expected_noise_adu=_expected_noise(planned)
    )
    measured = _read_noise(planned, noise, certificate)
    return _finish(context, planned, stack, done, certificate, "adu", {"noise_adu": noise}, measured, own)


def _require_frames(planned: PlannedProduct, stack: Stack) -> None:
    if not stack.frames:
        reasons = "; ".join(sorted(set(stack.left_out.values()))) or "there is none"
        raise RejectedInput(f"no frame of {planned.name} can be used: {reasons}")


def _frame_noise(looks: Sequence[Look]) -> float | None:
    """Noise of one frame in ADU: the clipped scatter of neighbouring frames' differences over sqrt(2); None for one frame.

    A clipped standard deviation, not a MAD: the differences of whole ADU make a MAD jump in steps of 1 ADU.
    """
    sigmas = [
        clipped_mean_sigma(one.sample - other.sample)[1] / math.sqrt(2.0)
        for one, other in itertools.pairwise(looks)
        if one.sample.shape == other.sample.shape
    ]
    return float(np.median(sigmas)) if sigmas else None


def _expected_noise(planned: PlannedProduct) -> float | None:
    """Read noise in ADU as the headers or the profile give it, not below the quantisation limit."""
    header = next(i.frame.header for i in planned.inputs if i.frame is not None)
    if header.read_noise_e is None or not header.gain_e_per_adu or planned.recipe != "bias_master":
        return None
    return max(header.read_noise_e / header.gain_e_per_adu, 1.0 / math.sqrt(12.0))


def _read_noise(planned: PlannedProduct, noise: float | None, certificate: Certificate) -> tuple[Measurement, ...]:
    if planned.recipe != "bias_master" or not certificate.passed:
        return ()
    note = "" if noise else "the frames do not vary: quantisation hides the noise, step / sqrt(12) is its floor"
    return (Measurement(quantity="bias_noise", value=noise or None, error=None, unit="adu", note=note, where=where(planned)),)


def where(planned: PlannedProduct) -> dict[str, Any]:
    return {k: planned.facts[k] for k in ("temperature_c", "exposure_s", "filter", "geometry", "gain_setting") if planned.facts.get(k)}


def _finish(
    context: UnitContext,
    planned: PlannedProduct,
    stack: Stack,
    done: Combined,
    certificate: Certificate,
    unit: str,
    metrics: dict[str, Any],
    measurements: tuple[Measurement, ...] = (),
    own: Judged = ("A", ()),
) -> NewProduct:
    """Write the master; ``own`` is the grade, with its reasons, that its frames earned: the worse of it and the plan's stands."""
    grade, reasons = told_of_likeness(stack.frames, worst(planned.grade, own[0]), (*planned.grade_reasons, *own[1]))
    good = done.result[np.isfinite(done.result)]
    level = float(np.median(good)) if good.size else None
    uncertainty = _uncertainty(planned, stack, done, quantisation_floor(planned.recipe, len(stack.frames)))
    cards = [*fact_cards(planned.facts), ("NCUSED", len(stack.frames), "frames used"), ("NCOK", certificate.passed, "passed certification")]
    row = write_image(
        context,
        planned,
        science=done.result,
        uncertainty=uncertainty,
        mask=done.mask,
        count=done.count,
        unit=unit,
        cards=cards,
        grade=grade,
        reasons=reasons,
    )
    keep_picture(context, row, done.result, master=True)
    all_metrics = {
        **metrics,
        "level_adu": level,
        "n_frames": len(stack.frames),
        "n_offered": int(planned.facts["n_frames"]),
        "grid": block_medians(done.result),
        "frame_levels_adu": [round(s.level_adu, 3) for s in stack.looks],
    }
    return NewProduct(
        files=(row,),
        metrics=all_metrics,
        grade=grade,
        grade_reasons=reasons,
        certified=certificate.passed,
        certification=certificate.reason,
        left_out=stack.left_out,
        measurements=measurements,
    )


def quantisation_floor(recipe: str, frames: int) -> float:
    """What a master of whole ADU cannot be surer than: step / sqrt(12 n) in ADU; 0 of a flat, which is relative."""
    return 0.0 if recipe == "flat_master" else 1.0 / math.sqrt(12.0 * frames)


def _uncertainty(planned: PlannedProduct, stack: Stack, done: Combined, floor: float) -> Image | None:
    """The scatter of the survivors, smoothed; of a dark with the photon noise of its dark signal (see the library's text)."""
    if done.uncertainty is None:
        return None
    gain = stack.frames[0].header.gain_e_per_adu if planned.recipe == "dark_master" else None
    return smoothed_uncertainty(done.uncertainty, done.result, frames=len(stack.frames), gain_e_per_adu=gain, floor=floor)


def science(context: UnitContext, fingerprint: str) -> Image:
    return read_image_product(context.file(context.product(fingerprint), "image")).science


def make_flat(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """A flat master of unit median: every flat dark-corrected with its own master, brought to one level, combined.

    Saturated and faint flats, and those that were lit otherwise than the others, are left out with their reason; zero, negative
    and undefined pixels are masked.
    """
    stack = gather(planned, "flat")
    calibrate = _flat_calibrations(context, planned)
    limits = FlatLimits(
        min_level_fraction=planned.parameters["minimum_fraction"], max_level_fraction=planned.parameters["maximum_fraction"]
    )
    stack.drop(_unusable(stack, calibrate, limits))
    grade, reasons = _without_oddly_lit(planned, stack, calibrate)
    _require_frames(planned, stack)
    of_bias = frames_without_bias(context, planned, stack.frames)
    grade, reasons = worst(grade, of_bias[0]), (*reasons, *of_bias[1])
    per_frame = [calibrate(f, s)[0] for f, s in zip(stack.frames, stack.looks, strict=True)]
    done = _combine(context, planned, stack, per_frame)
    level = float(np.nanmedian(done.result))
    if not level > 0:
        raise RejectedInput("the combined flat has no positive level")
    flat, mask, cold = _mask_flat(done, level, float(planned.parameters["cold_fraction"]))
    finished = Combined(
        result=flat, uncertainty=None if done.uncertainty is None else done.uncertainty / np.float32(level), count=done.count, mask=mask
    )
    certificate = certify(used=len(stack.frames), minimum=int(planned.parameters["minimum"]), noise_adu=None, expected_noise_adu=None)
    levels = [calibrate(f, s)[1] for f, s in zip(stack.frames, stack.looks, strict=True)]
    metrics = {"noise_adu": None, "flat_level_adu": float(np.median(levels)), "cold_pixels": cold, "rms": float(np.nanstd(flat))}
    return _finish(context, planned, stack, finished, certificate, "", metrics, own=(grade, reasons))


Calibrate = Callable[[FrameRow, Look], tuple[FrameCalibration, float, Image]]


def _flat_calibrations(context: UnitContext, planned: PlannedProduct) -> Calibrate:
    """(calibration that brings a flat to level 1, its level in ADU, its sample in ADU) of each flat, by the plan's corrections."""
    rows: dict[str, tuple[ProductRow, Image]] = {}
    models = flat_models(context, planned)
    for item in planned.inputs:
        if item.frame is None and item.role not in (MODEL_ROLE, BIAS_WITNESS):
            row = context.product(item.fingerprint)
            rows[item.fingerprint] = (row, read_image_product(context.file(row, "image")).science)

    def calibrate(frame: FrameRow, seen: Look) -> tuple[FrameCalibration, float, Image]:
        roles: dict[str, str] = planned.parameters["corrections"][frame.sha256]
        # Under the linear law a rate stands for the exposure and a little more (tasks.thermal).
        offset_s = float(rows[roles["thermal"]][0].metrics.get("offset_s") or 0.0) if "thermal" in roles else 0.0
        factors = {"bias": 1.0, "dark": 1.0, "thermal": float(frame.header.exposure_s or 0.0) + offset_s}
        planes = [(rows[print_][1], factors[role]) for role, print_ in sorted(roles.items()) if role in factors]
        planes += models.planes(frame, roles) if models else []
        below = sum((plane[seen.rows] * np.float32(k) for plane, k in planes), np.float32(0.0))
        above = seen.sample - below
        level = float(np.nanmedian(above))
        scale = 1.0 / level if level > 0 else 1.0
        return FrameCalibration(subtract=planes, scale=scale, shift=-seen.overscan_adu * scale), level, above

    return calibrate


def _without_oddly_lit(planned: PlannedProduct, stack: Stack, calibrate: Calibrate) -> tuple[str, tuple[str, ...]]:
    """Leave out single flats that were lit otherwise.

    They stay where too few would be left, or where they are more than a quarter: the master's grade and reason tell then, as they
    do where the flats that enter it do not agree in shape.  One of fewer than eight is left out with grade B: that the others are
    right is likely, not certain.
    """
    shapes, levels = [], []
    for frame, seen in zip(stack.frames, stack.looks, strict=True):
        _, level, above = calibrate(frame, seen)
        shapes.append(block_medians(above / np.float32(level)))
        levels.append(level)
    offered, odd = len(stack.frames), oddly_lit(shapes, levels)
    names = ", ".join(stack.frames[place].path.rpartition(b"/")[2].decode("utf-8", "backslashreplace") for place in sorted(odd))
    if odd and (offered - len(odd) < int(planned.parameters["minimum"]) or 4 * len(odd) > offered):
        told = f"{len(odd)} of its {offered} flats were lit otherwise than the others ({names}), and without them there are too few"
        return "C", (told,)
    stack.drop(odd)
    kept = [place for place in range(offered) if place not in odd]
    apart = disagreement([shapes[place] for place in kept], [levels[place] for place in kept])
    if apart:
        return "C", (apart,)
    if odd and 8 * len(odd) > offered:
        return "B", (f"{len(odd)} of {offered} flats were lit otherwise ({names}) and are left out: too few to be certain which are right",)
    return "A", ()


def _unusable(stack: Stack, calibrate: Calibrate, limits: FlatLimits) -> dict[int, str]:
    reasons = {}
    for place, (frame, seen) in enumerate(zip(stack.frames, stack.looks, strict=True)):
        level = calibrate(frame, seen)[1]
        raw = seen.level_adu + seen.overscan_adu
        full = frame.header.saturation_adu
        fine, why = flat_usable(raw, full, saturated_fraction=seen.saturated_fraction, bias_level_adu=raw - level, limits=limits)
        if not fine:
            reasons[place] = why
    return reasons


def _mask_flat(done: Combined, level: float, cold_fraction: float) -> tuple[Image, NDArray[np.uint16], int]:
    """Unit median; BAD_FLAT where the flat is not positive, COLD where it falls far below its neighbourhood."""
    flat = (done.result / np.float32(level)).astype(np.float32)
    mask = np.zeros(flat.shape, np.uint16) if done.mask is None else done.mask.copy()
    with np.errstate(invalid="ignore"):
        bad = ~(flat > 0)
        grid = _local_level(flat)
        cold = (flat < cold_fraction * grid) & ~bad
    mask[bad] |= np.uint16(PixelFlag.BAD_FLAT)
    mask[cold] |= np.uint16(PixelFlag.COLD)
    return flat, mask, int(np.count_nonzero(cold))


def _local_level(flat: Image, block: int = 32) -> Image:
    """Median of each block of pixels, spread back over the block: the flat's shape without its pixels."""
    ny, nx = flat.shape
    out = np.empty_like(flat)
    for y in range(0, ny, block):
        for x in range(0, nx, block):
            part = flat[y : y + block, x : x + block]
            good = part[np.isfinite(part)]
            out[y : y + block, x : x + block] = np.median(good) if good.size else np.nan
    return out
