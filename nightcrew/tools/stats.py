"""Statistics of pixels: one written definition each, accumulated in float64 (integers exactly), NaN is a pixel that is not there.

With x_1 <= ... <= x_n the good pixels (finite, not flagged):

=============  =====================================================================================================
``num``        n
``bad``        pixels of the box that are NaN, infinite or flagged
``sum``        sum x, exact for integers
``mean``       sum / n (``average`` is the same)
``median``     middle value, or the mean of the two middle values
``mode``       integers, and floats that repeat (at most n/2 distinct values): the most frequent value, the smallest of equals;
               other floats: the half-sample mode (Bickel & Fruehwirth 2006, doi:10.1016/j.csda.2005.07.011)
``std, var``   about the mean, divided by n
``rms``        root mean square, sqrt(sum x^2 / n).  GODO's ``rms`` is our ``std``
``mad``        median of |x - median|; ``madstd`` is 1.482602 times that, the sigma of a Gaussian
``min, max``   smallest and largest
``q0.25``      quantile, linear interpolation at rank q (n - 1), as ``numpy.quantile``; ``p25`` is the same in percent
=============  =====================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused

Array = NDArray[Any]
Number = int | float | None

PLAIN = ("num", "bad", "sum", "mean", "median", "mode", "std", "var", "rms", "mad", "madstd", "min", "max")
ALIASES = {"average": "mean", "number": "num", "count": "num", "nan": "bad", "stddev": "std", "variance": "var"}
MAD_TO_SIGMA = 1.4826022185056018
_SORTED = ("median", "mode", "mad", "madstd")


def parse_names(text: str) -> tuple[str, ...]:
    """The statistics of a comma list, aliases resolved; :class:`Refused` names the one that does not exist."""
    names = [word.strip().lower() for word in text.replace(",", " ").split()]
    if not names:
        raise Refused("no statistic is named: choose from " + ", ".join(PLAIN) + ", q0.25, p25")
    return tuple(_checked(ALIASES.get(name, name)) for name in names)


def statistics(pixels: Array, names: Sequence[str], flagged: Array | None = None) -> dict[str, Number]:
    """The statistics ``names`` of ``pixels`` (any shape); pixels where ``flagged`` is not 0 are left out.

    Without any good pixel everything but ``num`` and ``bad`` is ``None``.
    """
    good = good_pixels(pixels, flagged)
    ordered = np.sort(good) if any(name in _SORTED or name[0] in "qp" for name in names) else None
    cache: dict[str, Number] = {"num": int(good.size), "bad": int(pixels.size - good.size)}
    for name in names:
        if name not in cache:
            cache[name] = _one(name, good, ordered) if good.size else None
    return {name: cache[name] for name in names}


def good_pixels(pixels: Array, flagged: Array | None = None) -> Array:
    """The finite pixels whose flag is 0, as one row."""
    flat = np.ravel(pixels)
    keep = None if flagged is None else np.ravel(flagged) == 0
    if flat.dtype.kind == "f":
        finite = np.isfinite(flat)
        keep = finite if keep is None else keep & finite
    return flat if keep is None or keep.all() else flat[keep]


def median_of_sorted(ordered: Array) -> float:
    """Median of sorted numbers, the two middle ones averaged in float64."""
    return quantile_of_sorted(ordered, 0.5)


def quantile_of_sorted(ordered: Array, q: float) -> float:
    """Quantile ``q`` of sorted numbers by linear interpolation at rank q (n - 1)."""
    rank = q * (ordered.size - 1)
    low = math.floor(rank)
    high = min(low + 1, ordered.size - 1)
    below, above = float(ordered[low]), float(ordered[high])
    return below + (above - below) * (rank - low)


def mode_of_sorted(ordered: Array) -> float | int:
    """Mode of sorted numbers: the most frequent value where values repeat, else the half-sample mode."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    if ordered.dtype.kind == "f" and 2 * starts.size > ordered.size:
        return half_sample_mode(ordered)
    lengths = np.diff(np.append(starts, ordered.size))
    value: float | int = ordered[starts[np.argmax(lengths)]].item()
    return value


def half_sample_mode(ordered: Array) -> float:
    """Half-sample mode of sorted numbers: halve to the densest half until three or fewer are left (Bickel & Fruehwirth 2006)."""
    part = ordered.astype(np.float64)
    while part.size > 3:
        half = -(-part.size // 2)
        first = int(np.argmin(part[half - 1 :] - part[: part.size - half + 1]))
        part = part[first : first + half]
    if part.size == 3:
        left, right = part[1] - part[0], part[2] - part[1]
        if left == right:
            return float(part[1])
        part = part[:2] if left < right else part[1:]
    return float(part.mean())


def _checked(name: str) -> str:
    if name in PLAIN:
        return name
    try:
        fraction = _fraction(name)
    except ValueError:
        fraction = math.nan
    if not 0 <= fraction <= 1:
        raise Refused(f"there is no statistic '{name}': choose from {', '.join(PLAIN)}, q0.25 (quantile) or p25 (percentile)")
    return name


def _fraction(name: str) -> float:
    number = float(name[1:])
    if name[0] not in "qp":
        raise ValueError(name)
    return number if name[0] == "q" else number / 100


def _one(name: str, good: Array, ordered: Array | None) -> Number:
    """One statistic of at least one good pixel; ``ordered`` is there when order matters."""
    if name in ("min", "max"):
        extreme: int | float = (good.min() if name == "min" else good.max()).item()
        return extreme
    if name in ("sum", "mean"):
        total = _total(good)
        return total if name == "sum" else total / good.size
    if name in ("std", "var", "rms"):
        return _spread(name, good)
    assert ordered is not None  # noqa: S101  made whenever one of the following is asked for; tells the type checker
    if name == "mode":
        return mode_of_sorted(ordered)
    if name in ("mad", "madstd"):
        deviations = np.sort(np.abs(ordered.astype(np.float64) - median_of_sorted(ordered)))
        return median_of_sorted(deviations) * (MAD_TO_SIGMA if name == "madstd" else 1.0)
    return median_of_sorted(ordered) if name == "median" else quantile_of_sorted(ordered, _fraction(name))


def _total(good: Array) -> int | float:
    if good.dtype.kind == "f":
        return float(good.sum(dtype=np.float64))
    if good.itemsize < 8:
        return int(good.sum(dtype=np.int64))  # 2^31 pixels of 32 bits fit
    return _wide_total(good)


def _wide_total(good: Array) -> int:
    """Exact sum of 64-bit integers: the upper and lower halves apart."""
    upper, lower = int((good >> 32).sum(dtype=np.int64)), int((good & 0xFFFFFFFF).sum(dtype=np.uint64))
    return (upper << 32) + lower


def _spread(name: str, good: Array) -> float:
    about = 0.0 if name == "rms" else float(_total(good) / good.size)
    deviations = good.astype(np.float64)
    deviations -= about
    mean_square = float(np.dot(deviations, deviations)) / good.size
    if name == "rms":
        return math.sqrt(mean_square)
    # the mean is rounded: take out what that leaves (Chan, Golub & LeVeque 1983, doi:10.1080/00031305.1983.10483115)
    variance = max(mean_square - float(deviations.mean()) ** 2, 0.0)
    return math.sqrt(variance) if name == "std" else variance
