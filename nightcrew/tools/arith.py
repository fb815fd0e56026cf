"""Image arithmetic on arrays: exact for integers, float64 inside for everything else, and no value that wraps or shrinks unseen.

=========  =======================================================================================================
operands   result
=========  =======================================================================================================
integers   ``+ - x``: exact, in the first of the left image's type, int16, uint16, int32, uint32, int64 that holds whatever
           the *types* allow (uint16 - uint16 is int32, whatever the pixels are), so that all images of a list come out alike
floats     computed in float64, given as float32; as float64 when an image of float64 or of 32- or 64-bit integers takes part
``/``      as floats, integers too; a division by zero is NaN and is counted
``=``      the constant, or the other image with its own type
=========  =======================================================================================================

Uncertainties (1 sigma, independent unless both sides are the same file) follow the derivatives; masks are joined by "or".
Pixels without a value (BLANK, ``NO_DATA`` in the mask) are NaN in floats; in integers they are flagged only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag

Array = NDArray[Any]

_LARGEST = float(np.finfo(np.float64).max)
OPERATORS = ("+", "-", "x", "/", "=")
DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
_CANDIDATES = tuple(np.dtype(name) for name in ("int16", "uint16", "int32", "uint32", "int64", "uint64"))


@dataclass(frozen=True, slots=True)
class Operand:
    """Pixels ``[y, x]`` or ``[z, y, x]`` with their uncertainty (1 sigma) and mask (:class:`PixelFlag` bits), when there are any."""

    pixels: Array
    uncertainty: Array | None = None
    mask: Array | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one operation and what a person should know about it."""

    operand: Operand
    notes: tuple[str, ...] = ()


def operator_of(text: str) -> str:
    """``text`` as one of :data:`OPERATORS` (``*`` is ``x``); :class:`Refused` otherwise."""
    name = {"*": "x", "X": "x"}.get(text.strip(), text.strip())
    if name not in OPERATORS:
        raise Refused(f"'{text}' is no operator: choose from + - x / =")
    return name


def number_operand(text: str) -> int | float | None:
    """The number that ``text`` is (int before float), ``None`` when it is none and so names files.

    :class:`Refused` for NaN and infinity, which would leave nothing of an image.
    """
    for kind in (int, float):
        try:
            value: int | float = kind(text)
        except ValueError:
            continue
        if not abs(value) <= _LARGEST:  # NaN too
            raise Refused(f"'{text}' is no finite number")
        return value
    return None


def operate(left: Operand, operator: str, right: Operand | float, *, dtype: str = "", same: bool = False) -> Answer:
    """``left operator right``; an image ``[y, x]`` on the right is applied to every plane of a cube.

    ``dtype`` "" follows the table of this module; integers asked for by name are rounded to nearest.  ``same`` says that both sides
    are one and the same measurement, whose errors are fully correlated.  :class:`RejectedInput` for unlike shapes and for values
    that the result's type cannot hold.
    """
    if isinstance(right, Operand):
        right = _fitted(right, left.pixels.shape)
    pixels, notes = _pixels(left.pixels, operator, right.pixels if isinstance(right, Operand) else right, dtype)
    uncertainty = _uncertainty(left, operator, right, same=same)
    mask = _joined_mask(left, operator, right)
    if (mask is not None or uncertainty is not None) and pixels.dtype.kind == "f":
        mask = np.zeros(pixels.shape, np.uint16) if mask is None else mask
        pixels[(mask & np.uint16(PixelFlag.NO_DATA)) != 0] = np.nan  # what came from BLANK is no number
        mask = mask | np.where(np.isfinite(pixels), 0, int(PixelFlag.NO_DATA)).astype(np.uint16)
    return Answer(Operand(pixels, uncertainty, mask), notes)


def result_type(left: np.dtype[Any], operator: str, right: np.dtype[Any] | float) -> np.dtype[Any] | None:
    """Type of ``left operator right`` by the table of this module; ``None`` when only the pixels can tell whether 64 bits hold it."""
    if operator == "=":
        return right if isinstance(right, np.dtype) else _constant_type(left, right)
    if operator != "/" and _is_whole(left) and _is_whole(right):
        return holding(left, _interval(operator, _range(left), _range(right)))
    images = [kind for kind in (left, right) if isinstance(kind, np.dtype)]
    wide = any(kind == np.float64 or (kind.kind in "iu" and kind.itemsize > 2) for kind in images)
    return np.dtype(np.float64 if wide else np.float32)


