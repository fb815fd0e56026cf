"""How far a detector model can be trusted: a grade with reasons, which every light that it serves takes over; and a campaign as a whole.

A: nothing against it; B: it rests on little, on values that were not measured at the sensor, or nothing tested it; D: it does not
describe its own frames, or could not be made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.clusters import clusters
from nightcrew.detector.held_out import HeldOut
from nightcrew.lab.records import LabFrame
from nightcrew.lab.results import BiasMade, DarkMade, FlatMade, LabMade
from nightcrew.ledger.rows import worst
from nightcrew.quality.statistics import sample_pixels

Judged = tuple[str, tuple[str, ...]]
FEW_TEMPERATURES = 3
CHI2 = (0.7, 1.4)  # of the median pixel: outside, the noise is not understood
BAD_CHI2 = 2.0
FAR_OFF = 0.1  # of the level of a dark: what a cell that was left out may be foretold wrongly by
OFF = 0.02  # of the level, and ...
OFF_ERRORS = 5.0  # ... of the errors of the cell's mean: what is more than chance
OVER_NOISE = 1.5  # times the mean difference that noise makes of a temperature that was left out
MOST_LEFT_OUT = 0.1  # of the frames
MEASURED_AT_SENSOR = "TEMP"
KINDS = {"bias": "BIAS", "dark": "DARK", "flat": "FLAT", "structure": "FLAT", "degradation": "FLAT"}
"""Frames that each part of a campaign is made of."""


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
    sources = {frame.temperature_from for frame in frames}
    if "" in sources:
        found.append(("B", "of the temperatures of some frames nothing tells whether they were measured at the sensor"))
    odd = sorted(sources - {MEASURED_AT_SENSOR, ""})
    if odd:
        words = {"EQTEMP": "the equipment", "FILETEMP": "file names", "name": "file names", "folder": "folders"}
        places = " and ".join(dict.fromkeys(words.get(one, one) for one in odd))
        found.append(("B", f"temperatures of some frames are those of {places}, not of the sensor"))
    return found


def temperatures_of(frames: Sequence[LabFrame]) -> int:
    """How many clusters of temperature the frames have."""
    known = [frame.temperature_c for frame in frames if frame.temperature_c is not None]
    return len(clusters(known)) if known else 0


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
    elif temperatures_of(made.frames) < FEW_TEMPERATURES:
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
        elif row.mae is not None and row.expected is not None and row.mae > OVER_NOISE * row.expected:
            where = f"left out, pixels at {row.temperature_c:.1f} C"
            found.append(("B", f"{where} are {row.mae:.3g} adu off what was foretold in the mean, noise makes {row.expected:.3g}"))
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
    elif temperatures_of(made.frames) < FEW_TEMPERATURES:
        found.append(("B", "two temperatures do not say whether its course is that of the law"))
    if model.shape.gamma_error is None:
        found.append(("B", "darks of one exposure: whether it grows in proportion is not known"))
    return _joined(found + _foretold(made.left_out, model.noise.read))


def _foretold(rows: Sequence[HeldOut], noise: float) -> list[tuple[str, str]]:
    """What the cells that were left out say: D for one far off, B for one off by more than chance, B where most or all are missing."""
    inner = [row for row in rows if not row.extrapolated]
    known = [(row, row.measured, row.predicted) for row in inner if row.measured is not None and row.predicted is not None]
    if not known:
        return [("B", "no cell could be left out and foretold from the others: nothing tests it")]
    found = []
    if 2 * len(known) < len(inner):
        found.append(("B", f"only {len(known)} of {len(inner)} cells that were left out could be foretold from the others"))
    row, measured, predicted = max(known, key=lambda one: abs(one[1] - one[2]) / max(FAR_OFF * abs(one[1]), noise))
    grade = "D" if abs(measured - predicted) > max(FAR_OFF * abs(measured), noise) else ""
    if not grade:
        off = [one for one in known if abs(one[1] - one[2]) > max(OFF * abs(one[1]), OFF_ERRORS * (one[0].error or 0.0))]
        if off:
            grade = "B"
            row, measured, predicted = max(off, key=lambda one: abs(one[1] - one[2]) / max(abs(one[1]), 1e-9))
    if grade:
        where = f"{row.temperature_c:.1f} C and {row.exposure_s or 0.0:g} s"
        found.append((grade, f"left out, {where} were foretold as {predicted:.4g} adu and measured as {measured:.4g}"))
    return found


def flat_quality(made: FlatMade) -> Judged:
    """Grade and reasons of what was made of the flats."""
    return _joined([("B", made.unscaled)] if made.unscaled else [])


def models_quality(made: LabMade) -> dict[str, Judged]:
    """Grade and reasons of each model that was made."""
    found = {} if made.bias is None else {"bias": bias_quality(made.bias)}
    if made.dark is not None and made.dark.model is not None:
        found["dark"] = dark_quality(made.dark)
    if made.flat is not None:
        found["flat"] = flat_quality(made.flat)
    return found


def campaign_quality(made: LabMade) -> Judged:
    """The worst of the models; D for every part that has frames and could not be made of them, and where nothing was made at all."""
    models = models_quality(made)
    reasons = [f"{what} model: {reason}" for what, (_, some) in models.items() for reason in some]
    grades = [grade for grade, _ in models.values()]
    kinds = {frame.caltype for frame in made.frames}
    failed = {part: reason for part, reason in made.missing.items() if KINDS.get(part) in kinds}
    reasons += [f"no {part} result: {reason}" for part, reason in failed.items()]
    if made.dark is None and not models and made.structure is None and made.degradation is None:
        failed[""] = ""
        reasons.append("no model could be made")
    return worst("A", *grades, *("D" for _ in failed)), tuple(reasons)
