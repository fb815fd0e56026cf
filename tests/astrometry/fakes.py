"""Solvers that are none: scripts that answer as they are told, for tests of what surrounds a plate solver."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from nightcrew.astrometry.program import Solver, find_solver
from nightcrew.astrometry.sources import Sources, brightest

SHAPE = (400, 600)
RA_DEG, DEC_DEG, SCALE = 120.0, 30.0, 2.0  # of the simulated field: middle, arcsec/px


def script(folder: Path, text: str) -> Path:
    """A program in ``folder`` that does what the shell text says (or another interpreter's, where it begins with #!)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "solve-field"
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "index-1.fits").write_bytes(b"an index file")
    return path


def answering(folder: Path, stars: Sources | None = None, **changes: Any) -> Path:
    """A solver that answers with the true plate of ``stars`` (of :func:`field`), or with one that is changed so."""
    answer(folder / "answer", field() if stars is None else stars, SHAPE, **changes)
    return script(folder, f"cp {folder}/answer/* .")


def answer(
    folder: Path,
    stars: Sources,
    shape: tuple[int, int],
    *,
    ra_deg: float = RA_DEG,
    dec_deg: float = DEC_DEG,
    scale: float = SCALE,
    ratio: float = 1.0,
    shift_px: float = 0.0,
    error_px: float = 0.0,
    odds: float = 100.0,
    distortion: float = 0.0,
    matched: int = 20,
    cards: Sequence[tuple[str, Any]] = (),
    truth: Any = None,
) -> None:
    """The files of an answer: a plate over the brightest ``stars``, wrong by ``shift_px`` on the frame or ``error_px`` in the sky.

    ``truth`` is the plate itself where it is not the simple one of RA_DEG, DEC_DEG and SCALE.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [ra_deg, dec_deg]
    wcs.wcs.crpix, wcs.wcs.cd = [(shape[1] + 1) / 2, (shape[0] + 1) / 2], [[-scale / 3600, 0.0], [0.0, scale / 3600 * ratio]]
    wcs = wcs if truth is None else truth
    few = brightest(stars, matched)
    x, y = few.x + 1.0, few.y + 1.0
    ra, dec = wcs.all_pix2world(x, y, 1)
    found = {"field_x": x + shift_px, "field_y": y, "index_ra": ra, "index_dec": dec + error_px * scale / 3600}
    Table(found).write(folder / "stars.corr", format="fits", overwrite=True)
    Table({"LOGODDS": [odds]}).write(folder / "stars.match", format="fits", overwrite=True)
    header = wcs.to_header()
    if distortion:
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header["A_ORDER"], header["A_2_0"], header["B_ORDER"], header["B_2_0"] = 2, distortion, 2, 0.0
    for key, value in cards:
        header[key] = value
    fits.PrimaryHDU(header=header).writeto(folder / "stars.wcs", overwrite=True)


def solver(folder: Path, *, time_box_s: float = 20.0) -> Solver:
    """The solver in ``folder``."""
    return find_solver(str(folder / "solve-field"), folder, time_box_s)


def field(seed: int = 1, number: int = 40) -> Sources:
    """Stars scattered over a field of SHAPE."""
    rng = np.random.default_rng(seed)
    flux: NDArray[np.float64] = rng.uniform(100.0, 10_000.0, number)
    return Sources(rng.uniform(5, SHAPE[1] - 5, number), rng.uniform(5, SHAPE[0] - 5, number), flux)
