"""FITS headers by a fast scan: one ``pread``, one regular expression over all cards, plain Python values out.

Cards that the scan does not know for certain (CONTINUE, HIERARCH, lower case, odd numbers) send the header through
:mod:`nightcrew.io.cards`, which asks astropy card by card, so that the values are astropy's.  Follows the FITS standard 4.0
(doi:10.1051/0004-6361/201015362), sections 3 and 4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import RejectedInput
from nightcrew.io.source import DEFAULT_MAX_BYTES, ByteSource, open_source

HeaderValue = bool | int | float | str | None

BLOCK = 2880
CARD = 80
MAX_HEADER_BYTES = 4 << 20  # 52,000 cards: no real header comes near it
MAX_HDUS = 5000
_FIRST_READ = 4 * BLOCK
_BITPIX = (8, 16, 32, 64, -32, -64)
_PRINTABLE = bytes(range(32, 127))

# keyword, value and comment of a well-formed card, or the whole line in the last group; lines are 80 characters + newline
_CARD_RE = re.compile(
    r"(?=.{8}= )([A-Z0-9_-]++) *+= ++"
    r"('[^'\n]*+(?:''[^'\n]*+)*+'|[TF]|[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[ED][+-]?[0-9]++)?|)"
    r" *+(?:/([^\n]*+))?+\n|(.*+)\n"
)
_COMMENTARY = ("COMMENT ", "HISTORY ", "        ")
_KINDS = {"IMAGE": "IMAGE", "TABLE": "TABLE", "BINTABLE": "BINTABLE", "A3DTABLE": "BINTABLE", "IUEIMAGE": "IMAGE"}


class UnfinishedHeader(RejectedInput):
    """The file ends inside a header: it is cut short, or still being written."""


@dataclass(frozen=True, slots=True)
class Hdu:
    """One header-data unit: its cards as plain values, and where its data lie.

    ``cards`` holds the first occurrence of each keyword, upper-case, without COMMENT, HISTORY and blank cards; HIERARCH
    keywords without their prefix, with blanks (``"ESO DET ID"``).  An undefined value is None; a value that is neither
    FITS nor close to it (``3,2E-05``, complex numbers) is kept as the raw text.  For a tile-compressed image BITPIX,
    NAXIS and NAXISn are those of the image.  ``raw`` is the 80-byte cards as stored, up to and with END.  ``data_offset``
    counts in the decoded stream, ``data_size`` is the stored length without padding.  ``shape`` is in numpy order.
    """

    index: int
    kind: str
    cards: dict[str, HeaderValue]
    comments: dict[str, str]
    raw: bytes
    data_offset: int
    data_size: int
    shape: tuple[int, ...]
    duplicates: tuple[str, ...]

    @property
    def end_offset(self) -> int:
        """Offset in the stream of the block after the padded data."""
        return self.data_offset + -(-self.data_size // BLOCK) * BLOCK


def to_value(text: str) -> HeaderValue:
    """The Python value of a well-formed FITS value field; "" is the undefined value."""
    if not text:
        return None
    first = text[0]
    if first == "'":
        value = text[1:-1].rstrip()
        return value.replace("''", "'") if "''" in value else value
    if first in "TF":
        return first == "T"
    if "." in text or "E" in text or "D" in text:
        return float(text.replace("D", "E"))
    return int(text)


def parse_cards(raw: bytes) -> tuple[dict[str, HeaderValue], dict[str, str], tuple[str, ...]]:
    """Values, comments and repeated keywords of a header (80-byte cards, without END needed).

    Values are those of astropy's ``Header``, except that ``''`` inside a string is always a quote (FITS 4.0, 4.2.1).
    """
    if raw.translate(None, _PRINTABLE):
        return _carefully(raw)
    text = raw.decode("ascii")
    cards: dict[str, HeaderValue] = {}
    comments: dict[str, str] = {}
    duplicates: dict[str, None] = {}
    lines = "\n".join([text[i : i + CARD] for i in range(0, len(text), CARD)]) + "\n"
    for keyword, value, comment, odd in _CARD_RE.findall(lines):
        if odd:
            if odd[:8] in _COMMENTARY or odd[:8] == "END     ":
                continue
            return _carefully(raw)
        if keyword in cards:
            duplicates[keyword] = None
            continue
        cards[keyword] = to_value(value)
        if comment:
            comments[keyword] = comment.strip()
    for keyword in ("COMMENT", "HISTORY"):  # they are text, even where they look like values
        cards.pop(keyword, None)
        comments.pop(keyword, None)
        duplicates.pop(keyword, None)
    return cards, comments, tuple(duplicates)


def _carefully(raw: bytes) -> tuple[dict[str, HeaderValue], dict[str, str], tuple[str, ...]]:
    from nightcrew.io.cards import parse_carefully

    return parse_carefully(raw)


def _read_header(source: ByteSource, offset: int, index: int) -> bytes:
    """The raw cards up to and with END, from ``offset``; RejectedInput when there is no END."""
    data = source.read_at(offset, _FIRST_READ)
    _check_start(source, data, index)
    searched = 0
    while True:
        end = _find_end(data, searched)
        if end >= 0:
            return data[: end + CARD]
        searched = len(data) // CARD * CARD
        if len(data) >= MAX_HEADER_BYTES:
            raise RejectedInput(f"{source.name}: the header of HDU {index} has no END card within {MAX_HEADER_BYTES} bytes")
        more = source.read_at(offset + len(data), max(len(data), _FIRST_READ))
        if not more:
            raise UnfinishedHeader(f"{source.name}: the file ends inside the header of HDU {index} (no END card)")
        data += more


def _find_end(data: bytes, start: int) -> int:
    """Offset of the END card at or after ``start``, -1 without one.  Cards begin at multiples of 80."""
    at = data.find(b"END", start)
    while at >= 0:
        if at % CARD == 0 and data[at + 3 : at + 8] == b"     " and not data[at + 8 : at + CARD].strip(b" \0"):
            return at if len(data) >= at + CARD else -1
        at = data.find(b"END", at + 1)
    return -1


def _check_start(source: ByteSource, data: bytes, index: int) -> None:
    if index:
        return
    if not data:
        raise RejectedInput(f"{source.name}: the file is empty")
    if data[:9].upper() != b"SIMPLE  =":
        raise RejectedInput(f"{source.name}: is not a FITS file (it does not begin with SIMPLE =)")


def _integer(cards: dict[str, HeaderValue], key: str, source: ByteSource, default: int | None = None) -> int:
    value = cards.get(key, default)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # some writers give structural keywords as 2.0
    if isinstance(value, bool) or not isinstance(value, int):
        what = "is missing" if key not in cards else f"is {value!r}, not a whole number"
        raise RejectedInput(f"{source.name}: header keyword {key} {what}")
    return value


def _axes(cards: dict[str, HeaderValue], prefix: str, source: ByteSource) -> list[int]:
    count = _integer(cards, f"{prefix}NAXIS", source)
    if not 0 <= count <= 999:
        raise RejectedInput(f"{source.name}: {prefix}NAXIS = {count} is outside 0..999")
    axes = [_integer(cards, f"{prefix}NAXIS{i}", source) for i in range(1, count + 1)]
    for i, length in enumerate(axes, 1):
        if length < 0:
            raise RejectedInput(f"{source.name}: {prefix}NAXIS{i} = {length} is negative")
    return axes


def _bitpix(cards: dict[str, HeaderValue], key: str, source: ByteSource) -> int:
    bitpix = _integer(cards, key, source)
    if bitpix not in _BITPIX:
        raise RejectedInput(f"{source.name}: {key} = {bitpix} is none of 8, 16, 32, 64, -32, -64")
    return bitpix


def _make_hdu(raw: bytes, offset: int, index: int, source: ByteSource, max_bytes: int) -> Hdu:
    cards, comments, duplicates = parse_cards(raw)
    if index == 0 and cards.get("SIMPLE") is not True:
        raise RejectedInput(f"{source.name}: the header says SIMPLE = {cards.get('SIMPLE')!r}: the file is not standard FITS")
    bitpix = _bitpix(cards, "BITPIX", source)
    axes = _axes(cards, "", source)
    kind = "IMAGE" if index == 0 else _KINDS.get(str(cards.get("XTENSION", "")).strip().upper(), "OTHER")
    groups = axes[:1] == [0] and cards.get("GROUPS") is True
    elements = math.prod(axes[1:] if groups else axes) if axes else 0
    parameters, repeats = _integer(cards, "PCOUNT", source, 0), _integer(cards, "GCOUNT", source, 1)
    if index == 0 and not groups:
        parameters, repeats = 0, 1  # PCOUNT and GCOUNT mean nothing in an ordinary primary header
    size = abs(bitpix) // 8 * repeats * (parameters + elements)
    if parameters < 0 or repeats < 0 or size > max_bytes:
        raise RejectedInput(f"{source.name}: HDU {index} declares {size} bytes of data, more than the limit of {max_bytes}")
    shape: tuple[int, ...] = tuple(reversed(axes)) if kind == "IMAGE" and not groups else ()
    if groups:
        kind = "GROUPS"
    elif kind == "BINTABLE" and cards.get("ZIMAGE") is True:
        kind, shape = "TILE", _tile_shape(cards, source, max_bytes)
    data_offset = offset + -(-len(raw) // BLOCK) * BLOCK
    return Hdu(index, kind, cards, comments, raw, data_offset, size, shape, duplicates)


def _tile_shape(cards: dict[str, HeaderValue], source: ByteSource, max_bytes: int) -> tuple[int, ...]:
    """Shape of the compressed image; ``cards`` gets the image's BITPIX, NAXIS and NAXISn."""
    axes = _axes(cards, "Z", source)
    bitpix = _bitpix(cards, "ZBITPIX", source)
    size = abs(bitpix) // 8 * math.prod(axes)
    if size > max_bytes:
        raise RejectedInput(f"{source.name}: the compressed image declares {size} bytes, more than the limit of {max_bytes}")
    cards["BITPIX"], cards["NAXIS"] = bitpix, len(axes)
    for key in ("NAXIS1", "NAXIS2"):
        cards.pop(key, None)
    cards.update({f"NAXIS{i}": length for i, length in enumerate(axes, 1)})
    return tuple(reversed(axes))


