"""Plate solving by astrometry.net's ``solve-field``: the list of stars goes in, a checked WCS or a reason in words comes out.

The program gets a table of stars, never an image or a name of ours; of headers it gets numbers only.  It runs in a folder of
its own with a time box (see :mod:`nightcrew.helpers`), first with what is known beforehand, then blind.  What it answers is
believed only after :mod:`nightcrew.astrometry.check`.
"""

from __future__ import annotations

import errno
import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from nightcrew.astrometry.check import Answer, Refusal, checked, read_answer
from nightcrew.astrometry.hints import Hint
from nightcrew.astrometry.program import Solver
from nightcrew.astrometry.sources import Sources, brightest
from nightcrew.endings import ending
from nightcrew.errors import TransientError
from nightcrew.helpers import Ended, run_boxed
from nightcrew.io.atomic import passing

LEAST_SOURCES = 6
HINTED_SHARE = 0.5  # of the time box, while a blind search is still to come
_SHARE = "half of it for the search with hints"
TIME_IS_OVER = "no solution within the time box"
"""How a reason begins when the solver used its time up: it hangs, or searches for ever; see the circuit breaker."""
_MOST_FILE_BYTES = 64_000_000
_LEAST_S = 0.2
_NEARLY = 0.95
SCRATCH_PREFIX = "nightcrew-plate-"
"""How the folders begin that the program works in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution(Answer):
    """A checked answer, ``how`` it was found (``"with hints"`` or ``"blind"``), and what that took."""

    how: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Unsolved:
    """No solution, and why, in words.  ``passing``: the time that it took is why, another one may tell more."""

    reason: str
    passing: bool = False


def solve(sources: Sources, shape: tuple[int, int], hint: Hint, solver: Solver, *, work: Path | None = None) -> Solution | Unsolved:
    """Solve an image of ``shape`` [y, x] from its ``sources``, with the hint and then blind, within the solver's time box.

    Never raises for what the program does: absent, hanging, failing or answering nonsense are reasons.  The blind search is asked
    for only when the one with hints came to its end: how busy the machine was must not decide whose answer a light gets, nor whether
    it gets one.  A blind search that the clock stopped is worth another try; one that used its processor time up is not.
    ``work`` is a folder for what is written meanwhile, the system's without.

    Raises
    ------
    TransientError
        Nothing could be asked for now: a full disk, no memory, too many open files.
    """
    stars = brightest(sources)
    if len(stars) < LEAST_SOURCES:
        return Unsolved(f"only {len(stars)} stars were found, a plate solution needs {LEAST_SOURCES}")
    began = time.monotonic()
    stages = [("with hints", hint), ("blind", hint.blind())] if hint.narrows else [("blind", hint.blind())]
    reasons: list[str] = []
    for place, (how, stage) in enumerate(stages):
        left_s = solver.time_box_s - (time.monotonic() - began)
        box_s = left_s * HINTED_SHARE if place + 1 < len(stages) else left_s
        if box_s < _LEAST_S:
            break
        found = _stage(stars, shape, stage, hint, replace(solver, time_box_s=box_s), work)
        if isinstance(found, _TimeUp) and place + 1 < len(stages):
            return Unsolved(f"{TIME_IS_OVER} of {solver.time_box_s:g} s ({_SHARE})", passing=True)
        if isinstance(found, _TimeUp) and found.searched:
            return Unsolved(f"{TIME_IS_OVER} of {solver.time_box_s:g} s (its whole processor time was used)")
        if isinstance(found, _TimeUp):
            break
        if isinstance(found, Answer):
            parts = {field.name: getattr(found, field.name) for field in fields(found)}
            return Solution(**parts, how=how, seconds=time.monotonic() - began)
        reasons.append(f"{how}: {found.reason}")
        if isinstance(found, _Broken):
            return Unsolved("; ".join(reasons))
    else:
        return Unsolved("; ".join(reasons))
    return Unsolved(f"{TIME_IS_OVER} of {solver.time_box_s:g} s", passing=True)


@dataclass(frozen=True, slots=True)
class _TimeUp:
    """The program ran out of time: ``searched`` for as long as it may, or stopped by the clock before (a busy machine, or it hung)."""

    searched: bool


class _Broken(Refusal):
    """The program did not come to its end by itself: there is no second question."""


def _stage(
    stars: Sources, shape: tuple[int, int], stage: Hint, whole: Hint, solver: Solver, work: Path | None
) -> Answer | Refusal | _TimeUp:
    """One question to the program.  Whatever the program does is a reason."""
    try:
        if work is not None:
            work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=work, ignore_cleanup_errors=True) as name:
            folder = Path(name)
            ended = _ask(stars, shape, stage, solver, folder)
            if ended.code is None:
                return _TimeUp(searched=False)
            if ended.code:
                return _Broken(f"it {ending(ended.code)}")
            answer = read_answer(folder)
            if isinstance(answer, Refusal) and ended.seconds >= _NEARLY * _cpu_s(solver):
                return _TimeUp(searched=True)  # it gave up at its own limit
    except OSError as error:
        cause = "it is being written" if error.errno == errno.ETXTBSY else passing(error)
        if cause:
            raise TransientError(f"the plate solver could not be run now ({cause})") from error
        return _Broken(f"it could not be run ({error.strerror or type(error).__name__})")
    return answer if isinstance(answer, Refusal) else checked(answer, stars, shape, stage, whole)


def write_stars(path: Path, stars: Sources) -> None:
    """The solver's list of stars as a FITS table; pixels counted from 1 as in FITS, so that its reference pixel is, too."""
    from astropy.table import Table

    Table({"X": stars.x + 1.0, "Y": stars.y + 1.0, "FLUX": np.asarray(stars.flux)}).write(path, format="fits")


