"""The shape of a frame in a few numbers: medians of a grid of blocks, for comparison with another night's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray


def block_medians(image: NDArray[Any], blocks: int = 8) -> list[float | None]:
    """Median of each of ``blocks`` x ``blocks`` parts of ``image`` [y, x], row by row, rounded to 6 significant digits.

    None for a part without a finite pixel.  Every fourth pixel is used: the shape is wanted, not the noise.
    """
    ny, nx = image.shape
    ys, xs = np.linspace(0, ny, blocks + 1).astype(int), np.linspace(0, nx, blocks + 1).astype(int)
    result: list[float | None] = []
    for y0, y1 in itertools.pairwise(ys):
        for x0, x1 in itertools.pairwise(xs):
            part = image[y0:y1:2, x0:x1:2]
            good = part[np.isfinite(part)]
            result.append(float(f"{np.median(good):.6g}") if good.size else None)
    return result