def iter_hdus(source: ByteSource, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Iterator[Hdu]:
    """The header-data units of an open source one by one; each costs (and of a compressed file decodes) no more than it must."""
    offset = 0
    for index in range(MAX_HDUS):
        if index and source.size is not None and offset >= source.size:
            return
        if index and source.read_at(offset, 8).upper() != b"XTENSION":
            return  # the end, or the data are cut short, or special records follow
        hdu = _make_hdu(_read_header(source, offset, index), offset, index, source, max_bytes)
        offset = hdu.end_offset
        yield hdu


def scan_hdus(source: ByteSource, *, first_only: bool = False, max_bytes: int = DEFAULT_MAX_BYTES) -> tuple[Hdu, ...]:
    """As :func:`read_hdus`, from a source that is already open."""
    hdus = iter_hdus(source, max_bytes=max_bytes)
    return (next(hdus),) if first_only else tuple(hdus)


def read_hdus(path: Path | str, *, first_only: bool = False, max_bytes: int = DEFAULT_MAX_BYTES) -> tuple[Hdu, ...]:
    """All header-data units of a FITS file (or the primary one alone), without reading data.

    gzip, bzip2 and Unix compress are decoded on the way.  That the data are complete is not checked here
    (:func:`nightcrew.io.structure.check` does).  Raises :class:`RejectedInput` with the cause when the file is not FITS or
    declares nonsense, :class:`TransientError` when it cannot be read now.
    """
    with open_source(path, max_bytes=max_bytes) as source:
        return scan_hdus(source, first_only=first_only, max_bytes=max_bytes)


def choose_image(hdus: Sequence[Hdu], *, extension: int | str | None = None) -> Hdu:
    """The HDU that holds the image: the one asked for (number or EXTNAME), else the first with two axes or more.

    Raises :class:`RejectedInput` when there is none, or the one asked for is absent or holds no image.
    """
    for hdu in hdus:
        if is_wanted_image(hdu, extension):
            return hdu
        if extension is not None and is_called(hdu, extension):
            raise RejectedInput(f"extension {extension} holds no image ({_describe(hdu)})")
    if extension is None:
        raise RejectedInput(_why_no_image(hdus))
    raise RejectedInput(f"there is no extension {extension}; the file has {len(hdus)} HDU(s)")


def is_wanted_image(hdu: Hdu, extension: int | str | None) -> bool:
    """Whether this HDU holds an image, and is the extension asked for (None: any)."""
    image = hdu.kind in ("IMAGE", "TILE") and len(hdu.shape) >= 2 and min(hdu.shape) > 0
    return image and (extension is None or is_called(hdu, extension))


def is_called(hdu: Hdu, extension: int | str) -> bool:
    """Whether ``extension`` is this HDU's number or name."""
    if isinstance(extension, int):
        return hdu.index == extension
    return str(hdu.cards.get("EXTNAME") or "").strip().upper() == extension.strip().upper()


def _describe(hdu: Hdu) -> str:
    if hdu.kind in ("IMAGE", "TILE"):
        return "no data" if not hdu.shape else "image of " + " x ".join(str(n) for n in reversed(hdu.shape))
    return hdu.kind.lower()


def _why_no_image(hdus: Sequence[Hdu]) -> str:
    found = ", ".join(f"HDU {h.index}: {_describe(h)}" for h in hdus[:6])
    return f"the file holds no image of two axes or more ({found or 'no HDU'})"
