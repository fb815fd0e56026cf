"""Which HDU of a file is the frame, and refusals for files that hold no single image."""

from __future__ import annotations

from collections.abc import Sequence

from nightcrew.errors import RejectedInput
from nightcrew.frames.text import clean_text, quoted
from nightcrew.io.headers import Hdu

_BESIDE = frozenset(
    {"ERR", "ERROR", "UNCERT", "VAR", "VARIANCE", "IVAR", "MASK", "DQ", "BPM", "WHT", "WEIGHT", "COUNT", "PREVIEW", "THUMBNAIL", "THUMB"}
)
_SPECTRAL = frozenset({"WAVE", "LAMBDA", "AWAV", "FREQ", "ENER", "WAVELENG", "VRAD", "VELO"})


def image_of(hdus: Sequence[Hdu], extension: int | str | None) -> Hdu:
    """The HDU of the frame: ``extension`` (number or EXTNAME) when given, else the only image.

    Images that belong to another (uncertainty, mask, weight, preview, by EXTNAME) do not count.  Raises
    :class:`RejectedInput` for tables, spectra, cubes, random groups, empty images, and for files of several images
    when no profile says which: one is never picked silently.
    """
    chosen = _only_image(hdus) if extension is None else _named(hdus, extension)
    shape = chosen.shape
    if len(shape) > 2 and max(shape[:-2]) > 1:
        raise RejectedInput(f"{_place(chosen)} holds a cube of {_size(chosen)} pixels, not one image: planes must be separate frames")
    if len(shape) > 2:
        raise RejectedInput(f"{_place(chosen)} has {len(shape)} axes ({_size(chosen)}): only images with two axes are frames")
    return chosen


def spectral_axis(image: Hdu) -> str:
    """Why the image is a spectrum (``"CTYPE1 'LAMBDA'"``), "" when it is not."""
    for key in ("CTYPE1", "CTYPE2"):
        kind = clean_text(image.cards.get(key)).upper()
        if kind.split("-")[0] in _SPECTRAL or kind.startswith("WAVE"):
            return f"{key} {quoted(image.cards[key])}"
    return ""


def _only_image(hdus: Sequence[Hdu]) -> Hdu:
    images = [hdu for hdu in hdus if _is_image(hdu)]
    if not images:
        raise RejectedInput(_why_none(hdus))
    main = [hdu for hdu in images if _name(hdu) not in _BESIDE] or images
    if len(main) > 1:
        listed = ", ".join(f"{_place(hdu)} ({_size(hdu)})" for hdu in main[:6])
        raise RejectedInput(f"the file holds {len(main)} images: {listed}; a profile must say which is the frame ([layout] extension)")
    return main[0]


def _named(hdus: Sequence[Hdu], extension: int | str) -> Hdu:
    wanted = extension.strip().upper() if isinstance(extension, str) else extension
    for hdu in hdus:
        if wanted in (hdu.index, _name(hdu) or None):
            if not _is_image(hdu):
                raise RejectedInput(f"extension {extension}, which the profile names, holds no image ({_what(hdu)})")
            return hdu
    raise RejectedInput(f"there is no extension {extension}, which the profile names; the file has {len(hdus)} HDU(s)")


def _is_image(hdu: Hdu) -> bool:
    return hdu.kind in ("IMAGE", "TILE") and len(hdu.shape) >= 2 and min(hdu.shape) > 0


def _why_none(hdus: Sequence[Hdu]) -> str:
    if any(hdu.kind == "GROUPS" for hdu in hdus):
        return "the file holds random groups (radio visibilities), no image"
    if any(hdu.kind in ("TABLE", "BINTABLE") for hdu in hdus):
        return f"the file holds tables, no image ({_listed(hdus)})"
    if any(hdu.kind in ("IMAGE", "TILE") and len(hdu.shape) == 1 and hdu.shape[0] > 0 for hdu in hdus):
        return f"the file holds a spectrum or another row of numbers, no image ({_listed(hdus)})"
    if any(0 in hdu.shape for hdu in hdus):
        return f"the image has no pixels ({_listed(hdus)})"
    return f"the file holds headers without data ({_listed(hdus) or 'no HDU'})"


def _listed(hdus: Sequence[Hdu]) -> str:
    return ", ".join(f"HDU {hdu.index}: {_what(hdu)}" for hdu in hdus[:6])


def _what(hdu: Hdu) -> str:
    if hdu.kind not in ("IMAGE", "TILE"):
        return hdu.kind.lower()
    return _size(hdu) if hdu.shape else "no data"


def _size(hdu: Hdu) -> str:
    return " x ".join(str(length) for length in reversed(hdu.shape))


def _name(hdu: Hdu) -> str:
    return clean_text(hdu.cards.get("EXTNAME")).upper()


def _place(hdu: Hdu) -> str:
    return f"HDU {hdu.index} {_name(hdu)}".strip()
