"""Real frames through the real solver: where it, its indexes and the frames are; elsewhere skipped with the reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nightcrew.astrometry.hints import hint_of
from nightcrew.astrometry.program import NoSolverError, Solver, find_solver
from nightcrew.astrometry.solve import Solution, solve
from nightcrew.astrometry.sources import sources_of
from nightcrew.io.headers import choose_image, read_hdus
from nightcrew.io.images import read_image
from tests import realdata

BLIND = pytest.param((None, None), marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def installed() -> Solver:
    """astrometry.net, with indexes of wide fields."""
    try:
        return find_solver("solve-field", None, 60.0)
    except NoSolverError as error:
        pytest.skip(str(error))


def solved(path: Path, solver: Solver, ra_deg: float | None, dec_deg: float | None) -> Solution:
    image = read_image(path)
    hint = hint_of(choose_image(read_hdus(path)).cards, ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=5.0)
    found = solve(sources_of(image), (image.shape[0], image.shape[1]), hint, solver)
    assert isinstance(found, Solution), found
    return found


def offset_px(found: Solution, ra_deg: float, dec_deg: float, scale: float) -> float:
    east = (found.ra_deg - ra_deg) * math.cos(math.radians(dec_deg))
    return math.hypot(east, found.dec_deg - dec_deg) * 3600.0 / scale


@pytest.mark.parametrize("pointing", [(31.312, 46.769), BLIND])
def test_hat_p_32(installed: Solver, pointing: tuple[float | None, float | None]) -> None:
    """The known plate of the first frame: middle 31.2485 +46.7411 (to its last digit, 0.4 arcsec), 5.163 arcsec/px."""
    (path, *_) = sorted(realdata.folder("night_hatp32").glob("*.FITS.gz"))
    found = solved(path, installed, *pointing)
    assert offset_px(found, 31.2485, 46.7411, 5.163) < 1.0
    assert found.scale_arcsec_per_px == pytest.approx(5.163, rel=1e-3)  # one pixel over the frame's diagonal is 1.2e-3
    assert found.rms_arcsec < 5.163
    assert found.how == ("blind" if pointing[0] is None else "with hints")


@pytest.mark.parametrize("pointing", [(301.56439, 44.456875), BLIND])
def test_panoptes(installed: Solver, pointing: tuple[float | None, float | None]) -> None:
    """The published plate: middle 303.206 +46.0176, 10.294 arcsec/px with distortion; a colour camera with undersampled stars."""
    path = realdata.folder("sky") / "panoptes" / "panoptes_unsolved.fits"
    found = solved(path, installed, *pointing)
    assert offset_px(found, 303.206, 46.0176, 10.294) < 2.0  # two solutions with polynomials of their own
    assert found.scale_arcsec_per_px == pytest.approx(10.294, rel=4e-3)  # the published one differs by 2.5e-3 between middle and whole
    assert found.rms_arcsec < 10.294
