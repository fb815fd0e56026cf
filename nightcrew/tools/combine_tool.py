"""Combining files from the shell: GODO's order of operations and header record around the project's engine.

Order: bits shifted (x 2^n, exact: nothing wraps, floats too) -> each frame normalised to the first one's level -> values left
out at each pixel -> combined -> result divided by its mean.  Several cubes are combined plane by plane; with ``reduce`` all planes
of all files together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.combine import Combined, combine
from nightcrew.calibration.normalisation import FrameCalibration, Normalise, statistic_of
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.cardtext import format_card, kept_cards
from nightcrew.io.headers import Hdu, HeaderValue, choose_image, read_hdus
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from nightcrew.tools.arith import Operand
from nightcrew.tools.boxes import Box
from nightcrew.tools.combine_request import Job, Request, parsed
from nightcrew.tools.combined_header import STALE, Method, record
from nightcrew.tools.stats import good_pixels
from nightcrew.tools.writing import check_output, write_frame

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Given:
    """One input: its header, and how many planes it has."""

    path: Path
    hdu: Hdu
    cards: Mapping[str, HeaderValue]
    companions: frozenset[str]

    @property
    def n_planes(self) -> int:
        """1 for an image."""
        return int(np.prod(self.hdu.shape[:-2], dtype=np.int64)) if len(self.hdu.shape) > 2 else 1

    def source(self, plane: int | None) -> ArraySource:
        """What the engine reads."""
        mask = "MASK" if "MASK" in self.companions and plane is None else None
        sigma = "UNCERT" if "UNCERT" in self.companions and plane is None else None
        return ArraySource(data=self.path, hdu=self.hdu.index, name=self.path.name, plane=plane, mask=mask, uncertainty=sigma)


@dataclass(frozen=True, slots=True)
class Result:
    """Planes ``[y, x]`` or ``[z, y, x]``, the record of what was done, and the inputs with their weights."""

    planes: dict[str, Array]
    method: Method
    inputs: tuple[Given, ...]
    weights: tuple[float, ...] | None


def look(path: Path, extension: int | str | None) -> Given:
    """The image that ``path`` holds; further HDUs are looked at only where a product announces them."""
    first = read_hdus(path, first_only=True)
    plain = extension is None and len(first[0].shape) >= 2 and str(first[0].cards.get("EXTNAME") or "").strip() != "SCI"
    hdus = first if plain else read_hdus(path)
    try:
        hdu = choose_image(hdus, extension=extension)
    except RejectedInput as error:
        raise RejectedInput(f"{path.name}: {error}") from error
    cards = hdu.cards if hdu.index == 0 else {**hdus[0].cards, **hdu.cards}
    names = {str(h.cards.get("EXTNAME") or "").strip().upper(): h.shape for h in hdus if h.index != hdu.index}
    return Given(path, hdu, cards, frozenset(name for name in ("MASK", "UNCERT") if names.get(name) == hdu.shape))


def combine_files(paths: Sequence[Path], request: Request) -> Result:
    """Combine ``paths`` as asked.

    :class:`Refused` for a request that means nothing and for frames that do not agree, :class:`RejectedInput` for files that cannot be
    used, and when no pixel of the result has a value.
    """
    job = parsed(request)
    given = tuple(look(path, request.extension) for path in paths)
    _check_cubes(given, request)
    dtype = _dtype(given, request)
    if request.reduce or all(item.n_planes == 1 for item in given):
        made = _one(given, None, job, request, dtype)
        planes = _named(made, request)
        count = sum(item.n_planes for item in given)
    else:
        parts = [_one(given, plane, job, request, dtype) for plane in range(given[0].n_planes)]
        made = parts[0]
        planes = {name: np.stack([_named(part, request)[name] for part in parts]) for name in request.planes}
        count = len(given)
    if not np.isfinite(planes["result"]).any():
        raise RejectedInput(f"no pixel of the {len(given)} frames combined has a value")
    level = _to_unit_mean(planes) if request.unit_mean else None
    cube = count if request.reduce and len(given) == 1 and count > 1 else None
    weights = tuple(info.weight for info in made.frames) if job.weights is not None and len(made.frames) == len(given) else None
    return Result(planes, replace(job.record, unit_level=level, frames_of_cube=cube), given, weights)


def save(result: Result, out: Path) -> Path:
    """Write ``result`` with its record as a new file: SCI, then UNCERT, MASK and COUNT where they were asked for.

    An image of float32 is written by rows, so that no second copy is made of it.
    """
    check_output(out)
    first = result.inputs[0]
    cards = record([(item.path.name, item.cards) for item in result.inputs], result.method, weights=result.weights)
    planes = result.planes
    unit = _unit(first, result.method)
    extras = {"COUNT": planes["count"]} if "count" in planes else {}
    if planes["result"].ndim == 2 and planes["result"].dtype == np.float32 and not out.name.endswith(".gz"):
        write_image_product(
            out,
            science=planes["result"],
            uncertainty=planes.get("uncertainty"),
            mask=planes.get("mask"),
            cards=cards,
            source_header=first.hdu.raw,
            unit=unit,
            extras=extras,
            drop=STALE,
        )
        return out
    header = [*kept_cards(first.hdu.raw, without=STALE | {card[0] for card in cards}), *(format_card(*card) for card in cards)]
    return write_frame(out, Operand(planes["result"], planes.get("uncertainty"), planes.get("mask")), header, unit=unit, extras=extras)


def _unit(first: Given, method: Method) -> str:
    """The unit of the result: that of the first frame, its square for a variance, none after division by the mean."""
    unit = str(first.cards.get("BUNIT") or "adu").strip().lower()
    if method.unit_level is not None:
        return ""
    return f"{unit}2" if method.name == "var" else unit


def _check_cubes(given: Sequence[Given], request: Request) -> None:
    counts = {item.n_planes for item in given}
    if len(counts) > 1 and not request.reduce:
        odd = next(item for item in given if item.n_planes != given[0].n_planes)
        counts_said = f"{odd.path.name} has {odd.n_planes} planes, {given[0].path.name} has {given[0].n_planes}"
        raise Refused(f"{counts_said}: cubes are combined plane by plane, or with -r all planes together")


def _dtype(given: Sequence[Given], request: Request) -> str:
    """f8 where float32 would lose digits: inputs of 32 or 64 bits that are no float32, and sums of many 16-bit frames."""
    if request.dtype:
        try:
            return {"float32": "f4", "float64": "f8"}[request.dtype]
        except KeyError as error:
            raise Refused(f"results are float32 or float64, not '{request.dtype}'") from error
    bits = {item.hdu.cards.get("BITPIX") for item in given}
    many = request.method == "sum" and len(given) * 65535 * 2.0 ** max(request.bit_shift, 0) >= 2.0**24
    return "f8" if many or bits & {32, 64, -64} else "f4"


def _one(given: Sequence[Given], plane: int | None, job: Job, request: Request, dtype: str) -> Combined:
    """One combination: of images, of one plane of every cube, or of all planes of all."""
    if plane is None:
        sources = [item.source(z) for item in given for z in (range(item.n_planes) if item.n_planes > 1 else (None,))]
    else:
        sources = [item.source(plane) for item in given]
    shift = 2.0**request.bit_shift
    scales = [shift] * len(sources)
    normalise: Normalise | None = None
    if request.normalisation != "none":
        if plane is not None:
            scales = [shift * factor for factor in _cube_factors(given, request)]
        else:
            normalise = Normalise(
                statistic=cast(Any, request.normalisation),  # checked by parsed()
                how="offset" if request.additive else "scale",
                reference="first",
                box=_window(request.box, given[0].hdu.shape),
            )
    return combine(
        sources,
        method=job.method,
        quantile=job.quantile,
        clip=job.clip,
        normalise=normalise,
        weights=job.weights,
        per_frame=[FrameCalibration(scale=scale) for scale in scales],
        planes=sorted({"result", *request.planes}),
        dtype=dtype,
        threads=request.threads,
    )


def _cube_factors(given: Sequence[Given], request: Request) -> list[float]:
    """Factors that bring whole cubes to the first one's level."""
    if request.additive or request.box is not None:
        raise Refused("cubes are normalised as a whole and by a factor: leave out the box and --additive")
    levels = [statistic_of(good_pixels(read_image(item.path, item.hdu.index)), request.normalisation) for item in given]
    for item, level in zip(given, levels, strict=True):
        if not level:
            raise RejectedInput(f"{item.path.name}: its {request.normalisation} is 0, so it cannot be scaled")
    return [levels[0] / level for level in levels]


def _window(box: Box | None, shape: Sequence[int]) -> tuple[int, int, int, int] | None:
    if box is None:
        return None
    region = box.within(shape)
    return region.x0, region.x1, region.y0, region.y1


def _named(made: Combined, request: Request) -> dict[str, Array]:
    planes = {"result": made.result, "uncertainty": made.uncertainty, "count": made.count, "mask": made.mask}
    return {name: plane for name, plane in planes.items() if name in ("result", *request.planes) and plane is not None}


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
