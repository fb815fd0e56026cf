"""Real frames of a camera: combined and fitted as astropy and numpy would, only faster."""

from __future__ import annotations

import re

import numpy as np
from astropy.io import fits

from nightcrew.calibration.combine import combine
from nightcrew.calibration.methods import SigmaClip
from nightcrew.calibration.pixel_fits import fit_pixels, line
from nightcrew.calibration.sources import ArraySource
from tests import realdata
from tests.calibration import reference

WINDOW = (500, 560, 400, 430)


def test_median_of_compressed_biases_is_numpys() -> None:
    paths = sorted(realdata.folder("ccd_stl1001").glob("biases-Neg5*"))
    frames = [fits.getdata(path) for path in paths]
    got = combine(paths, memory_bytes=1 << 20)
    np.testing.assert_array_equal(got.result, np.median(np.stack(frames), axis=0).astype(np.float32))
    assert got.count is not None
    assert (got.count == 3).all()


def test_sigma_clip_of_darks_is_the_definition() -> None:
    paths = sorted(realdata.folder("ccd_stl1001").glob("darks-*"))
    got = combine([ArraySource(data=path, window=WINDOW) for path in paths], method="mean", clip=SigmaClip(low=2.5, high=2.5))
    x0, x1, y0, y1 = WINDOW
    frames = [fits.getdata(path)[y0:y1, x0:x1].astype(float) for path in paths]
    want = reference.combine(frames, "mean", SigmaClip(low=2.5, high=2.5))
    np.testing.assert_array_equal(got.count, want["count"])
    np.testing.assert_allclose(got.result, want["result"], rtol=2.0**-22)


def test_dark_current_from_a_line_through_the_exposures() -> None:
    """0.341 ADU/s at -5 C and 0.168 at -10 C in the central 600 x 600 pixels, to 3 %."""
    for temperature, truth in (("Neg5", 0.341), ("Neg10", 0.168)):
        paths = sorted(realdata.folder("ccd_stl1001").glob(f"darks-expos*s-{temperature}*"))
        exposures = [float(re.findall(r"expos(\d+)s", path.name)[0]) for path in paths]
        got = fit_pixels([ArraySource(data=path, window=(212, 812, 212, 812)) for path in paths], line(exposures))
        assert abs(float(np.median(got.coefficients[1])) / truth - 1) < 0.03
