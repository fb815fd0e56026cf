"""Combining files from the shell: GODO's order of operations and header record around the project's engine.

Order: bits shifted (x 2^n, exact: nothing wraps, floats too) -> each frame normalised to the first one's level -> values left
out at each pixel -> combined -> result divided by its mean.  Several cubes are combined plane by plane; with ``reduce`` all planes
of all files together.  A float32 image goes to the disk slab by slab, as it is made; what has to be seen whole (unit mean,
weights that come from the frames, cubes, float64, compressed output) is held in memory first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.combine import combine, combine_to
from nightcrew.calibration.job import FrameInfo
from nightcrew.calibration.kernels.slab import OutRows
from nightcrew.calibration.normalisation import FrameCalibration, Normalise
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import RejectedInput
from nightcrew.frames.units import unit_of_pixels
from nightcrew.frames.wcs import of_lost_axes
from nightcrew.io.cardtext import Card, format_card, kept_cards
from nightcrew.io.products import ProductWriter, write_image_product
from nightcrew.tools.arith import Operand
from nightcrew.tools.combine_inputs import Given, check_cubes, cube_factors, look, other_places, result_dtype, window_of
from nightcrew.tools.combine_request import Job, Request, parsed
from nightcrew.tools.combined_header import STALE, Method, record
from nightcrew.tools.writing import check_output, write_frame

Array = NDArray[Any]

_EXTENSIONS = {"result": ("SCI", "f4"), "uncertainty": ("UNCERT", "f4"), "mask": ("MASK", "u2"), "count": ("COUNT", "u2")}


def combine_files(paths: Sequence[Path], request: Request, out: Path, *, remark: Callable[[str], None] = lambda _: None) -> list[str]:
    """Combine ``paths`` as asked into the new file ``out`` and return a line on each frame; ``remark`` hears what is doubtful about them.

    :class:`Refused` for a request that means nothing and for frames that do not agree, :class:`RejectedInput` for files that cannot be
    used, and when no pixel of the result has a value; then nothing is left behind.
    """
    check_output(out)
    job = parsed(request)
    given = tuple(look(path, request.extension) for path in paths)
    check_cubes(given, request)
    doubts = other_places(given)
    for doubt in doubts.values():
        remark(doubt)
    task = _Task(given, job, request, result_dtype(given, request), request.reduce or all(item.n_planes == 1 for item in given), doubts)
    if task.can_stream and not out.name.endswith(".gz"):
        return _told(task.stream(out), weighted=job.weights is not None)
    made = task.in_memory()
    _save(made, out, doubts)
    return _told(made.frames, weighted=job.weights is not None)


@dataclass(frozen=True, slots=True)
class _Made:
    """Planes ``[y, x]`` or ``[z, y, x]``, the record of what was done, and the inputs; ``all_planes``: cubes' planes make one image."""

    planes: dict[str, Array]
    method: Method
    inputs: tuple[Given, ...]
    frames: tuple[FrameInfo, ...]
    weights: tuple[float, ...] | None
    all_planes: bool

    @property
    def cards(self) -> list[Card]:
        """GODO's record and the times."""
        frames = sum(item.n_planes for item in self.inputs) if self.all_planes else len(self.inputs)
        told = record([(item.path.name, item.cards) for item in self.inputs], self.method, weights=self.weights, n_frames=frames)
        return [("NCRECIPE", "frames combine", "combined of other files: no raw frame"), *told]


