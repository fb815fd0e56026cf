"""The files of a combination: what each holds, and whether they go together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightcrew.calibration.normalisation import statistic_of
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.cardtext import whole_header
from nightcrew.io.headers import Hdu, HeaderValue, choose_image, read_hdus
from nightcrew.io.images import read_image
from nightcrew.tools.boxes import Box
from nightcrew.tools.combine_request import Request
from nightcrew.tools.stats import good_pixels
from nightcrew.tools.times import number_of

_ORIGINS = (("XORGSUBF", "YORGSUBF"), ("CCDSEC",), ("DETSEC",))
_PLACES = ("XORGSUBF", "YORGSUBF", "DATASEC", "CCDSEC", "DETSEC", "LTV1", "LTV2")


@dataclass(frozen=True, slots=True)
class Given:
    """One input: its header (``raw``: the cards that a product carries on), and how many planes it has."""

    path: Path
    hdu: Hdu
    cards: Mapping[str, HeaderValue]
    raw: bytes
    companions: frozenset[str]

    @property
    def n_planes(self) -> int:
        """1 for an image."""
        return int(np.prod(self.hdu.shape[:-2], dtype=np.int64)) if len(self.hdu.shape) > 2 else 1

    def source(self, plane: int | None) -> ArraySource:
        """What the engine reads."""
        mask = "MASK" if "MASK" in self.companions else None
        sigma = "UNCERT" if "UNCERT" in self.companions else None
        return ArraySource(data=self.path, hdu=self.hdu.index, name=self.path.name, plane=plane, mask=mask, uncertainty=sigma)


def look(path: Path, extension: int | str | None) -> Given:
    """The image that ``path`` holds, and which of its companions; further HDUs are looked for only where something follows the first."""
    first = read_hdus(path, first_only=True)
    hdus = first if extension is None and len(first[0].shape) >= 2 and _is_alone(path, first[0]) else read_hdus(path)
    try:
        hdu = choose_image(hdus, extension=extension)
    except RejectedInput as error:
        raise RejectedInput(f"{path.name}: {error}") from error
    cards = hdu.cards if hdu.index == 0 else {**hdus[0].cards, **hdu.cards}
    raw = whole_header(hdus, hdu.index)
    names = {str(h.cards.get("EXTNAME") or "").strip().upper(): h.shape for h in hdus if h.index != hdu.index}
    return Given(path, hdu, cards, raw, frozenset(name for name in ("MASK", "UNCERT") if names.get(name) == hdu.shape))


def _is_alone(path: Path, first: Hdu) -> bool:
    """Whether nothing follows the first HDU: by the size of the file, or by the length that a gzip stream tells at its end."""
    with path.open("rb") as file:
        head, size = file.read(6), file.seek(0, os.SEEK_END)
        if head[:2] == b"\x1f\x8b":
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little") == first.end_offset % (1 << 32)
    return head == b"SIMPLE" and size <= first.end_offset


def check_cubes(given: Sequence[Given], request: Request) -> None:
    """Refuse a mixture of images and cubes, unless all planes are combined together."""
    counts = {item.n_planes for item in given}
    if len(counts) > 1 and not request.reduce:
        odd = next(item for item in given if item.n_planes != given[0].n_planes)
        counts_said = f"{odd.path.name} has {odd.n_planes} planes, {given[0].path.name} has {given[0].n_planes}"
        raise Refused(f"{counts_said}: cubes are combined plane by plane, or with -r all planes together")


def other_places(given: Sequence[Given]) -> dict[str, str]:
    """Keywords by which frames lie on other parts of the chip, each with a sentence that names the odd frame; a frame may state none.

    LTV (absent: 0) is asked where not every frame says otherwise where it lies: the sub-frame's origin moves with it in a cut.
    """
    keys = [key for key in _PLACES if not key.startswith("LTV") or not _all_state_origin(given)]
    found: dict[str, str] = {}
    for key in keys:
        values = [_place(key, item.cards.get(key, 0 if key.startswith("LTV") else None)) for item in given]
        stated = Counter(value for value in values if value)
        if len(stated) < 2:
            continue
        usual, n_usual = stated.most_common(1)[0]
        odd = [(item.path.name, value) for item, value in zip(given, values, strict=True) if value and value != usual]
        more = f" (and {len(odd) - 1} more frames another than that)" if len(odd) > 1 else ""
        found[key] = (
            f"the frames do not agree in {key}: {odd[0][0]} has {odd[0][1]}{more}, {n_usual} of {len(given)} have {usual}; "
            "they may show other parts of the chip, and pixels are combined as they lie in the files"
        )
    return found


def _all_state_origin(given: Sequence[Given]) -> bool:
    return any(all(_place(key, item.cards.get(key)) for item in given for key in keys) for keys in _ORIGINS)


def _place(key: str, value: HeaderValue) -> str:
    """A section without blanks, a number as one; "" for what is neither."""
    if key.endswith("SEC"):
        return "".join(value.split()) if isinstance(value, str) else ""
    number = number_of(value)
    return "" if number is None else f"{number:g}"


def result_dtype(given: Sequence[Given], request: Request) -> str:
    """f8 where float32 would lose digits: inputs of 32 or 64 bits that are no float32, and sums of many 16-bit frames."""
    if request.dtype:
        try:
            return {"float32": "f4", "float64": "f8"}[request.dtype]
        except KeyError as error:
            raise Refused(f"results are float32 or float64, not '{request.dtype}'") from error
    bits = {item.hdu.cards.get("BITPIX") for item in given}
    many = request.method == "sum" and len(given) * 65535 * 2.0 ** max(request.bit_shift, 0) >= 2.0**24
    return "f8" if many or bits & {32, 64, -64} else "f4"


def cube_factors(given: Sequence[Given], request: Request) -> list[float]:
    """Factors that bring whole cubes to the first one's level."""
    if request.additive or request.box is not None:
        raise Refused("cubes are normalised as a whole and by a factor: leave out the box and --additive")
    levels = [statistic_of(good_pixels(read_image(item.path, item.hdu.index)), request.normalisation) for item in given]
    for item, level in zip(given, levels, strict=True):
        if not level:
            raise RejectedInput(f"{item.path.name}: its {request.normalisation} is 0, so it cannot be scaled")
        if not levels[0] / level > 0:
            raise RejectedInput(f"{item.path.name}: its {request.normalisation} is {level:.6g}, so it cannot be scaled to {levels[0]:.6g}")
    return [levels[0] / level for level in levels]


def window_of(box: Box | None, shape: Sequence[int]) -> tuple[int, int, int, int] | None:
    """The box as the engine takes it, clipped to the image."""
    if box is None:
        return None
    region = box.within(shape)
    return region.x0, region.x1, region.y0, region.y1
