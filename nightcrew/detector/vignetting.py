"""Vignetting: V(r) = 1 + k1 r^2 + k2 r^4 + k3 r^6 about a fitted centre, r = 1 at half a diagonal (the form and unit of lensfun's ``pa``).

Fitted to medians of boxes of a flat; or taken from a file of parameters (lensfun, radial polynomial, empirical table) and applied.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
BOXES = 32  # a side of the frame
_STEPS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Vignetting:
    """Coefficients of r^2, r^4, r^6 with errors; centre (y, x) in px; ``table`` of (r, V) replaces the polynomial where it is given.

    ``scatter``: of the boxes about the fit, relative.
    """

    k: tuple[float, ...] = ()
    k_error: tuple[float, ...] = ()
    centre_y: float
    centre_x: float
    half_diagonal_px: float
    scatter: float | None = None
    table: tuple[tuple[float, float], ...] = ()

    def _at(self, r2: F8) -> F8:
        if self.table:
            r, value = zip(*self.table, strict=True)
            return np.asarray(np.interp(np.sqrt(r2), r, value))
        total = np.ones_like(r2)
        for power, coefficient in enumerate(self.k, 1):
            total = total + coefficient * r2**power
        return np.asarray(total)

    def plane(self, shape: tuple[int, int]) -> F4:
        """V [y, x]; RejectedInput where it is not above 0 everywhere."""
        y = (np.arange(shape[0]) - self.centre_y)[:, None] / self.half_diagonal_px
        x = (np.arange(shape[1]) - self.centre_x)[None, :] / self.half_diagonal_px
        made: F4 = self._at(y * y + x * x).astype(np.float32)
        if not float(made.min()) > 0:
            raise RejectedInput("the vignetting is 0 or below in a part of the frame: these are no parameters for it")
        return made

    def edge(self, shape: tuple[int, int]) -> float:
        """Lowest V over highest V in the frame."""
        made = self.plane(shape)
        return float(made.min() / made.max())


def half_diagonal(shape: tuple[int, int]) -> float:
    """Half a diagonal of a frame (px)."""
    return math.hypot(*shape) / 2


def _boxes(flat: F4) -> tuple[F8, F8, F8, F8]:
    """Position (y, x; px), median and error of boxes of a flat; boxes with less than half of their pixels are left out."""
    ny, nx = flat.shape
    ys, xs = (np.linspace(0, n, min(BOXES, n // 2) + 1).astype(int) for n in (ny, nx))
    found = []
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            values = flat[y0:y1, x0:x1]
            good = values[np.isfinite(values)]
            if good.size * 2 >= values.size:
                error = 1.2533 * float(good.std()) / math.sqrt(good.size)
                found.append(((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2, float(np.median(good)), error))
    if len(found) < 12:
        raise RejectedInput("the flat has too few good pixels for a fit of its vignetting")
    y, x, value, error_ = np.array(found).T
    return y, x, value, np.maximum(error_, 1e-4 * np.median(np.abs(value)))


def fit_vignetting(flat: F4, *, terms: int = 2, free_centre: bool = True) -> Vignetting:
    """Fit a flat [y, x] (any unit): level, ``terms`` coefficients (1 to 3) and the centre; boxes far off are left out twice.

    RejectedInput when the flat has too few good pixels or no positive level.
    """
    if not 1 <= terms <= 3:
        raise Refused("a vignetting has 1 to 3 coefficients")
    shape = (int(flat.shape[0]), int(flat.shape[1]))
    unit = half_diagonal(shape)
    y, x, value, error = _boxes(flat)
    if not float(np.median(value)) > 0:
        raise RejectedInput("the flat has no positive level")
    kept = np.ones(y.size, bool)
    p = np.zeros(3 + terms)
    p[0], p[1], p[2] = float(np.max(value)), (shape[0] - 1) / 2, (shape[1] - 1) / 2
    free = np.array([True, free_centre, free_centre] + [True] * terms)
    covariance = np.zeros((p.size, p.size))
    residual = value
    for _ in range(3):
        p, covariance = _solve(p, free, y[kept], x[kept], value[kept], error[kept], unit)
        residual = value / _model(p, y, x, unit) - 1
        scatter = 1.4826 * float(np.median(np.abs(residual[kept] - np.median(residual[kept]))))
        kept = np.abs(residual) <= max(5 * scatter, 1e-6)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    return Vignetting(
        k=tuple(float(v) for v in p[3:]),
        k_error=tuple(float(v) for v in errors[3:]),
        centre_y=float(p[1]),
        centre_x=float(p[2]),
        half_diagonal_px=unit,
        scatter=float(residual[kept].std()),
    )


def _model(p: F8, y: F8, x: F8, unit: float) -> F8:
    r2 = ((y - p[1]) / unit) ** 2 + ((x - p[2]) / unit) ** 2
    return np.asarray(p[0] * (1 + sum(k * r2 ** (power + 1) for power, k in enumerate(p[3:]))))


def _solve(p: F8, free: NDArray[np.bool_], y: F8, x: F8, value: F8, error: F8, unit: float) -> tuple[F8, F8]:
    """Damped Gauss-Newton with differences for derivatives."""
    steps = np.array([1e-6 * abs(p[0]), 1e-3 * unit, 1e-3 * unit] + [1e-5] * (p.size - 3))
    damping, chi2 = 1e-3, float(np.sum(((value - _model(p, y, x, unit)) / error) ** 2))
    normal = np.eye(int(free.sum()))
    for _ in range(_STEPS):
        base = _model(p, y, x, unit)
        slopes = [(_model(p + step * np.eye(p.size)[i], y, x, unit) - base) / step for i, step in enumerate(steps) if free[i]]
        jacobian = np.column_stack(slopes) / error[:, None]
        normal = jacobian.T @ jacobian
        step = np.zeros_like(p)
        lift = damping * np.diag(np.maximum(np.diag(normal), 1e-30))
        step[free] = np.linalg.lstsq(normal + lift, jacobian.T @ ((value - base) / error), rcond=None)[0]
        step[1:3] = np.clip(step[1:3], -0.1 * unit, 0.1 * unit)
        tried = p + step
        new = float(np.sum(((value - _model(tried, y, x, unit)) / error) ** 2))
        if new <= chi2:
            done = chi2 - new < 1e-9 * max(chi2, 1)
            p, chi2, damping = tried, new, damping / 10
            if done:
                break
        else:
            damping *= 10
    full = np.zeros((p.size, p.size))
    full[np.ix_(free, free)] = np.linalg.pinv(normal) * max(1.0, chi2 / max(y.size - int(free.sum()), 1))
    return p, full


def read_vignetting(path: Path, kind: str, shape: tuple[int, int]) -> Vignetting:
    """Parameters from a JSON file.

    ``lensfun``: ``{"k1", "k2", "k3"}``; ``radial``: ``{"coefficients": [k1, k2, ...], "center_y", "center_x", "r_norm"}`` (px, the last
    three optional); ``empirical``: ``{"r": [...], "value": [...]}`` with r in half diagonals, rising.
    """
    name = shown(path)
    try:
        body: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        unit = float(body.get("r_norm", half_diagonal(shape)))
        centre = float(body.get("center_y", (shape[0] - 1) / 2)), float(body.get("center_x", (shape[1] - 1) / 2))
        if kind == "empirical":
            table = tuple((float(r), float(v)) for r, v in zip(body["r"], body["value"], strict=True))
            if len(table) < 2 or any(b[0] <= a[0] for a, b in pairwise(table)):
                raise RejectedInput(f"{name}: r must rise over at least two values")
            made = Vignetting(centre_y=centre[0], centre_x=centre[1], half_diagonal_px=unit, table=table)
        elif kind == "radial":
            made = Vignetting(
                k=tuple(float(v) for v in body["coefficients"]), centre_y=centre[0], centre_x=centre[1], half_diagonal_px=unit
            )
        elif kind == "lensfun":
            k = tuple(float(body.get(key, 0.0)) for key in ("k1", "k2", "k3"))
            if not any(key in body for key in ("k1", "k2", "k3")):
                raise RejectedInput(f"{name}: has none of k1, k2, k3")
            made = Vignetting(k=k, centre_y=centre[0], centre_x=centre[1], half_diagonal_px=unit)
        else:
            raise Refused(f"there is no kind {kind!r} of vignetting parameters")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RejectedInput(f"{name}: cannot be read as {kind} parameters of a vignetting ({error})") from error
    if unit <= 0 or not all(math.isfinite(v) for v in (*made.k, *(x for pair in made.table for x in pair), *centre, unit)):
        raise RejectedInput(f"{name}: holds values that are not usable numbers")
    made.plane(shape)
    return made