@dataclass(frozen=True, slots=True)
class _Task:
    """Inputs and request, checked.  ``flat``: the result is one image; ``doubts``: sentences by the keyword that frames do not agree in."""

    given: tuple[Given, ...]
    job: Job
    request: Request
    dtype: str
    flat: bool
    doubts: Mapping[str, str]

    @property
    def can_stream(self) -> bool:
        """Whether nothing about the result has to be known before its first rows are written."""
        return self.flat and self.dtype == "f4" and not self.request.unit_mean and not isinstance(self.job.weights, str)

    @property
    def names(self) -> tuple[str, ...]:
        """The planes to make, in the order of the file."""
        return tuple(name for name in _EXTENSIONS if name == "result" or name in self.request.planes)

    def stream(self, out: Path) -> tuple[FrameInfo, ...]:
        """Combine into the file, slab by slab."""
        first, any_value = self.given[0], threading.Event()
        weights = None if self.job.weights is None else tuple(float(weight) for weight in self.job.weights)
        made = _Made({}, self._record(None), self.given, (), weights if weights and len(weights) == len(self.given) else None, self.flat)
        ny, nx = first.hdu.shape[-2:]
        planes = dict(_EXTENSIONS[name] for name in self.names)
        unit = _unit(first, made.method)
        raw, cards, stale = first.raw, [*made.cards, *_told_of(self.doubts)], _stale(first, 2) | set(self.doubts)
        with ProductWriter(out, (ny, nx), unit=unit, cards=cards, source_header=raw, drop=stale, planes=planes, hashed=False) as writer:

            def sink(y0: int, rows: OutRows) -> None:
                for name in self.names:
                    writer.write_rows(_EXTENSIONS[name][0], y0, getattr(rows, name))
                if not any_value.is_set() and np.isfinite(rows.result).any():
                    any_value.set()

            infos = combine_to(sink, self._sources(None), **self._arguments(None))
            if not any_value.is_set():
                raise RejectedInput(f"no pixel of the {len(self.given)} frames combined has a value")
        return infos

    def in_memory(self) -> _Made:
        """Combine and hold the planes."""
        parts = [combine(self._sources(z), **self._arguments(z)) for z in ([None] if self.flat else range(self.given[0].n_planes))]
        planes = {name: np.stack([getattr(part, name) for part in parts]) for name in self.names}
        if self.flat:
            planes = {name: plane[0] for name, plane in planes.items()}
        if not np.isfinite(planes["result"]).any():
            raise RejectedInput(f"no pixel of the {len(self.given)} frames combined has a value")
        level = _to_unit_mean(planes) if self.request.unit_mean else None
        infos = parts[0].frames
        weighted = self.job.weights is not None and len(infos) == len(self.given)
        return _Made(planes, self._record(level), self.given, infos, tuple(info.weight for info in infos) if weighted else None, self.flat)

    def _record(self, level: float | None) -> Method:
        planes = self.given[0].n_planes
        cube = planes if self.request.reduce and len(self.given) == 1 and planes > 1 else None
        return replace(self.job.record, unit_level=level, frames_of_cube=cube)

    def _sources(self, plane: int | None) -> list[ArraySource]:
        """What is combined: images, one plane of every cube, or all planes of all."""
        if plane is not None:
            return [item.source(plane) for item in self.given]
        return [item.source(z) for item in self.given for z in (range(item.n_planes) if item.n_planes > 1 else (None,))]

    def _arguments(self, plane: int | None) -> dict[str, Any]:
        """How the engine is to do it."""
        request = self.request
        scales = [2.0**request.bit_shift] * len(self._sources(plane))
        normalise: Normalise | None = None
        if request.normalisation != "none" and plane is not None:
            scales = [scale * factor for scale, factor in zip(scales, cube_factors(self.given, request), strict=True)]
        elif request.normalisation != "none":
            normalise = Normalise(
                statistic=cast(Any, request.normalisation),  # checked by parsed()
                how="offset" if request.additive else "scale",
                reference="first",
                box=window_of(request.box, self.given[0].hdu.shape),
            )
        return {
            "method": self.job.method,
            "quantile": self.job.quantile,
            "clip": self.job.clip,
            "normalise": normalise,
            "weights": self.job.weights,
            "per_frame": [FrameCalibration(scale=scale) for scale in scales],
            "planes": self.names,
            "dtype": self.dtype,
            "threads": request.threads,
        }


def _stale(first: Given, n_axes: int) -> frozenset[str]:
    """Cards of the first input that are wrong for the result, which has ``n_axes`` axes."""
    return STALE | of_lost_axes(first.cards, n_axes)


def _told_of(doubts: Mapping[str, str]) -> list[Card]:
    """What the product says of keywords in which its frames do not agree; it does not carry them."""
    return [("HISTORY", doubt, "") for doubt in doubts.values()]


def _save(made: _Made, out: Path, doubts: Mapping[str, str]) -> None:
    """Write planes that are held in memory: SCI, then UNCERT, MASK and COUNT where they were asked for."""
    first, planes, cards = made.inputs[0], made.planes, [*made.cards, *_told_of(doubts)]
    unit = _unit(first, made.method)
    science, uncertainty, mask = planes["result"], planes.get("uncertainty"), planes.get("mask")
    extras = {"COUNT": planes["count"]} if "count" in planes else {}
    stale = _stale(first, science.ndim) | set(doubts)
    if science.ndim == 2 and science.dtype == np.float32 and not out.name.endswith(".gz"):
        raw = first.raw
        write_image_product(
            out, science=science, uncertainty=uncertainty, mask=mask, cards=cards, source_header=raw, unit=unit, extras=extras, drop=stale
        )
        return
    header = [*kept_cards(first.raw, without=stale | {card[0] for card in cards} - {"HISTORY"}), *(format_card(*card) for card in cards)]
    write_frame(out, Operand(science, uncertainty, mask), header, unit=unit, extras=extras)


def _told(infos: Sequence[FrameInfo], *, weighted: bool) -> list[str]:
    """A line for each frame: by what it was multiplied, what was added, its level and weight."""
    return [
        f"{info.name}: x {info.scale:.6g}"
        + (f" + {info.shift:.6g}" if info.shift else "")
        + (f", level {info.statistic:.6g}" if info.statistic is not None else "")
        + (f", weight {info.weight:.6g}" if weighted else "")
        for info in infos
    ]


def _unit(first: Given, method: Method) -> str:
    """The unit of the result: that of the first frame, its square for a variance, none after division by the mean."""
    unit = unit_of_pixels(str(first.cards.get("BUNIT") or "")) or "adu"
    if method.unit_level is not None:
        return ""
    if method.name != "var":
        return unit
    simple = re.fullmatch(r"[A-Za-z]+( ?[*/ ] ?[A-Za-z]+)*", unit)
    return re.sub("[A-Za-z]+", r"\g<0>2", unit) if simple else f"({unit})^2"


def _to_unit_mean(planes: dict[str, Array]) -> float:
    """Divide result and uncertainty by the result's mean, and return that."""
    result = planes["result"]
    level = float(np.mean(result[np.isfinite(result)], dtype=np.float64))
    if level == 0:
        raise RejectedInput("the mean of the result is 0, so it cannot be brought to unit mean")
    for name in ("result", "uncertainty"):
        if name in planes:
            planes[name] /= level
    return level