def holding(least: np.dtype[Any], interval: tuple[int, int]) -> np.dtype[Any] | None:
    """The first integer type, not narrower than ``least``, that holds both ends of ``interval``; ``None`` when none does."""
    candidates = [least, *(kind for kind in _CANDIDATES if kind.itemsize >= least.itemsize)]
    return next((kind for kind in candidates if _range(kind)[0] <= interval[0] and interval[1] <= _range(kind)[1]), None)


def converted(pixels: Array, dtype: str) -> Array:
    """``pixels`` as ``dtype``, rounded to nearest for integers; :class:`RejectedInput` counts the values that it cannot hold."""
    if dtype not in DTYPES:
        raise Refused(f"there is no pixel type '{dtype}': choose from {', '.join(DTYPES)}")
    target = np.dtype(dtype)
    if target.kind == "f":
        return _to_float(pixels, target)
    rounded = np.rint(pixels) if pixels.dtype.kind == "f" else pixels
    low, high = _range(target)
    # NaN compares false with everything, so it is counted too; float(2^63 - 1) rounds up, hence "less than the next power"
    fits = (rounded >= low) & (rounded < float(high + 1) if pixels.dtype.kind == "f" else rounded <= high)
    outside = int(fits.size - np.count_nonzero(fits))
    if outside:
        raise RejectedInput(f"{outside} pixels do not fit {dtype} ({low} to {high}): choose a wider --dtype")
    return rounded.astype(target)


def _pixels(left: Array, operator: str, right: Array | float, dtype: str) -> tuple[Array, tuple[str, ...]]:
    kind = result_type(left.dtype, operator, right.dtype if isinstance(right, np.ndarray) else right)
    if operator == "=":
        assert kind is not None  # noqa: S101  assignment always has a type; tells the type checker
        result = np.broadcast_to(np.asarray(right, dtype=kind), left.shape).copy()
        return (converted(result, dtype) if dtype else result), ()
    if kind is None and dtype.startswith("float"):
        kind = np.dtype(np.float64)
    kind = kind or _by_pixels(left, operator, right)
    if kind.kind in "iu":
        result = _whole(left, operator, right, kind)
        return (converted(result, dtype) if dtype else result), ()
    values, zeros = _floats(left, operator, right)
    notes = (f"{zeros} pixels divided by zero are NaN",) if zeros else ()
    return (converted(values, dtype) if dtype else _to_float(values, kind)), notes


def _whole(left: Array, operator: str, right: Array | float, kind: np.dtype[Any]) -> Array:
    """Exact integer arithmetic; modulo 2^64 inside, which is right because the result is known to fit."""
    if operator == "-" and not isinstance(right, np.ndarray):
        operator, right = "+", -right  # -right fits the result's type, right itself may not
    other = right if isinstance(right, np.ndarray) else np.asarray(right, dtype=kind)
    function = {"+": np.add, "-": np.subtract, "x": np.multiply}[operator]
    result: Array = function(left, other, dtype=kind, casting="unsafe")
    return result


def _floats(left: Array, operator: str, right: Array | float) -> tuple[Array, int]:
    """The operation in float64, and how many pixels were divided by zero (NaN)."""
    with np.errstate(all="ignore"):
        if operator == "/":
            result = np.true_divide(left, right, dtype=np.float64)
            zero = np.broadcast_to(np.asarray(right) == 0, left.shape)
            result[zero] = np.nan
            return result, int(np.count_nonzero(zero))
        function = {"+": np.add, "-": np.subtract, "x": np.multiply}[operator]
        return function(left, right, dtype=np.float64), 0


