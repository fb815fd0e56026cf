"""Troublemakers whose content is wrong: cut, empty, absurd, hostile, or not what their header says."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nightcrew.simulate import camera_file
from nightcrew.simulate.camera_file import format_card, replace_card
from nightcrew.simulate.trouble_kind import ANY_GRADE, REFUSED, REJECTED, SET_ASIDE, Spot, TroubleKind

BOMB_BYTES = 512 * 1024 * 1024  # decompressed size that the bomb's header promises and its stream delivers
NOTES = """Observing log
seeing good until two, then some cirrus
dome stuck at 03:10, mended with a hammer
"""


def _truncated(spot: Spot) -> Path:
    content = spot.exposure()
    return spot.write(spot.next_name(), content[: int(len(content) * 0.6)])


def _duplicate(spot: Spot) -> Path:
    return spot.write(f"copy of {spot.source.name}", spot.innocent())


def _text_file(spot: Spot) -> Path:
    return spot.write("observing-notes.fits", NOTES.encode("ascii"))


def _bright_flat(spot: Spot) -> Path:
    content = spot.exposure()
    image = camera_file.pixels(content).astype(np.float64)
    bright = 1000 + (image - 1000) * 65535 / np.median(image) * 1.6
    return spot.write(spot.next_name(), camera_file.replace_pixels(content, np.clip(bright, 0, 65535).astype(np.uint16)))


def _zero_byte(spot: Spot) -> Path:
    return spot.write(spot.next_name(), b"")


def _header_only(spot: Spot) -> Path:
    content = spot.exposure()
    return spot.write(spot.next_name(), content[: camera_file.header_length(content)])


def _no_end(spot: Spot) -> Path:
    content = spot.exposure()
    return spot.write(spot.next_name(), replace_card(content, "END", b"COMMENT the end is missing".ljust(80)))


def _all_nan(spot: Spot) -> Path:
    content = spot.exposure()
    ny, nx = camera_file.pixels(content).shape
    header = content[: camera_file.header_length(content)]
    header = replace_card(header, "BITPIX", format_card("BITPIX", -32))
    header = replace_card(header, "BZERO", format_card("BZERO", 0.0))
    data = np.full((ny, nx), np.nan, dtype=">f4").tobytes()
    return spot.write(spot.next_name(), header + data + bytes(-len(data) % camera_file.BLOCK_BYTES))


def _constant(value: int) -> Callable[[Spot], Path]:
    def make(spot: Spot) -> Path:
        content = spot.exposure()
        image = np.full_like(camera_file.pixels(content), value)
        return spot.write(spot.next_name(), camera_file.replace_pixels(content, image))

    return make


def _swapped_bytes(spot: Spot) -> Path:
    content = spot.exposure()
    start = camera_file.header_length(content)
    swapped = np.frombuffer(content[start:], dtype=">u2").astype("<u2").tobytes()
    return spot.write(spot.next_name(), content[:start] + swapped)


def _bias_with_star(spot: Spot) -> Path:
    content = spot.exposure()
    image = camera_file.pixels(content).astype(np.float64)
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    for centre in (0.3, 0.55, 0.8):
        r2 = (y - centre * image.shape[0]) ** 2 + (x - centre * image.shape[1]) ** 2
        image += 20_000 * np.exp(-r2 / 8)
    return spot.write(spot.next_name(), camera_file.replace_pixels(content, np.clip(image, 0, 65535).astype(np.uint16)))


def _other_camera(spot: Spot) -> Path:
    content = replace_card(spot.exposure(), "SERIALNO", format_card("DETSER", "NC-9999", "serial number of the camera"))
    image = camera_file.pixels(content)
    ny, nx = image.shape
    smaller = np.ascontiguousarray(image[: ny // 2, : nx // 2])
    content = replace_card(content, "NAXIS1", format_card("NAXIS1", nx // 2, "columns"))
    content = replace_card(content, "NAXIS2", format_card("NAXIS2", ny // 2, "rows"))
    return spot.write(spot.next_name(), camera_file.replace_pixels(content, smaller))


def _card(keyword: str, card: bytes) -> Callable[[Spot], Path]:
    """Maker of an otherwise good exposure in which one card is replaced by arbitrary bytes."""

    def make(spot: Spot) -> Path:
        return spot.write(spot.next_name(), replace_card(spot.exposure(), keyword, card.ljust(80)[:80]))

    return make


def _huge_header(spot: Spot) -> Path:
    content = spot.exposure()
    end = camera_file.find_card(content, "END")
    cards = b"".join(f"HISTORY mangled astrometry, line {n:05d}".ljust(80).encode() for n in range(20_000))
    header = camera_file.header_bytes([content[:end], cards])
    return spot.write(spot.next_name(), header + content[camera_file.header_length(content) :])


def _gz_duplicate(spot: Spot) -> Path:
    return spot.write(f"{spot.source.name}.gz", gzip.compress(spot.innocent(), mtime=0))


def _edited_duplicate(spot: Spot) -> Path:
    content = replace_card(spot.innocent(), "OBSERVER", format_card("OBSERVER", "Somebody Else", "observer"))
    return spot.write(f"edited-{spot.source.name}", content)


def _gz_bomb(spot: Spot) -> Path:
    header = spot.exposure()
    header = header[: camera_file.header_length(header)]
    side = 4_000_000_000  # pixels that the header promises: far above any camera
    for keyword in ("NAXIS1", "NAXIS2"):
        header = replace_card(header, keyword, format_card(keyword, side))
    return _pack_with_zeros(spot, header)


def _gz_bomb_tail(spot: Spot) -> Path:
    return _pack_with_zeros(spot, spot.exposure())


def _pack_with_zeros(spot: Spot, content: bytes) -> Path:
    zeros = bytes(1 << 20)
    path = spot.folder / f"{spot.next_name()}.gz"
    with path.open("xb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        packed.write(content)
        for _ in range(BOMB_BYTES >> 20):
            packed.write(zeros)
    return path


_HTML = "<script>alert(1)</script><img src=x onerror=alert(2)>"
_TEMPLATE = "{{ 7919*7907 }}{% include '/etc/passwd' %}${7919*7907}".replace("'", '"')

KINDS: tuple[TroubleKind, ...] = (
    TroubleKind(
        name="truncated", make=_truncated, words=("truncated", "incomplete", "cut"), description="the last 40 % of a light are missing"
    ),
    TroubleKind(
        name="duplicate",
        make=_duplicate,
        states=SET_ASIDE,
        words=("duplicate", "same content", "same bytes"),
        description="a light once more under another name",
        repeats_source=True,
    ),
    TroubleKind(
        name="text_file",
        make=_text_file,
        states=REFUSED,
        words=("not a fits", "no fits", "text", "not fits"),
        description="notes of the observer, named .fits",
    ),
    TroubleKind(
        name="bright_flat",
        make=_bright_flat,
        source="flat",
        states=SET_ASIDE,
        words=("saturat", "too bright"),
        description="a flat at the end of the converter",
    ),
    TroubleKind(name="zero_byte", make=_zero_byte, words=("empty", "0 bytes", "truncated"), description="a file without a byte"),
    TroubleKind(
        name="header_only", make=_header_only, words=("truncated", "incomplete", "cut", "missing"), description="a light without pixels"
    ),
    TroubleKind(name="no_end", make=_no_end, words=("end", "header"), description="a header that never ends"),
    TroubleKind(name="all_nan", make=_all_nan, words=("nan", "no valid", "not finite"), description="a light of NaN"),
    TroubleKind(name="all_zero", make=_constant(0), words=("zero", "constant", "no signal", "blank"), description="a light of zeros"),
    TroubleKind(
        name="saturated_light",
        make=_constant(65535),
        states=("rejected", "degraded", "done"),
        words=("saturat",),
        description="a light at the end of the converter",
    ),
    TroubleKind(
        name="zero_flat",
        make=_constant(0),
        source="flat",
        states=REFUSED,
        words=("faint", "zero", "no signal", "constant", "blank"),
        description="a flat of zeros",
    ),
    TroubleKind(
        name="bias_with_star",
        make=_bias_with_star,
        source="bias",
        states=("set_aside", "done"),
        words=(),
        description="a bias through which the shutter leaked three stars",
    ),
    TroubleKind(name="swapped_bytes", make=_swapped_bytes, words=("bytes",), description="pixels in the wrong byte order"),
    TroubleKind(name="other_camera", make=_other_camera, states=("waiting", "degraded"), description="a light of a smaller, second camera"),
    TroubleKind(
        name="absurd_naxis", make=_card("NAXIS", format_card("NAXIS", 999)), words=("naxis",), description="a header that claims 999 axes"
    ),
    TroubleKind(name="negative_naxis", make=_card("NAXIS1", format_card("NAXIS1", -512)), words=("naxis",), description="a negative axis"),
    TroubleKind(
        name="wrong_naxis",
        make=_card("NAXIS2", format_card("NAXIS2", 4000)),
        words=("truncated", "incomplete", "cut"),
        description="a header that claims more rows than the file holds",
    ),
    TroubleKind(name="html_header", make=_card("OBJECT", format_card("OBJECT", _HTML)), states=ANY_GRADE, description="a script in OBJECT"),
    TroubleKind(
        name="template_header",
        make=_card("OBJECT", format_card("OBJECT", _TEMPLATE)),
        states=ANY_GRADE,
        description="template syntax in OBJECT",
    ),
    TroubleKind(
        name="path_header",
        make=_card("OBJECT", format_card("OBJECT", "../../../../tmp/nightcrew-escape")),
        states=ANY_GRADE,
        description="a path in OBJECT",
    ),
    TroubleKind(
        name="ansi_header",
        make=_card("OBJECT", b"OBJECT  = '\x1b[2J\x1b[31mred alert\x1b]0;owned\x07'"),
        states=(*ANY_GRADE, *REJECTED),
        description="terminal commands in OBJECT",
    ),
    TroubleKind(
        name="newline_header",
        make=_card("OBJECT", b"OBJECT  = 'Crew\r\nBcc: all@example.org\r\n\r\nSUBJECT'"),
        states=(*ANY_GRADE, *REJECTED),
        description="line breaks in OBJECT that would add mail headers",
    ),
    TroubleKind(
        name="filter_path",
        make=_card("FILTER", format_card("FILTER", "../R/<b>")),
        states=("waiting", "degraded"),
        description="a path in FILTER",
    ),
    TroubleKind(name="huge_header", make=_huge_header, states=ANY_GRADE, description="a header of 20,000 cards"),
    TroubleKind(
        name="gz_duplicate",
        make=_gz_duplicate,
        states=SET_ASIDE,
        words=("same exposure", "duplicate"),
        description="a light, gzipped too",
        repeats_source=True,
    ),
    TroubleKind(
        name="edited_duplicate",
        make=_edited_duplicate,
        states=SET_ASIDE,
        words=("same exposure", "duplicate"),
        description="a light with an edited header beside it",
        repeats_source=True,
    ),
    TroubleKind(
        name="gz_bomb", make=_gz_bomb, words=("limit", "too large", "more than"), description="half a gigabyte of zeros in half a megabyte"
    ),
    TroubleKind(
        name="gz_bomb_tail",
        make=_gz_bomb_tail,
        states=(*ANY_GRADE, *REJECTED),
        description="a good light with half a gigabyte of zeros behind it, gzipped to half a megabyte",
    ),
)
