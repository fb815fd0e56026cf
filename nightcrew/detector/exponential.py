"""exp in float32, the same to the last bit as the C kernels' own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
LARGEST = np.float32(80)  # what x may be at most
_LOG2_E, _ROUND = np.float32(1.44269504088896341), np.float32(12582912.0)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_FIRST, *_OTHERS = (
    np.float32(x) for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)


def exponential(x: F4) -> F4:
    """exp(x) by reduction to abs(r) <= ln(2) / 2 and a polynomial (Cephes, expf): within 2 units of the last place; abs(x) <= 80."""
    n = x * _LOG2_E
    n += _ROUND
    n -= _ROUND
    r = n * _LN2_HIGH
    np.subtract(x, r, out=r)
    r -= n * _LN2_LOW
    p = r * _FIRST
    p += _OTHERS[0]
    for other in _OTHERS[1:]:
        p *= r
        p += other
    p *= r
    p *= r
    p += r
    p += np.float32(1)
    if n.any():  # else all of them are times 1
        with np.errstate(invalid="ignore"):
            whole = n.astype(np.int32)
        p *= ((whole + np.int32(127)) << np.int32(23)).view(np.float32)
    return p
