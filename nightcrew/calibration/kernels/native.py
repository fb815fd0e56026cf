"""The combine kernel in C: same arguments and same results as :mod:`nightcrew.calibration.kernels.fallback`."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.library import FRAME, KINDS, MAX_PLANES, POINTER, library, pointer
from nightcrew.calibration.kernels.network import comparators
from nightcrew.calibration.kernels.slab import FrameRows, OutRows, needs_frames, sort_type
from nightcrew.calibration.methods import DropExtremes, Rule, SigmaClip, error_factors

METHODS = ("mean", "median", "sum", "min", "max", "quantile", "std", "var", "root_mean_square", "weighted_mean")
METHOD_CODES = {name: i for i, name in enumerate(METHODS)}
SORT_CODES = {"i2": 0, "f4": 1, "f8": 2}
BLOCK_BYTES = 48 << 10  # of the sorted block

# mirrors task_t of source/combine.c
TASK = np.dtype(
    [
        *((name, "i4") for name in ("n_frames", "sort", "method", "clip", "iterations", "drop_low", "drop_high", "needs_moments")),
        *((name, "i4") for name in ("result_f8", "n_comparators", "n_full_comparators", "needs_frames")),
        *((name, "f8") for name in ("low2", "high2", "quantile", "base")),
        *((name, POINTER) for name in ("network", "full_network", "factors", "result", "uncertainty", "count", "mask")),
    ],
    align=True,
)


@lru_cache(maxsize=64)
def _network(n: int, wanted: frozenset[int] | None) -> NDArray[np.int32]:
    return np.array(comparators(n, wanted), dtype=np.int32).reshape(-1, 3)


def describe(frames: list[FrameRows]) -> NDArray[Any]:
    """The frames as the kernel reads them; the arrays must stay alive."""
    table = np.zeros(len(frames), FRAME)
    for row, frame in zip(table, frames, strict=True):
        order = frame.data.dtype.byteorder
        row["data"], row["mask"] = pointer(frame.data), pointer(frame.mask)
        row["sigma"], row["divide"] = pointer(frame.sigma), pointer(frame.divide)
        for i, (plane, factor) in enumerate(frame.subtract):
            row["plane"][i], row["factor"][i] = pointer(plane), factor
        row["zero"], row["scale"], row["shift"], row["saturation"] = frame.zero, frame.scale, frame.shift, frame.saturation
        row["weight"], row["kind"], row["swapped"] = frame.weight, KINDS[frame.data.dtype.str[1:]], order == ">"
        row["n_planes"], row["plain"], row["exclude"] = len(frame.subtract), frame.plain, frame.exclude
        row["weight_by_sigma"] = frame.weight_by_sigma
    return table


def can_do(frames: list[FrameRows], rule: Rule) -> bool:
    """Whether the kernel exists and covers this work."""
    return (
        rule.method in METHOD_CODES
        and not needs_frames(frames, rule)
        and all(len(frame.subtract) <= MAX_PLANES for frame in frames)
        and library() is not None
    )


def combine_rows(frames: list[FrameRows], rule: Rule, out: OutRows) -> None:
    """Combine the rows of all frames into ``out`` by ``rule``; see ``nightcrew.calibration.combine.combine``."""
    kernel = library()
    if kernel is None:
        raise RuntimeError("there is no compiled kernel")
    n, kind = len(frames), sort_type(frames, rule)
    networks = _network(n, None if out.uncertainty is not None else rule.ranks(n)), _network(n, None)
    factors = error_factors(rule, n)
    task = np.zeros((), TASK)
    task["n_frames"], task["sort"], task["method"] = n, SORT_CODES[kind], METHOD_CODES[rule.method]
    task["needs_moments"], task["quantile"] = rule.needs_moments(), rule.quantile
    _set_clip(task, rule)
    task["needs_frames"] = needs_frames(frames, rule)
    task["result_f8"] = out.result.dtype == np.float64
    task["base"] = 32768.0 if kind == "i2" and frames[0].kind == "u2" else 0.0
    task["n_comparators"], task["n_full_comparators"] = len(networks[0]), len(networks[1])
    task["network"], task["full_network"], task["factors"] = pointer(networks[0]), pointer(networks[1]), pointer(factors)
    task["result"], task["uncertainty"] = pointer(out.result), pointer(out.uncertainty)
    task["count"], task["mask"] = pointer(out.count), pointer(out.mask)
    table = describe(frames)
    size = int(kind[1]) * (2 if task["needs_frames"] else 1) + (32 if task["needs_frames"] else 0)
    stride = min(2048, max(64, BLOCK_BYTES // (n * size) // 64 * 64))
    status = kernel.combine(
        ctypes.c_void_p(pointer(table)), ctypes.c_void_p(pointer(task)), ctypes.c_long(out.result.size), ctypes.c_long(stride)
    )
    if status:
        raise MemoryError(f"no memory for a block of {n} frames")


def _set_clip(task: NDArray[Any], rule: Rule) -> None:
    if isinstance(rule.clip, SigmaClip):
        task["clip"], task["iterations"] = 1, rule.clip.iterations
        task["low2"], task["high2"] = rule.clip.low * rule.clip.low, rule.clip.high * rule.clip.high
    elif isinstance(rule.clip, DropExtremes):
        task["clip"], task["drop_low"], task["drop_high"] = 2, rule.clip.low, rule.clip.high