def _to_float(values: Array, kind: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        result: Array = values.astype(kind)
    lost = int(np.count_nonzero(np.isinf(result) & np.isfinite(values))) if kind.itemsize < values.itemsize else 0
    if lost:
        raise RejectedInput(f"{lost} pixels are too large for {kind}: use --dtype float64")
    return result


def _by_pixels(left: Array, operator: str, right: Array | float) -> np.dtype[Any]:
    """The type for 64-bit integers, whose types promise nothing: from the smallest and largest pixel."""
    other = (int(right.min()), int(right.max())) if isinstance(right, np.ndarray) else _range(right)
    kind = holding(left.dtype, _interval(operator, (int(left.min()), int(left.max())), other))
    if kind is None:
        raise RejectedInput("the result is larger than 64-bit integers can hold: use --dtype float64")
    return kind


def _uncertainty(left: Operand, operator: str, right: Operand | float, *, same: bool) -> Array | None:
    """First-order propagation: |df/dl| s_l and |df/dr| s_r added in squares, or with their signs when the errors are the same."""
    if operator == "=":
        return right.uncertainty if isinstance(right, Operand) else None
    right_sigma = right.uncertainty if isinstance(right, Operand) else None
    if left.uncertainty is None and right_sigma is None:
        return None
    a = left.pixels.astype(np.float64)
    b = right.pixels.astype(np.float64) if isinstance(right, Operand) else np.float64(right)
    with np.errstate(all="ignore"):
        slopes: tuple[Any, Any] = {"+": (1.0, 1.0), "-": (1.0, -1.0), "x": (b, a), "/": (1 / b, -a / b**2)}[operator]
        sigmas = (left.uncertainty, right_sigma)
        parts = [np.multiply(slope, sigma, dtype=np.float64) for slope, sigma in zip(slopes, sigmas, strict=True) if sigma is not None]
        total = np.abs(sum(parts)) if same else np.sqrt(sum(part**2 for part in parts))
        result: Array = np.broadcast_to(total, left.pixels.shape).astype(np.float32)
    result[~np.isfinite(result)] = np.nan
    return result


def _joined_mask(left: Operand, operator: str, right: Operand | float) -> Array | None:
    masks = [] if operator == "=" else [left.mask]
    masks += [right.mask] if isinstance(right, Operand) else []
    present = [np.broadcast_to(mask, left.pixels.shape).astype(np.uint16) for mask in masks if mask is not None]
    return np.bitwise_or.reduce(present) if present else None


def _fitted(right: Operand, shape: Sequence[int]) -> Operand:
    """``right`` in the shape of the left image: equal, or one plane for every plane of a cube."""
    own = right.pixels.shape
    if len(own) == 3 and own[0] == 1:
        own = own[1:]
    if own != tuple(shape) and (len(shape), own) != (3, tuple(shape[-2:])):
        raise RejectedInput(f"the images differ in size: {_size(shape)} and {_size(right.pixels.shape)} pixels")

    def spread(plane: Array | None) -> Array | None:
        return None if plane is None else np.broadcast_to(plane.reshape(own), shape)

    return Operand(np.broadcast_to(right.pixels.reshape(own), shape), spread(right.uncertainty), spread(right.mask))


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in reversed(shape))


def _is_whole(kind: np.dtype[Any] | float) -> bool:
    return kind.kind in "iu" if isinstance(kind, np.dtype) else isinstance(kind, int)


def _range(kind: np.dtype[Any] | float) -> tuple[int, int]:
    """Smallest and largest value of an integer type; a number is its own range."""
    if isinstance(kind, np.dtype):
        limits = np.iinfo(kind)
        return int(limits.min), int(limits.max)
    return int(kind), int(kind)


def _interval(operator: str, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    if operator == "+":
        return left[0] + right[0], left[1] + right[1]
    if operator == "-":
        return left[0] - right[1], left[1] - right[0]
    products = [a * b for a in left for b in right]
    return min(products), max(products)


def _constant_type(left: np.dtype[Any], value: float) -> np.dtype[Any]:
    """The left image's type when it holds the constant, else the narrowest that does."""
    if isinstance(value, int):
        kind = left if left.kind == "f" else holding(left, (value, value))
        if kind is None:
            raise Refused(f"{value} does not fit 64-bit integers")
        return kind
    return left if left.kind == "f" else np.dtype(np.float32)
