"""Pixels to pictures: a robust display stretch and fast thumbnails, with numpy and Pillow alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reports.values import Picture

Pixels = NDArray[np.float32]
Stretch = Literal["zscale", "asinh"]
RowReader = Callable[[int, int], NDArray[np.generic]]

_SAMPLE = 20_000  # pixels that decide the display range
_MOST_PNG_BYTES = 200_000
_ROWS_PER_BIN = 3  # rows read for each row of a thumbnail: enough for stars of 2 px and more


def display_range(image: NDArray[np.generic], stretch: Stretch = "zscale") -> tuple[float, float] | None:
    """Black and white level of ``image`` [y, x] from robust statistics of a regular sample; None without finite pixels.

    ``zscale``: median - 2.5 to median + 6 robust sigmas, cut at the sample's extremes (masters).  ``asinh``: the same
    black, white at the 99.7th percentile (stars).
    """
    flat = image.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return None
    low, middle, high, bright = np.percentile(sample, (15.866, 50.0, 84.134, 99.7))
    sigma = (high - low) / 2
    white = max(bright, middle + 6 * sigma) if stretch == "asinh" else min(middle + 6 * sigma, float(sample.max()))
    black = max(middle - 2.5 * sigma, float(sample.min()))
    if white <= black:  # few levels, as of an 8-bit camera: show all there are
        black, white = float(sample.min()), float(sample.max())
    return (float(black), float(white)) if white > black else (float(black), float(black))


def to_bytes(image: NDArray[np.generic], stretch: Stretch = "zscale", limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """``image`` [y, x] as grey levels 0-255, first row at the bottom as astronomers expect; not-finite pixels are black.

    An image without contrast is mid-grey.
    """
    chosen = limits or display_range(image, stretch)
    if chosen is None or chosen[1] <= chosen[0]:
        return np.where(np.isfinite(image.astype(np.float32)), np.uint8(128), np.uint8(0)).astype(np.uint8)[::-1]
    black, white = chosen
    scaled = (image.astype(np.float32) - np.float32(black)) * np.float32(1 / (white - black))
    np.clip(scaled, 0, 1, out=scaled)
    if stretch == "asinh":
        scaled = np.arcsinh(scaled * np.float32(10)) * np.float32(1 / math.asinh(10))
    scaled[~np.isfinite(scaled)] = 0
    return np.ascontiguousarray((scaled * np.float32(255) + np.float32(0.5)).astype(np.uint8)[::-1])


def shrink(image: NDArray[np.generic], size_px: int) -> Pixels:
    """``image`` [y, x] block-averaged (NaN ignored) so that neither side exceeds ``size_px``; smaller ones pass unchanged.

    A side shorter than a block becomes one pixel: a long narrow frame is still a small picture.
    """
    ny, nx = image.shape
    high, wide = blocks_of((ny, nx), size_px)
    if high == wide == 1:
        return image.astype(np.float32)
    rows, columns = ny // high, nx // wide
    return _block_mean(image[: rows * high, : columns * wide].astype(np.float32).reshape(rows, high, columns, wide))


def blocks_of(shape: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Rows and columns of an image of ``shape`` [y, x] that make one pixel of its picture; no more than there are."""
    step = max(1, math.ceil(max(shape) / size_px))
    return min(step, max(1, shape[0])), min(step, max(1, shape[1]))


def _block_mean(blocks: Pixels) -> Pixels:
    mean: Pixels = blocks.mean(axis=(1, 3), dtype=np.float32)
    holes = ~np.isfinite(mean)
    if holes.any():
        good = np.isfinite(blocks)
        counts = good.sum(axis=(1, 3))
        total = np.where(good, blocks, np.float32(0)).sum(axis=(1, 3), dtype=np.float32)
        mean = np.where(counts > 0, total / np.maximum(counts, 1), np.float32(np.nan)).astype(np.float32)
    return mean


def shrink_rows(read_rows: RowReader, shape: tuple[int, int], size_px: int) -> Pixels:
    """As :func:`shrink`, reading only some rows of each block through ``read_rows(y0, y1)``: for large files."""
    ny, nx = shape
    high, wide = blocks_of(shape, size_px)
    if high <= 2 * _ROWS_PER_BIN:
        return shrink(read_rows(0, ny), size_px)
    rows, columns = ny // high, nx // wide
    offset = (high - _ROWS_PER_BIN) // 2
    small = np.empty((rows, columns), dtype=np.float32)
    for row in range(rows):
        first = row * high + offset
        band = read_rows(first, first + _ROWS_PER_BIN)[:, : columns * wide].astype(np.float32)
        small[row] = _block_mean(band.reshape(1, _ROWS_PER_BIN, columns, wide))[0]
    return small


def encode(grey: NDArray[np.uint8], alt: str, *, lossy: bool = True, quality: int = 80) -> Picture:
    """Grey [y, x] or colour [y, x, 3] levels as a JPEG (``lossy``) or PNG picture."""
    from PIL import Image

    buffer = io.BytesIO()
    if lossy:
        Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    else:
        Image.fromarray(grey).save(buffer, "PNG", compress_level=9)
    blank = bool(grey.size == 0 or (grey == grey.flat[0]).all())
    media: Literal["image/png", "image/jpeg"] = "image/jpeg" if lossy else "image/png"
    return Picture(data=buffer.getvalue(), media_type=media, width_px=grey.shape[1], height_px=grey.shape[0], alt=alt, blank=blank)


def thumbnail(image: NDArray[np.generic], alt: str, *, size_px: int = 160, stretch: Stretch = "asinh", lossy: bool = True) -> Picture:
    """A small picture of ``image`` [y, x]."""
    small = shrink(image, size_px)
    return encode(to_bytes(small, stretch), alt, lossy=lossy)


def thumbnail_rows(
    read_rows: RowReader, shape: tuple[int, int], alt: str, *, size_px: int = 160, stretch: Stretch = "asinh", flat_is_fine: bool = False
) -> Picture:
    """A small picture of a large image on disk, made from some of its rows.

    ``flat_is_fine``: an image whose pixels are all alike is no empty picture (a master of a camera of few bits).
    """
    small = shrink_rows(read_rows, shape, size_px)
    picture = encode(to_bytes(small, stretch), alt)
    if flat_is_fine and picture.blank and np.isfinite(small).any():
        return replace(picture, blank=False, alt=f"{alt}: every pixel alike")
    return picture


def sized_png(data: bytes, alt: str) -> Picture:
    """A PNG file that another module drew, as a picture; ``ValueError`` when the bytes are none.

    A large one (a chart over a noisy sky, which PNG cannot pack) becomes a JPEG: a page is opened on a phone.  What is a
    JPEG already passes as it is: products of older versions hold large charts in that form.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            lossy = image.format == "JPEG"
            large = not lossy and len(data) > _MOST_PNG_BYTES
            pixels = np.asarray(image.convert("RGB" if large else "L"))
    except UnidentifiedImageError as error:  # its own words name an address in memory, which differs each time
        raise ValueError("no PNG picture: the file begins like none") from error
    except OSError as error:
        raise ValueError(f"no PNG picture: {error}") from error
    if large:
        return encode(pixels, alt, quality=75)
    blank = bool(pixels.min() == pixels.max())
    media: Literal["image/png", "image/jpeg"] = "image/jpeg" if lossy else "image/png"
    return Picture(data=data, media_type=media, width_px=pixels.shape[1], height_px=pixels.shape[0], alt=alt, blank=blank)
