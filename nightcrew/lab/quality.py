"""How far a detector model can be trusted: a grade with reasons, which every light that it serves takes over.

A: nothing against it; B: it rests on little, or on values that were not measured at the sensor; D: it does not describe its own frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.held_out import HeldOut
from nightcrew.lab.records import LabFrame
from nightcrew.lab.results import BiasMade, DarkMade
from nightcrew.ledger.rows import worst
from nightcrew.quality.statistics import sample_pixels

Judged = tuple[str, tuple[str, ...]]
FEW_TEMPERATURES = 3
CHI2 = (0.7, 1.4)  # of the median pixel: outside, the noise is not understood
BAD_CHI2 = 2.0
FAR_OFF = 0.1  # of the level of a dark: what a cell that was left out may be foretold wrongly by
MOST_LEFT_OUT = 0.1  # of the frames
MEASURED_AT_SENSOR = ("TEMP", "")


def _joined(found: Sequence[tuple[str, str]]) -> Judged:
    return worst("A", *(grade for grade, _ in found)), tuple(reason for _, reason in found)


def _chi2(chi2: NDArray[np.float32], freedom: float) -> list[tuple[str, str]]:
    """What the median pixel's reduced chi^2 says, against the one that its degrees of freedom let expect (Wilson and Hilferty 1931)."""
    values = sample_pixels(chi2)
    values = values[np.isfinite(values)]
    expected = (1 - 2 / (9 * freedom)) ** 3 if freedom >= 1 else float("nan")
    middle = float(np.median(values)) / expected if values.size else float("nan")
    if CHI2[0] <= middle <= CHI2[1]:
        return []
    if not np.isfinite(middle):
        return [("B", "too few frames to check it against their noise")]
    return [("D" if middle > BAD_CHI2 else "B", f"the median pixel's reduced chi^2 is {middle:.2g} of what noise makes")]


def _temperatures(frames: Sequence[LabFrame]) -> list[tuple[str, str]]:
    found = []
    odd = sorted({frame.temperature_from for frame in frames} - set(MEASURED_AT_SENSOR))
    if odd:
        words = {"EQTEMP": "the equipment", "FILETEMP": "file names", "name": "file names", "folder": "folders"}
        sources = " and ".join(dict.fromkeys(words.get(one, one) for one in odd))
        found.append(("B", f"temperatures of some frames are those of {sources}, not of the sensor"))
    return found


def _left_out(count: int, total: int) -> list[tuple[str, str]]:
    if count <= MOST_LEFT_OUT * total:
        return []
    return [("B", f"{count} of {total} frames do not agree with the others and were left out")]


def bias_quality(made: BiasMade) -> Judged:
    """Grade and reasons of a bias model."""
    model = made.model
    freedom = float(np.median(model.count)) - (2 if model.sloped else 1)
    found = [*_chi2(model.chi2, freedom), *_temperatures(made.frames), *_left_out(len(model.left_out), len(made.frames))]
    if not model.sloped:
        found.append(("B", f"{len(made.frames)} bias frames of one temperature: how it goes with temperature is not known"))
    elif len({round(float(frame.temperature_c or 0)) for frame in made.frames}) < FEW_TEMPERATURES:
        found.append(("B", "two temperatures do not say whether its course is straight"))
    bow = model.curvature
    if bow is not None and bow.significant and bow.largest_adu > 0.1 * model.frame_noise:
        grade = "D" if bow.largest_adu > model.frame_noise else "B"
        found.append((grade, f"its course with temperature is bent: up to {bow.largest_adu:.3g} adu off the line"))
    for row in made.left_out:
        if row.extrapolated or row.measured is None or row.predicted is None:
            continue
        if abs(row.measured - row.predicted) > model.frame_noise:
            found.append(("D", f"left out, {row.temperature_c:.1f} C was foretold {abs(row.measured - row.predicted):.3g} adu wrongly"))
    return _joined(found)


def dark_quality(made: DarkMade) -> Judged:
    """Grade and reasons of a dark model of temperature and exposure; D without one."""
    model = made.model
    if model is None:
        return "D", ("there is no model",)
    freedom = float(np.median(model.count)) - (2 if model.shape.b_error is not None else 1)
    found = [*_chi2(model.chi2, freedom), *_temperatures(made.frames), *_left_out(len(model.left_out), len(made.frames))]
    if made.bias_beyond:
        found.append(("B", made.bias_beyond))
    if model.shape.b_error is None:
        found.append(("B", "darks of one temperature: how it goes with temperature is not known"))
    if model.shape.gamma_error is None:
        found.append(("B", "darks of one exposure: whether it grows in proportion is not known"))
    wrong = [row for row in made.left_out if _foretold_wrongly(row, model.noise.read)]
    if wrong:
        row = max(wrong, key=lambda one: abs((one.measured or 0.0) - (one.predicted or 0.0)))
        where = f"{row.temperature_c:.1f} C and {row.exposure_s or 0.0:g} s"
        found.append(("D", f"left out, {where} were foretold as {row.predicted:.4g} adu and measured as {row.measured:.4g}"))
    return _joined(found)


def _foretold_wrongly(row: HeldOut, noise: float) -> bool:
    if row.extrapolated or row.measured is None or row.predicted is None:
        return False
    return abs(row.measured - row.predicted) > max(FAR_OFF * abs(row.measured), noise)
