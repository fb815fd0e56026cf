"""Does what a header says of the bias agree with the pixels?  The science is in ``nightcrew.quality.held_bias``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.model import FrameHeader
from nightcrew.io.headers import HeaderValue
from nightcrew.io.products import ImageProduct, read_image_product
from nightcrew.ledger.rows import FrameRow, worst
from nightcrew.lights.overscan import overscan_level, trimmed
from nightcrew.lights.reduce import Master
from nightcrew.planning.groups import BIAS_WITNESS
from nightcrew.planning.model import PlannedProduct
from nightcrew.quality.held_bias import bias_signs, is_without
from nightcrew.tools.times import number_of
from tasks.context import UnitContext
from tasks.frames_in import pixels_of

Judged = tuple[str, tuple[str, ...]]


def light_without_bias(context: UnitContext, planned: PlannedProduct, header: FrameHeader, raw: NDArray[Any]) -> Judged:
    """Grade and reasons of a light (all its pixels, ADU) whose header says that its bias was taken off."""
    grade, sentence = _told_of(header, raw, *_witness(context, planned))
    return grade, (sentence,) if sentence else ()


def without_pedestal(header: FrameHeader, cards: Mapping[str, HeaderValue], *, has_dark: bool) -> tuple[float, Judged]:
    """What a program added to a light when it took the bias off, so that nothing is cut off at 0: ADU to be added to its pixels.

    ``PEDESTAL`` is "the correction to add for a zero-based ADU" (SBFITSEXT, MaxIm DL: -100); some programs write what they added, with
    the other sign.  A raw light and its bias hold the same, and a dark of its like (``has_dark``) holds one of its own: then nothing is
    added.  Where it is not certain the grade is C.
    """
    value = number_of(cards.get("PEDESTAL"))
    if not header.bias_subtracted or not value or header.overscan is not None:
        return 0.0, ("A", ())
    if value < 0 and not has_dark:
        return value, ("A", ())
    why = "its darks may hold one, too" if value < 0 else "what a positive one means differs from program to program"
    return 0.0, ("C", (f"PEDESTAL {value:g} ADU, which stands in its level, was left in: {why}",))


def light_with_bias(header: FrameHeader, raw: NDArray[Any], pedestal: Master | None) -> Judged:
    """The same of a light whose header says nothing; ``pedestal`` is the bias, or the dark with its bias, that is taken off it."""
    frame = trimmed(raw, header.trim)
    if pedestal is None or pedestal.data.shape != frame.shape:
        return "A", ()
    told = is_without(
        frame,
        pedestal.data,
        pedestal.uncertainty,
        gain_e_per_adu=header.gain_e_per_adu,
        read_noise_adu=_read_noise_adu(header),
        zero_adu=_zero_adu(header, raw),
    )
    return ("D", (told,)) if told else ("A", ())


def frames_without_bias(context: UnitContext, planned: PlannedProduct, frames: Sequence[FrameRow]) -> Judged:
    """The same of the frames of a master: the worst grade, and the sentence of the first frame that has it."""
    without = [frame for frame in frames if frame.header.bias_subtracted]
    if not without:
        return "A", ()
    witness = _witness(context, planned)
    judged: Judged = ("A", ())
    for frame in without:
        grade, sentence = _told_of(frame.header, pixels_of(frame)[0], *witness)
        if worst(judged[0], grade) != judged[0]:
            name = frame.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace")
            judged = grade, (f"{name}: {sentence}",)
    return judged


def _told_of(header: FrameHeader, raw: NDArray[Any], bias: ImageProduct | None, noise_adu: float | None) -> tuple[str, str]:
    frame = trimmed(raw, header.trim)
    fits = bias is not None and bias.science.shape == frame.shape
    signs = bias_signs(
        frame,
        gain_e_per_adu=header.gain_e_per_adu,
        read_noise_adu=noise_adu or _read_noise_adu(header),
        bias=bias.science if fits and bias is not None else None,
        bias_uncertainty=bias.uncertainty if fits and bias is not None else None,
        zero_adu=_zero_adu(header, raw),
    )
    return ("A", "") if signs is None else signs.told_of(has_overscan=header.overscan is not None)


def _witness(context: UnitContext, planned: PlannedProduct) -> tuple[ImageProduct | None, float | None]:
    """The bias master to compare with, and the noise of one of its frames in ADU."""
    item = next((item for item in planned.inputs if item.role == BIAS_WITNESS), None)
    if item is None:
        return None, None
    row = context.product(item.fingerprint)
    return read_image_product(context.file(row, "image")), row.metrics.get("noise_adu")


def _zero_adu(header: FrameHeader, raw: NDArray[Any]) -> float:
    level = overscan_level(raw, header.overscan, header.trim, "level").level_adu
    return 0.0 if level is None else float(np.median(level))


def _read_noise_adu(header: FrameHeader) -> float | None:
    return None if header.read_noise_e is None or not header.gain_e_per_adu else header.read_noise_e / header.gain_e_per_adu
