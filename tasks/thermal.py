"""Unit of work for the thermal master: the dark rate per second of a cluster of darks, bias removed.

Two laws, by the instrument's rules:

``dark = "exact"`` (the default): a dark of t seconds is ``rate t``.  The rate is the least-squares line through 0,
sum t_i (D_i - B) / sum t_i^2; the weights are those of equal noise in every dark.  Frames of kind ``thermal`` enter as the
median of those of one exposure.

``dark = "linear"``: counts = offset + slope t, fitted through the levels of the darks (the recipe of the frame tools), and
every pixel follows that line in proportion, so that a dark of t seconds is ``rate (t + offset / slope)``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.certify import certify
from nightcrew.calibration.combine import combine
from nightcrew.calibration.master_noise import smoothed_uncertainty
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import FrameRow, Measurement, NewProduct, ProductRow
from nightcrew.planning.model import PlannedProduct
from nightcrew.quality.camera_numbers import central_region, dark_current, dark_level
from nightcrew.quality.grid import block_medians
from nightcrew.quality.statistics import pixel_noise
from nightcrew.tools.darkline import fit_dark_line
from tasks.context import UnitContext
from tasks.frames_in import Look
from tasks.gathering import Stack, gather, sources
from tasks.images_out import fact_cards, write_image
from tasks.masters import science, where


def make_thermal(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """The rate plane of a cluster of darks; see the module's text."""
    bias = read_image_product(context.file(context.product(_one(planned, "bias_master")), "image"))
    rows = [context.product(i.fingerprint) for i in planned.inputs if i.role == "dark_master"]
    stack = gather(planned, "thermal")
    numerator = np.zeros(bias.science.shape, np.float64)
    variance = np.zeros(bias.science.shape, np.float64)
    norm, bias_weight = 0.0, 0.0
    offset_s = _offset_s(context, planned, rows, float(np.nanmedian(bias.science)))
    for row in rows:
        dark, t = read_image_product(context.file(row, "image")), float(row.facts["exposure_s"]) + offset_s
        kept = row.facts.get("bias") == "kept"
        numerator += t * (dark.science - (bias.science if kept else 0.0))
        variance += (t * _known(dark.uncertainty)) ** 2
        bias_weight += t if kept else 0.0
        norm += t * t
    for exposure_s, level, error_adu in _thermal_levels(context, stack, bias.science):
        t = exposure_s + offset_s
        numerator += t * (level - bias.science)
        variance += (t * error_adu) ** 2
        bias_weight += t
        norm += t * t
    if norm <= 0:
        raise RejectedInput("no dark with an exposure time above 0")
    rate = (numerator / norm).astype(np.float32)
    error = (np.sqrt(variance + (bias_weight * _known(bias.uncertainty)) ** 2) / norm).astype(np.float32)
    mask = np.where(np.isfinite(rate), 0, int(PixelFlag.NO_DATA)).astype(np.uint16)
    median = float(np.nanmedian(rate))
    cards = [*fact_cards(planned.facts), ("NCOFFSET", offset_s, "[s] a dark of t s is this rate x (t + offset)")]
    file = write_image(context, planned, science=rate, uncertainty=error, mask=mask, unit="adu / s", cards=cards)
    measured = _dark_rate(context, planned, rows, float(np.nanmedian(central_region(rate))))
    metrics = {
        "level_adu": median,
        "noise_adu": None,
        "n_frames": len(rows) + len(stack.frames),
        "grid": block_medians(rate),
        "offset_s": offset_s,
    }
    used = sum(int(row.metrics["n_frames"]) for row in rows) + len(stack.frames)
    certificate = certify(used=used, minimum=int(planned.parameters["minimum"]), noise_adu=None, expected_noise_adu=None)
    return NewProduct(
        files=(file,),
        metrics=metrics,
        grade=planned.grade,
        grade_reasons=planned.grade_reasons,
        certified=certificate.passed,
        certification=certificate.reason,
        left_out=stack.left_out,
        measurements=(measured,),
    )


def _thermal_levels(
    context: UnitContext, stack: Stack, bias: NDArray[np.float32]
) -> Iterator[tuple[float, NDArray[np.float32], NDArray[np.float32] | float]]:
    """(exposure, median, its error) of the frames of each exposure: a median, so that no cosmic ray enters the rate."""
    together: dict[float, list[tuple[Look, FrameRow]]] = defaultdict(list)
    for seen, frame in zip(stack.looks, stack.frames, strict=True):
        together[float(frame.header.exposure_s or 0.0)].append((seen, frame))
    for exposure_s, members in sorted(together.items()):
        shifts = [FrameCalibration(shift=-seen.overscan_adu) for seen, _ in members]
        files = sources([frame for _, frame in members])
        done = combine(files, method="median", per_frame=shifts, memory_bytes=context.memory_bytes, threads=context.threads)
        n, gain = len(members), members[0][1].header.gain_e_per_adu
        if n < 2 or done.uncertainty is None:  # one frame: its own scatter is all that is known of its error
            yield exposure_s, done.result, pixel_noise(done.result - bias)
        else:
            floor = 1.0 / math.sqrt(12.0 * n)
            yield exposure_s, done.result, smoothed_uncertainty(done.uncertainty, done.result, frames=n, gain_e_per_adu=gain, floor=floor)


def _dark_rate(context: UnitContext, planned: PlannedProduct, rows: Sequence[ProductRow], middle: float) -> Measurement:
    """The sensor's dark rate in the middle of the frame: the slope of the darks' levels over exposure, offset free.

    With darks of one exposure only it is the median of the rate itself, which leans on the bias.
    """
    place = {**where(planned), "region": "middle half of each side"}
    levels = [dark_level(science(context, row.fingerprint)) for row in rows if row.facts.get("bias") == "kept"]
    found = dark_current(levels, [float(row.facts["exposure_s"]) for row in rows if row.facts.get("bias") == "kept"])
    if found.value is None:
        return Measurement(quantity="dark_rate", value=middle, error=None, unit="adu/s", where=place, note=found.reason)
    return Measurement(quantity="dark_rate", value=found.value, error=found.error, unit="adu/s", where=place)


def _one(planned: PlannedProduct, role: str) -> str:
    return next(i.fingerprint for i in planned.inputs if i.role == role)


def _known(plane: NDArray[Any] | None) -> Any:
    return 0.0 if plane is None else plane


def _offset_s(context: UnitContext, planned: PlannedProduct, rows: Sequence[ProductRow], bias_level_adu: float) -> float:
    """offset / slope of the line through the darks' levels, in seconds; 0 under the exact law or with one exposure only."""
    exposures = [float(row.facts["exposure_s"]) for row in rows]
    if planned.parameters["law"] != "linear" or len(set(exposures)) < 2:
        return 0.0
    levels = [float(np.nanmedian(science(context, row.fingerprint))) for row in rows]
    kept = [row.facts.get("bias") == "kept" for row in rows]
    line = fit_dark_line(exposures, [level - (bias_level_adu if k else 0.0) for level, k in zip(levels, kept, strict=True)])
    if line.slope_adu_per_s <= 0:
        raise RejectedInput(f"the dark line falls with exposure ({line.slope_adu_per_s:.3g} ADU/s): darks cannot be scaled by it")
    return line.offset_adu / line.slope_adu_per_s
