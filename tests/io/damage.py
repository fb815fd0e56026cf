"""Sound files of many kinds, and ways to damage them, for the fuzz tests."""

from __future__ import annotations

import bz2
import gzip
import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.io import fits

from tests.io.fitsbytes import card, image, structure
from tests.io.lzwbytes import lzw_compress


def _bytes_of(*extensions: Any) -> bytes:
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *extensions]).writeto(out)
    return out.getvalue()


def sound_files() -> dict[str, bytes]:
    """Small files of every kind that the readers know, by a name with the right ending."""
    rng = np.random.default_rng(11)
    counts = rng.integers(0, 4000, (24, 20)).astype("u2")
    floats = rng.normal(100, 5, (24, 20)).astype("f4")
    plain = image(16, (20, 24), counts.tobytes(), ["BZERO   = 32768", "OBJECT  = 'long&'", "CONTINUE  ' name'", "HIERARCH ESO X = 1"])
    table = fits.BinTableHDU.from_columns(
        [fits.Column("a", "J", array=np.arange(9)), fits.Column("b", "PE()", array=[floats[0], floats[1, :3]])]
    )
    tiles = {
        f"{kind.lower()}.fits.fz": _bytes_of(fits.CompImageHDU(counts, compression_type=kind, tile_shape=tile))
        for kind, tile in [("RICE_1", (1, 20)), ("GZIP_2", (5, 7)), ("HCOMPRESS_1", (8, 20)), ("NOCOMPRESS", (24, 20))]
    }
    dithered = fits.CompImageHDU(floats, quantize_method=2, dither_seed=3)
    return {
        "plain.fits": plain,
        "plain.fits.gz": gzip.compress(plain),
        "plain.fits.bz2": bz2.compress(plain),
        "plain.fits.Z": lzw_compress(plain, 12),
        "many.fits": _bytes_of(fits.ImageHDU(counts), table, fits.ImageHDU(np.zeros((2, 3, 4)))),
        "mask.fits.fz": _bytes_of(fits.CompImageHDU(counts.astype("i2"), compression_type="PLIO_1")),
        "float.fits.fz": _bytes_of(dithered),
        "rice.fits.fz.gz": gzip.compress(tiles["rice_1.fits.fz"]),
        **tiles,
    }


NUMBERS = [
    "0",
    "1",
    "-1",
    "2",
    "16",
    "-64",
    "999",
    "2147483647",
    "-2147483648",
    "99999999999999999999",
    "1E30",
    "T",
    "'x'",
    "",
    "1.5",
    "'RICE_1'",
]


def _flip_bytes(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return data


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _change_a_card(data: bytearray, rng: random.Random) -> bytearray:
    """Give some keyword of some header another value."""
    starts = [at for at in range(0, len(data) - 80, 80) if data[at + 8 : at + 10] == b"= "]
    for _ in range(rng.randint(1, 3)):
        if starts:
            at = rng.choice(starts)
            data[at + 10 : at + 80] = rng.choice(NUMBERS).rjust(20).ljust(70).encode()
    return data


def _move_cards(data: bytearray, rng: random.Random) -> bytearray:
    blocks = len(data) // 80
    one, two = rng.randrange(max(blocks, 1)) * 80, rng.randrange(max(blocks, 1)) * 80
    data[one : one + 80], data[two : two + 80] = data[two : two + 80], data[one : one + 80]
    return data


def _insert(data: bytearray, rng: random.Random) -> bytearray:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice([1, 80, 2880]))
    return data


DAMAGES: list[Callable[[bytearray, random.Random], bytearray]] = [_flip_bytes, _cut, _change_a_card, _change_a_card, _move_cards, _insert]


def damaged(data: bytes, seed: int) -> bytes:
    """``data`` after one to three kinds of damage."""
    rng = random.Random(seed)
    out = bytearray(data)
    for damage in rng.choices(DAMAGES, k=rng.randint(1, 3)):
        if out:
            out = damage(out, rng)
    return bytes(out)


def header_like(texts: list[str]) -> bytes:
    """A header that begins soundly and goes on with any text."""
    return b"".join(card(text[:80]) for text in [*structure(16, 4, 4)[:3], *texts, "END"])
