"""Grades of photon tables, by the share that is missing, and of solutions, by how many of the pixels that could have one do have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid.flat_solution import FlatSolution
from nightcrew.mkid.wavelength_solution import WavelengthSolution

SHARES = (("A", 0.7), ("B", 0.4), ("C", 0.1))
"""Grade, and the share of the pixels from which on it is given; D below the last."""
NOT_FITTED = ("beammap.noDacTone", "beammap.failed", "beammap.double", "beammap.duplicatePixel", "beammap.noResonator")
"""Pixels that the beam map rules out."""

LOST = (("D", 0.5), ("C", 0.1), ("B", 0.01))
"""Grade of a table, and the share of it that is lost or missing from which on it is given."""
FEW = 1000
"""Photons without a place that mean nothing: a short dark of a few noisy channels."""
WHOLE = 0.97
"""Share of the pixels with a solution below which the share is told, whatever the grade."""

Grade = tuple[str, tuple[str, ...]]


def table_grade(report: Mapping[str, Any]) -> Grade:
    """Grade of a table by its report, with everything that is to be said where it is not A.

    What counts is the share that is lost or missing: time without frames with the loss of the worst board, or with the share of the pixels
    whose board sent nothing, or photons that were not understood.  The slightest missing time makes a B, and so does a single pixel that
    was not read out, or of which that cannot be told.  More photons without a place than with one are D: the beam map is of another array.
    """
    words = report.get("words", {})
    photons, unmapped = int(words.get("photons", 0)), int(words.get("unmapped", 0))
    unused = sum(int(words.get(kind, 0)) for kind in ("unknown", "orphan", "misdated", "repeated"))
    unheard, untold = int(report.get("unheard_pixels", 0)), int(report.get("untold_pixels", 0))
    worst = max(_worst_board(report), min(unheard / max(int(report.get("placed_pixels", unheard)), 1), 1.0))
    missing = _missing(report)
    share = max(missing + worst - missing * worst, unused / max(photons + unused, 1))
    grade = next((grade for grade, least in LOST if share > least or (share == least and grade != "B")), "A")
    if grade == "A" and (report.get("missing_seconds") or report.get("gaps_us") or unheard or untold):
        grade = "B"
    reasons = tuple(report.get("sentences", [])) if grade != "A" else ()
    if not reasons and (unheard or untold):
        reasons = (f"{unheard} pixels were not read out, and of {untold} that cannot be told",)
    if unmapped > max(photons, FEW):  # every array has channels without a place; so many mean the map of another one
        told = f"{unmapped} photons are of channels without a place and only {photons} of pixels: is the beam map of this array?"
        return "D", (told, *report.get("sentences", []))
    return grade, reasons


def _missing(report: Mapping[str, Any]) -> float:
    """Share of the time in which no board sent a frame; 0 where the window is not known."""
    window, gaps = report.get("window_us"), report.get("gaps_us")
    if not window:
        return 0.0
    missing_us = len(report.get("missing_seconds", [])) * 1_000_000 if gaps is None else sum(stop - start for start, stop in gaps)
    return min(float(missing_us) / max(int(window[1]) - int(window[0]), 1), 1.0)


def _worst_board(report: Mapping[str, Any]) -> float:
    """Share of its frames that the worst board lost; from the mean number of frames of a board where each one's is not known."""
    words = report.get("words", {})
    known = [float(one["share_lost"]) for one in (report.get("boards") or {}).values()]
    if known:
        return max(known)
    lost = [int(count) for count in words.get("lost_frames", {}).values()]
    each = int(words.get("frames", 0)) / max(len(lost), 1)
    return max((count / max(count + each, 1.0) for count in lost), default=0.0)


def grade_of_share(share: float) -> str:
    """A, B, C or D."""
    return next((grade for grade, least in SHARES if share >= least), "D")


def wavelength_grade(solution: WavelengthSolution, flag: NDArray[np.uint32]) -> Grade:
    """Grade and its reasons; ``flag`` [y, x] is that of a laser's table, whose beam map says which pixels could be solved."""
    able = (flag & f.bits(NOT_FITTED)) == 0
    return _grade(int((solution.solved & able).sum()), int(able.sum()), "have a wavelength solution", "the beam map places")


def flat_grade(flat: FlatSolution, solution: WavelengthSolution) -> Grade:
    """Grade and its reasons; the pixels that ``solution`` solved could have a weight."""
    able = solution.solved
    good = able & ((flat.flag & f.bits(("flatcal.bad",))) == 0)
    return _grade(int(good.sum()), int(able.sum()), "have flat-field weights", "have wavelengths")


def _grade(number: int, able: int, what: str, those: str) -> Grade:
    share = number / able if able else 0.0
    grade = grade_of_share(share)
    return grade, () if share >= WHOLE else (f"{number} of the {able} pixels that {those} {what} ({100 * share:.0f} %)",)