def _ask(stars: Sources, shape: tuple[int, int], stage: Hint, solver: Solver, folder: Path) -> Ended:
    write_stars(folder / "stars.xyls", stars)
    cpu_s = _cpu_s(solver)
    (folder / "engine.cfg").write_text(f"cpulimit {cpu_s}\nadd_path {solver.index_folder}\nautoindex\n", encoding="utf-8")
    return run_boxed(
        arguments(solver.program, shape, stage, cpu_s),
        seconds=solver.time_box_s,
        folder=folder,
        most_file_bytes=_MOST_FILE_BYTES,
    )


def _cpu_s(solver: Solver) -> int:
    """Its own limit: then it ends by itself and says that it found nothing."""
    return max(1, int(0.8 * solver.time_box_s))


def arguments(program: str, shape: tuple[int, int], hint: Hint, cpu_s: int) -> list[str]:
    """The command: names of our own and numbers, nothing that a header wrote."""
    height, width = shape
    command = [program, "stars.xyls", "--config", "engine.cfg", "--width", str(int(width)), "--height", str(int(height))]
    command += ["--x-column", "X", "--y-column", "Y", "--sort-column", "FLUX"]
    command += ["--no-plots", "--no-remove-lines", "--uniformize", "0", "--crpix-center", "--tweak-order", "2"]
    command += ["--temp-dir", ".", "--cpulimit", str(int(cpu_s)), "--overwrite"]
    command += ["--wcs", "stars.wcs", "--corr", "stars.corr", "--match", "stars.match", "--solved", "stars.solved"]
    command += ["--rdls", "none", "--index-xyls", "none", "--new-fits", "none"]
    if hint.scale_low is not None and hint.scale_high is not None:
        command += ["--scale-units", "arcsecperpix", "--scale-low", f"{hint.scale_low:.6f}", "--scale-high", f"{hint.scale_high:.6f}"]
    if hint.ra_deg is not None and hint.dec_deg is not None:
        command += ["--ra", f"{hint.ra_deg % 360.0:.6f}", f"--dec={hint.dec_deg:.6f}", "--radius", f"{hint.radius_deg:.6f}"]
    return command
