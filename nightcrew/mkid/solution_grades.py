"""Grades of photon tables, by what is missing, and of solutions, by how many of the pixels that could have one do have one."""

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

LOST = 0.01
"""Share of the frames or photons that are lost, from which a table is worth less."""

Grade = tuple[str, tuple[str, ...]]


def table_grade(report: Mapping[str, Any]) -> Grade:
    """B, with everything that is to be said, where time is missing or more than a hundredth was lost or not understood; from its report."""
    words = report.get("words", {})
    photons, frames = int(words.get("photons", 0)), int(words.get("frames", 0))
    unused = sum(int(words.get(kind, 0)) for kind in ("unknown", "orphan", "misdated", "repeated"))
    poor = (
        bool(report.get("missing_seconds") or report.get("gaps_us"))
        or sum(words.get("lost_frames", {}).values()) > LOST * max(frames, 1)
        or unused > LOST * max(photons + unused, 1)
        or int(words.get("unmapped", 0)) > photons  # every array has channels without a place; so many mean the map of another one
    )
    return ("B", tuple(report.get("sentences", []))) if poor else ("A", ())


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
    return grade, () if grade == "A" else (f"{number} of the {able} pixels that {those} {what} ({100 * share:.0f} %)",)
