"""Response of every pixel against temperature and exposure: F = A + B (T - T_ref) + C (t - t_ref), by least squares over master flats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightcrew.calibration.pixel_fits import Design, fit_pixels
from nightcrew.detector.stack import F4, Frame
from nightcrew.errors import RejectedInput

LEAST_SPAN_K = 1.0
LEAST_SPAN_S = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatModel:
    """Planes [y, x] of A, B (1/K), C (1/s) and their errors, which are None where the masters leave no freedom.

    B or C is None where the masters' conditions do not determine it.
    """

    a: F4
    b: F4 | None
    c: F4 | None
    a_error: F4 | None
    b_error: F4 | None
    c_error: F4 | None
    scatter: F4 | None
    reference_c: float
    reference_s: float
    temperatures_c: tuple[float, float]
    exposures_s: tuple[float, float]

    def value(self, temperature_c: float, exposure_s: float) -> F4:
        """Response [y, x]."""
        made = self.a.copy()
        if self.b is not None:
            made += self.b * np.float32(temperature_c - self.reference_c)
        if self.c is not None:
            made += self.c * np.float32(exposure_s - self.reference_s)
        return made


def fit_flat(
    frames: Sequence[Frame],
    temperatures_c: Sequence[float],
    exposures_s: Sequence[float],
    *,
    reference_c: float = 0.0,
    reference_s: float = 0.0,
    frame_sigma: Sequence[float] | None = None,
) -> FlatModel:
    """Fit master flats (files or arrays [y, x], of one filter); terms that their conditions do not determine are left out.

    RejectedInput without frames.  Errors come from the scatter about the fit, or from ``frame_sigma`` where it is given.
    """
    if not frames:
        raise RejectedInput("there is no master flat to fit")
    t, seconds = np.asarray(temperatures_c, np.float64), np.asarray(exposures_s, np.float64)
    columns, names = [np.ones_like(t)], ["a"]
    for name, values, span in (("b", t - reference_c, LEAST_SPAN_K), ("c", seconds - reference_s, LEAST_SPAN_S)):
        tried = np.column_stack([*columns, values])
        if np.ptp(values) >= span and np.linalg.matrix_rank(tried / np.maximum(np.abs(tried).max(axis=0), 1e-12)) == tried.shape[1]:
            columns.append(values)
            names.append(name)
    fit = fit_pixels(list(frames), Design(np.column_stack(columns), tuple(names)), frame_sigma=frame_sigma, threads=1)
    planes = dict(zip(names, fit.coefficients, strict=True))
    errors = dict(zip(names, fit.errors, strict=True)) if fit.errors is not None and (len(frames) > len(names) or frame_sigma) else {}
    return FlatModel(
        a=planes["a"],
        b=planes.get("b"),
        c=planes.get("c"),
        a_error=errors.get("a"),
        b_error=errors.get("b"),
        c_error=errors.get("c"),
        scatter=fit.scatter if len(frames) > len(names) else None,
        reference_c=reference_c,
        reference_s=reference_s,
        temperatures_c=(float(t.min()), float(t.max())),
        exposures_s=(float(seconds.min()), float(seconds.max())),
    )
