"""The same detector read with converters of other widths: steps, noise, range and magnitude error for each number of bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.irradiation.precision import FULL_16

BITS = (8, 10, 12, 14, 16)
_MAG = 2.5 / math.log(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class BitDepth:
    """One width: ``step_adu16`` in 16-bit ADU; noise and range in its own steps; magnitude error at half of the head-room."""

    bits: int
    dose_krad: float
    step_adu16: float
    noise_steps: float
    dynamic_range_steps: float
    dynamic_range_db: float
    magnitude_error: float


def sweep(
    dose_krad: float,
    base_level_adu: float,
    noise_adu: float,
    *,
    gain_e_per_adu: float | None = None,
    stored_step_adu: float = 0.0,
    bits: Sequence[int] = BITS,
) -> list[BitDepth]:
    """One entry a width, for a level (bias and dark) and its temporal noise in 16-bit ADU.

    Noise^2 = analogue noise^2 + step^2 / 12; the analogue noise is the measured one less ``stored_step_adu``^2 / 12 of its converter.
    Range = full scale - level; its logarithm is 20 log10(range / noise).  Magnitude error = (2.5 / ln 10) sqrt(S / gain + noise^2) / S
    at S = range / 2 in ADU; without a gain 1 e-/ADU is taken, as the older suite does.  NaN where no range is left.
    """
    analogue = max(noise_adu**2 - stored_step_adu**2 / 12, 0.0)
    room = FULL_16 - base_level_adu
    made = []
    for width in bits:
        step = FULL_16 / 2**width
        noise = math.sqrt(analogue + step**2 / 12)
        signal = room / 2
        good = room > 0
        made.append(
            BitDepth(
                bits=width,
                dose_krad=dose_krad,
                step_adu16=step,
                noise_steps=noise / step,
                dynamic_range_steps=room / step,
                dynamic_range_db=20 * math.log10(room / noise) if good and noise > 0 else math.nan,
                magnitude_error=_MAG * math.sqrt(signal / (gain_e_per_adu or 1.0) + noise**2) / signal if good else math.nan,
            )
        )
    return made
