"""Weighted linear least squares that says which coefficients the data cannot determine, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
DEPENDENT = 1e-9  # part of a unit column that is left after its projection on the others: below, it says nothing new
EXCESS_PROBABILITY = 1e-3  # chi-square less probable than this: the errors are scaled up


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Coefficients of ``y = sum of coefficient x column`` with covariance; NaN where undetermined, with the reason in ``why``.

    ``scale``: what the formal errors were multiplied by (sqrt(chi^2 / freedom) where no errors were given or the chi-square
    of those given is less probable than 1e-3, else 1).  ``notes``: what a determined coefficient holds besides its own.
    """

    names: tuple[str, ...]
    values: F8
    covariance: F8
    chi2: float
    freedom: int
    n: int
    scale: float = 1.0
    why: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """A coefficient, NaN where undetermined."""
        return float(self.values[self.names.index(name)])

    def error(self, name: str) -> float:
        """Its standard error; NaN where undetermined or where nothing tells the scatter."""
        place = self.names.index(name)
        variance = self.covariance[place, place]
        return math.sqrt(variance) if variance >= 0 else math.nan

    def predict(self, columns: Mapping[str, Sequence[float] | F8]) -> tuple[F8, F8]:
        """Fitted values and their standard errors (the confidence band); undetermined terms are left out."""
        known = [i for i, name in enumerate(self.names) if math.isfinite(self.values[i]) and name in columns]
        if not known:
            length = len(next(iter(columns.values())))
            return np.full(length, np.nan), np.full(length, np.nan)
        matrix = np.column_stack([np.asarray(columns[self.names[i]], dtype=np.float64) for i in known])
        part = self.covariance[np.ix_(known, known)]
        return matrix @ self.values[known], np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", matrix, part, matrix), 0.0))


def fit(
    columns: Mapping[str, Sequence[float] | F8],
    y: Sequence[float] | F8,
    sigma: Sequence[float] | F8 | None = None,
    *,
    least: Mapping[str, float] | None = None,
    without: Mapping[str, str] | None = None,
) -> Fit:
    """Least squares of ``y`` on ``columns``, in their order of importance; rows with a value that is not finite are left out.

    ``sigma``: standard errors of y; without, the scatter about the fit gives the errors.  A column that the ones before it
    already explain (a rate that never changes) is undetermined and taken as 0; the coefficients that then hold its part say so in
    ``notes``.  Two points fix a line without any error: the errors are then those given, or NaN.

    ``least``: part of a column's length that must be left beside the others (default: the square root of ``DEPENDENT``), for variables
    that are known only so well.  ``without``: columns that are undetermined for the reason given.
    """
    names = tuple(columns)
    table = np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in names])
    values = np.asarray(y, dtype=np.float64)
    errors = np.ones_like(values) if sigma is None else np.asarray(sigma, dtype=np.float64)
    good = np.isfinite(values) & np.all(np.isfinite(table), axis=1) & np.isfinite(errors) & (errors > 0)
    table, values, errors = table[good], values[good], errors[good]
    kept, why, notes = _independent(table, names, least or {}, without or {})
    if not kept:
        return _empty(names, why, int(good.sum()))
    weighted = table[:, kept] / errors[:, None]
    size = np.linalg.norm(weighted, axis=0)
    solution, *_ = np.linalg.lstsq(weighted / size, values / errors, rcond=None)
    coefficients = solution / size
    inverse = np.linalg.inv(weighted.T @ weighted / np.outer(size, size)) / np.outer(size, size)
    residual = (values - table[:, kept] @ coefficients) / errors
    chi2, freedom = float(residual @ residual), len(values) - len(kept)
    scale = _scale(chi2, freedom, given=sigma is not None)
    full, covariance = np.full(len(names), np.nan), np.full((len(names), len(names)), np.nan)
    full[kept] = coefficients
    covariance[np.ix_(kept, kept)] = inverse * scale**2
    return Fit(
        names=names, values=full, covariance=covariance, chi2=chi2, freedom=freedom, n=len(values), scale=scale, why=why, notes=notes
    )


def _scale(chi2: float, freedom: int, *, given: bool) -> float:
    if freedom <= 0:
        return 1.0 if given else math.nan
    if not given:
        return math.sqrt(chi2 / freedom)
    return math.sqrt(chi2 / freedom) if improbable(chi2, freedom) else 1.0


def improbable(chi2: float, freedom: int) -> bool:
    """Whether a chi-square is larger than chance allows (probability below 1e-3)."""
    from scipy.stats import chi2 as distribution

    return bool(distribution.sf(chi2, freedom) < EXCESS_PROBABILITY)


def part_left(column: F8, others: F8) -> float:
    """Part of a column's length that the ``others`` [row, column] do not explain: 0 for one that depends on them, at most 1."""
    length = float(np.linalg.norm(column))
    if length == 0:
        return 0.0
    size = np.linalg.norm(others, axis=0)
    scaled = others / np.where(size > 0, size, 1.0)
    rest = column - scaled @ np.linalg.lstsq(scaled, column, rcond=None)[0]
    return float(np.linalg.norm(rest)) / length


def _independent(
    table: F8, names: tuple[str, ...], least: Mapping[str, float], without: Mapping[str, str]
) -> tuple[list[int], dict[str, str], dict[str, str]]:
    """Columns that say something new, in order (Gram-Schmidt); reasons for the others and notes for what takes their part."""
    kept: list[int] = []
    why: dict[str, str] = {}
    notes: dict[str, str] = {}
    basis = np.empty((len(table), 0))
    for place, name in enumerate(names):
        column = table[:, place]
        length = float(np.linalg.norm(column))
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)
        left = float(np.linalg.norm(rest)) / length if length > 0 else 0.0
        if name not in without and left > least.get(name, DEPENDENT**0.5):
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            kept.append(place)
            continue
        why[name] = without.get(name) or _reason(name, column, len(table), len(kept), left, least.get(name, 0.0))
        if length > 0:
            shares = np.linalg.lstsq(table[:, kept], column, rcond=None)[0] if kept else np.empty(0)
            for other, share in zip(kept, shares, strict=True):
                if abs(share) > 1e-9 * length:
                    notes[names[other]] = f"holds {share:.6g} x {name}, which cannot be told apart"
    return kept, why, notes


def _reason(name: str, column: F8, n: int, found: int, left: float, least: float) -> str:
    if n <= found:
        return f"{name}: {n} points do not determine {found + 1} coefficients"
    if n and np.all(column == 0):
        return f"{name}: its variable is 0 in all {n} points"
    if n and float(np.ptp(column)) <= 1e-6 * float(np.max(np.abs(column))):
        return f"{name}: its variable is {float(column[0]):.6g} in all {n} points"
    if left > DEPENDENT**0.5:
        told = f"only {100 * left:.2g} % of its variable are its own in these {n} points, {100 * least:g} % are needed"
        return f"{name}: {told}"
    return f"{name}: its variable depends on the others in these {n} points"


def _empty(names: tuple[str, ...], why: Mapping[str, str], n: int) -> Fit:
    blank = np.full((len(names), len(names)), np.nan)
    return Fit(names=names, values=np.full(len(names), np.nan), covariance=blank, chi2=0.0, freedom=0, n=n, why=dict(why))


def line(x: Sequence[float] | F8, y: Sequence[float] | F8, sigma: Sequence[float] | F8 | None = None) -> Fit:
    """``y = intercept + slope x``."""
    column = np.asarray(x, dtype=np.float64)
    return fit({"intercept": np.ones_like(column), "slope": column}, y, sigma)
