"""What is asked of a combination, in GODO's words, and what that means to the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nightcrew.calibration.methods import Clip, DropExtremes, SigmaClip
from nightcrew.calibration.normalisation import STATISTICS
from nightcrew.calibration.weights import Weights
from nightcrew.errors import Refused
from nightcrew.tools.boxes import Box
from nightcrew.tools.combined_header import Method

_BASIC = ("average", "mean", "median", "quantile", "percentile", "min", "max", "sum", "std", "rms", "var", "root_mean_square")
METHODS = (*_BASIC, "sigclip", "sigclipmedian")
CLIPS = ("none", "min", "max", "minmax", "sigma")
PLANES = ("result", "uncertainty", "count", "mask")
_MOST_BITS = 63
_WEIGHTS = {"mean": "mean", "median": "median", "sum": "sum", "exposure": "exposure", "ivar": "inverse_variance"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked for, in GODO's words.

    ``argument``: for ``quantile`` a fraction, for ``percentile`` a number up to 100, for ``average`` the weights (mean, median, sum,
    exposure, ivar, or a comma list of numbers).  ``drop``: how many values ``clip`` leaves out (``lowest,highest`` for minmax), or
    the sigmas (nothing: 3).  ``box`` bounds the pixels by which frames are normalised; ``additive`` shifts levels instead of scaling them.
    """

    method: str = "median"
    argument: str = ""
    normalisation: str = "none"
    additive: bool = False
    box: Box | None = None
    clip: str = "none"
    drop: str = ""
    bit_shift: int = 0
    unit_mean: bool = False
    reduce: bool = False
    planes: tuple[str, ...] = ("result",)
    dtype: str = ""
    extension: int | str | None = None
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Job:
    """The request in the engine's words."""

    method: str
    quantile: float | None
    weights: Weights | None
    clip: Clip | None
    record: Method


def parsed(request: Request) -> Job:
    """Check ``request`` and put it into the engine's words; :class:`Refused` names what means nothing."""
    if request.method not in METHODS:
        raise Refused(f"there is no method '{request.method}': choose from {', '.join(METHODS)}")
    if request.normalisation not in ("none", *STATISTICS):
        raise Refused(f"frames cannot be normalised by '{request.normalisation}': choose from none, {', '.join(STATISTICS)}")
    if request.normalisation == "none" and (request.box is not None or request.additive):
        raise Refused("a box and --additive say how frames are normalised: choose by what with -n")
    if abs(request.bit_shift) > _MOST_BITS:
        raise Refused(f"frames cannot be shifted by {request.bit_shift} bits: {_MOST_BITS} at most, either way")
    if unknown := [name for name in request.planes if name not in PLANES]:
        raise Refused(f"there is no plane '{unknown[0]}': choose from {', '.join(PLANES)}, or all")
    method, quantile, weights = _method(request)
    clip, told = _clip(request)
    record = Method(
        name=request.method,
        argument=request.argument,
        clip=told[0],
        clip_argument=told[1],
        normalisation=request.normalisation,
        bit_shift=request.bit_shift,
    )
    return Job(method, quantile, weights, clip, record)


def _method(request: Request) -> tuple[str, float | None, Weights | None]:
    """The engine's method, its quantile and the weights."""
    argument = request.argument.strip()
    if request.method in ("quantile", "percentile"):
        try:
            number = float(argument or ("0.5" if request.method == "quantile" else "50"))
        except ValueError as error:
            raise Refused(f"'{argument}' is no number for -a: the {request.method} is one") from error
        return "quantile", number / (100 if request.method == "percentile" else 1), None
    if request.method == "average" and argument:
        if argument in _WEIGHTS:
            return "mean", None, _WEIGHTS[argument]
        weights = _finite(argument)
        if not weights:
            raise Refused(f"'{argument}' is no weight: choose from {', '.join(_WEIGHTS)}, or give a number for each frame")
        return "mean", None, weights
    if argument:
        hint = "; weights go with -m average" if request.method in ("mean", "sigclip") else ""
        raise Refused(f"the method {request.method} takes no argument, but -a {argument} was given{hint}")
    return {"average": "mean", "sigclip": "mean", "sigclipmedian": "median"}.get(request.method, request.method), None, None


def _clip(request: Request) -> tuple[Clip | None, tuple[str, str]]:
    """The engine's clip, and its name and argument for the record."""
    if request.clip not in CLIPS:
        raise Refused(f"there is no clip '{request.clip}': choose from {', '.join(CLIPS)}")
    by_method = request.method.startswith("sigclip")
    if by_method and request.clip not in ("none", "sigma"):
        raise Refused(f"the method {request.method} clips by sigma: leave out -c {request.clip}")
    wanted = "sigma" if by_method else request.clip
    if wanted == "none":
        if request.drop.strip() not in ("", "0"):
            raise Refused(f"-d {request.drop} leaves out nothing by itself: choose by what with -c min, max, minmax or sigma")
        return None, ("none", "")
    if wanted != "sigma" and not request.drop.strip():
        raise Refused(f"-c {wanted} needs the number of values to leave out at each pixel: -d 1")
    numbers = _numbers(request.drop or "0", whole=wanted != "sigma")
    if wanted == "sigma":
        low, high = numbers if any(numbers) else (3.0, 3.0)
        return SigmaClip(low=low, high=high), ("sigma", f"{low:g},{high:g}")
    low, high = (int(number) for number in numbers)
    if wanted != "minmax":
        low, high = (low, 0) if wanted == "min" else (0, high)
    if low == high == 0:
        return None, ("none", "")
    return DropExtremes(low=low, high=high), (wanted, f"{low},{high}" if wanted == "minmax" else str(low or high))


def _finite(text: str) -> list[float]:
    """The numbers of a comma list, none when one of them is no finite number."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        return []
    return values if all(math.isfinite(value) for value in values) else []


def _numbers(text: str, *, whole: bool) -> tuple[float, float]:
    """One number for both ends, or two."""
    values = _finite(text)
    if len(values) not in (1, 2) or any(value < 0 or (whole and value != int(value)) for value in values):
        raise Refused(f"'{text}' is nothing to clip by: -d takes {'a whole number' if whole else 'a number of sigmas'}, or two as low,high")
    return values[0], values[-1]
